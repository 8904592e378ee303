//! The supervisor's part in a rehearsal's faults: at their time, and only in the supervisor that saw the ENTRYPOINT executed.

use std::os::fd::AsFd;

use nix::sys::signal::{Signal as Nix, raise};

use super::Supervisor;
use crate::lifecycle::fault::{EntrypointEnd, Faults, HandlerFault};
use crate::lifecycle::model::Hook;
use crate::lifecycle::notice::Notice;
use crate::lifecycle::outcome::Exit;
use crate::lifecycle::signal::Signal;
use crate::lifecycle::time::Instant;

/// The faults of one container, with their times once these are known.
#[derive(Default)]
pub struct Armed {
    faults: Faults,
    entrypoint_at: Option<Instant>,
    supervisor_at: Option<Instant>,
    /// The ENTRYPOINT was killed by us, and this is how its end counts.
    struck: Option<EntrypointEnd>,
}

impl Armed {
    pub fn of(faults: Faults) -> Armed {
        Armed { faults, ..Armed::default() }
    }

    /// The ENTRYPOINT was executed: the times count from now.
    pub fn begin(&mut self, now: Instant) {
        self.entrypoint_at = self.faults.entrypoint.map(|fault| now + fault.after);
        self.supervisor_at = self.faults.supervisor_killed_after.map(|after| now + after);
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.entrypoint_at.into_iter().chain(self.supervisor_at).min()
    }

    pub fn of_handler(&self, hook: Hook) -> Option<HandlerFault> {
        self.faults.handlers.get(&hook).copied()
    }

    /// Whether this signal is lost on its way to the ENTRYPOINT.
    pub fn loses(&self, signal: Signal, stop_signal: Signal) -> bool {
        self.faults.stop_signal_ignored && signal == stop_signal && signal != Signal::KILL
    }

    /// How the end of the ENTRYPOINT counts.
    pub fn judge(&self, exit: Exit) -> Exit {
        match self.struck {
            Some(end) if exit.signal == Some(Signal::KILL) => match end {
                EntrypointEnd::Exit(code) => Exit { code: Some(code.into()), signal: None, oom: false },
                EntrypointEnd::Oom => Exit { oom: true, ..exit },
            },
            _ => exit,
        }
    }
}

impl Supervisor {
    /// Does what is due.
    pub(super) fn strike(&mut self, now: Instant) {
        if self.faults.entrypoint_at.is_some_and(|at| at <= now) {
            self.faults.entrypoint_at = None;
            self.faults.struck = self.faults.faults.entrypoint.map(|fault| fault.end);
            let what = match self.faults.struck {
                Some(EntrypointEnd::Exit(code)) => format!("the ENTRYPOINT is ended with exit code {code}"),
                _ => "the ENTRYPOINT is ended as by the OOM killer".to_owned(),
            };
            self.tell(Notice::normal("FaultInjected", what));
            // One that is gone is about to be heard, with an end of its own.
            self.init.iter().for_each(|init| drop(super::signal_through(init.pidfd.as_fd(), Signal::KILL)));
        }
        if self.faults.supervisor_at.is_some_and(|at| at <= now) {
            self.tell(Notice::normal("FaultInjected", "the supervisor is killed"));
            // Nothing is put in order: that is the point.
            let _ = raise(Nix::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lifecycle::fault::EntrypointFault;

    fn armed(end: EntrypointEnd) -> Armed {
        let entrypoint = Some(EntrypointFault { end, after: Duration::from_secs(1) });
        Armed::of(Faults { entrypoint, ..Faults::default() })
    }

    #[test]
    fn times_count_from_the_execution_of_the_entrypoint() {
        let mut armed = armed(EntrypointEnd::Oom);
        assert_eq!(armed.deadline(), None);
        armed.begin(Instant(5));
        assert_eq!(armed.deadline(), Some(Instant(1_000_000_005)));
    }

    #[test]
    fn an_end_counts_as_the_fault_says_only_if_the_fault_was_what_ended_it() {
        let killed = Exit { code: Some(137), signal: Some(Signal::KILL), oom: false };
        let own = Exit { code: Some(0), signal: None, oom: false };
        let mut armed = armed(EntrypointEnd::Exit(3));
        assert_eq!(armed.judge(killed), killed);
        armed.struck = Some(EntrypointEnd::Exit(3));
        assert_eq!(armed.judge(killed), Exit { code: Some(3), signal: None, oom: false });
        assert_eq!(armed.judge(own), own);
        armed.struck = Some(EntrypointEnd::Oom);
        assert_eq!(armed.judge(killed), Exit { oom: true, ..killed });
    }

    #[test]
    fn only_the_stop_signal_is_lost_and_never_sigkill() {
        let armed = Armed::of(Faults { stop_signal_ignored: true, ..Faults::default() });
        assert!(armed.loses(Signal::TERM, Signal::TERM));
        assert!(!armed.loses(Signal::HUP, Signal::TERM));
        assert!(!armed.loses(Signal::KILL, Signal::KILL));
    }
}
