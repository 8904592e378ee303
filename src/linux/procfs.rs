//! /proc, known to be /proc: nothing over its files, no links, no other file system in its place (threats.md rule 2).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::Pid;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, fstatfs, openat, openat2, readlinkat};

/// The root of a procfs.
pub struct Procfs(OwnedFd);

impl Procfs {
    const ROOT_INODE: u64 = 1;

    /// The one that is mounted at /proc.
    pub fn open() -> io::Result<Procfs> {
        let root = openat(CWD, "/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        if fstatfs(&root)?.f_type != rustix::fs::PROC_SUPER_MAGIC || fstat(&root)?.st_ino != Procfs::ROOT_INODE {
            return Err(io::Error::other("/proc is not the root of a proc file system"));
        }
        Ok(Procfs(root))
    }

    /// The directory of a process, for use after the process is gone, or its number taken by another.
    pub fn process(&self, pid: Pid) -> io::Result<OwnedFd> {
        self.resolve(&pid.to_string(), OFlags::PATH | OFlags::DIRECTORY)
    }

    /// A file of this very process.
    pub fn open_own(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        // `self` is a link, the one that we follow, by hand: it names our pid as this mount sees it.
        let own = readlinkat(&self.0, "self", Vec::new())?;
        let own = own.to_str().map_err(io::Error::other)?.parse::<u32>().map_err(io::Error::other)?;
        self.resolve(&format!("{own}/{name}"), flags)
    }

    /// Whether this process has a file or directory of that name.
    pub fn has_own(&self, name: &str) -> bool {
        self.open_own(name, OFlags::PATH).is_ok()
    }

    pub fn write_own(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        File::from(self.open_own(name, OFlags::WRONLY)?).write_all(bytes)
    }

    pub fn read_own(&self, name: &str) -> io::Result<String> {
        read_all(self.open_own(name, OFlags::RDONLY)?)
    }

    pub fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        File::from(self.resolve(path, OFlags::WRONLY)?).write_all(bytes)
    }

    fn resolve(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        open_below(self.0.as_fd(), path, flags)
    }
}

/// Opens a file below a directory of procfs, with no link and no mount on the way.
pub fn open_below(dir: impl AsFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    match openat2(&dir, path, flags, Mode::empty(), resolve) {
        // A seccomp filter older than Linux 5.6; some say EPERM.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => walk(dir, path, flags),
        file => Ok(file?),
    }
}

/// Opens `/proc/PID/ns/NAME`: a link that the kernel itself resolves.
pub fn open_namespace(process: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let ns = open_below(process, "ns", OFlags::PATH | OFlags::DIRECTORY)?;
    Ok(openat(&ns, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

pub fn read_below(dir: impl AsFd, path: &str) -> io::Result<String> {
    read_all(open_below(dir, path, OFlags::RDONLY)?)
}

pub fn write_below(dir: impl AsFd, path: &str, bytes: &[u8]) -> io::Result<()> {
    File::from(open_below(dir, path, OFlags::WRONLY)?).write_all(bytes)
}

/// Where an id inside a user namespace is outside of it, by the text of its `uid_map` or `gid_map`; None where it is not
/// mapped (user_namespaces(7)).
pub fn outside(map: &str, id: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let numbers: Vec<u32> = line.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [inside, outside, size] = numbers[..] else { return None };
        let offset = id.checked_sub(inside).filter(|offset| *offset < size)?;
        outside.checked_add(offset)
    })
}

fn read_all(file: OwnedFd) -> io::Result<String> {
    let mut text = String::new();
    File::from(file).read_to_string(&mut text)?;
    Ok(text)
}

fn walk(dir: impl AsFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let device = fstat(&dir)?.st_dev;
    let mut at = rustix::io::fcntl_dupfd_cloexec(dir.as_fd(), 3)?;
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        if part == ".." {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let last = parts.peek().is_none();
        let between = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = openat(&at, part, if last { flags } else { between }, Mode::empty())?;
        if fstat(&at)?.st_dev != device {
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_from_outside() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(outside(map, 0), Some(1000));
        assert_eq!(outside(map, 7), Some(100_006));
        assert_eq!(outside(map, 65_537), None);
    }

    #[test]
    fn a_file_of_this_process_is_found_and_links_are_not_followed() {
        let proc = Procfs::open().unwrap();
        assert!(proc.read_own("status").unwrap().contains("Threads:"));
        assert!(proc.resolve("self/status", OFlags::RDONLY).is_err());
        assert!(proc.resolve("../etc/passwd", OFlags::RDONLY).is_err());
        assert!(proc.open_own("exe", OFlags::RDONLY).is_err());
    }

    #[test]
    fn the_walk_without_openat2_refuses_the_same() {
        let proc = Procfs::open().unwrap();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        assert!(read_all(walk(&proc.0, "sys/kernel/ostype", flags).unwrap()).unwrap().starts_with("Linux"));
        assert!(walk(&proc.0, "self/status", flags).is_err());
        assert!(walk(&proc.0, "../etc/passwd", flags).is_err());
    }
}
