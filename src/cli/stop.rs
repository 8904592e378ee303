//! `stop`: the whole stop sequence, to its end.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Result, bail};

use super::args::{Global, Stop};
use super::lookup::{self, Container};
use super::progress::Progress;
use crate::container::state::Status;
use crate::lifecycle::model::Plan;
use crate::lifecycle::signal::Signal;
use crate::linux::{clock, exit, fd, pidfd};
use crate::supervisor::control::{Answer, Request};
use crate::supervisor::settings::Settings;

pub fn run(global: &Global, args: &Stop) -> Result<u8> {
    let mut container = lookup::container_anywhere(global, &args.id)?;
    if args.quiet {
        container.progress = Progress::Quiet;
    }
    let how = stop(&container, args.grace)?;
    if !args.quiet {
        println!("{}: {how}", args.id);
    }
    Ok(0)
}

/// Stops a container. Returns how that went, for people.
pub fn stop(container: &Container, grace: Option<u64>) -> Result<String> {
    let begun = clock::now();
    let how = match container.state.has_hooks {
        true => with_hooks(container, grace)?,
        false => plain(container, grace)?,
    };
    Ok(format!("stopped after {:.1}s{how}", (clock::now() - begun).as_secs_f64()))
}

fn with_hooks(container: &Container, grace: Option<u64>) -> Result<String> {
    match container.ask(Request::Stop { grace_seconds: grace })? {
        Some(Answer::Error(text)) => bail!("stop {}: {text}", container.id),
        Some(_) => {}
        None if container.status() == Status::Stopped => {}
        None => return Err(container.no_supervisor()),
    }
    let exit = container.lifecycle().and_then(|status| status.exit);
    Ok(exit.map_or(String::new(), |exit| {
        let code = exit.code.map_or("unknown".to_owned(), |code| code.to_string());
        let killed = if exit.killed_after_grace { ", killed at the end of its grace period" } else { "" };
        format!(", exit code {code} ({}){killed}", exit.reason)
    }))
}

/// Without hooks the verb runs the sequence itself: the stop signal, the grace period, SIGKILL.
fn plain(container: &Container, grace: Option<u64>) -> Result<String> {
    let Some(init) = container.state.init() else { return Ok(String::new()) };
    if container.state.cgroup.is_frozen().unwrap_or(false) {
        container.state.cgroup.thaw()?;
    }
    let proc_dir = fd::open_path(&std::path::PathBuf::from(format!("/proc/{}", init.pid)))?;
    let plan =
        Settings::load(&container.dir).map_or_else(|_| Plan::empty(container.id.as_str()), |settings| settings.plan);
    let grace = Duration::from_secs(grace.unwrap_or(plan.grace_seconds)).max(crate::lifecycle::step::FLOOR);
    pidfd::send_signal(init.as_fd(), plan.stop_signal.number())?;
    let mut killed = "";
    if !pidfd::wait_ended(init.as_fd(), Some(grace))? {
        pidfd::send_signal(init.as_fd(), Signal::KILL.number())?;
        pidfd::wait_ended(init.as_fd(), None)?;
        killed = ", killed at the end of its grace period";
    }
    let code = exit::code_of(proc_dir.as_fd(), init.as_fd()).code();
    Ok(format!(", exit code {}{killed}", code.map_or("unknown".to_owned(), |code| code.to_string())))
}
