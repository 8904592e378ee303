//! Compiled filters, kept from one `create` to the next: callers give the same profile to every container, and compiling one takes
//! longer than all the rest of a container's birth. In the default root, whatever `--root` is: `seccomp/SHA256.json`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use libseccomp::ScmpVersion;
use oci_spec::runtime::LinuxSeccomp;
use sha2::{Digest, Sha256};

use super::Compiled;
use crate::container::root::{self, Root};
use crate::container::state::write_file;

/// The directory's name in the default root.
const DIR_NAME: &str = "seccomp";

/// How many filters are kept. When there are more, all go: who needs one compiles it again.
const MOST: usize = 64;

/// Goes up when the same profile is compiled into something else within one version.
const REVISION: u32 = 2;

/// Where a filter is kept, or would be.
pub(super) struct Place(PathBuf);

impl Place {
    /// None where nothing can be kept; then it is compiled every time.
    pub(super) fn of(seccomp: &LinuxSeccomp) -> Option<Place> {
        let dir = Root::of_caller().ok()?.path().join(DIR_NAME);
        Place::in_directory(&dir, seccomp).ok()
    }

    fn in_directory(dir: &Path, seccomp: &LinuxSeccomp) -> Result<Place> {
        root::own_directory(dir)?;
        let mut hash = Sha256::new();
        // Another version may compile the same profile into something else.
        hash.update(format!("{} {REVISION} {}\n", env!("CARGO_PKG_VERSION"), ScmpVersion::current()?));
        hash.update(serde_json::to_vec(seccomp)?);
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Place(dir.join(name + ".json")))
    }

    /// What is kept there; anything unreadable is as good as nothing.
    pub(super) fn load(&self) -> Option<Compiled> {
        serde_json::from_slice(&fs::read(&self.0).ok()?).ok()
    }

    /// Keeps it. A failure is none of the container's.
    pub(super) fn save(&self, compiled: &Compiled) {
        let _ = self.make_room().and_then(|()| write_file(&self.0, &serde_json::to_vec(compiled)?));
    }

    fn make_room(&self) -> Result<()> {
        let dir = self.0.parent().unwrap_or(Path::new("/"));
        let kept: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        if kept.len() >= MOST {
            // Another `create` may be faster.
            kept.iter().for_each(|path| drop(fs::remove_file(path)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn profile(names: &[&str]) -> LinuxSeccomp {
        let rule = json!({"names": names, "action": "SCMP_ACT_ERRNO"});
        serde_json::from_value(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})).unwrap()
    }

    #[test]
    fn a_filter_is_found_again_by_its_profile_and_by_no_other() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join(DIR_NAME);
        let place = |names: &[&str]| Place::in_directory(&dir, &profile(names)).unwrap();
        assert_eq!(place(&["mkdir"]).load(), None);
        let compiled = Compiled { program: vec![1, u64::MAX], warnings: vec!["w".to_owned()] };
        place(&["mkdir"]).save(&compiled);
        assert_eq!(place(&["mkdir"]).load(), Some(compiled));
        assert_eq!(place(&["rmdir"]).load(), None);
    }

    #[test]
    fn no_more_are_kept_than_the_bound_and_a_damaged_one_counts_as_none() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join(DIR_NAME);
        let compiled = Compiled { program: vec![1], warnings: Vec::new() };
        for number in 0..MOST + 3 {
            Place::in_directory(&dir, &profile(&[&format!("call{number}")])).unwrap().save(&compiled);
        }
        let count = fs::read_dir(&dir).unwrap().count();
        assert!((1..=MOST).contains(&count), "{count}");
        let place = Place::in_directory(&dir, &profile(&["call0"])).unwrap();
        fs::write(&place.0, "{").unwrap();
        assert_eq!(place.load(), None);
    }

    #[test]
    fn a_directory_of_somebody_elses_is_not_used() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join(DIR_NAME);
        std::os::unix::fs::symlink("/tmp", &dir).unwrap();
        assert!(Place::in_directory(&dir, &profile(&["mkdir"])).is_err());
    }
}
