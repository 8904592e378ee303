//! Descriptors that come to us as numbers.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes a descriptor that a system call has just returned.
pub fn own(fd: RawFd) -> OwnedFd {
    assert!(fd > 2, "a system call returned descriptor {fd}");
    // SAFETY: the caller has the number straight from the kernel, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes a descriptor that our parent passed to us at a fixed number, and makes it close-on-exec.
///
/// # Errors
/// EBADF where nothing is open at that number.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on a number touches no memory; a bad number is an error.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(own(fd))
}
