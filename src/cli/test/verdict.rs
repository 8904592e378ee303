//! What a rehearsal showed: for each container, what was good and what was not, and why.

use std::time::Duration;

use super::advice;
use super::cast::Player;
use super::director::Fate;
use super::expect::{Ending, Expectation, Grace};
use super::wire::{Act, Story};
use crate::lifecycle::describe;
use crate::lifecycle::journal::Record;
use crate::lifecycle::model::Hook;
use crate::lifecycle::pod::Role;
use crate::lifecycle::status::{HookStatus, Status};
use crate::lifecycle::timeline::seconds;
use crate::lifecycle::tree::Mark;

/// One container's part of the result.
pub struct Verdict<'a> {
    pub player: &'a Player,
    pub checks: Vec<Check>,
    /// What is worth knowing and fails nothing.
    pub notes: Vec<String>,
    /// None where it did not live.
    pub act: Option<Box<Act>>,
    /// The exit code that bookend's own failure asks for.
    pub failure: Option<u8>,
}

/// One thing that was to go well.
pub struct Check {
    /// `preStop`, `postStop[1]`, `entrypoint`, `grace=kept`.
    pub name: String,
    pub good: bool,
    /// What it was, and how it went.
    pub text: String,
    /// The story of a failure, with what can be done about it.
    pub story: String,
    pub took: Option<Duration>,
    pub place: Mark,
}

impl Check {
    /// Of the whole container.
    fn of(player: &Player, name: &str, good: bool, text: String) -> Check {
        Check { name: name.to_owned(), good, text, story: String::new(), took: None, place: player.chosen.place() }
    }
}

impl<'a> Verdict<'a> {
    pub fn of(player: &'a Player, fate: Fate) -> Verdict<'a> {
        let mut verdict = Verdict { player, checks: Vec::new(), notes: Vec::new(), act: None, failure: None };
        match fate {
            Fate::Unborn => {
                let text = "entrypoint: was not started: what had to come before it failed".to_owned();
                verdict.checks.push(Check::of(player, "entrypoint", false, text));
            }
            Fate::Failed { code, error } => {
                verdict.failure = Some(code).filter(|code| *code != 1);
                verdict.checks.push(Check::of(player, "entrypoint", false, format!("entrypoint: {error}")));
            }
            Fate::Lived(act) => {
                verdict.judge(&act);
                verdict.act = Some(act);
            }
        }
        verdict
    }

    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.good)
    }

    fn judge(&mut self, act: &Act) {
        for (hook, at, state) in act.status.entries() {
            let check = self.hook(hook, at, state, act);
            self.checks.push(check);
        }
        let player = self.player;
        // A list with an expectation is judged as a whole.
        let expected = |expectation: &Expectation| matches!(expectation, Expectation::Hook(hook, _) if hook.is_list());
        for expectation in player.expectations.iter().filter(|expectation| expected(expectation)) {
            let Expectation::Hook(hook, ending) = *expectation else { continue };
            let found = whole(hook, &act.status);
            let text = format!("{hook} {}", found.map_or("is not defined", Ending::name));
            self.checks.push(Check::of(
                player,
                hook.name(),
                found == Some(ending),
                against(text, found == Some(ending), expectation),
            ));
        }
        let entrypoint = self.entrypoint(act);
        self.checks.extend(entrypoint);
        for expectation in &player.expectations {
            self.checks.extend(expected_of_the_container(player, expectation, act));
        }
        self.notes.extend(advice::notes(player, act));
    }

    /// A hook that was begun and did not succeed is a failed verdict, unless something else was expected.
    fn hook(&self, hook: Hook, at: usize, state: &HookStatus, act: &Act) -> Check {
        let player = self.player;
        let entry = player.part.plan.entries(hook).get(at);
        let handler = entry.map(|entry| describe::summary(&entry.handler)).unwrap_or_default();
        let fault =
            player.part.faults.handlers.get(&hook).map(|fault| format!(" [fault: {fault}]")).unwrap_or_default();
        let ending = Ending::of(state.state);
        let reason = match (ending, state.reason.as_deref()) {
            (Ending::Skipped, None | Some("")) => ": there was no occasion for it".to_owned(),
            (_, None | Some("")) => String::new(),
            (_, Some(reason)) => format!(": {reason}"),
        };
        let text = format!("{hook} {handler}{fault} {}{reason}", ending.name());
        let of_this = |expectation: &&Expectation| matches!(expectation, Expectation::Hook(named, _) if *named == hook);
        let mut expectations = player.expectations.iter().filter(of_this).peekable();
        let (good, text) = match expectations.peek() {
            None => (ending.is_good(), text),
            // Judged as a whole, below.
            Some(_) if hook.is_list() => (true, text),
            Some(_) => expectations.fold((true, text), |(all, text), expectation| {
                let good = matches!(expectation, Expectation::Hook(_, expected) if *expected == ending);
                (all && good, against(text, good, expectation))
            }),
        };
        let story = act.stories.iter().rfind(|story| (story.hook, story.entry) == (hook, at));
        let place = player.chosen.place_of(hook);
        let tell = |story: &Story| {
            let at = format!("  written at {}:{}:{}\n", player.chosen.file(), place.line, place.column);
            format!("bookend: {}{at}{}", story.text, advice::of_hook(player, story, state, act))
        };
        let story = story.map(tell).unwrap_or_default();
        Check {
            name: if hook.is_list() { format!("{hook}[{at}]") } else { hook.to_string() },
            good,
            text,
            story,
            took: took(hook, at, &act.records),
            place,
        }
    }

    /// By default it only has to be executed; what keeps it from that and is a hook's fault is told there.
    fn entrypoint(&self, act: &Act) -> Option<Check> {
        let player = self.player;
        let replaced = |expectation: &Expectation| matches!(expectation, Expectation::Exit(_) | Expectation::Reason(_));
        if player.expectations.iter().any(replaced) {
            return None;
        }
        let executed = find(act, "EntrypointExecuted").is_some();
        let pre_start_failed = act.status.hooks.pre_start.iter().any(|state| !Ending::of(state.state).is_good());
        let good = match player.part.role {
            Role::Init => act.exit_code == Some(0),
            Role::Sidecar | Role::Main => executed || pre_start_failed,
        };
        let mut check = Check::of(player, "entrypoint", good, format!("entrypoint: {}", exit(act)));
        if !good {
            check.story = advice::of_entrypoint(player, act);
        }
        Some(check)
    }
}

fn expected_of_the_container(player: &Player, expectation: &Expectation, act: &Act) -> Option<Check> {
    let status = act.status.exit.as_ref();
    let (good, found) = match expectation {
        Expectation::Hook(..) => return None,
        Expectation::Exit(code) => (act.exit_code == Some(i32::from(*code)), format!("entrypoint: {}", exit(act))),
        Expectation::Reason(reason) => {
            (status.is_some_and(|exit| exit.reason == *reason), format!("entrypoint: {}", exit(act)))
        }
        Expectation::Grace(grace) => {
            let killed = status.is_some_and(|exit| exit.killed_after_grace);
            let word = if killed { "exceeded: SIGKILL was needed" } else { "kept" };
            (killed == (*grace == Grace::Exceeded), format!("grace period {word}"))
        }
        Expectation::StoppedWithin(span) => match stop_took(act) {
            Some(took) => (took <= *span, format!("stopped after {}", seconds(took))),
            None => (true, "no stop was needed: it had ended by itself".to_owned()),
        },
    };
    Some(Check::of(player, &expectation.to_string(), good, against(found, good, expectation)))
}

fn against(found: String, good: bool, expectation: &Expectation) -> String {
    if good { format!("{found} (expected: {expectation})") } else { format!("{found}, but {expectation} was expected") }
}

/// How a hook ended as a whole: as the first of its handlers that did not succeed.
fn whole(hook: Hook, status: &Status) -> Option<Ending> {
    let mut endings = status.entries().filter(|(of, ..)| *of == hook).map(|(.., state)| Ending::of(state.state));
    let first = endings.next()?;
    Some(std::iter::once(first).chain(endings).find(|ending| *ending != Ending::Succeeded).unwrap_or(first))
}

pub fn find<'a>(act: &'a Act, reason: &str) -> Option<&'a Record> {
    act.records.iter().find(|record| record.notice.reason == reason)
}

/// From the request, or from the failure that led to it, until the ENTRYPOINT was gone.
pub fn stop_took(act: &Act) -> Option<Duration> {
    let asked = find(act, "StopRequested").or(find(act, "Killing"))?;
    let exited = find(act, "Exited")?;
    (asked.monotonic_ns <= exited.monotonic_ns).then(|| exited.monotonic_ns - asked.monotonic_ns)
}

/// From the first record of a handler to its last.
fn took(hook: Hook, at: usize, records: &[Record]) -> Option<Duration> {
    let of_it = |record: &&Record| record.notice.hook == Some(hook) && record.notice.entry.unwrap_or(0) == at;
    let mut times = records.iter().filter(of_it).map(|record| record.monotonic_ns);
    let first = times.next()?;
    Some(times.next_back().unwrap_or(first) - first)
}

/// How the container ended, with the code that `wait` gives.
fn exit(act: &Act) -> String {
    match &act.status.exit {
        None => "has not exited".into(),
        Some(exit) => {
            let code = act.exit_code.or(exit.code).map_or("unknown".to_owned(), |code| code.to_string());
            let killed = if exit.killed_after_grace { ", killed at the end of its grace period" } else { "" };
            format!("exit code {code} ({}){killed}", exit.reason)
        }
    }
}
