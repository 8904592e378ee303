//! `start`

use std::path::Path;

use anyhow::{Result, anyhow, bail};

use super::args::{Global, Id};
use super::lookup;
use crate::container::state::{Init, State, Status, lock};
use crate::container::{hooks, start};
use crate::lifecycle::signal::Signal;
use crate::linux::pidfd;
use crate::supervisor::control::{Answer, Request};

pub fn run(global: &Global, args: &Id) -> Result<u8> {
    let container = lookup::container(global, &args.id)?;
    if !container.state.has_hooks {
        let _lock = lock(&container.dir)?;
        plain(&container.state, &container.dir)?;
        return Ok(0);
    }
    match container.ask(Request::Start)? {
        Some(Answer::Ok) => poststart(&container.state, &container.dir)?,
        Some(Answer::Error(text)) => bail!("start {}: {text}", args.id),
        _ if container.status() == Status::Stopped => {
            bail!("start {}: cannot start a container that has stopped", args.id)
        }
        _ => lookup::no_supervisor(&args.id)?,
    }
    Ok(0)
}

/// Starts a container without lifecycle hooks.
pub fn plain(state: &State, dir: &Path) -> Result<()> {
    start::start(state, dir).map_err(|error| anyhow!(error).context(format!("start {}", state.id)))?;
    poststart(state, dir)
}

/// OCI poststart hooks: one that fails ends the container (runtime-spec "start").
pub fn poststart(state: &State, dir: &Path) -> Result<()> {
    let result = hooks::poststart(state, dir);
    if result.is_err()
        && let Some(Init { pidfd, .. }) = state.init()
    {
        // Gone already is as good.
        let _ = pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), Signal::KILL.number());
    }
    result
}
