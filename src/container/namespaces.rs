//! The namespaces of a container: which are new, which are joined, and how.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use oci_spec::runtime::{LinuxNamespaceType as Kind, Spec};

use super::start;
use super::state::Init;
use crate::linux::procfs::{self, Procfs};
use crate::linux::{namespace, pidfd};

mod rights;

/// `CLONE_NEWTIME` (Linux 5.6), which clone(2) does not take: the bit belongs to the exit signal there.
pub const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

/// Every kind: its flag and its name below `/proc/PID/ns`.
const KINDS: [(Kind, &str); 8] = [
    (Kind::User, "user"),
    (Kind::Mount, "mnt"),
    (Kind::Pid, "pid"),
    (Kind::Network, "net"),
    (Kind::Ipc, "ipc"),
    (Kind::Uts, "uts"),
    (Kind::Cgroup, "cgroup"),
    (Kind::Time, "time"),
];

pub fn flag(kind: Kind) -> CloneFlags {
    CloneFlags::from_bits_retain(kind as i32)
}

fn name(kind: Kind) -> &'static str {
    KINDS.iter().find(|(other, _)| *other == kind).map_or("?", |(_, name)| name)
}

/// A namespace to join.
#[derive(Debug)]
pub struct Join {
    pub kind: CloneFlags,
    /// For messages.
    pub name: String,
    pub namespace: OwnedFd,
}

/// What a configuration says about namespaces, with those to join open and checked.
#[derive(Debug)]
pub struct Namespaces {
    pub new: CloneFlags,
    pub joins: Vec<Join>,
}

impl Namespaces {
    /// Opens every namespace to join, and checks its type and whether it can be joined; nothing is entered yet.
    pub fn open(config: &Spec) -> Result<Namespaces> {
        let mut namespaces = Namespaces { new: CloneFlags::empty(), joins: Vec::new() };
        let listed = config.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        for (index, namespace) in listed.into_iter().flatten().enumerate() {
            let kind = namespace.typ();
            match namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty()) {
                None => namespaces.new |= flag(kind),
                Some(path) => {
                    let join = open(kind, path).with_context(|| format!("linux.namespaces[{index}].path"))?;
                    // The one that we are in already cannot always be joined (user_namespaces(7)), and need not be.
                    if !is_own(kind, &join.namespace)? {
                        namespaces.joins.push(join);
                    }
                }
            }
        }
        rights::check(&namespaces.joins)?;
        Ok(namespaces)
    }

    /// The namespace of that kind that is joined.
    pub fn joined(&self, kind: Kind) -> Option<BorrowedFd<'_>> {
        self.joins.iter().find(|join| join.kind == flag(kind)).map(|join| join.namespace.as_fd())
    }

    pub fn is_new(&self, kind: Kind) -> bool {
        self.new.contains(flag(kind))
    }

    /// New, or joined and another than ours: what is done in it does not touch the host (S14).
    pub fn is_own(&self, kind: Kind) -> bool {
        self.is_new(kind) || self.joins.iter().any(|join| join.kind == flag(kind))
    }

    /// What clone makes; time and cgroup namespaces init makes by itself, when it is where they should begin.
    pub fn for_clone(&self) -> CloneFlags {
        self.new - CLONE_NEWTIME - CloneFlags::CLONE_NEWCGROUP
    }
}

fn open(kind: Kind, path: &Path) -> Result<Join> {
    let what = || format!("{} namespace {}", name(kind), path.display());
    // A FIFO has nobody at its other end, and must not hold us.
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = file.with_context(|| format!("open {}", what()))?;
    let found = namespace::kind(&file).with_context(|| format!("{} is no namespace", path.display()))?;
    if found != flag(kind).bits() {
        let found = KINDS.iter().find(|(other, _)| *other as i32 == found).map_or("unknown", |(_, name)| name);
        bail!("{} is a namespace of type {found}, not {}", path.display(), name(kind));
    }
    Ok(Join { kind: flag(kind), name: what(), namespace: file.into() })
}

fn is_own(kind: Kind, namespace: &OwnedFd) -> Result<bool> {
    let path = format!("/proc/self/ns/{}", name(kind));
    let ours = File::open(&path).with_context(|| format!("open {path}"))?;
    same(ours.as_fd(), namespace.as_fd())
}

fn same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool> {
    let identity = |namespace| nix::sys::stat::fstat(namespace).map(|found| (found.st_dev, found.st_ino));
    Ok(identity(one).context("stat a namespace")? == identity(other).context("stat a namespace")?)
}

/// Whether a namespace is the one that we are in.
pub fn is_ours(flags: CloneFlags, namespace: &OwnedFd) -> Result<bool> {
    match KINDS.iter().find(|(kind, _)| flag(*kind) == flags) {
        Some((kind, _)) => is_own(*kind, namespace),
        None => bail!("{flags:?} is no kind of namespace"),
    }
}

/// The namespaces of a process that differ from ours, or all of those in `kinds` that it has.
pub fn of_process(process: impl AsFd, kinds: CloneFlags, only_foreign: bool) -> Result<Vec<Join>> {
    let mut joins = Vec::new();
    for (kind, name) in KINDS {
        if !kinds.contains(flag(kind)) {
            continue;
        }
        let namespace = match procfs::open_namespace(&process, name) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) && kind != Kind::Mount => continue,
            namespace => namespace.with_context(|| format!("open the {name} namespace of the container"))?,
        };
        if only_foreign && is_own(kind, &namespace)? {
            continue;
        }
        joins.push(Join { kind: flag(kind), name: format!("{name} namespace of the container"), namespace });
    }
    Ok(joins)
}

/// The same of a container's init: from itself while it waits for `start`, where we may not look into it.
pub fn of_init(init: &Init, dir: &Path, kinds: CloneFlags, only_foreign: bool) -> Result<Vec<Join>> {
    let process = Procfs::open().context("open /proc")?.process(init.pid).context("open /proc of init")?;
    // Opened by number: it was init all the while if it has not ended.
    if pidfd::has_ended(init.as_fd()) {
        bail!("the container has exited");
    }
    let refused = match of_process(&process, kinds, only_foreign) {
        Err(error) if is_permission(&error) => error,
        found => return found,
    };
    // It may have executed its program since: then it can be looked into.
    let Ok(told) = start::ask_namespaces(dir) else {
        return of_process(&process, kinds, only_foreign).map_err(|_| refused);
    };
    let mut joins = Vec::new();
    for (kind, namespace) in told.into_iter().filter(|(kind, _)| kinds.contains(*kind)) {
        if !only_foreign || !is_ours(kind, &namespace)? {
            joins.push(Join { kind, name: format!("{kind:?} of the container"), namespace });
        }
    }
    Ok(joins)
}

fn is_permission(error: &anyhow::Error) -> bool {
    let kind = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::PermissionDenied;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(kind))
}

/// Our own namespaces, all of them, for whoever asks the waiting init. While /proc is the host's.
pub fn of_ourselves(proc: &Procfs) -> Result<Vec<(CloneFlags, OwnedFd)>> {
    let own = proc.open_own("", rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY).context("open /proc/self")?;
    let joins = of_process(own, CloneFlags::all() | CLONE_NEWTIME, false)?;
    Ok(joins.into_iter().map(|join| (join.kind, join.namespace)).collect())
}

/// Joins namespaces, in an order in which the rights suffice: those that ours are good for, then the user namespace, then
/// the rest with the rights that it gave. Only children of ours will be in a joined pid namespace.
pub fn join(joins: &[Join]) -> Result<()> {
    let (users, others): (Vec<&Join>, Vec<&Join>) =
        joins.iter().partition(|join| join.kind == CloneFlags::CLONE_NEWUSER);
    let enter = |join: &Join| setns(&join.namespace, join.kind);
    let mut later = Vec::new();
    for join in others {
        match enter(join) {
            Ok(()) => {}
            Err(Errno::EPERM) if !users.is_empty() => later.push(join),
            Err(errno) => return Err(errno).with_context(|| format!("join {}", join.name)),
        }
    }
    for join in users.into_iter().chain(later) {
        enter(join).with_context(|| format!("join {}", join.name))?;
    }
    Ok(())
}

/// Enters a new time namespace with its clocks set off (time_namespaces(7)). While /proc is the host's.
pub fn new_time(config: &Spec, proc: &Procfs) -> Result<()> {
    unshare(CLONE_NEWTIME).context("unshare time namespace")?;
    let offsets = config.linux().as_ref().and_then(|linux| linux.time_offsets().as_ref());
    for (clock, offset) in offsets.into_iter().flatten() {
        let line = format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        proc.write_own("timens_offsets", line.as_bytes())
            .with_context(|| format!("write {:?} to timens_offsets", line.trim_end()))?;
    }
    // Only children are in it after unshare: enter it ourselves, now that the offsets are set.
    let own = proc.open_own("ns", rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY).context("open ns")?;
    let path = format!("/proc/self/fd/{}/time_for_children", own.as_raw_fd());
    let children = File::open(&path).map_err(|error| anyhow!("open time_for_children: {error}"))?;
    setns(children, CLONE_NEWTIME).context("enter the new time namespace")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(namespaces: serde_json::Value) -> Spec {
        serde_json::from_value(json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "linux": {"namespaces": namespaces}
        }))
        .unwrap()
    }

    #[test]
    fn a_namespace_without_a_path_is_new_and_one_of_ours_is_not_joined() {
        let listed = json!([{"type": "mount"}, {"type": "cgroup"}, {"type": "time"}, {"type": "pid", "path": ""},
            {"type": "network", "path": "/proc/self/ns/net"}]);
        let namespaces = Namespaces::open(&config(listed)).unwrap();
        assert_eq!(namespaces.for_clone(), CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID);
        assert!(namespaces.is_new(Kind::Time) && namespaces.is_new(Kind::Cgroup));
        assert!(namespaces.joins.is_empty() && !namespaces.is_own(Kind::Network) && namespaces.is_own(Kind::Pid));
    }

    #[test]
    fn a_path_of_another_type_or_no_namespace_at_all_is_refused_by_name() {
        let refused = |path: &str| {
            let listed = json!([{"type": "network", "path": path}]);
            format!("{:#}", Namespaces::open(&config(listed)).unwrap_err())
        };
        let type_of = "linux.namespaces[0].path: /proc/self/ns/ipc is a namespace of type ipc, not net";
        assert_eq!(refused("/proc/self/ns/ipc"), type_of);
        assert!(refused("/dev/null").contains("/dev/null is no namespace"));
        assert!(refused("/nonexistent").contains("open net namespace /nonexistent"));
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(refused(fifo.to_str().unwrap()).contains("fifo is no namespace"));
    }
}
