//! `status.json`: where a container with hooks is, and how each of its hooks fares (L-08). It is folded from the records
//! of the journal, and replaced atomically at each change, so that anyone can read it at any time.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::journal::{Record, open_regular};
use super::model::{Entry, Hook, Plan};
use super::notice::{Kind, Notice};

/// The status file's name in a state directory and in the history.
pub const FILE_NAME: &str = "status.json";

const TMPFS_MAGIC: i64 = 0x0102_1994;
/// Errors of hooks hold at most 1 KiB of stderr (X-E08), so a status is far smaller than this.
const MAX_READ: u64 = 4 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// A phase of lifecycle.md section 1.
    pub phase: String,
    pub hooks: Hooks,
    /// Once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitStatus>,
    /// What has to be remembered until the exit can be told.
    #[serde(default, skip_serializing_if = "Memory::is_blank")]
    memory: Memory,
}

/// The hooks of a container by name; what is not defined is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre_start: Vec<HookStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_start: Option<HookStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_stop: Option<HookStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub post_stop: Vec<HookStatus>,
}

/// One handler of a hook (L-08).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    pub state: HookState,
    /// `exec`, `httpGet`, `tcpSocket`, `sleep`.
    pub handler: String,
    /// Of the first attempt; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// How many were begun.
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it did not succeed, in the few words that events may hold too (L-07).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The whole story, which may hold output (X-E08): never in an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_path: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookState {
    Pending,
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Skipped,
    Interrupted,
}

impl HookState {
    /// The state that the `outcome` of a record names.
    fn of(outcome: &str) -> HookState {
        match outcome {
            "Succeeded" => HookState::Succeeded,
            "TimedOut" => HookState::TimedOut,
            "Skipped" => HookState::Skipped,
            "Interrupted" => HookState::Interrupted,
            _ => HookState::Failed,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            HookState::Pending => "Pending",
            HookState::Running => "Running",
            HookState::Succeeded => "Succeeded",
            HookState::Failed => "Failed",
            HookState::TimedOut => "TimedOut",
            HookState::Skipped => "Skipped",
            HookState::Interrupted => "Interrupted",
        }
    }
}

/// How the ENTRYPOINT ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitStatus {
    /// Its own code; absent where it cannot be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it, as in `SIGKILL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Of row L-09.
    pub reason: String,
    /// S-22.
    pub killed_after_grace: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Memory {
    executed: bool,
    /// Phase `Running` was entered.
    running: bool,
    grace_ended: bool,
    killed_after_grace: bool,
    pre_start_failed: bool,
    post_start_failed: bool,
    start_failed: bool,
    stop_requested: bool,
    /// A signal went to the ENTRYPOINT that may have been meant to stop it, and was not its stop signal (S-03).
    passed_on: bool,
}

impl Memory {
    fn is_blank(&self) -> bool {
        *self == Memory::default()
    }

    /// Why a hook whose turn had not come when the container exited will not run.
    fn why_skipped(&self) -> &'static str {
        match *self {
            Memory { executed: false, pre_start_failed: true, .. } => "preStart failed",
            Memory { executed: false, .. } => "the ENTRYPOINT was never executed",
            Memory { stop_requested: true, .. } => "container exited before the hook's turn",
            Memory { passed_on: true, .. } => "container exited without a stop request, after another signal",
            _ => "container exited without a stop request",
        }
    }
}

impl Status {
    /// The status of a container that is about to be made: every hook is `Pending`.
    pub fn of(plan: &Plan) -> Status {
        let pending = |entry: &Entry| HookStatus {
            state: HookState::Pending,
            handler: entry.handler.name().to_owned(),
            started_at: None,
            finished_at: None,
            attempts: 0,
            exit_code: None,
            reason: None,
            error: None,
            log_path: None,
        };
        Status {
            phase: "Creating".to_owned(),
            hooks: Hooks {
                pre_start: plan.pre_start.iter().map(pending).collect(),
                post_start: plan.post_start.as_ref().map(pending),
                pre_stop: plan.pre_stop.as_ref().map(pending),
                post_stop: plan.post_stop.iter().map(pending).collect(),
            },
            exit: None,
            memory: Memory::default(),
        }
    }

    /// Every handler with its hook and, for the lists, its index, in the order of a life.
    pub fn entries(&self) -> impl Iterator<Item = (Hook, usize, &HookStatus)> {
        let hooks = &self.hooks;
        let list =
            |hook, list: &'_ [HookStatus]| -> Vec<(Hook, usize)> { (0..list.len()).map(|at| (hook, at)).collect() };
        [
            list(Hook::PreStart, &hooks.pre_start),
            list(Hook::PostStart, hooks.post_start.as_slice()),
            list(Hook::PreStop, hooks.pre_stop.as_slice()),
            list(Hook::PostStop, &hooks.post_stop),
        ]
        .into_iter()
        .flatten()
        .filter_map(|(hook, at)| Some((hook, at, self.entry(hook, at)?)))
    }

    /// One handler; `entry` is 0 for postStart and preStop.
    pub fn entry(&self, hook: Hook, entry: usize) -> Option<&HookStatus> {
        match hook {
            Hook::PreStart => self.hooks.pre_start.get(entry),
            Hook::PostStart => self.hooks.post_start.as_ref(),
            Hook::PreStop => self.hooks.pre_stop.as_ref(),
            Hook::PostStop => self.hooks.post_stop.get(entry),
        }
    }

    fn entry_mut(&mut self, hook: Hook, entry: usize) -> Option<&mut HookStatus> {
        match hook {
            Hook::PreStart => self.hooks.pre_start.get_mut(entry),
            Hook::PostStart => self.hooks.post_start.as_mut(),
            Hook::PreStop => self.hooks.pre_stop.as_mut(),
            Hook::PostStop => self.hooks.post_stop.get_mut(entry),
        }
    }

    /// Takes in what was told. Folding a whole journal gives the status of its end.
    pub fn apply(&mut self, record: &Record) {
        let notice = &record.notice;
        if let Some(hook) = notice.hook {
            self.apply_to_hook(hook, notice, &record.time);
        }
        self.remember(notice);
        self.move_phase(notice);
        if notice.reason == "Exited" {
            self.skip_what_cannot_run_any_more();
            self.exit = Some(self.exit_status(notice));
        } else if let Some(exit) = &mut self.exit {
            exit.killed_after_grace |= self.memory.killed_after_grace;
        }
    }

    fn apply_to_hook(&mut self, hook: Hook, notice: &Notice, time: &str) {
        let Some(entry) = self.entry_mut(hook, notice.entry.unwrap_or(0)) else { return };
        if notice.log_path.is_some() {
            entry.log_path.clone_from(&notice.log_path);
        }
        if notice.reason == "HookStarted" {
            // Of a retried hook, what the last attempt left is no longer so.
            *entry = HookStatus {
                state: HookState::Running,
                started_at: entry.started_at.take().or_else(|| Some(time.to_owned())),
                finished_at: None,
                attempts: notice.attempt.unwrap_or(entry.attempts + 1),
                exit_code: None,
                reason: None,
                error: None,
                log_path: notice.log_path.clone(),
                handler: std::mem::take(&mut entry.handler),
            };
        } else if let Some(outcome) = &notice.outcome {
            // S-09: a preStop that outlived its budget stays `TimedOut`, however its process ended afterwards.
            let kept = entry.state == HookState::TimedOut && entry.finished_at.is_none();
            if !kept {
                entry.state = HookState::of(outcome);
                entry.reason = (entry.state != HookState::Succeeded).then(|| class(&notice.message).to_owned());
            }
            entry.exit_code = notice.exit_code;
            if entry.started_at.is_some() {
                entry.finished_at = Some(time.to_owned());
            }
        } else if notice.reason == "PreStopHookTimedOut" && entry.state == HookState::Running {
            entry.state = HookState::TimedOut;
            entry.reason = Some("grace period used up".to_owned());
        }
    }

    fn remember(&mut self, notice: &Notice) {
        let memory = &mut self.memory;
        // an interrupted hook is no failure of the container's; P-09: an ignored one neither.
        let failed = notice.outcome.as_deref().is_none_or(|outcome| matches!(outcome, "Failed" | "TimedOut"));
        let counts = failed && !notice.message.ends_with("(ignored)");
        match notice.reason.as_str() {
            "EntrypointExecuted" => {
                memory.executed = true;
                memory.running |= self.hooks.post_start.is_none();
            }
            "Started" => memory.running = true,
            "Failed" => memory.start_failed = true,
            "FailedPreStartHook" => memory.pre_start_failed |= counts,
            "FailedPostStartHook" => memory.post_start_failed |= counts,
            "GraceDeadline" => memory.grace_ended = true,
            "SigkillSent" => memory.killed_after_grace |= memory.grace_ended,
            "StopRequested" => memory.stop_requested = true,
            "SignalSent" => memory.passed_on |= notice.kind == Kind::Warning,
            "ExceededGracePeriod" => memory.killed_after_grace = true,
            _ => {}
        }
    }

    fn move_phase(&mut self, notice: &Notice) {
        let phase = match (notice.reason.as_str(), notice.hook) {
            ("Created", _) => "Created",
            ("HookStarted", Some(Hook::PreStart)) if self.exit.is_none() => "PreStart",
            ("EntrypointExecuted", _) if self.hooks.post_start.is_some() => "Starting",
            ("EntrypointExecuted" | "Started", _) => "Running",
            ("StopRequested" | "Killing", _) if self.exit.is_none() => "Stopping",
            ("Exited", _)
                if !self.hooks.post_stop.is_empty() && (self.memory.executed || self.memory.pre_start_failed) =>
            {
                "PostStop"
            }
            ("HookStarted", Some(Hook::PostStop)) => "PostStop",
            ("Exited" | "Deleted", _) => "Stopped",
            (_, Some(Hook::PostStop)) if notice.outcome.is_some() && self.post_stop_is_over() => "Stopped",
            _ => return,
        };
        self.phase = phase.to_owned();
    }

    fn post_stop_is_over(&self) -> bool {
        self.hooks.post_stop.iter().all(|entry| !matches!(entry.state, HookState::Pending | HookState::Running))
    }

    /// The ENTRYPOINT is gone: what waited for an earlier moment will not run (S-13, R-04).
    fn skip_what_cannot_run_any_more(&mut self) {
        let why = self.memory.why_skipped();
        let hooks = &mut self.hooks;
        let earlier = hooks.pre_start.iter_mut().chain(&mut hooks.post_start).chain(&mut hooks.pre_stop);
        for entry in earlier.filter(|entry| entry.state == HookState::Pending) {
            entry.state = HookState::Skipped;
            entry.reason = Some(why.to_owned());
        }
    }

    /// L-09.
    fn exit_status(&self, notice: &Notice) -> ExitStatus {
        let memory = &self.memory;
        let reason = if memory.pre_start_failed && !memory.executed {
            "PreStartHookError"
        } else if memory.start_failed && !memory.executed {
            "StartError"
        } else if memory.post_start_failed {
            "PostStartHookError"
        } else if notice.oom == Some(true) {
            "OOMKilled"
        } else {
            match notice.code {
                Some(0) => "Completed",
                Some(_) => "Error",
                None => "Unknown",
            }
        };
        ExitStatus {
            code: notice.code,
            signal: notice.signal.clone(),
            reason: reason.to_owned(),
            killed_after_grace: memory.killed_after_grace,
        }
    }

    /// Adds the text that is too private for the journal (L-03, X-E08) to a handler that did not succeed.
    pub fn set_error(&mut self, hook: Hook, entry: usize, error: &str) {
        if let Some(entry) = self.entry_mut(hook, entry) {
            entry.error = Some(error.to_owned());
        }
    }

    /// Takes over the texts that no record holds, of attempts that are the last ones here too.
    pub fn take_errors_of(&mut self, other: &Status) {
        for (hook, entry, known) in other.entries() {
            if let Some(ours) = self.entry_mut(hook, entry)
                && ours.attempts == known.attempts
                && ours.state == known.state
            {
                ours.error.clone_from(&known.error);
            }
        }
    }

    /// Replaces the status of a state directory: a reader finds the old one or the new one, whole (threats.md R5).
    pub fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE_NAME);
        replace(dir, FILE_NAME, &serde_json::to_vec(self)?).with_context(|| format!("write {}", path.display()))
    }

    /// Reads the status of a state directory or of a life in the history.
    pub fn load(dir: &Path) -> Result<Status> {
        let path = dir.join(FILE_NAME);
        let mut text = Vec::new();
        open_regular(&path)
            .and_then(|file| file.take(MAX_READ).read_to_end(&mut text))
            .with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))
    }
}

/// The few words after the fixed beginning of an L-07 message: `exit code 1` of `PostStartHook failed: exit code 1`.
pub fn class(message: &str) -> &str {
    message.split_once(": ").map_or(message, |(_, class)| class)
}

/// The OCI `status` of a container with hooks (lifecycle.md section 1). `frozen` is whether its cgroup is; whether it
/// was ever `Running` decides what `Stopping` reads, hence the whole status.
pub fn oci_status(status: &Status, frozen: bool) -> &'static str {
    match status.phase.as_str() {
        "Starting" | "Running" | "Stopping" if frozen => "paused",
        "Creating" => "creating",
        "Created" | "PreStart" | "Starting" => "created",
        "Running" => "running",
        "Stopping" if status.memory.running => "running",
        "Stopping" => "created",
        _ => "stopped",
    }
}

/// Writes beside, syncs, renames. On a tmpfs there is no power cut to survive, and no sync.
fn replace(dir: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    let temporary = dir.join(format!(".{name}.new"));
    let open = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
            .open(&temporary)
    };
    let mut file = open().or_else(|error| match error.kind() {
        // Left by one that died here: whoever writes a status holds the container's lock or is its supervisor.
        std::io::ErrorKind::AlreadyExists => std::fs::remove_file(&temporary).and_then(|()| open()),
        _ => Err(error),
    })?;
    let directory = File::open(dir)?;
    let durable = rustix::fs::fstatfs(&directory)?.f_type as i64 != TMPFS_MAGIC;
    let written = file.write_all(content).and_then(|()| if durable { file.sync_all() } else { Ok(()) });
    if let Err(error) = written.and_then(|()| std::fs::rename(&temporary, dir.join(name))) {
        // The error that is returned says more than the one of the clean-up.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    if durable { directory.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::journal::stamp;
    use crate::lifecycle::model::{Handler, Policy};
    use crate::lifecycle::time::Instant;

    fn entry(hook: Hook) -> Entry {
        let handler = Handler::Exec { command: vec!["/bin/drain".into()] };
        Entry { handler, policy: Policy::default_of(hook), source: "test".into() }
    }

    fn plan() -> Plan {
        Plan {
            pre_start: vec![entry(Hook::PreStart), entry(Hook::PreStart)],
            post_start: Some(entry(Hook::PostStart)),
            pre_stop: Some(entry(Hook::PreStop)),
            post_stop: vec![entry(Hook::PostStop)],
            ..Plan::empty("web")
        }
    }

    fn tell(status: &mut Status, notice: Notice) {
        status.apply(&stamp(notice, "web", Instant(0), "boot"));
    }

    fn plain(status: &mut Status, reasons: &[&str]) {
        for reason in reasons {
            tell(status, Notice::normal(reason, ""));
        }
    }

    fn started(hook: Hook, entry: usize, attempt: u32) -> Notice {
        Notice {
            hook: Some(hook),
            entry: hook.is_list().then_some(entry),
            attempt: Some(attempt),
            log_path: Some(format!("/logs/{hook}-{attempt}.log")),
            ..Notice::normal("HookStarted", "")
        }
    }

    fn ended(hook: Hook, entry: usize, reason: &str, outcome: &str, message: &str) -> Notice {
        Notice {
            outcome: Some(outcome.into()),
            exit_code: Some(i32::from(outcome != "Succeeded")),
            hook: Some(hook),
            entry: hook.is_list().then_some(entry),
            ..Notice::normal(reason, message)
        }
    }

    fn exited(code: i32) -> Notice {
        Notice { code: Some(code), ..Notice::normal("Exited", "") }
    }

    /// Up to phase `Starting` with postStart running.
    fn starting() -> Status {
        let mut status = Status::of(&plan());
        plain(&mut status, &["Created"]);
        for at in 0..2 {
            tell(&mut status, started(Hook::PreStart, at, 1));
            tell(&mut status, ended(Hook::PreStart, at, "HookSucceeded", "Succeeded", ""));
        }
        plain(&mut status, &["EntrypointExecuted"]);
        tell(&mut status, started(Hook::PostStart, 0, 1));
        status
    }

    fn running() -> Status {
        let mut status = starting();
        tell(&mut status, ended(Hook::PostStart, 0, "HookSucceeded", "Succeeded", ""));
        plain(&mut status, &["Started"]);
        status
    }

    #[test]
    fn l_08_every_hook_is_pending_at_first_and_what_there_is_none_of_is_absent() {
        let json = serde_json::to_value(Status::of(&plan())).unwrap();
        assert_eq!(json["phase"], "Creating");
        assert_eq!(json["hooks"]["preStart"].as_array().unwrap().len(), 2);
        let pending = serde_json::json!({ "state": "Pending", "handler": "exec", "attempts": 0 });
        assert_eq!(json["hooks"]["postStart"], pending);
        assert_eq!(json["hooks"]["postStop"], serde_json::json!([pending]));
        assert!(json.get("exit").is_none());

        let json = serde_json::to_value(Status::of(&Plan::empty("web"))).unwrap();
        assert_eq!(json, serde_json::json!({ "phase": "Creating", "hooks": {} }));
    }

    #[test]
    fn l_08_a_hook_that_failed_tells_all_of_itself() {
        let mut status = running();
        plain(&mut status, &["StopRequested"]);
        tell(&mut status, started(Hook::PreStop, 0, 1));
        assert_eq!(status.hooks.pre_stop.as_ref().unwrap().state, HookState::Running);
        let mut end = ended(Hook::PreStop, 0, "FailedPreStopHook", "Failed", "PreStopHook failed: exit code 3");
        end.exit_code = Some(3);
        tell(&mut status, end);
        status.set_error(Hook::PreStop, 0, "command '/bin/drain' exited with 3: db not reachable");

        let json = serde_json::to_value(&status).unwrap();
        let hook = &json["hooks"]["preStop"];
        assert_eq!(hook["state"], "Failed");
        assert_eq!(hook["attempts"], 1);
        assert_eq!(hook["exitCode"], 3);
        assert_eq!(hook["reason"], "exit code 3");
        assert_eq!(hook["error"], "command '/bin/drain' exited with 3: db not reachable");
        assert_eq!(hook["logPath"], "/logs/preStop-1.log");
        for field in ["startedAt", "finishedAt"] {
            assert!(crate::wall::parse_rfc3339(hook[field].as_str().unwrap()).is_some(), "{field}");
        }
    }

    #[test]
    fn l_08_attempts_are_counted_and_the_last_one_is_shown() {
        let mut status = starting();
        let first = status.hooks.post_start.clone().unwrap().started_at;
        tell(&mut status, ended(Hook::PostStart, 0, "HookRetrying", "Failed", "attempt 1 failed: exit code 1"));
        assert_eq!(status.hooks.post_start.as_ref().unwrap().state, HookState::Failed);
        tell(&mut status, started(Hook::PostStart, 0, 2));
        tell(&mut status, ended(Hook::PostStart, 0, "HookSucceeded", "Succeeded", ""));
        let hook = status.hooks.post_start.unwrap();
        assert_eq!((hook.state, hook.attempts, hook.exit_code), (HookState::Succeeded, 2, Some(0)));
        assert_eq!((hook.started_at, hook.reason), (first, None));
        assert_eq!(hook.log_path.as_deref(), Some("/logs/postStart-2.log"));
    }

    #[test]
    fn the_phases_of_a_whole_life_follow_from_its_records() {
        let mut status = Status::of(&plan());
        let mut phases = vec![status.phase.clone()];
        let mut go = |notice: Notice| {
            tell(&mut status, notice);
            if phases.last() != Some(&status.phase) {
                phases.push(status.phase.clone());
            }
        };
        go(Notice::normal("Created", ""));
        go(started(Hook::PreStart, 0, 1));
        go(ended(Hook::PreStart, 0, "HookSucceeded", "Succeeded", ""));
        go(Notice::normal("EntrypointExecuted", ""));
        go(started(Hook::PostStart, 0, 1));
        go(ended(Hook::PostStart, 0, "HookSucceeded", "Succeeded", ""));
        go(Notice::normal("Started", ""));
        go(Notice::normal("StopRequested", ""));
        go(started(Hook::PreStop, 0, 1));
        go(exited(0));
        go(started(Hook::PostStop, 0, 1));
        go(ended(Hook::PostStop, 0, "HookSucceeded", "Succeeded", ""));
        go(Notice::normal("Deleted", ""));
        assert_eq!(
            phases,
            ["Creating", "Created", "PreStart", "Starting", "Running", "Stopping", "PostStop", "Stopped"]
        );
    }

    #[test]
    fn the_oci_status_is_created_until_post_start_has_succeeded() {
        let mut status = Status::of(&plan());
        assert_eq!(oci_status(&status, false), "creating");
        status = starting();
        assert_eq!((status.phase.as_str(), oci_status(&status, false)), ("Starting", "created"));
        assert_eq!(oci_status(&status, true), "paused");
        plain(&mut status, &["StopRequested"]);
        assert_eq!((status.phase.as_str(), oci_status(&status, false)), ("Stopping", "created"));

        status = running();
        assert_eq!((oci_status(&status, false), oci_status(&status, true)), ("running", "paused"));
        plain(&mut status, &["StopRequested"]);
        assert_eq!(oci_status(&status, false), "running");
        tell(&mut status, exited(0));
        assert_eq!((status.phase.as_str(), oci_status(&status, true)), ("PostStop", "stopped"));
    }

    #[test]
    fn p_09_an_ignored_post_start_failure_leaves_the_exit_reason_alone() {
        for (end, reason) in [("", "PostStartHookError"), (" (ignored)", "Completed")] {
            let mut status = starting();
            let message = format!("PostStartHook failed: exit code 1{end}");
            tell(&mut status, ended(Hook::PostStart, 0, "FailedPostStartHook", "Failed", &message));
            tell(&mut status, exited(0));
            assert_eq!(status.exit.unwrap().reason, reason);
        }
    }

    #[test]
    fn l_09_the_exit_reasons() {
        let reason = |notices: &[Notice]| {
            let mut status = running();
            notices.iter().for_each(|notice| tell(&mut status, notice.clone()));
            status.exit.unwrap().reason
        };
        assert_eq!(reason(&[exited(0)]), "Completed");
        assert_eq!(reason(&[exited(3)]), "Error");
        assert_eq!(reason(&[Notice { oom: Some(true), ..exited(137) }]), "OOMKilled");
        assert_eq!(reason(&[Notice { code: None, ..exited(0) }]), "Unknown");

        let mut status = Status::of(&plan());
        plain(&mut status, &["Created"]);
        tell(&mut status, started(Hook::PreStart, 0, 1));
        tell(&mut status, ended(Hook::PreStart, 0, "FailedPreStartHook", "Failed", "PreStartHook failed: exit code 1"));
        tell(&mut status, exited(125));
        assert_eq!(status.exit.as_ref().unwrap().reason, "PreStartHookError");
        // the rest is skipped.
        let states: Vec<HookState> = status.entries().map(|(_, _, hook)| hook.state).collect();
        use HookState::{Failed, Pending, Skipped};
        assert_eq!(states, [Failed, Skipped, Skipped, Skipped, Pending]);
        assert_eq!(status.hooks.pre_stop.unwrap().reason.as_deref(), Some("preStart failed"));

        let mut status = Status::of(&Plan { pre_start: vec![], ..plan() });
        plain(&mut status, &["Created", "Failed"]);
        tell(&mut status, exited(127));
        assert_eq!(status.exit.unwrap().reason, "StartError");
        assert_eq!(status.hooks.pre_stop.unwrap().reason.as_deref(), Some("the ENTRYPOINT was never executed"));
    }

    #[test]
    fn p_10_an_interrupted_post_start_does_not_change_the_exit_reason() {
        let mut status = starting();
        let message = "PostStartHook failed: container exited (code 0) before the hook finished";
        tell(&mut status, ended(Hook::PostStart, 0, "FailedPostStartHook", "Interrupted", message));
        tell(&mut status, exited(0));
        assert_eq!(status.hooks.post_start.as_ref().unwrap().state, HookState::Interrupted);
        assert_eq!(status.exit.unwrap().reason, "Completed");
    }

    #[test]
    fn s_09_a_pre_stop_that_used_up_the_budget_stays_timed_out_until_its_process_ends() {
        let mut status = running();
        plain(&mut status, &["StopRequested"]);
        tell(&mut status, started(Hook::PreStop, 0, 1));
        tell(&mut status, Notice { hook: Some(Hook::PreStop), ..Notice::warning("PreStopHookTimedOut", "") });
        let hook = status.hooks.pre_stop.clone().unwrap();
        assert_eq!((hook.state, hook.finished_at), (HookState::TimedOut, None));
        tell(&mut status, ended(Hook::PreStop, 0, "PreStopHookInterrupted", "Interrupted", ""));
        let hook = status.hooks.pre_stop.clone().unwrap();
        assert_eq!((hook.state, hook.finished_at.is_some()), (HookState::TimedOut, true));
    }

    #[test]
    fn s_11_a_skipped_pre_stop_was_never_started() {
        let mut status = running();
        let mut skipped = ended(Hook::PreStop, 0, "PreStopHookSkipped", "Skipped", "no grace period");
        skipped.exit_code = None;
        tell(&mut status, skipped);
        let hook = serde_json::to_value(status.hooks.pre_stop.unwrap()).unwrap();
        let whole =
            serde_json::json!({ "state": "Skipped", "handler": "exec", "attempts": 0, "reason": "no grace period" });
        assert_eq!(hook, whole);
    }

    #[test]
    fn s_22_a_sigkill_at_the_end_of_the_budget_is_told_with_the_exit() {
        let killed = |reasons: &[&str]| {
            let mut status = running();
            plain(&mut status, reasons);
            tell(&mut status, Notice { signal: Some("SIGKILL".into()), ..exited(137) });
            status.exit.unwrap()
        };
        assert!(killed(&["StopRequested", "SignalSent", "GraceDeadline", "SigkillSent"]).killed_after_grace);
        assert!(killed(&["StopRequested", "SignalSent", "SigkillSent", "ExceededGracePeriod"]).killed_after_grace);
        // S-04: asked for by hand.
        let by_hand = killed(&["StopRequested", "SigkillSent"]);
        assert!(!by_hand.killed_after_grace);
        assert_eq!(by_hand.signal.as_deref(), Some("SIGKILL"));
    }

    #[test]
    fn a_status_reads_back_as_it_was_saved_and_goes_on_from_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut status = running();
        plain(&mut status, &["StopRequested", "GraceDeadline"]);
        status.save(dir.path()).unwrap();
        // A writer that died halfway is no obstacle.
        std::fs::write(dir.path().join(".status.json.new"), "{").unwrap();
        status.save(dir.path()).unwrap();
        let mut read = Status::load(dir.path()).unwrap();
        assert_eq!(read, status);
        plain(&mut read, &["SigkillSent"]);
        tell(&mut read, exited(137));
        assert!(read.exit.unwrap().killed_after_grace);
        use std::os::unix::fs::MetadataExt;
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap()).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].metadata().unwrap().mode() & 0o7777, 0o600);
    }
}
