//! Pseudo-terminals (pty(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat, major};
use nix::sys::statfs::fstatfs;

/// `DEVPTS_SUPER_MAGIC`.
const DEVPTS: i64 = 0x1cd1;

/// Makes a terminal in the devpts instance that is mounted at `/dev/pts`; returns the master and the peer. Both are checked
/// to be what they should be, whatever the image has there (S8).
pub fn open_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let master = open("/dev/pts/ptmx", flags, Mode::empty())?;
    on_devpts(master.as_fd(), "/dev/pts/ptmx")?;
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads an integer.
    if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes an integer and returns a new descriptor.
    let peer = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if peer < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us.
    let peer = unsafe { OwnedFd::from_raw_fd(peer) };
    on_devpts(peer.as_fd(), "the terminal")?;
    let meta = fstat(&peer)?;
    // Unix98 pty slaves (Documentation/admin-guide/devices.txt).
    if SFlag::from_bits_truncate(meta.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFCHR
        || !(136..=143).contains(&major(meta.st_rdev))
    {
        return Err(io::Error::other("the terminal is no pty"));
    }
    Ok((master, peer))
}

fn on_devpts(fd: BorrowedFd<'_>, what: &str) -> io::Result<()> {
    if fstatfs(fd)?.filesystem_type().0 as i64 != DEVPTS {
        return Err(io::Error::other(format!("{what} is not on a devpts file system")));
    }
    Ok(())
}

pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads the structure.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes a terminal the controlling one of this process, which must lead a session.
pub fn set_controlling(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
