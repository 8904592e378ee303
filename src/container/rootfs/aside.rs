//! Where a mount is made that is not to be seen yet, without detached mounts: those need open_tree, fsopen and move_mount
//! (Linux 5.2), which the filters of older container engines take away.
//!
//! A tmpfs is put over our own root directory. No path leads into it, since "/" is the directory beneath, but "/..", by
//! which it is opened at once. What is mounted in there is changed in there, and then moved to its place by descriptor,
//! so that here too nothing is ever seen half made. Only one is needed at a time: the next one lies on top, and goes first.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{CWD, FsWord, Mode, OFlags, fstatfs, mkdirat, openat};
use rustix::mount::mount_move;
use rustix::process::fchdir;

use super::path::{O_PATH, is_mount, link_to};
use crate::linux::probe::{Call, is_hidden};
use crate::linux::procfs::Procfs;

const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// Whether mounts can be made that are attached nowhere.
pub(super) fn is_needed() -> bool {
    static NEEDED: OnceLock<bool> = OnceLock::new();
    *NEEDED.get_or_init(|| [Call::OpenTree, Call::MoveMount, Call::Fsopen].into_iter().any(is_hidden))
}

#[derive(Debug)]
pub(super) struct Aside {
    directory: OwnedFd,
}

/// What is there to be mounted on.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    Directory,
    File,
}

const ABOVE: &str = "/..";
const NAME: &str = "mount";
const MOUNT: &str = "/../mount";

impl Aside {
    /// To be called in a mount namespace of our own whose root is shared with nobody.
    pub fn new(place: Place) -> io::Result<Aside> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("tmpfs"), "/", Some("tmpfs"), flags, Some("mode=700,nr_inodes=2,size=4k"))?;
        let directory = openat(CWD, ABOVE, O_PATH | OFlags::DIRECTORY, Mode::empty())?;
        if fstatfs(&directory)?.f_type != TMPFS_MAGIC || !is_mount(&directory)? {
            return Err(io::Error::other(
                "no place to make mounts in can be had, and open_tree or fsopen is not there",
            ));
        }
        let aside = Aside { directory };
        // Out of a shared mount nothing can be moved.
        mount(None::<&str>, ABOVE, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)?;
        match place {
            Place::Directory => mkdirat(&aside.directory, NAME, Mode::RWXU)?,
            Place::File => drop(openat(&aside.directory, NAME, OFlags::CREATE | OFlags::CLOEXEC, Mode::RUSR)?),
        }
        Ok(aside)
    }

    /// Mounts in here. Gives the root of the mount.
    pub fn mount(&self, source: Option<&str>, kind: Option<&str>, flags: MsFlags, data: &str) -> io::Result<OwnedFd> {
        mount(source, MOUNT, kind, flags, Some(data))?;
        Ok(openat(&self.directory, NAME, O_PATH | OFlags::NOFOLLOW, Mode::empty())?)
    }
}

/// Moves a mount that was made aside, with its root at `root`, on top of what is at `place`.
pub(super) fn move_to(root: impl AsFd, place: impl AsFd) -> io::Result<()> {
    if let (Ok(from), Ok(to)) = (own_link(&root), own_link(&place)) {
        return Ok(mount_move(from, to)?);
    }
    // In a pid namespace that /proc does not show there are no such links. A directory is reached as the current one, and
    // the mount is the one that was made last.
    let back = openat(CWD, ".", O_PATH | OFlags::DIRECTORY, Mode::empty())?;
    fchdir(place)?;
    let moved = mount_move(MOUNT, ".");
    fchdir(back)?;
    Ok(moved?)
}

/// `link_to`, where /proc is one and shows us: it may be the container's.
pub(super) fn own_link(fd: impl AsFd) -> io::Result<String> {
    Procfs::open()?.open_own("fd", OFlags::PATH | OFlags::DIRECTORY)?;
    Ok(link_to(fd))
}

impl Drop for Aside {
    fn drop(&mut self) {
        // One that went with another, or with the old root, is gone already.
        let _ = umount2(link_to(&self.directory).as_str(), MntFlags::MNT_DETACH);
    }
}
