//! What is known about a container: its state directory, who its init is, and its OCI status.
//!
//! Two files are written by `create`: `identity.json`, before anything exists that would have to be cleaned up, and
//! `state.json`. Whatever happens to the second, the first still tells `delete --force` what to end (R1, R4).

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::id::ContainerId;
use super::root::Root;
use super::start;
use crate::cgroup::Cgroup;
use crate::linux::pidfd;
use crate::linux::procfs::Procfs;

/// The version of the runtime specification that `state` reports.
pub const OCI_VERSION: &str = "1.3.0";

/// The OCI status of a container, and runc's `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// Errors that verbs decide on. The words are runc's, which callers match (callers.md section 1.4).
#[derive(Debug, PartialEq, Eq)]
pub enum ContainerError {
    NotFound(ContainerId),
    AlreadyExists(ContainerId),
    /// `delete` without `--force` of a container that is not stopped.
    NotStopped(ContainerId, Status),
    /// The operation needs another status. In runc's words, with what is the case.
    Not {
        wanted: Status,
        found: Status,
    },
    /// `state.json` cannot be used; `delete --force` still works.
    Damaged(ContainerId, String),
}

/// What to do about `ContainerError::NotStopped`.
pub const STOP_FIRST: &str = "stop it, or give --force";

impl std::error::Error for ContainerError {}

impl fmt::Display for ContainerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContainerError::NotFound(id) => write!(f, "container \"{id}\" does not exist"),
            ContainerError::AlreadyExists(id) => {
                write!(f, "container with given ID already exists: \"{id}\"; delete it, or choose another id")
            }
            ContainerError::NotStopped(id, found) => {
                write!(f, "cannot delete container \"{id}\" that is not stopped: {found}; {STOP_FIRST}")
            }
            ContainerError::Not { wanted, found } => write!(f, "container not {wanted}: it is {found}"),
            ContainerError::Damaged(id, why) => {
                write!(f, "state of container \"{id}\" is damaged: {why} (`delete --force {id}` removes it)")
            }
        }
    }
}

/// One process for ever: a pid alone may be given to another one later (R6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessId {
    /// In the pid namespace of whoever created the container; 0 before there is one.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, clock ticks since boot.
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`: after a reboot the pid means nothing (R19).
    pub boot_id: String,
}

impl ProcessId {
    /// The identity of a process that exists now.
    pub fn of(pid: Pid) -> Result<ProcessId> {
        Ok(ProcessId { pid: pid.as_raw(), start_time: pidfd::start_time(pid)?, boot_id: boot_id()? })
    }

    /// The process, if it is still there and has not ended.
    pub fn live(&self) -> Option<Init> {
        let pidfd = self.open()?;
        (!pidfd::has_ended(pidfd.as_fd())).then_some(Init { pid: Pid::from_raw(self.pid), pidfd })
    }

    pub fn is_ourselves(&self) -> bool {
        self.pid == Pid::this().as_raw() && self.live().is_some()
    }

    /// The process with its directory in /proc, if it was not reaped yet.
    pub fn find(&self) -> Option<(OwnedFd, OwnedFd)> {
        let proc_dir = Procfs::open().and_then(|proc| proc.process(Pid::from_raw(self.pid))).ok()?;
        // Last: while the number is this process's, the directory is.
        Some((self.open()?, proc_dir))
    }

    fn open(&self) -> Option<OwnedFd> {
        if self.pid <= 0 || boot_id().ok()? != self.boot_id {
            return None;
        }
        let pid = Pid::from_raw(self.pid);
        // The descriptor first: once we hold it, the start time read by number belongs to it or to nobody.
        let pidfd = pidfd::open(pid).ok()?;
        pidfd::start_time(pid).is_ok_and(|start| start == self.start_time).then_some(pidfd)
    }
}

fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).with_context(|| format!("read {path}"))?.trim().to_owned())
}

/// A live init process.
#[derive(Debug)]
pub struct Init {
    pub pid: Pid,
    pub pidfd: OwnedFd,
}

impl AsFd for Init {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// What must be ended and removed, whatever else is known. `identity.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub cgroup: Cgroup,
    pub init: ProcessId,
    /// The verb that creates the container: while it lives and init is not ready, the status is `creating`.
    pub creator: ProcessId,
}

impl Identity {
    const FILE: &str = "identity.json";

    /// Whether something has been made of the directory, which is written down first.
    pub fn exists(dir: &Path) -> bool {
        dir.join(Identity::FILE).exists()
    }

    pub fn load(dir: &Path) -> Result<Identity> {
        read_json(&dir.join(Identity::FILE))
    }

    pub fn save(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join(Identity::FILE), self)
    }
}

/// What `create` wrote down about a container. `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub oci_version: String,
    pub id: ContainerId,
    /// Of init, in the pid namespace of whoever created the container; 0 before there is one.
    pub pid: i32,
    /// Of init: field 22 of `/proc/PID/stat`.
    pub start_time: u64,
    pub boot_id: String,
    pub creator: ProcessId,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub created: String,
    /// The user who created it, by name where there is one.
    pub owner: String,
    pub annotations: BTreeMap<String, String>,
    pub cgroup: Cgroup,
    pub rootless: bool,
    /// It has lifecycle hooks, so there is a supervisor.
    pub has_hooks: bool,
    pub terminal: bool,
    /// None in the state of an earlier version: then each is looked for, and each process is killed.
    #[serde(default)]
    pub kept: Option<Kept>,
}

/// What is beside the state, so that no verb looks for what is not there, nor reads the configuration for one fact.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// `seccomp.json`
    pub filter: bool,
    /// `nature.json`
    pub nature: bool,
    /// `rdt.json`
    pub rdt: bool,
    /// Init is PID 1 of a new namespace, so all others end with it (pid_namespaces(7)).
    pub own_pids: bool,
}

impl State {
    const FILE: &str = "state.json";

    pub fn load(root: &Root, id: &ContainerId) -> Result<State> {
        let dir = root.container(id);
        match fs::symlink_metadata(&dir) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => bail!(ContainerError::Damaged(id.clone(), format!("{} is no directory", dir.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(ContainerError::NotFound(id.clone())),
            Err(error) => return Err(error).with_context(|| format!("stat {}", dir.display())),
        }
        let damaged = |error: anyhow::Error| ContainerError::Damaged(id.clone(), format!("{error:#}"));
        let state: State = read_json(&dir.join(State::FILE)).map_err(damaged)?;
        if &state.id != id {
            bail!(ContainerError::Damaged(id.clone(), format!("state.json is of \"{}\"", state.id)));
        }
        Ok(state)
    }

    /// The state in a state directory, for who knows the directory only.
    pub fn load_dir(dir: &Path) -> Result<State> {
        read_json(&dir.join(State::FILE))
    }

    pub fn save(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join(State::FILE), self)
    }

    pub fn init_id(&self) -> ProcessId {
        ProcessId { pid: self.pid, start_time: self.start_time, boot_id: self.boot_id.clone() }
    }

    /// Init, if it is the very process that `create` made and it has not ended.
    pub fn init(&self) -> Option<Init> {
        self.init_id().live()
    }

    /// The OCI status as processes and sockets tell it. A container with lifecycle hooks is `created` until its postStart
    /// succeeded: that is for the caller to add, from status.json.
    pub fn status(&self, dir: &Path) -> Status {
        self.look(dir).0
    }

    /// The status, and the init that it was seen from.
    pub fn look(&self, dir: &Path) -> (Status, Option<Init>) {
        let Some(init) = self.init() else {
            let in_creation = self.pid == 0 && self.creator.live().is_some();
            return (if in_creation { Status::Creating } else { Status::Stopped }, None);
        };
        if self.cgroup.is_frozen().unwrap_or(false) {
            return (Status::Paused, Some(init));
        }
        let status = match start::waits(dir) {
            start::Waiting::NotYet => Status::Creating,
            start::Waiting::Yes => Status::Created,
            start::Waiting::NoMore => Status::Running,
        };
        (status, Some(init))
    }

    /// What the container's session keyring is called: as that of no other container, also not of one that has the same id under
    /// another root.
    pub fn keyring(&self) -> String {
        format!("_ses.{}.{}-{}", self.id, self.creator.pid, self.creator.start_time)
    }

    /// The OCI state (runtime-spec, "State"), as `state` prints it and OCI hooks read it.
    pub fn oci(&self, status: Status) -> serde_json::Value {
        let mut state = serde_json::json!({
            "ociVersion": self.oci_version,
            "id": self.id,
            "status": status,
            "pid": if status == Status::Stopped { 0 } else { self.pid },
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
            "owner": self.owner,
        });
        if !self.annotations.is_empty() {
            state["annotations"] = serde_json::json!(self.annotations);
        }
        state
    }
}

/// The right to change a container, held until it is dropped; the kernel releases it when its holder dies (R7).
#[derive(Debug)]
pub struct Lock(Flock<File>);

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits for the lock of a container's state directory. `NotFound` where the directory is gone, or went while we waited.
pub fn lock(dir: &Path) -> Result<Lock> {
    lock_after(dir, || true)
}

/// The same, where whoever has it may wait for something to which `end` puts an end: asked until it says that it has.
pub fn lock_after(dir: &Path, mut end: impl FnMut() -> bool) -> Result<Lock> {
    let path = dir.join("lock");
    let gone = || match dir.file_name().and_then(|name| name.to_str()).map(str::parse) {
        Some(Ok(id)) => anyhow!(ContainerError::NotFound(id)),
        _ => anyhow!("{} does not exist", dir.display()),
    };
    let mut file = match OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
    {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(gone()),
        file => file.with_context(|| format!("open {}", path.display()))?,
    };
    let ours = file.metadata().with_context(|| format!("stat {}", path.display()))?;
    // Whoever held it before may have deleted the container, and another may have been made since.
    let is_there = || fs::metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (ours.dev(), ours.ino()));
    let mut how = FlockArg::LockExclusiveNonblock;
    let held = loop {
        match Flock::lock(file, how) {
            Ok(held) => break held,
            Err((back, Errno::EWOULDBLOCK)) => file = back,
            Err((_, errno)) => return Err(errno).with_context(|| format!("lock {}", path.display())),
        }
        if !is_there() {
            return Err(gone());
        }
        match end() {
            true => how = FlockArg::LockExclusive,
            false => std::thread::sleep(ASKED_AGAIN),
        }
    };
    if is_there() { Ok(Lock(held)) } else { Err(gone()) }
}

/// After how long `end` is asked again: nobody tells that a `create` has an init.
const ASKED_AGAIN: Duration = Duration::from_millis(10);

/// No file of ours is larger; one that is was not written by us.
const LARGEST: u64 = 16 << 20;

pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = file.with_context(|| format!("read {}", path.display()))?;
    let meta = file.metadata().with_context(|| format!("stat {}", path.display()))?;
    if !meta.is_file() || meta.len() > LARGEST {
        bail!("{} is no plain file of a reasonable size", path.display());
    }
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        bail!("{} belongs to uid {}", path.display(), meta.uid());
    }
    let text = std::io::read_to_string(file).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

/// Writes identity, state and, where it is given, the copy of the configuration, in this order.
pub(super) fn write_down(dir: &Path, identity: &Identity, state: &State, config: Option<&[u8]>) -> Result<()> {
    let paths = [dir.join(Identity::FILE), dir.join(State::FILE), dir.join("config.json")];
    let (identity, state) = (to_json(&paths[0], identity)?, to_json(&paths[1], state)?);
    let contents = [Some(&identity[..]), Some(&state[..]), config];
    let files = paths.iter().zip(contents).filter_map(|(path, content)| Some((path.as_path(), content?)));
    write_files(dir, &files.collect::<Vec<_>>())
}

fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).with_context(|| format!("serialize {}", path.display()))
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write_file(path, &to_json(path, value)?)
}

/// Replaces a file of the state directory as a whole (R5): old or new, never mixed. Mode 0600.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    write_files(path.parent().unwrap_or(Path::new("/")), &[(path, bytes)])
}

/// Replaces files of one directory, each as a whole and in this order.
fn write_files(dir: &Path, files: &[(&Path, &[u8])]) -> Result<()> {
    for (path, bytes) in files {
        replace(path, bytes).with_context(|| format!("write {}", path.display()))?;
    }
    let sync = || sync_unless_in_memory(&File::open(dir)?);
    sync().with_context(|| format!("sync {}", dir.display()))
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    sync_unless_in_memory(&file)?;
    fs::rename(&temporary, path)
}

fn sync_unless_in_memory(file: &File) -> std::io::Result<()> {
    let kind = nix::sys::statfs::fstatfs(file)?.filesystem_type();
    if kind == nix::sys::statfs::TMPFS_MAGIC { Ok(()) } else { file.sync_all() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(init: ProcessId) -> State {
        State {
            oci_version: OCI_VERSION.to_owned(),
            id: "born-state".parse().unwrap(),
            pid: init.pid,
            start_time: init.start_time,
            boot_id: init.boot_id,
            creator: ProcessId::default(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "1970-01-01T00:00:00Z".to_owned(),
            owner: "root".to_owned(),
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            cgroup: Cgroup::none(),
            rootless: false,
            has_hooks: false,
            kept: None,
            terminal: false,
        }
    }

    #[test]
    fn r4_a_state_that_is_cut_says_so_and_the_forced_delete_still_ends_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let id: ContainerId = "born-state".parse().unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let init = ProcessId::of(Pid::from_raw(child.id() as i32)).unwrap();
        let state = state(init.clone());
        let identity = Identity { cgroup: Cgroup::none(), init, creator: ProcessId::default() };
        let make = || {
            fs::create_dir(root.container(&id)).unwrap();
            identity.save(&root.container(&id)).unwrap();
        };
        make();
        let whole = serde_json::to_vec(&state).unwrap();
        for length in 0..whole.len() {
            fs::write(root.container(&id).join(State::FILE), &whole[..length]).unwrap();
            let error = State::load(&root, &id).unwrap_err();
            assert!(matches!(error.downcast_ref(), Some(ContainerError::Damaged(..))), "{length}: {error:#}");
            assert!(super::super::delete::delete(&root, &id, false).is_err(), "{length}");
        }
        assert!(super::super::delete::delete(&root, &id, true).unwrap().is_empty());
        assert!(!root.container(&id).exists());
        assert!(!child.wait().unwrap().success());
        // What is left when even that file is damaged is the directory.
        make();
        fs::write(root.container(&id).join(Identity::FILE), "{").unwrap();
        super::super::delete::delete(&root, &id, true).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn r6_r19_a_pid_of_another_time_or_another_boot_is_not_init() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let init = ProcessId::of(Pid::from_raw(child.id() as i32)).unwrap();
        assert!(state(init.clone()).init().is_some());
        assert!(state(ProcessId { start_time: init.start_time + 1, ..init.clone() }).init().is_none());
        assert!(state(ProcessId { boot_id: "another".to_owned(), ..init.clone() }).init().is_none());
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(state(init.clone()).status(dir.path()), Status::Running);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(state(init.clone()).init().is_none());
        assert_eq!(state(init).status(dir.path()), Status::Stopped);
    }

    #[test]
    fn a_file_that_is_a_link_or_a_fifo_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let id: ContainerId = "born-state".parse().unwrap();
        fs::create_dir(root.container(&id)).unwrap();
        let file = root.container(&id).join(State::FILE);
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, serde_json::to_vec(&state(ProcessId::default())).unwrap()).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        assert!(State::load(&root, &id).is_err());
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(State::load(&root, &id).is_err());
        fs::remove_file(&file).unwrap();
        fs::rename(&elsewhere, &file).unwrap();
        assert!(State::load(&root, &id).is_ok());
    }

    #[test]
    fn r7_who_asks_again_does_not_ask_of_another_container_that_was_made_since() {
        let root = tempfile::tempdir().unwrap();
        let (dir, dying) = (root.path().join("web"), root.path().join("~web"));
        fs::create_dir(&dir).unwrap();
        let _held = lock(&dir).unwrap();
        let mut asked = 0;
        let made_again = || {
            asked += 1;
            fs::rename(&dir, &dying).unwrap();
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("lock"), "").unwrap();
            false
        };
        let error = lock_after(&dir, made_again).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(ContainerError::NotFound(_))), "{error:#}");
        assert_eq!(asked, 1);
    }

    #[test]
    fn r7_who_waits_for_the_lock_of_a_container_that_goes_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let container = dir.path().join("born-lock");
        fs::create_dir(&container).unwrap();
        let held = lock(&container).unwrap();
        let waiter = std::thread::spawn({
            let container = container.clone();
            move || lock(&container).map(drop)
        });
        fs::remove_dir_all(&container).unwrap();
        drop(held);
        let error = waiter.join().unwrap().unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(ContainerError::NotFound(_))), "{error:#}");
    }

    #[test]
    fn s16_only_ids_that_are_one_harmless_path_component_are_taken() {
        let long = "x".repeat(256);
        let refused = [
            "", ".", "..", "/", "a/b", "../a", "a/..", "/a", "a/", "a\nb", "a\n", "\n", "a b", " a", "a\0b", "a\tb",
            "é", "*", "a*", "a?", "~a", "$a", "a;b", "a|b", "a:b", "a,b", "a=b", "a@b", "a#b", "a%2fb", "a\\b", &long,
        ];
        for id in refused {
            assert!(id.parse::<ContainerId>().is_err(), "{id:?}");
        }
        for id in ["a", "A-Z_0.9+", "...", ".a", "-a", &long[1..]] {
            assert!(id.parse::<ContainerId>().is_ok(), "{id:?}");
        }
    }
}
