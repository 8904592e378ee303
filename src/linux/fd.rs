//! Descriptors: opening directories by path only, standard ones that are closed, and carrying nothing on.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use rustix::fs::OFlags;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use super::procfs::Procfs;

/// A directory, for names below it only.
pub fn open_path(dir: &Path) -> io::Result<OwnedFd> {
    Ok(open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

pub fn set_blocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Puts /dev/null where 0, 1 or 2 is closed, so that no file of ours ever gets one of these numbers (R15).
pub fn ensure_stdio() -> io::Result<()> {
    loop {
        // Without close-on-exec: 0, 1 and 2 are for whoever comes next.
        let null = open("/dev/null", OFlag::O_RDWR, Mode::empty())?;
        if null.as_raw_fd() > 2 {
            return Ok(());
        }
        // It took the lowest number that was free, and stays there for the life of the process.
        std::mem::forget(null);
    }
}

/// Puts a copy of `fd` at number `at`, not close-on-exec, whatever was there.
pub fn put_at(fd: BorrowedFd<'_>, at: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == at {
        let flags = fcntl_getfd(fd)?;
        return Ok(fcntl_setfd(fd, flags - FdFlags::CLOEXEC)?);
    }
    // SAFETY: dup2 takes two integers. That `at` belongs to nobody else is what the callers see to: it is a standard
    // descriptor, or we are about to execve.
    if unsafe { libc::dup2(fd.as_raw_fd(), at) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Moves `fd` to the number `at`, close-on-exec. What was at `at` is closed behind its owner's back: only for a process that
/// is about to close everything else.
pub fn move_to(fd: OwnedFd, at: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() == at {
        return Ok(fd);
    }
    // SAFETY: dup3 takes three integers.
    if unsafe { libc::dup3(fd.as_raw_fd(), at, libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: dup3 just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(at) })
}

/// Closes every descriptor from `first` on. Whoever owned one must never use or drop it: this is for a process that will
/// execve or _exit.
pub fn close_from(first: RawFd) -> io::Result<()> {
    close_range(first, 0, |fd| {
        // SAFETY: close takes an integer, and one that is not open is an error that changes nothing.
        unsafe { libc::close(fd) };
    })
}

/// Makes every descriptor from `first` on close-on-exec. For the child of a process that has one thread: where the kernel cannot
/// do it alone this allocates.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC, |fd| {
        // SAFETY: fcntl takes integers, and a descriptor that is not open is an error that changes nothing.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    })
}

fn close_range(first: RawFd, flags: libc::c_uint, one: impl Fn(RawFd)) -> io::Result<()> {
    // SAFETY: close_range takes three integers.
    if unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) } == 0 {
        return Ok(());
    }
    match Errno::last() {
        // Linux 5.10 has no CLOSE_RANGE_CLOEXEC, and a seccomp filter may know no close_range at all.
        Errno::ENOSYS | Errno::EINVAL | Errno::EPERM => {
            let every = || (first..NR_OPEN).collect();
            open_numbers().unwrap_or_else(|_| every()).into_iter().filter(|fd| *fd >= first).for_each(one);
            Ok(())
        }
        errno => Err(errno.into()),
    }
}

/// No process can have a descriptor of this number or above, unless root has raised fs.nr_open.
const NR_OPEN: RawFd = 1 << 20;

/// The numbers of our open descriptors, one that is closed by now among them. From a /proc that is one: it may be the
/// container's.
fn open_numbers() -> io::Result<Vec<RawFd>> {
    let directory = Procfs::open()?.open_own("fd", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let names = rustix::fs::Dir::read_from(&directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().parse()));
    let numbers: io::Result<Vec<_>> = names.collect();
    Ok(numbers?.into_iter().flatten().collect())
}

/// Whether a descriptor that our caller should have given us is open. One that is close-on-exec is our own, which only
/// happens to have that number.
pub fn is_inherited(fd: RawFd) -> bool {
    // SAFETY: fcntl takes integers, and a descriptor that is not open is an error that changes nothing.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// The standard input, output and error.
pub fn stdio() -> [BorrowedFd<'static>; 3] {
    // SAFETY: `ensure_stdio` ran first in main, and nothing closes these three.
    [0, 1, 2].map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
}
