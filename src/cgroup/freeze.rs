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
        self.owned().filter(|hierarchy| hierarchy.can_freeze()).try_for_each(Hierarchy::thaw)
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
        match (act(), self.thaw()) {
            (Err(why), Err(frozen)) => {
                Err(why.context(format!("the container is left frozen, {frozen:#}; it was to be for a moment only")))
            }
            (done, thawed) => done.and(thawed),
        }
    }

    /// Lets processes die that were sent SIGKILL: whom the v1 freezer holds does not.
    pub fn let_die(&self) -> Result<()> {
        self.owned().filter(|hierarchy| hierarchy.has("freezer")).try_for_each(Hierarchy::thaw)
    }

    /// The v2 freezer if there is one: it says when it is done, and its frozen processes can be killed, by anybody.
    ///
    /// On a hybrid host the v1 freezer stays THAWED on purpose. Its processes would survive even the SIGKILL of the kernel's or
    /// an engine's until somebody thaws them, and nothing that calls us reads `freezer.state`: podman asks `state`; containerd
    /// and dockerd remember what they have asked for.
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

    fn thaw(&self) -> Result<()> {
        let context = || format!("thaw {}", self.path.display());
        let Some(directory) = Directory::open_if_there(&self.path).with_context(context)? else { return Ok(()) };
        members::thaw(&directory).with_context(context)
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use anyhow::anyhow;

    use super::super::Layout;
    use super::*;

    #[test]
    fn a_failure_while_frozen_is_told_whatever_becomes_of_the_thaw() {
        let dir = tempfile::tempdir().unwrap();
        let mountinfo = format!("41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n", dir.path().display());
        let layout = Layout::parse(&mountinfo, "0::/\n", |_, _| true);
        let cgroup = Cgroup::plan_in(&layout, Some(Path::new("/c")), "id", |_| true).unwrap();
        let own = dir.path().join("c");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        let freeze = own.join("cgroup.freeze");
        let told = |act: &dyn Fn() -> Result<()>| {
            fs::write(&freeze, "0").unwrap();
            cgroup.while_frozen(|| {
                assert_eq!(fs::read_to_string(&freeze).unwrap(), "1");
                act()
            })
        };
        told(&|| Ok(())).unwrap();
        assert_eq!(format!("{:#}", told(&|| Err(anyhow!("no rules"))).unwrap_err()), "no rules");
        assert_eq!(fs::read_to_string(&freeze).unwrap(), "0");
        // What can be read as frozen, and not be thawed.
        let break_it = || fs::remove_file(&freeze).and_then(|()| fs::create_dir(&freeze)).map_err(Into::into);
        let error = format!("{:#}", told(&|| break_it().and(Err(anyhow!("no rules")))).unwrap_err());
        assert!(error.contains("left frozen, thaw ") && error.ends_with("no rules"), "{error}");
        fs::remove_dir(&freeze).unwrap();
        assert!(format!("{:#}", told(&break_it).unwrap_err()).starts_with("thaw "));
    }
}
