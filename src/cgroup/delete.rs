//! Removing a cgroup.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::directory::{Directory, is_gone};
use super::{Cgroup, Hierarchy, PATIENCE, Version, members};

impl Cgroup {
    /// Removes the cgroup at once if it has neither processes nor cgroups below it; false if something is left of it, for
    /// `kill` and `delete` to find.
    pub fn delete_if_unused(&self) -> bool {
        if self.unit.is_some() {
            // The directory is systemd's to remove.
            return self.members().is_ok_and(|members| members.is_empty());
        }
        self.owned().all(|hierarchy| fs::remove_dir(&hierarchy.path).or_else(gone_is_fine).is_ok())
    }

    /// Removes the cgroup with all below it. One that is gone is fine; one that has processes is waited for.
    pub fn delete(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        // Without a bus the session has ended, and its scopes with it: only a cgroup that is there still needs its manager.
        if let Some(unit) = self.unit.as_ref().filter(|unit| unit.is_whole())
            && let Err(error) = unit.stop()
            && self.owned().any(|hierarchy| hierarchy.path.exists())
        {
            return Err(error);
        }
        for hierarchy in self.owned() {
            loop {
                match remove_tree(&hierarchy.path) {
                    Ok(()) => break,
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                        self.wait_until_unused(hierarchy, deadline)?;
                    }
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        let members = self.pids()?;
                        bail!(
                            "remove {}: in use after {} s by the processes: {}",
                            hierarchy.path.display(),
                            PATIENCE.as_secs(),
                            members::name(members)
                        );
                    }
                    Err(error) => {
                        return Err(error).with_context(|| format!("remove {}", hierarchy.path.display()));
                    }
                }
            }
        }
        Ok(())
    }

    fn wait_until_unused(&self, hierarchy: &Hierarchy, deadline: Instant) -> Result<()> {
        let context = || format!("open {}", hierarchy.path.display());
        let Some(directory) = Directory::open_if_there(&hierarchy.path).with_context(context)? else { return Ok(()) };
        let members = self.members()?;
        if !members.is_empty() {
            return members::wait_exits(&members, deadline);
        }
        if hierarchy.version == Version::V2 {
            members::wait_event(&directory, "populated 0", deadline)?;
        }
        members::tick()
    }
}

/// Removes a cgroup directory with all below it, lowest first.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        // Most cgroups have none below, so that is tried first.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        Err(error) if !is_gone(&error) => return Err(error),
        _ => return Ok(()),
    }
    let Some(directory) = Directory::open_if_there(path)? else { return Ok(()) };
    remove_below(&directory)?;
    fs::remove_dir(path).or_else(gone_is_fine)
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    if is_gone(&error) { Ok(()) } else { Err(error) }
}

fn remove_below(directory: &Directory) -> io::Result<()> {
    for name in directory.children()? {
        if let Some(child) = directory.child(&name)? {
            remove_below(&child)?;
            match directory.remove_child(&name) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Layout;
    use super::*;

    #[test]
    fn a_scope_that_went_with_its_session_needs_no_bus_to_be_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let bus = dir.path().join("bus");
        let unit = serde_json::json!({ "name": "c.scope", "slice": "a.slice", "bus": bus, "user": true });
        let mountinfo = format!("41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n", dir.path().display());
        let layout = Layout::parse(&mountinfo, "0::/\n", |_, _| true);
        let unit = serde_json::from_value(unit).unwrap();
        let cgroup = Cgroup::of_unit(&layout, unit, Path::new("/a.slice/c.scope")).unwrap();
        cgroup.delete().unwrap();
        fs::create_dir_all(dir.path().join("a.slice/c.scope")).unwrap();
        let error = format!("{:#}", cgroup.delete().unwrap_err());
        assert!(error.contains("loginctl enable-linger"), "{error}");
    }
}
