//! The entries of `mounts`, made in their order.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{CWD, FsWord, Mode, OFlags, fstat, fstatfs, mkdirat, openat, symlinkat};
use rustix::io::Errno;

use super::entry::{Kind, parse_entry};
use super::options::{Options, READONLY};
use super::path::{Links, Missing, O_PATH, Root, is_directory, is_link_to, is_mount};
use super::source::Source;
use super::tree::{Change, Tree};
use super::{RootfsOptions, aside, copyup};
use crate::cgroup::{CgroupMount, Version};
use crate::container::labels;
use crate::linux::mount::MountAttributes;

pub(super) const PROC_SUPER_MAGIC: FsWord = 0x9fa0;
const SYSFS_MAGIC: FsWord = 0x6265_6572;
const CGROUP2_MAGIC: FsWord = 0x6367_7270;
/// The root of every procfs.
const PROC_ROOT_INODE: u64 = 1;

/// Files of /proc that may be covered: they only inform (threats.md S3; the same ones as runc and crun let through).
const PROC_FILES: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
    "/proc/net/dev",
];

/// File systems whose labels the policy chooses by itself.
const UNLABELLED: [&str; 3] = ["proc", "sysfs", "mqueue"];

/// Makes all mounts. Gives the trees that must become read-only when everything in them is made.
pub(super) fn make_all(
    root: &Root,
    config: &Spec,
    mut binds: Vec<Option<Source>>,
    cgroup: &[CgroupMount],
    options: &RootfsOptions,
) -> Result<Vec<Tree>> {
    let mut late = Vec::new();
    let maker = Maker { root, config, cgroup, options };
    for (index, mount) in config.mounts().iter().flatten().enumerate() {
        let bind = binds.get_mut(index).and_then(Option::take);
        let made = maker.make(mount, bind).with_context(|| describe(mount))?;
        late.extend(made);
    }
    maker.check_pseudo()?;
    Ok(late)
}

fn describe(mount: &Mount) -> String {
    let destination = mount.destination().display();
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    match parse_entry(mount) {
        Ok((Kind::Bind { .. }, _)) => format!("bind {} on {destination}", source.display()),
        Ok((Kind::Remount, _)) => format!("remount {destination}"),
        _ => format!("mount {} on {destination}", mount.typ().as_deref().unwrap_or("?")),
    }
}

struct Maker<'a> {
    root: &'a Root,
    config: &'a Spec,
    cgroup: &'a [CgroupMount],
    options: &'a RootfsOptions,
}

impl Maker<'_> {
    /// Makes one mount; a tree is given back to become read-only later.
    fn make(&self, mount: &Mount, source: Option<Source>) -> Result<Option<Tree>> {
        let (kind, mut options) = parse_entry(mount)?;
        match kind {
            Kind::Bind { .. } => {
                let source = source.context("its source was not opened")?;
                match source.link()? {
                    Some(target) => self.link(mount, &target)?,
                    None => {
                        if self.stays_shared(&options) && aside::is_needed() {
                            bail!(
                                "it would share its mounts with the host, which needs open_tree and move_mount: the kernel \
                                 or a seccomp filter refuses them"
                            );
                        }
                        let (_, tree) = source.mount()?;
                        let place = self.place(mount, &tree, &options)?;
                        tree.change_and_attach(&self.changes(&options), place)
                            .map_err(|error| self.with_cure("bind", error.into()))?;
                    }
                }
                Ok(None)
            }
            Kind::Remount => self.remount(mount, options),
            Kind::Cgroup { version } => self.cgroup(mount, version, &mut options),
            Kind::Filesystem(name) => self.filesystem(mount, &name, options),
        }
    }

    fn filesystem(&self, mount: &Mount, name: &str, mut options: Options) -> Result<Option<Tree>> {
        let place = self.directory(mount, name)?;
        // What goes below a tmpfs, /dev above all, is still to be made.
        let late = name == "tmpfs" && options.postpone_readonly();
        if name == "tmpfs" {
            keep_mode(&place.0, place.1, &mut options)?;
        }
        if !UNLABELLED.contains(&name) {
            options.data.extend(self.context());
        }
        let source = mount.source().as_deref().and_then(Path::to_str).unwrap_or(name);
        let tree = Tree::filesystem(name, source, &options).map_err(|error| self.with_cure(name, error))?;
        if options.copy_up {
            // A place of our own making says nothing of who may write there, and the options say more than any.
            let owned = options.data.iter().any(|option| option.starts_with("uid=") || option.starts_with("gid="));
            copyup::copy(&place.0, &tree, !place.1 && !owned).context("tmpcopyup")?;
        }
        tree.change_and_attach(&propagation_changes(&options.propagation), &place.0)?;
        Ok(late.then_some(tree))
    }

    /// As mount(8) does it: what the options do not speak of stays as it is.
    fn remount(&self, mount: &Mount, mut options: Options) -> Result<Option<Tree>> {
        let found = self.root.reach(mount.destination(), Missing::IsAnError, links_for(mount.destination(), ""))?;
        if !is_mount(&found.fd)? {
            bail!("nothing is mounted there");
        }
        // `rro` is of what is mounted there by now, and cannot wait until more is.
        let late = options.recursive_set & READONLY == 0 && options.postpone_readonly();
        let tree = Tree::at(found.fd);
        let mut changes = propagation_changes(&options.propagation);
        changes.extend([(options.recursive_attributes(), true), (options.attributes(), false)]);
        for (attributes, recursive) in &changes {
            tree.change(attributes, *recursive).map_err(|error| self.with_cure("bind", error.into()))?;
        }
        Ok(late.then_some(tree))
    }

    /// `copy-symlink`: the link is made again, or is there already.
    fn link(&self, mount: &Mount, target: &OsStr) -> Result<()> {
        let (directory, name) = self.root.parent(mount.destination())?;
        self.guard_proc(&directory, None, "a link")?;
        match symlinkat(target, &directory, name) {
            Err(Errno::EXIST) if is_link_to(&directory, name, target) => Ok(()),
            Err(Errno::EXIST) => bail!("copy-symlink: something else than a link to {} is there", target.display()),
            made => Ok(made.map_err(io::Error::from).context("copy-symlink")?),
        }
    }

    /// Only a mount that says shared, in a root that says shared, stays in the peer group of the host's mount.
    fn stays_shared(&self, options: &Options) -> bool {
        let shared = |(kind, _): &(u64, bool)| *kind == libc::MS_SHARED;
        self.root_propagation().as_ref().is_some_and(shared) && options.propagation.iter().any(shared)
    }

    /// The changes of a bind mount. One that does not stay shared at most receives.
    fn changes(&self, options: &Options) -> Vec<Change> {
        let mut changes = Vec::new();
        if !self.stays_shared(options) {
            let kind = match self.root_propagation() {
                Some((libc::MS_PRIVATE | libc::MS_UNBINDABLE, _)) => libc::MS_PRIVATE,
                _ => libc::MS_SLAVE,
            };
            changes.push((MountAttributes::propagation(kind), true));
        }
        changes.extend(propagation_changes(&options.propagation));
        changes.push((options.recursive_attributes(), true));
        changes.push((options.attributes(), false));
        changes
    }

    /// The option for the SELinux context of a file system.
    fn context(&self) -> Option<String> {
        labels::of_mounts(self.config).map(|label| format!("context={label}"))
    }

    fn root_propagation(&self) -> Option<(u64, bool)> {
        super::root_propagation(self.config)
    }

    /// Finds or makes the place for a bind mount: a directory for a directory, a file for everything else.
    fn place(&self, mount: &Mount, tree: &Tree, options: &Options) -> Result<OwnedFd> {
        let missing = if is_directory(tree)? { Missing::BecomesDirectory } else { Missing::BecomesFile };
        let links = match links_for(mount.destination(), "") {
            Links::StayInside if options.symlinks.destination_is_kept => Links::LastIsKept,
            links => links,
        };
        let found = self.reach(mount, missing, links)?;
        self.guard_proc(&found.fd, Some(tree), "bind")?;
        if is_directory(&found.fd)? != is_directory(tree)? {
            bail!("one is a directory and the other is not");
        }
        Ok(found.fd)
    }

    /// Finds or makes the directory for a file system, and says whether it was made.
    fn directory(&self, mount: &Mount, kind: &str) -> Result<(OwnedFd, bool)> {
        let links = links_for(mount.destination(), kind);
        let found = self.reach(mount, Missing::BecomesDirectory, links)?;
        self.guard_proc(&found.fd, None, kind)?;
        if !is_directory(&found.fd)? {
            bail!("the place is not a directory");
        }
        Ok((found.fd, found.new))
    }

    fn reach(&self, mount: &Mount, missing: Missing, links: Links) -> Result<super::path::Found> {
        let found =
            self.root.reach(mount.destination(), missing, links).map_err(|error| match error.raw_os_error() {
                Some(libc::ELOOP) if links == Links::AreRefused => anyhow!("a symbolic link leads there; refused"),
                Some(libc::ENOENT) if mount.destination().starts_with("/proc") => {
                    anyhow!("{error}: nothing can be made in /proc; refused")
                }
                Some(libc::EROFS) => anyhow!("{error}: the place is missing and cannot be made; make it in the image"),
                _ => anyhow!(error),
            })?;
        if self.root.is(&found.fd)? {
            bail!("the place is the root itself; refused");
        }
        Ok(found)
    }

    /// What stands at /proc must be a procfs, and what is in it must be its own (threats.md S2, S3). Goes by where the
    /// place is, not by what the configuration calls it.
    fn guard_proc(&self, place: &OwnedFd, source: Option<&Tree>, kind: &str) -> Result<()> {
        let name = self.root.name_of(place)?;
        if name == Path::new("/proc") {
            let procfs = match source {
                Some(tree) => is_proc_root(tree)?,
                None => kind == "proc",
            };
            if !procfs {
                bail!("only a proc file system may be mounted on /proc; refused");
            }
        } else if name.starts_with("/proc") && !PROC_FILES.iter().any(|file| name == Path::new(file)) {
            // It would be covered if /proc came later, and that is harmless; but then it has no use either.
            bail!("{} is inside /proc; refused", name.display());
        }
        Ok(())
    }

    /// Once all is mounted: /proc and /sys, where the configuration has them, are what they should be and where they
    /// should be, whatever came after them in the list.
    fn check_pseudo(&self) -> Result<()> {
        for mount in self.config.mounts().iter().flatten() {
            let (path, magic) = match mount.typ().as_deref() {
                Some("proc") => (mount.destination(), PROC_SUPER_MAGIC),
                Some("sysfs") => (mount.destination(), SYSFS_MAGIC),
                _ => continue,
            };
            let context = || format!("check {}", path.display());
            let place = self.root.reach(path, Missing::IsAnError, Links::AreRefused).with_context(context)?.fd;
            let right = fstatfs(&place)?.f_type == magic && (magic != PROC_SUPER_MAGIC || is_proc_root(&place)?);
            if !right {
                bail!("{} is covered by a later mount; refused", path.display());
            }
        }
        Ok(())
    }

    /// A `cgroup` mount shows the container's own cgroups, read-only if asked so, and nothing above them: bound from the
    /// host's mounts, which inside a cgroup namespace looks as if mounted anew (threats.md S13). Without a cgroup of its
    /// own the container sees an empty directory, or the v2 tree of its namespace, never the host's.
    fn cgroup(&self, mount: &Mount, version: Option<Version>, options: &mut Options) -> Result<Option<Tree>> {
        let (place, _) = self.directory(mount, "cgroup")?;
        let shown: Vec<&CgroupMount> =
            self.cgroup.iter().filter(|one| version.is_none_or(|version| version == one.version)).collect();
        match shown[..] {
            [] => {
                let v2 = fstatfs(openat(CWD, "/sys/fs/cgroup", O_PATH, Mode::empty())?)?.f_type == CGROUP2_MAGIC;
                let own = (self.options.new_cgroup_namespace && v2)
                    .then(|| Tree::filesystem("cgroup2", "cgroup", options).ok())
                    .flatten();
                own.map_or_else(Tree::empty, Ok)?.attach(&place)?;
                Ok(None)
            }
            [one] if one.name.is_empty() || version.is_some() => {
                attach_cgroup(one, options, &place)?;
                Ok(None)
            }
            _ => self.cgroup_directories(&shown, options, &place),
        }
    }

    /// v1 and hybrid: a directory for each hierarchy.
    fn cgroup_directories(
        &self,
        shown: &[&CgroupMount],
        options: &mut Options,
        place: &OwnedFd,
    ) -> Result<Option<Tree>> {
        let each = options.clone();
        let late = options.postpone_readonly();
        options.data = vec!["mode=755".to_owned()];
        options.data.extend(self.context());
        options.superblock.clear();
        let top = Tree::filesystem("tmpfs", "tmpfs", options)?;
        top.attach(place)?;
        for one in shown {
            let context = || format!("cgroup {}", one.name);
            mkdirat(&top, &one.name, Mode::from_raw_mode(0o755)).with_context(context)?;
            let directory = openat(&top, &one.name, O_PATH | OFlags::NOFOLLOW, Mode::empty())?;
            attach_cgroup(one, &each, &directory).with_context(context)?;
            for link in &one.links {
                symlinkat(&one.name, &top, link).with_context(context)?;
            }
        }
        Ok(late.then_some(top))
    }

    /// The next step for those errors that users of user namespaces meet.
    fn with_cure(&self, kind: &str, error: anyhow::Error) -> anyhow::Error {
        if !self.options.user_namespace {
            return error;
        }
        let cure = match kind {
            "sysfs" => {
                "a user namespace without a network namespace of its own cannot mount sysfs: bind /sys as \
                 `bookend spec --rootless` does, or add a network namespace"
            }
            "proc" => {
                "a user namespace needs a pid namespace of its own, and a /proc around it that is not masked, to mount proc"
            }
            "mqueue" => "a user namespace needs an ipc namespace of its own to mount mqueue",
            "devpts" => "gid= must be a mapped group: remove gid=5 where only one id is mapped",
            "bind" => "a user namespace cannot take off flags (ro, nosuid, nodev, noexec, atime) that the source has",
            _ => return error,
        };
        anyhow!("{error:#}; {cure}")
    }
}

fn attach_cgroup(one: &CgroupMount, options: &Options, place: &OwnedFd) -> Result<()> {
    let source = openat(CWD, &one.source, O_PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY, Mode::empty())
        .map_err(io::Error::from)
        .with_context(|| format!("open {}", one.source.display()))?;
    let tree = Tree::copy_of(&source, false)?;
    // Only restrictions: the access times of a cgroup interest nobody, and may be locked.
    let restrict = (options.set | options.recursive_set) & RESTRICTIONS;
    let private = (MountAttributes::propagation(libc::MS_PRIVATE), false);
    tree.change_and_attach(&[private, (MountAttributes::new(restrict, 0), false)], place)?;
    Ok(())
}

/// MOUNT_ATTR_RDONLY, NOSUID, NODEV and NOEXEC.
const RESTRICTIONS: u64 = READONLY | 0b1110;

/// S2: these must be where they are called to be, not where the image sends them.
fn links_for(destination: &Path, kind: &str) -> Links {
    let is = |path: &str| destination.components().eq(Path::new(path).components());
    if ["proc", "sysfs"].contains(&kind) || is("/proc") || is("/sys") { Links::AreRefused } else { Links::StayInside }
}

pub(super) fn is_proc_root(fd: impl AsFd) -> io::Result<bool> {
    Ok(fstatfs(&fd)?.f_type == PROC_SUPER_MAGIC && fstat(&fd)?.st_ino == PROC_ROOT_INODE)
}

/// A tmpfs without `mode=` takes the mode of the directory that it covers; without one the kernel's, 1777.
fn keep_mode(place: &OwnedFd, new: bool, options: &mut Options) -> Result<()> {
    if !new && !options.data.iter().any(|option| option.starts_with("mode=")) {
        options.data.push(format!("mode={:o}", fstat(place)?.st_mode & 0o7777));
    }
    Ok(())
}

fn propagation_changes(given: &[(u64, bool)]) -> Vec<Change> {
    given.iter().map(|&(kind, recursive)| (MountAttributes::propagation(kind), recursive)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_02_only_proc_and_sys_must_not_be_reached_through_links() {
        for (path, kind, links) in [
            ("/proc", "bind", Links::AreRefused),
            ("/sys/", "bind", Links::AreRefused),
            ("/elsewhere", "proc", Links::AreRefused),
            ("/elsewhere", "sysfs", Links::AreRefused),
            ("/var/run", "tmpfs", Links::StayInside),
            ("/proc/cpuinfo", "bind", Links::StayInside),
        ] {
            assert_eq!(links_for(Path::new(path), kind), links, "{path}");
        }
    }
}
