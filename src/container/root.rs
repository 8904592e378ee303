//! The directory in which containers' state directories lie.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use super::id::ContainerId;
use crate::linux::procfs;

/// What bookend keeps in the default root beside containers, which therefore cannot have these names there.
const RESERVED: [&str; 3] = ["history", "roots", "seccomp"];

/// Where state directories lie: `--root`, or the default of interface.md section 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The default root of whoever calls.
    pub fn of_caller() -> Result<Root> {
        let initial = in_initial_user_namespace();
        Ok(Root(default_path(geteuid().as_raw(), initial, std::env::var_os("XDG_RUNTIME_DIR"), uid_outside)?))
    }

    /// The root at a path that the user gave.
    pub fn at(path: &Path) -> Root {
        Root(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The state directory of a container, whether it exists or not.
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.0.join(id.as_str())
    }

    /// Whether bookend needs the name for itself.
    pub fn is_reserved(&self, id: &ContainerId) -> bool {
        RESERVED.contains(&id.as_str()) && Root::of_caller().is_ok_and(|default| default == *self)
    }

    /// Makes the root where it is missing, and refuses one that is not ours or that others may write to (S18).
    pub fn prepare(&self) -> Result<()> {
        let make = || fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        make().with_context(|| format!("create state directory {}", self.0.display()))?;
        let meta = fs::metadata(&self.0).with_context(|| format!("stat {}", self.0.display()))?;
        if meta.uid() != geteuid().as_raw() {
            bail!("state directory {} belongs to uid {}, not to {}", self.0.display(), meta.uid(), geteuid());
        }
        // A directory that was there before is not ours to chmod (it may be /tmp); what lies in it is 0700 anyway.
        if meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0 {
            bail!("state directory {} can be written by other users: chmod go-w it", self.0.display());
        }
        Ok(())
    }

    /// Every container that has a state directory, sorted; none where the root does not exist.
    pub fn list(&self) -> Result<Vec<ContainerId>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("read {}", self.0.display()))?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("read {}", self.0.display()))?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let (true, Some(Ok(id))) = (is_dir, entry.file_name().to_str().map(str::parse)) {
                ids.push(id);
            }
        }
        ids.retain(|id| !self.is_reserved(id));
        ids.sort();
        Ok(ids)
    }
}

/// Makes a directory (0700, and its parents) unless it is there; then it must be ours and no symlink (threats.md S18).
pub fn own_directory(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new()
            .mode(0o711)
            .recursive(true)
            .create(parent)
            .with_context(|| format!("make {}", parent.display()))?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("make {}", path.display()));
        }
        _ => {}
    }
    if !is_own(path)? {
        bail!("use {}: not a directory", path.display());
    }
    Ok(())
}

/// Whether a directory is there. One that is a symlink, or somebody else's, is an error.
pub fn is_own(path: &Path) -> Result<bool> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other.with_context(|| format!("stat {}", path.display()))?,
    };
    if !found.is_dir() {
        bail!("use {}: not a directory", path.display());
    }
    if found.uid() != geteuid().as_raw() {
        bail!("use {}: it belongs to user {}", path.display(), found.uid());
    }
    Ok(true)
}

/// The rule of interface.md section 5; `outside` is asked only where the answer matters.
fn default_path(
    euid: u32,
    initial_namespace: bool,
    xdg: Option<OsString>,
    outside: impl Fn(u32) -> u32,
) -> Result<PathBuf> {
    if let Some(dir) = xdg.filter(|dir| !dir.is_empty())
        && (euid != 0 || !initial_namespace)
    {
        return Ok(Path::new(&dir).join("bookend"));
    }
    if euid == 0 {
        return Ok(PathBuf::from("/run/bookend"));
    }
    Ok(PathBuf::from(format!("/tmp/bookend-{}", outside(euid))))
}

/// The initial user namespace is the one whose map is the identity over all ids.
pub fn in_initial_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"])
}

/// A uid of ours as the parent user namespace sees it.
fn uid_outside(uid: u32) -> u32 {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    procfs::outside(&map, uid).unwrap_or(uid)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn path(euid: u32, initial: bool, xdg: Option<&str>) -> PathBuf {
        default_path(euid, initial, xdg.map(OsString::from), |uid| uid + 100_000).unwrap()
    }

    #[test]
    fn the_default_root_follows_the_rule_of_interface_section_5() {
        assert_eq!(path(0, true, Some("/run/user/0")), Path::new("/run/bookend"));
        assert_eq!(path(0, false, Some("/run/user/7")), Path::new("/run/user/7/bookend"));
        assert_eq!(path(0, false, None), Path::new("/run/bookend"));
        assert_eq!(path(7, true, Some("/run/user/7")), Path::new("/run/user/7/bookend"));
        assert_eq!(path(7, true, Some("")), Path::new("/tmp/bookend-100007"));
        assert_eq!(path(7, true, None), Path::new("/tmp/bookend-100007"));
    }

    #[test]
    fn a_root_lists_only_directories_that_are_ids() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["web", "a+b", "not an id"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("file"), "").unwrap();
        let ids: Vec<String> = Root::at(dir.path()).list().unwrap().into_iter().map(String::from).collect();
        assert_eq!(ids, ["a+b", "web"]);
        assert!(Root::at(&dir.path().join("missing")).list().unwrap().is_empty());
    }

    #[test]
    fn s18_a_root_is_made_tight_and_one_that_others_may_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(&dir.path().join("deep/root"));
        root.prepare().unwrap();
        assert_eq!(fs::metadata(root.path()).unwrap().mode() & 0o777, 0o700);
        root.prepare().unwrap();
        for (mode, fine) in [(0o777, false), (0o770, false), (0o1777, true), (0o755, true)] {
            fs::set_permissions(root.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(root.prepare().is_ok(), fine, "{mode:o}");
        }
    }
}
