//! Where the state is kept, and what else there is on the machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::super::args::Global;
use super::{Finding, find_program};
use crate::container::root::Root;

pub fn look(global: &Global) -> Vec<Finding> {
    vec![state(global), systemd(), callers()]
}

fn state(global: &Global) -> Finding {
    let root = match global.root() {
        Ok(root) => root,
        Err(error) => return Finding::fail("state", format!("{error:#}"), "give a directory: bookend --root DIR"),
    };
    let path = root.path().display();
    match try_root(&root) {
        Err(error) => Finding::fail("state", format!("{error:#}"), "give another directory: bookend --root DIR"),
        Ok(false) => {
            let cure = match nix::unistd::geteuid().is_root() {
                true => "mount a tmpfs on /run, or give one: bookend --root DIR",
                false => "set XDG_RUNTIME_DIR to a tmpfs of yours (loginctl enable-linger makes one)",
            };
            Finding::warn("state", format!("{path} is on no tmpfs: what it holds outlives a reboot"), cure)
        }
        Ok(true) => Finding::ok("state", format!("{path}, on a tmpfs")),
    }
}

/// Makes the root as `create` does, removes what was not there before, and says whether it is on a tmpfs.
fn try_root(root: &Root) -> Result<bool> {
    let missing: Vec<PathBuf> = root.path().ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
    let prepared = root.prepare();
    let writable = rustix::fs::access(root.path(), rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    let kind = rustix::fs::statfs(root.path()).map(|found| found.f_type);
    for path in missing {
        let _ = fs::remove_dir(path); // a container that was made meanwhile keeps it
    }
    prepared?;
    writable.map_err(|error| anyhow::anyhow!("write to {}: {error}", root.path().display()))?;
    const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994; // statfs(2)
    const RAMFS_MAGIC: rustix::fs::FsWord = 0x8584_58f6;
    Ok(kind.is_ok_and(|kind| kind == TMPFS_MAGIC || kind == RAMFS_MAGIC))
}

fn systemd() -> Finding {
    // sd_booted(3)
    match Path::new("/run/systemd/system").is_dir() {
        true => Finding::ok("systemd", "runs; for a service: bookend config systemd"),
        false => Finding::ok("systemd", "does not run; bookend does without"),
    }
}

fn callers() -> Finding {
    let found: Vec<&str> =
        ["podman", "docker", "containerd", "crio"].into_iter().filter(|name| find_program(name).is_some()).collect();
    match found.is_empty() {
        true => Finding::ok("callers", "no podman, docker, containerd or CRI-O in PATH; bookend works by itself"),
        false => {
            Finding::ok("callers", format!("{}; for their settings: bookend config {}", found.join(", "), found[0]))
        }
    }
}
