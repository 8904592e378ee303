//! Device rules of cgroup v1 (kernel documentation admin-guide/cgroup-v1/devices.rst).

use std::io;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::directory::{Directory, write_once};

/// Whether device rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum DeviceRules {
    Enforced,
    /// cgroup v2 (which needs an eBPF program), a user namespace, or no cgroup at all.
    NotEnforced,
}

/// What every container may use, whatever its rules say: making device nodes, the devices that runtime-spec
/// (config-linux.md, "Default Devices") promises, and pseudo terminals.
const DEFAULTS: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",   // null
    "c 1:5 rwm",   // zero
    "c 1:7 rwm",   // full
    "c 1:8 rwm",   // random
    "c 1:9 rwm",   // urandom
    "c 5:0 rwm",   // tty
    "c 5:2 rwm",   // ptmx
    "c 136:* rwm", // pts/*
];

/// The writes that make a cgroup's rules: everything denied, then the config's in order, then the defaults.
pub(super) fn writes(rules: &[LinuxDeviceCgroup]) -> Vec<(bool, String)> {
    let mut writes = vec![(false, "a".to_owned())];
    writes.extend(rules.iter().map(|rule| (rule.allow(), line(rule))));
    writes.extend(DEFAULTS.iter().map(|default| (true, (*default).to_owned())));
    writes
}

/// A rule as the kernel takes it: `c 1:3 rwm`, with `*` for any, or `a` for all devices.
fn line(rule: &LinuxDeviceCgroup) -> String {
    let number = |number: Option<i64>| number.filter(|n| *n >= 0).map_or("*".to_owned(), |n| n.to_string());
    let access = rule.access().as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm");
    let numbers = format!("{}:{}", number(rule.major()), number(rule.minor()));
    match rule.typ() {
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => format!("c {numbers} {access}"),
        Some(LinuxDeviceType::B) => format!("b {numbers} {access}"),
        // The kernel ignores the rest of a line for all devices.
        Some(LinuxDeviceType::A | LinuxDeviceType::P) | None => "a".to_owned(),
    }
}

/// Writes the rules.
pub(super) fn apply(directory: &Directory, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let open =
        |file: &str| directory.writer(file).with_context(|| format!("open {}", directory.path.join(file).display()));
    let (allow, deny) = (open("devices.allow")?, open("devices.deny")?);
    for (allowed, line) in writes(rules) {
        let (file, name) = if allowed { (&allow, "devices.allow") } else { (&deny, "devices.deny") };
        let written: io::Result<()> = write_once(file.as_fd(), &line);
        written.with_context(|| format!("set {} to {line}", directory.path.join(name).display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxResources;

    use super::*;

    #[test]
    fn all_is_denied_then_rules_in_order_then_the_defaults() {
        let resources: LinuxResources = serde_json::from_str(
            r#"{"devices": [{"allow": false, "access": "rwm"},
                            {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"},
                            {"allow": true, "type": "b", "major": 8}]}"#,
        )
        .unwrap();
        let writes = writes(resources.devices().as_ref().unwrap());
        let expected = [(false, "a"), (false, "a"), (true, "c 10:200 rw"), (true, "b 8:* rwm"), (true, "c *:* m")];
        let found: Vec<(bool, &str)> = writes.iter().map(|(allow, line)| (*allow, line.as_str())).collect();
        assert_eq!(found[..5], expected);
        assert_eq!(found.len(), 3 + 1 + DEFAULTS.len());
    }
}
