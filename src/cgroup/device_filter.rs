//! Device rules of cgroup v2: a program that the kernel asks (linux/bpf.h, `struct bpf_cgroup_dev_ctx`).
//!
//! It decides as the rules would on v1, so that a container may do the same on every host.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use oci_spec::runtime::LinuxDeviceCgroup;

use super::devices::{Access, Devices, Kind, What, Write, parse, writes};
use super::directory::Directory;
use crate::linux::bpf;

/// Makes the rules hold for the cgroup and all below it, from now until it is removed.
pub(super) fn attach(directory: &Directory, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let program = Policy::of(&writes(rules)).program();
    bpf::load_device_program(&program)
        .and_then(|program| bpf::attach_device_program(directory.as_fd(), program.as_fd(), None))
        .with_context(|| format!("linux.resources.devices: attach a device program to {}", directory.path.display()))
}

/// The same for a cgroup that has rules. The kernel puts one program in the place of another at once; where there were
/// several of ours, both hold until the last of them is gone.
pub(super) fn replace(directory: &Directory, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let cgroup = directory.as_fd();
    let replaced = || -> std::io::Result<()> {
        let old = bpf::own_device_programs(cgroup)?;
        let new = bpf::load_device_program(&Policy::of(&writes(rules)).program())?;
        bpf::attach_device_program(cgroup, new.as_fd(), old.first().map(AsFd::as_fd))?;
        old.iter().skip(1).try_for_each(|program| bpf::detach_device_program(cgroup, program.as_fd()))
    };
    replaced()
        .with_context(|| format!("linux.resources.devices: replace the device program of {}", directory.path.display()))
}

/// The fewest writes that make a v1 cgroup's rules the wanted ones; None where all devices have to be allowed or denied on
/// the way.
pub(super) fn difference(directory: &Directory, rules: &[LinuxDeviceCgroup]) -> Result<Option<Vec<Write>>> {
    let file = directory.path.join("devices.list");
    let now = directory.read("devices.list").with_context(|| format!("read {}", file.display()))?;
    Ok(Policy::parse(&now).and_then(|now| now.change_to(&Policy::of(&writes(rules)))))
}

/// What a v1 cgroup holds after its writes: what holds for all devices, and the exceptions from that.
#[derive(Debug, PartialEq, Eq)]
struct Policy {
    allow: bool,
    exceptions: Vec<Devices>,
}

impl Policy {
    fn of(writes: &[Write]) -> Policy {
        let mut policy = Policy { allow: true, exceptions: Vec::new() };
        for write in writes {
            match write.what {
                What::All => policy = Policy { allow: write.allow, exceptions: Vec::new() },
                What::Some(devices) if write.allow == policy.allow => policy.remove(devices),
                What::Some(devices) => policy.add(devices),
            }
        }
        policy
    }

    /// Reads `devices.list`, which shows what is allowed. Exceptions from "all" are not shown.
    fn parse(list: &str) -> Option<Policy> {
        let mut policy = Policy { allow: false, exceptions: Vec::new() };
        for line in list.lines() {
            match parse(line)? {
                What::All => return Some(Policy { allow: true, exceptions: Vec::new() }),
                What::Some(devices) => policy.exceptions.push(devices),
            }
        }
        Some(policy)
    }

    /// What is to be allowed and, after that, denied.
    fn change_to(&self, wanted: &Policy) -> Option<Vec<Write>> {
        if self.allow || wanted.allow {
            return None;
        }
        // What `from` has and `other` has not.
        let missing = |from: &Policy, other: &Policy, allow: bool| {
            let mut writes = Vec::new();
            for devices in &from.exceptions {
                let held = other.exceptions.iter().filter(|found| found.same_devices(devices));
                let held = held.fold(0, |all, found| all | found.access.0);
                let access = Access(devices.access.0 & !held);
                if access.0 != 0 {
                    writes.push(Write { allow, what: What::Some(Devices { access, ..*devices }) });
                }
            }
            writes
        };
        Some([missing(wanted, self, true), missing(self, wanted, false)].concat())
    }

    fn add(&mut self, devices: Devices) {
        match self.same(devices) {
            Some(exception) => exception.access.0 |= devices.access.0,
            None => self.exceptions.push(devices),
        }
    }

    /// As on v1, an exception is taken back by one for the same numbers only.
    fn remove(&mut self, devices: Devices) {
        if let Some(exception) = self.same(devices) {
            exception.access.0 &= !devices.access.0;
        }
        self.exceptions.retain(|exception| exception.access.0 != 0);
    }

    fn same(&mut self, devices: Devices) -> Option<&mut Devices> {
        self.exceptions.iter_mut().find(|exception| exception.same_devices(&devices))
    }

    /// The instructions: they return 1 for what is allowed.
    fn program(&self) -> Vec<u64> {
        // r1 points to access_type (access << 16 | kind), major and minor.
        let mut program = vec![
            instruction(LOAD_WORD, 2, 1, 0, 0),
            instruction(MOVE, 3, 2, 0, 0),
            instruction(AND, 2, 0, 0, 0xffff),
            instruction(SHIFT_RIGHT, 3, 0, 0, 16),
            instruction(LOAD_WORD, 4, 1, 4, 0),
            instruction(LOAD_WORD, 5, 1, 8, 0),
        ];
        for exception in &self.exceptions {
            program.extend(self.exception(exception));
        }
        program.extend(answer(self.allow));
        program
    }

    /// Answers if the exception matches, and else goes on behind itself.
    fn exception(&self, exception: &Devices) -> Vec<u64> {
        let kind = if exception.kind == Kind::Block { 1 } else { 2 };
        // (what to test, the jump if it does not match)
        let mut tests = vec![(None, JUMP_NOT_EQUAL, 2, kind)];
        tests.extend(exception.major.map(|major| (None, JUMP_NOT_EQUAL, 4, major)));
        tests.extend(exception.minor.map(|minor| (None, JUMP_NOT_EQUAL, 5, minor)));
        let access = u32::from(exception.access.0);
        if self.allow {
            // Denied is what wants any of it,
            tests.push((Some(access), JUMP_EQUAL, 0, 0));
        } else if exception.access != Access::ALL {
            // allowed what wants nothing else.
            tests.push((Some(!access & u32::from(Access::ALL.0)), JUMP_NOT_EQUAL, 0, 0));
        }
        let mut code: Vec<u64> = Vec::new();
        let answer = answer(!self.allow);
        let length = tests.len() + 2 * tests.iter().filter(|(mask, ..)| mask.is_some()).count() + answer.len();
        for (mask, jump, register, value) in tests {
            if let Some(mask) = mask {
                code.extend([instruction(MOVE, 0, 3, 0, 0), instruction(AND, 0, 0, 0, mask)]);
            }
            let behind = length - code.len() - 1;
            code.push(instruction(jump, register, 0, behind as i16, value));
        }
        code.extend(answer);
        code
    }
}

// Opcodes (kernel documentation bpf/standardization/instruction-set.rst).
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const MOVE_VALUE: u8 = 0xb7;
const AND: u8 = 0x54; // 32 bits: no sign is extended
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

fn answer(allow: bool) -> [u64; 2] {
    [instruction(MOVE_VALUE, 0, 0, 0, allow.into()), instruction(EXIT, 0, 0, 0, 0)]
}

/// One instruction as the eight bytes of memory that it is, on a machine of either byte order.
fn instruction(opcode: u8, destination: u8, source: u8, offset: i16, value: u32) -> u64 {
    let registers = if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
    let (offset, value) = (offset.to_ne_bytes(), value.to_ne_bytes());
    u64::from_ne_bytes([opcode, registers, offset[0], offset[1], value[0], value[1], value[2], value[3]])
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxResources;

    use super::*;

    fn policy(rules: &str) -> Policy {
        let resources: LinuxResources = serde_json::from_str(&format!(r#"{{"devices": {rules}}}"#)).unwrap();
        Policy::of(&writes(resources.devices().as_ref().unwrap()))
    }

    /// Executes the program as the kernel would. `access` is of the letters r, w and m.
    fn allows(policy: &Policy, kind: Kind, major: u64, minor: u64, access: &str) -> bool {
        let access: u64 = access.chars().map(|c| 1 << "mrw".find(c).unwrap()).sum();
        let context = [access << 16 | if kind == Kind::Block { 1 } else { 2 }, major, minor];
        let mut registers = [0u64; 6];
        let program = policy.program();
        let mut at = 0;
        loop {
            let bytes = program[at].to_le_bytes();
            let (destination, source) = ((bytes[1] & 15) as usize, (bytes[1] >> 4) as usize);
            let offset = i16::from_le_bytes([bytes[2], bytes[3]]);
            let value = u64::from(u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]));
            let mut jump = false;
            match bytes[0] {
                LOAD_WORD => registers[destination] = context[offset as usize / 4],
                MOVE => registers[destination] = registers[source],
                MOVE_VALUE => registers[destination] = value,
                AND => registers[destination] &= value,
                SHIFT_RIGHT => registers[destination] >>= value,
                JUMP_EQUAL => jump = registers[destination] == value,
                JUMP_NOT_EQUAL => jump = registers[destination] != value,
                EXIT => return registers[0] == 1,
                other => panic!("opcode {other:#x}"),
            }
            at += 1 + if jump { offset as usize } else { 0 };
        }
    }

    #[test]
    fn all_denied_leaves_the_default_devices() {
        let policy = policy(r#"[{"allow": false, "access": "rwm"}]"#);
        assert!(allows(&policy, Kind::Character, 1, 3, "rw"));
        assert!(allows(&policy, Kind::Character, 136, 7, "rw"));
        assert!(allows(&policy, Kind::Block, 8, 0, "m"));
        assert!(!allows(&policy, Kind::Block, 8, 0, "r"));
        assert!(!allows(&policy, Kind::Character, 1, 1, "w"));
        assert!(!allows(&policy, Kind::Block, 1, 3, "r"));
    }

    #[test]
    fn a_rule_allows_its_access_and_no_more() {
        let policy = policy(
            r#"[{"allow": false}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"},
                {"allow": true, "type": "b", "major": 7, "access": "rwm"}]"#,
        );
        assert!(allows(&policy, Kind::Character, 10, 229, "r"));
        assert!(!allows(&policy, Kind::Character, 10, 229, "rw"));
        assert!(!allows(&policy, Kind::Character, 10, 228, "r"));
        assert!(allows(&policy, Kind::Block, 7, 12, "rw"));
    }

    #[test]
    fn all_allowed_but_for_an_exception() {
        let policy = policy(r#"[{"allow": true}, {"allow": false, "type": "b", "major": 8, "access": "w"}]"#);
        assert!(allows(&policy, Kind::Character, 10, 229, "rwm"));
        assert!(allows(&policy, Kind::Block, 8, 1, "r"));
        assert!(!allows(&policy, Kind::Block, 8, 1, "rw"));
    }

    #[test]
    fn a_change_of_rules_touches_only_what_differs() {
        let change = |now: &str, rules: &str| {
            let writes = Policy::parse(now)?.change_to(&policy(rules))?;
            let text = |write: &Write| format!("{} {}", if write.allow { '+' } else { '-' }, write.what);
            Some(writes.iter().map(text).collect::<Vec<_>>())
        };
        let defaults = "c *:* m\nb *:* m\nc 1:3 rwm\nc 1:5 rwm\nc 1:7 rwm\nc 1:8 rwm\nc 1:9 rwm\nc 5:0 rwm\nc 5:2 rwm\nc 136:* rwm\nc 10:200 rwm\n";
        assert_eq!(change(defaults, r#"[{"allow": false}]"#).unwrap(), [""; 0]);
        let fuse = r#"[{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]"#;
        assert_eq!(change(defaults, fuse).unwrap(), ["+ c 10:229 rw"]);
        let now = format!("{defaults}c 10:229 rm\nb 8:0 r\n");
        assert_eq!(change(&now, fuse).unwrap(), ["+ c 10:229 w", "- c 10:229 m", "- b 8:0 r"]);
        assert_eq!(change("a *:* rwm\n", fuse), None);
        assert_eq!(change(defaults, r#"[{"allow": true}]"#), None);
    }

    #[test]
    fn what_is_allowed_in_two_rules_may_be_done_at_once_and_can_be_taken_back() {
        let rules = r#"[{"allow": true, "type": "c", "major": 10, "minor": 1, "access": "r"},
                        {"allow": true, "type": "c", "major": 10, "minor": 1, "access": "w"},
                        {"allow": true, "type": "c", "major": 10, "minor": 2, "access": "rw"},
                        {"allow": false, "type": "c", "major": 10, "minor": 2, "access": "w"}]"#;
        let policy = policy(rules);
        assert!(allows(&policy, Kind::Character, 10, 1, "rw"));
        assert!(allows(&policy, Kind::Character, 10, 2, "r"));
        assert!(!allows(&policy, Kind::Character, 10, 2, "w"));
    }
}
