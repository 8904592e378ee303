//! Paths inside the root file system. The image is not trusted: nothing in it leads out of it (threats.md rule 1).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::fs::{fstat, mkdirat, openat, openat2, readlinkat, statx};
use rustix::io::Errno;

/// As many as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

pub(crate) const O_PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// What to make of a path that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    IsAnError,
    BecomesDirectory,
    /// An empty file, below directories.
    BecomesFile,
}

/// What a symbolic link on the way means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// It is followed as a process inside the container would follow it.
    StayInside,
    /// The same, but one that the path ends in is the place itself.
    LastIsKept,
    /// It is an error: what is mounted here must be where its name says (threats.md S2).
    AreRefused,
}

/// A place in the root file system, held open.
#[derive(Debug)]
pub(crate) struct Found {
    pub fd: OwnedFd,
    /// It was made for us.
    pub new: bool,
}

/// The root directory of the container, held open.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

impl Root {
    pub fn new(fd: OwnedFd) -> Root {
        Root { fd }
    }

    /// What is at `path`, mounts included; `None` where there is nothing.
    pub fn find(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        match self.reach(path, Missing::IsAnError, Links::StayInside) {
            Ok(found) => Ok(Some(found.fd)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn reach(&self, path: &Path, missing: Missing, links: Links) -> io::Result<Found> {
        let resolve = match links {
            Links::StayInside | Links::LastIsKept => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            Links::AreRefused => ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
        };
        let flags = if links == Links::LastIsKept { O_PATH | OFlags::NOFOLLOW } else { O_PATH };
        match openat2(&self.fd, path, flags, Mode::empty(), resolve) {
            Ok(fd) => Ok(Found { fd, new: false }),
            Err(Errno::NOENT) if missing == Missing::IsAnError => Err(Errno::NOENT.into()),
            // NOENT: something is to be made. AGAIN: somebody renames in there. NOSYS, PERM: no openat2, by the kernel
            // or by a filter. LOOP may be a magic link, which the walk reads as a plain one, or one to be told of.
            Err(Errno::NOENT | Errno::AGAIN | Errno::NOSYS | Errno::PERM | Errno::LOOP) => {
                self.walk(path, missing, links)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Goes component by component, each opened below the descriptor of the one before and never through a link: links
    /// are read and walked from where they are, absolute ones from the root. `..` goes back to the descriptor we came
    /// from, so nothing that is moved meanwhile leads out. Needs nothing newer than `O_PATH`.
    fn walk(&self, path: &Path, missing: Missing, links: Links) -> io::Result<Found> {
        let mut pending = VecDeque::new();
        prepend(&mut pending, path);
        let mut below: Vec<OwnedFd> = Vec::new();
        let mut new = false;
        let mut followed = 0;
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                below.pop();
                continue;
            }
            let here = below.last().unwrap_or(&self.fd).as_fd();
            let fd = match openat(here, &name, O_PATH | OFlags::NOFOLLOW, Mode::empty()) {
                Err(Errno::NOENT) if missing != Missing::IsAnError => {
                    new = true;
                    make(here, &name, pending.is_empty() && missing == Missing::BecomesFile)?
                }
                other => other?,
            };
            let kept = links == Links::LastIsKept && pending.is_empty();
            if kept || FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::Symlink {
                below.push(fd);
                continue;
            }
            if links == Links::AreRefused {
                let text = format!("{} in the root file system is a symbolic link", Path::new(&name).display());
                return Err(io::Error::other(text));
            }
            followed += 1;
            if followed > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = PathBuf::from(OsString::from_vec(readlinkat(&fd, "", Vec::new())?.into_bytes()));
            if target.is_absolute() {
                below.clear();
            }
            prepend(&mut pending, &target);
        }
        let fd = match below.pop() {
            Some(fd) => fd,
            None => openat(&self.fd, ".", O_PATH, Mode::empty())?,
        };
        Ok(Found { fd, new })
    }

    /// The directory that `path` is in, made where it is missing, and the name in it.
    pub fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or_else(|| io::Error::from(Errno::INVAL))?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        Ok((self.reach(parent, Missing::BecomesDirectory, Links::StayInside)?.fd, name))
    }

    /// Where `fd` is, as the container will see it. For decisions about `/proc`; needs our own procfs on `/proc`.
    pub fn name_of(&self, fd: impl AsFd) -> io::Result<PathBuf> {
        let (name, root) = (name_of(fd)?, name_of(&self.fd)?);
        Ok(match name.strip_prefix(&root) {
            Ok(rest) => Path::new("/").join(rest),
            Err(_) => name,
        })
    }

    pub fn is(&self, fd: impl AsFd) -> io::Result<bool> {
        same_file(&self.fd, fd)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn make(parent: BorrowedFd, name: &OsStr, file: bool) -> io::Result<OwnedFd> {
    let made = if file {
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(parent, name, create, Mode::from_raw_mode(0o644)).map(drop)
    } else {
        mkdirat(parent, name, Mode::from_raw_mode(0o755))
    };
    match made {
        // Somebody else was faster: take what is there, but not through a link, which is no directory of ours.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(openat(parent, name, O_PATH | OFlags::NOFOLLOW, Mode::empty())?)
}

fn prepend(pending: &mut VecDeque<OsString>, path: &Path) {
    let names: Vec<OsString> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect();
    for name in names.into_iter().rev() {
        pending.push_front(name);
    }
}

/// Our own link to a descriptor, for the calls that know no descriptors.
pub(crate) fn link_to(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

fn name_of(fd: impl AsFd) -> io::Result<PathBuf> {
    std::fs::read_link(link_to(fd))
}

pub(super) fn same_file(one: impl AsFd, other: impl AsFd) -> io::Result<bool> {
    let (one, other) = (fstat(one)?, fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

pub(super) fn is_directory(fd: impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Directory)
}

/// Whether something is mounted at what was opened.
pub(super) fn is_mount(fd: impl AsFd) -> io::Result<bool> {
    let found = statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Whether `name` in `directory` is a symbolic link to exactly `target`.
pub(super) fn is_link_to(directory: impl AsFd, name: &OsStr, target: impl AsRef<OsStr>) -> bool {
    readlinkat(directory, name, Vec::new()).is_ok_and(|found| found.as_bytes() == target.as_ref().as_bytes())
}

/// Removes `name` from `directory`, whatever it is but a directory.
pub(super) fn remove(directory: impl AsFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, Path::new(OsStr::from_bytes(name.as_bytes())), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
