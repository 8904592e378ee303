//! The root file system that the layers are put into, one above the other.
//!
//! Every name is hostile. It is resolved inside the tree, by descriptor; what is made there is made new, under a name
//! that was cleared before, so that nothing is ever written through a link.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat, fchmod,
    fchown, fsetxattr, futimens, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::member::{self, Kind, Member};
use super::removal::{remove_contents, remove_tree};
use crate::container::rootfs::path::{Links, Missing, O_PATH, Root};

/// Whose the files become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The layer's users and groups, its devices and its file capabilities.
    AsInTheLayer,
    /// The same as far as ids are mapped in the user namespace that we are root of; no devices.
    AsFarAsMapped,
    /// The caller's, who is not root. Directories can be written to by their owner.
    Callers,
}

impl Ownership {
    /// What the calling user can do.
    pub fn of_caller() -> Ownership {
        match (nix::unistd::geteuid().is_root(), crate::container::root::in_initial_user_namespace()) {
            (true, true) => Ownership::AsInTheLayer,
            (true, false) => Ownership::AsFarAsMapped,
            (false, _) => Ownership::Callers,
        }
    }
}

/// What a whiteout of a layer hides of the layers below (image-spec, layer.md "Whiteouts").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whiteout {
    One(PathBuf),
    /// All that is in the directory.
    Contents(PathBuf),
}

pub struct Tree {
    root: Root,
    ownership: Ownership,
    /// Directories whose time is set when all is in them.
    times: Vec<(PathBuf, (i64, u32))>,
}

impl Tree {
    pub fn new(root: OwnedFd, ownership: Ownership) -> Tree {
        Tree { root: Root::new(root), ownership, times: Vec::new() }
    }

    /// Hides something of the layers below. A link on the way is not followed: behind it is what another name hides.
    pub fn hide(&self, whiteout: &Whiteout) -> io::Result<()> {
        let (directory, name) = match whiteout {
            Whiteout::One(path) => (path.parent().unwrap_or(Path::new("")), path.file_name()),
            Whiteout::Contents(path) => (path.as_path(), None),
        };
        let Some(directory) = self.plain_directory(directory)? else { return Ok(()) };
        match name {
            Some(name) => remove_tree(directory, name),
            None => remove_contents(directory),
        }
    }

    fn plain_directory(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        let open = |parent: BorrowedFd, name: &OsStr| {
            openat(parent, name, O_PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
        };
        let mut directory = open(self.root.as_fd(), OsStr::new("."))?;
        for name in path {
            directory = match open(directory.as_fd(), name) {
                Ok(directory) => directory,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Some(directory))
    }

    /// Puts one member in its place, in the place of what was there. Whether it is there now: devices may not be.
    pub fn put(&mut self, member: &Member, data: &mut impl Read) -> Result<bool> {
        if member.path.as_os_str().is_empty() {
            if member.kind != Kind::Directory {
                bail!("it would replace the root directory");
            }
            let root = openat(&self.root, ".", O_PATH, Mode::empty())?;
            self.finish_directory(root.as_fd(), OsStr::new("."), member)?;
            return Ok(true);
        }
        let (parent, name) = self.root.parent(&member.path)?;
        let parent = parent.as_fd();
        match member.kind {
            Kind::File => self.put_file(parent, name, member, data)?,
            Kind::Directory => {
                make_directory(parent, name)?;
                self.finish_directory(parent, name, member)?;
            }
            Kind::HardLink => self.put_hard_link(parent, name, &member.link)?,
            Kind::SymbolicLink => {
                remove_tree(parent, name)?;
                symlinkat(&member.link, parent, name)?;
                self.finish(parent, name, member)?;
            }
            Kind::Fifo | Kind::CharacterDevice | Kind::BlockDevice => return self.put_special(parent, name, member),
        }
        Ok(true)
    }

    /// To be called when a layer is complete.
    pub fn set_directory_times(&mut self) -> io::Result<()> {
        for (path, time) in std::mem::take(&mut self.times).into_iter().rev() {
            let Ok((parent, name)) = self.root.parent(&path) else { continue };
            // It may have been replaced meanwhile, or be the root directory.
            if let Ok(directory) = openat(parent, name, O_PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                utimensat(directory, "", &times(time), AtFlags::EMPTY_PATH)?;
            }
        }
        Ok(())
    }

    fn put_file(&self, parent: BorrowedFd, name: &OsStr, member: &Member, data: &mut impl Read) -> Result<()> {
        remove_tree(parent, name)?;
        let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(parent, name, new, Mode::RUSR | Mode::WUSR)?);
        io::copy(data, &mut file)?;
        let owned = self.own(|uid, gid| fchown(&file, uid, gid), member)?;
        fchmod(&file, self.mode(member, owned))?;
        self.set_attributes(file.as_fd(), member)?;
        futimens(&file, &times(member.modified))?;
        Ok(())
    }

    fn finish_directory(&mut self, parent: BorrowedFd, name: &OsStr, member: &Member) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(parent, name, flags, Mode::empty())?;
        let owned = self.own(|uid, gid| fchown(&directory, uid, gid), member)?;
        fchmod(&directory, self.mode(member, owned))?;
        self.set_attributes(directory.as_fd(), member)?;
        self.times.push((member.path.clone(), member.modified));
        Ok(())
    }

    fn put_hard_link(&self, parent: BorrowedFd, name: &OsStr, link: &Path) -> Result<()> {
        let target = member::path(link.as_os_str().as_bytes()).context("the file that it is a link to")?;
        let shown = || format!("link to {:?}", link.display().to_string());
        let target_name = target.file_name().with_context(shown)?;
        let directory = target.parent().unwrap_or(Path::new(""));
        let directory = Path::new("/").join(directory);
        let directory = self.root.reach(&directory, Missing::IsAnError, Links::StayInside).with_context(shown)?.fd;
        let found = statat(&directory, target_name, AtFlags::SYMLINK_NOFOLLOW).with_context(shown)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            bail!("{}: that is a directory", shown());
        }
        if statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|here| (here.st_dev, here.st_ino) == (found.st_dev, found.st_ino))
        {
            return Ok(());
        }
        remove_tree(parent, name)?;
        linkat(&directory, target_name, parent, name, AtFlags::empty()).with_context(shown)
    }

    fn put_special(&self, parent: BorrowedFd, name: &OsStr, member: &Member) -> Result<bool> {
        let kind = match member.kind {
            Kind::Fifo => FileType::Fifo,
            Kind::CharacterDevice => FileType::CharacterDevice,
            _ => FileType::BlockDevice,
        };
        remove_tree(parent, name)?;
        if kind != FileType::Fifo && self.ownership != Ownership::AsInTheLayer {
            return Ok(false);
        }
        let (major, minor) = member.device;
        mknodat(parent, name, kind, Mode::empty(), makedev(major, minor))?;
        self.finish(parent, name, member)?;
        Ok(true)
    }

    /// Owner, mode and time of what cannot be opened. It was made just now, by us, and nobody else is in the tree.
    fn finish(&self, parent: BorrowedFd, name: &OsStr, member: &Member) -> Result<()> {
        let owned = self.own(|uid, gid| chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW), member)?;
        if member.kind != Kind::SymbolicLink {
            chmodat(parent, name, self.mode(member, owned), AtFlags::empty())?;
        }
        Ok(utimensat(parent, name, &times(member.modified), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Whether it is its owner's now.
    fn own(&self, chown: impl Fn(Option<Uid>, Option<Gid>) -> rustix::io::Result<()>, member: &Member) -> Result<bool> {
        if self.ownership == Ownership::Callers {
            return Ok(false);
        }
        match chown(Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid))) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::PERM) if self.ownership == Ownership::AsFarAsMapped => Ok(false),
            Err(error) => Err(anyhow!(io::Error::from(error)).context(format!("chown {}:{}", member.uid, member.gid))),
        }
    }

    /// A set-id bit gives the rights of the owner of the layer, never those of whoever unpacks it: 0 is the caller there.
    fn mode(&self, member: &Member, owned: bool) -> Mode {
        let mut mode = Mode::from_raw_mode(member.mode);
        let directory = member.kind == Kind::Directory;
        if !owned && member.uid != 0 && !directory {
            mode -= Mode::SUID;
        }
        if !owned && member.gid != 0 && !directory {
            mode -= Mode::SGID;
        }
        if directory && self.ownership == Ownership::Callers {
            mode |= Mode::RWXU;
        }
        mode
    }

    /// Those that a program of the image may want. Others (labels, an overlay's own) are for the host to give.
    fn set_attributes(&self, fd: BorrowedFd, member: &Member) -> Result<()> {
        for (name, value) in &member.attributes {
            let wanted = match name.as_bytes() {
                b"security.capability" => self.ownership != Ownership::Callers,
                name => name.starts_with(b"user."),
            };
            if !wanted {
                continue;
            }
            match fsetxattr(fd, name, value, XattrFlags::empty()) {
                // Not every file system has them.
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(Errno::PERM) if self.ownership == Ownership::AsFarAsMapped => {}
                Err(error) => bail!(
                    "extended attribute {:?} of {} bytes: {}",
                    name.display().to_string(),
                    value.len(),
                    io::Error::from(error)
                ),
            }
        }
        Ok(())
    }
}

/// A directory that is there stays, with what is in it.
fn make_directory(parent: BorrowedFd, name: &OsStr) -> io::Result<()> {
    let make = || mkdirat(parent, name, Mode::RWXU);
    match make() {
        Err(Errno::EXIST) => {
            let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                remove_tree(parent, name)?;
                make()?;
            }
            Ok(())
        }
        other => Ok(other?),
    }
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}
