//! Stop requests and the stop sequence (lifecycle.md section 5).

use std::time::Duration;

use super::attempt::Verdict;
use super::{Action, By, Event, FLOOR, StopRequest, Turn};
use crate::lifecycle::life::{Asked, AwaitedStop, Course, Doom, Phase, Stage, Stopping};
use crate::lifecycle::model::{Handler, Hook, OnFailure, PostStartStop};
use crate::lifecycle::notice::Notice;
use crate::lifecycle::outcome::Outcome;
use crate::lifecycle::signal::Signal;

impl Turn<'_> {
    // ── a request, phase by phase ───────────────────────────────────────────────────────────────

    /// S-16: no hook is run and the ENTRYPOINT never runs. The waiting init dies of any signal that would end a process,
    /// so that its code is 128 + the signal that asked.
    pub(super) fn stop_before_start(&mut self, request: StopRequest) {
        self.asked(&request);
        match request.signal.spares_by_default() {
            true => self.kill(false),
            false => {
                self.act(Action::Thaw);
                self.signal(request.signal, false);
            }
        }
        self.life.phase = Phase::Doomed(Doom::BeforeStart);
    }

    /// SIGTERM to the hook, SIGKILL after min(G, 10) s, and the ENTRYPOINT is never executed.
    pub(super) fn stop_pre_start(&mut self, course: Course, request: StopRequest) {
        let first = self.life.pre_start_ends_by.is_none();
        self.asked(&request);
        self.act(Action::Thaw);
        let running_exec =
            course.attempt().is_some() && is_exec(&self.plan.entries(Hook::PreStart)[course.entry()].handler);
        if !running_exec {
            return self.give_up_pre_start(&course, "stopped"); // nothing that SIGTERM could reach
        }
        let ends_by = self.now + Duration::from_secs(self.grace(&request).min(10));
        self.life.pre_start_ends_by = Some(self.life.pre_start_ends_by.map_or(ends_by, |earlier| earlier.min(ends_by)));
        if first {
            self.act(Action::Terminate(Hook::PreStart));
        }
    }

    /// The answer of init to `Execute` is milliseconds away; the budget runs from now all the same.
    pub(super) fn stop_executing(&mut self, request: StopRequest) {
        self.asked(&request);
        self.act(Action::Thaw);
        let stopping = self.stop_for(&request);
        match &mut self.life.awaited_stop {
            Some(stop) => stop.stopping.budget_end = stop.stopping.budget_end.min(stopping.budget_end),
            none => *none = Some(AwaitedStop { asked_at: self.now, stopping }),
        }
    }

    /// P-12
    pub(super) fn stop_waits(&self) -> bool {
        self.plan.post_start_stop == PostStartStop::Wait && self.plan.post_start.is_some()
    }

    /// P-12: told and kept, until postStart has ended. A further request only ever shortens the grace (S-17, S-18), and a
    /// second SIGINT ends the wait (S-19), as a person at a terminal has nothing else.
    pub(super) fn queue_stop(&mut self, request: StopRequest) {
        self.asked(&request);
        let Some(queued) = &mut self.life.queued_stop else {
            return self.life.queued_stop = Some(request);
        };
        if is_sigint(&request) && is_sigint(queued) {
            return self.kill_now(None, false);
        }
        let grace_seconds = queued.grace_seconds.unwrap_or(self.plan.grace_seconds);
        let shorter = request.grace_seconds.filter(|grace| *grace < grace_seconds);
        *queued = StopRequest {
            grace_seconds: shorter.or(queued.grace_seconds),
            all: queued.all,
            ..if is_sigint(&request) { request } else { *queued }
        };
    }

    /// P-12: postStart has ended well. T0 is now.
    pub(super) fn begin_queued_stop(&mut self) {
        if let Some(request) = self.life.queued_stop.take() {
            self.stop_container(self.stop_for(&request));
        }
    }

    /// T0 is now.
    pub(super) fn begin_stop(&mut self, request: StopRequest) {
        self.asked(&request);
        self.stop_container(self.stop_for(&request));
    }

    /// S-17, S-18, S-19: a further request only ever shortens the stop, and only by a grace of its own: as in Kubernetes
    /// the default that an earlier request has overridden does not come back.
    pub(super) fn stop_again(&mut self, mut stopping: Stopping, request: StopRequest) {
        self.asked(&request);
        if is_sigint(&request) && stopping.sigint_seen {
            return self.kill_now(None, false);
        }
        stopping.sigint_seen |= is_sigint(&request);
        let end = request.grace_seconds.map(|grace| self.now + Duration::from_secs(grace));
        if let Some(end) = end
            && end < stopping.budget_end
        {
            stopping.budget_end = end;
            if let Stage::Signalled { at, kill_at, .. } = &mut stopping.stage {
                *kill_at = end.max(*at + FLOOR).min(*kill_at);
            }
        }
        self.life.phase = Phase::Stopping(stopping);
        self.tick_stopping();
    }

    /// S-28: a `stop` whose supervisor was lost goes on waiting; what it asked for is under way, or was lost too.
    pub(super) fn stop_waits_again(&mut self, request: StopRequest) {
        match (&self.life.phase, request.by) {
            (Phase::Stopped, By::Stop(id)) => self.answer(id, Ok(())),
            (Phase::PostStop(_), By::Stop(id)) => self.life.stops.push(id),
            (_, By::Stop(id)) if self.life.asked.is_some() => self.life.stops.push(id),
            _ => self.take(Event::Stop(request)),
        }
    }

    /// S-15
    pub(super) fn stop_stopped(&mut self, request: StopRequest) {
        match request.by {
            By::Stop(id) => self.answer(id, Ok(())),
            By::Kill(id) => self.kill_stopped(Some(id), request.all),
            By::Signal => {}
        }
    }

    // ── the sequence (S-06) ─────────────────────────────────────────────────────────────────────

    fn stop_for(&self, request: &StopRequest) -> Stopping {
        Stopping { all: request.all, sigint_seen: is_sigint(request), ..self.stop_within(self.grace(request)) }
    }

    pub(super) fn stop_within(&self, grace_seconds: u64) -> Stopping {
        let budget_end = self.now + Duration::from_secs(grace_seconds);
        Stopping { budget_end, all: false, sigint_seen: false, stage: Stage::PreStop(Course::Pending) }
    }

    /// Step 1, for a stop that was asked for.
    pub(super) fn stop_container(&mut self, stopping: Stopping) {
        self.act(Action::Thaw); // S-29
        let grace = whole_seconds_up(stopping.budget_end - self.now);
        let message = format!("Stopping container {}", self.plan.container);
        self.tell(Notice { grace_seconds: Some(grace.as_secs()), ..Notice::normal("Killing", message) });
        if self.life.post_start.attempt().is_none() {
            self.end_post_start("stopped before the next attempt"); // T-06
        }
        self.stop_sequence(stopping);
    }

    /// Step 2: preStop, if there is one and there is time for it.
    pub(super) fn stop_sequence(&mut self, mut stopping: Stopping) {
        if self.plan.pre_stop.is_none() {
            self.send_stop_signal(stopping, false);
        } else if stopping.budget_end <= self.now {
            self.skip_pre_stop("no grace period"); // S-11
            self.send_stop_signal(stopping, false);
        } else {
            stopping.stage = Stage::PreStop(self.begin(Hook::PreStop, 0, 1));
            self.life.phase = Phase::Stopping(stopping);
        }
    }

    pub(super) fn skip_pre_stop(&mut self, why: &str) {
        let skipped = Notice { outcome: Some("Skipped".into()), ..Notice::normal("PreStopHookSkipped", why) };
        self.tell_of(Hook::PreStop, 0, skipped);
    }

    /// S-07, S-08: whatever became of preStop, the stop signal follows.
    pub(super) fn pre_stop_done(&mut self, mut stopping: Stopping, outcome: Outcome) {
        let Stage::PreStop(course @ Course::Trying { .. }) = &stopping.stage else {
            return; // its wait has ended (S-09, S-04) and it does not count any more
        };
        match self.judge(Hook::PreStop, course, outcome) {
            Verdict::Again(next) => {
                stopping.stage = Stage::PreStop(next);
                return self.life.phase = Phase::Stopping(stopping);
            }
            Verdict::Failed(_) => self.life.late_failure = true,
            Verdict::Succeeded | Verdict::Ignored => {}
        }
        self.send_stop_signal(stopping, false);
    }

    /// S-09: the wait for preStop is over. An exec goes on until the container's end; says whether there is such a one.
    fn pre_stop_timed_out(&mut self, course: &Course) -> bool {
        let notice = Notice::warning("PreStopHookTimedOut", "preStop did not finish within the grace period");
        self.ended(Hook::PreStop, course, "TimedOut", notice);
        let Some(entry) = &self.plan.pre_stop else { return false };
        self.life.late_failure |= entry.policy.on_failure == OnFailure::Fail;
        let trying = course.attempt().is_some();
        if trying && !is_exec(&entry.handler) {
            self.act(Action::Cancel(Hook::PreStop));
        }
        trying && is_exec(&entry.handler)
    }

    /// Steps 3 to 5. The seconds that are left are whole ones, rounded up, and at least the floor window.
    fn send_stop_signal(&mut self, mut stopping: Stopping, pre_stop_runs_on: bool) {
        stopping.stage = if self.plan.stop_signal == Signal::KILL {
            self.kill(stopping.all); // S-24
            Stage::Killed { pre_stop_runs_on }
        } else {
            self.signal(self.plan.stop_signal, stopping.all);
            let remaining = whole_seconds_up(stopping.budget_end - self.now).max(FLOOR);
            Stage::Signalled { at: self.now, kill_at: self.now + remaining, pre_stop_runs_on }
        };
        self.life.phase = Phase::Stopping(stopping);
    }

    pub(super) fn tick_stopping(&mut self) {
        self.tick_post_start();
        let Phase::Stopping(mut stopping) = self.life.phase.clone() else { return };
        match stopping.stage.clone() {
            Stage::PreStop(course) if stopping.budget_end <= self.now => {
                let runs_on = self.pre_stop_timed_out(&course);
                self.send_stop_signal(stopping, runs_on);
            }
            Stage::PreStop(Course::Pausing { entry, attempt, until }) if until <= self.now => {
                stopping.stage = Stage::PreStop(self.begin(Hook::PreStop, entry, attempt));
                self.life.phase = Phase::Stopping(stopping);
            }
            // Step 7.
            Stage::Signalled { kill_at, .. } if kill_at <= self.now => {
                self.life.killed_after_grace = true; // S-22
                self.tell_grace_exceeded();
                self.kill(false);
                stopping.stage = stopping.stage.killed();
                self.life.phase = Phase::Stopping(stopping);
            }
            _ => {}
        }
    }

    /// S-21
    pub(super) fn tell_grace_exceeded(&mut self) {
        self.tell(Notice::normal("GraceDeadline", "the grace period is over"));
        let message = format!("Container {} did not exit within its grace period and is killed", self.plan.container);
        self.tell(Notice::warning("ExceededGracePeriod", message));
    }

    /// S-12: preStop is cancelled at once; S-09: one whose wait is over ends with the container.
    pub(super) fn end_pre_stop(&mut self, stage: &Stage) {
        match stage {
            Stage::PreStop(course) | Stage::KilledIn(course) if course.is_open() => {
                self.act(Action::Cancel(Hook::PreStop));
                let notice = Notice::normal("PreStopHookInterrupted", "container exited during preStop");
                self.interrupted(Hook::PreStop, course, notice);
            }
            Stage::Signalled { pre_stop_runs_on: true, .. } | Stage::Killed { pre_stop_runs_on: true } => {
                self.act(Action::Cancel(Hook::PreStop));
            }
            _ => {}
        }
    }

    // ── small things ────────────────────────────────────────────────────────────────────────────

    fn grace(&self, request: &StopRequest) -> u64 {
        request.grace_seconds.unwrap_or(self.plan.grace_seconds)
    }

    fn signal(&mut self, signal: Signal, all: bool) {
        let notice = Notice::normal("SignalSent", format!("sent {signal} to the container"));
        self.tell(Notice { signal: Some(signal.to_string()), ..notice });
        self.act(Action::Signal { signal, all });
    }

    /// Every stop request is told, a repeated one too (S-17). `kill` is answered at once (S-03), `stop` when all is over.
    pub(super) fn asked(&mut self, request: &StopRequest) {
        let by = match request.by {
            By::Stop(_) => "stop",
            By::Kill(_) => "kill",
            By::Signal => "signal",
        };
        let grace_seconds = Some(self.grace(request));
        self.tell_asked(Notice { grace_seconds, ..stop_requested(by, request.signal) });
        self.life.asked.get_or_insert(Asked { signal: request.signal });
        match request.by {
            By::Stop(id) => self.life.stops.push(id),
            By::Kill(id) => self.answer(id, Ok(())),
            By::Signal => {}
        }
    }

    /// What asks for the end and is no stop request (O-04); told if it is the first that does.
    pub(super) fn note_asked(&mut self, by: &str, signal: Signal) {
        if self.life.asked.is_none() {
            self.tell_asked(stop_requested(by, signal));
            self.life.asked = Some(Asked { signal });
        }
    }

    fn tell_asked(&mut self, mut notice: Notice) {
        if self.life.asked.is_some() {
            notice.message.push_str(" again");
        }
        self.tell(notice);
    }
}

fn stop_requested(by: &str, signal: Signal) -> Notice {
    let notice = Notice::normal("StopRequested", format!("stop requested by {by}"));
    Notice { by: Some(by.into()), signal: Some(signal.to_string()), ..notice }
}

fn is_sigint(request: &StopRequest) -> bool {
    request.by == By::Signal && request.signal == Signal::INT
}

fn is_exec(handler: &Handler) -> bool {
    matches!(handler, Handler::Exec { .. })
}

fn whole_seconds_up(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs() + u64::from(span.subsec_nanos() > 0))
}
