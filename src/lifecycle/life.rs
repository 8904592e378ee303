//! What is remembered of a container's life between two steps, and by the successor of a supervisor that was killed.

use serde::{Deserialize, Serialize};

use super::model::{Hook, Plan};
use super::outcome::Exit;
use super::signal::Signal;
use super::step::{FLOOR, RequestId, StopRequest};
use super::time::Instant;

/// The state of `step`: the phase with what belongs to it alone, and what outlives a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Life {
    pub phase: Phase,
    /// postStart may still run while `Stopping` (P-11), so it is no part of a phase.
    pub post_start: Course,
    pub executed: bool,
    /// Phase `Running` was entered.
    pub ran: bool,
    /// The first thing that asked for the end, `kill` and `delete` included (O-04).
    pub asked: Option<Asked>,
    /// A stop that came in `Executing`.
    pub awaited_stop: Option<AwaitedStop>,
    /// P-12: a stop that is acted on when postStart has ended.
    pub queued_stop: Option<StopRequest>,
    /// O-07: the one signal that postStop ignores has come.
    pub asked_in_post_stop: bool,
    /// when a preStart that was asked to end is killed.
    pub pre_start_ends_by: Option<Instant>,
    pub fault: Option<Fault>,
    pub exit: Option<Exit>,
    /// S-22
    pub killed_after_grace: bool,
    /// preStop or postStop failed and its policy says that it counts.
    pub late_failure: bool,
    /// Who waits for `Running`, for `Stopped`, and for the removal. They ask a successor again.
    #[serde(skip)]
    pub start: Option<RequestId>,
    #[serde(skip)]
    pub stops: Vec<RequestId>,
    #[serde(skip)]
    pub deletes: Vec<RequestId>,
}

/// lifecycle.md section 1, with two that have no name there: `Executing` and `Doomed` last milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    Created,
    PreStart(Course),
    /// Init was told to execute the ENTRYPOINT and has not answered yet.
    Executing,
    Starting,
    Running,
    Stopping(Stopping),
    /// The ENTRYPOINT will not be executed; only init's exit is waited for.
    Doomed(Doom),
    PostStop(Course),
    Stopped,
}

/// How far a hook is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Course {
    Pending,
    Trying {
        entry: usize,
        attempt: u32,
        since: Instant,
    },
    /// Between two attempts (T-04).
    Pausing {
        entry: usize,
        attempt: u32,
        until: Instant,
    },
    Over,
}

impl Course {
    /// The entry that this is about.
    pub fn entry(&self) -> usize {
        match *self {
            Course::Trying { entry, .. } | Course::Pausing { entry, .. } => entry,
            Course::Pending | Course::Over => 0,
        }
    }

    /// The attempt that runs; None between two attempts, before the first, and after the last.
    pub fn attempt(&self) -> Option<u32> {
        match *self {
            Course::Trying { attempt, .. } => Some(attempt),
            _ => None,
        }
    }

    /// Whether the hook was begun and has not ended.
    pub fn is_open(&self) -> bool {
        matches!(self, Course::Trying { .. } | Course::Pausing { .. })
    }

    /// When the next attempt is due.
    pub fn due(&self) -> Option<Instant> {
        match *self {
            Course::Pausing { until, .. } => Some(until),
            _ => None,
        }
    }

    /// How long the attempt that runs has taken so far.
    pub fn elapsed_ms(&self, now: Instant) -> Option<u64> {
        match *self {
            Course::Trying { since, .. } => u64::try_from((now - since).as_millis()).ok(),
            _ => None,
        }
    }
}

/// A stop that is under way (S-06).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stopping {
    /// T0 + G
    pub budget_end: Instant,
    /// The stop signal goes to every process (`kill --all`).
    pub all: bool,
    /// S-19: a SIGINT was among the requests; the next one kills.
    pub sigint_seen: bool,
    pub stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stage {
    PreStop(Course),
    Signalled {
        at: Instant,
        kill_at: Instant,
        /// S-09: a preStop exec whose wait has ended goes on until the container's end.
        pre_stop_runs_on: bool,
    },
    /// SIGKILL was sent after the stop signal, or as the stop signal.
    Killed {
        pre_stop_runs_on: bool,
    },
    /// SIGKILL came before the stop signal (S-04), with preStop so far.
    KilledIn(Course),
}

impl Stage {
    /// What SIGKILL makes of it.
    pub fn killed(self) -> Stage {
        match self {
            Stage::PreStop(course) => Stage::KilledIn(course),
            Stage::Signalled { pre_stop_runs_on, .. } => Stage::Killed { pre_stop_runs_on },
            killed => killed,
        }
    }
}

/// A stop that waits for init's answer to `Execute`: only with it is known whether there is anything to stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AwaitedStop {
    pub asked_at: Instant,
    pub stopping: Stopping,
}

impl AwaitedStop {
    /// When init is killed if it has not answered.
    pub fn gives_up_at(&self) -> Instant {
        self.stopping.budget_end.max(self.asked_at + FLOOR)
    }
}

/// Whether the container was started before it was given up: postStop runs only then (O-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Doom {
    BeforeStart,
    NeverExecuted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub signal: Signal,
}

/// Why the start failed, with the text for who waits for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fault {
    PreStartHook(String),
    PostStartHook(String),
    StartError { message: String, code: i32 },
}

impl Life {
    /// A container that was created and not yet started.
    pub fn created() -> Life {
        Life {
            phase: Phase::Created,
            post_start: Course::Pending,
            executed: false,
            ran: false,
            asked: None,
            awaited_stop: None,
            queued_stop: None,
            asked_in_post_stop: false,
            pre_start_ends_by: None,
            fault: None,
            exit: None,
            killed_after_grace: false,
            late_failure: false,
            start: None,
            stops: Vec::new(),
            deletes: Vec::new(),
        }
    }

    /// The phase's name for `state` (lifecycle.md section 1).
    pub fn phase_name(&self) -> &'static str {
        match &self.phase {
            Phase::Created => "Created",
            Phase::PreStart(_) => "PreStart",
            Phase::Executing => "Created",
            Phase::Starting => "Starting",
            Phase::Running => "Running",
            Phase::Stopping(_) => "Stopping",
            Phase::Doomed(Doom::BeforeStart) => "Created",
            Phase::Doomed(Doom::NeverExecuted) => "PreStart",
            Phase::PostStop(_) => "PostStop",
            Phase::Stopped => "Stopped",
        }
    }

    /// The OCI `status` (lifecycle.md section 1): hooks hold `running` back. (A frozen container's is the caller's to know.)
    pub fn oci_status(&self) -> &'static str {
        match &self.phase {
            Phase::Created | Phase::PreStart(_) | Phase::Executing | Phase::Starting | Phase::Doomed(_) => "created",
            // Who waits for `Running` waits still: postStart never succeeded.
            Phase::Stopping(_) if self.start.is_some() => "created",
            Phase::Running | Phase::Stopping(_) => "running",
            Phase::PostStop(_) | Phase::Stopped => "stopped",
        }
    }

    /// When `step` wants a `Tick`; None while there is nothing to wait for but events.
    pub fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::PreStart(course) => self.pre_start_ends_by.or(course.due()),
            Phase::Executing => self.awaited_stop.as_ref().map(AwaitedStop::gives_up_at),
            Phase::Stopping(stopping) => match &stopping.stage {
                Stage::PreStop(course) => Some(course.due().unwrap_or(stopping.budget_end).min(stopping.budget_end)),
                Stage::Signalled { kill_at, .. } => Some(*kill_at),
                Stage::Killed { .. } | Stage::KilledIn(_) => None,
            },
            Phase::PostStop(course) => course.due(),
            _ => None,
        };
        [phase, self.post_start_deadline()].into_iter().flatten().min()
    }

    /// The next attempt of postStart, or the end of its wait once a stop was asked for (P-11).
    pub fn post_start_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Starting => self.post_start.due(),
            Phase::Stopping(Stopping { stage: Stage::KilledIn(_), .. }) => None, // it ends with the ENTRYPOINT
            Phase::Stopping(stopping) => self.post_start.attempt().map(|_| stopping.budget_end),
            _ => None,
        }
    }

    /// The exit code for who cannot see the ENTRYPOINT's own: `run`, `test`, `wait`.
    /// None where it cannot be known.
    pub fn exit_code(&self) -> Option<i32> {
        let own = self.exit?.code;
        let or_125 = |code: Option<i32>| code.map(|code| if code == 0 { 125 } else { code });
        match &self.fault {
            Some(Fault::PreStartHook(_)) => Some(125),
            Some(Fault::StartError { code, .. }) => Some(*code),
            Some(Fault::PostStartHook(_)) => or_125(own),
            None if !self.executed && self.asked.is_some() => self.asked.map(|asked| 128 + asked.signal.number()),
            None if self.late_failure => or_125(own),
            None => own,
        }
    }

    /// L-09
    pub fn reason(&self) -> &'static str {
        let Some(exit) = self.exit else { return "Unknown" };
        match &self.fault {
            Some(Fault::PreStartHook(_)) => "PreStartHookError",
            Some(Fault::PostStartHook(_)) => "PostStartHookError",
            Some(Fault::StartError { .. }) => "StartError",
            None if exit.oom => "OOMKilled",
            None if !self.executed && self.asked.is_some() => "Error", // R-07, S-16
            None => match exit.code {
                Some(0) => "Completed",
                Some(_) => "Error",
                None => "Unknown",
            },
        }
    }

    /// How far a hook is; `Over` where the phase says that it is not its turn.
    pub fn course(&self, hook: Hook) -> &Course {
        match (hook, &self.phase) {
            (Hook::PreStart, Phase::PreStart(course)) | (Hook::PostStop, Phase::PostStop(course)) => course,
            (Hook::PostStart, _) => &self.post_start,
            (Hook::PreStop, Phase::Stopping(stopping)) => match &stopping.stage {
                Stage::PreStop(course) | Stage::KilledIn(course) => course,
                Stage::Signalled { .. } | Stage::Killed { .. } => &Course::Over,
            },
            _ => &Course::Over,
        }
    }

    /// Whether all is over.
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// Whether the ENTRYPOINT was sent a SIGKILL of ours.
    pub fn was_killed(&self) -> bool {
        match &self.phase {
            Phase::Doomed(_) => true,
            Phase::Stopping(stopping) => matches!(stopping.stage, Stage::Killed { .. } | Stage::KilledIn(_)),
            _ => false,
        }
    }

    /// O-04: 1 after any stop request, `kill` or `delete --force`.
    pub fn stop_requested(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether the plan's postStop can still run, so that the namespaces have to be kept (design.md section 2).
    pub fn may_need_namespaces(&self, plan: &Plan) -> bool {
        !plan.post_stop.is_empty() && !self.is_stopped()
    }
}
