//! A root file system, looked into and never run: names are resolved inside of it, whatever its links say.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use crate::container::rootfs::path::Root;

/// The real ones have 1 to 2 MiB.
const LARGEST_BUSYBOX: u64 = 16 << 20;

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

    /// The busybox that a path is a link to in the end, where it is one: the bytes of the program, with the names of all that
    /// it can do.
    pub fn busybox(&self, path: &Path) -> Option<Vec<u8>> {
        let fd = self.root.find(path).ok()??;
        self.root.name_of(&fd).ok().filter(|path| path.file_name().is_some_and(|file| file == "busybox"))?;
        let mut bytes = Vec::new();
        let file = File::open(PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))).ok();
        // One that may not be read, or is something else, has no names to look for.
        let _ = file.map(|file| file.take(LARGEST_BUSYBOX).read_to_end(&mut bytes));
        Some(bytes)
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
