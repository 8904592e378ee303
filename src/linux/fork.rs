//! fork(2) of a single-threaded process.

use std::io;
use std::os::fd::OwnedFd;

use nix::unistd::{ForkResult, Pid, fork};

/// Runs `child` in a new process, which ends with the code that it returns. The caller must be single-threaded.
pub fn run(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    debug_assert_eq!(super::clone::threads(), 1, "a process with threads must not fork without exec");
    // SAFETY: the process has one thread, so no lock is held by another one that would be missing in the child.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(125);
            // SAFETY: _exit ends the process; nothing of the parent's is unwound or flushed.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Both ends of a pipe, close-on-exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?)
}
