//! Process descriptors: a handle on one process for ever, whatever becomes of its number.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use rustix::process::PidfdFlags;

/// A descriptor of a process, close-on-exec. Safe for a child that we have not reaped; for any other process check its
/// start time after opening.
pub fn open(pid: Pid) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends a signal to the process of a descriptor. ESRCH when it was reaped.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    send(pidfd, signal, 0)
}

/// Sends a signal to the process group that the process leads.
///
/// # Errors
/// EINVAL before Linux 6.9.
pub fn signal_group(leader: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    const PIDFD_SIGNAL_PROCESS_GROUP: u32 = 1 << 2; // include/uapi/linux/pidfd.h
    send(leader, signal, PIDFD_SIGNAL_PROCESS_GROUP)
}

fn send(pidfd: BorrowedFd<'_>, signal: i32, flags: u32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal takes three integers and a null pointer for the optional siginfo.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, flags) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether the process has ended (it may still be a zombie). A pidfd is readable from then on, for ever.
pub fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    wait_ended(pidfd, Some(Duration::ZERO)).unwrap_or(true)
}

/// Waits until the process has ended, at most `limit` (None: for ever). False when the limit came first.
pub fn wait_ended(pidfd: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<bool> {
    let deadline = limit.map(|limit| std::time::Instant::now() + limit);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(std::time::Instant::now()));
        let timeout = match left {
            None => PollTimeout::NONE,
            // Rounded up, so that we never spin through the last millisecond.
            Some(left) => {
                PollTimeout::try_from(left.as_millis() as i64 + i64::from(!left.is_zero())).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) if left.is_none_or(|left| left > Duration::from_millis(1)) => continue,
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// When a process was started: field 22 of `/proc/PID/stat`, in clock ticks since boot (proc(5)).
pub fn start_time(pid: Pid) -> io::Result<u64> {
    field(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?, 22)
}

/// A numeric field of a `stat` line, counted from 1 as proc(5) does. The second one, the name, may hold anything.
pub(crate) fn field(stat: &str, number: usize) -> io::Result<u64> {
    let after_name = stat.rfind(')').map(|end| &stat[end + 1..]);
    let word = after_name.and_then(|rest| rest.split_ascii_whitespace().nth(number - 3));
    word.and_then(|word| word.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("field {number} of a stat line is missing")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name_of_the_process() {
        let stat = "7 (a) b 1 (x) S 1 2 3";
        assert_eq!(field(stat, 4).unwrap(), 1);
        assert_eq!(field(stat, 6).unwrap(), 3);
        assert!(field(stat, 22).is_err());
        assert!(field("", 22).is_err());
    }

    #[test]
    fn a_pidfd_tells_the_end_of_its_process() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pidfd = open(Pid::from_raw(child.id() as i32)).unwrap();
        assert!(!has_ended(pidfd.as_fd()));
        assert!(!wait_ended(pidfd.as_fd(), Some(Duration::from_millis(20))).unwrap());
        send_signal(pidfd.as_fd(), libc::SIGKILL).unwrap();
        assert!(wait_ended(pidfd.as_fd(), Some(Duration::from_secs(60))).unwrap());
        child.wait().unwrap();
        assert!(has_ended(pidfd.as_fd()));
        assert_eq!(send_signal(pidfd.as_fd(), libc::SIGKILL).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
