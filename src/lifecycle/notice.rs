//! What is told about a container's life: the events of rows L-04 to L-07, before the journal stamps them with the time.

use serde::{Deserialize, Serialize};

use super::model::Hook;

/// Kubernetes' two kinds of event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    #[default]
    Normal,
    Warning,
}

/// One thing that happened. Hook output never gets in here (L-03).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Notice {
    #[serde(rename = "type")]
    pub kind: Kind,
    /// A reason of L-05 or L-06.
    pub reason: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<Hook>,
    /// Index in the list of a preStart or postStop hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<usize>,
    /// `exec`, `httpGet`, `tcpSocket`, `sleep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Of an exec handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How the attempt ended: `Succeeded`, `Failed`, `TimedOut`, `Interrupted`, `Skipped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What an outcome adds in a word or two, for the picture: `200` of an httpGet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_path: Option<String>,
    /// Who asked for the stop: `stop`, `kill`, `signal`, `delete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u64>,
    /// Of `Exited`: ENTRYPOINT's own exit code; absent where it cannot be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Of `Exited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom: Option<bool>,
}

impl Notice {
    pub fn normal(reason: &str, message: impl Into<String>) -> Notice {
        Notice { reason: reason.to_owned(), message: message.into(), ..Notice::default() }
    }

    pub fn warning(reason: &str, message: impl Into<String>) -> Notice {
        Notice { kind: Kind::Warning, ..Notice::normal(reason, message) }
    }
}
