//! The kernel's word that a container has run out of memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, PollFlags, eventfd};

use super::directory::{Directory, is_gone, read_all};
use super::{Cgroup, Version, v1};

/// Waits, as a descriptor, for a container to run out of memory.
pub struct OomWatch {
    /// v1: an eventfd that the kernel counts up. v2: `memory.events`.
    fd: OwnedFd,
    directory: Directory,
    version: Version,
    /// v2: the kills that were told.
    told: u64,
}

impl Cgroup {
    /// From now on; None where nothing limits the container's memory.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        let Some(hierarchy) = self.of_controller("memory") else { return Ok(None) };
        let context = || format!("watch the memory of {}", hierarchy.path.display());
        let directory = Directory::open(&hierarchy.path).with_context(context)?;
        let version = hierarchy.version;
        let fd = match version {
            Version::V1 => register(&directory).with_context(context)?,
            // A v2 tree without the controller has no such file.
            Version::V2 => match directory.file("memory.events") {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file.with_context(context)?,
            },
        };
        let mut watch = OomWatch { fd, directory, version, told: 0 };
        if version == Version::V2 {
            watch.told = watch.kills()?;
        }
        Ok(Some(watch))
    }

    /// How many processes of the cgroup, and of those below it, the kernel has killed for want of memory; 0 when that is
    /// unknown.
    pub fn oom_kills(&self) -> u64 {
        let Some(hierarchy) = self.of_controller("memory") else { return 0 };
        let Ok(directory) = Directory::open(&hierarchy.path) else { return 0 };
        match hierarchy.version {
            Version::V1 => v1::oom_kills(&directory),
            Version::V2 => oom_kills_in(&directory, "memory.events"),
        }
    }
}

/// The line `oom_kill N` of a file.
pub(super) fn oom_kills_in(directory: &Directory, file: &str) -> u64 {
    kills(&directory.read(file).unwrap_or_default())
}

fn kills(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// cgroup-v1/memory.rst, "OOM Control".
fn register(directory: &Directory) -> io::Result<OwnedFd> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let control = directory.file("memory.oom_control")?;
    directory.write("cgroup.event_control", &format!("{} {}", event.as_raw_fd(), control.as_raw_fd()))?;
    Ok(event)
}

impl OomWatch {
    /// To poll for `events`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub fn events(&self) -> PollFlags {
        match self.version {
            Version::V1 => PollFlags::IN,
            Version::V2 => PollFlags::PRI,
        }
    }

    /// Whether the container has run out of memory since this was asked last. Does not wait.
    pub fn happened(&mut self) -> Result<bool> {
        match self.version {
            Version::V1 => {
                let mut count = [0; 8];
                match rustix::io::read(&self.fd, &mut count) {
                    // The kernel counts up once more when the cgroup goes.
                    Ok(_) => Ok(u64::from_ne_bytes(count) > 1 || self.directory.read("memory.oom_control").is_ok()),
                    Err(rustix::io::Errno::AGAIN) => Ok(false),
                    Err(error) => Err(error).context("read an eventfd"),
                }
            }
            Version::V2 => {
                let kills = self.kills()?;
                let more = kills > self.told;
                self.told = kills;
                Ok(more)
            }
        }
    }

    /// A cgroup that is gone kills nobody any more.
    fn kills(&self) -> Result<u64> {
        match read_all(self.fd()) {
            Ok(text) => Ok(kills(&text)),
            Err(error) if is_gone(&error) => Ok(self.told),
            Err(error) => Err(error).with_context(|| format!("read {}/memory.events", self.directory.path.display())),
        }
    }
}
