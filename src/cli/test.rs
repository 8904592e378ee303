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
mod junit;
mod listeners;
mod progress;
mod report;
mod stage;
mod target;
mod verdict;
mod wire;

use std::io::Write;

use anyhow::{Result, anyhow};

use super::args::{Global, PictureFormat, Test, TestFormat};
use super::log::Log;
use super::{timeline, with_code};
use crate::lifecycle::time::Instant;
use crate::linux::clock;
use director::Director;
use progress::Progress;
use target::{Drawing, Target};
use verdict::Verdict;

pub fn run(global: &Global, args: &Test) -> Result<u8> {
    let (troupes, warnings) = cast::of(args).map_err(|error| with_code(2, error))?;
    let targets = Targets::open(args).map_err(|error| with_code(2, error))?;
    let log = Log::new(global);
    warnings.iter().for_each(|warning| log.warn(warning));
    let jobs = args.jobs.map(usize::from).or(std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let containers = troupes.iter().map(|troupe| troupe.players.len()).sum();
    let progress = Progress::new(args.quiet, containers);
    let fates = Director::new(&troupes, jobs, args.run_for, progress)?.direct()?;
    let players = troupes.iter().flat_map(|troupe| &troupe.players);
    let verdicts: Vec<Verdict> = players.zip(fates).map(|(player, fate)| Verdict::of(player, fate)).collect();
    targets.write(&verdicts)?;
    print(args, &verdicts);
    Ok(failure(&verdicts))
}

/// `--junit` and `--timeline`.
struct Targets {
    junit: Option<Target>,
    timeline: Option<(Drawing, Target)>,
}

impl Targets {
    fn open(args: &Test) -> Result<Targets> {
        if args.junit.is_some() && args.junit == args.timeline {
            return Err(anyhow!("--junit and --timeline name the same file: give each its own"));
        }
        let drawing = args.timeline.as_deref().map(Drawing::of).transpose()?;
        let junit = args.junit.as_deref().map(|path| Target::open("--junit", path)).transpose()?;
        let timeline = args.timeline.as_deref().map(|path| Target::open("--timeline", path)).transpose()?;
        Ok(Targets { junit, timeline: drawing.zip(timeline) })
    }

    fn write(self, verdicts: &[Verdict]) -> Result<()> {
        if let Some(junit) = self.junit {
            junit.write(&junit::report(verdicts)?)?;
        }
        if let Some((drawing, timeline)) = self.timeline {
            timeline.write(&picture(verdicts, drawing))?;
        }
        Ok(())
    }
}

fn print(args: &Test, verdicts: &[Verdict]) {
    let text = match args.format {
        TestFormat::Text => report::text(verdicts, args.quiet, &lives(verdicts, PictureFormat::Text)),
        TestFormat::Json => format!("{:#}\n", report::json(verdicts)),
        TestFormat::Tap => report::tap(verdicts),
        TestFormat::Github => report::github(verdicts),
    };
    // Who closed the pipe has seen enough; the exit code is for whoever else waits.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The lives, one below the other, as this terminal can show them.
fn lives(verdicts: &[Verdict], format: PictureFormat) -> String {
    let acts = verdicts.iter().filter_map(|verdict| verdict.act.as_ref());
    let pictures: Vec<String> =
        acts.map(|act| timeline::render(&act.records, &timeline::Options::of_terminal(format, None))).collect();
    pictures.join("\n")
}

fn picture(verdicts: &[Verdict], drawing: Drawing) -> String {
    let acts = verdicts.iter().filter_map(|verdict| verdict.act.as_ref());
    match drawing {
        Drawing::Text => {
            let lives: Vec<String> =
                acts.map(|act| crate::lifecycle::timeline::text(&act.records, 100, false, None)).collect();
            lives.join("\n")
        }
        Drawing::Json => {
            let lives: Vec<_> = acts.map(|act| crate::lifecycle::timeline::json(&act.records, None)).collect();
            format!("{:#}\n", serde_json::Value::from(lives))
        }
    }
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
