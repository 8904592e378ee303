//! fork with everything that clone3(2) adds to it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sched::CloneFlags;
use nix::unistd::Pid;

/// Which of the two we are.
pub enum Cloned {
    Child,
    Parent {
        pid: Pid,
        pidfd: OwnedFd,
        /// Whether the child was born in the cgroup that was asked for.
        in_cgroup: bool,
    },
}

/// From include/uapi/linux/sched.h.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a child, as fork does: it goes on from here with a copy of our memory, and must end by execve or `exit_now`.
///
/// With `CLONE_PARENT` among the flags it becomes our sibling. A cgroup that the kernel does not let it be born in, for
/// whatever reason, is left to the caller, whose write to `cgroup.procs` says more.
pub fn clone(flags: CloneFlags, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    debug_assert!(cfg!(test) || threads() == 1, "clone in a process with several threads");
    if let Some(cgroup) = cgroup {
        match clone3(flags, Some(cgroup)) {
            Err(error) if may_be_the_cgroup(&error) => {}
            Ok(Cloned::Parent { pid, .. }) if was_born_dying(pid) => {
                nix::sys::wait::waitpid(pid, None)?;
            }
            done => return done,
        }
    }
    match clone3(flags, None) {
        // EPERM may be a filter's too; if it is the kernel's, clone(2) says so again.
        Err(error) if [Some(libc::ENOSYS), Some(libc::EPERM)].contains(&error.raw_os_error()) => clone2(flags),
        done => done,
    }
}

/// Whether the kernel has killed a child at its birth. Since 6.14 it compares how often `cgroup.kill` was written to our own
/// cgroup and to the one that the child is born in, and takes a difference for a kill that came in between (measured on
/// 6.18). One that looks dead for any other reason is made again all the same.
fn was_born_dying(child: Pid) -> bool {
    const SIGKILL_PENDING: u64 = 1 << (libc::SIGKILL - 1);
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{child}/stat")) else { return false };
    let pending = super::pidfd::field(&stat, 31).is_ok_and(|signals| signals & SIGKILL_PENDING != 0);
    pending || super::exit::says_ending(&stat)
}

fn may_be_the_cgroup(error: &io::Error) -> bool {
    let errno = error.raw_os_error().unwrap_or(0);
    [libc::ENOSYS, libc::E2BIG, libc::EINVAL, libc::EACCES, libc::EPERM, libc::EBUSY, libc::EOPNOTSUPP, libc::ENODEV]
        .contains(&errno)
}

fn clone3(flags: CloneFlags, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all-zero is a valid `clone_args`: no stack, no tls, no tid array.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(flags.bits() as u32) | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    // A sibling has the exit signal of its creator, and the kernel refuses to be told.
    args.exit_signal = if flags.contains(CloneFlags::CLONE_PARENT) { 0 } else { libc::SIGCHLD as u64 };
    let mut size = std::mem::offset_of!(libc::clone_args, cgroup);
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
        size = size_of::<libc::clone_args>();
    }
    // SAFETY: without CLONE_VM and a stack this is fork: the child runs on a copy of our stack. We have one thread, so no
    // lock is held by another that would not exist in the child.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) };
    cloned(pid, pidfd, cgroup.is_some())
}

/// clone(2), where a seccomp filter hides clone3.
fn clone2(flags: CloneFlags) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let exit_signal = if flags.contains(CloneFlags::CLONE_PARENT) { 0 } else { libc::SIGCHLD };
    let flags = libc::c_ulong::from((flags.bits() | libc::CLONE_PIDFD | exit_signal) as u32);
    // SAFETY: as for clone3. The first three arguments are in the same order on all architectures but s390, and with
    // CLONE_PIDFD the third says where the pidfd goes.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    cloned(pid, pidfd, false)
}

fn cloned(pid: libc::c_long, pidfd: RawFd, in_cgroup: bool) -> io::Result<Cloned> {
    match pid {
        0 => Ok(Cloned::Child),
        pid if pid < 0 => Err(io::Error::last_os_error()),
        pid => {
            // SAFETY: the kernel just made this descriptor for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: Pid::from_raw(pid as i32), pidfd, in_cgroup })
        }
    }
}

pub(super) fn threads() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let count =
        status.lines().find_map(|line| line.strip_prefix("Threads:")).and_then(|count| count.trim().parse().ok());
    count.unwrap_or(1)
}
