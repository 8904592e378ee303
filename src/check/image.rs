//! A root file system, looked into and never run: names are resolved inside of it, whatever its links say.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use crate::container::rootfs::path::Root;

#[derive(Debug)]
pub struct Image {
    root: Root,
}

/// What there is under a program's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Runs,
    /// It begins with `#!` and the path of a program that is not there.
    LacksInterpreter(String),
    NotExecutable,
    Missing,
    /// One may not look there.
    Unknown,
}

impl Image {
    pub fn open(directory: &Path) -> Result<Image> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd =
            openat(CWD, directory, flags, Mode::empty()).with_context(|| format!("open {}", directory.display()))?;
        Ok(Image { root: Root::new(fd) })
    }

    /// What execve would find at a path.
    pub fn program(&self, path: &Path) -> Lookup {
        let fd = match self.root.find(path) {
            Ok(Some(fd)) => fd,
            Ok(None) => return Lookup::Missing,
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Lookup::Missing,
            Err(_) => return Lookup::Unknown,
        };
        let Ok(stat) = fstat(&fd) else { return Lookup::Unknown };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || stat.st_mode & 0o111 == 0 {
            return Lookup::NotExecutable;
        }
        match interpreter(&fd) {
            Some(interpreter) if self.program(Path::new(&interpreter)) == Lookup::Missing => {
                Lookup::LacksInterpreter(interpreter)
            }
            _ => Lookup::Runs,
        }
    }

    /// Whether a path is a link to a program of this name in the end, as all of busybox' are.
    pub fn is_made_of(&self, path: &Path, name: &str) -> bool {
        let Ok(Some(fd)) = self.root.find(path) else { return false };
        self.root.name_of(&fd).is_ok_and(|path| path.file_name().is_some_and(|file| file == name))
    }
}

/// The program that a script names in its first line. The kernel follows few of those, and only one is followed here.
fn interpreter(fd: &OwnedFd) -> Option<String> {
    // A file that may not be read runs all the same.
    let file = File::open(PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))).ok()?;
    let mut start = Vec::new();
    file.take(256).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?;
    let line = &line[..line.iter().position(|byte| *byte == b'\n')?];
    let line = std::str::from_utf8(line).ok()?.trim();
    let path = line.split([' ', '\t']).next()?;
    path.starts_with('/').then(|| path.to_owned())
}
