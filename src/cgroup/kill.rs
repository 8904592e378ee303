//! Killing every process of a cgroup, however they fork meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use super::directory::{Directory, is_gone};
use super::{Cgroup, PATIENCE, Version, members};

/// How long `kill` waits for a v1 cgroup to freeze, and for those it killed to exit, before its next round.
const ROUND: Duration = Duration::from_millis(100);

impl Cgroup {
    /// Kills every process in the cgroup and below it, and returns when they have exited. Whatever happens, the cgroup
    /// is not left frozen.
    pub fn kill(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        if self.members()?.is_empty() {
            return self.thaw();
        }
        let mut at_once = true;
        loop {
            let killed = if at_once { self.kill_at_once()? } else { None };
            // A v1 cgroup that is frozen does not let its processes die.
            self.thaw()?;
            if killed.is_none() && self.members()?.is_empty() {
                return Ok(());
            }
            let killed = killed.map_or_else(|| self.kill_while_frozen(), Ok)?;
            members::wait_exits(&killed, deadline.min(Instant::now() + ROUND))?;
            let members = self.members()?;
            if members.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "kill the processes of {}: still there after {} s: {}",
                    self.name(),
                    PATIENCE.as_secs(),
                    members::name(members.into_iter().map(Pid::from_raw))
                );
            }
            // Those who survived `cgroup.kill` are not in the v2 tree.
            at_once = false;
            members::tick()?;
        }
    }

    /// `cgroup.kill` (Linux 5.14), which no fork outruns. Returns those that were there just before, or `None` where
    /// there is no such file.
    fn kill_at_once(&self) -> Result<Option<BTreeSet<i32>>> {
        let Some(hierarchy) = self.v2().filter(|hierarchy| hierarchy.owned) else { return Ok(None) };
        let context = || format!("kill the processes of {}", hierarchy.path.display());
        let Some(directory) = Directory::open_if_there(&hierarchy.path).with_context(context)? else {
            return Ok(None);
        };
        let mut members = Vec::new();
        directory.processes_below(&mut members).with_context(context)?;
        match directory.write("cgroup.kill", "1") {
            Ok(()) => Ok(Some(members.into_iter().map(Pid::as_raw).collect())),
            // EOPNOTSUPP: a threaded cgroup.
            Err(error) if is_gone(&error) || error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
            Err(error) => Err(error).with_context(context),
        }
    }

    /// One round of freezing, so that nobody forks meanwhile, killing and thawing. Returns those it has killed.
    fn kill_while_frozen(&self) -> Result<BTreeSet<i32>> {
        // Those whom `cgroup.kill` did not reach are held by the v1 freezer, where there is one.
        let v1 = self.owned().find(|hierarchy| hierarchy.has("freezer"));
        if let Some(freezer) = v1.or_else(|| self.freezer())
            && let Some(directory) =
                Directory::open_if_there(&freezer.path).with_context(|| format!("open {}", freezer.path.display()))?
        {
            let until = Instant::now() + ROUND;
            // One that does not freeze (a process in uninterruptible sleep) is killed as it is; the next round gets the rest.
            let _ = match freezer.version {
                Version::V1 => members::freeze_v1(&directory, until),
                Version::V2 => members::freeze_v2(&directory, until),
            };
        }
        let killed = self.members().and_then(|members| members::kill_each(&members).map(|()| members));
        self.thaw()?;
        killed
    }
}
