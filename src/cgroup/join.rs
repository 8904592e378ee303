//! Entering a cgroup that exists, and those below it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use anyhow::{Context, Error, Result, ensure};
use nix::unistd::Pid;

use super::directory::{Directory, is_gone};
use super::systemd::Unit;
use super::{Cgroup, Hierarchy, Version, layout};

impl Cgroup {
    /// The v2 directory to be born in (`CLONE_INTO_CGROUP`), where there is one.
    pub fn clone_into(&self) -> Result<Option<OwnedFd>> {
        let Some(hierarchy) = self.v2() else { return Ok(None) };
        let directory = match Directory::open(&hierarchy.path) {
            // systemd makes it for a process that is there already.
            Err(error) if is_gone(&error) && self.unit.is_some() => return Ok(None),
            opened => opened.with_context(|| format!("open {}", hierarchy.path.display()))?,
        };
        Ok(Some(directory.into_fd()))
    }

    /// Moves a process into every hierarchy, but for the v2 one when it was born there. A process that moves itself
    /// can give pid 0.
    pub fn enter(&self, pid: Pid, cloned_into: bool) -> Result<()> {
        for hierarchy in &self.hierarchies {
            if cloned_into && hierarchy.version == Version::V2 {
                continue;
            }
            let file = hierarchy.path.join("cgroup.procs");
            let moved = Directory::open(&hierarchy.path)
                .and_then(|directory| directory.write("cgroup.procs", &pid.to_string()));
            match (moved, &self.unit) {
                (Err(error), Some(unit)) if is_denied(&error) && pid.as_raw() != 0 => {
                    unit.attach(pid).map_err(|refused| told_of_busy(hierarchy, refused))?;
                }
                (moved, _) => moved.with_context(|| format!("write process {pid} to {}", file.display()))?,
            }
        }
        Ok(())
    }

    /// The cgroup to join where the container has enabled controllers in its own, so that the kernel refuses processes in
    /// it (EBUSY): the one below it that its PID 1 is in (X-E01).
    pub fn join_as(&self, init: Pid) -> Result<Cgroup> {
        let file = format!("/proc/{init}/cgroup");
        let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        Ok(self.joined_as(&text))
    }

    fn joined_as(&self, memberships: &str) -> Cgroup {
        let memberships: Vec<_> = memberships.lines().filter_map(layout::parse_membership).collect();
        let mut joined = self.clone();
        for hierarchy in joined.hierarchies.iter_mut() {
            hierarchy.owned = false;
            if hierarchy.version == Version::V1 {
                continue;
            }
            let of_init = memberships.iter().find(|(controllers, _)| *controllers == hierarchy.controllers);
            let directory =
                of_init.and_then(|(_, cgroup)| layout::directory_below(&hierarchy.mount, &hierarchy.root, cgroup));
            // Elsewhere than below the container's own cgroup it is none of ours to join.
            if let Some(directory) = directory.filter(|found| found.starts_with(&hierarchy.path)) {
                hierarchy.path = directory;
            }
        }
        joined.unit = self.unit_of(&joined.hierarchies);
        joined
    }

    /// The unit, with the part of it that is meant: the place of these hierarchies in the v2 tree, below this cgroup. None where
    /// systemd cannot be told of the place, so that it moves nobody to another.
    fn unit_of(&self, joined: &[Hierarchy]) -> Option<Unit> {
        let own = self.v2().map_or(Path::new(""), |own| &own.path);
        let joined = joined.iter().find(|hierarchy| hierarchy.version == Version::V2);
        let below = joined.map_or(Path::new(""), |found| found.path.strip_prefix(own).unwrap_or(Path::new("")));
        self.unit.as_ref().zip(below.to_str()).map(|(unit, below)| unit.child(below))
    }

    /// Cgroups below this one that exist, for a process to join: of the named controllers, or of all (no names). What is not
    /// named stays as it is.
    ///
    /// In a cgroup file system nobody can make links, so a path without `..` leads nowhere else.
    pub fn below(&self, places: &[(Vec<&str>, &Path)]) -> Result<Cgroup> {
        ensure!(!self.is_none(), "the container has no cgroup: none can be written (rootless without delegation)");
        let mut joined = self.clone();
        joined.hierarchies.iter_mut().for_each(|hierarchy| hierarchy.owned = false);
        let v1 = self.hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V1);
        for (controllers, path) in places {
            let text = path.to_string_lossy();
            let beyond = path.components().any(|part| part == Component::ParentDir);
            ensure!(!beyond, "{text} is not a sub cgroup path: it leads out of the container's cgroup");
            let path = path.strip_prefix("/").unwrap_or(path);
            for name in controllers {
                ensure!(
                    joined.hierarchies.iter().any(|hierarchy| hierarchy.has(name)),
                    "unknown controller {name:?} in --cgroup: {}",
                    self.controllers_for_join()
                );
            }
            for hierarchy in &mut joined.hierarchies {
                let named = controllers.iter().any(|name| hierarchy.has(name));
                // Beside v1 hierarchies the v2 tree is followed only where the container has made the same there.
                let optional = v1 && hierarchy.version == Version::V2;
                let target = hierarchy.path.join(path);
                if named || controllers.is_empty() && (!optional || target.is_dir()) {
                    ensure!(target.is_dir(), "cgroup {}: No such file or directory", target.display());
                    hierarchy.path = target;
                }
            }
        }
        joined.unit = self.unit_of(&joined.hierarchies);
        Ok(joined)
    }

    fn controllers_for_join(&self) -> String {
        let names: Vec<&str> =
            self.hierarchies.iter().flat_map(|found| &found.controllers).map(String::as_str).collect();
        match names.is_empty() {
            true => "cgroup v2 has one tree for all, so give the path alone".to_owned(),
            false => format!("there are {}", names.join(", ")),
        }
    }

    /// A cgroup of its own, below this one, for a tree of processes that must be found again and killed (X-E15).
    ///
    /// It is a directory in one hierarchy only: the v2 tree, or else a v1 freezer. In all others its processes join
    /// this cgroup, so that they count against the container. `create` makes it and `delete` removes it.
    pub fn child(&self, name: &str) -> Result<Cgroup> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        ensure!(!name.is_empty() && name.bytes().all(legal), "invalid name of a sub-cgroup {name:?}");
        let unit = self.unit.as_ref().map(|unit| unit.child(name));
        let mut child = Cgroup { hierarchies: self.hierarchies.clone(), unit };
        let tracking = self.tracking();
        for (index, hierarchy) in child.hierarchies.iter_mut().enumerate() {
            hierarchy.owned = Some(index) == tracking;
            if hierarchy.owned {
                hierarchy.path.push(name);
            }
        }
        Ok(child)
    }
}

/// A user's systemd says that it may not what the kernel would not do for anybody: a cgroup that passes controllers on takes
/// no process (EBUSY).
fn told_of_busy(hierarchy: &Hierarchy, refused: Error) -> Error {
    let passes = Directory::open(&hierarchy.path).and_then(|directory| directory.read("cgroup.subtree_control"));
    match passes {
        Ok(controllers) if !controllers.trim().is_empty() => {
            Error::new(io::Error::from_raw_os_error(libc::EBUSY)).context(format!("{refused:#}"))
        }
        _ => refused,
    }
}

fn is_denied(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    use super::super::Layout;
    use super::*;

    #[test]
    fn x_e01_pid_1_in_a_sub_cgroup_is_followed_there_and_nowhere_else() {
        let joined = |memberships: &str| {
            let layout = Layout::parse("41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n", "0::/\n", |_, _| true);
            let cgroup = Cgroup::plan_in(&layout, Some(Path::new("/c")), "id", |_| true).unwrap();
            cgroup.joined_as(memberships).paths()
        };
        assert_eq!(joined("0::/c/init.scope\n"), [PathBuf::from("/cg/c/init.scope")]);
        assert_eq!(joined("0::/c\n"), [PathBuf::from("/cg/c")]);
        assert_eq!(joined("0::/elsewhere\n"), [PathBuf::from("/cg/c")]);
        assert_eq!(joined("0::/../x\n"), [PathBuf::from("/cg/c")]);
    }

    #[test]
    fn x_e01_systemd_is_told_of_the_same_place_as_the_kernel() {
        let layout = Layout::parse("41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n", "0::/\n", |_, _| true);
        let mut cgroup = Cgroup::plan_in(&layout, Some(Path::new("/c")), "id", |_| true).unwrap();
        let unit = Unit::example("c.scope");
        cgroup.unit = Some(unit.clone());
        let below = |path: &str| unit.child(path);
        assert_eq!(cgroup.joined_as("0::/c/a/b\n").unit, Some(below("a/b")));
        assert_eq!(cgroup.joined_as("0::/c\n").unit, Some(unit.clone()));
        assert!(!below("a/b").is_whole() && below("").is_whole());
        let nameless = Path::new(OsStr::from_bytes(b"/cg/c/\xff"));
        let mut joined = cgroup.hierarchies.clone();
        joined[0].path = nameless.to_owned();
        assert_eq!(cgroup.unit_of(&joined), None, "no string of D-Bus's");
    }
}
