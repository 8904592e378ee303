//! What the director of a rehearsal and the actor of one container say to each other: a line of JSON each.
//!
//! ```text
//!   director                    actor (`bookend act`)
//!     |  ----- Part, network ---->  |   the first line; read and checked by the director
//!     |  <---- Doing, Said -------  |   for people, at any time
//!     |  <---- Up ----------------  |   running, with its postStart done; not sent if it never is
//!     |  ----- Stop ------------->  |   stop it, unless it has ended by itself
//!     |  ----- Kill ------------->  |   at any time: SIGKILL, and the life goes on to its end; with SIGTERM to the actor
//!     |  <---- Over(..) ----------  |   the last word, when nothing of the container is left
//!     |  <---- Failed(..) --------  |   instead: the container could not be made, or its life not be followed
//! ```
//!
//! An actor whose director is gone (end of file) takes that for `Kill`.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::stage::Scene;
use crate::lifecycle::fault::Faults;
use crate::lifecycle::journal::Record;
use crate::lifecycle::model::{Hook, Plan};
use crate::lifecycle::pod::Role;
use crate::lifecycle::status::Status;
use crate::lifecycle::timeline::Output;

/// All that an actor needs to know of its container.
#[derive(Debug, Serialize, Deserialize)]
pub struct Part {
    pub id: String,
    pub role: Role,
    pub plan: Plan,
    pub faults: Faults,
    pub scene: Scene,
    pub grace: Option<u64>,
    pub run_for: Duration,
    pub exec: Option<String>,
    pub hook_log_dir: Option<PathBuf>,
    pub no_history: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    Stop,
    Kill,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Word {
    /// What takes its time now.
    Doing(String),
    /// What has happened.
    Said(String),
    Up,
    Over(Box<Act>),
    Failed {
        code: u8,
        error: String,
    },
}

/// What a life showed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Act {
    pub status: Status,
    pub records: Vec<Record>,
    /// As `wait` would give it (X-03).
    pub exit_code: Option<i32>,
    /// Of every hook that did not succeed.
    pub stories: Vec<Story>,
    /// What the hooks printed, the end of it.
    pub logs: Vec<Output>,
    /// The last lines that the ENTRYPOINT wrote.
    pub output: Vec<String>,
    /// Where something listened in the container's network just before the stop: `8080`, `9000 (loopback only)`. None where
    /// it had ended by then.
    pub listening: Option<Vec<String>>,
    pub has_shell: bool,
}

/// Why a hook did not succeed, for people (interface.md section 7).
#[derive(Debug, Serialize, Deserialize)]
pub struct Story {
    pub hook: Hook,
    pub entry: usize,
    pub text: String,
    /// What it wrote to stderr, its end.
    pub stderr: Vec<String>,
    /// The first line of its program, where that is a path of a file that is there; of a binary nothing.
    pub program: Option<String>,
}

/// Tells the other side. That nobody reads any more shows when the next line is read.
pub fn tell(to: &mut impl Write, what: &impl Serialize) {
    if let Ok(mut line) = serde_json::to_vec(what) {
        line.push(b'\n');
        let _ = to.write_all(&line).and_then(|()| to.flush());
    }
}

/// Whole lines from a descriptor, as they come.
pub struct Lines {
    fd: Option<OwnedFd>,
    heard: Vec<u8>,
    longest: usize,
}

impl Lines {
    /// Lines of our own processes.
    pub fn of(fd: OwnedFd) -> Result<Lines> {
        Lines::at_most(fd, usize::MAX)
    }

    /// Longer ones are cut into several.
    pub fn at_most(fd: OwnedFd, longest: usize) -> Result<Lines> {
        rustix::io::ioctl_fionbio(&fd, true).context("make a pipe non-blocking")?;
        Ok(Lines { fd: Some(fd), heard: Vec::new(), longest })
    }

    /// To wait on; None once the other end is closed.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// What has arrived. Never waits.
    pub fn read(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 16 * 1024];
        // Who writes without end must not keep us from everything else.
        for _ in 0..16 {
            let Some(fd) = &self.fd else { break };
            match nix::unistd::read(fd, &mut buffer) {
                Ok(0) => self.fd = None,
                Ok(length) => self.heard.extend_from_slice(&buffer[..length]),
                Err(nix::Error::EAGAIN) => break,
                Err(nix::Error::EINTR) => {}
                Err(_) => self.fd = None,
            }
        }
        let mut lines = Vec::new();
        let mut from = 0;
        loop {
            let rest = &self.heard[from..];
            let end = rest.iter().take(self.longest).position(|byte| *byte == b'\n');
            let (length, skip) = match end {
                Some(end) => (end, end + 1),
                None if rest.len() >= self.longest => (self.longest, self.longest),
                None if self.fd.is_none() && !rest.is_empty() => (rest.len(), rest.len()),
                None => break,
            };
            lines.push(rest[..length].to_vec());
            from += skip;
        }
        self.heard.drain(..from);
        lines
    }

    /// As `read`, each line as what it means; other lines are none of ours.
    pub fn words<T: for<'a> Deserialize<'a>>(&mut self) -> Vec<T> {
        self.read().iter().filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::fork;

    #[test]
    fn lines_come_whole_and_long_ones_in_parts() {
        let (ours, theirs) = fork::pipe().unwrap();
        let mut lines = Lines::at_most(ours, 4).unwrap();
        nix::unistd::write(&theirs, b"ab\ncd").unwrap();
        assert_eq!(lines.read(), [b"ab".to_vec()]);
        nix::unistd::write(&theirs, b"efgh\n\nx").unwrap();
        assert_eq!(lines.read(), [b"cdef".to_vec(), b"gh".to_vec(), b"".to_vec()]);
        drop(theirs);
        assert_eq!(lines.read(), [b"x".to_vec()]);
        assert!(lines.descriptor().is_none());
    }

    #[test]
    fn what_is_no_word_is_passed_over() {
        let (ours, theirs) = fork::pipe().unwrap();
        let mut lines = Lines::of(ours).unwrap();
        let mut file = std::fs::File::from(theirs);
        tell(&mut file, &Order::Stop);
        nix::unistd::write(&file, b"nonsense\n").unwrap();
        tell(&mut file, &Order::Kill);
        assert_eq!(lines.words::<Order>(), [Order::Stop, Order::Kill]);
    }
}
