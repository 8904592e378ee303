//! The kernel, its calls, and what stands between it and us.

use super::{Finding, read};
use crate::linux::exit;
use crate::linux::probe::{Answer, Call, try_call};

/// What bookend has another way for, where it is missing or a filter refuses it.
const CALLS: [(Call, &str); 9] = [
    (Call::Clone3, "clone3"),
    (Call::CloseRange, "close_range"),
    (Call::Fsopen, "fsopen"),
    (Call::MountSetattr, "mount_setattr"),
    (Call::MoveMount, "move_mount"),
    (Call::Openat2, "openat2"),
    (Call::OpenTree, "open_tree"),
    (Call::PidfdOpen, "pidfd_open"),
    (Call::PidfdSendSignal, "pidfd_send_signal"),
];

pub fn look() -> Vec<Finding> {
    vec![kernel(), calls(), seccomp(), modules()]
}

fn kernel() -> Finding {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "of unknown version".to_owned());
    match version(&release) {
        Some(version) if version < (5, 10) => {
            Finding::fail("kernel", format!("Linux {release}"), "bookend needs Linux 5.10 or newer")
        }
        _ => Finding::ok("kernel", format!("Linux {release}")),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn calls() -> Finding {
    let mut older: Vec<&str> =
        CALLS.iter().filter(|(call, _)| try_call(*call) != Answer::There).map(|(_, name)| *name).collect();
    let setattr = older.contains(&"mount_setattr");
    if !exit::outlives_the_reap() {
        older.push("PIDFD_GET_INFO");
    }
    let done = format!("all that bookend needs; done in other ways: {}", older.join(", "));
    match older.is_empty() {
        true => Finding::ok("system calls", "all that bookend uses"),
        false if setattr => {
            let cure = "recursive mount options (rro and its like) and id-mapped mounts need mount_setattr: Linux 5.12, \
                        and an outer container whose seccomp filter knows it";
            Finding::warn("system calls", done, cure)
        }
        false => Finding::ok("system calls", done),
    }
}

fn seccomp() -> Finding {
    let status = read("/proc/self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
    match mode {
        Some("0") => Finding::ok("seccomp", "the kernel has it; no filter is on this process"),
        Some(_) => Finding::ok("seccomp", "a filter is on this process, as in a container"),
        None => Finding::ok("seccomp", "the kernel does not have it"),
    }
}

/// Linux security modules. A container gets the profile or the label that its caller asks for.
fn modules() -> Finding {
    let on = |path: &str, value: &str| read(path).is_some_and(|text| text == value);
    let own = read("/proc/self/attr/current").map(|text| text.trim_matches('\0').to_owned());
    let own = own.filter(|text| !text.is_empty()).unwrap_or_else(|| "unconfined".to_owned());
    if on("/sys/module/apparmor/parameters/enabled", "Y") {
        return Finding::ok("LSM", format!("AppArmor is on; our profile: {own}"));
    }
    if on("/sys/fs/selinux/enforce", "1") {
        return Finding::ok("LSM", format!("SELinux is enforcing; our label: {own}"));
    }
    Finding::ok("LSM", "neither AppArmor nor SELinux is in force")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_kernel_is_what_its_release_begins_with() {
        assert_eq!(version("5.10.0-28-amd64"), Some((5, 10)));
        assert_eq!(version("6.18.44+"), Some((6, 18)));
        assert!(version("5.4.0") < Some((5, 10)));
        assert_eq!(version("six"), None);
    }
}
