//! `--expect` (interface.md 2.5).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::super::args::parse_duration;
use crate::lifecycle::model::Hook;
use crate::lifecycle::status::HookState;

/// What a rehearsal is to show. It replaces the default verdict of what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// The container's exit code.
    Exit(u8),
    /// Of L-09.
    Reason(&'static str),
    Hook(Hook, Ending),
    Grace(Grace),
    /// From the request until the ENTRYPOINT has exited.
    StoppedWithin(Duration),
}

/// How a hook comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Succeeded,
    Failed,
    TimedOut,
    Interrupted,
    /// It was not run, for whatever reason.
    Skipped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// The ENTRYPOINT ended before SIGKILL was due.
    Kept,
    Exceeded,
}

const REASONS: [&str; 7] =
    ["Completed", "Error", "OOMKilled", "PostStartHookError", "PreStartHookError", "StartError", "Unknown"];

const KNOWN: &str = "exit=CODE, reason=REASON (Completed, Error, OOMKilled, PostStartHookError, PreStartHookError, \
                     StartError or Unknown), HOOK=succeeded|failed|timed-out|interrupted|skipped (HOOK is preStart, \
                     postStart, preStop or postStop), grace=kept|exceeded, stopped-within=DURATION";

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Expectation, String> {
        let unknown = || format!("there is no such expectation; there are {KNOWN}");
        let (what, how) = text.split_once('=').ok_or_else(unknown)?;
        match what {
            "exit" => how
                .parse()
                .map(Expectation::Exit)
                .map_err(|_| format!("{how:?} is no exit code: write a number from 0 to 255")),
            "reason" => {
                let known = REASONS.into_iter().find(|known| *known == how);
                known.map(Expectation::Reason).ok_or_else(unknown)
            }
            "grace" if how == "kept" => Ok(Expectation::Grace(Grace::Kept)),
            "grace" if how == "exceeded" => Ok(Expectation::Grace(Grace::Exceeded)),
            "stopped-within" => parse_duration(how).map(Expectation::StoppedWithin),
            hook => {
                let hook = Hook::ALL.into_iter().find(|known| known.name() == hook).ok_or_else(unknown)?;
                let ending = Ending::ALL.into_iter().find(|known| known.name() == how).ok_or_else(unknown)?;
                Ok(Expectation::Hook(hook, ending))
            }
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expectation::Exit(code) => write!(f, "exit={code}"),
            Expectation::Reason(reason) => write!(f, "reason={reason}"),
            Expectation::Hook(hook, ending) => write!(f, "{hook}={}", ending.name()),
            Expectation::Grace(Grace::Kept) => f.write_str("grace=kept"),
            Expectation::Grace(Grace::Exceeded) => f.write_str("grace=exceeded"),
            Expectation::StoppedWithin(span) => write!(f, "stopped-within={}s", span.as_secs_f64()),
        }
    }
}

impl Ending {
    const ALL: [Ending; 5] =
        [Ending::Succeeded, Ending::Failed, Ending::TimedOut, Ending::Interrupted, Ending::Skipped];

    pub fn name(self) -> &'static str {
        match self {
            Ending::Succeeded => "succeeded",
            Ending::Failed => "failed",
            Ending::TimedOut => "timed-out",
            Ending::Interrupted => "interrupted",
            Ending::Skipped => "skipped",
        }
    }

    /// Of a life that is over, so that what is still pending was never run.
    pub fn of(state: HookState) -> Ending {
        match state {
            HookState::Succeeded => Ending::Succeeded,
            HookState::Failed => Ending::Failed,
            HookState::TimedOut => Ending::TimedOut,
            HookState::Running | HookState::Interrupted => Ending::Interrupted,
            HookState::Pending | HookState::Skipped => Ending::Skipped,
        }
    }

    /// Without an expectation only a hook that was begun can be a failed verdict.
    pub fn is_good(self) -> bool {
        matches!(self, Ending::Succeeded | Ending::Skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expectation_reads_back_as_it_is_written() {
        for text in [
            "exit=137",
            "reason=OOMKilled",
            "preStart=succeeded",
            "postStart=failed",
            "preStop=timed-out",
            "preStop=interrupted",
            "postStop=skipped",
            "grace=kept",
            "grace=exceeded",
            "stopped-within=1.5s",
        ] {
            assert_eq!(text.parse::<Expectation>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_unknown_expectation_is_told_with_all_that_there_are() {
        for text in ["", "exit", "reason=Evicted", "preStop=ok", "grace=long", "poststart=failed", "x=y"] {
            let error = text.parse::<Expectation>().unwrap_err();
            assert!(error.contains("exit=CODE") && error.contains("stopped-within=DURATION"), "{error}");
        }
        assert!("exit=256".parse::<Expectation>().unwrap_err().contains("0 to 255"));
        assert!("stopped-within=soon".parse::<Expectation>().unwrap_err().contains("no duration"));
    }
}
