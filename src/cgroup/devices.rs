//! Device rules, in the words of cgroup v1 (kernel documentation admin-guide/cgroup-v1/devices.rst).

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::directory::{Directory, write_once};
use super::{Cgroup, Version, device_filter};

/// Whether device rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum DeviceRules {
    Enforced,
    /// There is no cgroup to set them on.
    NotEnforced,
}

impl Cgroup {
    /// Sets the device rules of `linux.resources.devices`: all denied, the rules in order, then the devices that every
    /// container has. To be called once, before the container's first process, by one that may: on v2 the rules are a
    /// program in the kernel, which takes rights in the initial user namespace.
    pub fn set_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<DeviceRules> {
        let Some((version, directory)) = self.of_devices()? else { return Ok(DeviceRules::NotEnforced) };
        match version {
            Version::V1 => apply(&directory, rules)?,
            Version::V2 => device_filter::attach(&directory, rules)?,
        }
        Ok(DeviceRules::Enforced)
    }

    /// Replaces the device rules of a container that runs, so that what the old and the new ones allow is never denied.
    pub fn change_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<DeviceRules> {
        let Some((version, directory)) = self.of_devices()? else { return Ok(DeviceRules::NotEnforced) };
        match version {
            Version::V2 => device_filter::replace(&directory, rules)?,
            Version::V1 => match device_filter::difference(&directory, rules)? {
                Some(writes) => write_all(&directory, &writes)?,
                // All is denied for a moment: nobody is to notice.
                None => self.while_frozen(|| apply(&directory, rules))?,
            },
        }
        Ok(DeviceRules::Enforced)
    }

    /// The directory that device rules are set on; None without a cgroup.
    fn of_devices(&self) -> Result<Option<(Version, Directory)>> {
        let v1 = self.of_controller("devices").filter(|found| found.version == Version::V1);
        let Some(hierarchy) = v1.or(self.v2()) else { return Ok(None) };
        let directory =
            Directory::open(&hierarchy.path).with_context(|| format!("open {}", hierarchy.path.display()))?;
        Ok(Some((hierarchy.version, directory)))
    }
}

/// One write to `devices.allow` or `devices.deny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub allow: bool,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// All devices, whatever is done with them.
    All,
    Some(Devices),
}

/// Devices of one kind, and what is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Devices {
    pub kind: Kind,
    /// None is any.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

impl Devices {
    pub fn same_devices(&self, other: &Devices) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Block,
    Character,
}

/// A set of `MKNOD`, `READ` and `WRITE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access(pub u8);

impl Access {
    // As the kernel numbers them (BPF_DEVCG_ACC_ in linux/bpf.h).
    pub const MKNOD: u8 = 1;
    pub const READ: u8 = 2;
    pub const WRITE: u8 = 4;
    pub const ALL: Access = Access(Access::MKNOD | Access::READ | Access::WRITE);

    /// Of a rule: no letters are all letters.
    fn of(letters: Option<&str>) -> Access {
        let bit = |letter| match letter {
            'm' => Access::MKNOD,
            'r' => Access::READ,
            'w' => Access::WRITE,
            _ => 0, // config.rs refuses it
        };
        match letters.unwrap_or("").chars().map(bit).fold(0, |all, bit| all | bit) {
            0 => Access::ALL,
            some => Access(some),
        }
    }
}

/// What every container may use, whatever its rules say: making device nodes, the devices that runtime-spec
/// (config-linux.md, "Default Devices") promises, pseudo terminals, and, as runc and crun have it, the device that a VPN
/// opens: it does nothing without CAP_NET_ADMIN.
const DEFAULTS: [Devices; 11] = [
    Devices { kind: Kind::Character, major: None, minor: None, access: Access(Access::MKNOD) },
    Devices { kind: Kind::Block, major: None, minor: None, access: Access(Access::MKNOD) },
    character(1, Some(3)),    // null
    character(1, Some(5)),    // zero
    character(1, Some(7)),    // full
    character(1, Some(8)),    // random
    character(1, Some(9)),    // urandom
    character(5, Some(0)),    // tty
    character(5, Some(2)),    // ptmx
    character(136, None),     // pts/*
    character(10, Some(200)), // net/tun
];

const fn character(major: u32, minor: Option<u32>) -> Devices {
    Devices { kind: Kind::Character, major: Some(major), minor, access: Access::ALL }
}

/// The writes that make a cgroup's rules: everything denied, then the config's in order, then the defaults.
pub(super) fn writes(rules: &[LinuxDeviceCgroup]) -> Vec<Write> {
    let mut writes = vec![Write { allow: false, what: What::All }];
    for rule in rules {
        writes.extend(whats(rule).into_iter().map(|what| Write { allow: rule.allow(), what }));
    }
    writes.extend(DEFAULTS.map(|devices| Write { allow: true, what: What::Some(devices) }));
    writes
}

/// The kernel takes no more of a rule for all kinds of devices than that; one with numbers is a rule for each kind.
fn whats(rule: &LinuxDeviceCgroup) -> Vec<What> {
    // runtime-spec: absent is any. Some callers write -1.
    let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    let (major, minor) = (number(rule.major()), number(rule.minor()));
    let access = Access::of(rule.access().as_deref());
    let one = |kind| What::Some(Devices { kind, major, minor, access });
    match rule.typ() {
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => vec![one(Kind::Character)],
        Some(LinuxDeviceType::B) => vec![one(Kind::Block)],
        _ if major.is_none() && minor.is_none() && access == Access::ALL => vec![What::All],
        _ => vec![one(Kind::Character), one(Kind::Block)],
    }
}

/// As the kernel takes it: `c 1:3 rwm`, with `*` for any, or `a` for all devices.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let What::Some(devices) = self else { return f.write_str("a") };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let kind = if devices.kind == Kind::Block { 'b' } else { 'c' };
        write!(f, "{kind} {}:{} ", number(devices.major), number(devices.minor))?;
        for (bit, letter) in [(Access::READ, "r"), (Access::WRITE, "w"), (Access::MKNOD, "m")] {
            if devices.access.0 & bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// Writes the rules.
pub(super) fn apply(directory: &Directory, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    write_all(directory, &writes(rules))
}

pub(super) fn write_all(directory: &Directory, writes: &[Write]) -> Result<()> {
    let open =
        |file: &str| directory.writer(file).with_context(|| format!("open {}", directory.path.join(file).display()));
    let (allow, deny) = (open("devices.allow")?, open("devices.deny")?);
    for Write { allow: allowed, what } in writes {
        let line = what.to_string();
        let (file, name) = if *allowed { (&allow, "devices.allow") } else { (&deny, "devices.deny") };
        let written: io::Result<()> = write_once(file.as_fd(), &line);
        written.with_context(|| format!("set {} to {line}", directory.path.join(name).display()))?;
    }
    Ok(())
}

/// Reads a line of `devices.list`, which is like a rule.
pub(super) fn parse(line: &str) -> Option<What> {
    let mut words = line.split_whitespace();
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| if text == "*" { Some(None) } else { text.parse().ok().map(Some) };
    let kind = match kind {
        "a" => return Some(What::All),
        "b" => Kind::Block,
        "c" => Kind::Character,
        _ => return None,
    };
    Some(What::Some(Devices { kind, major: number(major)?, minor: number(minor)?, access: Access::of(Some(access)) }))
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
        let expected = ["- a", "- a", "+ c 10:200 rw", "+ b 8:* rwm", "+ c *:* m"];
        let found: Vec<String> = writes.iter().map(text).collect();
        assert_eq!(found[..5], expected);
        assert_eq!(found.len(), 3 + 1 + DEFAULTS.len());
    }

    fn text(write: &Write) -> String {
        format!("{} {}", if write.allow { '+' } else { '-' }, write.what)
    }

    #[test]
    fn the_kernels_list_is_read_as_it_is_written() {
        for line in ["c 1:3 rwm", "b *:* m", "c 136:* rw", "b 8:0 r"] {
            assert_eq!(parse(line).unwrap().to_string(), line);
        }
        assert_eq!(parse("a *:* rwm"), Some(What::All));
        assert_eq!(parse("c 1 rwm"), None);
    }

    #[test]
    fn a_rule_for_both_kinds_with_numbers_is_not_a_rule_for_all_devices() {
        let resources: LinuxResources = serde_json::from_str(
            r#"{"devices": [{"allow": true, "type": "a", "major": 10, "minor": -1, "access": "r"}]}"#,
        )
        .unwrap();
        let writes = writes(resources.devices().as_ref().unwrap());
        let found: Vec<String> = writes.iter().map(text).collect();
        assert_eq!(found[1..3], ["+ c 10:* r", "+ b 10:* r"]);
    }
}
