//! One attempt of a hook's handler while it runs: its child process, its output, its time limit.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal as Nix, kill};
use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::handler::log::{HookLog, LogSummary, Stream};
use crate::handler::report::Report;
use crate::lifecycle::model::{Entry, Handler, Hook};
use crate::lifecycle::outcome::{Failure, Outcome, Success};
use crate::lifecycle::time::Instant;

/// How long output is still read after the hook's own process has ended (X-E13).
const DRAIN: Duration = Duration::from_secs(2);

/// A report is a line or two; more than this from a child is a fault.
const REPORT_MAX: usize = 64 * 1024;

pub struct Attempt {
    pub hook: Hook,
    pub entry: usize,
    work: Work,
    limit: Option<(Instant, Duration)>,
    /// Its end was told, or it was cancelled: nothing more is to be heard of it but its last output.
    over: bool,
}

enum Work {
    Sleep { until: Instant },
    Child(Box<Child>),
}

/// The `bookend handle` process of an attempt.
pub struct Child {
    pub pid: Pid,
    pub reaped: bool,
    pub report: Option<OwnedFd>,
    pub heard: Vec<u8>,
    pub output: [Option<OwnedFd>; 2],
    /// Until all output is read.
    pub log: Option<HookLog>,
    /// The hook's own process, once it runs and until it is reaped.
    pub process: Option<Pid>,
    /// The control group of the hook's tree.
    pub tree: Cgroup,
    pub drain_until: Option<Instant>,
    pub finished: Option<LogSummary>,
}

/// What became known about an attempt.
pub struct Ended {
    pub outcome: Outcome,
    /// For the status file: the whole text, which may hold output.
    pub error: Option<String>,
}

impl Attempt {
    pub fn sleep(hook: Hook, entry: usize, span: Duration, now: Instant, limit: Option<Duration>) -> Attempt {
        let until = now + span;
        Attempt { hook, entry, work: Work::Sleep { until }, limit: limit.map(|span| (now + span, span)), over: false }
    }

    pub fn child(hook: Hook, entry: usize, child: Child, now: Instant, limit: Option<Duration>) -> Attempt {
        Attempt {
            hook,
            entry,
            work: Work::Child(Box::new(child)),
            limit: limit.map(|span| (now + span, span)),
            over: false,
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
                Work::Child(child) => child.reaped && child.output.iter().all(Option::is_none),
            }
    }

    pub fn deadline(&self) -> Option<Instant> {
        match (&self.work, self.over) {
            (Work::Sleep { until }, false) => Some(self.limit.map_or(*until, |(at, _)| at.min(*until))),
            (Work::Child(_), false) => self.limit.map(|(at, _)| at),
            (Work::Child(child), true) => child.drain_until,
            (Work::Sleep { .. }, true) => None,
        }
    }

    /// The descriptors to wait on.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let Work::Child(child) = &self.work else { return Vec::new() };
        child.output.iter().chain([&child.report]).flatten().map(AsFd::as_fd).collect()
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
        let (at, limit) = self.limit?;
        if now < at {
            return None;
        }
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
            // A probe has no process of its own to ask; its child ends by the signal.
            let _ = kill(child.process.unwrap_or(child.pid), Nix::SIGTERM);
        }
    }

    /// Takes note of a reaped child; whether it was this attempt's.
    pub fn reaped(&mut self, pid: Pid) -> bool {
        match &mut self.work {
            Work::Child(child) if child.pid == pid && !child.reaped => {
                child.reaped = true;
                child.process = None;
                true
            }
            _ => false,
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

    /// Reads reports until one tells the end.
    fn listen(&mut self) -> Option<Report> {
        let mut buffer = [0; 4096];
        let mut closed = false;
        while let Some(fd) = &self.report {
            match nix::unistd::read(fd, &mut buffer) {
                Ok(0) => {
                    self.report = None;
                    closed = true;
                }
                Ok(length) => self.heard.extend_from_slice(&buffer[..length]),
                Err(nix::Error::EAGAIN) => break,
                Err(nix::Error::EINTR) => {}
                Err(_) => {
                    self.report = None;
                    closed = true;
                }
            }
            if self.heard.len() > REPORT_MAX {
                self.report = None;
                closed = true;
            }
        }
        while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Report::Started { pid, .. }) => self.process = Some(Pid::from_raw(pid)),
                Ok(report) => {
                    self.process = None;
                    return Some(report);
                }
                Err(_) => {}
            }
        }
        closed.then(|| {
            let class = "its process was killed".to_owned();
            Report::Failed(Failure { error: class.clone(), class, ..Failure::default() })
        })
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
            Report::Started { .. } => unreachable!("`listen` keeps these"),
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

    /// X-E15: the hook's control group; without one its process group. Then our own child, which waits for it.
    fn kill_tree(&mut self) {
        if self.reaped {
            // What it left behind in its control group lives until the container stops (X-E13) or until now.
            let _ = self.tree.kill();
            return;
        }
        let _ = self.tree.kill();
        if self.tree.is_none() {
            super::descendants::kill_below(self.pid, 0);
        }
        if let Some(process) = self.process.take() {
            // `handle` reaps the leader and then reports it: only in between could the numbers be another's.
            let _ = kill(Pid::from_raw(-process.as_raw()), Nix::SIGKILL);
            let _ = kill(process, Nix::SIGKILL);
        }
        let _ = kill(self.pid, Nix::SIGKILL);
        let _ = self.tree.kill();
    }

    fn close(&mut self) {
        self.drain();
        self.output = [None, None];
        self.drain_until = None;
        self.finish_log();
    }
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

/// A handler that could not even be given a process.
pub fn lost(error: &io::Error) -> Ended {
    let class = error.to_string();
    let failure = Failure { error: format!("start a process for the handler: {class}"), class, ..Failure::default() };
    Ended { error: Some(failure.error.clone()), outcome: Outcome::Failed(failure) }
}
