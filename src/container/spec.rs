//! `bookend spec`: a configuration to start from.

use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};

/// A configuration like the one that `runc spec` writes; with `rootless`, one that the calling user can run.
pub fn template(rootless: bool) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities,
                "permitted": capabilities
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "bookend",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    });
    if rootless {
        make_rootless(&mut spec, geteuid().as_raw(), getegid().as_raw());
    }
    spec
}

/// One mapped id, the network of the caller, and what follows from both.
fn make_rootless(spec: &mut Value, uid: u32, gid: u32) {
    let linux = spec["linux"].as_object_mut().expect("the template has linux");
    linux.remove("resources");
    linux.insert("uidMappings".into(), json!([{ "containerID": 0, "hostID": uid, "size": 1 }]));
    linux.insert("gidMappings".into(), json!([{ "containerID": 0, "hostID": gid, "size": 1 }]));
    let namespaces = linux["namespaces"].as_array_mut().expect("the template has namespaces");
    namespaces.retain(|namespace| namespace["type"] != "network");
    namespaces.push(json!({ "type": "user" }));

    for mount in spec["mounts"].as_array_mut().expect("the template has mounts") {
        match mount["destination"].as_str() {
            // Group 5 is not mapped.
            Some("/dev/pts") => {
                mount["options"].as_array_mut().expect("devpts has options").retain(|option| option != "gid=5");
            }
            // A new sysfs needs a network namespace that belongs to the user namespace.
            Some("/sys") => {
                *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                                 "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::config;

    #[test]
    fn both_templates_are_accepted_by_bookend_itself() {
        for rootless in [false, true] {
            let raw = serde_json::to_vec(&template(rootless)).unwrap();
            let (_, warnings) = config::parse(&mut raw.clone()).unwrap();
            assert!(warnings.is_empty(), "{warnings:?}");
        }
    }

    #[test]
    fn the_rootless_template_maps_the_caller_and_keeps_its_network() {
        let spec = template(true);
        assert_eq!(spec["linux"]["uidMappings"][0]["hostID"], geteuid().as_raw());
        assert_eq!(spec["linux"]["gidMappings"][0]["hostID"], getegid().as_raw());
        let types: Vec<_> = spec["linux"]["namespaces"].as_array().unwrap().iter().map(|n| &n["type"]).collect();
        assert!(types.contains(&&json!("user")) && !types.contains(&&json!("network")), "{types:?}");
        assert!(spec["linux"].get("resources").is_none());
    }
}
