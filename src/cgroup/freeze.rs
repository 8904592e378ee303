//! Stopping every process of a cgroup where it is, and letting them go on.

use std::time::Instant;

use anyhow::{Context, Result};

use super::directory::{Directory, is_gone};
use super::{Cgroup, Hierarchy, PATIENCE, Version, members};

impl Cgroup {
    /// Stops every process of the cgroup where it is.
    pub fn freeze(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let freezer = self.freezer().context("freeze: the container's cgroup has no freezer")?;
        let directory = Directory::open(&freezer.path).with_context(|| format!("open {}", freezer.path.display()))?;
        match freezer.version {
            Version::V1 => members::freeze_v1(&directory, deadline),
            Version::V2 => members::freeze_v2(&directory, deadline),
        }
    }

    /// Lets them go on. A cgroup that is gone or was not frozen is fine.
    pub fn thaw(&self) -> Result<()> {
        for hierarchy in self.owned().filter(|hierarchy| hierarchy.can_freeze()) {
            let context = || format!("thaw {}", hierarchy.path.display());
            if let Some(directory) = Directory::open_if_there(&hierarchy.path).with_context(context)? {
                members::thaw(&directory).with_context(context)?;
            }
        }
        Ok(())
    }

    /// Whether the cgroup was asked to freeze. One that is gone is not frozen.
    pub fn is_frozen(&self) -> Result<bool> {
        for hierarchy in self.owned() {
            if hierarchy.is_frozen()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn while_frozen(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.is_frozen()? {
            return act();
        }
        self.freeze()?;
        let done = act();
        self.thaw()?;
        done
    }

    /// The v2 freezer if there is one: it says when it is done, and its frozen processes can be killed.
    pub(super) fn freezer(&self) -> Option<&Hierarchy> {
        let v2 = self.owned().find(|hierarchy| hierarchy.version == Version::V2 && hierarchy.can_freeze());
        v2.or_else(|| self.owned().find(|hierarchy| hierarchy.has("freezer")))
    }
}

impl Hierarchy {
    /// Since Linux 5.2 every v2 cgroup has a freezer.
    pub(super) fn can_freeze(&self) -> bool {
        self.version == Version::V2 || self.has("freezer")
    }

    pub(super) fn is_frozen(&self) -> Result<bool> {
        let (file, thawed) = match self.version {
            Version::V2 => ("cgroup.freeze", "0"),
            Version::V1 if self.has("freezer") => ("freezer.state", "THAWED"),
            Version::V1 => return Ok(false),
        };
        let state = Directory::open(&self.path).and_then(|directory| directory.read(file));
        match state {
            Ok(state) => Ok(state.trim() != thawed),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("read {}", self.path.join(file).display())),
        }
    }
}
