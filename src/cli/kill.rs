//! `kill`

use std::os::fd::AsFd;

use anyhow::{Result, anyhow, bail};

use super::args::{Global, Kill};
use super::lookup::{self, Container};
use crate::container::state::Status;
use crate::lifecycle::signal::Signal;
use crate::linux::pidfd;
use crate::supervisor::control::{Answer, Request};

pub fn run(global: &Global, args: &Kill) -> Result<u8> {
    let container = lookup::container(global, &args.id)?;
    let signal = match args.signal.as_deref() {
        None => Signal::TERM,
        // kill(2): asks whether there is anyone to signal.
        Some("0") if container.state.init().is_some() => return Ok(0),
        Some("0") => return stopped(args.all),
        Some(word) => Signal::parse(word).ok_or_else(|| {
            anyhow!(
                "kill {}: unknown signal {word:?}: use a name such as TERM or SIGTERM, or a number from 1 to 64",
                args.id
            )
        })?,
    };
    // Where the death of init does not end the others, the cgroup is the container.
    let all = args.all || signal == Signal::KILL && !container.state.kept.is_some_and(|kept| kept.own_pids);
    if container.state.has_hooks {
        match container.ask(Request::Kill { signal, all, raw: args.raw })? {
            Some(Answer::Error(text)) => bail!("{text}"),
            Some(_) => return Ok(0),
            // What init has left behind is still to be reached.
            None if container.status() == Status::Stopped => {}
            // Killed or raw, it needs no hook and so no supervisor.
            None if signal == Signal::KILL || args.raw => {}
            None => return Err(container.no_supervisor()),
        }
    }
    send(&container, signal, all)
}

fn send(container: &Container, signal: Signal, all: bool) -> Result<u8> {
    if all && signal == Signal::KILL {
        // None of them is to fork away from it.
        container.state.cgroup.kill()?;
    } else if all {
        for pid in container.state.cgroup.pids()? {
            // Gone since it was listed is as good.
            let _ = pidfd::open(pid).and_then(|pidfd| pidfd::send_signal(pidfd.as_fd(), signal.number()));
        }
    }
    let Some(init) = container.state.init() else { return stopped(all) };
    match pidfd::send_signal(init.as_fd(), signal.number()) {
        // The end of it was our doing, a moment ago.
        Err(error) if all && error.raw_os_error() == Some(libc::ESRCH) => {}
        sent => sent?,
    }
    if signal == Signal::KILL
        && let Err(error) = container.state.cgroup.let_die()
        // It is an error only for whom it keeps alive.
        && container.state.cgroup.is_frozen().unwrap_or(true)
    {
        return Err(error);
    }
    Ok(0)
}

/// `kill --all` arrives after init has died (callers.md 1.2); otherwise callers match on the words.
fn stopped(all: bool) -> Result<u8> {
    if all { Ok(0) } else { bail!("container not running") }
}
