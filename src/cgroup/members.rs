//! The processes of a cgroup: finding, freezing, killing and outwaiting them.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::libc;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::directory::{Directory, is_gone, read_all};
use crate::linux::pidfd;

/// More pidfds than this are not held at a time: the usual limit of descriptors is 1024.
const WATCHED: usize = 256;

/// The least pause where the kernel has no event to wait for.
const TICK: Duration = Duration::from_millis(1);

/// Sends SIGKILL to each, however many there are. A process that is gone already is fine.
pub(super) fn kill_each(pids: &BTreeSet<i32>) -> Result<()> {
    for &pid in pids {
        let Some(process) = open(pid)? else { continue };
        match pidfd::send_signal(process.as_fd(), libc::SIGKILL) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                return Err(error).with_context(|| format!("kill process {pid}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A pidfd, or nothing when the process is gone. (A pid that was reused since we read the list is not found out: the
/// caller has read it from the cgroup a moment ago, and members of a frozen cgroup do not go away.)
fn open(pid: i32) -> Result<Option<OwnedFd>> {
    match pidfd::open(Pid::from_raw(pid)) {
        Ok(fd) => Ok(Some(fd)),
        // EINVAL and ENOENT: a thread that is not a leader.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL | libc::ENOENT)) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("open process {pid}")),
    }
}

/// Waits until the processes have exited or the deadline has passed, whichever is first. Watches at most `WATCHED`.
pub(super) fn wait_exits(pids: &BTreeSet<i32>, deadline: Instant) -> Result<()> {
    // All at first, while the numbers are theirs.
    let processes = pids.iter().take(WATCHED).map(|pid| open(*pid)).collect::<Result<Vec<_>>>()?;
    for process in processes.iter().flatten() {
        let left = deadline.saturating_duration_since(Instant::now());
        if !pidfd::wait_ended(process.as_fd(), Some(left)).context("poll")? {
            return Ok(());
        }
    }
    Ok(())
}

/// Waits for something that has no event. v1 tells nobody when a cgroup has frozen, and neither version tells when a
/// member that has exited has let go of its cgroup.
pub(super) fn tick() -> Result<()> {
    poll_until(&mut [], Instant::now() + TICK).map(drop)
}

fn poll_until(fds: &mut [PollFd], deadline: Instant) -> Result<usize> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(fds, Some(&left)) {
            Ok(ready) => return Ok(ready),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
    }
}

/// Waits until a line of `cgroup.events` (`populated 0`, `frozen 1`) is there; false when the deadline came first.
pub(super) fn wait_event(directory: &Directory, line: &str, deadline: Instant) -> Result<bool> {
    let context = || format!("read {}/cgroup.events", directory.path.display());
    let events = match directory.file("cgroup.events") {
        Ok(events) => events,
        Err(error) if is_gone(&error) => return Ok(true),
        Err(error) => return Err(error).with_context(context),
    };
    loop {
        // A read arms the notification: a change after it is not missed (kernfs, POLLPRI).
        match read_all(events.as_fd()) {
            Ok(text) if text.lines().any(|found| found == line) => return Ok(true),
            Ok(_) => {}
            Err(error) if is_gone(&error) => return Ok(true),
            Err(error) => return Err(error).with_context(context),
        }
        if poll_until(&mut [PollFd::new(&events, PollFlags::PRI)], deadline)? == 0 {
            return Ok(false);
        }
    }
}

/// Freezes a v1 cgroup. On an error it is thawed again.
pub(super) fn freeze_v1(directory: &Directory, deadline: Instant) -> Result<()> {
    let frozen = try_freeze_v1(directory, deadline);
    if frozen.is_err() {
        // The error that matters is the one of the freeze.
        let _ = directory.write("freezer.state", "THAWED");
    }
    frozen
}

fn try_freeze_v1(directory: &Directory, deadline: Instant) -> Result<()> {
    let file = directory.path.join("freezer.state");
    loop {
        // Written each time: a process that was forked meanwhile is frozen by the next write only.
        directory.write("freezer.state", "FROZEN").with_context(|| format!("set {} to FROZEN", file.display()))?;
        let state = directory.read("freezer.state").with_context(|| format!("read {}", file.display()))?;
        if state.trim() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("freeze {}: not all of its processes can be stopped", directory.path.display());
        }
        tick()?;
    }
}

/// Freezes a v2 cgroup. On an error it is thawed again.
pub(super) fn freeze_v2(directory: &Directory, deadline: Instant) -> Result<()> {
    let frozen = directory
        .write("cgroup.freeze", "1")
        .with_context(|| format!("set {}/cgroup.freeze to 1", directory.path.display()))
        .and_then(|()| wait_event(directory, "frozen 1", deadline));
    match frozen {
        Ok(true) => Ok(()),
        Ok(false) => {
            let _ = directory.write("cgroup.freeze", "0"); // the error that matters is the one of the freeze
            bail!("freeze {}: not all of its processes can be stopped", directory.path.display())
        }
        Err(error) => {
            let _ = directory.write("cgroup.freeze", "0"); // as above
            Err(error)
        }
    }
}

/// Lets the processes of a cgroup run again, whichever freezer it has. Missing is fine.
pub(super) fn thaw(directory: &Directory) -> io::Result<()> {
    for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        match directory.write(file, value) {
            Err(error) if !is_gone(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A list of pids for a message, with the first few in full.
pub(super) fn name(pids: impl IntoIterator<Item = Pid>) -> String {
    let pids: Vec<String> = pids.into_iter().map(|pid| pid.to_string()).collect();
    match pids.len() {
        0..=10 => pids.join(" "),
        count => format!("{} and {} more", pids[..10].join(" "), count - 10),
    }
}
