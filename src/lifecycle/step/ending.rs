//! The exit of the ENTRYPOINT and postStop (S-12 to S-14, S-20, O-01 to O-10).

use super::attempt::Verdict;
use super::{Action, By, StopRequest, Turn};
use crate::lifecycle::life::{Course, Doom, Phase};
use crate::lifecycle::model::Hook;
use crate::lifecycle::notice::Notice;
use crate::lifecycle::outcome::{Exit, Outcome};
use crate::lifecycle::signal::Signal;

impl Turn<'_> {
    /// Whatever hook still runs is cut off, then what is left of the container is killed (S-20), then postStop (O-01).
    pub(super) fn init_exited(&mut self, exit: Exit) {
        self.life.exit = Some(exit);
        self.life.awaited_stop = None;
        self.tell(exited(&exit));
        let phase = self.life.phase.clone();
        let why = format!("container exited ({}) before the hook finished", how(&exit));
        self.end_post_start(&why);
        match &phase {
            Phase::PreStart(course) => self.end_pre_start(course, &why),
            Phase::Stopping(stopping) => self.end_pre_stop(&stopping.stage),
            _ => {}
        }
        self.act(Action::KillRest);
        // S-16, O-02: where nothing was started there is nothing to clean up after.
        let never_started = matches!(phase, Phase::Created | Phase::Doomed(Doom::BeforeStart));
        self.life.phase = match never_started || self.plan.post_stop.is_empty() {
            true => Phase::Stopped,
            false => Phase::PostStop(self.begin(Hook::PostStop, 0, 1)),
        };
        self.answer_start(Err(self.start_error(&exit)));
        if self.life.is_stopped() {
            self.stopped();
        }
    }

    /// O-06: a failure is told, the remaining entries still run.
    pub(super) fn post_stop_done(&mut self, course: Course, outcome: Outcome) {
        match self.judge(Hook::PostStop, &course, outcome) {
            Verdict::Again(next) => return self.life.phase = Phase::PostStop(next),
            Verdict::Failed(_) => self.life.late_failure = true,
            Verdict::Succeeded | Verdict::Ignored => {}
        }
        self.act(Action::Cancel(Hook::PostStop));
        let next = course.entry() + 1;
        match next < self.plan.post_stop.len() {
            true => self.life.phase = Phase::PostStop(self.begin(Hook::PostStop, next, 1)),
            false => self.stopped(),
        }
    }

    /// O-07, O-10: the first SIGTERM is ignored; a second, SIGINT, or `stop --grace 0` ends postStop.
    pub(super) fn stop_post_stop(&mut self, course: Course, request: StopRequest) {
        let insistent = match request.by {
            By::Kill(id) => return self.kill_stopped(Some(id), request.all),
            By::Stop(id) => {
                self.life.stops.push(id);
                request.grace_seconds == Some(0)
            }
            By::Signal => {
                let second = std::mem::replace(&mut self.life.asked_in_post_stop, true);
                second || request.signal == Signal::INT
            }
        };
        if insistent {
            self.act(Action::Cancel(Hook::PostStop));
            let notice = Notice::warning("FailedPostStopHook", "PostStopHook failed: ended by request");
            self.interrupted(Hook::PostStop, &course, notice);
            self.stopped();
        }
    }

    pub(super) fn tick_post_stop(&mut self, course: Course) {
        if let Course::Pausing { entry, attempt, until } = course
            && until <= self.now
        {
            self.life.phase = Phase::PostStop(self.begin(Hook::PostStop, entry, attempt));
        }
    }

    /// All is over: who waited for it is answered, and who asked for it gets the container removed (O-09).
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
}

/// What is told of the ENTRYPOINT's end.
pub fn exited(exit: &Exit) -> Notice {
    Notice {
        code: exit.code,
        signal: exit.signal.map(|signal| signal.to_string()),
        oom: exit.oom.then_some(true),
        ..Notice::normal("Exited", format!("container exited ({})", how(exit)))
    }
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
