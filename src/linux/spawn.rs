//! std's `Command`, with descriptors at fixed numbers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::{getpid, getppid};

use super::fd;
use super::process::set_parent_death_signal;

/// Gives the child of `command` each descriptor at a number of its own (3 or above). Everything else of ours is
/// close-on-exec.
pub fn pass_fds(command: &mut Command, passed: &[(BorrowedFd<'_>, RawFd)]) -> io::Result<()> {
    let above = passed.iter().map(|(_, at)| *at).max().unwrap_or(2) + 1;
    // Copies above all targets, so that no dup2 overwrites a source that is still needed. The closure owns them.
    let copies = passed.iter().map(|(source, at)| {
        let copy = rustix::io::fcntl_dupfd_cloexec(source, above)?;
        Ok((copy, *at))
    });
    let copies: Vec<(OwnedFd, RawFd)> = copies.collect::<io::Result<_>>()?;
    let place = move || copies.iter().try_for_each(|(copy, at)| fd::put_at(copy.as_fd(), *at));
    // SAFETY: between fork and exec the closure only calls dup2 on descriptors above that it owns; it allocates nothing.
    unsafe { command.pre_exec(place) };
    Ok(())
}

/// Gives the child an empty signal mask, whatever is blocked in us while we make a container.
pub fn unblock_signals(command: &mut Command) {
    let unblock = || Ok(nix::sys::signal::SigSet::empty().thread_set_mask()?);
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(unblock) };
}

/// The child is killed when we end. Only for a process of one thread, which has to be the one that spawns it.
pub fn die_with_us(command: &mut Command) {
    let ourselves = getpid();
    let follow = move || {
        set_parent_death_signal(libc::SIGKILL)?;
        // We may have ended before that.
        if getppid() == ourselves { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(follow) };
}

/// Gives the child the three standard streams and nothing else, whatever our own caller has left open for us.
pub fn pass_nothing(command: &mut Command) {
    // SAFETY: between fork and exec the closure marks descriptors. Who spawns has one thread, so that it may allocate for that.
    unsafe { command.pre_exec(|| fd::close_on_exec_from(3)) };
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn descriptors_arrive_at_their_numbers_even_crosswise() {
        let (mut from_a, a) = std::io::pipe().unwrap();
        let (mut from_b, b) = std::io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo first >&\"$0\"; echo second >&\"$1\""]);
        command.args([b.as_raw_fd().to_string(), a.as_raw_fd().to_string()]);
        pass_fds(&mut command, &[(a.as_fd(), b.as_raw_fd()), (b.as_fd(), a.as_raw_fd())]).unwrap();
        assert!(command.status().unwrap().success());
        drop((a, b, command));
        let (mut got_a, mut got_b) = (String::new(), String::new());
        from_a.read_to_string(&mut got_a).unwrap();
        from_b.read_to_string(&mut got_b).unwrap();
        assert_eq!((got_a.as_str(), got_b.as_str()), ("first\n", "second\n"));
    }
}
