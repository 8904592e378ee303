//! A mount, or a tree of them, held by descriptor: made aside, changed, and only then attached to a place.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, anyhow};
use nix::mount::MsFlags;
use rustix::io::Errno;
use rustix::mount::{self, FsMountFlags, FsOpenFlags, MountAttrFlags as Attr, MoveMountFlags, OpenTreeFlags};

use super::aside::{self, Aside, Place};
use super::options::Options;
use super::path::{is_directory, link_to};
use crate::linux::mount::{MountAttributes, mount_setattr};
use crate::linux::probe;

/// A mount by its root. It stays after the tree is attached, and changes the attached mount then.
#[derive(Debug)]
pub(super) struct Tree {
    fd: OwnedFd,
    /// Where it was made, if it could not be made detached.
    aside: Option<Aside>,
}

/// One change of a tree, and whether it goes for all mounts below.
pub(super) type Change = (MountAttributes, bool);

impl Tree {
    /// What is mounted at a place already.
    pub fn at(place: OwnedFd) -> Tree {
        Tree { fd: place, aside: None }
    }

    /// Copies what is mounted at `place`, which is in our own mount namespace: the beginning of every bind mount.
    pub fn copy_of(place: impl AsFd, recursive: bool) -> io::Result<Tree> {
        if aside::is_needed() {
            let aside = Aside::new(if is_directory(&place)? { Place::Directory } else { Place::File })?;
            let reach = if recursive { MsFlags::MS_REC } else { MsFlags::empty() };
            let fd = aside.mount(Some(aside::own_link(&place)?.as_str()), None, MsFlags::MS_BIND | reach, "")?;
            return Ok(Tree { fd, aside: Some(aside) });
        }
        let mut flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        if recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        Ok(Tree { fd: mount::open_tree(place, "", flags)?, aside: None })
    }

    /// Makes a new mount of a file system.
    pub fn filesystem(kind: &str, source: &str, options: &Options) -> Result<Tree> {
        if options.old_flags != 0 || aside::is_needed() {
            return Tree::filesystem_aside(kind, source, options);
        }
        let context = mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| match error {
            Errno::NODEV => anyhow!("the kernel knows no file system {kind:?}"),
            error => anyhow!(io::Error::from(error)),
        })?;
        let tell = |error: Errno| with_words_of(context.as_fd(), error);
        if !source.is_empty() {
            mount::fsconfig_set_string(&context, "source", source).map_err(tell)?;
        }
        for flag in &options.superblock {
            mount::fsconfig_set_flag(&context, *flag).map_err(tell)?;
        }
        for option in &options.data {
            match option.split_once('=') {
                Some((key, value)) => mount::fsconfig_set_string(&context, key, unquoted(key, value)),
                None => mount::fsconfig_set_flag(&context, option.as_str()),
            }
            .map_err(tell)
            .with_context(|| format!("option {option:?}"))?;
        }
        mount::fsconfig_create(&context).map_err(tell)?;
        let attributes = Attr::from_bits_retain((options.set | options.recursive_set) as u32);
        let fd = mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(tell)?;
        Ok(Tree { fd, aside: None })
    }

    /// The same with mount(2), which takes some flags that fsconfig(2) does not know.
    fn filesystem_aside(kind: &str, source: &str, options: &Options) -> Result<Tree> {
        let attributes =
            MountAttributes::new(options.set | options.recursive_set, options.clear | options.recursive_clear);
        let superblock = options.superblock.iter().fold(MsFlags::empty(), |flags, name| {
            flags
                | match *name {
                    "sync" => MsFlags::MS_SYNCHRONOUS,
                    "dirsync" => MsFlags::MS_DIRSYNC,
                    "mand" => MsFlags::MS_MANDLOCK,
                    _ => MsFlags::MS_LAZYTIME,
                }
        });
        // Where nothing is said of access times the kernel's default is relatime.
        let flags =
            old_flags(libc::ST_RELATIME, &attributes) | superblock | MsFlags::from_bits_retain(options.old_flags);
        let aside = Aside::new(Place::Directory)?;
        let fd =
            aside.mount(Some(source), Some(kind), flags, &mount_data(&options.data)).map_err(|error| {
                match error.raw_os_error() {
                    Some(libc::ENODEV) => anyhow!("the kernel knows no file system {kind:?}"),
                    Some(libc::EINVAL) => anyhow!("{error}: perhaps an option of {:?}", mount_data(&options.data)),
                    _ => anyhow!(error),
                }
            })?;
        Ok(Tree { fd, aside: Some(aside) })
    }

    /// An empty directory that cannot be written to.
    pub fn empty() -> Result<Tree> {
        let options = Options::parse(["ro", "nosuid", "nodev", "noexec", "mode=755", "nr_inodes=1"]);
        Tree::filesystem("tmpfs", "tmpfs", &options.expect("these are options"))
    }

    /// Puts the tree on top of what is at `place`.
    pub fn attach(&self, place: impl AsFd) -> io::Result<()> {
        if self.aside.is_some() {
            return aside::move_to(&self.fd, place);
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        Ok(mount::move_mount(&self.fd, "", place, "", flags)?)
    }

    /// Changes the tree, then attaches it: at no time is it seen unchanged. Before Linux 5.12 a tree can only be changed
    /// when it is attached, and that goes the other way round.
    pub fn change_and_attach(&self, changes: &[Change], place: impl AsFd) -> io::Result<()> {
        let mut attached = false;
        for (attributes, recursive) in changes {
            if *attributes == MountAttributes::default() {
                continue;
            }
            match mount_setattr(&self.fd, *recursive, attributes) {
                Err(error) if is_hidden(&error) => {
                    if *recursive && attributes.set | attributes.clear != 0 {
                        return Err(no_recursion());
                    }
                    if !attached && self.aside.is_none() {
                        self.attach(&place)?;
                        attached = true;
                    }
                    self.change_by_remount(attributes, *recursive)?;
                }
                other => other?,
            }
        }
        if attached { Ok(()) } else { self.attach(place) }
    }

    /// Changes a tree that is attached.
    pub fn change(&self, attributes: &MountAttributes, recursive: bool) -> io::Result<()> {
        match mount_setattr(&self.fd, recursive, attributes) {
            Err(error) if is_hidden(&error) => self.change_by_remount(attributes, recursive),
            other => other,
        }
    }

    /// Does with mount(2) what `mount_setattr` does. A remount would drop every flag that is not given, so those that
    /// the mount has are given again (threats.md S21).
    fn change_by_remount(&self, attributes: &MountAttributes, recursive: bool) -> io::Result<()> {
        use nix::mount::mount;
        let link = link_to(&self.fd);
        let call = |flags| Ok::<(), io::Error>(mount(None::<&str>, link.as_str(), None::<&str>, flags, None::<&str>)?);
        if attributes.propagation != 0 {
            let reach = if recursive { MsFlags::MS_REC } else { MsFlags::empty() };
            call(MsFlags::from_bits_retain(attributes.propagation) | reach)?;
        }
        if attributes.set | attributes.clear == 0 {
            return Ok(());
        }
        if recursive {
            return Err(no_recursion());
        }
        let wanted = old_flags(rustix::fs::fstatvfs(&self.fd)?.f_flag.bits(), attributes);
        call(MsFlags::MS_REMOUNT | MsFlags::MS_BIND | wanted)
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Of `mount_setattr`: not there before Linux 5.12, and hidden by filters that do not know it, some of which say EPERM.
fn is_hidden(error: &io::Error) -> bool {
    let refused = || error.raw_os_error() == Some(libc::EPERM) && probe::is_hidden(probe::Call::MountSetattr);
    error.raw_os_error() == Some(libc::ENOSYS) || refused()
}

/// The options whose value is an SELinux context, with commas between its categories (mount(8)).
const CONTEXTS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// The options as mount(2) takes them, in one string in which quotes keep the commas of a context.
fn mount_data(options: &[String]) -> String {
    let quoted = |option: &String| match option.split_once('=') {
        Some((key, value)) if CONTEXTS.contains(&key) => format!("{key}=\"{}\"", unquoted(key, value)),
        _ => option.clone(),
    };
    options.iter().map(quoted).collect::<Vec<_>>().join(",")
}

/// A value as fsconfig(2) takes it, alone, where quotes would belong to it. Some write them as mount(2) wants them.
fn unquoted<'a>(key: &str, value: &'a str) -> &'a str {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.filter(|_| CONTEXTS.contains(&key)).unwrap_or(value)
}

fn no_recursion() -> io::Error {
    io::Error::other(
        "recursive mount options need mount_setattr (Linux 5.12), which the kernel or a seccomp filter refuses",
    )
}

/// The flags for a remount of a mount that has `current` (`ST_*` of statvfs(3)).
fn old_flags(current: u64, attributes: &MountAttributes) -> MsFlags {
    const ST_NOSYMFOLLOW: u64 = 0x2000; // include/linux/statfs.h
    const MS_NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256); // include/uapi/linux/mount.h
    let table = [
        (Attr::MOUNT_ATTR_NOSYMFOLLOW, ST_NOSYMFOLLOW, MS_NOSYMFOLLOW),
        (Attr::MOUNT_ATTR_RDONLY, libc::ST_RDONLY, MsFlags::MS_RDONLY),
        (Attr::MOUNT_ATTR_NOSUID, libc::ST_NOSUID, MsFlags::MS_NOSUID),
        (Attr::MOUNT_ATTR_NODEV, libc::ST_NODEV, MsFlags::MS_NODEV),
        (Attr::MOUNT_ATTR_NOEXEC, libc::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (Attr::MOUNT_ATTR_NODIRATIME, libc::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
    ];
    let mut flags = MsFlags::empty();
    for (attr, has, flag) in table {
        let (attr, has) = (u64::from(attr.bits()), current & has != 0);
        if attributes.set & attr != 0 || (has && attributes.clear & attr == 0) {
            flags |= flag;
        }
    }
    let atime = u64::from(Attr::MOUNT_ATTR__ATIME.bits());
    flags
        | match (attributes.clear & atime != 0).then_some(attributes.set & atime) {
            Some(set) if set == u64::from(Attr::MOUNT_ATTR_NOATIME.bits()) => MsFlags::MS_NOATIME,
            Some(set) if set == u64::from(Attr::MOUNT_ATTR_STRICTATIME.bits()) => MsFlags::MS_STRICTATIME,
            Some(_) => MsFlags::MS_RELATIME,
            None if current & libc::ST_NOATIME != 0 => MsFlags::MS_NOATIME,
            None if current & libc::ST_RELATIME != 0 => MsFlags::MS_RELATIME,
            None => MsFlags::MS_STRICTATIME,
        }
}

/// The file system's own words, which it leaves to be read from its context, say more than the number.
fn with_words_of(context: BorrowedFd, error: Errno) -> anyhow::Error {
    let mut words = Vec::new();
    let mut buffer = [0; 512];
    while let Ok(length @ 1..) = rustix::io::read(context, &mut buffer[..]) {
        // Each message is "e ", "w " or "i " and the text.
        let line = String::from_utf8_lossy(&buffer[..length]);
        words.push(line.get(2..).unwrap_or("").trim_end().to_owned());
    }
    let error = io::Error::from(error);
    if words.is_empty() { anyhow!(error) } else { anyhow!("{error} ({})", words.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s21_a_remount_keeps_every_flag_that_the_mount_has() {
        let set_readonly = MountAttributes::new(u64::from(Attr::MOUNT_ATTR_RDONLY.bits()), 0);
        for bits in 0..16 {
            // ST_RDONLY, ST_NOSUID, ST_NODEV, ST_NOEXEC are the lowest bits, as the MS_ ones are.
            let flags = old_flags(bits, &set_readonly);
            assert_eq!(flags, MsFlags::from_bits_retain(bits) | MsFlags::MS_RDONLY | MsFlags::MS_STRICTATIME);
        }
        assert!(old_flags(libc::ST_NOATIME | libc::ST_RELATIME, &set_readonly).contains(MsFlags::MS_NOATIME));
    }

    #[test]
    fn a_context_with_commas_is_quoted_for_mount_and_bare_for_fsconfig() {
        let options = ["mode=755", "context=u:r:t:s0:c1,c2", "rootcontext=\"u:r:t:s0:c1,c2\"", "noswap"];
        let options = options.map(str::to_owned);
        let expected = "mode=755,context=\"u:r:t:s0:c1,c2\",rootcontext=\"u:r:t:s0:c1,c2\",noswap";
        assert_eq!(mount_data(&options), expected);
        assert_eq!(mount_data(&[]), "");
        assert_eq!(unquoted("context", "\"u:r:t:s0:c1,c2\""), "u:r:t:s0:c1,c2");
        assert_eq!(unquoted("context", "u:r:t:s0:c1,c2"), "u:r:t:s0:c1,c2");
        assert_eq!(unquoted("lowerdir", "\"a\""), "\"a\"");
    }

    #[test]
    fn a_remount_drops_only_what_is_cleared() {
        let clear_nosuid = MountAttributes::new(0, u64::from(Attr::MOUNT_ATTR_NOSUID.bits()));
        let flags = old_flags(libc::ST_NOSUID | libc::ST_NODEV, &clear_nosuid);
        assert_eq!(flags, MsFlags::MS_NODEV | MsFlags::MS_STRICTATIME);
    }
}
