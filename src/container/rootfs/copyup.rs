//! `tmpcopyup`: a new tmpfs that begins with what it will cover.
//!
//! The image is not trusted: everything is opened below the directory that it is in, never through a link, and no mount
//! that stands in there is entered. What can become too much ends at the size of the tmpfs, or at the limits here.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    fstat, getxattr, listxattr, mkdirat, mknodat, openat, readlinkat, setxattr, stat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::path::{O_PATH, is_mount, link_to};

/// No honest image nests deeper, and each level holds two descriptors.
const DEPTH: usize = 128;
/// Each file takes memory of the host's, whatever the size of the tmpfs says about contents.
const FILES: usize = 100_000;
/// The kernel's own limits (xattr(7)).
const NAMES: usize = 64 << 10;
const VALUE: usize = 64 << 10;
const ACL: &[u8] = b"system.posix_acl_access";

/// Copies what is in `from` into the empty directory `to`. And, where `itself` says so, what `from` is but for its mode: owner,
/// attributes and times.
pub(super) fn copy(from: impl AsFd, to: impl AsFd, itself: bool) -> Result<()> {
    let mut copier = Copier { files: 0 };
    let readable = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = openat(&from, ".", readable, Mode::empty())?;
    let to = openat(&to, ".", readable, Mode::empty())?;
    copier.contents(from.as_fd(), to.as_fd(), 0)?;
    if itself { finish(from.as_fd(), to.as_fd(), Keep::NoMode) } else { Ok(()) }
}

struct Copier {
    files: usize,
}

impl Copier {
    fn contents(&mut self, from: BorrowedFd, to: BorrowedFd, depth: usize) -> Result<()> {
        if depth > DEPTH {
            bail!("directories are nested more than {DEPTH} deep");
        }
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.files += 1;
            if self.files > FILES {
                bail!("more than {FILES} files");
            }
            let shown = || format!("copy {:?}", name.to_string_lossy());
            self.entry(from, to, name, depth).with_context(shown)?;
        }
        Ok(())
    }

    fn entry(&mut self, from: BorrowedFd, to: BorrowedFd, name: &std::ffi::CStr, depth: usize) -> Result<()> {
        let source = openat(from, name, O_PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let found = fstat(&source)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        // What is mounted there is not of the image, also where it is a bind mount of the same file system.
        let foreign = is_mount(&source)?;
        let reopen = |flags| openat(CWD, link_to(&source), flags | OFlags::CLOEXEC, Mode::empty());
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU)?;
                let made = openat(to, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
                if !foreign {
                    self.contents(reopen(OFlags::RDONLY | OFlags::DIRECTORY)?.as_fd(), made.as_fd(), depth + 1)?;
                }
            }
            FileType::RegularFile => {
                let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut made = File::from(openat(to, name, new, Mode::RUSR | Mode::WUSR)?);
                if !foreign {
                    io::copy(&mut File::from(reopen(OFlags::RDONLY)?), &mut made)?;
                }
            }
            FileType::Symlink => symlinkat(readlinkat(&source, "", Vec::new())?, to, name)?,
            // Whoever bound it is not there.
            FileType::Socket => return Ok(()),
            kind => match mknodat(to, name, kind, Mode::empty(), found.st_rdev) {
                // A user namespace has no devices of its own.
                Err(Errno::PERM) => return Ok(()),
                made => made?,
            },
        }
        let made = openat(to, name, O_PATH | OFlags::NOFOLLOW, Mode::empty())?;
        finish(source.as_fd(), made.as_fd(), if kind == FileType::Symlink { Keep::NoMode } else { Keep::Mode })
    }
}

/// Whether there is a mode to keep.
#[derive(Clone, Copy, PartialEq)]
enum Keep {
    Mode,
    NoMode,
}

/// Gives `to` what `from` has besides contents. Owner before mode, which a change of owner would take bits from.
fn finish(from: BorrowedFd, to: BorrowedFd, keep: Keep) -> Result<()> {
    let found = fstat(from)?;
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    let mut mode = Mode::from_raw_mode(found.st_mode & 0o7777);
    match chownat(to, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH) {
        // An owner that is not mapped into our user namespace cannot be given, and its set-id bits would be another's.
        Err(Errno::INVAL | Errno::PERM) => mode -= Mode::SUID | Mode::SGID,
        done => done.with_context(|| format!("chown {}:{}", found.st_uid, found.st_gid))?,
    }
    if keep == Keep::Mode {
        chmodat(CWD, link_to(to), mode, AtFlags::empty())?;
    }
    copy_attributes(from, to)?;
    Ok(utimensat(to, "", &times(&found), AtFlags::EMPTY_PATH)?)
}

/// Those that a tmpfs can hold and that we may give.
fn copy_attributes(from: BorrowedFd, to: BorrowedFd) -> Result<()> {
    let (from, to) = (link_to(from), link_to(to));
    let mut names = vec![0; NAMES];
    let length = match listxattr(&from, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        length => length.context("list extended attributes")?,
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; VALUE];
        let shown = || format!("extended attribute {:?}", String::from_utf8_lossy(name));
        let length = getxattr(&from, name, &mut value[..]).with_context(shown)?;
        match setxattr(&to, name, &value[..length], XattrFlags::empty()) {
            Ok(()) => {}
            // EINVAL: an ACL or capabilities with ids that our user namespace does not have.
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) if name == ACL => deny_group(&to).with_context(shown)?,
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(io::Error::from(error)).with_context(shown),
        }
    }
    Ok(())
}

/// The bits of the group are the mask of an ACL (acl(5)): without it they would give the group what others had.
fn deny_group(file: &str) -> io::Result<()> {
    let mode = Mode::from_raw_mode(stat(file)?.st_mode & 0o7777);
    Ok(chmodat(CWD, file, mode - Mode::RWXG, AtFlags::empty())?)
}

fn times(found: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: found.st_atime, tv_nsec: found.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: found.st_mtime, tv_nsec: found.st_mtime_nsec as _ },
    }
}
