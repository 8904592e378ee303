//! The supervisor: one for a container with hooks. It waits on descriptors, turns what it sees into events for
//! `lifecycle::step`, and carries the actions out.
//!
//! It is one loop in one thread with one `poll`. Three fronts use it: the process that `create` leaves behind, the one
//! that `run --detach` leaves behind (there it is init's parent), and the foreground `run`.

pub mod attempt;
pub mod boot;
pub mod control;
mod descendants;
pub mod fault;
pub mod history;
pub mod legacy;
mod perform;
pub mod records;
pub mod relay;
pub mod removal;
pub mod settings;
pub mod succession;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signalfd::SignalFd;

use crate::container::id::ContainerId;
use crate::container::interrupt::HeldSignals;
use crate::container::notify::{Manager, Notify};
use crate::container::root::Root;
use crate::container::start::Word;
use crate::container::state::State;
use crate::lifecycle::life::Life;
use crate::lifecycle::model::{Hook, Plan};
use crate::lifecycle::outcome::{Exit, Outcome};
use crate::lifecycle::signal::Signal;
use crate::lifecycle::step::{Action, By, Event, RequestId, StopRequest, step};
use crate::lifecycle::time::Instant;
use crate::linux::{clock, exit, memory, pidfd, reap};
use attempt::Attempt;
use control::{Answer, Heard, Request};
use records::Records;
use relay::Relay;

/// After how many milliseconds without an event the supervisor counts as resting.
const QUIET: u16 = 200;

/// What the supervisor holds of its container. It never holds `config.json`.
pub struct Supervisor {
    pub id: ContainerId,
    pub root: Root,
    /// The container's state directory.
    pub dir: PathBuf,
    pub state: State,
    pub plan: Plan,
    pub life: Life,
    /// Journal, status and hook logs; a container without hooks has none.
    pub records: Option<Records>,
    /// Until it has exited.
    pub init: Option<Watched>,
    /// Init was told to execute its program, and has not answered yet.
    word: Option<Word>,
    pub signals: SignalFd,
    pub listener: Option<OwnedFd>,
    /// Nobody is heard until then: there was no descriptor for who calls.
    deaf_until: Option<Instant>,
    pub clients: Vec<Client>,
    pub attempts: Vec<Attempt>,
    /// Kept for postStop (design.md section 2); dropped the moment it has ended.
    pub namespaces: Vec<(CloneFlags, OwnedFd)>,
    pub relay: Option<Relay>,
    /// What the caller's service manager has not been told yet.
    readiness: Option<Readiness>,
    /// None but in a rehearsal.
    pub faults: fault::Armed,
    /// X-E18 is told once.
    told_outside_cgroup: bool,
    /// Whether we are `run` in the foreground: its streams are the container's.
    foreground: bool,
    /// The front's own `start`, and what it was answered if it failed.
    own_start: Option<RequestId>,
    pub start_error: Option<String>,
    /// The signals that `run` held while it made the container: one of them ends an OCI poststart hook that hangs.
    pub interrupt: Option<HeldSignals>,
    /// The first signal that came while init had the word to execute its program, and had not executed it.
    struck_by: Option<Signal>,
    /// An OCI poststart hook that failed; it ended the container.
    pub poststart_error: Option<anyhow::Error>,
    /// Failures of hooks that the end of the ENTRYPOINT may explain (X-E11).
    held: Vec<Held>,
    events: VecDeque<Event>,
    /// The moment that the present turn is about.
    now: Instant,
    /// Whether events are taken up: what comes meanwhile waits for its turn.
    busy: bool,
    next_request: u64,
    removed: bool,
    #[cfg(debug_assertions)]
    performed: u32,
}

/// The init process of the container.
pub struct Watched {
    /// Readable once the ENTRYPOINT has exited, and ever after.
    pub pidfd: OwnedFd,
    /// Its /proc/PID, opened while it was known to be init's.
    pub proc_dir: OwnedFd,
    /// Whether it is our child, so that we reap it and know its code.
    pub parent: bool,
}

/// The failure of a hook while the ENTRYPOINT is on its way out. The kernel kills all of a pid namespace, and waits for it,
/// before the end of PID 1 can be seen: so whether this is a failure or an interruption is known only then.
struct Held {
    hook: Hook,
    entry: usize,
    ended: attempt::Ended,
    until: Instant,
}

/// How long a failure is held at most: a PID 1 whose other threads live on has begun to exit and never ends.
const HOLD: Duration = Duration::from_secs(2);

/// How long callers wait at most where no descriptor is free for them.
const DEAF: Duration = Duration::from_secs(1);

/// A verb that waits for its answer.
pub struct Client {
    pub connection: OwnedFd,
    pub request: Option<RequestId>,
    pub waits_for_exit: bool,
}

/// All that a supervisor is made from.
pub struct Parts {
    pub id: ContainerId,
    pub root: Root,
    pub dir: PathBuf,
    pub state: State,
    pub plan: Plan,
    pub records: Option<Records>,
    pub init: Option<Watched>,
    pub listener: Option<OwnedFd>,
    pub namespaces: Vec<(CloneFlags, OwnedFd)>,
    pub relay: Option<Relay>,
    pub foreground: bool,
    pub readiness: Option<Readiness>,
}

/// When a service manager that waits for it is told that the container is ready (lifecycle.md section 1).
pub enum Readiness {
    AtRunning(Manager),
    /// A container without hooks says so itself.
    FromInside(Notify),
}

impl Supervisor {
    /// Takes the container over. From here on signals are events.
    pub fn new(parts: Parts) -> Result<Supervisor> {
        let signals = boot::take_signals().context("take signals as events")?;
        crate::linux::process::set_child_subreaper().context("become a subreaper")?;
        let Parts { id, root, dir, state, plan, records, init, listener, namespaces, relay, foreground, readiness } =
            parts;
        Ok(Supervisor {
            id,
            root,
            dir,
            state,
            plan,
            life: Life::created(),
            records,
            init,
            word: None,
            signals,
            listener,
            deaf_until: None,
            clients: Vec::new(),
            attempts: Vec::new(),
            namespaces,
            relay,
            readiness,
            faults: fault::Armed::default(),
            told_outside_cgroup: false,
            foreground,
            own_start: None,
            start_error: None,
            interrupt: None,
            struck_by: None,
            poststart_error: None,
            held: Vec::new(),
            events: VecDeque::new(),
            now: clock::now(),
            busy: false,
            next_request: 0,
            removed: false,
            #[cfg(debug_assertions)]
            performed: 0,
        })
    }

    /// Starts the container at once, for a front whose own process waits for it (`run`).
    pub fn start(&mut self) {
        let id = self.request_id();
        self.own_start = Some(id);
        self.feed(Event::Start(id));
    }

    /// Lives until the container is stopped, its hooks' output is read and everyone has an answer.
    pub fn run(&mut self) -> Result<()> {
        while !self.is_finished() {
            let ready = self.wait()?;
            self.hear_signals();
            // First: a program that ends at once was executed all the same.
            if ready.word {
                self.hear_init();
            }
            if ready.init && self.init.is_some() {
                self.init_exited();
            }
            self.serve_attempts();
            self.serve_clients(ready.listener);
            if let Some(relay) = &mut self.relay {
                relay.serve();
            }
            if let Some(Readiness::FromInside(notify)) = &self.readiness
                && notify.serve()
            {
                self.readiness = None;
            }
            self.tick();
        }
        Ok(())
    }

    /// Whether a `delete` has already removed the container.
    pub fn is_removed(&self) -> bool {
        self.removed
    }

    fn is_finished(&self) -> bool {
        self.life.is_stopped() && self.events.is_empty() && self.attempts.iter().all(Attempt::is_finished)
    }

    /// The one place where the supervisor waits.
    fn wait(&self) -> Result<Ready> {
        // A process that cannot be polled is asked every now and then; attempts ask by themselves in each turn.
        let (init, asked) = match self.init.as_ref().map(|init| init.pidfd.as_fd()) {
            Some(init) if !pidfd::can_be_polled(init) => (None, Some(init)),
            init => (init, None),
        };
        let word = self.word.as_ref().map(Word::as_fd);
        let listener = self.listener.as_ref().filter(|_| self.deaf_until.is_none()).map(AsFd::as_fd);
        // The signals and the first three in their places, whether they are there or not.
        let own = [Some(self.signals.as_fd()), init, word, listener];
        let mut fds: Vec<PollFd> = own.iter().flatten().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        fds.extend(self.clients.iter().map(|client| PollFd::new(client.connection.as_fd(), PollFlags::POLLIN)));
        let of_attempts = self.attempts.iter().flat_map(Attempt::descriptors);
        let (polled, unpolled): (Vec<_>, Vec<_>) = of_attempts.partition(|fd| pidfd::can_be_polled(*fd));
        fds.extend(polled.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        fds.extend(self.relay.iter().flat_map(Relay::descriptors));
        if let Some(Readiness::FromInside(notify)) = &self.readiness {
            fds.push(PollFd::new(notify.as_fd(), PollFlags::POLLIN));
        }
        let quiet = if asked.is_none() && unpolled.is_empty() { QUIET } else { pidfd::TICK.as_millis() as u16 };
        let soon = self.millis_left().map_or(quiet, |left| left.min(quiet));
        let mut came = poll(&mut fds, soon);
        if came == Ok(0) && soon == QUIET {
            // Now it will be long: what the last turn needed is kept for nobody.
            memory::give_back();
            came = poll(&mut fds, self.millis_left().map_or(PollTimeout::NONE, PollTimeout::from));
        }
        match came {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        let mut polled = fds.iter();
        let mut is_ready =
            |fd: &Option<BorrowedFd>| fd.is_some() && polled.next().is_some_and(|polled| polled.any().unwrap_or(false));
        let [_, init, word, listener] = own.each_ref().map(&mut is_ready);
        Ok(Ready { init: init || asked.is_some_and(pidfd::has_ended), word, listener })
    }

    /// Until the nearest deadline; there is no other timer.
    fn millis_left(&self) -> Option<u16> {
        let attempts = self.attempts.iter().filter_map(Attempt::deadline);
        let held = self.held.iter().map(|held| held.until);
        let ours = [self.life.deadline(), self.deaf_until, self.faults.deadline()];
        let nearest = attempts.chain(held).chain(ours.into_iter().flatten()).min()?;
        // Rounded up: waking a moment too early would only mean to wait again.
        let left = nearest - clock::now();
        let millis = left.as_millis() + u128::from(!left.subsec_nanos().is_multiple_of(1_000_000));
        Some(u16::try_from(millis).unwrap_or(u16::MAX))
    }

    fn tick(&mut self) {
        let now = clock::now();
        self.strike(now);
        for at in 0..self.attempts.len() {
            if let Some(ended) = self.attempts[at].tick(now) {
                self.attempt_ended(self.attempts[at].hook, self.attempts[at].entry, ended);
            }
        }
        while let Some(at) = self.held.iter().position(|held| held.until <= now) {
            let Held { hook, entry, ended, .. } = self.held.swap_remove(at);
            self.attempt_ended(hook, entry, ended);
        }
        if self.life.deadline().is_some_and(|at| at <= now) {
            self.feed(Event::Tick);
        }
        self.deaf_until.take_if(|until| *until <= now);
        self.keep_copies();
        self.attempts.retain(|attempt| !attempt.is_finished());
    }

    /// `--hook-log-dir`: of every log that is complete.
    fn keep_copies(&mut self) {
        for log in self.attempts.iter_mut().filter_map(Attempt::finished_log) {
            self.records.iter().for_each(|records| records.keep_copy(&log, self.id.as_str()));
        }
    }

    fn serve_attempts(&mut self) {
        let now = clock::now();
        for at in 0..self.attempts.len() {
            let (hook, entry) = (self.attempts[at].hook, self.attempts[at].entry);
            let spec = self.plan.entries(hook)[entry].clone();
            let Some(ended) = self.attempts[at].read(&spec, now) else { continue };
            let failed = matches!(ended.outcome, Outcome::Failed(_));
            let ending = || self.init.as_ref().is_some_and(|init| exit::is_ending(init.proc_dir.as_fd()));
            if failed && ending() {
                self.held.push(Held { hook, entry, ended, until: now + HOLD });
            } else {
                self.attempt_ended(hook, entry, ended);
            }
        }
        if !self.attempts.is_empty() {
            self.remember(); // a hook's own process may have become known
        }
    }

    fn attempt_ended(&mut self, hook: Hook, entry: usize, ended: attempt::Ended) {
        if let (Some(records), Some(error)) = (&mut self.records, &ended.error) {
            records.status.set_error(hook, entry, error);
        }
        self.feed(Event::HookDone { hook, outcome: ended.outcome });
    }

    fn serve_clients(&mut self, someone_calls: bool) {
        if someone_calls && let Some(listener) = &self.listener {
            loop {
                match control::accept_from(listener.as_fd()) {
                    Ok(Some(connection)) => {
                        self.clients.push(Client { connection, request: None, waits_for_exit: false });
                    }
                    Ok(None) => break,
                    // No descriptor is free: who calls waits, and we do not spin.
                    Err(_) => {
                        self.deaf_until = Some(clock::now() + DEAF);
                        break;
                    }
                }
            }
        }
        for at in (0..self.clients.len()).rev() {
            // What one asks for may answer others, which then are gone.
            let Some(client) = self.clients.get(at) else { continue };
            match control::hear(client.connection.as_fd()) {
                Heard::Nothing => {}
                // A verb that was killed while it waited: what it asked for goes on (O-09).
                Heard::Closed => drop(self.clients.swap_remove(at)),
                Heard::Nonsense(why) => {
                    control::answer(self.clients[at].connection.as_fd(), &Answer::Error(why));
                    self.clients.swap_remove(at);
                }
                Heard::Request(request) => self.asked(at, request),
            }
        }
    }

    fn asked(&mut self, at: usize, request: Request) {
        let id = self.request_id();
        self.clients[at].request = Some(id);
        self.clients[at].waits_for_exit = request == Request::Wait;
        match request {
            Request::Start => self.feed(Event::Start(id)),
            Request::StartAgain => self.feed(Event::StartAgain(id)),
            Request::Stop { grace_seconds } => self.feed(Event::Stop(stop_of(id, grace_seconds))),
            Request::StopAgain { grace_seconds } => self.feed(Event::StopAgain(stop_of(id, grace_seconds))),
            Request::Kill { signal, all, raw } => self.feed(self.kill_event(Some(id), signal, all, raw)),
            Request::Delete { force } => self.feed(Event::Delete { request: id, force }),
            Request::Wait => self.answer_waiters(),
        }
    }

    /// S-03: whether a signal asks for a stop or is to be passed on.
    fn kill_event(&self, request: Option<RequestId>, signal: Signal, all: bool, raw: bool) -> Event {
        let asks = !raw && signal != Signal::KILL && (signal == Signal::TERM || signal == self.plan.stop_signal);
        match (asks, request) {
            (true, Some(id)) => Event::Stop(StopRequest { by: By::Kill(id), grace_seconds: None, signal, all }),
            (true, None) => Event::Stop(StopRequest { by: By::Signal, grace_seconds: None, signal, all }),
            (false, request) => Event::Kill { request, signal, all, raw },
        }
    }

    fn hear_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let Some(signal) = i32::try_from(info.ssi_signo).ok().and_then(Signal::from_number) else { continue };
            if self.word.is_some() && !signal.spares_by_default() && signal.number() != libc::SIGPIPE {
                self.struck_by.get_or_insert(signal);
            }
            match signal.to_string().as_str() {
                "SIGCHLD" => self.reap(),
                // Never a stop request, whatever the stop signal is (S-01).
                "SIGWINCH" if self.relay.is_some() => self.relay.iter().for_each(Relay::resize),
                "SIGWINCH" => self.feed(Event::Kill { request: None, signal, all: false, raw: true }),
                "SIGCONT" | "SIGPIPE" => {}
                "SIGTERM" | "SIGINT" if self.plan.has_hooks() => {
                    self.feed(Event::Stop(StopRequest { by: By::Signal, grace_seconds: None, signal, all: false }))
                }
                _ => self.feed(self.kill_event(None, signal, false, !self.plan.has_hooks())),
            }
        }
    }

    /// Reaps every child but init, whose end is the pidfd's to tell: handlers, and orphans that came to us (S-30).
    fn reap(&mut self) {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, flags) {
            let Some(pid) = status.pid().filter(|_| !matches!(status, WaitStatus::StillAlive)) else { break };
            let ours = self.init.as_ref().is_some_and(|init| init.parent) && pid.as_raw() == self.state.pid;
            if ours {
                self.init_exited();
                continue;
            }
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
            self.attempts.iter_mut().for_each(|attempt| attempt.reaped(pid));
        }
    }

    fn init_exited(&mut self) {
        while self.word.is_some() {
            self.hear_init(); // it has closed its end, so this does not wait
        }
        self.held.clear(); // interrupted, all of them
        let exit = self.faults.judge(self.exit_of_init());
        self.init = None;
        self.feed(Event::InitExited(exit));
    }

    /// How the ENTRYPOINT ended; it is reaped where we are its parent. The OOM killer's hand is asked for first (R13).
    fn exit_of_init(&self) -> Exit {
        let ended = match &self.init {
            Some(init) if init.parent => reap::reap(init.pidfd.as_fd()),
            Some(init) => exit::code_of(init.proc_dir.as_fd(), init.pidfd.as_fd()),
            None => exit::Exit::Unknown,
        };
        let signal = match ended {
            exit::Exit::Signal(number) => Signal::from_number(number),
            _ => None,
        };
        let exit = Exit { code: ended.code(), signal, oom: false };
        // 137 too: a shell that ran what was killed ends with its code. What we have killed ourselves is no riddle.
        let killed = exit.code == Some(128 + Signal::KILL.number()) && !self.life.was_killed();
        Exit { oom: killed && self.state.cgroup.oom_kills() > 0, ..exit }
    }

    /// Steps, and performs what follows.
    pub fn feed(&mut self, event: Event) {
        self.events.push_back(event);
        if !std::mem::replace(&mut self.busy, true) {
            self.take_up_events();
        }
    }

    fn take_up_events(&mut self) {
        while let Some(event) = self.events.pop_front() {
            let now = clock::now();
            let (life, actions) = step(&self.plan, self.life.clone(), event, now);
            self.turn(now, life, actions);
        }
        self.busy = false;
    }

    fn turn(&mut self, now: Instant, life: Life, actions: Vec<Action>) {
        (self.now, self.life) = (now, life);
        self.remember();
        for action in actions {
            self.perform(action);
        }
        self.settle();
    }

    fn request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }
}

fn stop_of(id: RequestId, grace_seconds: Option<u64>) -> StopRequest {
    StopRequest { by: By::Stop(id), grace_seconds, signal: Signal::TERM, all: false }
}

struct Ready {
    init: bool,
    word: bool,
    listener: bool,
}

/// Sends a signal through a pidfd; a process that is gone is no error here, since its exit is about to be heard.
pub fn signal_through(pidfd: BorrowedFd, signal: Signal) -> io::Result<()> {
    crate::linux::pidfd::send_signal(pidfd, signal.number())
}
