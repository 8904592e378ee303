//! Mounts, the root and its devices.

use serde_json::{Value, json};

use super::also;
use crate::case::{Case, case};

fn mount(name: &'static str, mount: Value) -> Case {
    case(name, move |c| c["mounts"].as_array_mut().unwrap().push(mount.clone()))
        .prepare("mkdir -p {D}/source/inner; echo text > {D}/source/file; chmod 755 {D}/source")
}

fn bind(name: &'static str, options: &[&str]) -> Case {
    mount(name, json!({ "destination": "/v", "source": "{D}/source", "type": "bind", "options": options }))
}

fn tmpfs(name: &'static str, options: &[&str]) -> Case {
    mount(name, json!({ "destination": "/t", "source": "tmpfs", "type": "tmpfs", "options": options }))
}

pub fn cases() -> Vec<Case> {
    const MODE: &str = "the mode is given to the mount; the others change it afterwards";
    const PROC: &str = "proc is read-only as a mount; its superblock is its pid namespace's";
    const TOP: &str = "the directory of the hierarchies is as writable as it was asked for";
    vec![
        bind("a bind", &["bind"]),
        bind("a recursive bind", &["rbind"]),
        bind("a read-only bind", &["bind", "ro"]),
        bind("a read-only recursive bind", &["rbind", "ro"]),
        bind("a bind that is ro and then rw", &["bind", "ro", "rw"]),
        bind("a bind without set-uid programs, devices and execution", &["bind", "nosuid", "nodev", "noexec"]),
        bind("a bind without times", &["bind", "noatime", "nodiratime"]),
        bind("a bind with all times", &["bind", "strictatime"]),
        bind("a private bind", &["bind", "private"]),
        bind("a slave bind", &["rbind", "rslave"]),
        bind("a shared bind", &["bind", "shared"]),
        bind("an unbindable bind", &["bind", "unbindable"]),
        bind("a recursively read-only bind", &["rbind", "rro"]),
        mount(
            "a bind of a file",
            json!({ "destination": "/run/f", "source": "{D}/source/file", "type": "bind", "options": ["bind", "ro"] }),
        ),
        mount(
            "a bind of a file where directories are missing",
            json!({
                "destination": "/some/where/file", "source": "{D}/source/file", "type": "bind", "options": ["bind"],
            }),
        ),
        mount(
            "a bind over a file that is there",
            json!({
                "destination": "/etc/hosts", "source": "{D}/source/file", "type": "bind", "options": ["bind"],
            }),
        ),
        mount(
            "a bind of a device",
            json!({ "destination": "/dev/nothing", "source": "/dev/null", "type": "bind", "options": ["bind"] }),
        ),
        mount("a bind without a type", json!({ "destination": "/v", "source": "{D}/source", "options": ["bind"] })),
        mount(
            "a bind of type none",
            json!({ "destination": "/v", "source": "{D}/source", "type": "none", "options": ["rbind"] }),
        ),
        mount(
            "a type of bind without the option",
            json!({ "destination": "/v", "source": "{D}/source", "type": "bind" }),
        )
        .alone("run exit", "the type says it as well as the option does")
        .alone("run error", "the type says it as well as the option does"),
        mount(
            "a bind from the bundle",
            json!({ "destination": "/v", "source": "inside", "type": "bind", "options": ["bind"] }),
        )
        .prepare("mkdir -p {B}/inside"),
        mount(
            "a bind of what is not there",
            json!({ "destination": "/v", "source": "/nonexistent", "type": "bind", "options": ["bind"] }),
        ),
        mount(
            "a bind of a directory onto a file",
            json!({ "destination": "/etc/passwd", "source": "{D}/source", "type": "bind", "options": ["bind"] }),
        ),
        mount(
            "a destination behind a link",
            json!({ "destination": "/way/v", "source": "{D}/source", "type": "bind", "options": ["bind"] }),
        )
        .prepare("mkdir -p {D}/source {R}/real; ln -sfn /real {R}/way"),
        mount(
            "a destination behind a link out of the root",
            json!({
                "destination": "/out/v", "source": "{D}/source", "type": "bind", "options": ["bind"],
            }),
        )
        .prepare("mkdir -p {D}/source; ln -sfn ../../../../real2 {R}/out"),
        mount(
            "a destination with dots",
            json!({ "destination": "/etc/../v2", "source": "{D}/source", "type": "bind", "options": ["bind"] }),
        ),
        tmpfs("a tmpfs", &["nosuid"]),
        tmpfs("a tmpfs with a size and a mode", &["size=1024k", "mode=1770"])
            .like_crun("root /t", "it was asked for, also where the directory is there"),
        tmpfs("a read-only tmpfs", &["ro"]).alone("mounts /t", MODE),
        tmpfs("a tmpfs with an owner", &["uid=1000", "gid=1001"]).alone("mounts /t", MODE),
        tmpfs("a tmpfs with an unknown option", &["nonsense=1"]),
        tmpfs("a shared tmpfs", &["shared"]).alone("mounts /t", MODE),
        mount(
            "a tmpfs over a directory with a mode",
            json!({ "destination": "/moded", "source": "tmpfs", "type": "tmpfs" }),
        )
        .prepare("mkdir -p {R}/moded; chmod 1751 {R}/moded")
        .alone("mounts /moded", MODE),
        mount("an unknown type", json!({ "destination": "/v", "source": "x", "type": "nonsensefs" })),
        mount("a second proc", json!({ "destination": "/proc2", "source": "proc", "type": "proc" })),
        mount(
            "a tmpfs in a tmpfs",
            json!({ "destination": "/dev/shm/inner", "source": "tmpfs", "type": "tmpfs", "options": ["mode=700"] }),
        ),
        case("a mount upon a mount", |c| {
            let two = ["/m", "/m"]
                .map(|at| json!({ "destination": at, "source": "tmpfs", "type": "tmpfs", "options": ["mode=711"] }));
            c["mounts"].as_array_mut().unwrap().extend(two);
        }),
        case("a writable sysfs", |c| c["mounts"][5]["options"] = json!(["nosuid", "noexec", "nodev"])),
        case("a writable cgroup mount", |c| {
            c["mounts"][6]["options"] = json!(["nosuid", "noexec", "nodev", "relatime", "rw"])
        })
        .like_crun("access /sys/fs/cgroup", TOP),
        case("a cgroup mount in a cgroup namespace", |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "cgroup" }));
        })
        .alone("mounts /sys/fs/cgroup/systemd", "only the name of the source"),
        case("no cgroup mount", |c| drop(c["mounts"].as_array_mut().unwrap().pop())),
        case("no sysfs", |c| c["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/sys"))
            .alone("access /sys/fs/cgroup", TOP),
        case("proc with hidepid", |c| c["mounts"][0]["options"] = json!(["hidepid=2"])),
        case("a read-only proc", |c| c["mounts"][0]["options"] = json!(["ro"]))
            .like_crun("mounts /proc", PROC)
            .like_crun("mounts /proc/bus", PROC)
            .like_crun("mounts /proc/fs", PROC)
            .like_crun("mounts /proc/irq", PROC)
            .like_crun("mounts /proc/sys", PROC),
        case("devpts for another group", |c| {
            c["mounts"][2]["options"] =
                json!(["nosuid", "noexec", "newinstance", "ptmxmode=0600", "mode=0600", "gid=6"]);
        }),
    ]
}

fn device(name: &'static str, device: Value) -> Case {
    case(name, move |c| c["linux"]["devices"] = json!([device]))
}

fn rule(name: &'static str, rules: Value, script: &'static str) -> Case {
    case(name, move |c| {
        let all = c["linux"]["resources"]["devices"].as_array_mut().unwrap();
        all.extend(rules.as_array().unwrap().iter().cloned());
        for set in ["bounding", "effective", "permitted"] {
            c["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_MKNOD"));
        }
        also(c, script);
    })
}

fn paths(name: &'static str, field: &'static str, paths: &[&str], script: &'static str) -> Case {
    let paths = json!(paths);
    case(name, move |c| {
        c["linux"][field] = paths.clone();
        also(c, script);
    })
}

pub fn root_and_devices() -> Vec<Case> {
    const MAKE: &str = "mknod /tmp/kmsg c 1 11; echo mknod $?; rm -f /tmp/kmsg; mknod /tmp/null c 1 3; echo mknod $?; echo x > /tmp/null; echo write $?; rm -f /tmp/null";
    vec![
        case("a read-only root", |c| c["root"]["readonly"] = json!(true)),
        case("a root in the bundle", |c| c["root"]["path"] = json!("rootfs")).prepare("cp -a {R} {B}/rootfs"),
        case("a root that is the bundle", |c| c["root"]["path"] = json!(".")).prepare("cp -a {R}/. {B}/"),
        case("a root behind a link", |c| c["root"]["path"] = json!("link"))
            .prepare("ln -s {R} {B}/link")
            .like_crun("run exit", "it is a directory; where it is does not matter")
            .like_crun("run error", "it is a directory; where it is does not matter"),
        case("a root that is not there", |c| c["root"]["path"] = json!("nowhere")),
        case("a root that is a file", |c| c["root"]["path"] = json!("config.json")),
        device(
            "a character device",
            json!({ "path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8 }),
        ),
        device("a device without a mode", json!({ "path": "/dev/mine", "type": "c", "major": 1, "minor": 5 })),
        device(
            "an unbuffered device",
            json!({ "path": "/dev/mine", "type": "u", "major": 1, "minor": 5, "fileMode": 0o600 }),
        ),
        device(
            "a block device",
            json!({ "path": "/dev/disk", "type": "b", "major": 7, "minor": 0, "fileMode": 0o660 }),
        ),
        device("a fifo", json!({ "path": "/dev/pipe", "type": "p", "fileMode": 0o622 })),
        device(
            "a device in a directory",
            json!({ "path": "/dev/some/where/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600 }),
        ),
        device(
            "a device outside of /dev",
            json!({ "path": "/outside/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600 }),
        ),
        device(
            "a device that is there by default",
            json!({ "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 }),
        )
        .like_crun("run exit", "a definition of what is there anyway is tolerated")
        .like_crun("run error", "a definition of what is there anyway is tolerated"),
        device("a device of an unknown type", json!({ "path": "/dev/mine", "type": "x", "major": 1, "minor": 5 })),
        rule("no devices but the usual ones", json!([]), MAKE),
        rule(
            "a device that is allowed",
            json!([{ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm" }]),
            MAKE,
        ),
        rule("all character devices", json!([{ "allow": true, "type": "c", "access": "rwm" }]), MAKE),
        rule(
            "a device that may be made",
            json!([{ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "m" }]),
            MAKE,
        ),
        rule(
            "a device that is denied again",
            json!([
                { "allow": true, "type": "c", "access": "rwm" },
                { "allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm" },
            ]),
            MAKE,
        )
        .like_crun("run exit", "rules are taken in their order, and runc cannot take one out of a wildcard")
        .like_crun("run error", "rules are taken in their order, and runc cannot take one out of a wildcard"),
        rule("all devices", json!([{ "allow": true, "access": "rwm" }]), MAKE),
        case("no /dev of its own", |c| {
            c["mounts"]
                .as_array_mut()
                .unwrap()
                .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        }),
        paths("nothing is masked", "maskedPaths", &[], ""),
        paths("a file is masked", "maskedPaths", &["/etc/passwd"], "wc -c < /etc/passwd")
            .alone("mounts /etc/passwd", "as everywhere: the host's /dev/null"),
        paths("a directory is masked", "maskedPaths", &["/etc"], "ls -A /etc | wc -l")
            .alone("mounts /etc", "as everywhere: nothing can be made in it")
            .alone("root /etc", "the same"),
        paths("what is not there is masked", "maskedPaths", &["/nonexistent/path"], ""),
        paths("nothing is read-only", "readonlyPaths", &[], ""),
        paths("a directory is read-only", "readonlyPaths", &["/etc"], "touch /etc/x; echo touch $?"),
        paths("a file is read-only", "readonlyPaths", &["/etc/passwd"], "echo x >> /etc/passwd; echo write $?"),
        paths("what is not there is read-only", "readonlyPaths", &["/nonexistent/path"], ""),
    ]
}
