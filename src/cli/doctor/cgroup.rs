//! Control groups: one is made as for a container.

use super::Finding;
use crate::cgroup::{Mode, Survey, survey};

/// The controllers that Pods and callers set limits of.
const USUAL: [&str; 3] = ["cpu", "memory", "pids"];

const DELEGATE: &str = "where systemd runs, systemd-run --user --scope -p Delegate=yes bookend ...";

pub fn look(rootless: bool) -> Finding {
    match survey(&format!("bookend-doctor-{}", std::process::id()), rootless) {
        Ok(found) => tell(&found, rootless),
        Err(error) if rootless => {
            Finding::warn("cgroups", format!("{error:#}"), format!("{DELEGATE}; without, there are no limits"))
        }
        Err(error) => {
            let cure = "mount the cgroup file systems writable (an outer container: --privileged, or --cgroupns private with \
                        a writable /sys/fs/cgroup)";
            Finding::fail("cgroups", format!("{error:#}"), cure)
        }
    }
}

fn tell(found: &Survey, rootless: bool) -> Finding {
    let mode = match found.mode {
        Mode::None if rootless => {
            return Finding::warn(
                "cgroups",
                "none is mounted",
                "mount -t cgroup2 none /sys/fs/cgroup; without, there are no limits",
            );
        }
        Mode::None => return Finding::fail("cgroups", "none is mounted", "mount -t cgroup2 none /sys/fs/cgroup"),
        Mode::V1 => "v1",
        Mode::Hybrid => "hybrid (v1 controllers beside a v2 tree)",
        Mode::V2 => "v2",
    };
    let missing: Vec<&str> =
        USUAL.into_iter().filter(|name| !found.controllers.iter().any(|has| has == name)).collect();
    if missing.len() == USUAL.len() {
        let text = format!("{mode}; no controller for this user: no limits, and no pause without a freezer");
        return Finding::warn(
            "cgroups",
            text,
            if rootless { DELEGATE } else { "enable the controllers above this cgroup" },
        );
    }
    if !missing.is_empty() {
        let text = format!("{mode}; limits by {}, but not {}", found.controllers.join(", "), missing.join(", "));
        return Finding::warn(
            "cgroups",
            text,
            if rootless { DELEGATE } else { "enable them at the kernel's command line" },
        );
    }
    let kill = if found.kill { "" } else { "; without cgroup.kill, members are killed one by one" };
    Finding::ok("cgroups", format!("{mode}; limits by {}{kill}", found.controllers.join(", ")))
}
