//! What a `create` that fails takes back.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::container::hooks;
use crate::container::net_devices::Moved;
use crate::container::rdt;
use crate::container::state::{self, Identity, Lock, ProcessId, State};
use crate::linux::pidfd;

/// How long an init that was killed may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was made so far. Dropping it removes that, in the reverse order.
#[derive(Default)]
pub(super) struct Undo {
    pub dir: Option<PathBuf>,
    pub cgroup: Option<Cgroup>,
    pub rdt: Option<rdt::Group>,
    pub devices: Option<Moved>,
    pub init: Option<(Pid, OwnedFd)>,
    pub pid_file: Option<PathBuf>,
    /// Whose poststop hooks are run, and what is readable when one that hangs is not to be waited for.
    pub poststop: Option<(State, OwnedFd)>,
    /// Who made the container, once others may change it.
    pub others_since: Option<ProcessId>,
}

impl Undo {
    // By field: replacing the value would drop it.
    pub fn disarm(&mut self) {
        (self.dir, self.cgroup, self.rdt, self.init) = (None, None, None, None);
        (self.pid_file, self.poststop, self.others_since) = (None, None, None);
        if let Some(devices) = self.devices.take() {
            devices.keep();
        }
    }

    /// Whether nobody has removed the container since others may. It stays so as long as the lock is held that comes with it.
    fn is_ours(&self) -> (bool, Option<Lock>) {
        let (Some(creator), Some(dir)) = (&self.others_since, &self.dir) else { return (true, None) };
        let lock = state::lock(dir).ok();
        (lock.is_some() && Identity::load(dir).is_ok_and(|identity| identity.creator == *creator), lock)
    }
}

impl Drop for Undo {
    // Each on its own: one that fails must not keep the others from being undone, and the error that brought us here is
    // the one to tell. What is left `delete --force` finds.
    fn drop(&mut self) {
        let (true, _lock) = self.is_ours() else { return };
        if let Some(pid_file) = &self.pid_file {
            let _ = fs::remove_file(pid_file);
        }
        // While there is a network namespace that they can come back from.
        drop(self.devices.take());
        if let Some((_, pidfd)) = &self.init {
            let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
        }
        if let Some(cgroup) = &self.cgroup {
            // It thaws, too: whom the freezer of v1 holds does not die.
            let _ = cgroup.kill();
        }
        if let Some((pid, pidfd)) = &self.init {
            if !pidfd::wait_ended(pidfd.as_fd(), Some(PATIENCE)).unwrap_or(true) {
                return; // a file system that does not answer keeps it, and so all that names it
            }
            let _ = waitpid(*pid, None);
        }
        if let (Some((state, ended_by)), Some(dir)) = (&self.poststop, &self.dir) {
            let _ = hooks::poststop(state, dir, Some(ended_by.as_fd()));
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.delete();
        }
        if let Some(group) = &self.rdt {
            let _ = group.undo();
        }
        if let Some(dir) = &self.dir {
            let _ = fs::remove_dir_all(dir);
        }
    }
}
