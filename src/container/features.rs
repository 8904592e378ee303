//! What this runtime can do, for callers that ask before they configure, whatever the host can (runtime-spec, features.md).

use serde_json::{Value, json};

use super::hooks::Point;
use super::{capabilities, config, rootfs, seccomp, state};

/// `bookend features`. `unsafe_annotations` are the keys that change what the runtime does.
pub fn document(unsafe_annotations: &[String]) -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": state::OCI_VERSION,
        "hooks": Point::ALL.map(Point::name),
        "mountOptions": rootfs::option_names(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities::all(),
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": seccomp::features(),
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "memoryPolicy": { "modes": config::MEMORY_MODES, "flags": config::MEMORY_FLAGS },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": {
            "bookend/version": env!("CARGO_PKG_VERSION"),
            "bookend/commit": env!("BOOKEND_COMMIT"),
            "io.github.seccomp.libseccomp.version": seccomp::library_version(),
        },
        "potentiallyUnsafeConfigAnnotations": unsafe_annotations,
    })
}
