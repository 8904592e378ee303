//! The bundle: a directory with `config.json` and, usually, the root file system.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::libc;
use oci_spec::runtime::Spec;
use serde_json::Value;

use crate::container::config;

/// No honest `config.json` comes near this; a larger one is refused before memory is taken for it.
const CONFIG_LIMIT: u64 = 16 << 20;

/// A bundle whose configuration was read and found to be something that bookend can do, all of it.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Canonical path of the bundle directory.
    pub dir: PathBuf,
    pub config: Spec,
    /// The bytes of `config.json`: what is kept of it is kept as it was written, but for the letters of keys, and never as our type
    /// would write it.
    pub raw: Vec<u8>,
    /// What was dropped on the way, as the specification demands (unknown capabilities), in words for the user.
    pub warnings: Vec<String>,
}

impl Bundle {
    /// Reads and checks the bundle in `dir`. The error names every problem, so that nothing needs to be tried twice.
    pub fn load(dir: &Path) -> Result<Bundle> {
        let is_missing = |error: &anyhow::Error| {
            let cause = error.root_cause().downcast_ref::<std::io::Error>();
            cause.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        };
        let found = dir.canonicalize().with_context(|| format!("bundle {}", dir.display()));
        let dir = match found {
            Err(error) if is_missing(&error) => bail!("{error:#}; --bundle names the directory that has config.json"),
            found => found?,
        };
        let raw = match read_file(&dir.join("config.json")) {
            Err(error) if is_missing(&error) => bail!("{error:#}; `bookend spec` writes one"),
            raw => raw?,
        };
        Bundle::parse(&dir, raw)
    }

    /// Does the same with a configuration that is already in memory.
    pub fn parse(dir: &Path, mut raw: Vec<u8>) -> Result<Bundle> {
        let name = dir.join("config.json");
        let (config, warnings) = config::parse(&mut raw).with_context(|| format!("parse {}", name.display()))?;
        Ok(Bundle { dir: dir.to_owned(), config, raw, warnings })
    }

    /// The same with the copy of a container that exists.
    pub fn kept(dir: &Path, mut raw: Vec<u8>) -> Result<Bundle> {
        let (config, warnings) = config::kept(&mut raw).context("parse the config.json of the container")?;
        Ok(Bundle { dir: dir.to_owned(), config, raw, warnings })
    }

    /// The root file system: `root.path`, relative to the bundle.
    pub fn rootfs(&self) -> PathBuf {
        let root = self.config.root().as_ref().expect("config::parse demands root");
        self.dir.join(root.path())
    }

    /// The configuration as JSON, with the fields that `oci_spec` does not know.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.raw).expect("parse has read these bytes")
    }
}

/// A file that has a configuration in it, or a part of one. A pipe will do.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    read_all(path, File::open(path).with_context(|| format!("read {}", path.display()))?)
}

/// The same of a file that others will read, too, and that does not make us wait for a writer.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    let describe = || format!("read {}", path.display());
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).with_context(describe)?;
    if !file.metadata().with_context(describe)?.is_file() {
        bail!("read {}: not a regular file", path.display());
    }
    read_all(path, file)
}

fn read_all(path: &Path, file: File) -> Result<Vec<u8>> {
    let describe = || format!("read {}", path.display());
    let mut raw = Vec::new();
    file.take(CONFIG_LIMIT + 1).read_to_end(&mut raw).with_context(describe)?;
    if raw.len() as u64 > CONFIG_LIMIT {
        bail!("read {}: larger than {} MiB", path.display(), CONFIG_LIMIT >> 20);
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_config_is_named_with_its_cause() {
        let dir = tempfile::tempdir().unwrap();
        let error = format!("{:#}", Bundle::load(dir.path()).unwrap_err());
        assert!(error.starts_with("read ") && error.contains("/config.json: No such file"), "{error}");
    }

    #[test]
    fn a_missing_bundle_is_named_with_its_cause() {
        let error = format!("{:#}", Bundle::load(Path::new("/nonexistent-bundle")).unwrap_err());
        assert!(error.starts_with("bundle /nonexistent-bundle: No such file"), "{error}");
    }

    #[test]
    fn a_syntax_error_has_its_line_and_column() {
        let error = format!("{:#}", Bundle::parse(Path::new("/b"), b"{\n\n  x".to_vec()).unwrap_err());
        assert!(error.starts_with("parse /b/config.json: line 3 column 3: "), "{error}");
    }

    #[test]
    fn an_endless_config_is_refused_before_it_is_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("config.json")).unwrap();
        file.set_len(CONFIG_LIMIT + 1).unwrap();
        let error = format!("{:#}", Bundle::load(dir.path()).unwrap_err());
        assert!(error.ends_with("larger than 16 MiB"), "{error}");
    }

    #[test]
    fn a_config_that_nobody_writes_to_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&dir.path().join("config.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = format!("{:#}", Bundle::load(dir.path()).unwrap_err());
        assert!(error.ends_with("config.json: not a regular file"), "{error}");
    }

    #[test]
    fn what_a_container_was_made_by_is_read_by_the_rules_of_then() {
        let mut config = crate::container::spec::template(false);
        config["process"]["rlimits"] = serde_json::json!([{"type": "RLIMIT_CORE", "hard": 5}]);
        let raw = serde_json::to_vec(&config).unwrap();
        assert!(Bundle::parse(Path::new("/b"), raw.clone()).is_err());
        Bundle::kept(Path::new("/b"), raw).unwrap();
        assert!(Bundle::kept(Path::new("/b"), b"{".to_vec()).is_err());
    }

    #[test]
    fn root_path_is_relative_to_the_bundle_and_raw_is_kept() {
        let raw = serde_json::to_vec(&crate::container::spec::template(false)).unwrap();
        let bundle = Bundle::parse(Path::new("/b"), raw.clone()).unwrap();
        assert_eq!(bundle.rootfs(), Path::new("/b/rootfs"));
        assert_eq!(bundle.raw, raw);
    }
}
