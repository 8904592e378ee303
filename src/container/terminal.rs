//! The terminal of a process: made in the container's own devpts, its master given away.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use oci_spec::runtime::Process;

use super::link::{self, Message};
use super::rootfs;
use crate::linux::{fd, tty};

/// How long the reader of a console socket may take (R14).
const PATIENCE_SECONDS: i64 = 5;

/// Connects to the socket that will be given the master, before anything is made.
pub fn reach_socket(path: &Path) -> Result<OwnedFd> {
    let what = || format!("connect console socket {}", path.display());
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

/// Gives the master away: one message, as runc's console protocol has it.
pub fn send_master(socket: &OwnedFd, master: &OwnedFd) -> Result<()> {
    link::send_bytes(socket.as_fd(), b"/dev/ptmx", Some(master.as_fd()))
        .context("send the terminal to the console socket")
}

/// In the new process, inside its root and leading a session: makes the terminal, sends the master over the link, and puts
/// the peer in place of the standard descriptors. Nothing where the process wants none.
pub fn set_up(process: &Process, link: impl AsFd, bind_console: bool) -> Result<()> {
    if !process.terminal().unwrap_or(false) {
        return Ok(());
    }
    let (master, peer) = tty::open_pair().context("make a terminal in the container's /dev/pts")?;
    if let Some(size) = process.console_size() {
        let clamp = |side: u64| u16::try_from(side).unwrap_or(u16::MAX);
        tty::set_size(peer.as_fd(), clamp(size.height()), clamp(size.width()))
            .context("set the size of the terminal")?;
    }
    if bind_console {
        rootfs::console(peer.as_fd()).context("bind the terminal to /dev/console")?;
    }
    let uid = nix::unistd::Uid::from_raw(process.user().uid());
    nix::unistd::fchown(&peer, Some(uid), None).with_context(|| format!("give the terminal to uid {uid}"))?;
    tty::set_controlling(peer.as_fd()).context("make the terminal the controlling one")?;
    link::send(link.as_fd(), &Message::Terminal, Some(master.as_fd())).context("hand the terminal over")?;
    for number in 0..3 {
        fd::put_at(peer.as_fd(), number).with_context(|| format!("put the terminal at descriptor {number}"))?;
    }
    Ok(())
}
