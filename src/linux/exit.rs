//! How a process ended, also for one that is not our child (design.md section 2).

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use super::pidfd;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It was reaped before anyone could look, on a kernel that does not keep it (before 6.15).
    Unknown,
}

impl Exit {
    /// From the status that wait(2) gives.
    pub fn from_status(status: i32) -> Exit {
        match status & 0x7f {
            0 => Exit::Code(status >> 8 & 0xff),
            signal => Exit::Signal(signal),
        }
    }

    /// As a shell shows it: 128+N for signal N.
    pub fn code(self) -> Option<i32> {
        match self {
            Exit::Code(code) => Some(code),
            Exit::Signal(signal) => Some(128 + signal),
            Exit::Unknown => None,
        }
    }
}

/// How long whoever adopted a process may take to reap it. There are inits that look every two seconds only.
const UNTIL_REAPED: u16 = 5000; // ms

/// How the process of a pidfd that is readable ended. `proc_dir` is its `/proc/PID`, opened while it lived. Waits at most
/// 5 s, for the reap, where only that can tell.
pub fn code_of(proc_dir: BorrowedFd<'_>, pidfd: BorrowedFd<'_>) -> Exit {
    if let Some(status) = status_of_zombie(proc_dir) {
        return Exit::from_status(status);
    }
    // The kernel has no such question before 6.13, and nothing comes of the wait.
    let cannot_tell = matches!(pidfd_info(pidfd), Err(Errno::ENOTTY | Errno::EINVAL));
    if cannot_tell || !pidfd::can_be_polled(pidfd) {
        return Exit::Unknown;
    }
    // POLLHUP comes with the reap, and PIDFD_GET_INFO has the status from then on (Linux 6.15).
    let reaped = poll(&mut [PollFd::new(pidfd, PollFlags::empty())], PollTimeout::from(UNTIL_REAPED));
    match reaped.map(|_| pidfd_status(pidfd)) {
        Ok(Some(status)) => Exit::from_status(status),
        _ => Exit::Unknown,
    }
}

/// Field 52 of `stat` of a zombie, through the directory that was opened while it lived.
fn status_of_zombie(proc_dir: BorrowedFd<'_>) -> Option<i32> {
    let file = openat(proc_dir, "stat", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let mut stat = String::new();
    std::fs::File::from(file).read_to_string(&mut stat).ok()?;
    let state = stat.rfind(')').and_then(|end| stat[end + 1..].split_ascii_whitespace().next())?;
    // Without the right to trace it the kernel shows 0 instead, also for our own process while it is non-dumpable. The links
    // in `ns` ask for the same right (proc(5)), and that of the user namespace outlives the rest of a zombie.
    let shown = nix::fcntl::readlinkat(proc_dir, "ns/user").is_ok();
    if state != "Z" || !shown {
        return None;
    }
    pidfd::field(&stat, 52).ok()?.try_into().ok()
}

/// Whether the process of `/proc/PID`, opened while it lived, has begun to exit: also before its pidfd is readable. PID 1 of a
/// namespace first waits there for the end of all other processes in it (pid_namespaces(7)).
pub fn is_ending(proc_dir: BorrowedFd<'_>) -> bool {
    let Ok(file) = openat(proc_dir, "stat", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) else { return true };
    let mut stat = String::new();
    match std::fs::File::from(file).read_to_string(&mut stat) {
        Ok(_) => says_ending(&stat),
        Err(_) => true, // reaped
    }
}

/// The same of a `stat` line (proc_pid_stat(5)).
pub(super) fn says_ending(stat: &str) -> bool {
    const PF_EXITING: u64 = 0x4; // include/linux/sched.h
    pidfd::field(stat, 9).is_ok_and(|flags| flags & PF_EXITING != 0)
}

/// `struct pidfd_info`, first published size (Linux 6.13), from include/uapi/linux/pidfd.h.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;

fn pidfd_info(pidfd: BorrowedFd<'_>) -> nix::Result<PidfdInfo> {
    nix::ioctl_readwrite!(pidfd_get_info, 0xff, 11, PidfdInfo);
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the number of the ioctl carries the size of the structure, and the kernel writes no more than that.
    unsafe { pidfd_get_info(pidfd.as_fd().as_raw_fd(), &mut info) }?;
    Ok(info)
}

fn pidfd_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    pidfd_info(pidfd).ok().filter(|info| info.mask & PIDFD_INFO_EXIT != 0).map(|info| info.exit_code)
}

/// Whether the kernel still tells how a process ended when it was reaped (Linux 6.15). Makes a child; to be called while there
/// is one thread.
pub fn outlives_the_reap() -> bool {
    let Ok(child) = super::fork::run(|| 7) else { return false };
    let pidfd = pidfd::open(child);
    let reaped = nix::sys::wait::waitpid(child, None).is_ok();
    reaped && pidfd.is_ok_and(|pidfd| pidfd_status(pidfd.as_fd()) == Some(7 << 8))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::OpenOptionsExt;
    use std::process::{Child, Command};
    use std::time::Duration;

    use nix::unistd::Pid;

    use super::*;

    fn ended(script: &str) -> (Child, OwnedFd, OwnedFd) {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("read go; {script}")]).stdin(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let pidfd = pidfd::open(Pid::from_raw(child.id() as i32)).unwrap();
        let dir = format!("/proc/{}", child.id());
        let dir = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(dir).unwrap();
        drop(child.stdin.take());
        assert!(pidfd::wait_ended(pidfd.as_fd(), Some(Duration::from_secs(60))).unwrap());
        (child, pidfd, dir.into())
    }

    #[test]
    fn the_exit_of_a_zombie_is_known() {
        for (script, exit) in [("exit 7", Exit::Code(7)), ("exit 0", Exit::Code(0)), ("kill -9 $$", Exit::Signal(9))] {
            let (mut child, pidfd, dir) = ended(script);
            assert_eq!(code_of(dir.as_fd(), pidfd.as_fd()), exit, "{script}");
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_process_is_ending_from_its_exit_on() {
        let dir: OwnedFd = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open("/proc/self").unwrap().into();
        assert!(!is_ending(dir.as_fd()));
        let (mut child, _pidfd, dir) = ended("exit 0");
        assert!(is_ending(dir.as_fd()));
        child.wait().unwrap();
        assert!(is_ending(dir.as_fd()));
    }

    #[test]
    fn the_exit_of_a_reaped_process_is_known_or_said_to_be_unknown() {
        let (mut child, pidfd, dir) = ended("exit 7");
        child.wait().unwrap();
        let exit = code_of(dir.as_fd(), pidfd.as_fd());
        assert!([Exit::Code(7), Exit::Unknown].contains(&exit), "{exit:?}");
    }
}
