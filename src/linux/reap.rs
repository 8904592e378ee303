//! Reaping a child of ours by its pidfd.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::exit::Exit;

/// Reaps the child of a pidfd that is readable, and tells how it ended.
pub fn reap(pidfd: BorrowedFd<'_>) -> Exit {
    waitid(pidfd, libc::WEXITED)
}

/// How the child of a pidfd that is readable ended, which stays a zombie, and its number its own.
pub fn look(pidfd: BorrowedFd<'_>) -> Exit {
    waitid(pidfd, libc::WEXITED | libc::WNOWAIT)
}

fn waitid(pidfd: BorrowedFd<'_>, options: libc::c_int) -> Exit {
    // SAFETY: `siginfo_t` is plain data, for which zeroes are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: waitid writes to `info`, which lives across the call.
    let wait = |kind, id, info: &mut libc::siginfo_t| unsafe { libc::waitid(kind, id, info, options) };
    let mut done = wait(libc::P_PIDFD, pidfd.as_raw_fd() as u32, &mut info);
    if done < 0
        && let Ok(pid) = super::pidfd::number(pidfd)
    {
        // Hidden by a filter, or no real pidfd. It is our child, which nobody else reaps: the number is its own.
        done = wait(libc::P_PID, pid.as_raw() as u32, &mut info);
    }
    if done < 0 {
        return Exit::Unknown;
    }
    // SAFETY: waitid filled the SIGCHLD variant of `info`, which has a status.
    let status = unsafe { info.si_status() };
    match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        _ => Exit::Signal(status),
    }
}

/// Waits for a child of ours to end, whatever signals come, and reaps it.
///
/// # Errors
/// ECHILD where it is not ours.
pub fn wait(pidfd: BorrowedFd<'_>) -> io::Result<Exit> {
    super::pidfd::wait_ended(pidfd, None)?;
    Ok(reap(pidfd))
}
