//! Signals that are no stop request, SIGKILL, and `delete` (S-04, S-05, O-09, O-10).

use super::{Action, NOT_RUNNING, RequestId, Turn};
use crate::lifecycle::life::{Course, Doom, Phase, Stage, Stopping};
use crate::lifecycle::notice::Notice;
use crate::lifecycle::signal::Signal;

impl Turn<'_> {
    /// S-04: the container is killed at once; preStop is skipped, or cut off when it exits.
    pub(super) fn kill_now(&mut self, request: Option<RequestId>, all: bool) {
        self.note_asked("kill", Signal::KILL);
        self.life.queued_stop = None;
        self.kill(all);
        self.life.phase = match self.life.phase.clone() {
            Phase::Created => Phase::Doomed(Doom::BeforeStart),
            Phase::PreStart(course) => {
                self.end_pre_start(&course, "killed before the hook finished");
                Phase::Doomed(Doom::NeverExecuted)
            }
            Phase::Executing => {
                self.life.awaited_stop = None;
                Phase::Doomed(Doom::NeverExecuted)
            }
            Phase::Starting | Phase::Running => {
                if self.plan.pre_stop.is_some() {
                    self.skip_pre_stop("killed");
                }
                Phase::Stopping(Stopping { stage: Stage::KilledIn(Course::Over), ..self.stop_within(0) })
            }
            Phase::Stopping(stopping) => Phase::Stopping(Stopping { stage: stopping.stage.killed(), ..stopping }),
            over @ (Phase::Doomed(_) | Phase::PostStop(_) | Phase::Stopped) => over,
        };
        if let Some(id) = request {
            self.answer(id, Ok(()));
        }
    }

    /// SIGKILL to the ENTRYPOINT or the init that waits in its place; `all`: to every other process too, at once.
    pub(super) fn kill(&mut self, all: bool) {
        let notice = Notice::normal("SigkillSent", "sent SIGKILL to the container");
        self.tell(Notice { signal: Some(Signal::KILL.to_string()), ..notice });
        self.act(Action::Signal { signal: Signal::KILL, all: false });
        if all {
            self.act(Action::Signal { signal: Signal::KILL, all: true });
        }
        self.act(Action::Thaw); // in the freezer of cgroup v1 even SIGKILL waits
    }

    /// S-05 and `kill --raw`
    pub(super) fn pass_on(&mut self, request: Option<RequestId>, signal: Signal, all: bool, raw: bool) {
        if raw && (signal == Signal::TERM || signal == self.plan.stop_signal) {
            self.note_asked("kill", signal); // O-04
        }
        // S-03. Not what reached the supervisor itself: there SIGWINCH is a terminal's new size.
        if request.is_some() && !raw && self.plan.pre_stop.is_some() && may_be_meant_to_stop(signal) {
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

    /// S-03: `kill --all` succeeds on a stopped container; O-10: it reaches nothing.
    pub(super) fn kill_stopped(&mut self, request: Option<RequestId>, all: bool) {
        if let Some(id) = request {
            self.answer(id, if all { Ok(()) } else { Err(NOT_RUNNING.into()) });
        }
    }

    pub(super) fn delete_now(&mut self, request: RequestId) {
        self.note_asked("delete", Signal::KILL);
        self.kill_now(None, false);
        self.life.deletes.push(request);
    }

    pub(super) fn refuse_delete(&mut self, request: RequestId) {
        let status = match self.life.phase {
            Phase::PreStart(_) | Phase::Executing => "created",
            _ => "running", // in `Starting` too (lifecycle.md section 1)
        };
        self.answer(request, Err(format!("that is not stopped: {status}")));
    }
}

/// Signals that images often name as their stop signal, without telling the runtime.
fn may_be_meant_to_stop(signal: Signal) -> bool {
    ["SIGQUIT", "SIGINT", "SIGUSR1", "SIGWINCH", "SIGRTMIN+3"].contains(&signal.to_string().as_str())
}
