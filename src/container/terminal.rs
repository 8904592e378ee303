//! The terminal of a process: made in the container's own devpts, its master handed over.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use oci_spec::runtime::Process;

use super::link::{self, Message};
use super::rootfs;
use crate::linux::{fd, tty};

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
