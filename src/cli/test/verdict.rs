//! What a rehearsal showed: a verdict for each hook, and the picture.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::super::args::PictureFormat;
use super::super::{hooks, timeline};
use crate::container::id::ContainerId;
use crate::handler::log::last_stderr_lines;
use crate::lifecycle::describe;
use crate::lifecycle::journal::{self, Record};
use crate::lifecycle::message::hook_failed;
use crate::lifecycle::model::{Hook, Plan};
use crate::lifecycle::status::{HookState, Status};

pub struct Verdict {
    lines: Vec<Line>,
    exit: String,
    started: bool,
    stories: Vec<String>,
    picture: String,
    status: Value,
    timeline: Value,
    container: String,
}

/// One handler: whether it did what it should, and in what words.
struct Line {
    good: bool,
    text: String,
}

impl Verdict {
    /// Reads the records of a life that is over, before they move to the history.
    pub fn of(id: &ContainerId, dir: &Path, plan: &Plan) -> Result<Verdict> {
        let records = journal::read(&dir.join(journal::FILE_NAME))?;
        let status = Status::load(dir)?;
        let story = timeline::read(dir)?;
        let started = records.iter().any(|record| record.notice.reason == "Started");
        Ok(Verdict {
            lines: status.entries().filter_map(|(hook, at, state)| line(plan, hook, at, state)).collect(),
            exit: exit(&status),
            started,
            stories: stories(id, dir, plan, &records),
            picture: timeline::render(story.as_slice(), PictureFormat::Text, timeline::Terminal::of_stdout()),
            status: hooks::json(&status),
            timeline: story.as_ref().map_or(Value::Null, |story| story.life.json()),
            container: plan.container.clone(),
        })
    }

    pub fn passed(&self) -> bool {
        self.started && self.lines.iter().all(|line| line.good)
    }

    pub fn text(&self, quiet: bool) -> String {
        let mut text = String::new();
        if !quiet {
            text += &self.stories.iter().map(|story| format!("\n{story}")).collect::<String>();
            text += &format!("\n{}\n", self.picture);
        }
        for line in &self.lines {
            text += &format!("{}  {}\n", if line.good { "ok    " } else { "FAILED" }, line.text);
        }
        text += &format!("{}  entrypoint: {}\n", if self.started { "ok    " } else { "FAILED" }, self.exit);
        text + &format!("{}: {}\n", self.container, if self.passed() { "passed" } else { "failed" })
    }

    pub fn json(&self) -> Value {
        json!({
            "container": self.container,
            "passed": self.passed(),
            "hooks": self.status["hooks"],
            "exit": self.status["exit"],
            "timeline": self.timeline,
        })
    }
}

/// An ended hook that is not `Succeeded` is a failed verdict; one that had no occasion is none.
fn line(plan: &Plan, hook: Hook, at: usize, state: &crate::lifecycle::status::HookStatus) -> Option<Line> {
    let entry = plan.entries(hook).get(at)?;
    let good = !matches!(state.state, HookState::Failed | HookState::TimedOut | HookState::Interrupted);
    let reason = state.reason.as_deref().filter(|reason| !reason.is_empty()).map(|reason| format!(": {reason}"));
    let text = format!(
        "{hook} {} {}{}",
        describe::summary(&entry.handler),
        state.state.name().to_lowercase(),
        reason.unwrap_or_default()
    );
    Some(Line { good, text })
}

fn exit(status: &Status) -> String {
    match &status.exit {
        None => "has not exited".into(),
        Some(exit) => {
            let code = exit.code.map_or("unknown".to_owned(), |code| code.to_string());
            let killed = if exit.killed_after_grace { ", killed at the end of its grace period" } else { "" };
            format!("exit code {code} ({}){killed}", exit.reason)
        }
    }
}

/// interface.md section 7, for each hook that did not succeed.
fn stories(id: &ContainerId, dir: &Path, plan: &Plan, records: &[Record]) -> Vec<String> {
    let failed = |record: &&Record| {
        matches!(record.notice.outcome.as_deref(), Some("Failed" | "TimedOut" | "Interrupted"))
            && record.notice.reason != "HookRetrying"
    };
    let story = |record: &Record| {
        let hook = record.notice.hook?;
        let entry = plan.entries(hook).get(record.notice.entry.unwrap_or(0))?;
        let attempt = record.notice.attempt.unwrap_or(1);
        let path = dir.join("hooks").join(crate::handler::log::file_name(hook, record.notice.entry, attempt));
        let stderr = last_stderr_lines(&path, 5).unwrap_or_default();
        Some(format!("bookend: {}", hook_failed(id.as_str(), hook, entry, record, records, &stderr)))
    };
    records.iter().filter(failed).filter_map(story).collect()
}
