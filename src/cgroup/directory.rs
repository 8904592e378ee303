//! One cgroup directory, reached through a descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// An open cgroup directory. Files are opened below the descriptor, so a directory that is replaced meanwhile is not
/// mistaken for it.
pub(super) struct Directory {
    fd: OwnedFd,
    pub path: PathBuf,
}

impl Directory {
    pub fn open(path: &Path) -> io::Result<Directory> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Directory { fd, path: path.to_owned() })
    }

    /// Opens a directory that may be gone, which is no error.
    pub fn open_if_there(path: &Path) -> io::Result<Option<Directory>> {
        match Directory::open(path) {
            Ok(directory) => Ok(Some(directory)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens one of the cgroup's files, for reading and for `poll`.
    pub fn file(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(&self.fd, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?)
    }

    pub fn read(&self, name: &str) -> io::Result<String> {
        let file = self.file(name)?;
        read_all(file.as_fd())
    }

    /// Writes a value with one `write`, as the kernel wants it.
    pub fn write(&self, name: &str, value: &str) -> io::Result<()> {
        let file =
            rustix::fs::openat(&self.fd, name, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
        write_once(file.as_fd(), value)
    }

    /// Changes the owner of one of the cgroup's files, or of the directory itself (`.`).
    pub fn give(&self, name: &str, owner: u32) -> io::Result<()> {
        let owner = rustix::process::Uid::from_raw(owner);
        Ok(rustix::fs::chownat(&self.fd, name, Some(owner), None, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Opens a file for several writes.
    pub fn writer(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(&self.fd, name, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?)
    }

    /// The names of the cgroups directly below.
    pub fn children(&self) -> io::Result<Vec<String>> {
        self.entries(FileType::Directory)
    }

    /// The names of the cgroup's files.
    pub fn files(&self) -> io::Result<Vec<String>> {
        self.entries(FileType::RegularFile)
    }

    fn entries(&self, kind: FileType) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if entry.file_type() == kind && name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        Ok(names)
    }

    /// Cheaper than reading all the names of a directory full of files: each child counts as a link (kernfs).
    fn has_children(&self) -> io::Result<bool> {
        Ok(rustix::fs::fstat(&self.fd)?.st_nlink > 2)
    }

    pub fn child(&self, name: &str) -> io::Result<Option<Directory>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map_err(io::Error::from) {
            Ok(fd) => Ok(Some(Directory { fd, path: self.path.join(name) })),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn remove_child(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?)
    }

    /// The processes in this cgroup itself, without those below.
    pub fn processes(&self) -> io::Result<Vec<Pid>> {
        match self.read("cgroup.procs") {
            // 0 is a process that our pid namespace does not have: there is nothing we could do to it.
            Ok(text) => Ok(text
                .lines()
                .filter_map(|line| line.parse().ok())
                .filter(|pid| *pid > 0)
                .map(Pid::from_raw)
                .collect()),
            // A threaded cgroup: its processes are listed in the domain above.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The processes in this cgroup and in all below.
    pub fn processes_below(&self, found: &mut Vec<Pid>) -> io::Result<()> {
        found.extend(self.processes()?);
        if !self.has_children()? {
            return Ok(());
        }
        for name in ignore_gone(self.children())? {
            if let Some(child) = self.child(&name)? {
                child.processes_below(found)?;
            }
        }
        Ok(())
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether an error says that the cgroup was removed: before we opened it, or while we had it open.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

fn ignore_gone<T: Default>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if is_gone(&error) => Ok(T::default()),
        other => other,
    }
}

pub(super) fn write_once(file: BorrowedFd<'_>, value: &str) -> io::Result<()> {
    let written = rustix::io::write(file, value.as_bytes())?;
    if written == value.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Reads a file from its start, whatever was read of it before.
pub(super) fn read_all(file: BorrowedFd<'_>) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut block = [0; 4096];
    loop {
        let count = rustix::io::pread(file, &mut block, bytes.len() as u64)?;
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&block[..count]);
    }
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}
