//! The table.

use serde_json::{Value, json};

use super::case::{Case, Company, Wanted, case};
use super::common::is_root;

pub mod cgroups;
pub mod hooks;
pub mod mounts;
pub mod namespaces;
pub mod process;
pub mod refusals;
pub mod rootless;
pub mod verbs;

/// Nothing changed.
pub fn default() -> Case {
    case("the default configuration", |_| ())
}

/// The same, before it is started.
pub fn created() -> Case {
    case("the default configuration, created", |_| ()).lines(&[
        "create --pid-file {D}/pid --bundle {B} {ID}",
        "state {ID}",
        "@cgroup",
    ])
}

/// Another program than the one that tells what it sees.
fn program(name: &'static str, args: &[&str]) -> Case {
    let args = json!(args);
    case(name, move |c| c["process"]["args"] = args.clone())
}

/// A container that runs until it is killed.
fn sleeper(name: &'static str) -> Case {
    program(name, &["/bin/sleep", "100"])
}

/// A container without a namespace of this type.
fn without(config: &mut Value, kind: &str) {
    config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != kind);
}

/// What is executed after the program has told what it sees; what it prints is seen too.
fn also(config: &mut Value, script: &str) {
    let whole = config["process"]["args"][2].as_str().unwrap().to_owned() + script;
    config["process"]["args"][2] = json!(whole);
}

/// Differences from runc that every container shows.
pub fn in_every_case() -> Vec<Wanted> {
    let wanted = |key, company, reason| Wanted { key, company, reason };
    let (crun, alone) = (Company::Crun, Company::Nobody);
    let masked = "nothing in a mask can be made, executed or take memory";
    let null = "a mask is the host's /dev/null, which no container can have put something else in place of";
    let mut all = vec![
        wanted("mounts /proc/acpi", alone, masked),
        wanted("mounts /sys/firmware", alone, masked),
        wanted("state.ociVersion*", alone, "each says which version of the specification it knows"),
        wanted("state.owner*", crun, "the creator's name; runc leaves it empty"),
    ];
    if is_root() {
        all.extend([
            wanted("mounts /proc/timer_list", alone, null),
            wanted("mounts /proc/keys", alone, null),
            wanted("mounts /sys", crun, "sysfs is read-only as a mount; its superblock may be another mount's too"),
            wanted("mounts /sys/fs/cgroup", alone, "the directory of a read-only cgroup mount is read-only as well"),
            wanted(
                "mounts /sys/fs/cgroup/unified",
                alone,
                "on a hybrid host the container's version 2 group is shown beside the others",
            ),
        ]);
    } else {
        let none = "a container without control groups of its own is shown none; runc shows it the host's";
        all.extend([wanted("mounts /sys/fs/cgroup*", alone, none), wanted("access /sys/fs/cgroup", alone, none)]);
    }
    all
}
