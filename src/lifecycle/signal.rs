//! Signal names and numbers as Kubernetes and containerd know them (S-25), whatever the C library says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::tree::nearest;

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
        (1..=64).map(Signal).find(|signal| signal.to_string() == name).filter(|_| name.starts_with("SIG"))
    }

    /// What `kill ID SIGNAL` accepts: a number, or a name with or without `SIG`, in any case, as runc does.
    pub fn parse(word: &str) -> Option<Signal> {
        if let Ok(number) = word.parse() {
            return Signal::from_number(number);
        }
        let upper = word.to_ascii_uppercase();
        Signal::from_name(&upper).or_else(|| Signal::from_name(&format!("SIG{upper}")))
    }

    /// The signal that was probably meant by a word that is no name: `TERM`, `sigterm`, `15`, `SIGTREM` (V-20).
    pub fn nearest(word: &str) -> Option<Signal> {
        let names = Signal::names();
        let near = || nearest(word, names.iter().map(String::as_str)).and_then(Signal::from_name);
        Signal::parse(word).filter(|signal| signal.to_string().starts_with("SIG")).or_else(near)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_25_real_time_signals_have_kubernetes_numbers() {
        let expected = [
            ("SIGRTMIN", 34),
            ("SIGRTMIN+1", 35),
            ("SIGRTMIN+15", 49),
            ("SIGRTMAX-14", 50),
            ("SIGRTMAX-1", 63),
            ("SIGRTMAX", 64),
        ];
        for (name, number) in expected {
            assert_eq!(Signal::from_name(name).map(Signal::number), Some(number), "{name}");
            assert_eq!(Signal::from_number(number).unwrap().to_string(), name);
        }
        assert_eq!(Signal::from_name("SIGRTMIN+16"), None);
        assert_eq!(Signal::from_name("SIGRTMAX-15"), None);
    }

    #[test]
    fn every_name_of_the_list_is_a_signal_and_the_list_is_sorted() {
        let names = Signal::names();
        assert_eq!(names.len(), 62);
        assert!(names.is_sorted());
        for name in &names {
            assert_eq!(Signal::from_name(name).unwrap().to_string(), *name);
        }
    }

    #[test]
    fn kill_takes_numbers_and_names_in_any_spelling() {
        for word in ["15", "TERM", "term", "SIGTERM", "sigterm"] {
            assert_eq!(Signal::parse(word), Some(Signal::TERM), "{word}");
        }
        for word in ["", "0", "65", "-1", "FOO", "SIG", "15 "] {
            assert_eq!(Signal::parse(word), None, "{word}");
        }
    }

    #[test]
    fn v_20_a_wrong_name_has_a_nearest_one() {
        for (word, name) in [
            ("TERM", "SIGTERM"),
            ("15", "SIGTERM"),
            ("sigquit", "SIGQUIT"),
            ("SIGTREM", "SIGTERM"),
            ("SIGHUPP", "SIGHUP"),
            ("RTMIN+3", "SIGRTMIN+3"),
        ] {
            assert_eq!(Signal::nearest(word).map(|signal| signal.to_string()).as_deref(), Some(name), "{word}");
        }
        assert_eq!(Signal::nearest("banana"), None);
        assert_eq!(Signal::nearest("32"), None);
    }
}
