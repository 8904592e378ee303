//! `events`: what a container uses, and that it has run out of memory, as lines of JSON.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use super::args::{Events, Global};
use super::lookup::{self, Container};
use super::with_code;
use crate::cgroup::{Interface, OomWatch, Stats};
use crate::container::state::{Init, Status};
use crate::lifecycle::time::Instant;
use crate::linux::{clock, pidfd};

pub fn run(global: &Global, args: &Events) -> Result<u8> {
    if args.interval.is_zero() {
        return Err(with_code(2, anyhow::anyhow!("--interval must be more than 0")));
    }
    let container = lookup::container(global, &args.id)?;
    let init = match (container.state.status(&container.dir), container.state.init()) {
        (Status::Created | Status::Running | Status::Paused, Some(init)) => init,
        _ => bail!("container with id {} is not running", args.id),
    };
    if container.state.cgroup.is_none() {
        bail!("container {} has no control group, so nothing is counted: it is rootless without delegation", args.id);
    }
    if args.stats {
        print("stats", &container, Some(stats(&container, &init)?));
        return Ok(0);
    }
    follow(&container, &init, args.interval)
}

/// Until the container ends.
fn follow(container: &Container, init: &Init, interval: Duration) -> Result<u8> {
    let mut memory = container.state.cgroup.watch_oom()?;
    let mut next = clock::now();
    loop {
        if clock::now() >= next {
            match stats(container, init) {
                Ok(found) => print("stats", container, Some(found)),
                // It is being removed.
                Err(_) if container.state.init().is_none() => return Ok(0),
                Err(error) => return Err(error),
            }
            next = clock::now() + interval;
        }
        let ended = wait(init, memory.as_ref(), next)?;
        if let Some(watch) = &mut memory
            && watch.happened()?
        {
            print("oom", container, None);
        }
        if ended {
            return Ok(0);
        }
    }
}

/// Waits for the end of the container, for news of its memory, or for the deadline. Whether it was the end.
fn wait(init: &Init, memory: Option<&OomWatch>, deadline: Instant) -> Result<bool> {
    let told = pidfd::can_be_polled(init.as_fd());
    let mut fds: Vec<PollFd> = told.then(|| PollFd::new(init.as_fd(), PollFlags::POLLIN)).into_iter().collect();
    fds.extend(
        memory.map(|watch| PollFd::new(watch.fd(), PollFlags::from_bits_truncate(watch.events().bits() as i16))),
    );
    // Rounded up, so that we never spin through the last millisecond.
    let left = (deadline - clock::now()).as_millis() as i64 + 1;
    let left = if told { left } else { left.min(pidfd::TICK.as_millis() as i64) };
    match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(pidfd::has_ended(init.as_fd())),
        Err(error) => Err(error).context("poll"),
    }
}

fn stats(container: &Container, init: &Init) -> Result<Value> {
    let mut stats: Stats = container.state.cgroup.stats()?;
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
    let pid = init.pid.to_string();
    // The host's interfaces are not the container's use.
    if let (Ok(theirs), Ok(ours)) = (network(&pid), network("self"))
        && theirs != ours
    {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
        stats.network_interfaces = Some(Interface::parse(&text));
    }
    Ok(serde_json::to_value(stats)?)
}

fn print(kind: &str, container: &Container, data: Option<Value>) {
    let mut event = json!({"type": kind, "id": container.id.as_str()});
    if let (Some(data), Some(fields)) = (data, event.as_object_mut()) {
        fields.insert("data".to_owned(), data);
    }
    println!("{event}");
}
