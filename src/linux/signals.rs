//! Signal dispositions of a process between clone and execve.

use std::io;

use nix::sys::signal::{SigSet, Signal};

/// All but SIGKILL and SIGSTOP, which cannot be changed, and the two that the C library keeps for its threads.
fn changeable() -> impl Iterator<Item = i32> {
    (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP, 32, 33].contains(signal))
}

fn set(signal: i32, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction: no flags, an empty mask.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = action;
    // SAFETY: `new` outlives the call, and its handler is SIG_DFL or a function of the right type.
    if unsafe { libc::sigaction(signal, &raw const new, std::ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether it does nothing because somebody has said so; the default action is not meant, whatever that is.
pub fn is_ignored(signal: Signal) -> io::Result<bool> {
    // SAFETY: all-zero is a valid sigaction.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is set, and `now` outlives the call.
    if unsafe { libc::sigaction(signal as i32, std::ptr::null(), &raw mut now) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(now.sa_sigaction == libc::SIG_IGN)
}

/// Gives every signal its default action and blocks none, as a program expects to find them. What we or our caller ignored
/// (std ignores SIGPIPE) would stay ignored through execve.
pub fn reset() -> io::Result<()> {
    changeable().try_for_each(|signal| set(signal, libc::SIG_DFL))?;
    Ok(SigSet::empty().thread_set_mask()?)
}

/// From now on a signal that ends an ordinary process ends this one with 128+N, even where it is PID 1 of its namespace,
/// which the kernel protects from all signals that it does not handle (S-16). execve undoes it.
pub fn end_on_any() -> io::Result<()> {
    let spared =
        [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    let handler = end as extern "C" fn(i32);
    changeable().filter(|signal| !spared.contains(signal)).try_for_each(|signal| set(signal, handler as usize))
}

extern "C" fn end(signal: i32) {
    super::process::exit_now(128 + signal)
}
