//! Unix sockets of the caller's that are given a descriptor: of a terminal (`--console-socket`), of a process (`--pidfd-socket`), of a
//! seccomp filter (`linux.seccomp.listenerPath`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::link;
use crate::linux::fd;

/// How long who reads from it may take (R14).
const PATIENCE_SECONDS: i64 = 5;

pub const CONSOLE: &str = "console socket";
pub const PIDFD: &str = "pidfd socket";

/// Connects to a socket, before anything is made. `what` is its name in messages.
pub fn reach(what: &str, path: &Path) -> Result<OwnedFd> {
    let what = || format!("connect {what} {}", path.display());
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context("socket")?;
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(PATIENCE_SECONDS)).with_context(what)?;
    // Through its directory, since a path may be longer than a socket address.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = fd::open_path(parent).with_context(what)?;
    let name = path.file_name().with_context(what)?;
    let address = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    let address = UnixAddr::new(&address).with_context(what)?;
    match connect(socket.as_raw_fd(), &address) {
        // connect(2) to a full queue waits as long as SO_SNDTIMEO says.
        Err(Errno::EAGAIN) => Err(Errno::ETIMEDOUT).with_context(what),
        done => done.with_context(what),
    }?;
    Ok(socket)
}

/// Gives a terminal's master away: one message, as runc's console protocol has it.
pub fn give_master(socket: &OwnedFd, master: &OwnedFd) -> Result<()> {
    give(CONSOLE, socket, b"/dev/ptmx", master.as_fd())
}

/// Gives a pidfd away in the same way, to who will watch the process.
pub fn give_pidfd(socket: &OwnedFd, pidfd: BorrowedFd<'_>) -> Result<()> {
    give(PIDFD, socket, b"pidfd", pidfd)
}

fn give(what: &str, socket: &OwnedFd, name: &[u8], descriptor: BorrowedFd<'_>) -> Result<()> {
    link::send_bytes(socket.as_fd(), name, Some(descriptor)).with_context(|| format!("send to the {what}"))
}
