//! Process descriptors: a handle on one process for ever, whatever becomes of its number.
//!
//! Where a filter hides pidfd_open (Linux 5.3), the process's directory in /proc takes its place: it too belongs to this one
//! process, and signals can be sent through it. It has no event for the end, so that is looked for again and again. Children
//! that `clone` made have real ones everywhere.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat};
use rustix::process::PidfdFlags;

use super::procfs::{self, Procfs};

/// How often the end is looked for where nothing tells it.
pub const TICK: Duration = Duration::from_millis(10);

/// A descriptor of a process, close-on-exec. Safe for a child that we have not reaped; for any other process check its
/// start time after opening.
pub fn open(pid: Pid) -> io::Result<OwnedFd> {
    let raw = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidInput)?;
    match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => open_directory(pid),
        pidfd => Ok(pidfd?),
    }
}

fn open_directory(pid: Pid) -> io::Result<OwnedFd> {
    let gone = |error: io::Error| match error.raw_os_error() {
        Some(libc::ENOENT) => io::Error::from_raw_os_error(libc::ESRCH),
        _ => error,
    };
    let found = Procfs::open()?.process(pid).map_err(gone)?;
    Ok(openat(&found, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether poll(2) tells the end of the process. If not, ask `has_ended` every `TICK`.
pub fn can_be_polled(pidfd: BorrowedFd<'_>) -> bool {
    fstatfs(pidfd).is_ok_and(|found| found.f_type != PROC_SUPER_MAGIC)
}

/// Sends a signal to the process of a descriptor. ESRCH when it was reaped.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    match send(pidfd, signal, 0) {
        Err(error) if [Some(libc::ENOSYS), Some(libc::EPERM)].contains(&error.raw_os_error()) => {
            // Hidden by a filter, or not allowed: then kill(2) says so. The number is looked up at the last moment, and
            // for a child of ours that we have not reaped it is certain.
            let pid = number(pidfd)?;
            // SAFETY: kill takes two integers.
            if unsafe { libc::kill(pid.as_raw(), signal) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        }
        sent => sent,
    }
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
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal takes three integers and a null pointer for the optional siginfo.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, flags) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The number of the process, as /proc here has it. ESRCH when it was reaped.
pub fn number(pidfd: BorrowedFd<'_>) -> io::Result<Pid> {
    let pid = if can_be_polled(pidfd) {
        let info = Procfs::open()?.read_own(&format!("fdinfo/{}", pidfd.as_raw_fd()))?;
        info.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|pid| pid.trim().parse().ok())
    } else {
        let stat = read_stat(pidfd)?.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        stat.split(' ').next().and_then(|pid| pid.parse().ok())
    };
    match pid {
        Some(pid @ 1..) => Ok(Pid::from_raw(pid)),
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// The `stat` line of a process by its directory; None when it was reaped.
fn read_stat(directory: BorrowedFd<'_>) -> io::Result<Option<String>> {
    let mut stat = String::new();
    let file = procfs::open_below(directory, "stat", OFlags::RDONLY);
    match file.and_then(|file| std::fs::File::from(file).read_to_string(&mut stat)) {
        Ok(_) => Ok(Some(stat)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the process has ended (it may still be a zombie). A pidfd is readable from then on, for ever.
pub fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    match can_be_polled(pidfd) {
        true => wait_ended(pidfd, Some(Duration::ZERO)).unwrap_or(true),
        // Not being able to look (EMFILE) is no end.
        false => read_stat(pidfd).is_ok_and(|stat| stat.is_none_or(|stat| is_zombie(&stat))),
    }
}

/// Whether all threads of the process of a `stat` line have ended.
fn is_zombie(stat: &str) -> bool {
    let state = stat.rfind(')').and_then(|end| stat[end + 1..].split_ascii_whitespace().next());
    matches!(state, Some("Z" | "X" | "x")) && field(stat, 20).is_ok_and(|threads| threads <= 1)
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The end of the process.
    ByItsEnd,
    /// Something to read from another descriptor, or its end: which one it was, counted from 0.
    ByOther(usize),
    ByLimit,
}

/// Waits until the process has ended, at most `limit` (None: for ever). False when the limit came first.
pub fn wait_ended(pidfd: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<bool> {
    Ok(wait(pidfd, &[], limit)? == Woken::ByItsEnd)
}

/// The same, or until there is something to read from another descriptor.
pub fn wait(pidfd: BorrowedFd<'_>, others: &[BorrowedFd<'_>], limit: Option<Duration>) -> io::Result<Woken> {
    // A limit beyond the end of time is none.
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let polled = can_be_polled(pidfd);
    loop {
        if !polled && has_ended(pidfd) {
            return Ok(Woken::ByItsEnd);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let longest = if polled { left } else { Some(left.map_or(TICK, |left| left.min(TICK))) };
        let timeout = match longest {
            None => PollTimeout::NONE,
            // Rounded up, so that we never spin through the last millisecond.
            Some(left) => {
                PollTimeout::try_from(left.as_millis() as i64 + i64::from(!left.is_zero())).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut fds: Vec<PollFd> = others.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        if polled {
            fds.push(PollFd::new(pidfd, PollFlags::POLLIN));
        }
        match poll(&mut fds, timeout) {
            Ok(0) if left.is_none_or(|left| left > Duration::from_millis(1)) => continue,
            Ok(0) => return Ok(Woken::ByLimit),
            Ok(_) if polled && fds.last().is_some_and(|pidfd| pidfd.any() == Some(true)) => return Ok(Woken::ByItsEnd),
            Ok(_) => return Ok(Woken::ByOther(fds.iter().position(|fd| fd.any() != Some(false)).unwrap_or(0))),
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
    use std::os::fd::AsFd;

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
    fn a_limit_beyond_the_end_of_time_is_none() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pidfd = open(Pid::from_raw(child.id() as i32)).unwrap();
        assert!(wait_ended(pidfd.as_fd(), Some(Duration::MAX)).unwrap());
        child.wait().unwrap();
    }

    #[test]
    fn a_directory_of_proc_does_what_a_pidfd_does() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        let (directory, pidfd) = (open_directory(pid).unwrap(), open(pid).unwrap());
        assert!(!can_be_polled(directory.as_fd()) && can_be_polled(pidfd.as_fd()));
        assert_eq!((number(directory.as_fd()).unwrap(), number(pidfd.as_fd()).unwrap()), (pid, pid));
        assert!(!has_ended(directory.as_fd()));
        assert!(!wait_ended(directory.as_fd(), Some(Duration::from_millis(20))).unwrap());
        send_signal(directory.as_fd(), libc::SIGKILL).unwrap();
        assert!(wait_ended(directory.as_fd(), Some(Duration::from_secs(60))).unwrap());
        child.wait().unwrap();
        assert!(has_ended(directory.as_fd()));
        let gone = |error: io::Error| error.raw_os_error() == Some(libc::ESRCH);
        assert!(gone(send_signal(directory.as_fd(), libc::SIGKILL).unwrap_err()));
        assert!(gone(number(directory.as_fd()).unwrap_err()) && gone(number(pidfd.as_fd()).unwrap_err()));
        assert!(gone(open_directory(pid).unwrap_err()));
    }

    #[test]
    fn a_leader_that_has_ended_before_its_threads_is_not_the_end() {
        let stat = |state: &str, threads: u32| format!("7 (x) {state} 1 {}{threads} 0", "0 ".repeat(15));
        assert!(is_zombie(&stat("Z", 1)) && !is_zombie(&stat("Z", 2)) && !is_zombie(&stat("S", 1)));
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
