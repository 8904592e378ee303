//! The container's root file system, as its init makes it.
//!
//! Everything is done by descriptor: a place in the image is resolved once, inside the root, and held open; mounts are
//! made aside and then moved there. Nothing of the image is followed out of it, also while somebody changes it.
//!
//! ```text
//!   create   Sources::open     everything that comes from the host is there
//!   init     Sources::enter    ... and is copied in init's own mount namespace, before it takes its mapped ids
//!            prepare           root, mounts, devices, links, masks, read-only
//!            Prepared::enter   pivot_root
//!            console           when the terminal exists
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{CWD, FileType, FsWord, Mode, OFlags, fstat, fstatfs, openat};
use rustix::mount::{MountPropagationFlags as Propagation, mount_change};
use rustix::process::{chdir, getcwd, umask};
use serde_json::Value;

pub use self::options::names as option_names;
pub use crate::cgroup::CgroupMount;
use crate::container::bundle::Bundle;
use crate::linux::mount::MountAttributes;
use entry::Kind;
use masks::Masks;
use options::{Options, READONLY, Symlinks};
use path::{Links, Missing, O_PATH, Root};
use source::Source;
use tree::Tree;

mod aside;
mod copyup;
mod devices;
mod entry;
mod masks;
mod mounts;
mod options;
pub(crate) mod path;
mod pivot;
mod source;
mod tree;

const DEVPTS_SUPER_MAGIC: FsWord = 0x1cd1;

/// What `set_up` cannot see in the bundle.
#[derive(Clone, Copy, Debug, Default)]
pub struct RootfsOptions {
    /// Move the root with `MS_MOVE` and chroot instead of pivot_root, for a root on the initramfs.
    pub no_pivot: bool,
    /// Init runs in a user namespace other than the host's: devices are bound, not made.
    pub user_namespace: bool,
    /// Init has its own cgroup namespace. Only counts for a container without a cgroup of its own.
    pub new_cgroup_namespace: bool,
}

/// What comes from the host: the root file system and the sources of bind mounts.
#[derive(Debug)]
pub struct Sources {
    root: Source,
    /// By the index of the mount.
    binds: Vec<Option<Source>>,
}

impl Sources {
    /// Opens everything, in `create`: what is missing is told before anything is made.
    /// `joined` is the user namespace that the container joins.
    pub fn open(bundle: &Bundle, joined: Option<BorrowedFd<'_>>) -> Result<Sources> {
        let root = Source::open(bundle.rootfs(), true, Symlinks::default())
            .context("root file system (root.path, relative to the bundle)")?;
        let mut binds = Vec::new();
        for mount in bundle.config.mounts().iter().flatten() {
            let destination = mount.destination().display();
            let (kind, options) = entry::parse_entry(mount).with_context(|| format!("mount on {destination}"))?;
            binds.push(match (kind, mount.source()) {
                (Kind::Bind { recursive }, Some(source)) => Some(
                    open_bind(bundle, mount, bundle.dir.join(source), recursive, &options, joined)
                        .with_context(|| format!("source of the bind mount on {destination}"))?,
                ),
                _ => None,
            });
        }
        Ok(Sources { root, binds })
    }

    /// Finds everything again in init's new mount namespace. Best called before init takes its mapped ids: then it has
    /// the caller's rights to paths on the host. `prepare` tries again what these do not reach, with the rights of
    /// init's root: podman keeps `--userns=keep-id` file systems below a directory of the container's root, 0700.
    pub fn enter(&mut self) -> Result<()> {
        let enter = |source: &mut Source| match source.enter() {
            Err(error) if is_denied(&error) => Ok(()),
            entered => entered,
        };
        enter(&mut self.root).context("root file system")?;
        self.binds.iter_mut().flatten().try_for_each(enter).context("source of a bind mount")
    }

    fn enter_all(&mut self) -> Result<()> {
        self.root.enter().context("root file system")?;
        self.binds.iter_mut().flatten().try_for_each(Source::enter).context("source of a bind mount")
    }
}

fn open_bind(
    bundle: &Bundle,
    mount: &Mount,
    path: PathBuf,
    recursive: bool,
    options: &Options,
    joined: Option<BorrowedFd<'_>>,
) -> Result<Source> {
    let mut source = Source::open(path, recursive, options.symlinks)?;
    if let Some((namespace, below)) = source::id_map(mount, options, &bundle.config, joined).context("map its ids")? {
        source.map_ids(namespace.as_fd(), below).context("map its ids")?;
    }
    Ok(source)
}

fn is_denied(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// A root file system that is complete, and not yet the root.
#[derive(Debug)]
pub struct Prepared {
    root: Root,
    no_pivot: bool,
    propagation: Option<(u64, bool)>,
}

/// Makes the root file system and makes it the root. Runs in init, in a mount namespace of its own, as its root user.
pub fn set_up(bundle: &Bundle, sources: Sources, cgroup: &[CgroupMount], options: &RootfsOptions) -> Result<()> {
    prepare(bundle, sources, cgroup, options)?.enter()
}

/// The first half of `set_up`. OCI hooks of type createContainer run after it (runtime.md "lifecycle").
pub fn prepare(
    bundle: &Bundle,
    mut sources: Sources,
    cgroup: &[CgroupMount],
    options: &RootfsOptions,
) -> Result<Prepared> {
    // Modes are what we give.
    let mask = umask(Mode::empty());
    sources.enter_all()?;
    let config = &bundle.config;

    // Nothing that is mounted here reaches the host, whatever was shared. The copies that are to stay shared exist.
    mount_change("/", Propagation::DOWNSTREAM | Propagation::REC)
        .map_err(io::Error::from)
        .context("cut the mounts off from the host's")?;
    let (root_place, root) = sources.root.mount().context("root file system")?;
    let root = attach_root(root, root_place, root_propagation(config))
        .with_context(|| format!("mount the root file system {}", bundle.rootfs().display()))?;

    let late = mounts::make_all(&root.0, config, sources.binds, cgroup, options)?;
    devices::set_up(&root.0, config, options.user_namespace)?;
    make_cwd(&root.0, config);
    Masks::new(devices::open_null()?).apply(&root.0, config, |_| Ok(true))?;

    let readonly = MountAttributes::new(READONLY, 0);
    for tree in late {
        tree.change(&readonly, false).context("make a tmpfs read-only")?;
    }
    if config.root().as_ref().and_then(|root| root.readonly()) == Some(true) {
        root.1.change(&readonly, false).context("make the root file system read-only")?;
    }
    umask(mask);
    Ok(Prepared { root: root.0, no_pivot: options.no_pivot, propagation: root_propagation(config) })
}

impl Prepared {
    /// The second half of `set_up`.
    pub fn enter(self) -> Result<()> {
        if self.no_pivot {
            let name = std::fs::read_link(path::link_to(&self.root)).context("find the root's name")?;
            pivot::move_root(rustix::io::fcntl_dupfd_cloexec(&self.root, 3)?, &name)?;
        } else {
            pivot::pivot(&self.root)?;
        }
        if let Some((kind, recursive)) = self.propagation {
            let reach = if recursive { Propagation::REC } else { Propagation::empty() };
            mount_change("/", Propagation::from_bits_retain(kind as u32) | reach)
                .map_err(io::Error::from)
                .context("linux.rootfsPropagation")?;
        }
        Ok(())
    }
}

/// Mounts the root on itself: pivot_root wants a mount, and nothing below may show on the host. What the host mounts there shows in
/// the container only where that is asked for.
fn attach_root(tree: Tree, place: OwnedFd, propagation: Option<(u64, bool)>) -> Result<(Root, Tree)> {
    if !path::is_directory(&tree)? {
        bail!("not a directory");
    }
    let kind = if matches!(propagation, Some((libc::MS_SLAVE, _))) { libc::MS_SLAVE } else { libc::MS_PRIVATE };
    tree.change_and_attach(&[(MountAttributes::propagation(kind), true)], place)?;
    let fd = openat(&tree, ".", O_PATH | OFlags::DIRECTORY, Mode::empty())?;
    Ok((Root::new(fd), tree))
}

/// A working directory that the image lacks is made, as runc does. If it cannot be, entering it says why.
fn make_cwd(root: &Root, config: &Spec) {
    if let Some(process) = config.process() {
        let _ = root.reach(process.cwd(), Missing::BecomesDirectory, Links::StayInside);
    }
}

/// `linux.rootfsPropagation` as an `MS_*` flag and whether for all mounts.
fn root_propagation(config: &Spec) -> Option<(u64, bool)> {
    let text = config.linux().as_ref()?.rootfs_propagation().as_ref().filter(|text| !text.is_empty())?;
    Options::parse([text.as_str()]).ok()?.propagation.first().copied()
}

/// Binds the container's terminal on `/dev/console` (threats.md S8). Runs in the container; `terminal` is the peer that
/// the container's own devpts gave.
pub fn console(terminal: BorrowedFd) -> Result<()> {
    let describe = "terminal for /dev/console";
    let is_device = FileType::from_raw_mode(fstat(terminal)?.st_mode) == FileType::CharacterDevice;
    if !is_device || fstatfs(terminal)?.f_type != DEVPTS_SUPER_MAGIC {
        bail!("{describe}: not a pseudo-terminal");
    }
    let root = Root::new(openat(CWD, "/", O_PATH | OFlags::DIRECTORY, Mode::empty())?);
    let place = devices::open_console_place(&root).context("open /dev/console")?;
    Tree::copy_of(terminal, false).context(describe)?.attach(place).context("bind the terminal on /dev/console")
}

/// Mounts a fresh `/proc` over the container's own, with the same options, masks and read-only paths (row O-03). Runs in
/// the container's namespaces, except for a new pid namespace and a private copy of the mount namespace.
pub fn fresh_proc(config: &Spec) -> Result<()> {
    let own = config.mounts().iter().flatten().rfind(|mount| {
        mount.typ().as_deref() == Some("proc") && mount.destination().components().eq(Path::new("/proc").components())
    });
    // Then the container has none, or one that is not its own: it stays as it is.
    let Some(own) = own else { return Ok(()) };
    mount_change("/", Propagation::DOWNSTREAM | Propagation::REC).map_err(io::Error::from)?;
    let null = devices::open_null()?;
    let (_, options) = entry::parse_entry(own)?;
    let root = Root::new(openat(CWD, "/", O_PATH | OFlags::DIRECTORY, Mode::empty())?);
    let place = root.reach(Path::new("/proc"), Missing::IsAnError, Links::AreRefused).context("find /proc")?.fd;
    let proc = Tree::filesystem("proc", "proc", &options).context("mount a fresh /proc")?;
    proc.attach(&place).context("mount a fresh /proc on /proc")?;

    // Everything outside of /proc is masked already: the mount namespace is the container's.
    let device = fstat(&proc)?.st_dev;
    Masks::new(null).apply(&root, config, |place| Ok(fstat(place)?.st_dev == device))
}

/// Enters the working directory, and makes sure that it is in the container (threats.md S9).
pub fn change_directory(cwd: &Path) -> Result<()> {
    let context = || format!("chdir to {}", cwd.display());
    chdir(cwd).map_err(io::Error::from).with_context(context)?;
    // The kernel says "(unreachable)" of a directory that is not below our root (getcwd(2)).
    let name = getcwd(Vec::new()).map_err(io::Error::from).with_context(context)?;
    if !name.as_bytes().starts_with(b"/") {
        bail!("chdir to {}: it is outside of the container", cwd.display());
    }
    Ok(())
}

/// Whether an entry of `mounts` can be made: type, source and options are known, and the container has a user namespace if it
/// shall have the ids of that. Gives the options that have no effect. For `config::parse`.
pub(crate) fn check_mount(mount: &Value, user_namespace: bool) -> Result<Vec<String>, String> {
    let text = |key: &str| mount[key].as_str();
    let options: Vec<&str> = mount["options"].as_array().into_iter().flatten().filter_map(|o| o.as_str()).collect();
    let (kind, options) = entry::parse(text("type"), text("source").unwrap_or(""), &options)?;
    let bind = matches!(kind, Kind::Bind { .. });
    match ["uidMappings", "gidMappings"].map(|name| mount[name].as_array().is_some_and(|maps| !maps.is_empty())) {
        [false, false] if options.idmap.is_some() && !user_namespace => {
            return Err("idmap needs uidMappings and gidMappings, or a user namespace to take them from".to_owned());
        }
        [false, false] => {}
        _ if !bind => return Err("uidMappings and gidMappings are for bind mounts only; remove them".to_owned()),
        [true, true] => {}
        _ => return Err("uidMappings and gidMappings need each other: give both".to_owned()),
    }
    Ok(if bind { options.of_the_file_system() } else { Vec::new() })
}
