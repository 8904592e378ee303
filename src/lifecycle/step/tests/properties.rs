//! Random plans and random orders of events, against a small model of the world around `step` (design.md section 3).

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::lifecycle::life::{Course, Doom, Phase, Stage, Stopping};
use crate::lifecycle::resume::{Found, resume};
use Hook::{PostStart, PostStop, PreStart, PreStop};

// ── plans ───────────────────────────────────────────────────────────────────────────────────────

fn entry(hook: Hook) -> impl Strategy<Value = Entry> {
    let handler = prop_oneof![
        Just(Handler::Exec { command: vec!["/bin/hook".into()] }),
        Just(Handler::Sleep { seconds: 3 }),
        Just(Handler::TcpSocket { host: None, port: 80 }),
    ];
    let delay = prop_oneof![Just(0), Just(500), Just(1000), 0..20_000u64].prop_map(Duration::from_millis);
    let on_failure = prop_oneof![Just(OnFailure::Fail), Just(OnFailure::Ignore)];
    (handler, 0..3u32, delay, on_failure).prop_map(move |(handler, retries, retry_delay, on_failure)| {
        let policy = Policy { retries, retry_delay, on_failure, ..Policy::default_of(hook) };
        Entry { handler, policy, source: "test".into() }
    })
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let signal = prop_oneof![
        3 => Just(Signal::TERM),
        1 => Just(Signal::QUIT),
        1 => Just(Signal::KILL),
        1 => Just(Signal::from_name("SIGWINCH").unwrap()),
        1 => Just(Signal::from_name("SIGRTMIN+3").unwrap()),
    ];
    let lists = (vec(entry(PreStart), 0..3), vec(entry(PostStop), 0..3));
    let singles = (proptest::option::of(entry(PostStart)), proptest::option::of(entry(PreStop)));
    let post_start_stop = prop_oneof![2 => Just(PostStartStop::Now), 1 => Just(PostStartStop::Wait)];
    (lists, singles, 0..=40u64, signal, post_start_stop).prop_map(
        |((pre_start, post_stop), (post_start, pre_stop), grace_seconds, stop_signal, post_start_stop)| Plan {
            pre_start,
            post_start,
            pre_stop,
            post_stop,
            grace_seconds,
            stop_signal,
            post_start_stop,
            ..Plan::empty("web")
        },
    )
}

// ── the world ───────────────────────────────────────────────────────────────────────────────────

#[derive(Clone, Copy, Debug, PartialEq)]
enum Init {
    /// Waits to be told to execute; dies of any signal that ends a process.
    Waiting,
    /// Was told to.
    Executing,
    /// The program; it may react to a signal or not.
    Program,
    /// SIGKILL, a failed execve, or a signal while it waited: its exit is only a matter of time.
    Dying,
    Gone,
}

/// All that surrounds `step`: it answers faithfully and checks every action on the way.
struct World {
    plan: Plan,
    life: Life,
    now: Instant,
    init: Init,
    /// Hooks with something that runs; they alone may answer.
    running: BTreeSet<Hook>,
    /// Begun attempts whose end was not told.
    untold: BTreeSet<(Hook, usize, u32)>,
    begun: Vec<(Hook, usize, u32)>,
    open: BTreeMap<u64, &'static str>,
    next_request: u64,
    /// What the rows say of the end of the budget, reckoned here a second time.
    budget_end: Option<Instant>,
    /// P-12: the grace in seconds of a stop that is acted on when postStart has ended.
    queued_grace: Option<u64>,
    asked_in_pre_start: Option<Instant>,
    signalled_at: Option<Instant>,
    exits_told: usize,
    started: bool,
    told_started: bool,
    post_stop_cut: bool,
    removed: bool,
    /// All that was told, with its time.
    told: Vec<(Instant, Notice)>,
    /// The supervisor dies in the next turn: before it writes anything down, or after so many of its actions.
    dies: Option<Death>,
    deaths: usize,
    /// Whether its supervisor can be killed at all.
    mortal: bool,
}

#[derive(Clone, Copy, Debug)]
enum Death {
    BeforeItsTurn,
    After(usize),
}

impl World {
    fn new(plan: Plan) -> World {
        World {
            plan,
            life: Life::created(),
            now: ORIGIN,
            init: Init::Waiting,
            running: BTreeSet::new(),
            untold: BTreeSet::new(),
            begun: Vec::new(),
            open: BTreeMap::new(),
            next_request: 0,
            budget_end: None,
            queued_grace: None,
            asked_in_pre_start: None,
            signalled_at: None,
            exits_told: 0,
            started: false,
            told_started: false,
            post_stop_cut: false,
            removed: false,
            dies: None,
            deaths: 0,
            mortal: false,
            told: Vec::new(),
        }
    }

    fn request(&mut self, name: &'static str) -> RequestId {
        self.next_request += 1;
        self.open.insert(self.next_request, name);
        RequestId(self.next_request)
    }

    fn answered(&mut self, RequestId(id): RequestId) -> &'static str {
        self.open.remove(&id).expect("each request is answered once")
    }

    fn feed(&mut self, event: Event) {
        let death = self.dies.take();
        if let Some(Death::BeforeItsTurn) = death {
            return self.succeed();
        }
        match &event {
            Event::Stop(request) => self.reckon(request),
            Event::StopAgain(request) if self.life.asked.is_none() => self.reckon(request),
            _ => {}
        }
        let before = self.life.phase.clone();
        let (life, actions) = step(&self.plan, self.life.clone(), event.clone(), self.now);
        self.life = life;
        let done = match death {
            Some(Death::After(count)) => count % (actions.len() + 1),
            _ => actions.len(),
        };
        for action in actions.into_iter().take(done) {
            assert!(!self.removed, "{action:?} after Remove");
            self.perform(&event, &before, action);
        }
        if death.is_some() && !self.removed {
            return self.succeed();
        }
        if event == Event::Tick {
            assert!(self.life.deadline().is_none_or(|at| at > self.now), "a Tick leaves its deadline: {:?}", self.life);
        }
    }

    /// Another supervisor takes over, knowing what was written down (S-27, S-28). Of the hooks that run, every other one's
    /// process was written down as well.
    fn succeed(&mut self) {
        self.deaths += 1;
        let written = serde_json::to_string(&self.life).unwrap();
        self.life = serde_json::from_str(&written).unwrap();
        self.forget_the_last_turn();
        let keeps = |hook: &Hook| (self.deaths + *hook as usize).is_multiple_of(2);
        let exit = (self.init == Init::Gone).then(|| Exit { code: Some(0), ..Exit::default() });
        let open = self.untold.iter().filter(|this| self.running.contains(&this.0) && keeps(&this.0)).copied();
        let found =
            Found { exit, exit_told: self.exits_told > 0, attempts: open.collect(), forsaken: self.deaths == 3 };
        if found.forsaken && self.init != Init::Gone {
            self.budget_end.get_or_insert(self.now);
        }
        let before = self.life.phase.clone();
        let (life, actions) = resume(&self.plan, self.life.clone(), &found, self.now);
        self.life = life;
        let program = self.init == Init::Program;
        let execute = actions.contains(&Action::Execute);
        let lost = Event::HookDone { hook: PreStop, outcome: Outcome::Failed(Failure::default()) };
        for action in actions {
            self.perform(&lost, &before, action);
        }
        if program && execute {
            self.feed(Event::Executed); // init says so
        }
        for (id, verb) in std::mem::take(&mut self.open) {
            let id = RequestId(id);
            let by = By::Stop(id);
            match verb {
                "start" => self.ask_again(id, verb, Event::StartAgain(id)),
                "stop" => {
                    let request = StopRequest { by, grace_seconds: None, signal: Signal::TERM, all: false };
                    self.ask_again(id, verb, Event::StopAgain(request));
                }
                "delete" => self.ask_again(id, verb, Event::Delete { request: id, force: true }),
                _ => {} // a `kill` that was cut off
            }
        }
    }

    fn ask_again(&mut self, RequestId(id): RequestId, verb: &'static str, event: Event) {
        if !self.removed {
            self.open.insert(id, verb);
            self.started |= verb == "start" && self.life.phase == Phase::Created;
            self.feed(event);
        }
    }

    /// What of the last turn was not done is not done any more; the model follows what was written down.
    fn forget_the_last_turn(&mut self) {
        self.untold.clear();
        for hook in Hook::ALL {
            if let Course::Trying { entry, attempt, .. } = *self.life.course(hook) {
                self.untold.insert((hook, entry, attempt));
                if !self.begun.contains(&(hook, entry, attempt)) {
                    self.begun.push((hook, entry, attempt)); // it may have been
                }
                if let Handler::Sleep { .. } = self.plan.entries(hook)[entry].handler {
                    self.running.insert(hook); // in whoever supervises
                }
            }
        }
        if self.life.queued_stop.is_none() {
            self.queued_grace = None;
        }
        if let Phase::Stopping(stopping) = &self.life.phase {
            self.budget_end.get_or_insert(stopping.budget_end);
            if let Stage::Signalled { at, .. } = stopping.stage {
                self.signalled_at.get_or_insert(at);
            }
        }
        let runs_on = matches!(
            &self.life.phase,
            Phase::Stopping(Stopping {
                stage: Stage::Signalled { pre_stop_runs_on: true, .. } | Stage::Killed { pre_stop_runs_on: true },
                ..
            })
        );
        let life = &self.life;
        // What should have been ended is, by the number that was written down.
        self.running.retain(|hook| life.course(*hook).attempt().is_some() || (*hook == PreStop && runs_on));
        self.told_started |= life.ran;
        match &life.phase {
            Phase::Created | Phase::Doomed(Doom::BeforeStart) => self.started = false,
            Phase::Stopped => {}
            _ => self.started = true,
        }
    }

    /// T0 and G by lifecycle.md section 1, S-17, S-18.
    fn reckon(&mut self, request: &StopRequest) {
        let grace = request.grace_seconds.unwrap_or(self.plan.grace_seconds);
        let end = self.now + Duration::from_secs(grace);
        let waits = self.plan.post_start_stop == PostStartStop::Wait && self.plan.post_start.is_some();
        match (&self.life.phase, self.budget_end) {
            (Phase::Executing | Phase::Starting, _) if waits => {
                let shortest = |earlier: u64| request.grace_seconds.map_or(earlier, |grace| grace.min(earlier));
                self.queued_grace = Some(self.queued_grace.map_or(grace, shortest));
            }
            (Phase::PreStart(_), _) => {
                let end = end.min(self.now + Duration::from_secs(10));
                self.asked_in_pre_start = Some(self.asked_in_pre_start.map_or(end, |earlier| earlier.min(end)));
            }
            (Phase::Executing | Phase::Starting | Phase::Running, None) => self.budget_end = Some(end),
            (Phase::Executing, Some(earlier)) => self.budget_end = Some(earlier.min(end)),
            (Phase::Stopping(_), Some(earlier)) if request.grace_seconds.is_some() => {
                self.budget_end = Some(earlier.min(end))
            }
            _ => {}
        }
    }

    fn perform(&mut self, event: &Event, before: &Phase, action: Action) {
        match action {
            Action::Run { hook, entry, attempt } => self.run(hook, entry, attempt),
            Action::Terminate(hook) => assert!(self.running.contains(&hook)),
            Action::Cancel(hook) => {
                self.running.remove(&hook);
            }
            Action::Execute => {
                assert!(!self.running.contains(&PreStart), "R-06");
                if self.deaths > 0 && matches!(self.init, Init::Executing | Init::Program) {
                    return; // it was told before
                }
                if self.init != Init::Dying {
                    assert_eq!(self.init, Init::Waiting);
                    self.init = Init::Executing;
                }
            }
            Action::Signal { signal, all } => self.signal(event, before, signal, all),
            Action::KillRest => assert_eq!(self.init, Init::Gone),
            Action::Thaw => {}
            Action::Tell(notice) => self.tell(notice),
            Action::Answer(id, result) => {
                if self.answered(id) == "start" && result.is_ok() {
                    assert!(self.told_started, "start succeeds with Running alone");
                }
            }
            Action::Remove(ids) => {
                assert!(self.life.is_stopped());
                ids.into_iter().for_each(|id| assert_eq!(self.answered(id), "delete"));
                self.removed = true;
            }
        }
    }

    fn run(&mut self, hook: Hook, entry: usize, attempt: u32) {
        assert!(self.running.insert(hook), "{hook} runs already");
        let policy = &self.plan.entries(hook)[entry].policy;
        assert!(attempt <= policy.retries + 1);
        let count = self.begun.iter().filter(|begun| (begun.0, begun.1) == (hook, entry)).count();
        assert_eq!(count as u32 + 1, attempt, "attempts are counted, and none is run twice");
        self.begun.push((hook, entry, attempt));
        match hook {
            // A signal that was passed on may be ending it; `step` will learn of that by its exit.
            PreStart => assert!(matches!(self.init, Init::Waiting | Init::Dying)),
            PostStart => assert_eq!((self.init, self.budget_end), (Init::Program, None)),
            PreStop => {
                assert_eq!((self.init, self.signalled_at), (Init::Program, None));
                assert!(self.budget_end.expect("preStop belongs to a stop") > self.now, "T-05");
            }
            PostStop => assert_eq!(self.init, Init::Gone),
        }
    }

    fn signal(&mut self, event: &Event, before: &Phase, signal: Signal, all: bool) {
        assert_ne!(self.init, Init::Gone, "nobody is there any more");
        let passed_on = matches!(event, Event::Kill { .. });
        if signal == Signal::KILL {
            if *event == Event::Tick && !all {
                self.killed_by_a_deadline(before);
            }
            self.init = Init::Dying;
            return;
        }
        if !passed_on && self.init == Init::Program {
            assert_eq!((signal, self.signalled_at), (self.plan.stop_signal, None), "one stop signal");
            self.signalled_at = Some(self.now);
        }
        if matches!(self.init, Init::Waiting | Init::Executing) && !signal.spares_by_default() {
            self.init = Init::Dying;
        }
    }

    /// Neither too early nor too late: S-06, S-09, R-07.
    fn killed_by_a_deadline(&self, before: &Phase) {
        if let Phase::PreStart(_) = before {
            return assert!(self.now >= self.asked_in_pre_start.expect("R-07"));
        }
        let budget_end = self.budget_end.expect("SIGKILL belongs to a stop");
        assert!(self.now >= budget_end, "SIGKILL {:?} before the budget's end", budget_end - self.now);
        match self.signalled_at {
            Some(at) => assert!(self.now - at >= Duration::from_secs(2), "the floor window"),
            None => assert!(self.plan.stop_signal == Signal::KILL || *before == Phase::Executing),
        }
    }

    fn tell(&mut self, notice: Notice) {
        self.told.push((self.now, notice.clone()));
        if let (Some(hook), Some(attempt)) = (notice.hook, notice.attempt) {
            let this = (hook, notice.entry.unwrap_or(0), attempt);
            match (notice.reason.as_str(), &notice.outcome) {
                ("HookStarted", None) => assert!(self.untold.insert(this)),
                (reason, Some(_)) => assert!(self.untold.remove(&this), "{reason} for {this:?}, which does not run"),
                (reason, None) => panic!("{reason} tells of an attempt and not how it ended"),
            }
        }
        if notice.reason == "Killing" && self.queued_grace.is_some() {
            // P-12: whatever was asked for, nothing of the stop comes before the end of postStart.
            assert!(!self.running.contains(&PostStart), "a stop while postStart runs");
        }
        match notice.reason.as_str() {
            "Exited" => self.exits_told += 1,
            "Started" => {
                self.told_started = true;
                let queued = self.queued_grace.take();
                self.budget_end = queued.map(|grace| self.now + Duration::from_secs(grace)).or(self.budget_end);
            }
            "Killing" if notice.message == "FailedPostStartHook" => {
                self.queued_grace = None;
                self.budget_end = Some(self.now + Duration::from_secs(self.plan.grace_seconds));
            }
            _ => {}
        }
    }

    // ── moves ───────────────────────────────────────────────────────────────────────────────────

    /// One thing that can happen now, picked by a number.
    fn act(&mut self, choice: u8, number: u16) {
        let quarter_seconds = Duration::from_millis(u64::from(number % 200) * 250);
        if self.mortal && choice == 255 {
            self.dies = Some(if number.is_multiple_of(4) { Death::BeforeItsTurn } else { Death::After(number.into()) });
        }
        match choice % 16 {
            0..=2 => self.wait(quarter_seconds),
            3..=5 => self.hook_ends(usize::from(number), choice >= 128),
            6 => self.init_moves(number),
            7 if number.is_multiple_of(4) => self.init_exits(),
            8 if !self.started => self.start(),
            9 => self.stop(number),
            10 => self.kill(number),
            11 if number.is_multiple_of(3) => self.delete(number.is_multiple_of(2)),
            12 if self.life.deadline().is_some_and(|at| at > self.now) => self.wait_for_deadline(),
            13 => self.feed(Event::Tick), // an idle one is harmless
            14 if self.init == Init::Executing => self.init_moves(number),
            15 if self.init == Init::Dying => self.init_exits(),
            _ => {}
        }
    }

    fn wait(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(deadline) = self.life.deadline()
            && deadline <= until
        {
            self.now = self.now.max(deadline);
            self.feed(Event::Tick);
        }
        self.now = until;
    }

    fn wait_for_deadline(&mut self) {
        if let Some(deadline) = self.life.deadline() {
            self.now = self.now.max(deadline);
            self.feed(Event::Tick);
        }
    }

    fn start(&mut self) {
        // A start that is refused starts nothing.
        self.started = self.life.phase == Phase::Created;
        let id = self.request("start");
        self.feed(Event::Start(id));
    }

    fn hook_ends(&mut self, number: usize, well: bool) {
        let Some(hook) = self.running.iter().nth(number % self.running.len().max(1)).copied() else { return };
        self.running.remove(&hook);
        let outcome = match (well, number % 3) {
            (true, _) => Outcome::Succeeded(Success::default()),
            (false, 0) => Outcome::TimedOut { limit: Duration::from_secs(1) },
            (false, _) => Outcome::Failed(Failure { class: "exit code 1".into(), ..Failure::default() }),
        };
        self.feed(Event::HookDone { hook, outcome });
    }

    fn init_moves(&mut self, number: u16) {
        match self.init {
            Init::Executing if number.is_multiple_of(8) => {
                self.init = Init::Dying;
                self.feed(Event::ExecFailed { message: "no".into(), code: 127 });
            }
            Init::Executing => {
                self.init = Init::Program;
                self.feed(Event::Executed);
            }
            Init::Dying => self.init_exits(),
            Init::Program if self.signalled_at.is_some() => self.init_exits(),
            _ => {}
        }
    }

    fn init_exits(&mut self) {
        if self.init == Init::Gone {
            return;
        }
        self.init = Init::Gone;
        self.feed(Event::InitExited(Exit { code: Some(0), ..Exit::default() }));
        let left: Vec<_> = self.running.iter().filter(|hook| **hook != PostStop).collect();
        assert!(left.is_empty(), "{left:?} runs on after the exit");
    }

    fn stop(&mut self, number: u16) {
        let grace_seconds = number.is_multiple_of(3).then_some(u64::from(number / 3 % 30));
        let by = match number % 4 {
            0 => By::Kill(self.request("kill")),
            1 => By::Signal,
            _ => By::Stop(self.request("stop")),
        };
        let signal = if number.is_multiple_of(5) { Signal::INT } else { Signal::TERM };
        let grace_seconds = if matches!(by, By::Stop(_)) { grace_seconds } else { None };
        let was_over = self.life.is_stopped();
        let in_post_stop = matches!(self.life.phase, Phase::PostStop(_));
        self.feed(Event::Stop(StopRequest { by, grace_seconds, signal, all: number.is_multiple_of(7) }));
        self.post_stop_cut |= in_post_stop && self.life.is_stopped() && !was_over;
    }

    fn kill(&mut self, number: u16) {
        let signal = [Signal::HUP, Signal::KILL, Signal::QUIT, Signal::HUP][usize::from(number % 4)];
        let request = (number % 8 < 6).then(|| self.request("kill"));
        self.feed(Event::Kill { request, signal, all: number.is_multiple_of(5), raw: number.is_multiple_of(7) });
    }

    fn delete(&mut self, force: bool) {
        let request = self.request("delete");
        self.feed(Event::Delete { request, force });
    }

    /// Whatever still can happen happens, until all is over.
    fn play_out(&mut self) {
        for _ in 0..1000 {
            match () {
                _ if self.life.is_stopped() => return,
                _ if self.init == Init::Dying => self.init_exits(),
                _ if self.init == Init::Executing => self.init_moves(1),
                _ if !self.running.is_empty() => self.hook_ends(0, true),
                _ if self.life.deadline().is_some() => self.wait_for_deadline(),
                _ => self.init_exits(),
            }
        }
        panic!("never Stopped: {:?}", self.life);
    }

    fn check_the_end(&mut self) {
        assert_eq!(self.exits_told, 1, "{} deaths", self.deaths);
        assert!(self.running.is_empty(), "{:?} runs after the end", self.running);
        assert!(self.untold.is_empty(), "the end of {:?} was never told", self.untold);
        assert_eq!(self.life.deadline(), None);
        let post_stop: Vec<_> =
            self.begun.iter().filter(|run| run.0 == PostStop && run.2 == 1).map(|run| run.1).collect();
        let expected = if self.started { self.plan.post_stop.len() } else { 0 };
        if !self.post_stop_cut {
            assert_eq!(post_stop, (0..expected).collect::<Vec<_>>(), "O-01, O-02");
        }
        if !self.removed {
            self.delete(false);
        }
        assert!(self.open.is_empty(), "never answered: {:?}", self.open);
    }
}

/// A plan, and all that a random life of it told; some of them are not over yet.
pub(in crate::lifecycle) fn any_told_life() -> impl Strategy<Value = (Plan, Vec<(Instant, Notice)>)> {
    let moves = vec((any::<u8>(), any::<u16>()), 0..40);
    (any_plan(), prop::bool::weighted(0.9), moves, any::<bool>()).prop_map(|(plan, started, moves, ends)| {
        let mut world = World::new(plan);
        if started {
            world.start();
        }
        for (choice, number) in moves {
            if !world.removed {
                world.act(choice, number);
            }
        }
        if ends {
            world.play_out();
        }
        (world.plan, world.told)
    })
}

// ── the properties ──────────────────────────────────────────────────────────────────────────────

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// What must hold on the way is asserted by the world as it performs the actions, the rest at the end.
    #[test]
    fn any_life_keeps_the_rules_and_ends(
        plan in any_plan(),
        started in prop::bool::weighted(0.9),
        moves in vec((any::<u8>(), any::<u16>()), 0..40),
    ) {
        let mut world = World::new(plan);
        if started {
            world.start();
        }
        for (choice, number) in moves {
            if world.removed {
                break;
            }
            world.act(choice, number);
        }
        world.play_out();
        world.check_the_end();
    }

    /// S-27, S-28: the same rules, however often the supervisor is killed, and whatever of its last turn it had done.
    #[test]
    fn any_life_keeps_the_rules_under_supervisors_that_are_killed(
        plan in any_plan(),
        moves in vec((prop_oneof![4 => any::<u8>(), 1 => Just(255)], any::<u16>()), 0..60),
    ) {
        let mut world = World { mortal: true, ..World::new(plan) };
        for (choice, number) in moves {
            if world.removed {
                break;
            }
            world.act(choice, number);
        }
        world.dies = None;
        world.play_out();
        world.check_the_end();
    }

    /// Ticks in time: the stop is over, or SIGKILL sent, at G + 2 s at the latest (S-09; the whole seconds of S-06 within).
    #[test]
    fn no_stop_takes_longer_than_its_grace_and_the_floor_window(
        plan in any_plan(),
        grace in proptest::option::of(0..40u64),
        hook_ends_at in proptest::option::of(0..60_000u64),
        well in any::<bool>(),
    ) {
        let mut c = Sim::running(plan);
        let by = By::Stop(c.request("stop"));
        c.asks(by, grace, Signal::TERM);
        if let Some(ms) = hook_ends_at {
            c.at(ms as f64 / 1000.0);
            if well { c.ok(PreStop) } else { c.fails(PreStop) };
        }
        let g = grace.unwrap_or(c.plan.grace_seconds);
        let end = (g + 2) as f64;
        if c.now < ORIGIN + Duration::from_secs(g + 2) {
            c.at(end);
        }
        prop_assert_eq!(c.lines().iter().filter(|line| line.ends_with(" SIGKILL")).count(), 1, "{:#?}", c.lines());
    }

    /// Whatever comes in whatever order, faithful or not: no panic, and no request is answered twice.
    #[test]
    fn any_soup_of_events_answers_each_request_at_most_once(
        plan in any_plan(),
        soup in vec((0..14u8, any::<u16>()), 0..80),
    ) {
        let (mut life, mut now, mut answered, mut exits) = (Life::created(), ORIGIN, BTreeSet::new(), 0);
        for (n, (kind, number)) in soup.into_iter().enumerate() {
            now = now + Duration::from_millis(u64::from(number));
            let (next, actions) = step(&plan, life, soup_event(RequestId(n as u64), kind, number), now);
            life = next;
            for action in actions {
                match action {
                    Action::Answer(id, _) => prop_assert!(answered.insert(id)),
                    Action::Remove(ids) => ids.into_iter().for_each(|id| assert!(answered.insert(id))),
                    Action::Tell(notice) if notice.reason == "Exited" => exits += 1,
                    _ => {}
                }
            }
            let _ = (life.deadline(), life.exit_code(), life.reason(), life.phase_name(), life.oci_status());
        }
        prop_assert!(exits <= 1);
    }
}

fn soup_event(id: RequestId, kind: u8, number: u16) -> Event {
    let hook = Hook::ALL[usize::from(number % 4)];
    let signal = Signal::from_number(i32::from(number % 64) + 1).unwrap();
    let all = number.is_multiple_of(2);
    match kind {
        0 | 1 => Event::Start(id),
        2 => Event::Stop(StopRequest { by: By::Stop(id), grace_seconds: Some(u64::from(number % 9)), signal, all }),
        3 => Event::Stop(StopRequest { by: By::Kill(id), grace_seconds: None, signal, all }),
        4 => Event::Stop(StopRequest { by: By::Signal, grace_seconds: None, signal: Signal::INT, all }),
        5 => Event::Kill { request: Some(id), signal, all, raw: number.is_multiple_of(3) },
        6 => Event::Delete { request: id, force: number.is_multiple_of(3) },
        7 => Event::Executed,
        8 => Event::ExecFailed { message: "no".into(), code: 126 },
        9 => Event::HookDone { hook, outcome: Outcome::Succeeded(Success::default()) },
        10 => Event::HookDone { hook, outcome: Outcome::Failed(Failure::default()) },
        11 => Event::HookDone { hook, outcome: Outcome::TimedOut { limit: Duration::from_secs(1) } },
        12 if number.is_multiple_of(8) => Event::InitExited(Exit::default()),
        _ => Event::Tick,
    }
}
