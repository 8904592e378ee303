//! Which system calls this process may make, found out by making them with arguments that every kernel refuses.

use nix::errno::Errno;

/// A system call, or something of one, that older kernels lack and seccomp filters hide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    CloseRange,
    Clone3,
    Fsopen,
    MountSetattr,
    MoveMount,
    Openat2,
    OpenTree,
    PidfdOpen,
    PidfdSendSignal,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    There,
    /// ENOSYS, by the kernel or by a filter that imitates an older one.
    Missing,
    /// EPERM where the kernel itself would have said something else: a seccomp filter, or a missing right.
    Refused,
}

pub fn try_call(call: Call) -> Answer {
    match make(call) {
        Errno::ENOSYS => Answer::Missing,
        // These look at rights first, which others tell about.
        Errno::EPERM if !matches!(call, Call::Fsopen | Call::MoveMount | Call::OpenTree) => Answer::Refused,
        _ => Answer::There,
    }
}

/// Whether a call of the mount API cannot be made, for a process that has the right to mount: then EPERM too is a filter's.
pub fn is_hidden(call: Call) -> bool {
    matches!(make(call), Errno::ENOSYS | Errno::EPERM)
}

fn make(call: Call) -> Errno {
    use libc::{c_long, c_ulong};
    let bad: c_ulong = c_ulong::MAX; // no descriptor, no pid, no flags
    let (number, arguments): (c_long, [c_ulong; 5]) = match call {
        Call::CloseRange => (libc::SYS_close_range, [1, 0, 0, 0, 0]), // the first is beyond the last
        Call::Clone3 => (libc::SYS_clone3, [0, 0, 0, 0, 0]),          // a structure of no size
        Call::Fsopen => (libc::SYS_fsopen, [0, bad, 0, 0, 0]),
        Call::MountSetattr => (libc::SYS_mount_setattr, [bad, 0, 0, 0, 0]), // a structure of no size
        Call::MoveMount => (libc::SYS_move_mount, [bad, 0, bad, 0, bad]),
        Call::Openat2 => (libc::SYS_openat2, [bad, 0, 0, 0, 0]), // the same
        Call::OpenTree => (libc::SYS_open_tree, [bad, 0, bad, 0, 0]),
        Call::PidfdOpen => (libc::SYS_pidfd_open, [bad, bad, 0, 0, 0]),
        Call::PidfdSendSignal => (libc::SYS_pidfd_send_signal, [bad, 0, 0, bad, 0]),
    };
    let [a, b, c, d, e] = arguments;
    // SAFETY: the kernel refuses these arguments before it uses any of them; the pointers among them are null.
    let done = unsafe { libc::syscall(number, a, b, c, d, e) };
    Errno::result(done).err().unwrap_or(Errno::UnknownErrno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_kernel_of_the_tests_has_is_there_and_trying_it_does_nothing() {
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        for call in [Call::PidfdOpen, Call::PidfdSendSignal, Call::Openat2, Call::OpenTree, Call::Fsopen, Call::Clone3]
        {
            assert_eq!(try_call(call), Answer::There, "{call:?}");
        }
        assert_eq!(std::fs::read_dir("/proc/self/fd").unwrap().count(), before);
    }
}
