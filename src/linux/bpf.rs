//! Programs that the kernel asks about a cgroup's devices (bpf(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::inherit;

// linux/bpf.h; libc has only the opcodes.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_DETACH: libc::c_long = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
const BPF_F_REPLACE: u32 = 4;

/// What our programs are called in the kernel: systemd has its own on the same cgroup.
const NAME: [u8; 16] = *b"bookend_devices\0";

/// More programs than the kernel attaches to one cgroup (BPF_CGROUP_MAX_PROGS).
const MOST: usize = 64;

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes what is left out as zero.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The same for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct Attach {
    cgroup: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// The same for `BPF_PROG_QUERY`.
#[repr(C)]
struct Query {
    cgroup: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    /// The kernel refuses what it does not know unless it is zero.
    padding: u32,
}

/// The same for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfo {
    program: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`, up to the name.
#[repr(C)]
struct Info {
    before: [u64; 8],
    name: [u8; 16],
}

/// bpf(2) with an attribute that is read, and for queries written, in place.
fn bpf<T>(command: libc::c_long, attribute: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel uses size_of::<T>() bytes of a value that outlives the call, and the memory that it points to: each
    // caller keeps that alive, and says how long it is.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`, given as its instructions.
pub fn load_device_program(instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instructions: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        program: instructions.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: NAME,
    };
    Ok(inherit::own(bpf(BPF_PROG_LOAD, &mut load)? as i32))
}

/// Attaches it to a cgroup, beside what is attached there or above, or in the place of one that is (Linux 5.6). It stays there
/// until the cgroup is removed.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let flags = BPF_F_ALLOW_MULTI | if replaced.is_some() { BPF_F_REPLACE } else { 0 };
    let replaced = replaced.map_or(0, number);
    let mut attach =
        Attach { cgroup: number(cgroup), program: number(program), kind: BPF_CGROUP_DEVICE, flags, replaced };
    bpf(BPF_PROG_ATTACH, &mut attach).map(drop)
}

pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut detach =
        Attach { cgroup: number(cgroup), program: number(program), kind: BPF_CGROUP_DEVICE, flags: 0, replaced: 0 };
    bpf(BPF_PROG_DETACH, &mut detach).map(drop)
}

/// A program by its number; None where there is no such program any more.
fn program(id: u32) -> io::Result<Option<OwnedFd>> {
    match bpf(BPF_PROG_GET_FD_BY_ID, &mut [id, 0, 0]) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        fd => Ok(Some(inherit::own(fd? as i32))),
    }
}

/// The programs of this module that are attached to a cgroup itself.
pub fn own_device_programs(cgroup: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0u32; MOST];
    let mut query = Query {
        cgroup: number(cgroup),
        kind: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        padding: 0,
    };
    bpf(BPF_PROG_QUERY, &mut query)?;
    let mut programs = Vec::new();
    for id in ids.iter().take(query.count as usize) {
        // Another's (systemd's) may have been put in the place of it since it was listed.
        let Some(program) = program(*id)? else { continue };
        let mut info = Info { before: [0; 8], name: [0; 16] };
        let length = size_of::<Info>() as u32;
        let mut get = GetInfo { program: number(program.as_fd()), length, info: &raw mut info as u64 };
        bpf(BPF_OBJ_GET_INFO_BY_FD, &mut get)?;
        if info.name == NAME {
            programs.push(program);
        }
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_gone_is_no_error() {
        match program(u32::MAX) {
            Ok(None) => {}
            // Not root: the kernel does not look.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            other => panic!("{other:?}"),
        }
    }
}
