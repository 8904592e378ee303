//! What the verbs and a container's supervisor say to each other.
//!
//! ```text
//!   verb                                 supervisor
//!     | ------------ start ------------>  |
//!     | <------- ok | error TEXT -------- |   at `Running`, or once the start has failed and the ENTRYPOINT is gone
//!     | -------- stop [SECONDS] ------->  |
//!     | ---- start again, stop again ---->  |   of one whose supervisor was lost while it waited (S-28)
//!     | <-------------- ok -------------- |   at `Stopped`
//!     | -- kill NUMBER [all] [raw] ---->  |
//!     | <------- ok | error TEXT -------- |   at once
//!     | -------- delete [force] ------->  |
//!     | <------- ok | error TEXT -------- |   once the container is removed; the supervisor ends
//!     | ------------ wait ------------->  |
//!     | <--- exit CODE | exit unknown --- |   at `Stopped`
//!     | <----------- (closed) ----------- |   without an answer: the supervisor has ended; look at the state directory
//! ```
//!
//! One message is one record of a SOCK_SEQPACKET connection, in ASCII but for error texts. A verb sends one request and
//! reads one answer.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt, listen, recv, send,
    socket, sockopt,
};

use crate::lifecycle::signal::Signal;

/// The longest message; an error text is cut to it.
pub const MESSAGE_MAX: usize = 16 * 1024;

/// The socket's name in the state directory.
pub const NAME: &str = "control.sock";

/// What a verb asks of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Start,
    Stop {
        grace_seconds: Option<u64>,
    },
    /// The same from a verb whose supervisor was lost while it waited (S-28).
    StartAgain,
    StopAgain {
        grace_seconds: Option<u64>,
    },
    Kill {
        signal: Signal,
        all: bool,
        raw: bool,
    },
    Delete {
        force: bool,
    },
    Wait,
}

impl Request {
    /// What to ask of the successor of a supervisor that was lost with its answer.
    pub fn again(self) -> Request {
        match self {
            Request::Start => Request::StartAgain,
            Request::Stop { grace_seconds } => Request::StopAgain { grace_seconds },
            other => other,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |set: &bool, word: &'static str| if *set { word } else { "" };
        match self {
            Request::Start => write!(f, "start"),
            Request::Stop { grace_seconds: None } => write!(f, "stop"),
            Request::Stop { grace_seconds: Some(seconds) } => write!(f, "stop {seconds}"),
            Request::StartAgain => write!(f, "start again"),
            Request::StopAgain { grace_seconds: None } => write!(f, "stop again"),
            Request::StopAgain { grace_seconds: Some(seconds) } => write!(f, "stop again {seconds}"),
            Request::Kill { signal, all, raw } => {
                write!(f, "kill {}{}{}", signal.number(), word(all, " all"), word(raw, " raw"))
            }
            Request::Delete { force } => write!(f, "delete{}", word(force, " force")),
            Request::Wait => write!(f, "wait"),
        }
    }
}

impl FromStr for Request {
    type Err = String;

    fn from_str(text: &str) -> Result<Request, String> {
        let words: Vec<&str> = text.split(' ').collect();
        let unknown = || format!("unknown request {text:?}");
        let number = |word: &str| word.parse::<u64>().map_err(|_| unknown());
        match words.as_slice() {
            ["start"] => Ok(Request::Start),
            ["stop"] => Ok(Request::Stop { grace_seconds: None }),
            ["start", "again"] => Ok(Request::StartAgain),
            ["stop", "again"] => Ok(Request::StopAgain { grace_seconds: None }),
            ["stop", "again", seconds] => Ok(Request::StopAgain { grace_seconds: Some(number(seconds)?) }),
            ["stop", seconds] => Ok(Request::Stop { grace_seconds: Some(number(seconds)?) }),
            ["kill", signal, flags @ ..] if flags.iter().all(|flag| ["all", "raw"].contains(flag)) => {
                let signal = signal.parse().ok().and_then(Signal::from_number).ok_or_else(unknown)?;
                Ok(Request::Kill { signal, all: flags.contains(&"all"), raw: flags.contains(&"raw") })
            }
            ["delete"] => Ok(Request::Delete { force: false }),
            ["delete", "force"] => Ok(Request::Delete { force: true }),
            ["wait"] => Ok(Request::Wait),
            _ => Err(unknown()),
        }
    }
}

/// What the supervisor answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Ok,
    Error(String),
    /// The container's exit code as `wait` sees it; None where it cannot be known.
    Exit(Option<i32>),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Ok => write!(f, "ok"),
            Answer::Error(text) => write!(f, "error {text}"),
            Answer::Exit(Some(code)) => write!(f, "exit {code}"),
            Answer::Exit(None) => write!(f, "exit unknown"),
        }
    }
}

impl FromStr for Answer {
    type Err = String;

    fn from_str(text: &str) -> Result<Answer, String> {
        match text.split_once(' ') {
            None if text == "ok" => Ok(Answer::Ok),
            Some(("error", text)) => Ok(Answer::Error(text.to_owned())),
            Some(("exit", "unknown")) => Ok(Answer::Exit(None)),
            Some(("exit", code)) => {
                code.parse().map(|code| Answer::Exit(Some(code))).map_err(|_| format!("unknown answer {text:?}"))
            }
            _ => Err(format!("unknown answer {text:?}")),
        }
    }
}

/// Makes the socket at which the supervisor of a container listens. The state directory is private (0700).
pub fn listen_in(dir: BorrowedFd) -> Result<OwnedFd> {
    let listener = seqpacket(SockFlag::SOCK_NONBLOCK)?;
    // The mode of the file is that of the socket at the time of bind (S17).
    nix::sys::stat::fchmod(&listener, nix::sys::stat::Mode::from_bits_truncate(0o600)).context("chmod control.sock")?;
    bind(listener.as_raw_fd(), &address(dir)?).context("bind control.sock in the state directory")?;
    listen(&listener, Backlog::MAXCONN).context("listen on control.sock")?;
    Ok(listener)
}

/// Takes a connection, if one waits; one of another user is closed unheard (threats.md S17).
pub fn accept_from(listener: BorrowedFd) -> io::Result<Option<OwnedFd>> {
    let fd = match accept4(listener, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK) {
        Ok(fd) => fd,
        Err(nix::Error::EAGAIN | nix::Error::ECONNABORTED | nix::Error::EINTR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let peer = getsockopt(&fd, sockopt::PeerCredentials)?;
    let own = nix::unistd::geteuid().as_raw();
    Ok((peer.uid() == own || peer.uid() == 0).then_some(fd))
}

/// None when no supervisor listens.
fn connect_in(dir: BorrowedFd) -> Result<Option<OwnedFd>> {
    let socket = seqpacket(SockFlag::empty())?;
    match nix::sys::socket::connect(socket.as_raw_fd(), &address(dir)?) {
        Ok(()) => Ok(Some(socket)),
        Err(nix::Error::ENOENT | nix::Error::ECONNREFUSED) => Ok(None),
        Err(error) => Err(error).context("connect to control.sock in the state directory"),
    }
}

/// Sends one request and waits for its answer; None when the supervisor has ended without one.
pub fn ask(connection: &OwnedFd, request: Request) -> Result<Option<Answer>> {
    send_request(connection, request)?;
    read_answer(connection)
}

/// Sends one request. A supervisor that has ended shows when the answer is read.
pub fn send_request(connection: &OwnedFd, request: Request) -> Result<()> {
    match send(connection.as_raw_fd(), request.to_string().as_bytes(), MsgFlags::MSG_NOSIGNAL) {
        Ok(_) | Err(nix::Error::EPIPE | nix::Error::ECONNRESET) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("send {request} to the supervisor")),
    }
}

/// Waits for the answer; None when the supervisor has ended without one.
pub fn read_answer(connection: &OwnedFd) -> Result<Option<Answer>> {
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        match recv(connection.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(0) | Err(nix::Error::ECONNRESET) => return Ok(None),
            Ok(length) => {
                let text = String::from_utf8_lossy(&buffer[..length]);
                return text.parse().map(Some).map_err(anyhow::Error::msg);
            }
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).context("read the supervisor's answer"),
        }
    }
}

/// The request that has arrived on a connection.
pub enum Heard {
    Nothing,
    Request(Request),
    Nonsense(String),
    Closed,
}

pub fn hear(connection: BorrowedFd) -> Heard {
    let mut buffer = [0; 128];
    match recv(connection.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => Heard::Closed,
        Ok(length) => {
            match std::str::from_utf8(&buffer[..length]).map_err(|_| "not text".to_owned()).and_then(str::parse) {
                Ok(request) => Heard::Request(request),
                Err(why) => Heard::Nonsense(why),
            }
        }
        Err(nix::Error::EAGAIN | nix::Error::EINTR) => Heard::Nothing,
        Err(_) => Heard::Closed,
    }
}

/// Answers, without ever waiting for a peer that does not read.
pub fn answer(connection: BorrowedFd, answer: &Answer) {
    let mut text = answer.to_string();
    let mut end = text.len().min(MESSAGE_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    // A verb that was killed while it waited is no concern of the container's.
    let _ = send(connection.as_raw_fd(), text.as_bytes(), MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
}

/// Connects to the supervisor of the container whose state directory is `dir`; None when there is none.
pub fn connect(dir: &Path) -> Result<Option<OwnedFd>> {
    let handle = crate::linux::fd::open_path(dir).with_context(|| format!("open {}", dir.display()))?;
    connect_in(handle.as_fd())
}

/// Whether a supervisor listens, which then takes it that somebody came and said nothing.
pub fn is_there(dir: &Path) -> bool {
    connect(dir).is_ok_and(|connection| connection.is_some())
}

/// Asks the supervisor of the container whose state directory is `dir`; None when there is none, or it has ended without
/// an answer.
pub fn ask_in(dir: &Path, request: Request) -> Result<Option<Answer>> {
    match connect(dir)? {
        Some(connection) => ask(&connection, request),
        None => Ok(None),
    }
}

/// The socket's address goes through the directory's descriptor: a long root passes the 108 bytes of an address.
fn address(dir: BorrowedFd) -> Result<UnixAddr> {
    let path = format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd());
    UnixAddr::new(path.as_str()).context("name control.sock")
}

fn seqpacket(flags: SockFlag) -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | flags, None).context("make a socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_reads_back_as_it_was_written() {
        let requests = [
            Request::Start,
            Request::Stop { grace_seconds: None },
            Request::Stop { grace_seconds: Some(0) },
            Request::StartAgain,
            Request::StopAgain { grace_seconds: None },
            Request::StopAgain { grace_seconds: Some(7) },
            Request::Kill { signal: Signal::TERM, all: false, raw: false },
            Request::Kill { signal: Signal::KILL, all: true, raw: true },
            Request::Delete { force: true },
            Request::Delete { force: false },
            Request::Wait,
        ];
        for request in requests {
            assert_eq!(request.to_string().parse(), Ok(request));
        }
    }

    #[test]
    fn nonsense_is_no_request() {
        for text in ["", "stop x", "stop -1", "kill", "kill 0", "kill 65", "kill 15 ALL", "delete now", "start now"] {
            assert!(text.parse::<Request>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_answer_reads_back_as_it_was_written() {
        let answers = [Answer::Ok, Answer::Error("a b".into()), Answer::Exit(Some(143)), Answer::Exit(None)];
        for answer in answers {
            assert_eq!(answer.to_string().parse(), Ok(answer));
        }
    }
}
