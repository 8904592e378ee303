//! `bookend act`: the process that takes one container of a rehearsal through its life (hidden, for the director alone).
//!
//! The container is made by a process of one thread with a mount namespace of its own, so that several rehearsals at a time
//! are in nobody's way. What the director asks for and is told is in `wire`.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::super::args::Global;
use super::super::create::Prepared;
use super::super::lookup::SUCCESSORS;
use super::super::{delete, run, timeline, with_code};
use super::stage::{self, Stage};
use super::wire::{Act, Lines, Order, Part, Story, Word, tell};
use super::{listeners, spent};
use crate::container::id::ContainerId;
use crate::container::interrupt::{HeldSignals, Interrupted};
use crate::container::state::State;
use crate::foreign::legible;
use crate::handler::log::{file_name, last_stderr_lines};
use crate::lifecycle::fault::HandlerFault;
use crate::lifecycle::journal::{self, Record};
use crate::lifecycle::message::hook_failed;
use crate::lifecycle::model::{Handler, Hook};
use crate::lifecycle::pod::Role;
use crate::lifecycle::signal::Signal;
use crate::lifecycle::status::Status;
use crate::lifecycle::time::Instant;
use crate::linux::{clock, fd, fork, process};
use crate::supervisor::boot::take_signals;
use crate::supervisor::control::{self, Answer, Request};
use crate::supervisor::settings::Settings;
use crate::supervisor::succession::{self, Succession};

/// How often a long wait says that it goes on.
const PATIENCE: Duration = Duration::from_secs(10);

/// Said of a start that may last for ever.
const NO_LIMIT: &str = " (no time limit; ^C ends it and shows how far it came)";
/// How long a supervisor may take for its own end, when the container is gone.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// A longer line of the ENTRYPOINT's is shown in parts.
const LONGEST_LINE: usize = 4096;
/// As many lines of the ENTRYPOINT's are shown as they come; of the rest only the last are kept.
const LIVE_LINES: usize = 100;
const LAST_LINES: usize = 20;

/// Plays one part. Returns an exit code that nobody reads: the last word tells.
pub fn run() -> u8 {
    let Ok((orders, mut director)) = take_wire() else {
        eprintln!("bookend: act is bookend's own: it is not to be called");
        return 2;
    };
    let word = match play(orders, &director) {
        Ok(act) => Word::Over(Box::new(act)),
        Err(error) => Word::Failed { code: stage::code_of(&error, 125), error: format!("{error:#}") },
    };
    tell(&mut director, &word);
    0
}

/// Our standard input and output, which from then on are nobody's: what comes after us must not write into the wire.
fn take_wire() -> Result<(Lines, File)> {
    let [stdin, stdout, stderr] = fd::stdio();
    let orders = Lines::of(stdin.try_clone_to_owned()?)?;
    let director = File::from(stdout.try_clone_to_owned()?);
    fd::put_at(File::open("/dev/null")?.as_fd(), 0)?;
    fd::put_at(stderr, 1)?;
    Ok((orders, director))
}

fn play(mut orders: Lines, director: &File) -> Result<Act> {
    // From here on signals are read, and nothing is left behind whenever one comes.
    let signals = take_signals()?;
    // Who loses its supervisor waits with us for the next one, so that its exit code can be read (S-27).
    process::set_child_subreaper().context("become a subreaper")?;
    let (part, network): (Part, Option<PathBuf>) = loop {
        let line = orders.read().into_iter().next();
        match (line, orders.descriptor()) {
            (Some(line), _) => break serde_json::from_slice(&line).context("read the part")?,
            (None, None) => bail!("nobody gave it a part"),
            (None, Some(fd)) => drop(poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::NONE)),
        }
    };
    let stage = Stage::set(&part.scene, network.as_deref())?;
    let mut actor = Actor::begin(part, &stage, signals, orders, director.try_clone()?)?;
    let lived = actor.live();
    let act = actor.act(&stage);
    let gone = actor.end();
    actor.reap_all();
    drop(stage);
    lived?;
    gone?;
    act
}

struct Actor {
    part: Part,
    /// The command line of the stage's own state root.
    global: Global,
    id: ContainerId,
    dir: PathBuf,
    signals: SignalFd,
    orders: Lines,
    director: File,
    /// What the ENTRYPOINT writes.
    output: Lines,
    shown: usize,
    last: VecDeque<String>,
    stop_asked: bool,
    kill_asked: bool,
    /// Who executes for `--exec`.
    executing: Option<Pid>,
    /// Whence the exit code is to come.
    end: Option<OwnedFd>,
    exit_code: Option<i32>,
    listening: Option<Vec<String>>,
}

/// An ENTRYPOINT that the root file system lacks is a failed verdict; all else is this machine's fault (interface.md 2.4).
fn unmade(error: anyhow::Error, container: &str) -> anyhow::Error {
    if error.is::<Interrupted>() {
        return with_code(1, error.context(format!("the container {container:?} was not made")));
    }
    match stage::code_of(&error, 125) {
        126 | 127 => with_code(1, error.context(format!("the ENTRYPOINT of container {container:?}"))),
        _ => error.context(format!("this machine cannot run the container {container:?}")),
    }
}

enum Woken {
    Ready,
    Time,
    /// An order that is not carried out yet.
    Order,
}

impl Actor {
    /// Creates the container and its supervisor.
    fn begin(part: Part, stage: &Stage, signals: SignalFd, orders: Lines, director: File) -> Result<Actor> {
        let id: ContainerId = part.id.parse().map_err(anyhow::Error::msg)?;
        let global = stage.global();
        let prepared = Prepared {
            bundle: stage.bundle().map_err(|error| with_code(2, error))?,
            settings: Settings {
                plan: part.plan.clone(),
                hook_log_dir: part.hook_log_dir.clone(),
                no_history: part.no_history,
                faults: part.faults.clone(),
            },
            supervised: true,
        };
        let (output, theirs) = fork::pipe()?;
        let held = HeldSignals::begin_among_blocked()?;
        let made = with_output(theirs, || run::launch(&global, &stage.create_args(&id), &prepared, held))?;
        made.map_err(|error| unmade(error, &part.plan.container))?;
        let dir = global.root()?.container(&id);
        Ok(Actor {
            part,
            global,
            id,
            dir,
            signals,
            orders,
            director,
            output: Lines::at_most(output, LONGEST_LINE)?,
            shown: 0,
            last: VecDeque::new(),
            stop_asked: false,
            kill_asked: false,
            executing: None,
            end: None,
            exit_code: None,
            listening: None,
        })
    }

    /// Start, running, exec, stop: to the end of postStop. A start that fails is part of the life, not an error of ours.
    fn live(&mut self) -> Result<()> {
        // Asked before anything can end, so that the answer cannot be missed.
        self.end = self.call(Request::Wait)?;
        let hooks = self.waits_for(&[Hook::PreStart, Hook::PostStart]);
        self.doing(&format!("start{hooks}"));
        let begun = clock::now();
        if let Answer::Error(text) = self.start(&format!("the start{hooks}"))? {
            self.said(&format!("start: {text}"));
        } else {
            self.said(&format!("running after {}", spent(begun)));
            self.say(&Word::Up);
            if let Some(script) = self.part.exec.clone().filter(|_| self.part.role != Role::Init) {
                self.exec(&script)?;
            }
            self.run_until_stop()?;
        }
        self.listening = self.listeners();
        if !self.is_over() {
            let hooks = self.waits_for(&[Hook::PreStop, Hook::PostStop]);
            let grace = self.part.grace.unwrap_or(self.part.plan.grace_seconds);
            self.doing(&format!("stop{hooks}, grace period {grace}s"));
            let begun = clock::now();
            self.ask(Request::Stop { grace_seconds: self.part.grace }, &format!("the stop{hooks}"), None)?;
            self.said(&format!("stopped after {}", spent(begun)));
        }
        let answer = self.end.take().map(|end| control::read_answer(&end)).transpose()?.flatten();
        self.exit_code = match answer {
            Some(Answer::Exit(code)) => code,
            _ => self.exit_code.or(Status::load(&self.dir)?.exit.and_then(|exit| exit.code)),
        };
        Ok(())
    }

    /// The handlers that the next step will run, in a word or two each.
    fn waits_for(&self, hooks: &[Hook]) -> String {
        let plan = &self.part.plan;
        let entries = hooks.iter().flat_map(|hook| plan.entries(*hook).iter().map(move |entry| (hook, entry)));
        let words: Vec<String> = entries.map(|(hook, entry)| format!("{hook} {}", entry.handler.name())).collect();
        if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
    }

    /// A hook that was made to go on without end, and has no limit, would keep the container from ever running: the stop
    /// then comes while it runs (P-11).
    fn start(&mut self, what: &str) -> Result<Answer> {
        let endless = [Hook::PreStart, Hook::PostStart].into_iter().any(|hook| {
            let fault = self.part.faults.handlers.get(&hook);
            matches!(fault, Some(HandlerFault::Hang | HandlerFault::Flood))
                && self.part.plan.entries(hook).iter().any(|entry| entry.policy.timeout.is_none())
        });
        let stop_at = endless.then(|| clock::now() + self.part.run_for);
        self.ask(Request::Start, what, stop_at)
    }

    /// Whether a hook that never ends would keep the container from ever running (P-06).
    fn starts_without_limit(&self, request: Request) -> bool {
        let plan = &self.part.plan;
        let mut entries = [Hook::PreStart, Hook::PostStart].into_iter().flat_map(|hook| plan.entries(hook));
        request == Request::Start && entries.any(|entry| entry.policy.timeout.is_none())
    }

    /// Asks the supervisor, or the successor of one that was lost (S-27); None when its work is done.
    fn call(&mut self, request: Request) -> Result<Option<OwnedFd>> {
        for _ in 0..SUCCESSORS {
            if let Some(connection) = control::connect(&self.dir)? {
                control::send_request(&connection, request)?;
                return Ok(Some(connection));
            }
            match succession::ensure(&self.global.root()?, &self.id, &self.dir)? {
                Succession::NotNeeded => return Ok(None),
                Succession::Begun => self.said("its supervisor was lost; another one has taken over"),
                Succession::Done => {}
            }
        }
        bail!("container \"{}\" has lost {SUCCESSORS} supervisors", self.id)
    }

    /// Asks the supervisor and waits for its answer, which others may get in the way of: a `Kill`, or the time of a stop.
    fn ask(&mut self, mut request: Request, what: &str, mut stop_at: Option<Instant>) -> Result<Answer> {
        let Some(mut connection) = self.call(request)? else { return Ok(Answer::Ok) };
        // Kept until the first answer: who asked is not to be gone.
        let mut stopping = None;
        let begun = clock::now();
        let mut next_word = begun + PATIENCE;
        loop {
            let until = stop_at.map_or(next_word, |at| at.min(next_word));
            match self.wait(&connection, Some(until))? {
                Woken::Ready => {
                    if let Some(answer) = control::read_answer(&connection)? {
                        drop(stopping);
                        return Ok(answer);
                    }
                    request = request.again();
                    let Some(next) = self.call(request)? else { return Ok(Answer::Ok) };
                    connection = next;
                    self.end = self.call(Request::Wait)?;
                }
                Woken::Time if stop_at.is_some_and(|at| at <= clock::now()) => {
                    stop_at = None;
                    self.said(&format!("{what} goes on; the stop comes now"));
                    stopping = self.call(Request::Stop { grace_seconds: self.part.grace })?;
                }
                Woken::Time => {
                    let hint = if self.starts_without_limit(request) { NO_LIMIT } else { "" };
                    self.doing(&format!("waiting for {what}: {}{hint}", spent(begun)));
                    next_word = next_word + PATIENCE;
                }
                Woken::Order => self.kill_if_asked()?,
            }
        }
    }

    /// A supervisor ends with its container's life, postStop included.
    fn is_over(&self) -> bool {
        Status::load(&self.dir).is_ok_and(|status| status.phase == "Stopped")
    }

    /// Lets the container run until the director says so, or it ends by itself.
    fn run_until_stop(&mut self) -> Result<()> {
        while !self.stop_asked {
            let Some(end) = self.end.take() else { break };
            match self.wait(&end, None)? {
                Woken::Ready => match control::read_answer(&end)? {
                    Some(Answer::Exit(code)) => self.exit_code = code,
                    _ => self.end = self.call(Request::Wait)?,
                },
                Woken::Order => {
                    self.end = Some(end);
                    self.kill_if_asked()?;
                }
                Woken::Time => self.end = Some(end),
            }
        }
        if !self.stop_asked {
            self.said("the container ended by itself");
        }
        Ok(())
    }

    /// The one place where we wait.
    fn wait(&mut self, connection: &OwnedFd, until: Option<Instant>) -> Result<Woken> {
        loop {
            let fds = [Some(connection.as_fd()), Some(self.signals.as_fd()), self.orders.descriptor()];
            let fds = fds.into_iter().chain([self.output.descriptor()]).flatten();
            let mut fds: Vec<PollFd> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            let left = until.map(|until| until - clock::now());
            let timeout = left.map_or(PollTimeout::NONE, |left| {
                PollTimeout::from(u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX))
            });
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error).context("poll"),
            }
            let ready = fds[0].any().unwrap_or(false);
            self.hear_output();
            if self.hear_orders() {
                return Ok(Woken::Order);
            }
            if ready {
                return Ok(Woken::Ready);
            }
            if until.is_some_and(|until| until <= clock::now()) {
                return Ok(Woken::Time);
            }
        }
    }

    /// Whether something new was asked for: by the director, by its end, or by a signal.
    fn hear_orders(&mut self) -> bool {
        let before = (self.stop_asked, self.kill_asked);
        let had_director = self.orders.descriptor().is_some();
        for order in self.orders.words() {
            match order {
                Order::Stop => self.stop_asked = true,
                Order::Kill => self.kill_asked = true,
            }
        }
        self.kill_asked |= had_director && self.orders.descriptor().is_none();
        while let Ok(Some(info)) = self.signals.read_signal() {
            match info.ssi_signo as i32 {
                libc::SIGINT | libc::SIGTERM | libc::SIGHUP => self.kill_asked = true,
                libc::SIGCHLD => self.reap(),
                _ => {}
            }
        }
        before != (self.stop_asked, self.kill_asked)
    }

    /// What came to us when a supervisor was lost, and that itself (S-30). Init stays for the next supervisor to look at, and
    /// who executes for `--exec` for who waits for it there.
    fn reap(&self) {
        let init = State::load_dir(&self.dir).map_or(0, |state| state.pid);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, flags) {
            let Some(pid) = status.pid().filter(|_| !matches!(status, WaitStatus::StillAlive)) else { break };
            // Everything else of its pid namespace is gone before init is.
            if pid.as_raw() == init || Some(pid) == self.executing {
                break;
            }
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG); // it was there a moment ago
        }
    }

    fn kill_if_asked(&mut self) -> Result<()> {
        if !self.kill_asked {
            return Ok(());
        }
        self.said("interrupted: killing the container");
        control::ask_in(&self.dir, Request::Kill { signal: Signal::KILL, all: false, raw: false }).map(drop)
    }

    /// Shows what the ENTRYPOINT writes, the beginning of it, and keeps its last lines.
    fn hear_output(&mut self) {
        for line in self.output.read() {
            let line = legible(&String::from_utf8_lossy(&line));
            if self.shown < LIVE_LINES {
                self.said(&format!("  | {line}"));
            } else if self.shown == LIVE_LINES {
                self.said("  | (its output goes on)");
            }
            self.shown = (self.shown + 1).min(LIVE_LINES + 1);
            self.last.push_back(line);
            if self.last.len() > LAST_LINES {
                self.last.pop_front();
            }
        }
    }

    /// `--exec`: shows from inside what a hook did.
    fn exec(&mut self, script: &str) -> Result<()> {
        let (said, theirs) = fork::pipe()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("--root").arg(self.global.root()?.path()).args(["exec", self.id.as_str(), "/bin/sh", "-c", script]);
        command.stdin(Stdio::null()).stdout(theirs.try_clone()?).stderr(theirs);
        let mut child = command.spawn().with_context(|| format!("exec {script:?}"))?;
        self.executing = Some(Pid::from_raw(child.id() as i32));
        drop(command); // and with it our copies of the other end
        self.said(&format!("exec {script}"));
        let readable = said.try_clone()?;
        let mut lines = Lines::at_most(said, LONGEST_LINE)?;
        while lines.descriptor().is_some() {
            // A kill of the container ends what was executed in it, too.
            match self.wait(&readable, None)? {
                Woken::Order => self.kill_if_asked()?,
                Woken::Ready | Woken::Time => {
                    lines
                        .read()
                        .iter()
                        .for_each(|line| self.said(&format!("  | {}", legible(&String::from_utf8_lossy(line)))));
                }
            }
        }
        let status = child.wait().with_context(|| format!("exec {script:?}"))?;
        self.executing = None;
        self.reap();
        if !status.success() {
            self.said(&format!("  exit code {}", status.code().unwrap_or(255)));
        }
        Ok(())
    }

    fn listeners(&self) -> Option<Vec<String>> {
        Some(listeners::of(State::load_dir(&self.dir).ok()?.init()?.pid))
    }

    /// Reads the records of a life that is over, before they move to the history.
    fn act(&mut self, stage: &Stage) -> Result<Act> {
        self.hear_output();
        let records = journal::read(&self.dir.join(journal::FILE_NAME))?;
        Ok(Act {
            status: Status::load(&self.dir)?,
            exit_code: self.exit_code,
            stories: self.stories(stage, &records),
            records,
            logs: timeline::read(&self.dir)?.map(|story| story.output).unwrap_or_default(),
            output: self.last.drain(..).collect(),
            listening: self.listening.take(),
            has_shell: stage.has_shell(),
        })
    }

    /// interface.md section 7, for each hook that did not succeed.
    fn stories(&self, stage: &Stage, records: &[Record]) -> Vec<Story> {
        let failed = |record: &&Record| {
            matches!(record.notice.outcome.as_deref(), Some("Failed" | "TimedOut" | "Interrupted"))
                && record.notice.reason != "HookRetrying"
        };
        let story = |record: &Record| {
            let hook = record.notice.hook?;
            let at = record.notice.entry.unwrap_or(0);
            let entry = self.part.plan.entries(hook).get(at)?;
            let path =
                self.dir.join("hooks").join(file_name(hook, record.notice.entry, record.notice.attempt.unwrap_or(1)));
            let stderr = last_stderr_lines(&path, 5).unwrap_or_default();
            let text = hook_failed(self.id.as_str(), hook, entry, record, records, &stderr);
            let program = match &entry.handler {
                Handler::Exec { command } => command.first().and_then(|program| stage.first_line(program)),
                _ => None,
            };
            Some(Story { hook, entry: at, text, stderr: stderr.lines, program })
        };
        records.iter().filter(failed).filter_map(story).collect()
    }

    /// Removes the container; its journal and the hooks' output are in the history from now on.
    fn end(&self) -> Result<()> {
        delete::remove(&self.global, &self.id, true).map(drop)
    }

    /// Our children are at their ends: they are not left to whoever inherits them from us, who may not reap.
    fn reap_all(&self) {
        let until = clock::now() + LAST_WAIT;
        while until > clock::now() {
            match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
                Err(_) => return, // none is left
                Ok(WaitStatus::StillAlive) => {
                    let left = PollTimeout::from(u16::try_from((until - clock::now()).as_millis()).unwrap_or(u16::MAX));
                    let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
                    // SIGCHLD tells of the next; an error only makes us look again.
                    let _ = poll(&mut fds, left);
                    while let Ok(Some(_)) = self.signals.read_signal() {}
                }
                Ok(_) => {}
            }
        }
    }

    fn doing(&mut self, text: &str) {
        self.say(&Word::Doing(text.trim_end().to_owned()));
    }

    fn said(&mut self, text: &str) {
        self.say(&Word::Said(text.trim_end().to_owned()));
    }

    fn say(&mut self, word: &Word) {
        tell(&mut self.director, word);
    }
}

/// Does something with our standard streams those of the container.
fn with_output<T>(output: OwnedFd, done: impl FnOnce() -> T) -> Result<T> {
    let stdio = fd::stdio();
    let ours = [stdio[1].try_clone_to_owned()?, stdio[2].try_clone_to_owned()?];
    fd::put_at(output.as_fd(), 1)?;
    fd::put_at(output.as_fd(), 2)?;
    drop(output);
    let result = done();
    fd::put_at(ours[0].as_fd(), 1)?;
    fd::put_at(ours[1].as_fd(), 2)?;
    Ok(result)
}
