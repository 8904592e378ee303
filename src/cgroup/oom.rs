//! The kernel's word that a container has run out of memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, PollFlags, eventfd};

use super::directory::{Directory, read_all};
use super::{Cgroup, Version, kills};

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
            Err(error) if super::is_gone(&error) => Ok(self.told),
            Err(error) => Err(error).with_context(|| format!("read {}/memory.events", self.directory.path.display())),
        }
    }
}
