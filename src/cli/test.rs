//! `test`: rehearses a container's whole life with its hooks, without a cluster (interface.md 2.3).
//!
//! The rehearsal is a `run --detach` of a bundle that is made for it, in a state root of its own; then the verbs' own
//! requests follow: start, exec, stop, delete. What happened is read from the journal, as everybody reads it.

mod stage;
mod verdict;

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

use super::args::{Global, Test, TestFormat};
use super::create::Prepared;
use super::log::Log;
use super::{delete, run, with_code};
use crate::container::id::ContainerId;
use crate::lifecycle::model::Hook;
use crate::lifecycle::source::{self, Invalid, Resolved, Sources};
use crate::lifecycle::status::Status;
use crate::lifecycle::time::Instant;
use crate::linux::clock;
use crate::supervisor::boot::take_signals;
use crate::supervisor::control::{self, Answer, Request};
use crate::supervisor::settings::Settings;
use stage::Stage;

pub fn run(global: &Global, args: &Test) -> Result<u8> {
    let resolved = resolve(args).map_err(|error| with_code(2, error))?;
    let log = Log::new(global);
    resolved.warnings.iter().for_each(|warning| log.warn(warning));
    // From here on ^C ends the rehearsal in order, with nothing left behind.
    let signals = take_signals()?;
    let stage = Stage::set(args, &resolved).map_err(|error| with_code(stage::code_of(&error), error))?;
    let rehearsal = Rehearsal::begin(global, args, &stage, resolved, signals)?;
    let lived = rehearsal.live();
    let verdict = rehearsal.verdict();
    let gone = rehearsal.end();
    drop(stage);
    lived?;
    gone?;
    let verdict = verdict?;
    match args.format {
        TestFormat::Text => print!("{}", verdict.text(args.quiet)),
        TestFormat::Json => println!("{:#}", verdict.json()),
    }
    Ok(if verdict.passed() { 0 } else { 1 })
}

/// The hooks of the file; all that is wrong with it at once.
fn resolve(args: &Test) -> Result<Resolved> {
    let none = Default::default();
    let resolved = source::resolve(&Sources {
        pod: Some(&args.file),
        container: args.container.as_deref(),
        lifecycle: None,
        annotations: &none,
        bundle: std::path::Path::new("/nonexistent"),
        id: args.container.as_deref().unwrap_or("container"),
        flags_are_global: false,
    })?;
    let unbuilt = source::refuse_unbuilt(&resolved.plan);
    if !unbuilt.is_empty() {
        bail!(Invalid { problems: unbuilt });
    }
    if !resolved.plan.has_hooks() {
        bail!(
            "{}: container {:?} has no hooks: there is nothing to rehearse",
            args.file.display(),
            resolved.plan.container
        );
    }
    Ok(resolved)
}

/// How often a long wait says that it goes on.
const PATIENCE: Duration = Duration::from_secs(10);

struct Rehearsal<'a> {
    args: &'a Test,
    /// The command line of the stage's own state root.
    global: Global,
    id: ContainerId,
    dir: PathBuf,
    plan: crate::lifecycle::model::Plan,
    signals: SignalFd,
}

impl<'a> Rehearsal<'a> {
    /// Creates the container and its supervisor.
    fn begin(
        global: &Global,
        args: &'a Test,
        stage: &Stage,
        resolved: Resolved,
        signals: SignalFd,
    ) -> Result<Rehearsal<'a>> {
        let name: String =
            resolved.plan.container.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let id: ContainerId = format!("test-{name}-{}", std::process::id()).parse().map_err(anyhow::Error::msg)?;
        let global = stage.global(global);
        let prepared = Prepared {
            bundle: stage.bundle().map_err(|error| with_code(2, error))?,
            settings: Settings { plan: resolved.plan, hook_log_dir: None, no_history: false },
        };
        run::launch(&global, &stage.create_args(&id), &prepared)
            .with_context(|| format!("this machine cannot run the container of {}", args.file.display()))?;
        let dir = global.root()?.container(&id);
        Ok(Rehearsal { args, global, id, dir, plan: prepared.settings.plan, signals })
    }

    /// Start, running, exec, stop: to the end of postStop. A start that fails is part of the life, not an error of ours.
    fn live(&self) -> Result<()> {
        let hooks = self.waits_for(&[Hook::PreStart, Hook::PostStart]);
        self.say(&format!("start{hooks}"));
        let begun = clock::now();
        if let Answer::Error(text) = self.ask(Request::Start, &format!("the start{hooks}"))? {
            self.say(&format!("start: {text}"));
        } else {
            self.say(&format!("running after {}", spent(begun)));
            if let Some(script) = &self.args.exec {
                self.exec(script)?;
            }
            self.run_for(self.args.run_for)?;
        }
        let hooks = self.waits_for(&[Hook::PreStop, Hook::PostStop]);
        let grace = self.args.grace.unwrap_or(self.plan.grace_seconds);
        self.say(&format!("stop{hooks}, grace period {grace}s"));
        let begun = clock::now();
        self.ask(Request::Stop { grace_seconds: self.args.grace }, &format!("the stop{hooks}"))?;
        self.say(&format!("stopped after {}", spent(begun)));
        Ok(())
    }

    /// The handlers that the next step will run, in a word or two each.
    fn waits_for(&self, hooks: &[Hook]) -> String {
        let entries = hooks.iter().flat_map(|hook| self.plan.entries(*hook).iter().map(move |entry| (hook, entry)));
        let words: Vec<String> = entries.map(|(hook, entry)| format!("{hook} {}", entry.handler.name())).collect();
        if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
    }

    /// Asks the supervisor and waits. A signal to us kills the container, and the life goes on to its end.
    fn ask(&self, request: Request, what: &str) -> Result<Answer> {
        let lost = || anyhow!("the supervisor of {} ended before {what} was over", self.id);
        let Some(connection) = control::connect(&self.dir)? else {
            return if self.is_over() { Ok(Answer::Ok) } else { Err(lost()) };
        };
        control::send_request(&connection, request)?;
        let begun = clock::now();
        let mut next_word = begun + PATIENCE;
        loop {
            match self.wait(Some(&connection), Some(next_word))? {
                Woken::Ready => {
                    let answer = control::read_answer(&connection)?;
                    return answer.or_else(|| self.is_over().then_some(Answer::Ok)).ok_or_else(lost);
                }
                Woken::Time => {
                    self.say(&format!("waiting for {what}: {}", spent(begun)));
                    next_word = next_word + PATIENCE;
                }
                Woken::Signal => self.interrupt()?,
            }
        }
    }

    /// A supervisor ends with its container's life, postStop included.
    fn is_over(&self) -> bool {
        Status::load(&self.dir).is_ok_and(|status| status.phase == "Stopped")
    }

    /// Lets the container run, unless it ends by itself.
    fn run_for(&self, span: Duration) -> Result<()> {
        let connection = control::connect(&self.dir)?;
        if let Some(connection) = &connection {
            control::send_request(connection, Request::Wait)?;
        }
        match self.wait(connection.as_ref(), Some(clock::now() + span))? {
            Woken::Ready => self.say("the container ended by itself"),
            Woken::Time | Woken::Signal => {}
        }
        Ok(())
    }

    fn wait(&self, connection: Option<&OwnedFd>, until: Option<Instant>) -> Result<Woken> {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(connection.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        loop {
            let left = until.map(|until| until - clock::now());
            let timeout = left.map_or(PollTimeout::NONE, |left| {
                PollTimeout::from(u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX))
            });
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error).context("poll"),
            }
            if fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false)) {
                return Ok(Woken::Ready);
            }
            let mut asked = false;
            while let Ok(Some(info)) = self.signals.read_signal() {
                asked |= [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].contains(&(info.ssi_signo as i32));
            }
            if asked {
                return Ok(Woken::Signal);
            }
            if until.is_some_and(|until| until <= clock::now()) {
                return Ok(Woken::Time);
            }
        }
    }

    fn interrupt(&self) -> Result<()> {
        self.say("interrupted: killing the container");
        let request = Request::Kill { signal: crate::lifecycle::signal::Signal::KILL, all: false, raw: false };
        control::ask_in(&self.dir, request).map(drop)
    }

    /// `--exec`: shows from inside what a hook did.
    fn exec(&self, script: &str) -> Result<()> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("--root").arg(self.global.root()?.path()).args(["exec", self.id.as_str(), "/bin/sh", "-c", script]);
        let output = command.output().with_context(|| format!("exec {script:?}"))?;
        let shown = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        self.say(&format!("exec {script}"));
        shown.lines().for_each(|line| self.say(&format!("  | {line}")));
        if !output.status.success() {
            self.say(&format!("  exit code {}", output.status.code().unwrap_or(255)));
        }
        Ok(())
    }

    fn verdict(&self) -> Result<verdict::Verdict> {
        verdict::Verdict::of(&self.id, &self.dir, &self.plan)
    }

    /// Removes the container; its journal and the hooks' output are in the history from now on.
    fn end(&self) -> Result<()> {
        delete::remove(&self.global, &self.id, true).map(drop)
    }

    /// Progress goes to stderr: what is printed at the end is the result.
    fn say(&self, text: &str) {
        if !self.args.quiet {
            // Nobody may be there to read it.
            let _ = writeln!(std::io::stderr(), "{}: {}", self.plan.container, text.trim_end());
        }
    }
}

enum Woken {
    Ready,
    Time,
    Signal,
}

fn spent(since: Instant) -> String {
    crate::lifecycle::timeline::seconds(clock::now() - since)
}

/// What the ENTRYPOINT of a bundle becomes with a Pod's `command` and `args` (Kubernetes: ENTRYPOINT and CMD).
fn command_line(own: &[String], command: Option<&Vec<String>>, args: Option<&Vec<String>>) -> Vec<String> {
    match (command, args) {
        (Some(command), args) => command.iter().chain(args.into_iter().flatten()).cloned().collect(),
        (None, Some(args)) => own.iter().take(1).chain(args).cloned().collect(),
        (None, None) => own.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_command_and_args_replace_the_bundles_as_in_kubernetes() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let own = words("/bin/server --port 80");
        assert_eq!(command_line(&own, None, None), own);
        assert_eq!(command_line(&own, None, Some(&words("-v"))), words("/bin/server -v"));
        assert_eq!(command_line(&own, Some(&words("/bin/other")), None), words("/bin/other"));
        assert_eq!(command_line(&own, Some(&words("/bin/other")), Some(&words("a b"))), words("/bin/other a b"));
    }
}
