//! The link between `create` and the init process, and between `exec` and the process it made.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

/// What `create` and the init process say to each other.
///
/// ```text
///   create                      init
///     |  <------- MapIds ---------|   needs uid_map and gid_map
///     |  -------- Mapped -------> |   with its pid as `create` sees it
///     |  ------- Admitted ------> |   it is in its cgroup; made its mounts meanwhile
///     |  <------ RunHooks --------|   prestart and createRuntime, before pivot_root
///     |  ------- HooksRun ------> |
///     |  <------ Terminal --------|   with the master of its terminal, where it has one
///     |  <------ Seccomp ---------|   with the descriptor of the seccomp agent, where it has one
///     |  <------- Ready ----------|   `created`
///     |  <------- Failed(..) -----|   at any point; init ends with the code
/// ```
///
/// End of file tells init that `create` died: it ends. End of file tells `create` that init died. What verbs say to the
/// waiting init is in `start.rs`. A process of `exec` says `Terminal`, then closes the link by execve, or `Failed`; the helper that
/// cloned either of them says `Cloned`.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    MapIds,
    Mapped {
        pid: i32,
    },
    Admitted,
    RunHooks,
    HooksRun,
    Terminal,
    /// With the descriptor on which the seccomp agent is asked.
    Seccomp,
    Ready,
    Start,
    Executing,
    /// Asks the waiting init for its namespaces.
    Namespaces,
    /// One of them: its `CLONE_NEW*` flag, with the descriptor.
    Namespace {
        kind: i32,
    },
    Cloned {
        pid: i32,
    },
    Warning(String),
    Failed(Failure),
}

/// Why a process could not be set up or its program not be executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub message: String,
    /// What the process ends with: 127 where the program was not found, 126 where it could not be executed, 125 where it
    /// never came to that.
    pub code: i32,
}

impl std::error::Error for Failure {}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    /// The failure that an error carries, or one of its words with code 125.
    pub fn of(error: &anyhow::Error) -> Failure {
        match error.downcast_ref::<Failure>() {
            Some(failure) => failure.clone(),
            None => Failure { message: format!("{error:#}"), code: 125 },
        }
    }
}

/// Longest message that is sent or taken.
const LONGEST: usize = 64 << 10;

/// A new link: both ends close-on-exec.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).context("socketpair")
}

/// Sends one message, with at most one descriptor. EPIPE (never SIGPIPE) when the other end is gone.
pub fn send(link: BorrowedFd<'_>, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut bytes = serde_json::to_vec(message).context("serialize a message")?;
    if bytes.len() > LONGEST
        && let Message::Failed(failure) = message
    {
        // JSON spends at most six bytes on one.
        let message = failure.message.chars().take(LONGEST / 8).collect();
        let shorter = Failure { message, code: failure.code };
        bytes = serde_json::to_vec(&Message::Failed(shorter)).context("serialize a message")?;
    }
    send_bytes(link, &bytes, descriptor).with_context(|| format!("send {message:?}"))
}

/// Whether a `send` failed since the other end is gone. What that said last can still be received.
pub fn is_gone(error: &anyhow::Error) -> bool {
    let errno = error.downcast_ref().and_then(std::io::Error::raw_os_error);
    matches!(errno, Some(libc::EPIPE | libc::ECONNRESET))
}

/// One message over a socket, with a descriptor.
pub fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd> = descriptor.into_iter().collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let parts = [IoSlice::new(bytes)];
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Waits for one message; None when the other end is closed.
pub fn receive(link: BorrowedFd<'_>) -> Result<Option<(Message, Option<OwnedFd>)>> {
    // Almost all are short. Room for the longest would be a page fault for every 4 KiB, in each process anew.
    let peek = || rustix::net::recv(link, &mut [0_u8; 0][..], RecvFlags::PEEK | RecvFlags::TRUNC);
    let length = match rustix::io::retry_on_intr(peek) {
        // What a peer that died with unread words of ours leaves behind, once: its last words come after it.
        Err(rustix::io::Errno::CONNRESET) => rustix::io::retry_on_intr(peek),
        length => length,
    };
    let length = length.context("receive")?.1;
    if length > LONGEST {
        bail!("a message of {length} bytes is longer than {LONGEST}");
    }
    let mut bytes = vec![0; length];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut read = || {
        rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(link.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        })
    };
    let got = match read() {
        Err(rustix::io::Errno::CONNRESET) => read(), // it died just now
        got => got,
    };
    let got = match got {
        Ok(got) if got.bytes == 0 => return Ok(None),
        got => got.context("receive")?,
    };
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let message = serde_json::from_slice(&bytes[..got.bytes]).context("parse a message")?;
    Ok(Some((message, descriptor)))
}

/// Asks for something and waits for the answer, which must be of the kind of `answer`.
pub fn request(link: BorrowedFd<'_>, question: &Message, answer: &Message) -> Result<Message> {
    send(link, question, None)?;
    expect(link, answer)
}

/// Waits for a message of the kind of `expected`.
pub fn expect(link: BorrowedFd<'_>, expected: &Message) -> Result<Message> {
    match receive(link)? {
        Some((message, _)) if std::mem::discriminant(&message) == std::mem::discriminant(expected) => Ok(message),
        Some((message, _)) => bail!("expected {expected:?}, received {message:?}"),
        None => bail!("the process that asked for this one is gone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_and_its_descriptor_arrive_whole() {
        let (ours, theirs) = pair().unwrap();
        send(ours.as_fd(), &Message::Terminal, Some(ours.as_fd())).unwrap();
        send(ours.as_fd(), &Message::Cloned { pid: 7 }, None).unwrap();
        let long = "x".repeat(LONGEST / 2);
        send(ours.as_fd(), &Message::Warning(long.clone()), None).unwrap();
        assert!(matches!(receive(theirs.as_fd()).unwrap(), Some((Message::Terminal, Some(_)))));
        assert!(matches!(receive(theirs.as_fd()).unwrap(), Some((Message::Cloned { pid: 7 }, None))));
        assert!(matches!(receive(theirs.as_fd()).unwrap(), Some((Message::Warning(text), None)) if text == long));
        drop(ours);
        assert!(receive(theirs.as_fd()).unwrap().is_none());
    }

    #[test]
    fn a_failure_of_any_length_arrives() {
        let (ours, theirs) = pair().unwrap();
        let failure = Failure { message: "é".repeat(LONGEST), code: 127 };
        send(ours.as_fd(), &Message::Failed(failure), None).unwrap();
        match receive(theirs.as_fd()).unwrap() {
            Some((Message::Failed(failure), None)) => assert!(failure.code == 127 && failure.message.len() > 1000),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_word_of_a_peer_that_died_with_unread_words_of_ours_arrives() {
        let (ours, theirs) = pair().unwrap();
        send(ours.as_fd(), &Message::Admitted, None).unwrap();
        send(theirs.as_fd(), &Message::Failed(Failure { message: "why".to_owned(), code: 1 }), None).unwrap();
        drop(theirs);
        assert!(
            matches!(receive(ours.as_fd()).unwrap(), Some((Message::Failed(failure), None)) if failure.message == "why")
        );
        assert!(receive(ours.as_fd()).unwrap().is_none());
    }

    #[test]
    fn a_message_out_of_order_is_an_error_that_names_both() {
        let (ours, theirs) = pair().unwrap();
        send(theirs.as_fd(), &Message::HooksRun, None).unwrap();
        let error = request(ours.as_fd(), &Message::MapIds, &Message::Mapped { pid: 0 }).unwrap_err().to_string();
        assert_eq!(error, "expected Mapped { pid: 0 }, received HooksRun");
    }

    #[test]
    fn a_word_to_a_dead_peer_is_an_error_and_no_signal() {
        let (ours, theirs) = pair().unwrap();
        drop(theirs);
        assert!(is_gone(&send(ours.as_fd(), &Message::Ready, None).unwrap_err()));
    }
}
