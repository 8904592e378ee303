//! `--fault` (interface.md 2.5).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::super::args::parse_duration;
use crate::lifecycle::fault::{EntrypointEnd, EntrypointFault, Faults, HandlerFault};
use crate::lifecycle::model::Hook;

/// Something that goes wrong because it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Handler(Hook, HandlerFault),
    StopSignalIgnored,
    Entrypoint(EntrypointFault),
    SupervisorKilled(Duration),
}

const KNOWN: &str = "HOOK=hang, HOOK=fail, HOOK=slow:DURATION, HOOK=flood (HOOK is preStart, postStart, preStop or \
                     postStop), stop-signal=ignore, entrypoint=exit:CODE@DURATION, entrypoint=oom@DURATION, \
                     supervisor=kill@DURATION";

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let unknown = || format!("there is no such fault; there are {KNOWN}");
        let (what, how) = text.split_once('=').ok_or_else(unknown)?;
        let (how, when) = how.split_once('@').map_or((how, None), |(how, when)| (how, Some(when)));
        let after = || parse_duration(when.unwrap_or_default());
        match (what, how, when) {
            ("stop-signal", "ignore", None) => Ok(Fault::StopSignalIgnored),
            ("entrypoint", "oom", Some(_)) => {
                Ok(Fault::Entrypoint(EntrypointFault { end: EntrypointEnd::Oom, after: after()? }))
            }
            ("entrypoint", how, Some(_)) => {
                let code = how.strip_prefix("exit:").ok_or_else(unknown)?;
                let code =
                    code.parse().map_err(|_| format!("{code:?} is no exit code: write a number from 0 to 255"))?;
                Ok(Fault::Entrypoint(EntrypointFault { end: EntrypointEnd::Exit(code), after: after()? }))
            }
            ("supervisor", "kill", Some(_)) => Ok(Fault::SupervisorKilled(after()?)),
            (hook, how, None) => {
                let hook = Hook::ALL.into_iter().find(|known| known.name() == hook).ok_or_else(unknown)?;
                let fault = match (how, how.strip_prefix("slow:")) {
                    ("hang", _) => HandlerFault::Hang,
                    ("fail", _) => HandlerFault::Fail,
                    ("flood", _) => HandlerFault::Flood,
                    (_, Some(span)) => HandlerFault::Slow(parse_duration(span)?),
                    _ => return Err(unknown()),
                };
                Ok(Fault::Handler(hook, fault))
            }
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Handler(hook, fault) => write!(f, "{hook}={fault}"),
            Fault::StopSignalIgnored => f.write_str("stop-signal=ignore"),
            Fault::Entrypoint(EntrypointFault { end: EntrypointEnd::Exit(code), after }) => {
                write!(f, "entrypoint=exit:{code}@{}s", after.as_secs_f64())
            }
            Fault::Entrypoint(EntrypointFault { end: EntrypointEnd::Oom, after }) => {
                write!(f, "entrypoint=oom@{}s", after.as_secs_f64())
            }
            Fault::SupervisorKilled(after) => write!(f, "supervisor=kill@{}s", after.as_secs_f64()),
        }
    }
}

/// All faults of one container; of two for the same thing the later one counts.
pub fn faults<'a>(given: impl IntoIterator<Item = &'a Fault>) -> Faults {
    let mut faults = Faults::default();
    for fault in given {
        match *fault {
            Fault::Handler(hook, fault) => drop(faults.handlers.insert(hook, fault)),
            Fault::StopSignalIgnored => faults.stop_signal_ignored = true,
            Fault::Entrypoint(fault) => faults.entrypoint = Some(fault),
            Fault::SupervisorKilled(after) => faults.supervisor_killed_after = Some(after),
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_reads_back_as_it_is_written() {
        for text in [
            "preStart=hang",
            "postStart=fail",
            "preStop=slow:1.5s",
            "postStop=flood",
            "stop-signal=ignore",
            "entrypoint=exit:3@2s",
            "entrypoint=oom@0.5s",
            "supervisor=kill@1s",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_unknown_fault_is_told_with_all_that_there_are() {
        for text in ["", "preStop", "prestop=hang", "preStop=explode", "preStop=hang@2s", "entrypoint=exit:3", "x=y"] {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.contains("HOOK=slow:DURATION") && error.contains("supervisor=kill@DURATION"), "{error}");
        }
        assert!("entrypoint=exit:256@1s".parse::<Fault>().unwrap_err().contains("0 to 255"));
        assert!("entrypoint=oom@soon".parse::<Fault>().unwrap_err().contains("no duration"));
    }
}
