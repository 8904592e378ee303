//! Who comes after a supervisor that was killed (S-27, S-28): the verb that misses it starts another, and that one takes the
//! container over by what was written down.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::attempt::{Attempt, left_behind};
use super::boot::KilledAtBirth;
use super::fault::Armed;
use super::legacy::{Legacy, Run};
use super::records::{HOOKS, Records};
use super::{Parts, Supervisor, Watched, boot, control};
use crate::container::exec::hold_namespaces;
use crate::container::id::ContainerId;
use crate::container::root::Root;
use crate::container::state::{ContainerError, Init, State, lock};
use crate::handler::log::HookLog;
use crate::handler::report;
use crate::lifecycle::fault::Faults;
use crate::lifecycle::journal;
use crate::lifecycle::life::{Course, Phase, Stage, Stopping};
use crate::lifecycle::model::{Handler, Hook, Plan};
use crate::lifecycle::resume::{Found, resume};
use crate::linux::{clock, fd, pidfd};

/// What became of a container whose supervisor does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// All is over, or nothing has begun.
    NotNeeded,
    /// Another verb has started a successor, or we one that was killed in its turn.
    Done,
    /// We have.
    Begun,
}

/// Starts a supervisor for a container whose own is gone before its work was done; of several verbs at once one does.
///
/// # Errors
/// What was written down cannot be used, or the successor failed.
pub fn ensure(root: &Root, id: &ContainerId, dir: &Path) -> Result<Succession> {
    if !is_vacant(dir)? {
        return Ok(Succession::NotNeeded);
    }
    let _lock = match lock(dir) {
        Err(error) if matches!(error.downcast_ref(), Some(ContainerError::NotFound(_))) => {
            return Ok(Succession::NotNeeded);
        }
        lock => lock?,
    };
    if control::is_there(dir) {
        return Ok(Succession::Done);
    }
    if !is_vacant(dir)? {
        return Ok(Succession::NotNeeded);
    }
    match fs::remove_file(dir.join(control::NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).context("remove the old control.sock");
        }
        _ => {}
    }
    let listener = control::listen_in(fd::open_path(dir)?.as_fd())?;
    match boot::spawn_successor(root, id, listener.as_fd()) {
        Err(error) if error.downcast_ref() == Some(&KilledAtBirth) => Ok(Succession::Done), // whoever asks will miss it
        begun => begun.map(|()| Succession::Begun),
    }
}

/// Whether a supervisor wrote down what its successor needs, and has not come to the end.
fn is_vacant(dir: &Path) -> Result<bool> {
    match Legacy::load(dir) {
        Ok(legacy) => Ok(legacy.is_some()),
        Err(_) if !dir.exists() => Ok(false),
        Err(error) => Err(error).context("its supervisor is gone, and what it has left behind cannot be used"),
    }
}

/// What a successor knows before it reads what was written down.
pub struct Place {
    pub root: Root,
    pub id: ContainerId,
    pub dir: PathBuf,
    pub state: State,
    pub plan: Plan,
    pub hook_log_dir: Option<PathBuf>,
    pub faults: Faults,
    pub listener: OwnedFd,
}

/// Becomes the container's supervisor, and does what is to be done at once.
pub fn succeed(place: Place) -> Result<Supervisor> {
    let Place { root, id, dir, state, plan, hook_log_dir, faults, listener } = place;
    let legacy = Legacy::load(&dir)?.context("the container is over")?;
    let told = journal::read(&dir.join(journal::FILE_NAME)).unwrap_or_default();
    let records = Records::recover(&dir, &plan, hook_log_dir, &told)?;
    let init = state.init_id().find().map(|(pidfd, proc_dir)| Watched { pidfd, proc_dir, parent: false });
    // Where init is gone they are too; a postStop that needs them then fails and says so.
    let namespaces = match &init {
        Some(init) if legacy.life.may_need_namespaces(&plan) => {
            let init = Init { pid: Pid::from_raw(state.pid), pidfd: init.pidfd.try_clone()? };
            hold_namespaces(&init, &dir).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let mut supervisor = Supervisor::new(Parts {
        id,
        root,
        dir,
        state,
        plan,
        records: Some(records),
        init,
        listener: Some(listener),
        namespaces,
        relay: None,
        foreground: false,
        readiness: None,
    })?;
    supervisor.faults = Armed::of(faults);
    supervisor.told_outside_cgroup = told.iter().any(|record| record.notice.reason == "HookOutsideCgroup");
    supervisor.go_on_from(legacy);
    Ok(supervisor)
}

impl Supervisor {
    fn go_on_from(&mut self, legacy: Legacy) {
        let Legacy { life, runs, foreground, .. } = legacy;
        self.life = life;
        let exit = match &self.init {
            Some(init) if !pidfd::has_ended(init.pidfd.as_fd()) => None,
            _ => Some(self.exit_of_init()),
        };
        if exit.is_some() {
            self.init = None;
        }
        let exit_told = self.records.as_ref().is_some_and(|records| records.status.exit.is_some());
        let wanted: Vec<Run> = runs.iter().filter(|run| self.is_wanted(run)).cloned().collect();
        let attempts = wanted.iter().map(|run| (run.hook, run.entry, run.attempt)).collect();
        runs.into_iter().for_each(|run| self.take_on(run));
        self.sleep_on();
        let found = Found { exit, exit_told, attempts, forsaken: foreground };
        let now = clock::now();
        let (life, actions) = resume(&self.plan, self.life.clone(), &found, now);
        self.busy = true;
        self.turn(now, life, actions);
        self.take_up_events();
    }

    /// Whether an attempt's end is still to be heard.
    fn is_wanted(&self, run: &Run) -> bool {
        let runs_on = matches!(
            &self.life.phase,
            Phase::Stopping(Stopping {
                stage: Stage::Signalled { pre_stop_runs_on: true, .. } | Stage::Killed { pre_stop_runs_on: true },
                ..
            })
        );
        match *self.life.course(run.hook) {
            Course::Trying { entry, attempt, .. } => (entry, attempt) == (run.entry, run.attempt),
            _ => run.hook == Hook::PreStop && runs_on, // S-09
        }
    }

    /// An attempt that a predecessor began. One that should have been ended is.
    fn take_on(&mut self, run: Run) {
        let Some(policy) = self.plan.entries(run.hook).get(run.entry).map(|entry| &entry.policy) else { return };
        let list_entry = run.hook.is_list().then_some(run.entry);
        let log = HookLog::go_on(&self.dir.join(HOOKS), run.hook, list_entry, run.attempt, policy.log);
        let path = self.dir.join(report::left_behind(run.hook, run.entry, run.attempt));
        let child = left_behind(&run, path, log, boot::tree(&self.state.cgroup, run.hook, run.entry));
        let mut attempt = Attempt::child((run.hook, run.entry, run.attempt), child, run.since, policy.timeout);
        if !self.is_wanted(&run) {
            attempt.cancel(clock::now());
        }
        self.attempts.push(attempt);
    }

    /// A sleep has no process; it ends when it would have ended.
    fn sleep_on(&mut self) {
        for hook in Hook::ALL {
            let Course::Trying { entry, since, .. } = *self.life.course(hook) else { continue };
            let Some(spec) = self.plan.entries(hook).get(entry) else { continue };
            if let Handler::Sleep { seconds } = spec.handler
                && let Some(late) = self.sleep_is_late_by(hook)
            {
                let span = Duration::from_secs(seconds) + late;
                self.attempts.push(Attempt::sleep(hook, entry, span, since, spec.policy.timeout));
            }
        }
    }
}
