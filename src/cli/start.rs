//! `start`

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::args::{Global, Id};
use super::log::Log;
use super::lookup::{self, Container};
use crate::container::id::ContainerId;
use crate::container::interrupt::HeldSignals;
use crate::container::notify::Notify;
use crate::container::state::{Init, Lock, State, Status, lock};
use crate::container::{hooks, start};
use crate::lifecycle::signal::Signal;
use crate::linux::pidfd;
use crate::supervisor::control::{Answer, Request};

pub fn run(global: &Global, args: &Id) -> Result<u8> {
    let container = lookup::container(global, &args.id)?;
    let notify = Notify::listen(&container.dir).with_context(|| format!("start {}", args.id))?;
    if container.state.has_hooks {
        with_hooks(&container, &args.id)?;
    } else {
        let lock = lock(&container.dir)?;
        plain(&container.state, &container.dir, Some(lock), None)?;
    }
    relay_readiness(global, notify, &container.state);
    Ok(0)
}

/// The container is running; who called us is told so when it says that it is ready, as by runc.
pub fn relay_readiness(global: &Global, notify: Option<Notify>, state: &State) {
    if let (Some(notify), Some(init)) = (notify, state.init())
        && let Err(error) = notify.relay(init.pid, init.pidfd.as_fd())
    {
        Log::new(global).warn(&format!("start {}: {error:#}", state.id));
    }
}

fn with_hooks(container: &Container, id: &ContainerId) -> Result<()> {
    match container.ask(Request::Start)? {
        Some(Answer::Ok) => poststart(&container.state, &container.dir, None)?,
        Some(Answer::Error(text)) => bail!("start {}: {text}", id),
        _ if container.status() == Status::Stopped => {
            bail!("start {}: cannot start a container that has stopped", id)
        }
        _ => return Err(container.no_supervisor()),
    }
    Ok(())
}

/// Starts a container without lifecycle hooks. A lock is held until it runs, and not while a poststart hook hangs, so that others
/// can end it.
pub fn plain(state: &State, dir: &Path, lock: Option<Lock>, held: Option<&HeldSignals>) -> Result<()> {
    start::start(state, dir, held).with_context(|| format!("start {}", state.id))?;
    drop(lock);
    poststart(state, dir, held)
}

/// OCI poststart hooks: one that fails ends the container (runtime-spec "start").
pub fn poststart(state: &State, dir: &Path, held: Option<&HeldSignals>) -> Result<()> {
    let result = hooks::poststart(state, dir, held);
    if result.is_err()
        && let Some(Init { pidfd, .. }) = state.init()
    {
        // Gone already is as good.
        let _ = pidfd::send_signal(pidfd.as_fd(), Signal::KILL.number());
    }
    result
}
