//! Where a mount is made that is not to be seen yet, without detached mounts: those need open_tree, fsopen and move_mount
//! (Linux 5.2), which the filters of older container engines take away.
//!
//! A tmpfs is put over our own root directory. No path leads into it, since "/" is the directory beneath, but "/..", by
//! which it is opened at once. What is mounted in there is changed in there, and then moved to its place by descriptor,
//! so that here too nothing is ever seen half made. Only one is needed at a time: the next one lies on top, and goes first.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{CWD, FsWord, Mode, OFlags, fstatfs, mkdirat, openat};

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

const NAME: &str = "mount";

impl Aside {
    /// To be called in a mount namespace of our own whose root is shared with nobody.
    pub fn new(place: Place) -> io::Result<Aside> {
        // Descriptors go by their names in /proc, which may be the container's.
        Procfs::open()?.open_own("fd", OFlags::PATH | OFlags::DIRECTORY)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("tmpfs"), "/", Some("tmpfs"), flags, Some("mode=700,nr_inodes=2,size=4k"))?;
        let directory = openat(CWD, "/..", O_PATH | OFlags::DIRECTORY, Mode::empty())?;
        if fstatfs(&directory)?.f_type != TMPFS_MAGIC || !is_mount(&directory)? {
            return Err(io::Error::other(
                "no place to make mounts in can be had, and open_tree or fsopen is not there",
            ));
        }
        let aside = Aside { directory };
        // Out of a shared mount nothing can be moved.
        let private = MsFlags::MS_PRIVATE;
        mount(None::<&str>, link_to(&aside.directory).as_str(), None::<&str>, private, None::<&str>)?;
        match place {
            Place::Directory => mkdirat(&aside.directory, NAME, Mode::RWXU)?,
            Place::File => drop(openat(&aside.directory, NAME, OFlags::CREATE | OFlags::CLOEXEC, Mode::RUSR)?),
        }
        Ok(aside)
    }

    /// Mounts in here. Gives the root of the mount.
    pub fn mount(&self, source: Option<&str>, kind: Option<&str>, flags: MsFlags, data: &str) -> io::Result<OwnedFd> {
        let place = openat(&self.directory, NAME, O_PATH | OFlags::NOFOLLOW, Mode::empty())?;
        mount(source, link_to(&place).as_str(), kind, flags, Some(data))?;
        Ok(openat(&self.directory, NAME, O_PATH | OFlags::NOFOLLOW, Mode::empty())?)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // One that went with another, or with the old root, is gone already.
        let _ = umount2(link_to(&self.directory).as_str(), MntFlags::MNT_DETACH);
    }
}
