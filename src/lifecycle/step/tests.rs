//! The rows of lifecycle.md that speak of order or time, one test a row, on a simulated life with a virtual clock.

mod ending;
mod force;
pub(in crate::lifecycle) mod properties;
mod starting;
mod stopping;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Action, By, Event, RequestId, StopRequest, step};
use crate::lifecycle::life::Life;
use crate::lifecycle::model::{Entry, Handler, Hook, OnFailure, Plan, Policy, PostStartStop};
use crate::lifecycle::notice::Notice;
use crate::lifecycle::outcome::{Exit, Failure, Outcome, Success};
use crate::lifecycle::signal::Signal;
use crate::lifecycle::time::Instant;

/// The simulated machine is up for a while already, so that no deadline is met by a zero.
const ORIGIN: Instant = Instant(1_000_000_000_000);

/// A plan without hooks, G = 30; built up by what [`Build`] adds.
fn plan() -> Plan {
    Plan::empty("web")
}

trait Build: Sized {
    /// One more exec entry of the hook.
    fn with(self, hook: Hook) -> Self {
        self.entry(hook, |_| {})
    }
    fn entry(self, hook: Hook, change: impl FnOnce(&mut Entry)) -> Self;
    fn sleep(self, hook: Hook, seconds: u64) -> Self {
        self.entry(hook, |entry| entry.handler = Handler::Sleep { seconds })
    }
    fn retries(self, hook: Hook, retries: u32) -> Self {
        self.entry(hook, |entry| entry.policy.retries = retries)
    }
    fn on_failure(self, hook: Hook, on_failure: OnFailure) -> Self {
        self.entry(hook, |entry| entry.policy.on_failure = on_failure)
    }
    fn grace(self, seconds: u64) -> Self;
    fn stop_signal(self, name: &str) -> Self;
    /// `--poststart-stop wait`
    fn stop_waits(self) -> Self;
}

impl Build for Plan {
    fn entry(mut self, hook: Hook, change: impl FnOnce(&mut Entry)) -> Plan {
        let handler = Handler::Exec { command: vec!["/bin/hook".into()] };
        let mut entry = Entry { handler, policy: Policy::default_of(hook), source: "test".into() };
        change(&mut entry);
        match hook {
            Hook::PreStart => self.pre_start.push(entry),
            Hook::PostStart => self.post_start = Some(entry),
            Hook::PreStop => self.pre_stop = Some(entry),
            Hook::PostStop => self.post_stop.push(entry),
        }
        self
    }

    fn grace(mut self, seconds: u64) -> Plan {
        self.grace_seconds = seconds;
        self
    }

    fn stop_signal(mut self, name: &str) -> Plan {
        self.stop_signal = Signal::from_name(name).expect("a signal's name");
        self
    }

    fn stop_waits(mut self) -> Plan {
        self.post_start_stop = PostStartStop::Wait;
        self
    }
}

/// A life with a clock. Events go in; what was told and done comes out as lines of `SECOND WHAT`.
struct Sim {
    plan: Plan,
    life: Life,
    zero: Instant,
    now: Instant,
    requests: BTreeMap<RequestId, &'static str>,
    done: Vec<(Instant, Action)>,
}

impl Sim {
    fn created(plan: Plan) -> Sim {
        let (life, requests, done) = (Life::created(), BTreeMap::new(), Vec::new());
        Sim { plan, life, zero: ORIGIN, now: ORIGIN, requests, done }
    }

    /// `start` was given and every preStart entry succeeded; `Execute` is not answered.
    fn executing(plan: Plan) -> Sim {
        let mut sim = Sim::created(plan);
        sim.start();
        for _ in 0..sim.plan.pre_start.len() {
            sim.ok(Hook::PreStart);
        }
        sim
    }

    /// The ENTRYPOINT was executed; postStart runs, if there is one.
    fn executed(plan: Plan) -> Sim {
        let mut sim = Sim::executing(plan);
        sim.event(Event::Executed);
        sim
    }

    /// `Running`, with the clock at 0 and nothing told so far.
    fn running(plan: Plan) -> Sim {
        let mut sim = Sim::executed(plan);
        if sim.plan.post_start.is_some() {
            sim.ok(Hook::PostStart);
        }
        assert_eq!(sim.life.phase_name(), "Running");
        sim.done.clear();
        sim
    }

    /// Moves the clock forward and lets every deadline on the way come.
    fn at(&mut self, seconds: f64) -> &mut Sim {
        let until = self.zero + Duration::from_millis((seconds * 1000.0).round() as u64);
        while let Some(deadline) = self.life.deadline()
            && deadline <= until
        {
            self.now = deadline.max(self.now);
            self.event(Event::Tick);
            assert!(self.life.deadline().is_none_or(|next| next > self.now), "a Tick that changes nothing");
        }
        self.now = until;
        self
    }

    fn event(&mut self, event: Event) -> &mut Sim {
        let (life, actions) = step(&self.plan, self.life.clone(), event, self.now);
        self.life = life;
        self.done.extend(actions.into_iter().map(|action| (self.now, action)));
        self
    }

    fn request(&mut self, name: &'static str) -> RequestId {
        let id = RequestId(self.requests.len() as u64 + 1);
        self.requests.insert(id, name);
        id
    }

    fn start(&mut self) -> &mut Sim {
        let id = self.request("start");
        self.event(Event::Start(id))
    }

    fn ok(&mut self, hook: Hook) -> &mut Sim {
        self.event(Event::HookDone { hook, outcome: Outcome::Succeeded(Success::default()) })
    }

    /// Exit code 1, with a last line of stderr.
    fn fails(&mut self, hook: Hook) -> &mut Sim {
        let failure = Failure {
            class: "exit code 1".into(),
            error: "command '/bin/hook' exited with 1: no db".into(),
            exit_code: Some(1),
            last_line: Some("no db".into()),
            notices: Vec::new(),
        };
        self.event(Event::HookDone { hook, outcome: Outcome::Failed(failure) })
    }

    fn times_out(&mut self, hook: Hook, seconds: u64) -> &mut Sim {
        self.event(Event::HookDone { hook, outcome: Outcome::TimedOut { limit: Duration::from_secs(seconds) } })
    }

    fn exit(&mut self, code: i32) -> &mut Sim {
        self.event(Event::InitExited(Exit { code: Some(code), ..Exit::default() }))
    }

    fn dies_of(&mut self, signal: Signal) -> &mut Sim {
        let exit = Exit { code: Some(128 + signal.number()), signal: Some(signal), oom: false };
        self.event(Event::InitExited(exit))
    }

    fn asks(&mut self, by: By, grace_seconds: Option<u64>, signal: Signal) -> &mut Sim {
        self.event(Event::Stop(StopRequest { by, grace_seconds, signal, all: false }))
    }

    fn stop(&mut self) -> &mut Sim {
        let by = By::Stop(self.request("stop"));
        self.asks(by, None, Signal::TERM)
    }

    fn stop_grace(&mut self, seconds: u64) -> &mut Sim {
        let by = By::Stop(self.request("stop"));
        self.asks(by, Some(seconds), Signal::TERM)
    }

    /// `kill` with a signal that means a stop.
    fn kill_to_stop(&mut self, signal: Signal) -> &mut Sim {
        let by = By::Kill(self.request("kill"));
        self.asks(by, None, signal)
    }

    /// A signal to the supervisor.
    fn signalled(&mut self, signal: Signal) -> &mut Sim {
        self.asks(By::Signal, None, signal)
    }

    /// `kill` with a signal that means no stop.
    fn kill(&mut self, signal: Signal) -> &mut Sim {
        let request = Some(self.request("kill"));
        self.event(Event::Kill { request, signal, all: false, raw: false })
    }

    fn delete(&mut self, force: bool) -> &mut Sim {
        let request = self.request("delete");
        self.event(Event::Delete { request, force })
    }

    fn forget(&mut self) -> &mut Sim {
        self.done.clear();
        self
    }

    fn told(&self) -> impl Iterator<Item = &Notice> {
        self.done.iter().filter_map(|(_, action)| match action {
            Action::Tell(notice) => Some(notice),
            _ => None,
        })
    }

    /// The one notice of a reason.
    fn notice(&self, reason: &str) -> &Notice {
        let all: Vec<_> = self.told().filter(|notice| notice.reason == reason).collect();
        assert_eq!(all.len(), 1, "{reason} in {:#?}", self.lines());
        all[0]
    }

    fn lines(&self) -> Vec<String> {
        let line = |(at, action): &(Instant, Action)| {
            let seconds = (*at - self.zero).as_millis() as f64 / 1000.0;
            self.line(action).map(|what| format!("{seconds} {what}"))
        };
        self.done.iter().filter_map(line).collect()
    }

    /// What an action is called in the timelines; None for what goes without saying.
    fn line(&self, action: &Action) -> Option<String> {
        Some(match action {
            Action::Tell(notice) => match notice.reason.as_str() {
                "HookStarted" | "SignalSent" | "SigkillSent" | "StopRequested" => return None,
                reason if notice.outcome.as_deref() == Some("Interrupted") => format!("{reason} (Interrupted)"),
                reason => reason.to_owned(),
            },
            Action::Run { hook, entry, attempt } => match (hook.is_list(), attempt) {
                (true, 1) => format!("run {hook}[{entry}]"),
                (true, n) => format!("run {hook}[{entry}] #{n}"),
                (false, 1) => format!("run {hook}"),
                (false, n) => format!("run {hook} #{n}"),
            },
            Action::Terminate(hook) => format!("terminate {hook}"),
            Action::Cancel(hook) => format!("cancel {hook}"),
            Action::Execute => "execute".into(),
            Action::Signal { signal, all: false } => signal.to_string(),
            Action::Signal { signal, all: true } => format!("{signal} to all"),
            Action::KillRest | Action::Thaw => return None,
            Action::Answer(id, Ok(())) => format!("{}: ok", self.requests[id]),
            Action::Answer(id, Err(why)) => format!("{}: {why}", self.requests[id]),
            Action::Remove(ids) => format!("remove for {}", ids.len()),
        })
    }

    /// The whole timeline is this.
    #[track_caller]
    fn expect(&self, lines: &[&str]) {
        assert_eq!(self.lines(), lines, "the whole story: {:#?}", self.done);
    }

    /// `what` was done this many times, whenever.
    #[track_caller]
    fn count(&self, what: &str, times: usize) {
        let lines = self.lines();
        let found = lines.iter().filter(|line| line.split_once(' ').is_some_and(|(_, said)| said == what)).count();
        assert_eq!(found, times, "{what} in {lines:#?}");
    }
}
