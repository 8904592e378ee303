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
mod perform;
pub mod records;
pub mod relay;
pub mod removal;
pub mod settings;

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
use crate::container::notify::{Manager, Notify};
use crate::container::root::Root;
use crate::container::state::State;
use crate::lifecycle::life::Life;
use crate::lifecycle::model::{Hook, Plan};
use crate::lifecycle::outcome::{Exit, Outcome};
use crate::lifecycle::signal::Signal;
use crate::lifecycle::step::{By, Event, RequestId, StopRequest, step};
use crate::lifecycle::time::Instant;
use crate::linux::{clock, exit, memory, reap};
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
    /// Readable once the ENTRYPOINT has exited, and ever after.
    pub pidfd: OwnedFd,
    /// /proc/PID of init, opened while it was known to be init's.
    pub proc_dir: OwnedFd,
    /// Whether init is our child, so that we reap it and know its code.
    pub parent: bool,
    pub signals: SignalFd,
    pub listener: Option<OwnedFd>,
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
    /// An OCI poststart hook that failed; it ended the container.
    pub poststart_error: Option<anyhow::Error>,
    /// Failures of hooks that the end of the ENTRYPOINT may explain (X-E11).
    held: Vec<Held>,
    events: VecDeque<Event>,
    next_request: u64,
    init_gone: bool,
    removed: bool,
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
    pub pidfd: OwnedFd,
    pub proc_dir: OwnedFd,
    pub parent: bool,
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
        let Parts {
            id,
            root,
            dir,
            state,
            plan,
            records,
            pidfd,
            proc_dir,
            parent,
            listener,
            namespaces,
            relay,
            foreground,
            readiness,
        } = parts;
        Ok(Supervisor {
            id,
            root,
            dir,
            state,
            plan,
            life: Life::created(),
            records,
            pidfd,
            proc_dir,
            parent,
            signals,
            listener,
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
            poststart_error: None,
            held: Vec::new(),
            events: VecDeque::new(),
            next_request: 0,
            init_gone: false,
            removed: false,
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
            if ready.init && !self.init_gone {
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
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if !self.init_gone {
            fds.push(PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN));
        }
        let listener_at = fds.len();
        fds.extend(self.listener.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.clients.iter().map(|client| PollFd::new(client.connection.as_fd(), PollFlags::POLLIN)));
        for attempt in &self.attempts {
            fds.extend(attempt.descriptors().into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        fds.extend(self.relay.iter().flat_map(Relay::descriptors));
        if let Some(Readiness::FromInside(notify)) = &self.readiness {
            fds.push(PollFd::new(notify.as_fd(), PollFlags::POLLIN));
        }
        let soon = self.millis_left().map_or(QUIET, |left| left.min(QUIET));
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
        let is_ready = |at: usize| fds.get(at).is_some_and(|fd| fd.any().unwrap_or(false));
        Ok(Ready { init: !self.init_gone && is_ready(1), listener: self.listener.is_some() && is_ready(listener_at) })
    }

    /// Until the nearest deadline; there is no other timer.
    fn millis_left(&self) -> Option<u16> {
        let attempts = self.attempts.iter().filter_map(Attempt::deadline);
        let held = self.held.iter().map(|held| held.until);
        let nearest = attempts.chain(held).chain(self.life.deadline()).chain(self.faults.deadline()).min()?;
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
            if failed && !self.init_gone && exit::is_ending(self.proc_dir.as_fd()) {
                self.held.push(Held { hook, entry, ended, until: now + HOLD });
            } else {
                self.attempt_ended(hook, entry, ended);
            }
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
            while let Ok(Some(connection)) = control::accept_from(listener.as_fd()) {
                self.clients.push(Client { connection, request: None, waits_for_exit: false });
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
            Request::Stop { grace_seconds } => {
                self.feed(Event::Stop(StopRequest {
                    by: By::Stop(id),
                    grace_seconds,
                    signal: Signal::TERM,
                    all: false,
                }));
            }
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
        let mut init_waits = false;
        while let Ok(status) = waitid(Id::All, flags) {
            let Some(pid) = status.pid().filter(|_| !matches!(status, WaitStatus::StillAlive)) else { break };
            if self.parent && pid.as_raw() == self.state.pid && !self.init_gone {
                if init_waits {
                    break;
                }
                init_waits = true;
                self.init_exited();
                continue;
            }
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
            self.attempts.iter_mut().any(|attempt| attempt.reaped(pid));
        }
    }

    fn init_exited(&mut self) {
        self.init_gone = true;
        self.held.clear(); // interrupted, all of them
        let exit = self.faults.judge(self.exit_of_init());
        self.feed(Event::InitExited(exit));
    }

    /// How the ENTRYPOINT ended; it is reaped where we are its parent. The OOM killer's hand is asked for first (R13).
    fn exit_of_init(&self) -> Exit {
        let ended = match self.parent {
            true => reap::reap(self.pidfd.as_fd()),
            false => exit::code_of(self.proc_dir.as_fd(), self.pidfd.as_fd()),
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
        if self.events.len() > 1 {
            return; // an action of the step under way; the loop below takes it up
        }
        while let Some(event) = self.events.front().cloned() {
            let (life, actions) = step(&self.plan, self.life.clone(), event, clock::now());
            self.life = life;
            for action in actions {
                self.perform(action);
            }
            self.settle();
            self.events.pop_front();
        }
    }

    fn request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }
}

struct Ready {
    init: bool,
    listener: bool,
}

/// Sends a signal through a pidfd; a process that is gone is no error here, since its exit is about to be heard.
pub fn signal_through(pidfd: BorrowedFd, signal: Signal) -> io::Result<()> {
    crate::linux::pidfd::send_signal(pidfd, signal.number())
}
