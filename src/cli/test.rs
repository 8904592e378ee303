//! `test`: rehearses containers' whole lives with their hooks, without a cluster (interface.md 2.3).
//!
//! The files become a cast: the containers of each Pod. The director takes each Pod through its life, by way of an actor for
//! each container: a `run --detach` of a bundle that is made for it, in a state root of its own, then the verbs' own
//! requests: start, exec, stop, delete. What happened is read from the journal, as everybody reads it.

pub mod actor;
mod advice;
mod cast;
mod director;
pub mod expect;
pub mod fault;
mod image;
mod junit;
mod listeners;
mod progress;
mod report;
mod stage;
mod target;
mod verdict;
mod wire;

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result, anyhow};

use super::args::{Global, PictureFormat, Test, TestFormat};
use super::log::Log;
use super::timeline::{self, Terminal};
use super::with_code;
use crate::lifecycle::time::Instant;
use crate::lifecycle::timeline::{Life, Story};
use crate::linux::clock;
use director::{Director, Outcome};
use progress::Progress;
use target::Target;
use verdict::Verdict;

pub fn run(global: &Global, args: &Test) -> Result<u8> {
    if global.systemd_cgroup {
        let text = "--systemd-cgroup: `test` makes the control groups of its containers itself; leave the flag out";
        return Err(with_code(2, anyhow!(text)));
    }
    let (troupes, warnings) = cast::of(global, args).map_err(|error| with_code(2, error))?;
    let targets = Targets::open(args).map_err(|error| with_code(2, error))?;
    let log = Log::new(global);
    warnings.iter().for_each(|warning| log.warn(warning));
    let jobs = args.jobs.map(usize::from).or(std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let containers = troupes.iter().map(|troupe| troupe.players.len()).sum();
    let progress = Progress::new(args.quiet, containers);
    let Outcome { fates, interrupted } = Director::new(&troupes, jobs, args.run_for, progress)?.direct()?;
    let players = troupes.iter().flat_map(|troupe| &troupe.players);
    let verdicts: Vec<Verdict> = players.zip(fates).map(|(player, fate)| Verdict::of(player, fate)).collect();
    if interrupted {
        // Whoever waited for a hook without end wants to know what it did until now.
        print(args, &verdicts)?;
        return Err(with_code(1, anyhow!("interrupted: the containers were killed; this is how far they had come")));
    }
    targets.write(&verdicts)?;
    print(args, &verdicts)?;
    Ok(failure(&verdicts))
}

/// `--junit` and `--timeline`.
struct Targets {
    junit: Option<Target>,
    timeline: Option<(PictureFormat, Target)>,
}

impl Targets {
    fn open(args: &Test) -> Result<Targets> {
        if args.junit.is_some() && args.junit == args.timeline {
            return Err(anyhow!("--junit and --timeline name the same file: give each its own"));
        }
        let format = args.timeline.as_deref().map(target::picture_format).transpose()?;
        let junit = args.junit.as_deref().map(|path| Target::open("--junit", path)).transpose()?;
        let timeline = args.timeline.as_deref().map(|path| Target::open("--timeline", path)).transpose()?;
        Ok(Targets { junit, timeline: format.zip(timeline) })
    }

    fn write(self, verdicts: &[Verdict]) -> Result<()> {
        if let Some(junit) = self.junit {
            junit.write(&junit::report(verdicts)?)?;
        }
        if let Some((format, timeline)) = self.timeline {
            timeline.write(&drawn(verdicts, format, target::TERMINAL))?;
        }
        Ok(())
    }
}

fn print(args: &Test, verdicts: &[Verdict]) -> Result<()> {
    let text = match args.format {
        TestFormat::Text => {
            report::text(verdicts, args.quiet, &drawn(verdicts, PictureFormat::Text, Terminal::of_stdout()))
        }
        TestFormat::Json => format!("{:#}\n", report::json(verdicts)),
        TestFormat::Tap => report::tap(verdicts),
        TestFormat::Github => report::github(verdicts),
    };
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Who closed the pipe has seen enough; the exit code is for whoever else waits.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("write the verdict to stdout"),
        _ => Ok(()),
    }
}

fn drawn(verdicts: &[Verdict], format: PictureFormat, terminal: Terminal) -> String {
    timeline::render(&stories(verdicts), format, terminal)
}

/// The lives of all containers that had one.
fn stories(verdicts: &[Verdict]) -> Vec<Story> {
    let story = |verdict: &Verdict| {
        let act = verdict.act.as_ref()?;
        let mut life = Life::of(&act.records, None)?;
        let plan = &verdict.player.part.plan;
        life.describe(plan);
        // Where two Pods have containers of one name, the Pod's is in it.
        life.container = verdict.player.label.clone();
        let (records, status) = (act.records.clone(), Some(act.status.clone()));
        Some(Story { life, records, status, plan: Some(plan.clone()), output: act.logs.clone() })
    };
    verdicts.iter().filter_map(story).collect()
}

/// interface.md 2.4, over all containers: this machine's fault before bad input, and that before a failed verdict.
fn failure(verdicts: &[Verdict]) -> u8 {
    let own = verdicts.iter().filter_map(|verdict| verdict.failure).max();
    let passed = verdicts.iter().all(Verdict::passed);
    own.unwrap_or(if passed { 0 } else { 1 })
}

fn spent(since: Instant) -> String {
    crate::lifecycle::timeline::seconds(clock::now() - since)
}

/// What an image's ENTRYPOINT and CMD become with a Pod's `command` and `args`, as in Kubernetes.
fn command_line(
    entrypoint: &[String],
    cmd: &[String],
    command: Option<&Vec<String>>,
    args: Option<&Vec<String>>,
) -> Vec<String> {
    match (command, args) {
        (Some(command), args) => command.iter().chain(args.into_iter().flatten()).cloned().collect(),
        (None, Some(args)) => entrypoint.iter().chain(args).cloned().collect(),
        (None, None) => entrypoint.iter().chain(cmd).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_command_and_args_replace_entrypoint_and_cmd_as_in_kubernetes() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (entrypoint, cmd) = (words("/bin/server --fast"), words("--port 80"));
        let line = |command: Option<&str>, args: Option<&str>| {
            command_line(&entrypoint, &cmd, command.map(words).as_ref(), args.map(words).as_ref()).join(" ")
        };
        assert_eq!(line(None, None), "/bin/server --fast --port 80");
        assert_eq!(line(None, Some("-v")), "/bin/server --fast -v");
        assert_eq!(line(Some("/bin/other"), None), "/bin/other");
        assert_eq!(line(Some("/bin/other"), Some("a b")), "/bin/other a b");
    }
}
