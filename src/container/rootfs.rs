//! The container's root file system, as its init makes it.

use std::os::fd::BorrowedFd;

use anyhow::{Result, bail};
use oci_spec::runtime::Spec;

use crate::container::bundle::Bundle;

/// What `set_up` cannot see in the bundle.
#[derive(Clone, Copy, Debug, Default)]
pub struct RootfsOptions {
    /// Move the root with `MS_MOVE` and chroot instead of pivot_root, for a root on the initramfs.
    pub no_pivot: bool,
    /// Init runs in a user namespace other than the host's: devices are bound, not made.
    pub user_namespace: bool,
    /// Init has its own cgroup namespace: a `cgroup` mount shows its own cgroup as the root.
    pub new_cgroup_namespace: bool,
}

/// One cgroup of the container, for a `cgroup` mount: the hierarchy's directory name below `/sys/fs/cgroup` (empty for
/// a pure v2 host) and where the container's own cgroup is on the host.
#[derive(Clone, Debug)]
pub struct CgroupMount {
    pub name: String,
    pub path: std::path::PathBuf,
}

/// Sources of bind mounts, opened by `create` before the clone.
#[derive(Debug)]
pub struct Sources {}

impl Sources {
    pub fn open(_bundle: &Bundle, _user_namespace: bool) -> Result<Sources> {
        Ok(Sources {})
    }
}

pub fn set_up(_bundle: &Bundle, _sources: Sources, _cgroup: &[CgroupMount], _options: &RootfsOptions) -> Result<()> {
    bail!("root file system: not there yet")
}

pub fn console(_terminal: BorrowedFd) -> Result<()> {
    bail!("console: not there yet")
}

pub fn fresh_proc(_config: &Spec) -> Result<()> {
    bail!("fresh proc: not there yet")
}

/// Whether an entry of `mounts` can be made: type, source and options are known. For `config::parse`.
pub(crate) fn check_mount(_mount: &serde_json::Value) -> Result<(), String> {
    Ok(())
}
