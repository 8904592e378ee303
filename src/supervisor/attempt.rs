//! One attempt of a hook's handler while it runs: its child process, its output, its time limit.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags};

use super::descendants;
use super::legacy::Run;
use crate::cgroup::Cgroup;
use crate::container::state::ProcessId;
use crate::handler::log::{HookLog, LogSummary, Stream};
use crate::handler::report::{OUTPUT_FD, Report};
use crate::lifecycle::model::{Entry, Handler, Hook};
use crate::lifecycle::outcome::{Failure, Outcome, Success};
use crate::lifecycle::resume::supervisor_lost;
use crate::lifecycle::time::Instant;
use crate::linux::{exit, pidfd};

/// How long output is still read after the hook's own process has ended (X-E13).
const DRAIN: Duration = Duration::from_secs(2);

/// A report is a line or two; more than this from a child is a fault.
const REPORT_MAX: usize = 64 * 1024;

pub struct Attempt {
    pub hook: Hook,
    pub entry: usize,
    /// From 1.
    pub number: u32,
    pub since: Instant,
    work: Work,
    limit: Option<Duration>,
    /// Its end was told, or it was cancelled: nothing more is to be heard of it but its last output.
    over: bool,
}

enum Work {
    Sleep { until: Instant },
    Child(Box<Child>),
}

/// The `bookend handle` process of an attempt.
pub struct Child {
    /// Until it has ended and, where it is our child, is reaped.
    pub handle: Option<Peer>,
    /// The hook's own process, once it runs and until it is reaped.
    pub process: Option<Peer>,
    pub source: Source,
    pub output: [Option<OwnedFd>; 2],
    /// Until all output is read.
    pub log: Option<HookLog>,
    /// The control group of the hook's tree.
    pub tree: Cgroup,
    pub drain_until: Option<Instant>,
    pub finished: Option<LogSummary>,
}

/// How we learn what becomes of an attempt.
pub enum Source {
    /// It is our child's, which tells. Nobody but us reaps it and what it leaves: so their numbers stay their own.
    Report { report: Option<OwnedFd>, heard: Vec<u8> },
    /// A predecessor began it. Its `handle` leaves its last word in this file.
    LeftBehind(PathBuf),
}

/// A process that is no child of ours, or will not be ours to the end.
pub struct Peer {
    pub id: ProcessId,
    pidfd: OwnedFd,
    /// Its /proc/PID, opened while it was there.
    proc_dir: OwnedFd,
}

impl Peer {
    /// The process of a number, which has not been reaped.
    pub fn of(pid: Pid) -> io::Result<Peer> {
        let id = ProcessId::of(pid).map_err(io::Error::other)?;
        Peer::find(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The process that was written down, if it has not been reaped.
    fn find(id: &ProcessId) -> Option<Peer> {
        let (pidfd, proc_dir) = id.find()?;
        Some(Peer { id: id.clone(), pidfd, proc_dir })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.id.pid)
    }

    fn signal(&self, signal: i32) {
        let _ = pidfd::send_signal(self.pidfd.as_fd(), signal); // ESRCH: it has ended
    }

    fn has_ended(&self) -> bool {
        pidfd::has_ended(self.pidfd.as_fd())
    }
}

/// What became known about an attempt.
pub struct Ended {
    pub outcome: Outcome,
    /// For the status file: the whole text, which may hold output.
    pub error: Option<String>,
}

impl Attempt {
    pub fn sleep(hook: Hook, entry: usize, span: Duration, since: Instant, limit: Option<Duration>) -> Attempt {
        let work = Work::Sleep { until: since + span };
        Attempt { hook, entry, number: 1, since, work, limit, over: false } // T-07: a sleep is not retried
    }

    pub fn child(run: (Hook, usize, u32), child: Child, since: Instant, limit: Option<Duration>) -> Attempt {
        let (hook, entry, number) = run;
        Attempt { hook, entry, number, since, work: Work::Child(Box::new(child)), limit, over: false }
    }

    /// What a successor has to know of it; None where there is nothing to find.
    pub fn run(&self) -> Option<Run> {
        let Work::Child(child) = &self.work else { return None };
        let id = |peer: &Option<Peer>| peer.as_ref().map(|peer| peer.id.clone());
        let (handle, process) = (id(&child.handle), id(&child.process));
        let Attempt { hook, entry, number, since, .. } = *self;
        (!self.over).then_some(Run { hook, entry, attempt: number, since, handle, process })
    }

    /// Lets the child begin: it is written down that it exists.
    pub fn let_go(&self) {
        if let Work::Child(child) = &self.work
            && let Source::Report { report: Some(report), .. } = &child.source
        {
            let _ = nix::unistd::write(report, b"g"); // one that is gone shows when its report is read
        }
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether nothing is left to do for it: its child is reaped and its output read.
    pub fn is_finished(&self) -> bool {
        self.over
            && match &self.work {
                Work::Sleep { .. } => true,
                Work::Child(child) => child.is_reaped() && child.output.iter().all(Option::is_none),
            }
    }

    pub fn deadline(&self) -> Option<Instant> {
        match (&self.work, self.over) {
            (Work::Sleep { until }, false) => Some(self.limit.map_or(*until, |limit| (self.since + limit).min(*until))),
            (Work::Child(_), false) => self.limit.map(|limit| self.since + limit),
            (Work::Child(child), true) => child.drain_until,
            (Work::Sleep { .. }, true) => None,
        }
    }

    /// The descriptors to wait on.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let Work::Child(child) = &self.work else { return Vec::new() };
        let mut descriptors: Vec<BorrowedFd> = child.output.iter().flatten().map(AsFd::as_fd).collect();
        match &child.source {
            Source::Report { report, .. } => descriptors.extend(report.iter().map(AsFd::as_fd)),
            Source::LeftBehind(_) if self.over => {}
            Source::LeftBehind(_) => {
                descriptors.extend(child.handle.as_ref().or(child.process.as_ref()).map(|peer| peer.pidfd.as_fd()));
            }
        }
        descriptors
    }

    /// Reads what has arrived; the end of the attempt, if this told it.
    pub fn read(&mut self, entry: &Entry, now: Instant) -> Option<Ended> {
        let Work::Child(child) = &mut self.work else { return None };
        child.drain();
        let verdict = child.listen()?;
        if self.over {
            return None;
        }
        child.drain();
        self.over = true;
        child.drain_until = Some(now + DRAIN);
        Some(child.judge(verdict, entry))
    }

    /// The time has come: the end of a sleep, of the limit, or of the draining.
    pub fn tick(&mut self, now: Instant) -> Option<Ended> {
        if self.over {
            if let Work::Child(child) = &mut self.work
                && child.drain_until.is_some_and(|until| until <= now)
            {
                child.close();
            }
            return None;
        }
        if let Work::Sleep { until } = self.work
            && until <= now
        {
            self.over = true;
            return Some(Ended { outcome: Outcome::Succeeded(Success::default()), error: None });
        }
        let limit = self.limit.filter(|limit| self.since + *limit <= now)?;
        self.cancel(now);
        Some(Ended {
            outcome: Outcome::TimedOut { limit },
            error: Some(format!("timed out after {}s", limit.as_secs_f64())),
        })
    }

    /// Ends all that runs for this attempt; what it wrote until now is kept.
    pub fn cancel(&mut self, now: Instant) {
        if let Work::Child(child) = &mut self.work {
            child.kill_tree();
            child.drain();
            child.drain_until.get_or_insert(now + DRAIN);
        }
        self.over = true;
    }

    /// Nothing more is read, whoever still holds the other end.
    pub fn close(&mut self) {
        if let Work::Child(child) = &mut self.work {
            child.close();
        }
    }

    /// The path of its log once that is complete; told once.
    pub fn finished_log(&mut self) -> Option<PathBuf> {
        match &mut self.work {
            Work::Child(child) => child.finished.as_mut()?.path.take(),
            Work::Sleep { .. } => None,
        }
    }

    /// SIGTERM to the hook's own process.
    pub fn terminate(&self) {
        if let Work::Child(child) = &self.work {
            // A probe has no process of its own to ask; its child ends by the signal. That of an exec passes it on.
            child.process.iter().chain(&child.handle).take(1).for_each(|peer| peer.signal(libc::SIGTERM));
        }
    }

    /// Takes note of a child of ours that was reaped, `handle` or what it left.
    pub fn reaped(&mut self, pid: Pid) {
        if let Work::Child(child) = &mut self.work {
            child.handle.take_if(|peer| peer.pid() == pid);
            child.process.take_if(|peer| peer.pid() == pid);
        }
    }
}

impl Child {
    fn drain(&mut self) {
        for (slot, stream) in self.output.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
            let mut buffer = [0; 16 * 1024];
            // A hook that writes without end must not keep the loop from everything else.
            for _ in 0..16 {
                let Some(fd) = slot else { break };
                match nix::unistd::read(&*fd, &mut buffer) {
                    Ok(0) => *slot = None,
                    Ok(length) => self.log.iter_mut().for_each(|log| log.write(stream, &buffer[..length])),
                    Err(nix::Error::EAGAIN) => break,
                    Err(nix::Error::EINTR) => {}
                    Err(_) => *slot = None,
                }
            }
        }
        if self.output.iter().all(Option::is_none) {
            self.finish_log();
        }
    }

    fn finish_log(&mut self) {
        if let Some(log) = self.log.take() {
            self.finished = Some(log.finish());
        }
    }

    fn is_reaped(&self) -> bool {
        self.handle.is_none() || matches!(self.source, Source::LeftBehind(_))
    }

    /// The end of the attempt, if it can be told.
    fn listen(&mut self) -> Option<Report> {
        match &mut self.source {
            Source::Report { report, heard } => read_reports(report, heard, &mut self.process),
            Source::LeftBehind(path) => {
                let path = path.clone();
                self.look_for_the_end(&path)
            }
        }
    }

    /// S-28: what `handle` left behind; without it, what the kernel still knows of the hook's own process.
    fn look_for_the_end(&mut self, path: &std::path::Path) -> Option<Report> {
        if self.handle.as_ref().is_some_and(|handle| !handle.has_ended()) {
            return None;
        }
        self.handle = None;
        if let Some(report) = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
            return Some(report);
        }
        if self.process.as_ref().is_some_and(|process| !process.has_ended()) {
            return None;
        }
        let code = self.process.take().and_then(|of| exit::code_of(of.proc_dir.as_fd(), of.pidfd.as_fd()).code());
        Some(code.map_or_else(|| Report::Failed(supervisor_lost()), |code| Report::Exited { code }))
    }

    fn judge(&mut self, report: Report, entry: &Entry) -> Ended {
        let failure = match report {
            Report::Succeeded(success) => return Ended { outcome: Outcome::Succeeded(success), error: None },
            Report::Exited { code: 0 } => {
                let success = Success { exit_code: Some(0), ..Success::default() };
                return Ended { outcome: Outcome::Succeeded(success), error: None };
            }
            Report::Exited { code } => self.exec_failure(code, entry),
            Report::StartFailed { error } => start_failure(error, entry),
            Report::Failed(failure) => failure,
            Report::Started { .. } => supervisor_lost(), // its last word, which it should not be
        };
        let error = Some(failure.error.clone());
        Ended { outcome: Outcome::Failed(failure), error }
    }

    /// X-E08
    fn exec_failure(&self, code: i32, entry: &Entry) -> Failure {
        let command = match &entry.handler {
            Handler::Exec { command } => command.join(" "),
            other => other.name().to_owned(),
        };
        let class = format!("exit code {code}");
        let (tail, last_line) = match (&self.log, &self.finished) {
            (Some(log), _) => (log.stderr_tail(), log.last_line()),
            (None, Some(summary)) => (summary.stderr_tail.clone(), summary.last_line.clone()),
            (None, None) => (String::new(), None),
        };
        let error = match tail.is_empty() {
            true => format!("command '{command}' exited with {code}"),
            false => format!("command '{command}' exited with {code}: {tail}"),
        };
        Failure { class, error, exit_code: Some(code), last_line, notices: Vec::new() }
    }

    /// X-E15: the hook's control group; without one its process group and all that descends from it. Then `handle`.
    fn kill_tree(&mut self) {
        let _ = self.tree.kill();
        if self.tree.is_none() {
            self.handle.iter().chain(&self.process).for_each(|peer| descendants::kill_below(&peer.id, 0));
        }
        if let Some(process) = &self.process {
            let owned = matches!(self.source, Source::Report { .. });
            if pidfd::signal_group(process.pidfd.as_fd(), libc::SIGKILL).is_err() && owned {
                // Before Linux 6.9, by number: it is this one's until we reap it. An error says that nobody is left.
                let _ = nix::sys::signal::killpg(process.pid(), nix::sys::signal::Signal::SIGKILL);
            }
            process.signal(libc::SIGKILL);
        }
        self.handle.iter().for_each(|handle| handle.signal(libc::SIGKILL));
        // What it left behind in its control group lived until now (X-E13).
        let _ = self.tree.kill();
    }

    fn close(&mut self) {
        self.drain();
        self.output = [None, None];
        self.drain_until = None;
        self.finish_log();
    }
}

/// Reads reports until one tells the end. `process` becomes the hook's own.
fn read_reports(report: &mut Option<OwnedFd>, heard: &mut Vec<u8>, process: &mut Option<Peer>) -> Option<Report> {
    let mut buffer = [0; 4096];
    let mut closed = false;
    while let Some(fd) = report {
        match nix::unistd::read(fd, &mut buffer) {
            Ok(length) if length > 0 && heard.len() <= REPORT_MAX => heard.extend_from_slice(&buffer[..length]),
            Err(nix::Error::EAGAIN) => break,
            Err(nix::Error::EINTR) => {}
            _ => {
                *report = None;
                closed = true;
            }
        }
    }
    while let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = heard.drain(..=end).collect();
        match serde_json::from_slice(&line) {
            // `handle` does not reap it, so the number is its own.
            Ok(Report::Started { pid, .. }) => *process = Peer::of(Pid::from_raw(pid)).ok(),
            Ok(report) => return Some(report),
            Err(_) => {}
        }
    }
    closed.then(|| {
        let class = "its process was killed".to_owned();
        Report::Failed(Failure { error: class.clone(), class, ..Failure::default() })
    })
}

/// X-E10
fn start_failure(error: String, entry: &Entry) -> Failure {
    let missing = error.contains("executable file not found") || error.contains("no such file or directory");
    let sleep = matches!(&entry.handler, Handler::Exec { command } if command.first().is_some_and(|name| name == "sleep" || name.ends_with("/sleep")));
    let class = match error.split_once("executable file not found") {
        Some(_) => "executable file not found".to_owned(),
        None => error.rsplit(": ").next().unwrap_or(&error).to_owned(),
    };
    let hint = if missing && sleep { " (use the sleep handler, which needs no binary in the image)" } else { "" };
    Failure { class, error: format!("{error}{hint}"), ..Failure::default() }
}

/// What is left of an attempt that a predecessor began. Its output is read on where it was left.
pub fn left_behind(run: &Run, path: PathBuf, log: HookLog, tree: Cgroup) -> Child {
    let find = |id: &Option<ProcessId>| id.as_ref().and_then(Peer::find);
    let handle = find(&run.handle);
    let output = [OUTPUT_FD, OUTPUT_FD + 1].map(|fd| handle.as_ref().and_then(|handle| reopen(handle, fd)));
    Child {
        handle,
        process: find(&run.process),
        source: Source::LeftBehind(path),
        output,
        log: Some(log),
        tree,
        drain_until: None,
        finished: None,
    }
}

/// The reading end of a pipe that `handle` has kept open for us.
fn reopen(handle: &Peer, fd: i32) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(&handle.proc_dir, format!("fd/{fd}"), flags, Mode::empty()).ok()
}

/// A handler that could not even be given a process.
pub fn lost(error: &io::Error) -> Ended {
    let class = error.to_string();
    let failure = Failure { error: format!("start a process for the handler: {class}"), class, ..Failure::default() };
    Ended { error: Some(failure.error.clone()), outcome: Outcome::Failed(failure) }
}
