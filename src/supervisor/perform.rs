//! The supervisor's hands: each action of `step` carried out.

use std::os::fd::AsFd;
use std::time::Duration;

use super::control::{self, Answer};
use super::{Readiness, Supervisor, attempt, boot, descendants};
use crate::container::start::{self, Heard, Waiting, Word};
use crate::container::state::ProcessId;
use crate::lifecycle::fault::HandlerFault;
use crate::lifecycle::life::Phase;
use crate::lifecycle::model::{Handler, Hook};
use crate::lifecycle::notice::Notice;
use crate::lifecycle::signal::Signal;
use crate::lifecycle::step::{Action, Event, RequestId};
use crate::linux::{clock, exit};
use attempt::Attempt;

/// The environment variable that lets the N-th action of the supervisor that `create` leaves behind panic.
#[cfg(debug_assertions)]
pub(super) const FAIL_AT: &str = "BOOKEND_TEST_FAIL_AT";

impl Supervisor {
    pub(super) fn perform(&mut self, action: Action) {
        #[cfg(debug_assertions)]
        self.fail_on_demand();
        match action {
            Action::Run { hook, entry, attempt } => self.run_handler(hook, entry, attempt),
            Action::Terminate(hook) => self.of(hook).for_each(|attempt| attempt.terminate()),
            Action::Cancel(hook) => self.cancel(hook),
            Action::Execute => self.execute(),
            Action::Signal { signal, all } => self.signal(signal, all),
            Action::KillRest => self.kill_rest(),
            Action::Thaw => self.thaw(),
            Action::Tell(notice) => self.tell(notice),
            Action::Answer(id, result) => self.answer(id, result),
            Action::Remove(requests) => self.remove(requests),
        }
    }

    /// What follows from every step: the status file, who waits for the end, and what is held for postStop.
    pub(super) fn settle(&mut self) {
        self.write_status();
        if let (Phase::Running, Some(Readiness::AtRunning(manager))) = (&self.life.phase, &self.readiness) {
            // Who has gone does not want to know any more.
            let _ = manager.ready();
            self.readiness = None;
        }
        if !self.life.may_need_namespaces(&self.plan) {
            self.namespaces.clear();
        }
        if self.life.is_stopped() {
            self.answer_waiters();
        }
    }

    /// What a successor needs to know; before anything is done that follows from it.
    pub fn remember(&mut self) {
        let runs = self.attempts.iter().filter_map(Attempt::run).collect();
        if let Some(records) = &mut self.records
            && !self.removed
        {
            records.remember(&self.dir, &self.life, runs, self.foreground);
        }
    }

    /// For tests of threats.md R24.
    #[cfg(debug_assertions)]
    fn fail_on_demand(&mut self) {
        self.performed += 1;
        if std::env::var(FAIL_AT).is_ok_and(|at| at == self.performed.to_string()) {
            panic!("failed on demand before action {}", self.performed);
        }
    }

    fn write_status(&mut self) {
        if let Some(records) = &mut self.records
            && !self.removed
        {
            records.settle(&self.dir, &self.life);
        }
    }

    fn of(&self, hook: Hook) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(move |attempt| attempt.hook == hook && !attempt.is_over())
    }

    fn run_handler(&mut self, hook: Hook, entry: usize, number: u32) {
        let now = clock::now();
        let spec = self.plan.entries(hook)[entry].clone();
        let limit = spec.policy.timeout;
        if let Handler::Sleep { seconds } = spec.handler
            && let Some(late) = self.sleep_is_late_by(hook)
        {
            self.attempts.push(Attempt::sleep(hook, entry, Duration::from_secs(seconds) + late, now, limit));
            return;
        }
        self.warn_outside_cgroup(&spec.handler);
        match boot::spawn_handler(self, hook, entry, number, &spec) {
            Ok(child) => {
                self.attempts.push(Attempt::child((hook, entry, number), child, now, limit));
                self.remember();
                self.attempts.last().iter().for_each(|attempt| attempt.let_go());
            }
            Err(error) => {
                let ended = attempt::lost(&error);
                if let (Some(records), Some(text)) = (&mut self.records, &ended.error) {
                    records.status.set_error(hook, entry, text);
                }
                self.feed(Event::HookDone { hook, outcome: ended.outcome });
            }
        }
    }

    /// By nothing, unless a rehearsal asks for it; None where something else takes its place.
    pub(super) fn sleep_is_late_by(&self, hook: Hook) -> Option<Duration> {
        match self.faults.of_handler(hook) {
            None => Some(Duration::ZERO),
            Some(HandlerFault::Slow(span)) => Some(span),
            Some(_) => None,
        }
    }

    /// X-E18: told once for a container.
    fn warn_outside_cgroup(&mut self, handler: &Handler) {
        if self.told_outside_cgroup || !self.state.cgroup.is_none() || !matches!(handler, Handler::Exec { .. }) {
            return;
        }
        self.told_outside_cgroup = true;
        let text = "the container has no control group (no rights to make one), so its hooks run outside of any limit";
        self.tell(Notice::warning("HookOutsideCgroup", text));
    }

    /// Also ends what a finished attempt left behind in its control group.
    fn cancel(&mut self, hook: Hook) {
        let now = clock::now();
        self.held.retain(|held| held.hook != hook);
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.hook == hook) {
            attempt.cancel(now);
        }
        if hook == Hook::PreStart && self.state.cgroup.is_none() {
            // The ENTRYPOINT is not executed yet: what hangs on init was a hook's.
            descendants::kill_below(&self.state.init_id(), 0);
        }
        for entry in 0..self.plan.entries(hook).len() {
            boot::kill_leftovers(&self.state.cgroup, hook, entry);
        }
    }

    fn execute(&mut self) {
        match Word::give(&self.dir) {
            Ok(Some(word)) => self.word = Some(word),
            // A predecessor gave it (S-28). Had the execve failed, init would be on its way out.
            Ok(None) if self.init_goes_on() => self.executed(),
            Ok(None) => {}
            Err(error) => self.feed(Event::ExecFailed { message: error.message, code: error.code }),
        }
    }

    /// What init says, once it was told to execute its program.
    pub(super) fn hear_init(&mut self) {
        let Some(heard) = self.word.as_mut().and_then(Word::hear) else { return };
        self.word = None;
        let error = match heard {
            Heard::Executed => return self.executed(),
            // A predecessor's word came before ours (S-28).
            Heard::Gone if start::waits(&self.dir) == Waiting::NoMore && self.init_goes_on() => return self.executed(),
            Heard::Gone if self.struck_by.is_none() && !self.init_goes_on() => return, // its exit says what it died of
            Heard::Gone => self.struck_by.map_or_else(Heard::nothing, Heard::interrupted),
            Heard::Failed(error) => error,
        };
        self.feed(Event::ExecFailed { message: error.message, code: error.code });
    }

    fn init_goes_on(&self) -> bool {
        self.init.as_ref().is_some_and(|init| !exit::is_ending(init.proc_dir.as_fd()))
    }

    fn executed(&mut self) {
        self.faults.begin(clock::now());
        self.feed(Event::Executed);
        // Elsewhere the verb runs them. As in every runtime a hook of the host's that hangs holds up its `run`, until a signal comes.
        if self.foreground
            && let Err(error) = crate::container::hooks::poststart(&self.state, &self.dir, self.interrupt.as_ref())
        {
            self.poststart_error = Some(error);
            self.feed(Event::Kill { request: None, signal: Signal::KILL, all: false, raw: true });
        }
    }

    fn signal(&mut self, signal: Signal, all: bool) {
        if self.faults.loses(signal, self.plan.stop_signal) {
            return;
        }
        if all {
            for pid in self.state.cgroup.pids().unwrap_or_default() {
                // The pid was read from the container's control group a moment ago.
                let _ = crate::linux::pidfd::open(pid).and_then(|pidfd| super::signal_through(pidfd.as_fd(), signal));
            }
        }
        if let Some(init) = &self.init {
            // ESRCH: its exit is about to be heard.
            let _ = super::signal_through(init.pidfd.as_fd(), signal);
        }
        if signal == Signal::KILL {
            // One that cannot be thawed is killed with the rest, or told when the control group is removed.
            let _ = self.state.cgroup.let_die();
        }
    }

    /// S-20. Without a control group it is who came to us, the nearest subreaper, when its parent ended.
    fn kill_rest(&self) {
        if self.state.cgroup.is_none() && self.plan.has_hooks() {
            let Ok(ourselves) = ProcessId::of(nix::unistd::Pid::this()) else { return };
            descendants::kill_below(&ourselves, self.state.start_time);
        } else {
            // A process that cannot be killed now shows when the control group is removed, and is told there.
            drop(self.state.cgroup.kill());
        }
    }

    fn thaw(&mut self) {
        if !self.state.cgroup.is_none() && self.state.cgroup.is_frozen().unwrap_or(false) {
            // What stays frozen is killed at the end of the grace period.
            let _ = self.state.cgroup.thaw();
        }
    }

    pub(super) fn tell(&mut self, notice: Notice) {
        if let Some(records) = &mut self.records {
            records.tell_at(self.now, notice, &self.dir, &self.plan);
        }
    }

    fn answer(&mut self, id: RequestId, result: Result<(), String>) {
        // Who is answered may look at the status file at once.
        self.write_status();
        let answer = match result {
            Ok(()) => Answer::Ok,
            Err(text) => Answer::Error(text),
        };
        if let Some(at) = self.clients.iter().position(|client| client.request == Some(id)) {
            control::answer(self.clients[at].connection.as_fd(), &answer);
            self.clients.swap_remove(at);
        } else if let Answer::Error(text) = answer
            && self.own_start == Some(id)
        {
            // `run` tells it when the loop has ended.
            self.start_error = Some(text);
        }
    }

    pub(super) fn answer_waiters(&mut self) {
        if !self.life.is_stopped() {
            return;
        }
        let code = self.life.exit_code();
        for at in (0..self.clients.len()).rev() {
            if self.clients[at].waits_for_exit {
                control::answer(self.clients[at].connection.as_fd(), &Answer::Exit(code));
                self.clients.swap_remove(at);
            }
        }
    }

    /// O-09: history, control groups, state directory; then who asked for it is told.
    fn remove(&mut self, requests: Vec<RequestId>) {
        if let Some(records) = &mut self.records {
            records.settle(&self.dir, &self.life);
        }
        for attempt in &mut self.attempts {
            attempt.cancel(clock::now());
            attempt.close();
        }
        self.keep_copies();
        let result =
            super::removal::remove(&self.root, &self.state, &self.dir).map(drop).map_err(|error| format!("{error:#}"));
        self.removed = true;
        for id in requests {
            self.answer(id, result.clone());
        }
    }
}
