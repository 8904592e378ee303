//! What `start` and the waiting init say to each other, over `start.sock` in the state directory.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};

use super::interrupt::HeldSignals;
use super::link::{self, Failure, Message};
use super::state::{State, Status};
use crate::lifecycle::signal::Signal;
use crate::linux::fd;

/// The name of the socket while init is being set up, and from `created` on.
pub(super) const SETTING_UP: &str = "start.new";
pub(super) const READY: &str = "start.sock";

/// Why the program was not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    pub message: String,
    /// 127 where the program was not found, 126 otherwise (P-01).
    pub code: i32,
}

impl std::error::Error for StartError {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> StartError {
        StartError { message: failure.message, code: failure.code }
    }
}

/// Tells the waiting init to execute its program, and waits until it has: a `StartError` if it cannot. What is held ends the
/// wait.
pub fn start(state: &State, dir: &Path, held: Option<&HeldSignals>) -> Result<()> {
    let Some(mut word) = Word::give(dir)? else {
        bail!(failed(match state.status(dir) {
            Status::Running => "cannot start an already running container".to_owned(),
            Status::Stopped => "cannot start a container that has stopped".to_owned(),
            found => format!("cannot start a container in the {found} state"),
        }));
    };
    loop {
        held.map_or(Ok(()), |held| held.await_readable(word.as_fd()))?;
        match word.hear() {
            None => {}
            Some(Heard::Executed) => return Ok(()),
            Some(Heard::Failed(error)) => bail!(error),
            Some(Heard::Gone) => bail!(Heard::nothing()),
        }
    }
}

fn failed(message: String) -> StartError {
    StartError { message, code: 126 }
}

/// What became of the word.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Executed,
    /// By init's own account, so that nothing else needs to be asked.
    Failed(StartError),
    /// Init closed the connection and said nothing: it was killed, or another `start` was first and it has executed its program.
    Gone,
}

impl Heard {
    /// Of a connection that was closed without a word, where nobody else gave one.
    pub fn nothing() -> StartError {
        failed("init ended before it executed its program".to_owned())
    }

    /// The same, where a signal had been passed on to init.
    pub fn interrupted(signal: Signal) -> StartError {
        let message = format!("interrupted by {signal}: the program was not executed");
        StartError { message, code: 128 + signal.number() }
    }
}

/// The word to execute the program, once it was given.
///
/// ```text
///   start                     init
///     |  ------- connect -------> |   (closed without a word: asked only whether it waits)
///     |  -------- Start --------> |
///     |  <------ Executing -------|   the last word before execve
///     |  <------- (closed) -------|   after Executing: execve succeeded, or an exit that the pidfd tells
///     |  <------- Failed(..) -----|   execve failed; init ends with the code
/// ```
pub struct Word {
    link: OwnedFd,
    /// The name of the socket, for the time after.
    name: PathBuf,
    executing: bool,
}

impl Word {
    /// Gives it; None where init does not wait for it.
    pub fn give(dir: &Path) -> std::result::Result<Option<Word>, StartError> {
        let name = dir.join(READY);
        let link = match reach(dir, READY) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ECONNREFUSED)) => return Ok(None),
            link => link.map_err(|error| failed(format!("connect {}: {error}", name.display())))?,
        };
        Word::over(link, name).map(Some)
    }

    fn over(link: OwnedFd, name: PathBuf) -> std::result::Result<Word, StartError> {
        match link::send(link.as_fd(), &Message::Start, None) {
            // Init is gone since we connected: that is what will be heard.
            Err(error) if link::is_gone(&error) => {}
            sent => sent.map_err(|error| failed(format!("tell init to start: {error:#}")))?,
        }
        Ok(Word { link, name, executing: false })
    }

    /// Waits for one thing that init says; what came of it, once that is known.
    pub fn hear(&mut self) -> Option<Heard> {
        let heard = match link::receive(self.link.as_fd()) {
            Ok(heard) => heard.map(|(message, _)| message),
            Err(error) => return Some(Heard::Failed(failed(format!("hear from init: {error:#}")))),
        };
        Some(match (heard, self.executing) {
            (Some(Message::Executing), false) => {
                self.executing = true;
                return None;
            }
            (None, true) => {
                // The listening end was closed by execve, so what is left is only the name. Another may have been first.
                let _ = fs::remove_file(&self.name);
                Heard::Executed
            }
            (None, false) => Heard::Gone,
            (Some(Message::Failed(failure)), _) => Heard::Failed(failure.into()),
            (Some(other), false) => Heard::Failed(failed(format!("init said {other:?}, expected Executing"))),
            (Some(other), true) => Heard::Failed(failed(format!("init said {other:?} after Executing"))),
        })
    }
}

impl AsFd for Word {
    /// Readable when `hear` does not wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

/// Whether init waits for `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    NotYet,
    Yes,
    NoMore,
}

/// Asks the socket itself, since whoever should have removed its name may have been killed.
pub fn waits(dir: &Path) -> Waiting {
    // The older name first: the other may take its place between the two looks.
    let setting_up = dir.join(SETTING_UP).exists();
    match reach(dir, READY) {
        Ok(_) => Waiting::Yes,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) && setting_up => Waiting::NotYet,
        // A full queue: somebody is there.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Waiting::Yes,
        Err(_) => Waiting::NoMore,
    }
}

/// Binds the socket under the name of a container that is being set up; only its owner can connect (S17).
pub(super) fn listen_in(dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let socket = new_socket(SockFlag::empty())?;
    // The mode of the file is that of the socket at the time of bind.
    nix::sys::stat::fchmod(&socket, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
    bind(socket.as_raw_fd(), &address(dir, SETTING_UP)?)?;
    listen(&socket, Backlog::new(16).unwrap_or(Backlog::MAXALLOWABLE))?;
    Ok(socket)
}

/// Asks the waiting init for its namespaces, which it sends one by one before it closes the connection.
///
/// While it waits it is not dumpable (S24), and its memory counts as the initial user namespace's: only root of that may
/// open them in /proc.
pub(super) fn ask_namespaces(dir: &Path) -> Result<Vec<(CloneFlags, OwnedFd)>> {
    let link = reach(dir, READY).context("connect start.sock")?;
    link::send(link.as_fd(), &Message::Namespaces, None)?;
    let mut namespaces = Vec::new();
    loop {
        match link::receive(link.as_fd())? {
            Some((Message::Namespace { kind }, Some(namespace))) => {
                namespaces.push((CloneFlags::from_bits_retain(kind), namespace));
            }
            None => return Ok(namespaces),
            Some((other, _)) => bail!("init said {other:?}, expected Namespace"),
        }
    }
}

fn reach(dir: &Path, name: &str) -> io::Result<OwnedFd> {
    let dir = fd::open_path(dir)?;
    let socket = new_socket(SockFlag::SOCK_NONBLOCK)?;
    match connect(socket.as_raw_fd(), &address(dir.as_fd(), name)?) {
        Ok(()) => {}
        Err(Errno::EAGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
        Err(errno) => return Err(errno.into()),
    }
    fd::set_blocking(socket.as_fd())?;
    Ok(socket)
}

fn new_socket(flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | flags, None)?)
}

/// Long roots pass the 108 bytes of a socket address this way.
fn address(dir: BorrowedFd<'_>, name: &str) -> io::Result<UnixAddr> {
    Ok(UnixAddr::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()).as_str())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_that_is_gone_before_it_is_told_is_heard_of_as_gone() {
        let (ours, theirs) = link::pair().unwrap();
        drop(theirs);
        let mut word = Word::over(ours, PathBuf::from("/nowhere")).unwrap();
        assert_eq!(word.hear(), Some(Heard::Gone));
    }
}
