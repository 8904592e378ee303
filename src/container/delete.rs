//! `delete`: ends what is left of a container and removes it.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

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
    // A `create` or `start` has it that waits for a hook which may never end: it gives up when init is gone. A `create` may
    // have no init yet.
    let _lock = match force {
        true => state::lock_after(&dir, || kill_early(&dir))?,
        false => state::lock(&dir)?,
    };
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

/// Kills an init that somebody else is about to raise or start. Where that fails, it is they who end it. False where they have
/// none yet, so that this is to be done again.
fn kill_early(dir: &Path) -> bool {
    let Ok(identity) = Identity::load(dir) else { return Identity::exists(dir) };
    if let Some(init) = identity.init.live() {
        let _ = pidfd::send_signal(init.as_fd(), libc::SIGKILL);
    }
    identity.init.pid != 0
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
    remove_whole(&dying)
}

const DYING: char = '~';

/// Removes what a `delete` that was killed has renamed and left.
fn sweep(root: &Root) -> Result<()> {
    let Ok(entries) = fs::read_dir(root.path()) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(DYING)) {
            remove_whole(&path)?;
        }
    }
    Ok(())
}

/// Removes a directory that may be gone, and in which a supervisor may be writing its last lines: it holds the directory by a
/// descriptor, and ends soon after the init that we killed.
fn remove_whole(dir: &Path) -> Result<()> {
    let begun = Instant::now();
    loop {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done.with_context(|| format!("remove {}", dir.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode, OFlags, openat};

    use super::*;

    #[test]
    fn r4_a_directory_in_which_its_supervisor_still_writes_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("~1-web");
        fs::create_dir(&dir).unwrap();
        let supervisor = openat(CWD, &dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let write = |from: usize| {
            for line in from.. {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                let written = openat(&supervisor, format!("log.{line}"), flags, Mode::RUSR);
                if written.is_err() || line == from + 300 {
                    break;
                }
            }
        };
        // So many that it is at work when the others come.
        (0..300).for_each(|line| fs::write(dir.join(format!("log.{line}")), "").unwrap());
        std::thread::scope(|scope| {
            for from in [100_000, 200_000] {
                scope.spawn(move || write(from));
            }
            remove_whole(&dir).unwrap();
        });
        assert!(!dir.exists());
        remove_whole(&dir).unwrap(); // what is gone is fine
    }
}
