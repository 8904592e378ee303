//! `create`: makes a container up to the point where its program could be executed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::{Pid, geteuid};
use oci_spec::runtime::{LinuxNamespaceType as Kind, Spec};

use self::plan::{Plan, resources};
use self::raising::Raising;
use self::undo::Undo;
use super::bundle::Bundle;
use super::id::ContainerId;
use super::init::{self, Birth, Ends};
use super::interrupt::HeldSignals;
use super::root::Root;
use super::rootfs::Sources;
use super::state::{self, ContainerError, Identity, Lock, ProcessId, State};
use super::{delegation, helper, link, namespaces, notify, receiver, start, user};
use crate::cgroup::{Cgroup, Driver};
use crate::linux::clone::{self, Cloned};
use crate::linux::procfs::Procfs;
use crate::linux::{clock, fd};
use crate::wall;

mod plan;
mod raising;
mod undo;

/// What the caller of `create` may ask for.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// The unix socket that is given the master of the terminal.
    pub console_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    /// The unix socket that is given a pidfd of init.
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 on the program gets.
    pub preserve_fds: u32,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub rootless: bool,
    /// Who makes its cgroup.
    pub driver: Driver,
    /// Whether a program that cannot be found is an error already now (P-01); no when a preStart hook may install it.
    pub lookup_program: bool,
    /// Init is killed when its parent, the caller, ends (S-27).
    pub dies_with_parent: bool,
    /// The container is given a socket to say that it is ready.
    pub notify: bool,
}

impl Default for CreateOptions {
    fn default() -> CreateOptions {
        CreateOptions {
            console_socket: None,
            pid_file: None,
            pidfd_socket: None,
            preserve_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            rootless: !nix::unistd::geteuid().is_root(),
            driver: Driver::Files,
            lookup_program: true,
            dies_with_parent: false,
            notify: false,
        }
    }
}

/// A container in the state `created`. Unless it is kept, dropping it undoes everything.
pub struct Created {
    pub state: State,
    pub dir: PathBuf,
    /// Of init, whose parent is the caller.
    pub pidfd: OwnedFd,
    /// `/proc/PID` of init, O_PATH.
    pub proc_dir: OwnedFd,
    /// The master of its terminal, when there is no console socket.
    pub terminal: Option<OwnedFd>,
    /// What is to be told, but does not stop the container.
    pub warnings: Vec<String>,
    undo: Undo,
    /// No other verb changes the container while this lives: dropped after all is undone.
    lock: Option<Lock>,
}

impl Created {
    /// From now on the container outlives this value.
    pub fn keep(&mut self) {
        self.undo.disarm();
    }

    /// From now on others may change the container; what is undone is so only while it is still this one (R7).
    pub fn unlock(&mut self) {
        self.undo.others_since = Some(self.state.creator.clone());
        self.lock = None;
    }
}

/// Creates a container. The caller becomes init's parent, and must be single-threaded. What is `held` ends it: `Interrupted`.
pub fn create(
    root: &Root,
    id: &ContainerId,
    bundle: &Bundle,
    options: &CreateOptions,
    has_hooks: bool,
    held: &HeldSignals,
) -> Result<Created> {
    // What can be refused is refused before anything is made.
    let plan = Plan::new(id, bundle, options)?;

    let mut lock = None; // dropped after all is undone
    let mut undo = Undo::default();
    let dir = make_directory(root, id, &mut undo)?;
    let lock_fd = lock.insert(own_directory(&dir, id, &mut undo)?).as_fd().as_raw_fd();
    let bundle = &with_notify(bundle, &dir, options)?;
    let mut state = first_state(id, bundle, &plan, options, has_hooks)?;
    // The directory says what there is before there is anything (R1).
    state::write_down(&dir, &identity(&state), &state, Some(&bundle.raw))?;
    plan.save(&dir)?;
    make_cgroup(&plan, bundle, options, &mut undo)?;

    let (ours, theirs) = link::pair()?;
    let ends = Ends { link: theirs, verbs: [ours.as_raw_fd(), lock_fd] };
    let (pid, pidfd, in_cgroup) = give_birth(&plan, bundle, options, (&state, &dir), ends, &mut undo)?;
    // From here on, as runc: what its hooks may have made is theirs to remove.
    undo.poststop = Some((state.clone(), held.as_fd().try_clone_to_owned().context("dup")?));
    let proc_dir = Procfs::open().and_then(|proc| proc.process(pid)).context("open /proc of init")?;
    let init = ProcessId::of(pid)?;
    (state.pid, state.start_time, state.boot_id) = (init.pid, init.start_time, init.boot_id);

    let raising =
        Raising { plan: &plan, bundle, state: &state, dir: &dir, proc_dir: proc_dir.as_fd(), in_cgroup, held };
    let (mut terminal, mut warnings) = raising.serve(ours.as_fd(), &mut undo)?;
    warnings.splice(0..0, bundle.warnings.iter().chain(&plan.warnings).cloned());
    fs::rename(dir.join(start::SETTING_UP), dir.join(start::READY)).context("rename start.sock")?;
    if let (Some(socket), Some(master)) = (&plan.console, &terminal) {
        receiver::give_master(socket, master)?;
        terminal = None;
    }
    plan.pidfd_socket.as_ref().map_or(Ok(()), |socket| receiver::give_pidfd(socket, pidfd.as_fd()))?;
    write_pid_file(options.pid_file.as_deref(), pid, &mut undo)?;
    Ok(Created { state, dir, pidfd, proc_dir, terminal, warnings, undo, lock })
}

fn with_notify<'a>(bundle: &'a Bundle, dir: &Path, options: &CreateOptions) -> Result<Cow<'a, Bundle>> {
    let mut bundle = Cow::Borrowed(bundle);
    if options.notify {
        notify::pass_in(dir, &mut bundle.to_mut().config)?;
    }
    Ok(bundle)
}

fn make_directory(root: &Root, id: &ContainerId, undo: &mut Undo) -> Result<PathBuf> {
    if root.is_reserved(id) {
        bail!("the id {id} is a name of bookend's own in {}: choose another", root.path().display());
    }
    root.prepare()?;
    let dir = root.container(id);
    match DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(ContainerError::AlreadyExists(id.clone())),
        made => made.with_context(|| format!("create {}", dir.display()))?,
    }
    undo.dir = Some(dir.clone());
    Ok(dir)
}

/// Locks a directory that we have just made, if it is still that one: a `delete --force` and another `create` of the same id may
/// have come in between, and whoever has the lock first goes on (R7).
fn own_directory(dir: &Path, id: &ContainerId, undo: &mut Undo) -> Result<Lock> {
    let is_gone = |error: &anyhow::Error| matches!(error.downcast_ref(), Some(ContainerError::NotFound(_)));
    let lock = state::lock(dir).inspect_err(|error| {
        undo.dir.take_if(|_| is_gone(error));
    })?;
    if Identity::exists(dir) {
        undo.dir = None; // it is the other one's
        bail!(ContainerError::AlreadyExists(id.clone()));
    }
    Ok(lock)
}

fn first_state(
    id: &ContainerId,
    bundle: &Bundle,
    plan: &Plan,
    options: &CreateOptions,
    has_hooks: bool,
) -> Result<State> {
    let creator = ProcessId::of(Pid::this())?;
    let annotations = bundle.config.annotations().iter().flatten();
    Ok(State {
        oci_version: state::OCI_VERSION.to_owned(),
        id: id.clone(),
        pid: 0,
        start_time: 0,
        boot_id: creator.boot_id.clone(),
        creator,
        bundle: bundle.dir.clone(),
        rootfs: bundle.rootfs(),
        created: wall::rfc3339(clock::wall()),
        owner: user::name(geteuid().as_raw()),
        annotations: annotations.map(|(key, value)| (key.clone(), value.clone())).collect::<BTreeMap<_, _>>(),
        cgroup: plan.cgroup.clone(),
        rootless: options.rootless,
        has_hooks,
        terminal: bundle.config.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false),
        kept: Some(plan.kept()),
    })
}

fn identity(state: &State) -> Identity {
    Identity { cgroup: state.cgroup.clone(), init: state.init_id(), creator: state.creator.clone() }
}

fn set_limits(cgroup: &Cgroup, config: &Spec, rootless: bool) -> Result<()> {
    let resources = resources(config);
    resources.map_or(Ok(()), |resources| cgroup.set(resources))?;
    // Without a rule too, as runc: nothing but the usual devices. In a user namespace the kernel makes no device nodes,
    // and its user can open on the host what the container can.
    if !rootless {
        let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
        // Without any cgroup there is nothing to set them on; `Cgroup::plan` allows that to rootless containers only.
        let _ = cgroup.set_devices(rules)?;
        delegation::owner(config).map_or(Ok(()), |owner| cgroup.delegate(owner))?;
    }
    Ok(())
}

fn make_cgroup(plan: &Plan, bundle: &Bundle, options: &CreateOptions, undo: &mut Undo) -> Result<()> {
    if plan.scope.is_some() {
        return Ok(()); // systemd makes it, for a process
    }
    plan.cgroup.create()?;
    undo.cgroup = Some(plan.cgroup.clone());
    set_limits(&plan.cgroup, &bundle.config, options.rootless)
}

/// Opens what init is to have of the host, and clones it with that.
fn give_birth(
    plan: &Plan,
    bundle: &Bundle,
    options: &CreateOptions,
    (state, dir): (&State, &Path),
    ends: Ends,
    undo: &mut Undo,
) -> Result<(Pid, OwnedFd, bool)> {
    let sources = Sources::open(bundle, plan.namespaces.joined(Kind::User))?;
    let listener = start::listen_in(fd::open_path(dir)?.as_fd()).context("bind start.sock")?;
    let birth = Birth {
        bundle,
        options,
        namespaces: &plan.namespaces,
        state: state.clone(),
        listener,
        ends,
        filter: plan.filter.as_ref(),
        nature: &plan.nature,
        listen_fds: plan.listen_fds,
    };
    let (pid, pidfd, in_cgroup) = clone_init(birth, sources, &plan.cgroup)?;
    undo.init = Some((pid, pidfd.try_clone().context("dup")?));
    Ok((pid, pidfd, in_cgroup))
}

/// Clones init: in its new namespaces, and born in its v2 cgroup where it can be (the last of what is returned).
fn clone_init(birth: Birth<'_>, sources: Sources, cgroup: &Cgroup) -> Result<(Pid, OwnedFd, bool)> {
    let directory = cgroup.clone_into()?;
    let directory = directory.as_ref().map(AsFd::as_fd);
    let namespaces = birth.namespaces;
    let flags = namespaces.for_clone();
    if namespaces.joins.is_empty() {
        return match clone::clone(flags, directory).with_context(|| format!("clone with {flags:?}"))? {
            Cloned::Child => init::run(birth, sources),
            Cloned::Parent { pid, pidfd, in_cgroup } => Ok((pid, pidfd, in_cgroup)),
        };
    }
    // What a helper clones is our child, as if we had done it.
    let join = || namespaces::join(&namespaces.joins);
    helper::clone_within(directory, join, flags, || -> () { init::run(birth, sources) }, |_, _| Ok(()))
}

/// Whoever waits for the file must never read half of a number.
fn write_pid_file(path: Option<&Path>, pid: Pid, undo: &mut Undo) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    write_pid(path, pid)?;
    undo.pid_file = Some(path.to_owned());
    Ok(())
}

/// Writes a pid file: temporary, then renamed, in the directory where it shall be.
pub fn write_pid(path: &Path, pid: Pid) -> Result<()> {
    let name = path.file_name().with_context(|| format!("pid file {}", path.display()))?;
    let temporary = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    // A new file: whoever else may write to the directory must not choose what we write to.
    let file = fs::OpenOptions::new().write(true).create_new(true).open(&temporary);
    file.and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("write pid file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r7_who_made_a_directory_that_became_anothers_leaves_it_alone() {
        let root = tempfile::tempdir().unwrap();
        let id: ContainerId = "twice".parse().unwrap();
        let dir = root.path().join("twice");
        fs::create_dir(&dir).unwrap();
        let mut undo = Undo::default();
        undo.dir = Some(dir.clone());
        // Nothing has been made of it: it is ours.
        drop(own_directory(&dir, &id, &mut undo).unwrap());
        assert!(undo.dir.is_some());
        fs::write(dir.join("identity.json"), "{}").unwrap();
        let error = own_directory(&dir, &id, &mut undo).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&ContainerError::AlreadyExists(id.clone())));
        drop(undo);
        assert!(dir.exists());
        // One that went and was not made again is nobody's.
        fs::remove_dir_all(&dir).unwrap();
        let mut undo = Undo::default();
        undo.dir = Some(dir.clone());
        assert!(own_directory(&dir, &id, &mut undo).is_err() && undo.dir.is_none());
    }
}
