//! How long hooks take, as far as that can be read.

use std::time::Duration;

use super::Subject;
use super::shell::{Joined, Step, Word, base_name, steps};
use crate::lifecycle::model::{Handler, Hook};
use crate::lifecycle::rule::Rule;
use crate::lifecycle::validate::Problems;

/// The least time that something takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Time {
    Seconds(f64),
    /// It never ends by itself.
    Endless,
}

/// BE001, besides what V-17 refuses: the hook leaves the process nothing of the grace period.
pub fn reaches_the_grace_period(subject: &Subject, problems: &mut Problems) {
    let grace = subject.judged.grace;
    let limit = subject.judged.hooks.get(&Hook::PreStop).and_then(|entries| entries.first()?.policy.timeout);
    let limit = limit.map_or(f64::INFINITY, |limit| limit.as_secs_f64());
    if grace <= 0 || limit < grace as f64 {
        return;
    }
    for (_, draft, handler) in subject.handlers().filter(|(hook, ..)| *hook == Hook::PreStop) {
        let (time, what) = match handler {
            // V-17 has told the longer ones.
            Handler::Sleep { seconds } if *seconds as i64 == grace => (Time::Seconds(*seconds as f64), "sleeps"),
            Handler::Exec { command } => (least_time(&steps(command)), "takes at least"),
            _ => continue,
        };
        let sentence = match time {
            Time::Endless => format!("never ends by itself, and the grace period is {grace} s"),
            Time::Seconds(seconds) if seconds >= grace as f64 => {
                format!("{what} {}, and the grace period is {grace} s", shown(seconds))
            }
            Time::Seconds(_) => continue,
        };
        let rest = "the process gets the stop signal only then, and SIGKILL 2 s later";
        problems.warning(draft.at, &draft.path, format_args!("{sentence}: {rest}")).is(Rule::HookTime);
    }
}

/// BE040 (P-06): postStart holds the running state back for as long as it takes.
pub fn post_start_has_no_limit(subject: &Subject, problems: &mut Problems) {
    let Some(entry) = subject.judged.hooks.get(&Hook::PostStart).and_then(|entries| entries.first()) else { return };
    if entry.policy.timeout.is_some() {
        return;
    }
    for (_, draft, handler) in subject.handlers().filter(|(hook, ..)| *hook == Hook::PostStart) {
        let problem = match handler {
            // The one ends by itself; the other has the kernel's limit.
            Handler::Sleep { .. } | Handler::TcpSocket { .. } => continue,
            Handler::Exec { command } if least_time(&steps(command)) == Time::Endless => {
                let why = "postStart never ends by itself, so the container is never running";
                problems
                    .warning(draft.at, &draft.path, why)
                    .cured_by("start it in the background, or leave it to the ENTRYPOINT")
            }
            _ => {
                let why = "postStart has no time limit: if it does not return, the container is never running";
                problems.note(draft.at, &draft.path, why)
            }
        };
        if matches!(handler, Handler::HttpGet(_)) {
            problem.cured_by("under bookend set the policy timeoutSeconds");
        }
        problem.is(Rule::NoTimeLimit);
    }
}

fn shown(seconds: f64) -> String {
    if seconds.fract() == 0.0 { format!("{seconds:.0} s") } else { format!("{seconds:.1} s") }
}

/// The least time that a row of commands takes when nothing in it fails.
fn least_time(steps: &[Step]) -> Time {
    let mut sum = 0.0;
    // Whether the command before is known to succeed, so that what `&&` joins to it runs.
    let mut succeeds = true;
    for step in steps {
        let reached = match step.joined {
            Joined::Then => true,
            Joined::And => succeeds,
            Joined::Or | Joined::Pipe => false,
        };
        let Some((program, arguments)) = step.program() else {
            succeeds = false;
            continue;
        };
        if reached && matches!(program, "exit" | "return") {
            break;
        }
        if reached && !step.background {
            match takes(program, arguments) {
                Time::Endless => return Time::Endless,
                Time::Seconds(seconds) => sum += seconds,
            }
        }
        let sure = ["sleep", "echo", "true", ":", "printf", "date", "sync", "export", "set"];
        succeeds = (reached || step.joined == Joined::Or) && sure.contains(&program);
    }
    Time::Seconds(sum)
}

/// The least time that one program takes.
fn takes(program: &str, arguments: &[Word]) -> Time {
    let words: Option<Vec<&str>> = arguments.iter().map(Word::literal).collect();
    match (program, words) {
        ("sleep", Some(words)) => sleeps(&words).unwrap_or(Time::Seconds(0.0)),
        ("busybox", Some(words)) if words.first().is_some_and(|word| base_name(word) == "sleep") => {
            sleeps(&words[1..]).unwrap_or(Time::Seconds(0.0))
        }
        ("tail", Some(words)) if words.iter().any(|word| ["-f", "-F", "--follow"].contains(word)) => Time::Endless,
        _ => Time::Seconds(0.0),
    }
}

/// What sleep(1) makes of its arguments: numbers with units, summed up.
fn sleeps(words: &[&str]) -> Option<Time> {
    let mut sum = Duration::ZERO;
    for word in words {
        if ["infinity", "inf"].contains(&word.to_ascii_lowercase().as_str()) {
            return Some(Time::Endless);
        }
        let (number, unit) = match word.strip_suffix(['s', 'm', 'h', 'd']) {
            Some(number) => (number, word.as_bytes()[word.len() - 1]),
            None => (*word, b's'),
        };
        let seconds = match unit {
            b'm' => 60.0,
            b'h' => 3600.0,
            b'd' => 86400.0,
            _ => 1.0,
        };
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let number: f64 = number.parse().ok().filter(|_| is_number)?;
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
    }
    Some(Time::Seconds(sum.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::super::shell::read;
    use super::*;

    #[test]
    fn the_time_of_plain_sleeps_is_read() {
        for (script, seconds) in [
            ("sleep 40", 40.0),
            ("/bin/sleep 40s", 40.0),
            ("sleep 1m 30", 90.0),
            ("sleep 0.5", 0.5),
            ("busybox sleep 3", 3.0),
            ("echo bye; sleep 10 && sleep 5", 15.0),
            ("sleep 10 && nginx -s quit; sleep 5", 15.0),
            ("curl -s localhost/drain; sleep 20", 20.0),
            // May not be reached, or is not waited for.
            ("curl -s localhost/drain && sleep 20", 0.0),
            ("test -f /x || sleep 20", 0.0),
            ("sleep 20 &", 0.0),
            ("exit 0; sleep 20", 0.0),
            ("timeout 5 sleep 20", 0.0),
            ("sleep $DELAY", 0.0),
            ("sleep nonsense", 0.0),
            ("while true; do sleep 1; done", 0.0),
        ] {
            assert_eq!(least_time(&read(script)), Time::Seconds(seconds), "{script}");
        }
        for script in ["sleep infinity", "tail -f /dev/null", "echo a; tail -F /x"] {
            assert_eq!(least_time(&read(script)), Time::Endless, "{script}");
        }
    }
}
