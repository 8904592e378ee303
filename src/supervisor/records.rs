//! What a supervisor writes about its container: journal, status file, hook logs, and what its successor needs to know.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::legacy::{Legacy, Run};

use crate::foreign;
use crate::handler::log;
use crate::lifecycle::journal::{self, Journal, Record};
use crate::lifecycle::life::Life;
use crate::lifecycle::model::{HookLog as Policy, Plan};
use crate::lifecycle::notice::Notice;
use crate::lifecycle::status::{ExitStatus, Status};
use crate::lifecycle::time::Instant;
use crate::linux::clock;

/// Where hook logs are, below the state directory.
pub const HOOKS: &str = "hooks";

pub struct Records {
    journal: Option<Journal>,
    pub status: Status,
    written: Option<Status>,
    remembered: Option<Legacy>,
    boot_id: String,
    hook_log_dir: Option<PathBuf>,
}

impl Records {
    /// Begins the records of a new container: its first event is `Created`.
    pub fn create(dir: &Path, plan: &Plan, hook_log_dir: Option<PathBuf>) -> Result<Records> {
        let mut records = Records::open(dir, plan, hook_log_dir)?;
        records.tell(Notice::normal("Created", format!("Created container: {}", plan.container)), dir, plan);
        records.settle(dir, &Life::created());
        Ok(records)
    }

    /// Goes on with records that another process of bookend has begun.
    pub fn open(dir: &Path, plan: &Plan, hook_log_dir: Option<PathBuf>) -> Result<Records> {
        let status = Status::load(dir).unwrap_or_else(|_| Status::of(plan));
        let journal = Some(Journal::create(dir)?);
        Ok(Records { journal, status, written: None, remembered: None, boot_id: clock::boot_id()?, hook_log_dir })
    }

    /// Goes on with the records of a predecessor that was killed, perhaps between the journal and the status file.
    pub fn recover(dir: &Path, plan: &Plan, hook_log_dir: Option<PathBuf>, told: &[Record]) -> Result<Records> {
        let mut records = Records::open(dir, plan, hook_log_dir)?;
        let mut status = Status::of(plan);
        told.iter().for_each(|record| status.apply(record));
        status.take_errors_of(&records.status);
        records.status = status;
        Ok(records)
    }

    /// Writes down what a successor needs (S-28): before anything is done that follows from it.
    pub fn remember(&mut self, dir: &Path, life: &Life, runs: Vec<Run>, foreground: bool) {
        let legacy = Legacy { boot_id: self.boot_id.clone(), foreground, life: life.clone(), runs };
        // On a full disk there is no successor, and the container goes on.
        if self.remembered.as_ref() != Some(&legacy) && legacy.save(dir).is_ok() {
            self.remembered = Some(legacy);
        }
    }

    /// Writes an event down. A full disk does not stop a container: what cannot be written is lost.
    pub fn tell(&mut self, notice: Notice, dir: &Path, plan: &Plan) {
        self.tell_at(clock::now(), notice, dir, plan);
    }

    /// The same of what happened at the moment that a turn was about.
    pub fn tell_at(&mut self, at: Instant, mut notice: Notice, dir: &Path, plan: &Plan) {
        if let (Some(hook), Some(attempt), None) = (notice.hook, notice.attempt, &notice.log_path) {
            let entry = notice.entry.unwrap_or(0);
            let kept = plan.entries(hook).get(entry).map(|entry| (entry.policy.log, entry.handler.name()));
            if let Some((Policy::File | Policy::Both, "exec")) = kept {
                let name = log::file_name(hook, notice.entry, attempt);
                notice.log_path = Some(dir.join(HOOKS).join(name).display().to_string());
            }
        }
        let record = journal::stamp(notice, &plan.container, at, &self.boot_id);
        self.status.apply(&record);
        if let Some(journal) = &mut self.journal {
            let _ = journal.append(&record);
        }
    }

    /// Brings `status.json` up to date.
    pub fn settle(&mut self, dir: &Path, life: &Life) {
        self.status.phase = life.phase_name().to_owned();
        if let (Some(exit), Some(status)) = (life.exit, &mut self.status.exit) {
            *status = ExitStatus {
                code: life.exit_code(),
                signal: exit.signal.map(|signal| signal.to_string()),
                reason: life.reason().to_owned(),
                killed_after_grace: life.killed_after_grace,
            };
        }
        if self.written.as_ref() != Some(&self.status) && self.status.save(dir).is_ok() {
            self.written = Some(self.status.clone());
        }
    }

    /// `--hook-log-dir`
    pub fn keep_copy(&self, log: &Path, id: &str) {
        if let Some(dir) = &self.hook_log_dir {
            // A copy that cannot be made is no concern of the container's.
            let _ = log::keep_copy(log, dir, id);
        }
    }
}

/// Has a panic of this process told in the container's journal (threats.md R24): its stderr may be nobody's.
pub fn tell_panics(dir: &Path, container: &str) {
    let (dir, container) = (dir.to_owned(), container.to_owned());
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell_failure(&dir, &container, &panic.to_string());
        before(panic);
    }));
}

/// The last words of a supervisor.
pub fn tell_failure(dir: &Path, container: &str, why: &str) {
    let why = foreign::legible_within(why, 1024);
    let notice = Notice::warning("SupervisorFailed", format!("the supervisor failed: {why}"));
    let boot_id = clock::boot_id().unwrap_or_default();
    let record = journal::stamp(notice, container, clock::now(), &boot_id);
    // Where this cannot be written either, there is nobody left to tell.
    let _ = Journal::create(dir).and_then(|mut journal| Ok(journal.append(&record)?));
}
