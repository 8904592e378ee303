//! The sources of bind mounts: opened where the host is visible, and copied in init's mount namespace.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use oci_spec::runtime::{LinuxIdMapping, Mount, Spec};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};

use super::aside;
use super::options::{Options, Symlinks};
use super::path::{O_PATH, same_file};
use super::tree::Tree;
use crate::container::idmap;
use crate::linux::capability::{self, CAP_SYS_ADMIN};
use crate::linux::mount::map_ids;

/// A bind source or the root file system, as `create` saw it and as init finds it again.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    seen: OwnedFd,
    recursive: bool,
    symlinks: Symlinks,
    /// In init's mount namespace.
    here: Option<OwnedFd>,
    /// By `create` with the ids of the mount, which init in a user namespace has no right to give; else by init.
    copy: Option<Tree>,
}

impl Source {
    /// Opens the source where the host is visible: it is known to be there before anything is made.
    pub fn open(path: PathBuf, recursive: bool, symlinks: Symlinks) -> Result<Source> {
        let seen = open_source(&path, symlinks)?;
        Ok(Source { path, seen, recursive, symlinks, here: None, copy: None })
    }

    /// Copies it with the ids of a user namespace (config.md "mounts", `uidMappings`).
    pub fn map_ids(&mut self, namespace: BorrowedFd<'_>, recursive: bool) -> Result<()> {
        if aside::is_needed() {
            bail!("id-mapped mounts need open_tree and move_mount, which the kernel or a seccomp filter refuses");
        }
        let tree = Tree::copy_of(&self.seen, self.recursive)?;
        map_ids(&tree, recursive, namespace).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOSYS) => anyhow!("id-mapped mounts need Linux 5.12 and mount_setattr: {error}"),
            Some(libc::EPERM) => {
                anyhow!("{error}: id-mapped mounts need root of the host, and a source that is not id-mapped already")
            }
            Some(libc::EINVAL) => anyhow!("the file system of {} has no id-mapped mounts", self.path.display()),
            _ => anyhow!(error),
        })?;
        self.copy = Some(tree);
        Ok(())
    }

    /// Finds the source in the mount namespace that we are in now, and copies the mount there: the kernel lets nobody copy
    /// from another one. It has to be the file that `create` saw. Does nothing if it was done before.
    pub fn enter(&mut self) -> Result<()> {
        if self.here.is_some() {
            return Ok(());
        }
        let here = open_source(&self.path, self.symlinks)?;
        if !same_file(&self.seen, &here)? {
            bail!("{} was replaced while the container was being created", self.path.display());
        }
        if self.copy.is_none() && !aside::is_needed() {
            self.copy = Some(self.copy_of(&here)?);
        }
        self.here = Some(here);
        Ok(())
    }

    fn copy_of(&self, here: &OwnedFd) -> Result<Tree> {
        Tree::copy_of(here, self.recursive).with_context(|| format!("copy {}", self.path.display()))
    }

    /// `copy-symlink`: where the link leads that is to be made again.
    pub fn link(&self) -> Result<Option<OsString>> {
        if !self.symlinks.copy || FileType::from_raw_mode(fstat(&self.seen)?.st_mode) != FileType::Symlink {
            return Ok(None);
        }
        Ok(Some(OsString::from_vec(readlinkat(&self.seen, "", Vec::new())?.into_bytes())))
    }

    /// The place in init's mount namespace, and the copy of it.
    pub fn mount(mut self) -> Result<(OwnedFd, Tree)> {
        let here = self.here.take().context("nobody has entered it")?;
        let tree = match self.copy.take() {
            Some(tree) => tree,
            None => self.copy_of(&here)?,
        };
        Ok((here, tree))
    }
}

fn open_source(path: &Path, symlinks: Symlinks) -> Result<OwnedFd> {
    let kept = symlinks.copy || symlinks.source_is_kept;
    let flags = if kept { O_PATH | OFlags::NOFOLLOW } else { O_PATH };
    let opened = openat(CWD, path, flags, Mode::empty()).map_err(io::Error::from);
    opened.with_context(|| format!("open {}", path.display()))
}

/// The user namespace whose ids a bind mount has, and whether all below it have them too: that of its own mappings, else,
/// with the option `idmap` or `ridmap`, the container's, which is `joined` where it is not a new one.
pub(super) fn id_map(
    mount: &Mount,
    options: &Options,
    config: &Spec,
    joined: Option<BorrowedFd<'_>>,
) -> Result<Option<(OwnedFd, bool)>> {
    let given = |maps: &Option<Vec<LinuxIdMapping>>| maps.clone().filter(|maps| !maps.is_empty());
    let pair = |uids, gids| given(uids).zip(given(gids));
    let own = pair(mount.uid_mappings(), mount.gid_mappings());
    if own.is_none() && options.idmap.is_none() {
        return Ok(None);
    }
    // First of all: who may not mount is told so of the calls for it too, as if they were not there.
    if !capability::has(CAP_SYS_ADMIN).context("capget")? {
        bail!("id-mapped mounts need root of the host (CAP_SYS_ADMIN): leave the mappings, idmap and ridmap out");
    }
    let linux = config.linux().as_ref();
    let containers = || linux.and_then(|linux| pair(linux.uid_mappings(), linux.gid_mappings()));
    let namespace = match (own, joined) {
        (Some((uids, gids)), _) => idmap::namespace(&uids, &gids)?,
        (None, Some(joined)) => joined.try_clone_to_owned().context("dup")?,
        (None, None) => {
            let (uids, gids) =
                containers().context("the container has no user namespace of its own to take ids from")?;
            idmap::namespace(&uids, &gids)?
        }
    };
    Ok(Some((namespace, options.idmap == Some(true))))
}
