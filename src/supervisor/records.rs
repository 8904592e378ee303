//! What a supervisor writes about its container: journal, status file, hook logs.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::handler::log;
use crate::lifecycle::journal::{self, Journal};
use crate::lifecycle::life::Life;
use crate::lifecycle::model::{HookLog as Policy, Plan};
use crate::lifecycle::notice::Notice;
use crate::lifecycle::status::{ExitStatus, Status};
use crate::linux::clock;

/// Where hook logs are, below the state directory.
pub const HOOKS: &str = "hooks";

pub struct Records {
    journal: Option<Journal>,
    pub status: Status,
    written: Option<Status>,
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
        Ok(Records { journal, status, written: None, boot_id: clock::boot_id()?, hook_log_dir })
    }

    /// Writes an event down. A full disk does not stop a container: what cannot be written is lost.
    pub fn tell(&mut self, mut notice: Notice, dir: &Path, plan: &Plan) {
        if let (Some(hook), Some(attempt), None) = (notice.hook, notice.attempt, &notice.log_path) {
            let entry = notice.entry.unwrap_or(0);
            let kept = plan.entries(hook).get(entry).map(|entry| (entry.policy.log, entry.handler.name()));
            if let Some((Policy::File | Policy::Both, "exec")) = kept {
                let name = log::file_name(hook, notice.entry, attempt);
                notice.log_path = Some(dir.join(HOOKS).join(name).display().to_string());
            }
        }
        let record = journal::stamp(notice, &plan.container, clock::now(), &self.boot_id);
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
