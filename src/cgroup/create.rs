//! A cgroup's directories: made for a container that is being created, and given to who manages what is below.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxResources;

use super::directory::Directory;
use super::systemd::{self, Scope};
use super::{Cgroup, Hierarchy, Version, members, v1, v2};

impl Cgroup {
    /// Makes the directory in every hierarchy, or in none. One that exists must be empty and not frozen.
    pub fn create(&self) -> Result<()> {
        let mut made = Made::default();
        for hierarchy in self.owned() {
            match hierarchy.version {
                Version::V1 => v1::make(hierarchy, &mut made)?,
                Version::V2 => v2::make(hierarchy, &mut made, Members::Refused)?,
            }
        }
        made.keep();
        Ok(())
    }

    /// What systemd is to make of the container; None where it is not the driver. All that can be refused is refused here.
    pub fn scope(
        &self,
        id: &str,
        annotations: &HashMap<String, String>,
        resources: &LinuxResources,
    ) -> Result<Option<Scope>> {
        if self.unit.is_none() {
            return Ok(None);
        }
        for hierarchy in self.owned().filter(|hierarchy| hierarchy.path.exists()) {
            hierarchy.refuse_used()?;
        }
        let placed = self.placed(resources, &|_| None)?;
        let limits = systemd::of_settings(placed.iter().map(|(_, setting)| setting))?;
        Scope::new(id, annotations, limits).map(Some)
    }

    /// Has systemd make the scope with a process in it, and passes on the controllers that it does not know. The
    /// limits are still to be set.
    pub fn start(&self, scope: &Scope, pid: Pid) -> Result<()> {
        let (Some(unit), Some(tracking)) = (&self.unit, self.tracking()) else { return Ok(()) };
        let hierarchy = &self.hierarchies[tracking];
        let cgroup = hierarchy.path.strip_prefix(&hierarchy.mount).unwrap_or(&hierarchy.path);
        unit.start(scope, pid, &hierarchy.root.join(cgroup))?;
        let mut made = Made::default();
        v2::make(hierarchy, &mut made, Members::AreFine)?;
        made.keep();
        Ok(())
    }

    /// Gives the v2 cgroup to a user: the directory, and the files that the kernel says are for who manages what is below
    /// (`/sys/kernel/cgroup/delegate`, Linux 4.15). v1 has no safe way to do that.
    pub fn delegate(&self, owner: u32) -> Result<()> {
        let Some(hierarchy) = self.v2() else { return Ok(()) };
        let files = fs::read_to_string("/sys/kernel/cgroup/delegate");
        let files = files.unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned());
        let context = || format!("give {} to user {owner}", hierarchy.path.display());
        let directory = Directory::open(&hierarchy.path).with_context(context)?;
        for file in ["."].into_iter().chain(files.lines()) {
            match directory.give(file, owner) {
                // Not every cgroup has each of them.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                given => given.with_context(|| format!("{}: {file}", context()))?,
            }
        }
        Ok(())
    }
}

impl Hierarchy {
    /// A directory that exists already may be taken when nobody is in it and it would not freeze who comes.
    pub(super) fn refuse_used(&self) -> Result<()> {
        let directory = Directory::open(&self.path).with_context(|| format!("open {}", self.path.display()))?;
        let mut found = Vec::new();
        directory.processes_below(&mut found).with_context(|| format!("read {}", self.path.display()))?;
        ensure!(
            found.is_empty(),
            "cgroup {} is in use by the processes: {}",
            self.path.display(),
            members::name(found)
        );
        ensure!(
            !self.is_frozen()?,
            "cgroup {} is frozen: thaw it, or use another linux.cgroupsPath",
            self.path.display()
        );
        Ok(())
    }
}

/// What to do with a cgroup that has processes already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Members {
    Refused,
    /// They are the container's: systemd has put them there.
    AreFine,
}

/// The directories that a `create` has made, removed again unless they are kept.
#[derive(Default)]
pub(super) struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a directory; false when it was there.
    pub(super) fn make(&mut self, path: &Path) -> Result<bool> {
        match fs::create_dir(path) {
            Ok(()) => {
                self.0.push(path.to_owned());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error).with_context(|| format!("make cgroup {}", path.display())),
        }
    }

    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            let _ = fs::remove_dir(path); // the error that is being returned is why we are here
        }
    }
}
