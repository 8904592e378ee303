//! From `start` to `Running`: preStart, the execve, postStart (lifecycle.md section 3, R-01 to R-08).

use super::attempt::Verdict;
use super::ending::how;
use super::{Action, RequestId, Turn};
use crate::lifecycle::life::{Course, Doom, Fault, Phase};
use crate::lifecycle::model::Hook;
use crate::lifecycle::notice::Notice;
use crate::lifecycle::outcome::{Exit, Failure, Outcome};

impl Turn<'_> {
    /// preStart runs before the ENTRYPOINT is executed; without one it is executed at once.
    pub(super) fn start(&mut self, id: RequestId) {
        self.life.start = Some(id);
        match self.plan.pre_start.is_empty() {
            true => self.execute(),
            false => self.life.phase = Phase::PreStart(self.begin(Hook::PreStart, 0, 1)),
        }
    }

    pub(super) fn refuse_start(&mut self, id: RequestId) {
        let why = match self.life.phase {
            Phase::Doomed(Doom::BeforeStart) | Phase::PostStop(_) | Phase::Stopped => {
                "cannot start a container that has stopped"
            }
            _ => "cannot start an already started container",
        };
        self.answer(id, Err(why.into()));
    }

    /// S-28: a `start` whose supervisor was lost goes on waiting, or is told what it would have been told.
    pub(super) fn start_waits_again(&mut self, id: RequestId) {
        match (&self.life.phase, self.life.exit) {
            (Phase::Created, _) => self.start(id),
            _ if self.life.ran => self.answer(id, Ok(())),
            (_, Some(exit)) => self.answer(id, Err(self.start_error(&exit))),
            _ if self.life.start.is_some() => self.refuse_start(id),
            _ => self.life.start = Some(id),
        }
    }

    fn execute(&mut self) {
        self.life.phase = Phase::Executing;
        self.act(Action::Execute);
    }

    // ── preStart ────────────────────────────────────────────────────────────────────────────────

    pub(super) fn pre_start_done(&mut self, course: Course, outcome: Outcome) {
        if self.life.pre_start_ends_by.is_some() {
            // asked to stop; whatever the hook says now, the ENTRYPOINT is never executed.
            return self.give_up_pre_start(&course, "stopped");
        }
        match self.judge(Hook::PreStart, &course, outcome) {
            Verdict::Again(next) => self.life.phase = Phase::PreStart(next),
            Verdict::Succeeded | Verdict::Ignored => self.after_pre_start(course.entry()),
            Verdict::Failed(failure) => {
                // the rest is skipped, and postStop runs when init is gone.
                self.life.fault = Some(Fault::PreStartHook(failure.told("PreStartHook failed")));
                self.doom();
            }
        }
    }

    /// The next entry; after the last one, R-06 and R-03: leftovers are killed, then the ENTRYPOINT is executed.
    fn after_pre_start(&mut self, entry: usize) {
        if entry + 1 < self.plan.pre_start.len() {
            self.life.phase = Phase::PreStart(self.begin(Hook::PreStart, entry + 1, 1));
        } else {
            self.act(Action::Cancel(Hook::PreStart));
            self.execute();
        }
    }

    /// R-07, S-04: preStart ends here, and the ENTRYPOINT is never executed.
    pub(super) fn give_up_pre_start(&mut self, course: &Course, why: &str) {
        self.end_pre_start(course, &format!("{why} before the hook finished"));
        self.doom();
    }

    pub(super) fn end_pre_start(&mut self, course: &Course, why: &str) {
        self.life.pre_start_ends_by = None;
        self.act(Action::Cancel(Hook::PreStart));
        self.interrupted(
            Hook::PreStart,
            course,
            Notice::warning("FailedPreStartHook", format!("PreStartHook failed: {why}")),
        );
    }

    /// The ENTRYPOINT is never executed: the waiting init is killed.
    pub(super) fn doom(&mut self) {
        self.kill(false);
        self.life.phase = Phase::Doomed(Doom::NeverExecuted);
    }

    pub(super) fn tick_pre_start(&mut self, course: Course) {
        match course {
            Course::Pausing { entry, attempt, until } if until <= self.now => {
                self.life.phase = Phase::PreStart(self.begin(Hook::PreStart, entry, attempt));
            }
            course if self.life.pre_start_ends_by.is_some_and(|at| at <= self.now) => {
                self.give_up_pre_start(&course, "stopped");
            }
            _ => {}
        }
    }

    // ── the execve ──────────────────────────────────────────────────────────────────────────────

    /// P-02, P-03: postStart begins as soon as the execve is known to have succeeded.
    pub(super) fn executed(&mut self) {
        self.tell_executed();
        if let Some(stop) = self.life.awaited_stop.take() {
            self.life.post_start = Course::Over;
            self.stop_container(stop.stopping);
        } else if self.plan.post_start.is_some() {
            self.life.phase = Phase::Starting;
            self.life.post_start = self.begin(Hook::PostStart, 0, 1);
        } else {
            self.running();
        }
    }

    /// SIGKILL was on its way already: true, but nothing follows from it.
    pub(super) fn executed_too_late(&mut self) {
        self.tell_executed();
    }

    fn tell_executed(&mut self) {
        self.tell(Notice::normal("EntrypointExecuted", format!("Executed the ENTRYPOINT of {}", self.plan.container)));
        self.life.executed = true;
    }

    /// P-01: no postStart, no preStop; postStop runs once init is gone.
    pub(super) fn exec_failed(&mut self, message: String, code: i32) {
        self.tell(Notice::warning("Failed", format!("Error: {message}")));
        self.life.fault = Some(Fault::StartError { message, code });
        self.life.awaited_stop = None;
        self.life.phase = Phase::Doomed(Doom::NeverExecuted);
    }

    /// Init has not answered within the budget of a stop.
    pub(super) fn tick_executing(&mut self) {
        if self.life.awaited_stop.as_ref().is_some_and(|stop| stop.gives_up_at() <= self.now) {
            self.life.awaited_stop = None;
            self.life.killed_after_grace = true;
            self.tell_grace_exceeded();
            self.doom();
        }
    }

    // ── postStart ───────────────────────────────────────────────────────────────────────────────

    pub(super) fn post_start_done(&mut self, outcome: Outcome) {
        let course @ Course::Trying { .. } = self.life.post_start.clone() else { return };
        self.life.post_start = Course::Over;
        match self.judge(Hook::PostStart, &course, outcome) {
            // P-11: once a stop is under way the result is told and changes nothing.
            _ if self.life.phase != Phase::Starting => {}
            Verdict::Again(next) => self.life.post_start = next,
            Verdict::Succeeded | Verdict::Ignored => self.running(), // P-05, P-09
            Verdict::Failed(failure) => self.post_start_failed(failure),
        }
    }

    fn running(&mut self) {
        self.life.phase = Phase::Running;
        self.life.ran = true;
        self.tell(Notice::normal("Started", format!("Started container {}", self.plan.container)));
        self.answer_start(Ok(()));
        self.begin_queued_stop();
    }

    /// P-07, P-08: the complete stop sequence, preStop included, with the plan's grace period.
    fn post_start_failed(&mut self, failure: Failure) {
        self.life.fault = Some(Fault::PostStartHook(failure.told("PostStartHook failed")));
        let grace = self.plan.grace_seconds;
        self.life.queued_stop = None; // P-12: it finds the container stopped
        self.tell(Notice { grace_seconds: Some(grace), ..Notice::normal("Killing", "FailedPostStartHook") });
        self.act(Action::Thaw);
        self.stop_sequence(self.stop_within(grace));
    }

    /// An unfinished postStart ends here (P-10, P-11); one between two attempts gets no other (T-06).
    pub(super) fn end_post_start(&mut self, why: &str) {
        let course = std::mem::replace(&mut self.life.post_start, Course::Over);
        if course.is_open() {
            self.act(Action::Cancel(Hook::PostStart));
            let text = format!("PostStartHook failed: {why}");
            self.interrupted(Hook::PostStart, &course, Notice::warning("FailedPostStartHook", text));
        }
    }

    /// The next attempt, or P-11: postStart is cancelled at the latest when the budget is spent.
    pub(super) fn tick_post_start(&mut self) {
        if self.life.post_start_deadline().is_none_or(|at| at > self.now) {
            return;
        }
        match self.life.post_start {
            Course::Pausing { entry, attempt, .. } => {
                self.life.post_start = self.begin(Hook::PostStart, entry, attempt)
            }
            _ => self.end_post_start("the grace period ended before the hook finished"),
        }
    }

    /// What `start` returns when the container ends before it was running.
    pub(super) fn start_error(&self, exit: &Exit) -> String {
        // P-12: one that was never acted on did not end it.
        let stopped = self.life.asked.is_some() && self.life.queued_stop.is_none();
        match &self.life.fault {
            Some(Fault::PostStartHook(text) | Fault::PreStartHook(text)) => text.clone(),
            Some(Fault::StartError { message, .. }) => message.clone(),
            None if stopped && !self.life.executed => "stopped before the ENTRYPOINT was executed".into(),
            None if stopped => "stopped before postStart completed".into(),
            None if self.life.executed => format!("container exited ({}) before postStart completed", how(exit)),
            None => format!("container exited ({}) before its ENTRYPOINT was executed", how(exit)),
        }
    }
}
