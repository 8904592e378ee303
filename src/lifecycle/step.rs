//! The lifecycle as one pure function (lifecycle.md sections 3, 5, 6): no I/O, no clock, no descriptor.
//!
//! A supervisor turns what it sees into an [`Event`], calls [`step`], and performs each [`Action`] in order:
//!
//! ```text
//!   Created ─ Start ─> PreStart ─> Executing ─ Executed ─> Starting ─> Running ─ Stop ─> Stopping
//!                (no preStart: at once)        (no postStart: Running at once)
//!   Doomed     the ENTRYPOINT is never executed; only the exit of init is waited for
//!   InitExited leads from all of these to PostStop (Stopped, if nothing was started), and that to Stopped
//! ```
//!
//! `Turn::take` is the whole table, one arm for each phase and event; what an arm does is in the file of its part:
//! `starting` (section 3), `stopping` (section 5), `force` (S-04, S-05, `delete`), `ending` (the exit and postStop) and
//! `attempt` (how one attempt of any hook begins and ends, section 7).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::life::{Course, Life, Phase};
use super::model::{Hook, Plan};
use super::notice::Notice;
use super::outcome::{Exit, Outcome};
use super::signal::Signal;
use super::time::Instant;

mod attempt;
mod ending;
mod force;
mod starting;
mod stopping;
#[cfg(test)]
pub(super) mod tests;

pub use ending::{exited, how};

/// The least time that the ENTRYPOINT gets between the stop signal and SIGKILL (lifecycle.md section 1).
pub const FLOOR: Duration = Duration::from_secs(2);

/// A request that is answered exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// Who asked for a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// The `stop` verb; it waits for the end.
    Stop(RequestId),
    /// The `kill` verb; it is answered at once (S-03).
    Kill(RequestId),
    /// A signal to the supervisor itself (S-01).
    Signal,
}

/// A stop request (S-01 to S-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A `start`, a `stop`, whose supervisor was lost while it waited (S-28).
    StartAgain(RequestId),
    StopAgain(StopRequest),
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
#[expect(clippy::large_enum_variant, reason = "a turn makes a handful of them")]
pub enum Action {
    /// Begin an attempt of a handler; its policy's limit is the supervisor's to keep.
    Run { hook: Hook, entry: usize, attempt: u32 },
    /// SIGTERM to the hook's process (R-07).
    Terminate(Hook),
    /// End what runs for the hook, its whole tree, with what its ended attempts left behind (R-06); nothing more is heard
    /// of it. Harmless where nothing is left.
    Cancel(Hook),
    /// See to it that init executes the ENTRYPOINT, which a predecessor may have told it already.
    Execute,
    /// Send a signal to the ENTRYPOINT, or to every process of the container.
    Signal { signal: Signal, all: bool },
    /// SIGKILL to every process that is left of the container (S-20).
    KillRest,
    /// Resume a frozen container (S-29).
    Thaw,
    /// Write an event into the journal.
    Tell(Notice),
    /// Answer a request; what was told and done before it must be visible by then.
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
        use {Course as C, Event as E, Phase as P};
        match (self.life.phase.clone(), event) {
            // Starting: sections 3 and 6.
            (P::Created, E::Start(id)) => self.start(id),
            (_, E::Start(id)) => self.refuse_start(id),
            (_, E::StartAgain(id)) => self.start_waits_again(id),
            (P::Executing, E::Executed) => self.executed(),
            (P::Executing, E::ExecFailed { message, code }) => self.exec_failed(message, code),
            (P::Doomed(_), E::Executed) => self.executed_too_late(),

            // A hook's attempt ended by itself.
            (P::PreStart(course @ C::Trying { .. }), E::HookDone { hook: Hook::PreStart, outcome }) => {
                self.pre_start_done(course, outcome)
            }
            (_, E::HookDone { hook: Hook::PostStart, outcome }) => self.post_start_done(outcome),
            (P::Stopping(stopping), E::HookDone { hook: Hook::PreStop, outcome }) => {
                self.pre_stop_done(stopping, outcome)
            }
            (P::PostStop(course @ C::Trying { .. }), E::HookDone { hook: Hook::PostStop, outcome }) => {
                self.post_stop_done(course, outcome)
            }

            // Stop requests: section 5.
            (P::Created, E::Stop(request)) => self.stop_before_start(request),
            (P::PreStart(course), E::Stop(request)) => self.stop_pre_start(course, request),
            (P::Executing | P::Starting, E::Stop(request)) if self.stop_waits() => self.queue_stop(request),
            (P::Executing, E::Stop(request)) => self.stop_executing(request),
            (P::Starting | P::Running, E::Stop(request)) => self.begin_stop(request),
            (P::Stopping(stopping), E::Stop(request)) => self.stop_again(stopping, request),
            (P::Doomed(_), E::Stop(request)) => self.asked(&request),
            (P::PostStop(course), E::Stop(request)) => self.stop_post_stop(course, request),
            (P::Stopped, E::Stop(request)) => self.stop_stopped(request),
            (_, E::StopAgain(request)) => self.stop_waits_again(request),

            // Other signals, and the end by force.
            (P::PostStop(_) | P::Stopped, E::Kill { request, all, .. }) => self.kill_stopped(request, all),
            (_, E::Kill { request, signal: Signal::KILL, all, .. }) => self.kill_now(request, all),
            (_, E::Kill { request, signal, all, raw }) => self.pass_on(request, signal, all, raw),
            (P::Created | P::Doomed(_), E::Delete { request, .. }) => self.delete_now(request),
            (P::PostStop(_), E::Delete { request, .. }) => self.life.deletes.push(request), // O-09
            (P::Stopped, E::Delete { request, .. }) => self.act(Action::Remove(vec![request])),
            (_, E::Delete { request, force: true }) => self.delete_now(request),
            (_, E::Delete { request, force: false }) => self.refuse_delete(request),

            // The end of the ENTRYPOINT is told once.
            (P::PostStop(_) | P::Stopped, E::InitExited(_)) => {}
            (_, E::InitExited(exit)) => self.init_exited(exit),

            (P::PreStart(course), E::Tick) => self.tick_pre_start(course),
            (P::Executing, E::Tick) => self.tick_executing(),
            (P::Starting, E::Tick) => self.tick_post_start(),
            (P::Stopping(_), E::Tick) => self.tick_stopping(),
            (P::PostStop(course), E::Tick) => self.tick_post_stop(course),
            (P::Created | P::Running | P::Doomed(_) | P::Stopped, E::Tick) => {}

            // A hook that was cancelled, or an answer of init that its exit has overtaken.
            (_, E::HookDone { .. } | E::Executed | E::ExecFailed { .. }) => {}
        }
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
