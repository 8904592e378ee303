//! System calls that are newer than a profile. A profile that denies by default would answer them with its default, mostly EPERM,
//! which a program takes for a refusal: C libraries look for ENOSYS before they try the older call. So whatever has a higher number
//! than every call that the profile names gets ENOSYS, from a few instructions in front of the library's own.

use libseccomp::{ScmpAction, ScmpArch, ScmpSyscall};
use oci_spec::runtime::LinuxSeccomp;

/// Set in the number of every x32 call (arch/x86/include/uapi/asm/unistd.h).
const X32_BIT: u32 = 0x4000_0000;

// linux/bpf_common.h
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Where `struct seccomp_data` has the number of the call, and where the architecture.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

/// A `struct sock_filter`.
fn instruction(code: u16, if_true: u8, if_false: u8, value: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&code.to_ne_bytes());
    (bytes[2], bytes[3]) = (if_true, if_false);
    bytes[4..].copy_from_slice(&value.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// What goes in front of the program of a filter; nothing where the profile allows what it does not name.
pub(super) fn prologue(seccomp: &LinuxSeccomp, default: ScmpAction, architectures: &[ScmpArch]) -> Vec<u64> {
    // As runc: who traces answers for itself.
    if matches!(default, ScmpAction::Allow | ScmpAction::Log | ScmpAction::Trace(_) | ScmpAction::Errno(libc::ENOSYS)) {
        return Vec::new();
    }
    let last = |arch: ScmpArch| architectures.contains(&arch).then(|| last_named(seccomp, arch)).flatten();
    let mut program = vec![instruction(LOAD, 0, 0, ARCHITECTURE_AT)];
    for (arch, number) in AUDIT {
        // The kernel has one architecture for both.
        let x32 = if arch == ScmpArch::X8664 { last(ScmpArch::X32) } else { None };
        let own = last(arch);
        if own.is_some() || x32.is_some() {
            program.extend(section(number, own.unwrap_or(u32::MAX), x32.unwrap_or(u32::MAX), arch == ScmpArch::X8664));
        }
    }
    if program.len() > 1 { program } else { Vec::new() }
}

/// For calls of one architecture: beyond `last`, or for x32 beyond `last_x32`, ENOSYS; the rest goes on.
fn section(architecture: u32, last: u32, last_x32: u32, has_x32: bool) -> Vec<u64> {
    let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let mut body = vec![instruction(LOAD, 0, 0, NUMBER_AT)];
    if has_x32 {
        body.push(instruction(JUMP_AT_LEAST, 1, 0, X32_BIT));
        body.push(instruction(JUMP_GREATER, 1, 2, last));
        body.push(instruction(JUMP_GREATER, 0, 1, last_x32));
    } else {
        body.push(instruction(JUMP_GREATER, 0, 1, last));
    }
    body.push(instruction(RETURN, 0, 0, enosys));
    // No other section can match any more; but they expect the architecture, and what comes after them loads it itself.
    body.push(instruction(LOAD, 0, 0, ARCHITECTURE_AT));
    let over = u8::try_from(body.len()).expect("a section has few instructions");
    let mut section = vec![instruction(JUMP_EQUAL, 0, over, architecture)];
    section.extend(body);
    section
}

/// The highest number of the calls that a profile names, whatever it says of them.
fn last_named(seccomp: &LinuxSeccomp, arch: ScmpArch) -> Option<u32> {
    let names = seccomp.syscalls().iter().flatten().flat_map(|rule| rule.names());
    let numbers = names.filter_map(|name| ScmpSyscall::from_name_by_arch(name, arch).ok());
    // Those that the architecture does not have are negative.
    numbers.filter_map(|call| u32::try_from(call.as_raw_syscall()).ok()).max()
}

/// What the kernel calls the architectures (include/uapi/linux/audit.h): the machine of ELF, with bits for 64 and for little endian.
const AUDIT: [(ScmpArch, u32); 15] = {
    const LE: u32 = 0x4000_0000;
    const WIDE: u32 = 0x8000_0000;
    const N32: u32 = 0x2000_0000;
    [
        (ScmpArch::X8664, 62 | WIDE | LE),
        (ScmpArch::X86, 3 | LE),
        (ScmpArch::Aarch64, 183 | WIDE | LE),
        (ScmpArch::Arm, 40 | LE),
        (ScmpArch::Mips, 8),
        (ScmpArch::Mips64, 8 | WIDE),
        (ScmpArch::Mips64N32, 8 | WIDE | N32),
        (ScmpArch::Mipsel, 8 | LE),
        (ScmpArch::Mipsel64, 8 | WIDE | LE),
        (ScmpArch::Mipsel64N32, 8 | WIDE | LE | N32),
        (ScmpArch::Ppc, 20),
        (ScmpArch::Ppc64, 21 | WIDE),
        (ScmpArch::Ppc64Le, 21 | WIDE | LE),
        (ScmpArch::S390X, 22 | WIDE),
        (ScmpArch::Riscv64, 243 | WIDE | LE),
    ]
};

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
    pub(in super::super) const X86_64: u32 = 62 | 0xc000_0000;
    const X86: u32 = 3 | 0x4000_0000;
    pub(in super::super) const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    /// What a filter answers to a call without arguments.
    pub(in super::super) fn answer(program: &[u64], architecture: u32, number: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let bytes = program[at].to_ne_bytes();
            let operand = u32::from_ne_bytes(bytes[4..].try_into().unwrap());
            let branch = |taken: bool| usize::from(if taken { bytes[2] } else { bytes[3] });
            at += 1;
            match u16::from_ne_bytes([bytes[0], bytes[1]]) {
                LOAD => value = [number, architecture].get(operand as usize / 4).copied().unwrap_or(0),
                JUMP => at += operand as usize,
                JUMP_EQUAL => at += branch(value == operand),
                JUMP_GREATER => at += branch(value > operand),
                JUMP_AT_LEAST => at += branch(value >= operand),
                RETURN => return operand,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn with_sentinel(default: ScmpAction, architectures: &[ScmpArch]) -> Vec<u64> {
        let names = json!([{"names": ["read", "close_range", "no_such_call"], "action": "SCMP_ACT_ALLOW"}]);
        let seccomp = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": names});
        let mut program = prologue(&serde_json::from_value(seccomp).unwrap(), default, architectures);
        program.push(instruction(RETURN, 0, 0, 1)); // where the library's own would begin
        program
    }

    #[test]
    fn a_call_beyond_the_last_that_is_named_does_not_exist() {
        let program = with_sentinel(ScmpAction::Errno(1), &[ScmpArch::X86, ScmpArch::X8664]);
        // close_range is 436 everywhere.
        for architecture in [X86_64, X86] {
            assert_eq!(answer(&program, architecture, 0), 1);
            assert_eq!(answer(&program, architecture, 436), 1);
            assert_eq!(answer(&program, architecture, 437), ENOSYS);
        }
        // x32 and other architectures are not the profile's: the library's program answers them.
        assert_eq!(answer(&program, X86_64, X32_BIT | 9999), 1);
        assert_eq!(answer(&program, 40 | 0x4000_0000, 9999), 1);
    }

    #[test]
    fn x32_has_its_own_last_call() {
        let program = with_sentinel(ScmpAction::KillProcess, &[ScmpArch::X8664, ScmpArch::X32]);
        assert_eq!(answer(&program, X86_64, 437), ENOSYS);
        assert_eq!(answer(&program, X86_64, X32_BIT | 436), 1);
        assert_eq!(answer(&program, X86_64, X32_BIT | 437), ENOSYS);
    }

    #[test]
    fn a_profile_that_allows_by_default_or_says_enosys_itself_is_left_alone() {
        for default in [ScmpAction::Allow, ScmpAction::Log, ScmpAction::Trace(1), ScmpAction::Errno(libc::ENOSYS)] {
            assert_eq!(with_sentinel(default, &[ScmpArch::X8664]).len(), 1, "{default:?}");
        }
    }
}
