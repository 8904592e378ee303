//! What a container's lifecycle hooks are, after every source was read and checked.
//!
//! Kubernetes' words are used for Kubernetes' ideas: a *hook* is one of the four moments, a *handler* is what happens
//! there (lifecycle.md section 1).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::signal::Signal;

/// One of the four moments of a container's life at which a handler can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Hook {
    PreStart,
    PostStart,
    PreStop,
    PostStop,
}

impl Hook {
    pub const ALL: [Hook; 4] = [Hook::PreStart, Hook::PostStart, Hook::PreStop, Hook::PostStop];

    /// The hook's name as Kubernetes spells it: `preStart`, `postStart`, `preStop`, `postStop`.
    pub fn name(self) -> &'static str {
        match self {
            Hook::PreStart => "preStart",
            Hook::PostStart => "postStart",
            Hook::PreStop => "preStop",
            Hook::PostStop => "postStop",
        }
    }

    /// Whether the hook is a list of handlers (the extensions) instead of a single one (Kubernetes).
    pub fn is_list(self) -> bool {
        matches!(self, Hook::PreStart | Hook::PostStop)
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a hook does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Handler {
    /// A program in the container, executed as it stands, without a shell (X-E05).
    Exec { command: Vec<String> },
    /// An HTTP request from the container's network namespace (X-H02).
    HttpGet(HttpGet),
    /// A TCP connection that is opened and closed at once (X-T01).
    TcpSocket { host: Option<String>, port: u16 },
    /// A pause that needs nothing in the image (X-S01).
    Sleep { seconds: u64 },
}

impl Handler {
    /// The handler's name as Kubernetes spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Handler::Exec { .. } => "exec",
            Handler::HttpGet(_) => "httpGet",
            Handler::TcpSocket { .. } => "tcpSocket",
            Handler::Sleep { .. } => "sleep",
        }
    }
}

/// An HTTP request of a hook (lifecycle.md section 4.2). The port is a number by now: names were looked up (X-H07).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpGet {
    pub scheme: Scheme,
    /// None: the container's own address (X-H03).
    pub host: Option<String>,
    pub port: u16,
    /// As written; the request line is made from it by row X-H12.
    pub path: String,
    pub headers: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    Http,
    Https,
}

/// Whether a hook's failure counts (lifecycle.md section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    Fail,
    Ignore,
}

/// Which HTTP statuses are a success (X-H15, X-H17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SuccessStatus {
    #[serde(rename = "any")]
    Any,
    #[serde(rename = "2xx-3xx")]
    Below400,
}

/// Where an exec handler's output goes (L-01, L-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookLog {
    File,
    Inherit,
    Both,
    Container,
    None,
}

/// How a hook is run and what its failure means (lifecycle.md section 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// The limit of each attempt; None is no limit.
    pub timeout: Option<Duration>,
    pub retries: u32,
    pub retry_delay: Duration,
    pub on_failure: OnFailure,
    pub success_status: SuccessStatus,
    pub log: HookLog,
    pub inject_env: bool,
}

impl Policy {
    /// The defaults of lifecycle.md section 2, which differ between Kubernetes' hooks and the extensions.
    pub fn default_of(hook: Hook) -> Policy {
        let extension = hook.is_list();
        Policy {
            timeout: extension.then_some(Duration::from_secs(60)),
            retries: 0,
            retry_delay: Duration::from_secs(1),
            on_failure: match hook {
                Hook::PreStart | Hook::PostStart => OnFailure::Fail,
                Hook::PreStop | Hook::PostStop => OnFailure::Ignore,
            },
            success_status: SuccessStatus::Any,
            log: HookLog::File,
            inject_env: extension,
        }
    }
}

/// One handler of a hook with its policy and the place that it was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub handler: Handler,
    pub policy: Policy,
    /// For messages: `annotation bookend/pre-stop`, `pod.yaml: spec.containers[0].lifecycle.preStop`.
    pub source: String,
}

/// The resolved hooks and policies of one container: all that `step` knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The Pod's container name where it is known, else the id (L-07).
    pub container: String,
    pub pre_start: Vec<Entry>,
    pub post_start: Option<Entry>,
    pub pre_stop: Option<Entry>,
    pub post_stop: Vec<Entry>,
    /// G of lifecycle.md section 1, in whole seconds.
    pub grace_seconds: u64,
    pub stop_signal: Signal,
    pub post_start_stop: PostStartStop,
    /// tcpSocket fails, as it does in Kubernetes (X-T03).
    pub strict_kubernetes: bool,
}

/// When a stop request that comes during postStart is acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum PostStartStop {
    /// P-11
    #[default]
    #[value(help = "at once")]
    Now,
    /// P-12
    #[value(help = "once postStart has ended, as in Kubernetes")]
    Wait,
}

/// Kubernetes' grace period where nobody names one.
pub const DEFAULT_GRACE_SECONDS: u64 = 30;

impl Plan {
    /// A plan without any hook: a plain OCI container.
    pub fn empty(container: &str) -> Plan {
        Plan {
            container: container.to_owned(),
            pre_start: Vec::new(),
            post_start: None,
            pre_stop: None,
            post_stop: Vec::new(),
            grace_seconds: DEFAULT_GRACE_SECONDS,
            stop_signal: Signal::TERM,
            post_start_stop: PostStartStop::Now,
            strict_kubernetes: false,
        }
    }

    /// Whether any hook is defined; only then is there a supervisor.
    pub fn has_hooks(&self) -> bool {
        Hook::ALL.iter().any(|hook| !self.entries(*hook).is_empty())
    }

    /// The handlers of one hook, in the order in which they run.
    pub fn entries(&self, hook: Hook) -> &[Entry] {
        match hook {
            Hook::PreStart => &self.pre_start,
            Hook::PostStart => self.post_start.as_slice(),
            Hook::PreStop => self.pre_stop.as_slice(),
            Hook::PostStop => &self.post_stop,
        }
    }
}
