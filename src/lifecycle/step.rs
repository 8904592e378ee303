//! The lifecycle as one pure function (lifecycle.md sections 3, 5, 6): no I/O, no clock, no descriptor.
//!
//! A supervisor turns what it sees into an [`Event`], calls [`step`], and performs each [`Action`] in order. The phases
//! follow one another downwards; `InitExited` leads from every one of them to `PostStop` or `Stopped`:
//!
//! ```text
//!   Created ─ Start ─> PreStart ─> Executing ─ Executed ─> Starting ─> Running ─ Stop ─> Stopping
//!                (no preStart: at once)       (no postStart: Running at once)
//!   Doomed: the ENTRYPOINT was killed, or is never executed; only its exit is waited for
//! ```

use std::time::Duration;

use super::life::{Asked, Course, Doom, Fault, Life, Phase, Stage, Stopping};
use super::model::{Entry, Hook, OnFailure, Plan};
use super::notice::Notice;
use super::outcome::{Exit, Failure, Outcome};
use super::signal::Signal;
use super::time::Instant;

/// The least time that the ENTRYPOINT gets between the stop signal and SIGKILL (lifecycle.md section 1).
pub const FLOOR: Duration = Duration::from_secs(2);

/// A request that is answered exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Who asked for a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The `stop` verb; it waits for the end.
    Stop(RequestId),
    /// The `kill` verb; it is answered at once (S-03).
    Kill(RequestId),
    /// A signal to the supervisor itself (S-01).
    Signal,
}

/// A stop request (S-01 to S-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopRequest {
    pub by: By,
    /// The request's own grace in whole seconds; None: the plan's.
    pub grace_seconds: Option<u64>,
    /// The signal that asked; the stop operation asks by SIGTERM (R-07).
    pub signal: Signal,
    /// The stop signal goes to every process of the container (`kill --all`).
    pub all: bool,
}

/// What the supervisor saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Start(RequestId),
    Stop(StopRequest),
    /// A signal that is no stop request, to be passed on unchanged (S-05, `kill --raw`), or SIGKILL.
    Kill {
        request: Option<RequestId>,
        signal: Signal,
        all: bool,
        raw: bool,
    },
    Delete {
        request: RequestId,
        force: bool,
    },
    /// The ENTRYPOINT's execve succeeded.
    Executed,
    /// It did not (P-01): the text, and 126 or 127.
    ExecFailed {
        message: String,
        code: i32,
    },
    HookDone {
        hook: Hook,
        outcome: Outcome,
    },
    InitExited(Exit),
    /// The time that `Life::deadline` gave has come.
    Tick,
}

/// What the supervisor is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Begin an attempt of a handler; its policy's limit is the supervisor's to keep.
    Run {
        hook: Hook,
        entry: usize,
        attempt: u32,
    },
    /// SIGTERM to the hook's process (R-07).
    Terminate(Hook),
    /// End what runs for the hook, its whole tree; nothing more is heard of it.
    Cancel(Hook),
    /// Let init execute the ENTRYPOINT.
    Execute,
    /// Send a signal to the ENTRYPOINT, or to every process of the container.
    Signal {
        signal: Signal,
        all: bool,
    },
    /// SIGKILL to every process that is left of the container (S-20, R-06).
    KillRest,
    /// Resume a frozen container (S-29).
    Thaw,
    /// Write an event into the journal.
    Tell(Notice),
    Answer(RequestId, Result<(), String>),
    /// Remove the container and answer these; the supervisor ends.
    Remove(Vec<RequestId>),
}

/// One move of the life. Every row of the lifecycle that speaks of order or time is an arm in here.
pub fn step(plan: &Plan, life: Life, event: Event, now: Instant) -> (Life, Vec<Action>) {
    let mut turn = Turn { plan, life, now, actions: Vec::new() };
    turn.take(event);
    (turn.life, turn.actions)
}

struct Turn<'a> {
    plan: &'a Plan,
    life: Life,
    now: Instant,
    actions: Vec<Action>,
}

impl Turn<'_> {
    fn take(&mut self, event: Event) {
        use {Event as E, Phase as P};
        match (self.life.phase.clone(), event) {
            // Starting: section 3.
            (P::Created, E::Start(id)) => self.start(id),
            (P::PostStop(_) | P::Stopped, E::Start(id)) => {
                self.answer(id, Err("cannot start a container that has stopped".into()))
            }
            (_, E::Start(id)) => {
                self.answer(id, Err("cannot start an already started container: already started".into()))
            }
            (P::Executing, E::Executed) => self.executed(),
            (P::Executing, E::ExecFailed { message, code }) => self.exec_failed(message, code),

            // The hooks' ends: each may matter, be retried, or come too late to matter.
            (P::PreStart(course), E::HookDone { hook: Hook::PreStart, outcome }) => {
                self.pre_start_done(course, outcome)
            }
            (_, E::HookDone { hook: Hook::PostStart, outcome }) => self.post_start_done(outcome),
            (P::Stopping(stopping), E::HookDone { hook: Hook::PreStop, outcome }) => {
                self.pre_stop_done(stopping, outcome)
            }
            (P::PostStop(course), E::HookDone { hook: Hook::PostStop, outcome }) => {
                self.post_stop_done(course, outcome)
            }

            // Stop requests: section 5.
            (P::Created, E::Stop(request)) => self.stop_before_start(request),
            (P::PreStart(course), E::Stop(request)) => self.stop_pre_start(course, request),
            (P::Executing, E::Stop(request)) => self.stop_executing(request),
            (P::Starting | P::Running, E::Stop(request)) => self.begin_stop(request),
            (P::Stopping(stopping), E::Stop(request)) => self.stop_again(stopping, request),
            (P::Doomed(_), E::Stop(request)) => self.acknowledge(request),
            (P::PostStop(course), E::Stop(request)) => self.stop_post_stop(course, request),
            (P::Stopped, E::Stop(request)) => self.stop_stopped(request),

            // Other signals and the end by force.
            (P::PostStop(_) | P::Stopped, E::Kill { request, all, .. }) => self.kill_stopped(request, all),
            (_, E::Kill { request, signal: Signal::KILL, all, .. }) => self.kill_now(request, all),
            (_, E::Kill { request, signal, all, raw }) => self.pass_on(request, signal, all, raw),
            (P::PostStop(_), E::Delete { request, .. }) => self.life.deletes.push(request),
            (P::Stopped, E::Delete { request, .. }) => self.actions.push(Action::Remove(vec![request])),
            (P::Created, E::Delete { request, .. }) => self.delete_now(request),
            (_, E::Delete { request, force: true }) => self.delete_now(request),
            (_, E::Delete { request, force: false }) => self.refuse_delete(request),

            (P::PostStop(_) | P::Stopped, E::InitExited(_)) => {}
            (_, E::InitExited(exit)) => self.init_exited(exit),
            (_, E::Tick) => self.tick(),

            // A hook that was cancelled, or an answer of init that an exit has overtaken.
            (_, E::HookDone { .. } | E::Executed | E::ExecFailed { .. }) => {}
        }
    }

    // ── starting ────────────────────────────────────────────────────────────────────────────────

    /// R-01: preStart runs before the ENTRYPOINT is executed; without one it is executed at once.
    fn start(&mut self, id: RequestId) {
        self.life.start = Some(id);
        match self.plan.pre_start.is_empty() {
            true => self.execute(),
            false => self.life.phase = Phase::PreStart(self.begin(Hook::PreStart, 0, 1)),
        }
    }

    fn execute(&mut self) {
        self.life.phase = Phase::Executing;
        self.act(Action::Execute);
    }

    /// P-02, P-03: postStart begins as soon as the execve is known to have succeeded.
    fn executed(&mut self) {
        self.tell(Notice::normal("EntrypointExecuted", format!("Executed the ENTRYPOINT of {}", self.plan.container)));
        self.life.executed = true;
        match (self.plan.post_start.is_some(), self.life.asked_while_executing.take()) {
            (true, None) => {
                self.life.phase = Phase::Starting;
                self.life.post_start = self.begin(Hook::PostStart, 0, 1);
            }
            (false, None) => self.running(),
            (_, Some(request)) => {
                self.life.post_start = Course::Over;
                self.life.phase = Phase::Running;
                self.begin_stop(request);
            }
        }
    }

    fn running(&mut self) {
        self.life.phase = Phase::Running;
        self.tell(Notice::normal("Started", format!("Started container {}", self.plan.container)));
        self.answer_start(Ok(()));
    }

    /// P-01: no postStart, no preStop; postStop runs once init is gone.
    fn exec_failed(&mut self, message: String, code: i32) {
        self.tell(Notice::warning("Failed", format!("Error: {message}")));
        self.life.fault = Some(Fault::StartError { message, code });
        self.life.phase = Phase::Doomed(Doom::NeverExecuted);
    }

    fn pre_start_done(&mut self, course: Course, outcome: Outcome) {
        let (entry, attempt) = course.position();
        if let Some(killed_at) = self.life.pre_start_ends_by.take() {
            // R-07: asked to stop; whatever the hook says now, the ENTRYPOINT is never executed.
            let _ = killed_at;
            self.interrupted(
                Hook::PreStart,
                &course,
                Notice::warning("FailedPreStartHook", "PreStartHook failed: stopped before the hook finished"),
            );
            return self.doom();
        }
        match self.judge(Hook::PreStart, &course, outcome) {
            Verdict::Again(next) => self.life.phase = Phase::PreStart(next),
            Verdict::Succeeded | Verdict::Ignored => self.after_pre_start(entry),
            Verdict::Failed(failure) => {
                // R-04: the rest is skipped, postStop runs.
                let _ = attempt;
                self.life.fault = Some(Fault::PreStartHook(failure.told("PreStartHook failed")));
                self.doom();
            }
        }
    }

    /// The next entry, or R-06 and R-03: leftovers are killed, then the ENTRYPOINT is executed.
    fn after_pre_start(&mut self, entry: usize) {
        if entry + 1 < self.plan.pre_start.len() {
            self.life.phase = Phase::PreStart(self.begin(Hook::PreStart, entry + 1, 1));
        } else {
            self.act(Action::Cancel(Hook::PreStart));
            self.execute();
        }
    }

    fn post_start_done(&mut self, outcome: Outcome) {
        let course = std::mem::replace(&mut self.life.post_start, Course::Over);
        if !matches!(course, Course::Trying { .. }) {
            return;
        }
        if !matches!(self.life.phase, Phase::Starting) {
            // P-11: the result changes nothing any more, and there is no further attempt (T-06).
            return self.told_late(Hook::PostStart, &course, outcome);
        }
        match self.judge(Hook::PostStart, &course, outcome) {
            Verdict::Again(next) => self.life.post_start = next,
            Verdict::Succeeded | Verdict::Ignored => self.running(),
            Verdict::Failed(failure) => self.post_start_failed(failure),
        }
    }

    /// P-07, P-08: the complete stop sequence, preStop included, with the plan's grace period.
    fn post_start_failed(&mut self, failure: Failure) {
        self.life.fault = Some(Fault::PostStartHook(failure.told("PostStartHook failed")));
        let grace = self.plan.grace_seconds;
        self.tell(Notice { grace_seconds: Some(grace), ..Notice::normal("Killing", "FailedPostStartHook") });
        self.stop_sequence(grace, false);
    }

    // ── stopping ────────────────────────────────────────────────────────────────────────────────

    /// S-16: no hook is run and the ENTRYPOINT never runs. The waiting init dies by any signal that would end a process.
    fn stop_before_start(&mut self, request: StopRequest) {
        self.asked(&request);
        let signal = match request.by {
            By::Stop(_) => self.plan.stop_signal,
            _ => request.signal,
        };
        self.act(Action::Thaw);
        match signal.spares_by_default() {
            true => self.kill(),
            false => self.signal(signal, false),
        }
        self.life.phase = Phase::Doomed(Doom::BeforeStart);
    }

    /// R-07: SIGTERM to the hook, SIGKILL after min(G, 10) s, and the ENTRYPOINT is never executed.
    fn stop_pre_start(&mut self, course: Course, request: StopRequest) {
        let first = self.life.pre_start_ends_by.is_none();
        if first {
            self.asked(&request);
        } else {
            self.acknowledge(request);
        }
        self.act(Action::Thaw);
        let grace = request.grace_seconds.unwrap_or(self.plan.grace_seconds).min(10);
        let ends_by = self.now + Duration::from_secs(grace);
        self.life.pre_start_ends_by = Some(self.life.pre_start_ends_by.map_or(ends_by, |earlier| earlier.min(ends_by)));
        match course {
            Course::Trying { .. } if first => self.act(Action::Terminate(Hook::PreStart)),
            Course::Trying { .. } => {}
            _ => {
                self.life.pre_start_ends_by = None;
                self.doom();
            }
        }
    }

    /// The answer of init to `Execute` is milliseconds away; only with it is known whether there is anything to stop.
    fn stop_executing(&mut self, request: StopRequest) {
        match self.life.asked_while_executing {
            None => self.life.asked_while_executing = Some(request),
            Some(_) => self.acknowledge(request),
        }
        if let By::Kill(id) = request.by {
            self.answer(id, Ok(()));
            self.life.asked_while_executing =
                self.life.asked_while_executing.map(|asked| StopRequest { by: By::Signal, ..asked });
        }
    }

    /// S-06 step 1: T0 is now.
    fn begin_stop(&mut self, request: StopRequest) {
        self.asked(&request);
        let grace = request.grace_seconds.unwrap_or(self.plan.grace_seconds);
        self.act(Action::Thaw);
        let message = format!("Stopping container {}", self.plan.container);
        self.tell(Notice { grace_seconds: Some(grace), ..Notice::normal("Killing", message) });
        if let Course::Pausing { .. } = self.life.post_start {
            // T-06: no further attempt after a stop request.
            self.life.post_start = Course::Over;
        }
        self.stop_sequence(grace, request.all);
    }

    /// S-06 step 2: preStop, if there is one and there is time for it.
    fn stop_sequence(&mut self, grace: u64, all: bool) {
        let budget_end = self.now + Duration::from_secs(grace);
        let mut stopping = Stopping { budget_end, all, stage: Stage::PreStop(Course::Over) };
        if self.plan.pre_stop.is_some() && grace > 0 {
            stopping.stage = Stage::PreStop(self.begin(Hook::PreStop, 0, 1));
            self.life.phase = Phase::Stopping(stopping);
            return;
        }
        if self.plan.pre_stop.is_some() {
            // S-11
            let skipped =
                Notice { outcome: Some("Skipped".into()), ..Notice::normal("PreStopHookSkipped", "no grace period") };
            self.tell(self.about(Hook::PreStop, 0, skipped));
        }
        self.send_stop_signal(stopping, false);
    }

    /// S-07, S-08: whatever became of preStop, the stop signal follows.
    fn pre_stop_done(&mut self, mut stopping: Stopping, outcome: Outcome) {
        let Stage::PreStop(course) = stopping.stage.clone() else {
            return; // S-09: its wait has ended; it does not count any more.
        };
        match self.judge(Hook::PreStop, &course, outcome) {
            Verdict::Again(next) => {
                stopping.stage = Stage::PreStop(next);
                self.life.phase = Phase::Stopping(stopping);
            }
            Verdict::Succeeded | Verdict::Ignored => self.send_stop_signal(stopping, false),
            Verdict::Failed(_) => {
                self.life.late_failure = true; // X-04
                self.send_stop_signal(stopping, false);
            }
        }
    }

    /// S-06 steps 3 to 5. The seconds that are left are whole ones, rounded up, and at least the floor window.
    fn send_stop_signal(&mut self, stopping: Stopping, pre_stop_runs_on: bool) {
        let signal = self.plan.stop_signal;
        let kill_at = match signal {
            Signal::KILL => self.now, // S-24
            _ => self.now + whole_seconds_up(stopping.budget_end - self.now).max(FLOOR),
        };
        if signal == Signal::KILL {
            self.kill();
            self.life.phase = Phase::Stopping(Stopping { stage: Stage::Killed { pre_stop_runs_on }, ..stopping });
            return;
        }
        self.signal(signal, stopping.all);
        let stage = Stage::Signalled { at: self.now, kill_at, pre_stop_runs_on };
        self.life.phase = Phase::Stopping(Stopping { stage, ..stopping });
    }

    /// S-17, S-18, S-19: a second request only ever shortens the stop.
    fn stop_again(&mut self, mut stopping: Stopping, request: StopRequest) {
        self.acknowledge(request);
        if request.by == By::Signal && request.signal == Signal::INT {
            return self.kill_now(None, false); // S-19
        }
        let Some(grace) = request.grace_seconds else { return };
        let end = self.now + Duration::from_secs(grace);
        if end >= stopping.budget_end {
            return;
        }
        stopping.budget_end = end;
        if let Stage::Signalled { at, kill_at, pre_stop_runs_on } = stopping.stage {
            let kill_at = kill_at.min(end.max(at + FLOOR));
            stopping.stage = Stage::Signalled { at, kill_at, pre_stop_runs_on };
        }
        self.life.phase = Phase::Stopping(stopping);
        self.tick();
    }

    /// O-07, O-10: the first SIGTERM is ignored; a second, SIGINT, or `stop --grace 0` ends the hook.
    fn stop_post_stop(&mut self, course: Course, request: StopRequest) {
        let by_signal = request.by == By::Signal;
        let insistent = (by_signal && request.signal == Signal::INT)
            || (by_signal && self.life.asked_in_post_stop)
            || request.grace_seconds == Some(0);
        match request.by {
            By::Stop(id) => self.life.stops.push(id),
            By::Kill(id) => self.answer(id, Err(NOT_RUNNING.into())),
            By::Signal => self.life.asked_in_post_stop = true,
        }
        if insistent {
            self.act(Action::Cancel(Hook::PostStop));
            let notice = Notice::warning("FailedPostStopHook", "PostStopHook failed: ended by request");
            self.interrupted(Hook::PostStop, &course, notice);
            self.stopped();
        }
    }

    /// S-15
    fn stop_stopped(&mut self, request: StopRequest) {
        match request.by {
            By::Stop(id) => self.answer(id, Ok(())),
            By::Kill(id) => self.answer(id, if request.all { Ok(()) } else { Err(NOT_RUNNING.into()) }),
            By::Signal => {}
        }
    }

    // ── force ───────────────────────────────────────────────────────────────────────────────────

    /// S-04: the ENTRYPOINT is killed at once; preStop is skipped or cut off at the exit.
    fn kill_now(&mut self, request: Option<RequestId>, all: bool) {
        self.note_asked("kill", Signal::KILL);
        self.act(Action::Thaw);
        if let Phase::PreStart(course) = self.life.phase.clone() {
            self.act(Action::Cancel(Hook::PreStart));
            let notice = Notice::warning("FailedPreStartHook", "PreStartHook failed: killed before the hook finished");
            self.interrupted(Hook::PreStart, &course, notice);
        }
        self.kill();
        if all {
            self.act(Action::Signal { signal: Signal::KILL, all: true });
        }
        self.life.phase = match self.life.phase.clone() {
            Phase::Stopping(stopping) => {
                let course = stopping.pre_stop_course();
                Phase::Stopping(Stopping { stage: Stage::KilledIn(course), ..stopping })
            }
            Phase::Created => Phase::Doomed(Doom::BeforeStart),
            Phase::PreStart(_) => Phase::Doomed(Doom::NeverExecuted),
            other => other,
        };
        if let Some(id) = request {
            self.answer(id, Ok(()));
        }
    }

    /// S-05 and `kill --raw`
    fn pass_on(&mut self, request: Option<RequestId>, signal: Signal, all: bool, raw: bool) {
        let might_mean_stop =
            matches!(signal.to_string().as_str(), "SIGQUIT" | "SIGINT" | "SIGUSR1" | "SIGWINCH" | "SIGRTMIN+3");
        if might_mean_stop && !raw && self.plan.pre_stop.is_some() {
            let message = format!(
                "{signal} was passed on and preStop was not run; if it is meant to stop the container, name it as its stop \
                 signal (annotation bookend/stop-signal)"
            );
            self.tell(Notice { signal: Some(signal.to_string()), ..Notice::warning("SignalSent", message) });
        }
        self.act(Action::Signal { signal, all });
        if let Some(id) = request {
            self.answer(id, Ok(()));
        }
    }

    fn kill_stopped(&mut self, request: Option<RequestId>, all: bool) {
        if let Some(id) = request {
            self.answer(id, if all { Ok(()) } else { Err(NOT_RUNNING.into()) });
        }
    }

    fn delete_now(&mut self, request: RequestId) {
        self.life.deletes.push(request);
        self.note_asked("delete", Signal::KILL);
        self.kill_now(None, false);
    }

    fn refuse_delete(&mut self, request: RequestId) {
        let status = match self.life.phase {
            Phase::PreStart(_) => "created",
            _ => "running",
        };
        self.answer(request, Err(format!("that is not stopped: {status}")));
    }

    // ── the end ─────────────────────────────────────────────────────────────────────────────────

    fn init_exited(&mut self, exit: Exit) {
        let phase = self.life.phase.clone();
        self.life.exit = Some(exit);
        self.tell(Notice {
            code: exit.code,
            signal: exit.signal.map(|signal| signal.to_string()),
            oom: exit.oom.then_some(true),
            ..Notice::normal("Exited", format!("container exited ({})", how(&exit)))
        });
        if let Phase::PreStart(course) = &phase {
            self.act(Action::Cancel(Hook::PreStart));
            let text = format!("PreStartHook failed: container exited ({}) before the hook finished", how(&exit));
            self.interrupted(Hook::PreStart, course, Notice::warning("FailedPreStartHook", text));
        }
        self.end_post_start(&exit);
        if let Phase::Stopping(stopping) = &phase {
            self.end_pre_stop(stopping);
        }
        self.act(Action::KillRest); // S-20
        if let Some(request) = self.life.asked_while_executing.take() {
            self.asked(&request);
        }
        let why = self.start_error(&exit);
        self.answer_start(Err(why));
        match phase {
            // S-16, O-02: nothing was started, so there is nothing to clean up after.
            Phase::Created | Phase::Doomed(Doom::BeforeStart) => self.stopped(),
            _ if self.plan.post_stop.is_empty() => self.stopped(),
            _ => self.life.phase = Phase::PostStop(self.begin(Hook::PostStop, 0, 1)),
        }
    }

    /// P-10, P-11: an unfinished postStart is cancelled at once.
    fn end_post_start(&mut self, exit: &Exit) {
        let course = std::mem::replace(&mut self.life.post_start, Course::Over);
        if matches!(course, Course::Trying { .. } | Course::Pausing { .. }) {
            self.act(Action::Cancel(Hook::PostStart));
            let text = format!("PostStartHook failed: container exited ({}) before the hook finished", how(exit));
            self.interrupted(Hook::PostStart, &course, Notice::warning("FailedPostStartHook", text));
        }
    }

    /// S-12: preStop is cancelled at once; S-09: one whose wait is over ends with the container.
    fn end_pre_stop(&mut self, stopping: &Stopping) {
        match &stopping.stage {
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

    fn start_error(&self, exit: &Exit) -> String {
        match &self.life.fault {
            Some(Fault::PostStartHook(text) | Fault::PreStartHook(text)) => text.clone(),
            Some(Fault::StartError { message, .. }) => message.clone(),
            None if self.life.asked.is_some() && self.life.executed => "stopped before postStart completed".into(),
            None if self.life.asked.is_some() => "stopped before the ENTRYPOINT was executed".into(),
            None if self.life.executed => format!("container exited ({}) before postStart completed", how(exit)),
            None => format!("container exited ({}) before its ENTRYPOINT was executed", how(exit)),
        }
    }

    /// O-06: a failure is told, the remaining entries still run.
    fn post_stop_done(&mut self, course: Course, outcome: Outcome) {
        let (entry, _) = course.position();
        match self.judge(Hook::PostStop, &course, outcome) {
            Verdict::Again(next) => return self.life.phase = Phase::PostStop(next),
            Verdict::Failed(_) => self.life.late_failure = true, // X-04
            Verdict::Succeeded | Verdict::Ignored => {}
        }
        self.act(Action::Cancel(Hook::PostStop));
        match entry + 1 < self.plan.post_stop.len() {
            true => self.life.phase = Phase::PostStop(self.begin(Hook::PostStop, entry + 1, 1)),
            false => self.stopped(),
        }
    }

    fn stopped(&mut self) {
        self.life.phase = Phase::Stopped;
        for id in std::mem::take(&mut self.life.stops) {
            self.answer(id, Ok(()));
        }
        let deletes = std::mem::take(&mut self.life.deletes);
        if !deletes.is_empty() {
            self.act(Action::Remove(deletes));
        }
    }

    // ── time ────────────────────────────────────────────────────────────────────────────────────

    fn tick(&mut self) {
        self.tick_post_start();
        match self.life.phase.clone() {
            Phase::PreStart(course) => self.tick_pre_start(course),
            Phase::Stopping(stopping) => self.tick_stopping(stopping),
            Phase::PostStop(Course::Pausing { entry, attempt, until }) if until <= self.now => {
                self.life.phase = Phase::PostStop(self.begin(Hook::PostStop, entry, attempt));
            }
            _ => {}
        }
    }

    fn tick_pre_start(&mut self, course: Course) {
        if self.life.pre_start_ends_by.is_some_and(|at| at <= self.now) {
            self.life.pre_start_ends_by = None;
            self.act(Action::Cancel(Hook::PreStart));
            let notice = Notice::warning("FailedPreStartHook", "PreStartHook failed: stopped before the hook finished");
            self.interrupted(Hook::PreStart, &course, notice);
            self.doom();
        } else if let Course::Pausing { entry, attempt, until } = course
            && until <= self.now
        {
            self.life.phase = Phase::PreStart(self.begin(Hook::PreStart, entry, attempt));
        }
    }

    fn tick_post_start(&mut self) {
        let due = |until: Instant| until <= self.now;
        match (self.life.post_start.clone(), &self.life.phase) {
            (Course::Pausing { entry, attempt, until }, Phase::Starting) if due(until) => {
                self.life.post_start = self.begin(Hook::PostStart, entry, attempt);
            }
            // P-11: cancelled at the latest when the budget is spent.
            (course @ Course::Trying { .. }, Phase::Stopping(stopping)) if due(stopping.budget_end) => {
                self.life.post_start = Course::Over;
                self.act(Action::Cancel(Hook::PostStart));
                let text = "PostStartHook failed: the grace period ended before the hook finished";
                self.interrupted(Hook::PostStart, &course, Notice::warning("FailedPostStartHook", text));
            }
            _ => {}
        }
    }

    fn tick_stopping(&mut self, mut stopping: Stopping) {
        match stopping.stage.clone() {
            // S-09: the wait for preStop ends, the hook does not (an exec one).
            Stage::PreStop(course) if stopping.budget_end <= self.now => {
                let runs_on = self.pre_stop_timed_out(&course);
                self.send_stop_signal(stopping, runs_on);
            }
            Stage::PreStop(Course::Pausing { entry, attempt, until }) if until <= self.now => {
                stopping.stage = Stage::PreStop(self.begin(Hook::PreStop, entry, attempt));
                self.life.phase = Phase::Stopping(stopping);
            }
            // S-06 step 7, S-21, S-22
            Stage::Signalled { kill_at, pre_stop_runs_on, .. } if kill_at <= self.now => {
                self.life.killed_after_grace = true;
                self.tell(Notice::normal("GraceDeadline", "the grace period is over"));
                let message =
                    format!("Container {} did not exit within its grace period and is killed", self.plan.container);
                self.tell(Notice::warning("ExceededGracePeriod", message));
                self.kill();
                stopping.stage = Stage::Killed { pre_stop_runs_on };
                self.life.phase = Phase::Stopping(stopping);
            }
            _ => {}
        }
    }

    fn pre_stop_timed_out(&mut self, course: &Course) -> bool {
        let trying = matches!(course, Course::Trying { .. });
        let exec = self.plan.pre_stop.as_ref().is_some_and(|entry| entry.handler.name() == "exec");
        let notice = Notice::warning("PreStopHookTimedOut", "preStop did not finish within the grace period");
        let (entry, attempt) = course.position();
        self.tell(self.about(
            Hook::PreStop,
            entry,
            Notice {
                attempt: Some(attempt),
                outcome: Some("TimedOut".into()),
                duration_ms: course.elapsed_ms(self.now),
                ..notice
            },
        ));
        if trying && !exec {
            self.act(Action::Cancel(Hook::PreStop));
        }
        trying && exec
    }

    // ── one attempt of a hook ───────────────────────────────────────────────────────────────────

    fn begin(&mut self, hook: Hook, entry: usize, attempt: u32) -> Course {
        let message = format!("{hook} {} started", self.plan.entries(hook)[entry].handler.name());
        let notice = Notice { attempt: Some(attempt), ..Notice::normal("HookStarted", message) };
        self.tell(self.about(hook, entry, notice));
        self.act(Action::Run { hook, entry, attempt });
        Course::Trying { entry, attempt, since: self.now }
    }

    /// Tells how an attempt ended and says what follows from it.
    fn judge(&mut self, hook: Hook, course: &Course, outcome: Outcome) -> Verdict {
        let (entry, attempt) = course.position();
        let policy = self.plan.entries(hook)[entry].policy.clone();
        let (failure, word) = match outcome {
            Outcome::Succeeded(success) => {
                self.succeeded(hook, course, success);
                return Verdict::Succeeded;
            }
            Outcome::Failed(failure) => (failure, "Failed"),
            Outcome::TimedOut { limit } => (timed_out(limit), "TimedOut"),
        };
        for notice in failure.notices.clone() {
            self.tell(self.about(hook, entry, notice));
        }
        let base = Notice {
            attempt: Some(attempt),
            duration_ms: course.elapsed_ms(self.now),
            exit_code: failure.exit_code,
            outcome: Some(word.into()),
            ..Notice::default()
        };
        if let Some(next) = self.retry(hook, course, &policy) {
            let notice = Notice::normal("HookRetrying", format!("{hook} attempt {attempt} failed: {}", failure.class));
            self.tell(self.about(hook, entry, Notice { reason: notice.reason, message: notice.message, ..base }));
            return Verdict::Again(next);
        }
        let title = title(hook);
        let ignored = policy.on_failure == OnFailure::Ignore;
        let suffix = if ignored && matches!(hook, Hook::PreStart | Hook::PostStart) { " (ignored)" } else { "" };
        let notice = Notice::warning(&format!("Failed{title}"), format!("{title} failed: {}{suffix}", failure.class));
        let notice = Notice { kind: notice.kind, reason: notice.reason, message: notice.message, ..base };
        self.tell(self.about(hook, entry, notice));
        match ignored {
            true => Verdict::Ignored,
            false => Verdict::Failed(failure),
        }
    }

    /// T-04, T-05: the next attempt, if there is one left and (for preStop) some of the budget.
    fn retry(&self, hook: Hook, course: &Course, policy: &super::model::Policy) -> Option<Course> {
        let (entry, attempt) = course.position();
        let until = self.now + policy.retry_delay;
        let in_budget = match &self.life.phase {
            Phase::Stopping(stopping) if hook == Hook::PreStop => until < stopping.budget_end,
            _ => true,
        };
        (attempt <= policy.retries && in_budget).then_some(Course::Pausing { entry, attempt: attempt + 1, until })
    }

    fn succeeded(&mut self, hook: Hook, course: &Course, success: super::outcome::Success) {
        let (entry, attempt) = course.position();
        for notice in success.notices {
            self.tell(self.about(hook, entry, notice));
        }
        let message = format!("{hook} {} succeeded", self.plan.entries(hook)[entry].handler.name());
        let notice = Notice {
            attempt: Some(attempt),
            duration_ms: course.elapsed_ms(self.now),
            exit_code: success.exit_code,
            outcome: Some("Succeeded".into()),
            detail: success.detail,
            ..Notice::normal("HookSucceeded", message)
        };
        self.tell(self.about(hook, entry, notice));
    }

    fn interrupted(&mut self, hook: Hook, course: &Course, notice: Notice) {
        let (entry, attempt) = course.position();
        let duration_ms = course.elapsed_ms(self.now);
        let notice = Notice { attempt: Some(attempt), outcome: Some("Interrupted".into()), duration_ms, ..notice };
        self.tell(self.about(hook, entry, notice));
    }

    /// An end that is written down and otherwise changes nothing.
    fn told_late(&mut self, hook: Hook, course: &Course, outcome: Outcome) {
        let keep = self.life.late_failure;
        let mut without_retries = self.plan.clone();
        if let Some(entry) = &mut without_retries.post_start {
            entry.policy.retries = 0;
        }
        let mut turn = Turn { plan: &without_retries, life: self.life.clone(), now: self.now, actions: Vec::new() };
        turn.judge(hook, course, outcome);
        self.actions.append(&mut turn.actions);
        self.life.late_failure = keep;
    }

    // ── small things ────────────────────────────────────────────────────────────────────────────

    /// The ENTRYPOINT is never executed: the waiting init is killed.
    fn doom(&mut self) {
        self.kill();
        self.life.phase = Phase::Doomed(Doom::NeverExecuted);
    }

    fn kill(&mut self) {
        self.tell(Notice {
            signal: Some("SIGKILL".into()),
            ..Notice::normal("SigkillSent", "sent SIGKILL to the container")
        });
        self.act(Action::Signal { signal: Signal::KILL, all: false });
    }

    fn signal(&mut self, signal: Signal, all: bool) {
        let notice = Notice::normal("SignalSent", format!("sent {signal} to the container"));
        self.tell(Notice { signal: Some(signal.to_string()), ..notice });
        self.act(Action::Signal { signal, all });
    }

    /// The first stop request of this life.
    fn asked(&mut self, request: &StopRequest) {
        self.acknowledge(*request);
        let by = match request.by {
            By::Stop(_) => "stop",
            By::Kill(_) => "kill",
            By::Signal => "signal",
        };
        let grace = request.grace_seconds.unwrap_or(self.plan.grace_seconds);
        self.life.asked.get_or_insert(Asked { signal: request.signal });
        self.tell(Notice {
            by: Some(by.into()),
            signal: Some(request.signal.to_string()),
            grace_seconds: Some(grace),
            ..Notice::normal("StopRequested", format!("stop requested by {by}"))
        });
    }

    fn note_asked(&mut self, by: &str, signal: Signal) {
        if self.life.asked.is_none() {
            self.life.asked = Some(Asked { signal });
            let notice = Notice::normal("StopRequested", format!("stop requested by {by}"));
            self.tell(Notice { by: Some(by.into()), signal: Some(signal.to_string()), ..notice });
        }
    }

    /// `kill` is answered at once (S-03); `stop` when all is over.
    fn acknowledge(&mut self, request: StopRequest) {
        match request.by {
            By::Stop(id) if !self.life.stops.contains(&id) => self.life.stops.push(id),
            By::Kill(id) => self.answer(id, Ok(())),
            _ => {}
        }
    }

    fn about(&self, hook: Hook, entry: usize, notice: Notice) -> Notice {
        let handler = self.plan.entries(hook).get(entry).map(|entry: &Entry| entry.handler.name().to_owned());
        Notice { hook: Some(hook), entry: hook.is_list().then_some(entry), handler, ..notice }
    }

    fn answer_start(&mut self, result: Result<(), String>) {
        if let Some(id) = self.life.start.take() {
            self.answer(id, result);
        }
    }

    fn answer(&mut self, id: RequestId, result: Result<(), String>) {
        self.act(Action::Answer(id, result));
    }

    fn tell(&mut self, notice: Notice) {
        self.act(Action::Tell(notice));
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }
}

/// What callers match on (callers.md 1.4).
const NOT_RUNNING: &str = "container not running";

enum Verdict {
    Succeeded,
    /// Failed, and the policy says that it does not count.
    Ignored,
    Failed(Failure),
    Again(Course),
}

impl Failure {
    /// The text for who waits for `start`: it carries the last line of stderr (L-03).
    fn told(&self, begin: &str) -> String {
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

/// `exit code 5`, `SIGKILL`, `OOM killed`: for messages.
pub fn how(exit: &Exit) -> String {
    match exit {
        Exit { oom: true, .. } => "OOM killed".into(),
        Exit { signal: Some(signal), .. } => signal.to_string(),
        Exit { code: Some(code), .. } => format!("exit code {code}"),
        _ => "exit code unknown".into(),
    }
}

fn whole_seconds_up(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs() + u64::from(span.subsec_nanos() > 0))
}
