//! Faults that a rehearsal asks for (interface.md 2.5). `test` keeps them with the container that it makes for itself; no other
//! verb, file or annotation can name one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::Hook;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Faults {
    /// What a hook does instead of its handler, or before it.
    pub handlers: BTreeMap<Hook, HandlerFault>,
    /// The stop signal does not reach the ENTRYPOINT.
    pub stop_signal_ignored: bool,
    pub entrypoint: Option<EntrypointFault>,
    /// How long after the ENTRYPOINT was executed the supervisor is killed.
    pub supervisor_killed_after: Option<Duration>,
}

impl Faults {
    pub fn is_empty(&self) -> bool {
        *self == Faults::default()
    }
}

/// What becomes of a hook's handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HandlerFault {
    /// It never ends.
    Hang,
    /// It exits with 1.
    Fail,
    /// It begins so much later.
    Slow(Duration),
    /// It writes without end.
    Flood,
}

impl fmt::Display for HandlerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandlerFault::Hang => f.write_str("hang"),
            HandlerFault::Fail => f.write_str("fail"),
            HandlerFault::Slow(span) => write!(f, "slow:{}s", span.as_secs_f64()),
            HandlerFault::Flood => f.write_str("flood"),
        }
    }
}

/// An end of the ENTRYPOINT that it did not choose itself. It is killed, and the exit is what is said here, for the journal and
/// for postStop alike: a wrapper around it would not be PID 1's equal before signals, and a true lack of memory may take
/// more than the container with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntrypointFault {
    pub end: EntrypointEnd,
    /// After it was executed.
    pub after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EntrypointEnd {
    Exit(u8),
    /// As the kernel's OOM killer ends a process: SIGKILL, and the reason `OOMKilled`.
    Oom,
}
