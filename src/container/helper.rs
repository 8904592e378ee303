//! Cloning from within other namespaces: a helper joins them, so that the verb stays where it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::link::{self, Failure, Message};
use crate::linux::clone::{self, Cloned};
use crate::linux::process::{NoReturn, exit_now, set_dumpable};

/// Clones a child of ours from within other namespaces: a short-lived helper makes itself ready (`prepare`) and clones it
/// as its own sibling. `admit` puts the helper in its cgroup before it does anything.
pub(super) fn clone_within(
    cgroup: Option<BorrowedFd<'_>>,
    prepare: impl FnOnce() -> Result<()>,
    flags: CloneFlags,
    child: impl FnOnce(),
    admit: impl FnOnce(Pid, bool) -> Result<()>,
) -> Result<(Pid, OwnedFd, bool)> {
    let (ours, theirs) = link::pair()?;
    match clone::clone(CloneFlags::empty(), cgroup).context("clone a helper")? {
        Cloned::Child => {
            let _guard = NoReturn;
            drop(ours);
            let report = |message: &Message, pidfd| link::send(theirs.as_fd(), message, pidfd);
            let help = || -> Result<Option<(Pid, OwnedFd)>> {
                // Nothing of the container may look into us (S1, S24).
                set_dumpable(false).context("become non-dumpable")?;
                link::request(theirs.as_fd(), &Message::MapIds, &Message::Mapped { pid: 0 })?;
                prepare()?;
                let flags = flags | CloneFlags::CLONE_PARENT;
                match clone::clone(flags, None).with_context(|| format!("clone with {flags:?}"))? {
                    Cloned::Child => Ok(None),
                    Cloned::Parent { pid, pidfd, .. } => Ok(Some((pid, pidfd))),
                }
            };
            let told = match help() {
                Ok(None) => {
                    child();
                    exit_now(125)
                }
                Ok(Some((pid, pidfd))) => report(&Message::Cloned { pid: pid.as_raw() }, Some(pidfd.as_fd())),
                Err(error) => report(&Message::Failed(Failure::of(&error)), None),
            };
            exit_now(told.is_err().into())
        }
        Cloned::Parent { pid: helper, in_cgroup, .. } => {
            drop(theirs);
            let made = attend(&ours, helper, in_cgroup, admit);
            drop(ours);
            waitpid(helper, None).context("wait for the helper")?;
            let (pid, pidfd) = made?;
            Ok((pid, pidfd, in_cgroup))
        }
    }
}

fn attend(
    link: &OwnedFd,
    helper: Pid,
    in_cgroup: bool,
    admit: impl FnOnce(Pid, bool) -> Result<()>,
) -> Result<(Pid, OwnedFd)> {
    match link::receive(link.as_fd())? {
        Some((Message::MapIds, _)) => admit(helper, in_cgroup)?,
        Some((Message::Failed(failure), _)) => bail!(failure),
        other => bail!("the helper said {other:?}, expected MapIds"),
    }
    link::send(link.as_fd(), &Message::Mapped { pid: helper.as_raw() }, None)?;
    match link::receive(link.as_fd())? {
        Some((Message::Cloned { pid }, Some(pidfd))) => Ok((Pid::from_raw(pid), pidfd)),
        Some((Message::Failed(failure), _)) => bail!(failure),
        other => bail!("the helper said {other:?}, expected Cloned"),
    }
}
