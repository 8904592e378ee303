//! System call filters (seccomp(2)).

use std::io;
use std::os::fd::OwnedFd;

use super::inherit;

/// Whether the kernel knows a `SECCOMP_FILTER_FLAG_*`: it looks at flags before it misses the filter.
pub fn knows(flag: u64) -> bool {
    let mode = libc::c_long::from(libc::SECCOMP_SET_MODE_FILTER);
    // SAFETY: with no filter at all nothing is read and nothing changes.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, mode, flag, std::ptr::null::<libc::sock_fprog>()) };
    done == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// Puts a filter over this thread, for ever. `program` is classic BPF, a `struct sock_filter` in each number; `flags` are
/// `SECCOMP_FILTER_FLAG_*`. With `NEW_LISTENER` the descriptor is returned on which an agent is asked.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN and without no_new_privs; EINVAL for a flag that the kernel does not know.
pub fn install(program: &[u64], flags: u64) -> io::Result<Option<OwnedFd>> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    let mode = libc::c_long::from(libc::SECCOMP_SET_MODE_FILTER);
    // SAFETY: the kernel reads `len` filters of 8 bytes, which outlive the call, and writes nothing.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    match done {
        -1 => Err(io::Error::last_os_error()),
        _ if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 => match done {
            0 => Ok(None),
            thread => Err(io::Error::other(format!("thread {thread} cannot have it too"))),
        },
        fd => Ok(Some(inherit::own(fd as i32))),
    }
}
