//! How an attempt of a hook, and how the ENTRYPOINT, came to its end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::notice::Notice;
use super::signal::Signal;

/// How one attempt of a hook's handler ended by itself. (An attempt that `step` cancelled is `Interrupted`, and what the
/// handler says afterwards is not heard.)
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Succeeded(Success),
    Failed(Failure),
    /// The attempt's own limit was reached and its tree was killed (X-E15).
    TimedOut {
        limit: Duration,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Success {
    /// In a word, for the picture: `200`.
    pub detail: Option<String>,
    /// Of an exec handler.
    pub exit_code: Option<i32>,
    /// Events to tell besides: `LifecycleHTTPStatus`, `LifecycleLoopback`.
    pub notices: Vec<Notice>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failure {
    /// L-07: `exit code 3`, `executable file not found`, `connection failed`, `HTTP status 500`, an errno text. Safe in events.
    pub class: String,
    /// X-E08, X-E10, X-H23: the whole story, for status and log only; may hold output.
    pub error: String,
    /// Of an exec handler that was executed; 128+N for signal N (X-E09).
    pub exit_code: Option<i32>,
    /// The last line of stderr, for the error that `start` returns (L-03).
    pub last_line: Option<String>,
    pub notices: Vec<Notice>,
}

/// How the ENTRYPOINT ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its own code, 128+N for signal N; None where it cannot be known (design.md section 2).
    pub code: Option<i32>,
    pub signal: Option<Signal>,
    /// The kernel's OOM killer ended it (S-14).
    pub oom: bool,
}
