//! Signal names and numbers as Kubernetes and containerd know them (S-25), whatever the C library says.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A Linux signal, 1..=64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(i32);

impl Signal {
    pub const HUP: Signal = Signal(1);
    pub const INT: Signal = Signal(2);
    pub const QUIT: Signal = Signal(3);
    pub const KILL: Signal = Signal(9);
    pub const TERM: Signal = Signal(15);

    /// The signal of a number, if there is one.
    pub fn from_number(number: i32) -> Option<Signal> {
        (1..=64).contains(&number).then_some(Signal(number))
    }

    /// The signal of a full Kubernetes name such as `SIGTERM` or `SIGRTMIN+3`.
    pub fn from_name(name: &str) -> Option<Signal> {
        (1..=64).map(Signal).find(|signal| signal.to_string() == name)
    }

    /// What `kill ID SIGNAL` accepts: a number, or a name with or without `SIG`, in any case, as runc does.
    pub fn parse(word: &str) -> Option<Signal> {
        if let Ok(number) = word.parse() {
            return Signal::from_number(number);
        }
        let upper = word.to_ascii_uppercase();
        Signal::from_name(&upper).or_else(|| Signal::from_name(&format!("SIG{upper}")))
    }

    pub fn number(self) -> i32 {
        self.0
    }

    /// Every name that a Pod may use, sorted as Kubernetes prints them.
    pub fn names() -> Vec<String> {
        let mut names: Vec<String> =
            (1..=64).filter(|n| !(32..=33).contains(n)).map(|n| Signal(n).to_string()).collect();
        names.sort();
        names
    }

    /// Whether the default action of the signal leaves a process running (S-26): it ignores, stops or continues it.
    pub fn spares_by_default(self) -> bool {
        matches!(self.0, 17 | 18 | 19 | 20 | 21 | 22 | 23 | 28)
    }
}

const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n @ 1..=31 => f.write_str(NAMES[n as usize - 1]),
            34 => f.write_str("SIGRTMIN"),
            n @ 35..=49 => write!(f, "SIGRTMIN+{}", n - 34),
            n @ 50..=63 => write!(f, "SIGRTMAX-{}", 64 - n),
            64 => f.write_str("SIGRTMAX"),
            n => write!(f, "{n}"),
        }
    }
}
