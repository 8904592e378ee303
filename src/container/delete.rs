//! `delete`: ends what is left of a container and removes it.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::hooks;
use super::id::ContainerId;
use super::rdt;
use super::root::Root;
use super::state::{self, ContainerError, Identity, Init, State, Status};
use crate::cgroup::Cgroup;
use crate::linux::pidfd;

/// How long a killed process may take to end before that is an error: it hangs in the kernel.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes a container without a supervisor. Returns warnings: a poststop hook that fails is only that.
///
/// Unless forced it must be stopped, or created and never started. Forced, it may be in any state, damaged, half made, or
/// not there at all.
pub fn delete(root: &Root, id: &ContainerId, force: bool) -> Result<Vec<String>> {
    match delete_there(root, id, force) {
        // Someone else was faster, or there never was one: that is what was asked for.
        Err(error) if force && matches!(error.downcast_ref(), Some(ContainerError::NotFound(_))) => {
            sweep(root).map(|()| Vec::new())
        }
        done => done,
    }
}

fn delete_there(root: &Root, id: &ContainerId, force: bool) -> Result<Vec<String>> {
    let dir = root.container(id);
    if !force {
        State::load(root, id)?;
    }
    let _lock = state::lock(&dir)?;
    let state = State::load(root, id);
    let state = match state {
        Err(error) if !force => return Err(error),
        state => state,
    };
    if let (false, Ok(state)) = (force, &state) {
        match state.status(&dir) {
            Status::Stopped | Status::Created => {}
            status => bail!(ContainerError::NotStopped(id.clone(), status)),
        }
    }
    // The state, or what was written apart for the day it cannot be read (R4).
    let (cgroup, init) = match (&state, Identity::load(&dir)) {
        (Ok(state), _) => (state.cgroup.clone(), state.init()),
        (Err(_), Ok(identity)) => (identity.cgroup, identity.init.live()),
        (Err(_), Err(_)) => (Cgroup::none(), None),
    };
    // Usually nobody is left, and the kernel says so by letting us remove it.
    if init.is_some() || !cgroup.delete_if_unused() {
        end(&cgroup, init)?;
    }
    let warnings = state.map(|state| hooks::poststop(&state, &dir, None)).unwrap_or_default();
    cgroup.delete()?;
    match rdt::Group::load(&dir) {
        Ok(group) => group.map_or(Ok(()), |group| group.remove())?,
        Err(error) if !force => return Err(error),
        Err(_) => {} // damaged: nobody knows what there was (R4)
    }
    remove(root, id)?;
    Ok(warnings)
}

/// Kills init and everything in the cgroup, and waits until they have ended.
fn end(cgroup: &Cgroup, init: Option<Init>) -> Result<()> {
    if let Some(init) = &init {
        match pidfd::send_signal(init.as_fd(), libc::SIGKILL) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error).context("kill init"),
            _ => {}
        }
    }
    // Also where init is gone: without a pid namespace of its own, others outlive it. And a frozen one must thaw to die.
    cgroup.kill()?;
    match init {
        Some(init) if !pidfd::wait_ended(init.as_fd(), Some(PATIENCE)).context("wait for init")? => {
            bail!("init (pid {}) did not end within {}s of SIGKILL", init.pid, PATIENCE.as_secs())
        }
        _ => Ok(()),
    }
}

/// Removes the state directory. Under another name first, which is no id: so nobody finds half of it, and nobody who waited
/// for the lock makes anything new in it.
fn remove(root: &Root, id: &ContainerId) -> Result<()> {
    let dir = root.container(id);
    // Within the 255 bytes of a name, however long the id.
    let short = &id.as_str()[..id.as_str().len().min(200)];
    let dying = root.path().join(format!("{DYING}{}-{short}", std::process::id()));
    fs::rename(&dir, &dying).with_context(|| format!("rename {}", dir.display()))?;
    fs::remove_dir_all(&dying).or_else(gone_is_fine).with_context(|| format!("remove {}", dying.display()))
}

const DYING: char = '~';

/// Removes what a `delete` that was killed has renamed and left.
fn sweep(root: &Root) -> Result<()> {
    let Ok(entries) = fs::read_dir(root.path()) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(DYING)) {
            fs::remove_dir_all(&path).or_else(gone_is_fine).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
