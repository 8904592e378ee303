//! `/dev`: the devices that every container has, those of `linux.devices`, and the links (config-linux.md "default devices").

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, major, makedev, minor};
use rustix::fs::{mknodat, openat, symlinkat};
use rustix::io::Errno;

use super::entry::{self, Kind};
use super::path::{Links, Missing, O_PATH, Root, is_link_to, link_to, remove};
use super::tree::Tree;

const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

struct Device {
    path: PathBuf,
    kind: FileType,
    major: u32,
    minor: u32,
    mode: Mode,
    owner: Option<(Uid, Gid)>,
}

/// Makes devices and links, unless `/dev` is bound from elsewhere: then it is as it is.
pub(super) fn set_up(root: &Root, config: &Spec, user_namespace: bool) -> Result<()> {
    let bound = dev_is_bound(config);
    let mut devices = Vec::new();
    for device in config.linux().as_ref().and_then(|linux| linux.devices().as_ref()).into_iter().flatten() {
        devices.push(Device::from_config(device));
    }
    if bound {
        devices.retain(|device| !device.path.starts_with("/dev"));
    } else {
        let taken: Vec<PathBuf> = devices.iter().map(|device| device.path.clone()).collect();
        let free = DEFAULTS.iter().filter(|(path, ..)| !taken.iter().any(|taken| taken == Path::new(path)));
        devices.extend(free.map(|&(path, major, minor)| Device::character(path, major, minor)));
    }
    for device in &devices {
        device.make(root, user_namespace).with_context(|| format!("device {}", device.path.display()))?;
    }
    if !bound {
        links(root).context("links in /dev")?;
        console_place(root, config).context("make /dev/console")?;
    }
    Ok(())
}

fn dev_is_bound(config: &Spec) -> bool {
    config.mounts().iter().flatten().any(|mount| {
        let at_dev = mount.destination().components().eq(Path::new("/dev").components());
        at_dev && matches!(entry::parse_entry(mount), Ok((Kind::Bind { .. }, _)))
    })
}

impl Device {
    fn character(path: &str, major: u32, minor: u32) -> Device {
        let mode = Mode::from_raw_mode(0o666);
        Device { path: path.into(), kind: FileType::CharacterDevice, major, minor, mode, owner: None }
    }

    fn from_config(device: &LinuxDevice) -> Device {
        let kind = match device.typ() {
            LinuxDeviceType::B => FileType::BlockDevice,
            LinuxDeviceType::P => FileType::Fifo,
            // "a" is refused by config::parse.
            LinuxDeviceType::C | LinuxDeviceType::U | LinuxDeviceType::A => FileType::CharacterDevice,
        };
        let owner = (Uid::from_raw(device.uid().unwrap_or(0)), Gid::from_raw(device.gid().unwrap_or(0)));
        Device {
            path: device.path().clone(),
            kind,
            major: device.major() as u32,
            minor: device.minor() as u32,
            mode: Mode::from_raw_mode(device.file_mode().unwrap_or(0o666) & 0o7777),
            owner: Some(owner),
        }
    }

    /// Makes the node. Where the kernel does not let us (a user namespace, or a container around us), the host's node of
    /// the same numbers is bound.
    fn make(&self, root: &Root, user_namespace: bool) -> Result<()> {
        if user_namespace && self.kind != FileType::Fifo {
            return self.bind(root);
        }
        let (directory, name) = root.parent(&self.path)?;
        let made = mknodat(&directory, name, self.kind, self.mode, makedev(self.major, self.minor));
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(Errno::PERM) => return self.bind(root),
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let node = openat(&directory, name, O_PATH | OFlags::NOFOLLOW, Mode::empty())?;
        self.check(&node)?;
        // What was there before us may be a node of the host's that was bound: it stays as it is.
        if made == Err(Errno::EXIST) {
            return Ok(());
        }
        if let Some((uid, gid)) = self.owner {
            chownat(&node, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
        rustix::fs::chmodat(CWD, link_to(&node), self.mode, AtFlags::empty())?;
        Ok(())
    }

    fn bind(&self, root: &Root) -> Result<()> {
        let source = openat(CWD, &self.path, O_PATH, Mode::empty())
            .map_err(io::Error::from)
            .with_context(|| format!("open the host's {}, to be bound", self.path.display()))?;
        self.check(&source)?;
        let place = root.reach(&self.path, Missing::BecomesFile, Links::StayInside)?;
        if self.check(&place.fd).is_ok() {
            return Ok(());
        }
        Tree::copy_of(&source, false)?.attach(&place.fd)?;
        Ok(())
    }

    /// threats.md rule 3: what was opened counts, not what it is called.
    fn check(&self, node: &OwnedFd) -> Result<()> {
        let found = fstat(node)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let numbers = (major(found.st_rdev), minor(found.st_rdev));
        let same = self.kind == FileType::Fifo || numbers == (self.major, self.minor);
        if kind != self.kind || !same {
            let (major, minor) = (self.major, self.minor);
            bail!("what is there is {kind:?} {}:{}, expected {:?} {major}:{minor}", numbers.0, numbers.1, self.kind);
        }
        Ok(())
    }
}

/// Opens `/dev/null` of where we are now and makes sure that it is what it says (threats.md S7).
pub(super) fn open_null() -> Result<OwnedFd> {
    let null = openat(CWD, "/dev/null", O_PATH | OFlags::NOFOLLOW, Mode::empty())
        .map_err(io::Error::from)
        .context("open /dev/null")?;
    Device::character("/dev/null", 1, 3).check(&null).context("/dev/null")?;
    Ok(null)
}

fn links(root: &Root) -> Result<()> {
    let dev = root.reach(Path::new("/dev"), Missing::BecomesDirectory, Links::StayInside)?.fd;
    for (name, target) in LINKS {
        match symlinkat(target, &dev, name) {
            // As the image has it.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(io::Error::from(error)).with_context(|| format!("make /dev/{name}")),
        }
    }
    let ptmx = OsStr::new("ptmx");
    if !is_link_to(&dev, ptmx, "pts/ptmx") {
        // The host's ptmx would open terminals of the host.
        remove(&dev, ptmx).context("remove the image's /dev/ptmx")?;
        symlinkat("pts/ptmx", &dev, ptmx).map_err(io::Error::from).context("make /dev/ptmx")?;
    }
    Ok(())
}

/// The place for the terminal: `console` binds it when the terminal exists, and `/dev` may be read-only by then.
fn console_place(root: &Root, config: &Spec) -> Result<()> {
    if config.process().as_ref().and_then(|process| process.terminal()) == Some(true) {
        open_console_place(root)?;
    }
    Ok(())
}

/// Opens `/dev/console` of the container, not through a link of that name, and makes it where it is missing.
pub(super) fn open_console_place(root: &Root) -> Result<OwnedFd> {
    let (dev, name) = root.parent(Path::new("/dev/console"))?;
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&dev, name, create, Mode::from_raw_mode(0o600)) {
        Ok(_) | Err(Errno::EXIST | Errno::ROFS) => {}
        Err(error) => return Err(io::Error::from(error).into()),
    }
    let place = openat(&dev, name, O_PATH | OFlags::NOFOLLOW, Mode::empty()).map_err(io::Error::from)?;
    match FileType::from_raw_mode(fstat(place.as_fd())?.st_mode) {
        FileType::Symlink | FileType::Directory => bail!("it is a symbolic link or a directory in the image"),
        _ => Ok(place),
    }
}
