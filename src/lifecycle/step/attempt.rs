//! How one attempt of a hook begins, ends, and is followed by another (lifecycle.md sections 7 and 8).
//!
//! Every `HookStarted` is followed by exactly one record of the same attempt that has an `outcome`: `HookRetrying` if
//! there will be another, else the hook's end. A hook that ends between two attempts has an end without an attempt.

use std::time::Duration;

use super::{Action, Turn};
use crate::lifecycle::life::{Course, Phase};
use crate::lifecycle::model::{Entry, Hook, HookLog, OnFailure};
use crate::lifecycle::notice::Notice;
use crate::lifecycle::outcome::{Failure, Outcome, Success};

/// What the end of an attempt means for the hook.
pub(super) enum Verdict {
    Succeeded,
    /// Failed, and the policy says that it does not count.
    Ignored,
    Failed(Failure),
    Again(Course),
}

impl Turn<'_> {
    pub(super) fn begin(&mut self, hook: Hook, entry: usize, attempt: u32) -> Course {
        let message = format!("{hook} {} started", self.entry(hook, entry).handler.name());
        let notice = Notice { attempt: Some(attempt), ..Notice::normal("HookStarted", message) };
        self.tell_of(hook, entry, notice);
        self.act(Action::Run { hook, entry, attempt });
        Course::Trying { entry, attempt, since: self.now }
    }

    /// Tells how an attempt ended and says what follows from it.
    pub(super) fn judge(&mut self, hook: Hook, course: &Course, outcome: Outcome) -> Verdict {
        let (mut failure, word) = match outcome {
            Outcome::Succeeded(success) => {
                self.succeeded(hook, course, success);
                return Verdict::Succeeded;
            }
            Outcome::Failed(failure) => (failure, "Failed"),
            Outcome::TimedOut { limit } => (timed_out(limit), "TimedOut"),
        };
        for notice in std::mem::take(&mut failure.notices) {
            self.tell_of(hook, course.entry(), notice);
        }
        let with_code = |notice| Notice { exit_code: failure.exit_code, ..notice };
        if let Some(next) = self.next_attempt(hook, course) {
            let message = format!("{hook} attempt {} failed: {}", course.attempt().unwrap_or(1), failure.class);
            self.ended(hook, course, word, with_code(Notice::normal("HookRetrying", message)));
            return Verdict::Again(next);
        }
        let policy = &self.entry(hook, course.entry()).policy;
        let ignored = policy.on_failure == OnFailure::Ignore;
        if policy.log == HookLog::None {
            failure.last_line = None; // L-03
        }
        let (title, class) = (title(hook), &failure.class);
        // P-09, R-05: for the others `ignore` is what everybody expects.
        let suffix = if ignored && matches!(hook, Hook::PreStart | Hook::PostStart) { " (ignored)" } else { "" };
        let notice = Notice::warning(&format!("Failed{title}"), format!("{title} failed: {class}{suffix}"));
        self.ended(hook, course, word, Notice { exit_code: failure.exit_code, ..notice });
        match ignored {
            true => Verdict::Ignored,
            false => Verdict::Failed(failure),
        }
    }

    fn succeeded(&mut self, hook: Hook, course: &Course, success: Success) {
        for notice in success.notices {
            self.tell_of(hook, course.entry(), notice);
        }
        let message = format!("{hook} {} succeeded", self.entry(hook, course.entry()).handler.name());
        let notice =
            Notice { exit_code: success.exit_code, detail: success.detail, ..Notice::normal("HookSucceeded", message) };
        self.ended(hook, course, "Succeeded", notice);
    }

    /// T-04 to T-06: the next attempt, if there is one left and the time for it is not over.
    fn next_attempt(&self, hook: Hook, course: &Course) -> Option<Course> {
        let policy = &self.entry(hook, course.entry()).policy;
        let attempt = course.attempt()?;
        let until = self.now + policy.retry_delay;
        let in_time = match (hook, &self.life.phase) {
            (Hook::PostStart, phase) => *phase == Phase::Starting,
            (Hook::PreStop, Phase::Stopping(stopping)) => until < stopping.budget_end,
            _ => true,
        };
        let next = Course::Pausing { entry: course.entry(), attempt: attempt + 1, until };
        (attempt <= policy.retries && in_time).then_some(next)
    }

    /// The hook was cut off, in an attempt or between two of them.
    pub(super) fn interrupted(&mut self, hook: Hook, course: &Course, notice: Notice) {
        self.ended(hook, course, "Interrupted", notice);
    }

    /// The record that says how an attempt, or the hook between two attempts, came to its end.
    pub(super) fn ended(&mut self, hook: Hook, course: &Course, outcome: &str, notice: Notice) {
        let notice = Notice {
            attempt: course.attempt(),
            duration_ms: course.elapsed_ms(self.now),
            outcome: Some(outcome.into()),
            ..notice
        };
        self.tell_of(hook, course.entry(), notice);
    }

    pub(super) fn tell_of(&mut self, hook: Hook, entry: usize, notice: Notice) {
        let handler = Some(self.entry(hook, entry).handler.name().to_owned());
        self.tell(Notice { hook: Some(hook), entry: hook.is_list().then_some(entry), handler, ..notice });
    }

    fn entry(&self, hook: Hook, entry: usize) -> &Entry {
        &self.plan.entries(hook)[entry]
    }
}

impl Failure {
    /// The text for who waits for `start`: it carries the last line of stderr (L-03).
    pub(super) fn told(&self, begin: &str) -> String {
        match &self.last_line {
            Some(line) if !line.is_empty() => format!("{begin}: {}: {line}", self.class),
            _ => format!("{begin}: {}", self.class),
        }
    }
}

fn title(hook: Hook) -> &'static str {
    match hook {
        Hook::PreStart => "PreStartHook",
        Hook::PostStart => "PostStartHook",
        Hook::PreStop => "PreStopHook",
        Hook::PostStop => "PostStopHook",
    }
}

/// X-E15: `timed out after 20s`
fn timed_out(limit: Duration) -> Failure {
    let class = format!("timed out after {}s", limit.as_secs_f64());
    Failure { error: class.clone(), class, ..Failure::default() }
}
