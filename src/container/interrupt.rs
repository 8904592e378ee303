//! ^C, and what else ends a verb from outside, while it makes a container.

use std::cell::Cell;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::linux::signals;

/// A signal came before the container was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted(pub Signal);

impl std::error::Error for Interrupted {}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted by {}", self.0)
    }
}

/// While this lives, what a person or a caller sends to end us waits, so that nothing half made is left behind: who makes a
/// container waits with `await_readable`, and asks `check` before it keeps it.
pub struct HeldSignals {
    descriptor: SignalFd,
    /// What was blocked before; None where that is another's concern.
    before: Option<SigSet>,
    /// The first that was read.
    came: Cell<Option<Signal>>,
}

impl HeldSignals {
    /// Without those that our caller has had us ignore (nohup(1), the `&` of a script) or has blocked: blocked by us too they would
    /// be queued, and end us all the same.
    pub fn begin() -> Result<HeldSignals> {
        HeldSignals::without(SigSet::thread_get_mask().context("read the signal mask")?)
    }

    /// The same for a process that has blocked them itself, to read them.
    pub fn begin_among_blocked() -> Result<HeldSignals> {
        HeldSignals::without(SigSet::empty())
    }

    fn without(spared: SigSet) -> Result<HeldSignals> {
        let mut held = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
            if !spared.contains(signal) && !signals::is_ignored(signal).context("read a signal's action")? {
                held.add(signal);
            }
        }
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&held), Some(&mut before)).context("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let descriptor = SignalFd::with_flags(&held, flags).context("make a signal descriptor")?;
        Ok(HeldSignals { descriptor, before: Some(before), came: Cell::new(None) })
    }

    /// From here on a supervisor reads them, those that have come included; whoever is first.
    pub fn leave_blocked(mut self) -> HeldSignals {
        self.before = None;
        self
    }

    /// The signal that was the first to come, as far as `check` and `await_readable` have seen.
    pub fn came(&self) -> Option<Signal> {
        self.came.get()
    }

    /// An error, `Interrupted`, if one of them has come.
    pub fn check(&self) -> Result<()> {
        if self.came.get().is_none()
            && let Ok(Some(read)) = self.descriptor.read_signal()
        {
            self.came.set(Signal::try_from(read.ssi_signo as i32).ok());
        }
        match self.came.get() {
            Some(signal) => bail!(Interrupted(signal)),
            None => Ok(()),
        }
    }

    /// Waits until a descriptor can be read or is closed at its other end. `Interrupted` where a signal is first.
    pub fn await_readable(&self, fd: BorrowedFd<'_>) -> Result<()> {
        loop {
            self.check()?;
            let mut both =
                [PollFd::new(fd, PollFlags::POLLIN), PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
            match poll(&mut both, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno).context("poll"),
            }
            if both[0].any().unwrap_or(true) {
                return self.check();
            }
        }
    }
}

impl AsFd for HeldSignals {
    /// Readable when one has come that `check` has not read. It reads no more than the first.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // Whoever asks twice asks for nothing else: what ends us is told, and not by the kernel.
        while self.came.get().is_some() && matches!(self.descriptor.read_signal(), Ok(Some(_))) {}
        if let Some(before) = &self.before {
            // Only a bad argument can fail.
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(before), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_after_a_signal_was_read_is_told_of_it_all_the_same() {
        let held = HeldSignals::begin().unwrap();
        assert!(held.check().is_ok());
        nix::sys::signal::raise(Signal::SIGHUP).unwrap(); // to this thread alone
        assert!(held.check().is_err());
        let (never, _other) = crate::linux::fork::pipe().unwrap();
        let error = held.await_readable(never.as_fd()).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Interrupted(Signal::SIGHUP)));
    }
}
