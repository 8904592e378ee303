//! `create`: makes a container up to the point where its program could be executed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, geteuid};
use oci_spec::runtime::{LinuxNamespaceType as Kind, LinuxResources, Spec};

use super::bundle::Bundle;
use super::hooks::{self, Point};
use super::id::ContainerId;
use super::init::{self, Birth};
use super::labels::{self, Labels};
use super::link::{self, Failure, Message};
use super::namespaces::{self, Namespaces};
use super::nature::Nature;
use super::net_devices::{self, Moved};
use super::root::Root;
use super::rootfs::Sources;
use super::seccomp::{Connection, Filter};
use super::start;
use super::state::{self, ContainerError, Identity, Lock, ProcessId, State, Status};
use super::{delegation, idmap, notify, process, rdt, terminal, user};
use crate::cgroup::{Cgroup, Driver, Scope};
use crate::linux::clone::{self, Cloned};
use crate::linux::process::{NoReturn, exit_now};
use crate::linux::procfs::{self, Procfs};
use crate::linux::{clock, fd, pidfd};
use crate::wall;

/// What the caller of `create` may ask for.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// The unix socket that is given the master of the terminal.
    pub console_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
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
    /// No other verb changes the container while this lives.
    pub lock: Option<Lock>,
    undo: Undo,
}

impl Created {
    /// From now on the container outlives this value.
    pub fn keep(&mut self) {
        self.undo.disarm();
    }
}

/// What was made so far. Dropping it removes that, in the reverse order.
#[derive(Default)]
struct Undo {
    dir: Option<PathBuf>,
    cgroup: Option<Cgroup>,
    rdt: Option<rdt::Group>,
    devices: Option<Moved>,
    init: Option<(Pid, OwnedFd)>,
    pid_file: Option<PathBuf>,
}

impl Undo {
    // By field: replacing the value would drop it.
    fn disarm(&mut self) {
        (self.dir, self.cgroup, self.rdt, self.init, self.pid_file) = (None, None, None, None, None);
        if let Some(devices) = self.devices.take() {
            devices.keep();
        }
    }
}

impl Drop for Undo {
    // Each on its own: one that fails must not keep the others from being undone, and the error that brought us here is
    // the one to tell. What is left `delete --force` finds.
    fn drop(&mut self) {
        if let Some(pid_file) = &self.pid_file {
            let _ = fs::remove_file(pid_file);
        }
        // While there is a network namespace that they can come back from.
        drop(self.devices.take());
        if let Some((pid, pidfd)) = &self.init {
            let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = waitpid(*pid, None);
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.kill();
            let _ = cgroup.delete();
        }
        if let Some(group) = &self.rdt {
            let _ = group.undo();
        }
        if let Some(dir) = &self.dir {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// Creates a container. The caller becomes init's parent, and must be single-threaded.
pub fn create(
    root: &Root,
    id: &ContainerId,
    bundle: &Bundle,
    options: &CreateOptions,
    has_hooks: bool,
) -> Result<Created> {
    // What can be refused is refused before anything is made.
    let listen_fds = process::listen_fds();
    process::check_passed(listen_fds + options.preserve_fds)?;
    let console = reach_console(&bundle.config, options)?;
    let (filter, warned) = Filter::of(&bundle.config)?;
    let agent = filter.as_ref().map_or(Ok(None), Filter::reach_agent)?;
    let namespaces = Namespaces::open(&bundle.config)?;
    check_rights(&namespaces, options)?;
    net_devices::check(&bundle.config, &namespaces, options.rootless)?;
    check_labels(&bundle.config)?;
    let rdt = rdt::Group::of(&bundle.config, id)?;
    let cgroup = plan_cgroup(&bundle.config, id, options)?;
    let scope = plan_scope(&cgroup, id, &bundle.config)?;

    let mut undo = Undo::default();
    let dir = make_directory(root, id, &mut undo)?;
    let lock = own_directory(&dir, id, &mut undo)?;
    let bundle = &with_notify(bundle, &dir, options)?;
    let mut state = first_state(id, bundle, &cgroup, options, has_hooks)?;
    state::write_down(&dir, &identity(&state), &state, Some(&bundle.raw))?;
    filter.as_ref().map_or(Ok(()), |filter| filter.save(&dir))?;
    let nature = Nature::of(&bundle.config, options.no_new_keyring);
    nature.save(&dir)?;
    rdt.as_ref().map_or(Ok(()), |group| group.save(&dir))?;
    // The directory says what there is before there is anything (R1).
    if scope.is_none() {
        cgroup.create()?;
        undo.cgroup = Some(cgroup.clone());
        set_limits(&cgroup, &bundle.config, options.rootless)?;
    }
    let sources = Sources::open(bundle, namespaces.is_own(Kind::User))?;
    let listener = start::listen_in(fd::open_path(&dir)?.as_fd()).context("bind start.sock")?;
    let (ours, theirs) = link::pair()?;

    let verbs_end = ours.as_raw_fd();
    let (namespaces, state_now) = (&namespaces, state.clone());
    let birth = Birth {
        bundle,
        options,
        namespaces,
        state: state_now,
        listener,
        link: theirs,
        filter,
        nature,
        verbs_end,
        listen_fds,
    };
    let (pid, pidfd, in_cgroup) = clone_init(birth, sources, &cgroup, &mut undo)?;
    let proc_dir = Procfs::open().and_then(|proc| proc.process(pid)).context("open /proc of init")?;
    let init = ProcessId::of(pid)?;
    (state.pid, state.start_time, state.boot_id) = (init.pid, init.start_time, init.boot_id);

    let raising = Raising {
        bundle,
        namespaces,
        state: &state,
        dir: &dir,
        proc_dir: proc_dir.as_fd(),
        in_cgroup,
        rdt,
        agent,
        scope,
    };
    let (mut terminal, mut warnings) = raising.serve(ours.as_fd(), &mut undo)?;
    warnings.splice(0..0, bundle.warnings.iter().cloned().chain(warned));
    fs::rename(dir.join(start::SETTING_UP), dir.join(start::READY)).context("rename start.sock")?;
    if let (Some(socket), Some(master)) = (&console, &terminal) {
        terminal::send_master(socket, master)?;
        terminal = None;
    }
    write_pid_file(options.pid_file.as_deref(), pid, &mut undo)?;
    Ok(Created { state, dir, pidfd, proc_dir, terminal, warnings, lock: Some(lock), undo })
}

fn with_notify<'a>(bundle: &'a Bundle, dir: &Path, options: &CreateOptions) -> Result<Cow<'a, Bundle>> {
    let mut bundle = Cow::Borrowed(bundle);
    if options.notify {
        notify::pass_in(dir, &mut bundle.to_mut().config)?;
    }
    Ok(bundle)
}

fn reach_console(config: &Spec, options: &CreateOptions) -> Result<Option<OwnedFd>> {
    let wants = config.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    match &options.console_socket {
        None => Ok(None),
        Some(path) if wants => terminal::reach_socket(path).map(Some),
        Some(_) => bail!(
            "a console socket needs a process with a terminal: set process.terminal, or leave --console-socket out"
        ),
    }
}

fn check_rights(namespaces: &Namespaces, options: &CreateOptions) -> Result<()> {
    if options.rootless && !geteuid().is_root() && !namespaces.is_own(Kind::User) {
        bail!(
            "rootless containers need a user namespace: add {{\"type\": \"user\"}} and mappings (`bookend spec --rootless` writes both)"
        );
    }
    Ok(())
}

fn check_labels(config: &Spec) -> Result<()> {
    labels::check_mounts(config)?;
    config.process().as_ref().map_or(Ok(()), |process| Labels::of(process).check())
}

fn plan_cgroup(config: &Spec, id: &ContainerId, options: &CreateOptions) -> Result<Cgroup> {
    let path = config.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    match options.driver {
        Driver::Files => {
            let cgroup = Cgroup::plan(path, id.as_str(), options.rootless)?;
            resources(config).map_or(Ok(()), |resources| cgroup.check(resources))?;
            Ok(cgroup)
        }
        Driver::Systemd => Cgroup::plan_unit(path, id.as_str(), options.rootless),
    }
}

/// What systemd is to make, where it makes the cgroup.
fn plan_scope(cgroup: &Cgroup, id: &ContainerId, config: &Spec) -> Result<Option<Scope>> {
    let resources = resources(config).cloned().unwrap_or_default();
    cgroup.scope(id.as_str(), &config.annotations().clone().unwrap_or_default(), &resources)
}

fn resources(config: &Spec) -> Option<&LinuxResources> {
    config.linux().as_ref()?.resources().as_ref()
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
    cgroup: &Cgroup,
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
        cgroup: cgroup.clone(),
        rootless: options.rootless,
        has_hooks,
        terminal: bundle.config.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false),
    })
}

fn identity(state: &State) -> Identity {
    Identity { cgroup: state.cgroup.clone(), init: state.init_id(), creator: state.creator.clone() }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let errno = error.downcast_ref::<rustix::io::Errno>().map(|errno| errno.raw_os_error());
    let errno = errno.or(error.downcast_ref::<nix::errno::Errno>().map(|errno| *errno as i32));
    let errno = errno.or(error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error));
    errno == Some(libc::EPIPE)
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

/// Clones init: in its new namespaces, and born in its v2 cgroup where it can be (the last of what is returned).
fn clone_init(birth: Birth<'_>, sources: Sources, cgroup: &Cgroup, undo: &mut Undo) -> Result<(Pid, OwnedFd, bool)> {
    let directory = cgroup.clone_into()?;
    let directory = directory.as_ref().map(AsFd::as_fd);
    let flags = birth.namespaces.for_clone();
    let (pid, pidfd, in_cgroup) = if birth.namespaces.joins.is_empty() {
        match clone::clone(flags, directory).with_context(|| format!("clone with {flags:?}"))? {
            Cloned::Child => init::run(birth, sources),
            Cloned::Parent { pid, pidfd, in_cgroup } => (pid, pidfd, in_cgroup),
        }
    } else {
        // A helper joins, so that we stay where we are; what it clones then is our child, as if we had done it.
        let namespaces = birth.namespaces;
        let join = || namespaces::join(&namespaces.joins);
        by_helper(directory, join, flags, || -> () { init::run(birth, sources) }, |_, _| Ok(()))?
    };
    undo.init = Some((pid, pidfd.try_clone().context("dup")?));
    Ok((pid, pidfd, in_cgroup))
}

/// Clones a child of ours from within other namespaces: a short-lived helper makes itself ready (`prepare`) and clones it
/// as its own sibling. `admit` puts the helper in its cgroup before it does anything.
pub(super) fn by_helper(
    cgroup: Option<BorrowedFd<'_>>,
    prepare: impl FnOnce() -> Result<()>,
    flags: nix::sched::CloneFlags,
    child: impl FnOnce(),
    admit: impl FnOnce(Pid, bool) -> Result<()>,
) -> Result<(Pid, OwnedFd, bool)> {
    let (ours, theirs) = link::pair()?;
    match clone::clone(nix::sched::CloneFlags::empty(), cgroup).context("clone a helper")? {
        Cloned::Child => {
            let _guard = NoReturn;
            drop(ours);
            let report = |message: &Message, pidfd| link::send(theirs.as_fd(), message, pidfd);
            let help = || -> Result<Option<(Pid, OwnedFd)>> {
                // Nothing of the container may look into us (S1, S24).
                crate::linux::process::set_dumpable(false).context("become non-dumpable")?;
                link::request(theirs.as_fd(), &Message::MapIds, &Message::Mapped { pid: 0 })?;
                prepare()?;
                let flags = flags | nix::sched::CloneFlags::CLONE_PARENT;
                match clone::clone(flags, None).with_context(|| format!("clone with {flags:?}"))? {
                    Cloned::Child => Ok(None),
                    Cloned::Parent { pid, pidfd, .. } => Ok(Some((pid, pidfd))),
                }
            };
            let told = match help() {
                Ok(None) => {
                    child();
                    exit_now(125)
                }
                Ok(Some((pid, pidfd))) => report(&Message::Cloned { pid: pid.as_raw() }, Some(pidfd.as_fd())),
                Err(error) => report(&Message::Failed(Failure::of(&error)), None),
            };
            exit_now(told.is_err().into())
        }
        Cloned::Parent { pid: helper, in_cgroup, .. } => {
            drop(theirs);
            let made = attend(&ours, helper, in_cgroup, admit);
            drop(ours);
            waitpid(helper, None).context("wait for the helper")?;
            let (pid, pidfd) = made?;
            Ok((pid, pidfd, in_cgroup))
        }
    }
}

fn attend(
    link: &OwnedFd,
    helper: Pid,
    in_cgroup: bool,
    admit: impl FnOnce(Pid, bool) -> Result<()>,
) -> Result<(Pid, OwnedFd)> {
    match link::receive(link.as_fd())? {
        Some((Message::MapIds, _)) => admit(helper, in_cgroup)?,
        Some((Message::Failed(failure), _)) => bail!(failure),
        other => bail!("the helper said {other:?}, expected MapIds"),
    }
    link::send(link.as_fd(), &Message::Mapped { pid: helper.as_raw() }, None)?;
    match link::receive(link.as_fd())? {
        Some((Message::Cloned { pid }, Some(pidfd))) => Ok((Pid::from_raw(pid), pidfd)),
        Some((Message::Failed(failure), _)) => bail!(failure),
        other => bail!("the helper said {other:?}, expected Cloned"),
    }
}

/// What `create` does for init while that sets itself up.
struct Raising<'a> {
    bundle: &'a Bundle,
    namespaces: &'a Namespaces,
    state: &'a State,
    dir: &'a Path,
    proc_dir: BorrowedFd<'a>,
    in_cgroup: bool,
    rdt: Option<rdt::Group>,
    /// Of its seccomp filter.
    agent: Option<Connection>,
    /// What systemd is to make of init, who then is not in its cgroup yet.
    scope: Option<Scope>,
}

impl Raising<'_> {
    /// Answers until init is ready. Returns the master of its terminal, and warnings.
    fn serve(&self, link: BorrowedFd<'_>, undo: &mut Undo) -> Result<(Option<OwnedFd>, Vec<String>)> {
        let (mut terminal, mut warnings) = (None, Vec::new());
        loop {
            match link::receive(link)? {
                Some((Message::MapIds, _)) => {
                    let pid = Pid::from_raw(self.state.pid);
                    self.map_ids(pid)?;
                    self.rdt.clone().map_or(Ok(()), |group| undo.rdt.insert(group).found(pid))?;
                    undo.devices = self.move_devices()?;
                    link::send(link, &Message::Mapped { pid: pid.as_raw() }, None)?;
                    // From here on init makes its mounts, and does not wait for us.
                    state::write_down(self.dir, &identity(self.state), self.state, None)?;
                    let born = self.start_scope(pid, undo)? || self.in_cgroup;
                    // On v1 the first move waits for an RCU grace period: as long as init takes for all its mounts.
                    self.state.cgroup.enter(pid, born)?;
                    // Init may have ended while we were busy; then what it said last is the error, and it is next.
                    match link::send(link, &Message::Admitted, None) {
                        Err(error) if !is_broken_pipe(&error) => return Err(error),
                        _ => {}
                    }
                }
                Some((Message::RunHooks, _)) => {
                    hooks::run(&self.bundle.config, Point::Prestart, self.state, Status::Creating)?;
                    hooks::run(&self.bundle.config, Point::CreateRuntime, self.state, Status::Creating)?;
                    link::send(link, &Message::HooksRun, None)?;
                }
                Some((Message::Terminal, master)) => terminal = master,
                Some((Message::Warning(warning), _)) => warnings.push(warning),
                Some((Message::Seccomp, Some(listener))) => {
                    let agent = self.agent.as_ref().context("init has a seccomp listener that nobody asked for")?;
                    agent.send(&listener, Pid::from_raw(self.state.pid), self.state, Status::Creating)?;
                }
                Some((Message::Ready, _)) => return Ok((terminal, warnings)),
                Some((Message::Failed(failure), _)) => bail!(failure),
                Some((other, _)) => bail!("init said {other:?} before it was ready"),
                None => bail!("init ended before it was ready"),
            }
        }
    }

    /// Gives it the network devices of the host that it is to have.
    fn move_devices(&self) -> Result<Option<Moved>> {
        let network = || procfs::open_namespace(self.proc_dir, "net").context("open the network namespace of init");
        Moved::into(&self.bundle.config, network)
    }

    /// Has systemd make the scope, which takes a process; whether that is the way here.
    fn start_scope(&self, pid: Pid, undo: &mut Undo) -> Result<bool> {
        let (Some(scope), cgroup) = (&self.scope, &self.state.cgroup) else { return Ok(false) };
        cgroup.start(scope, pid)?;
        undo.cgroup = Some(cgroup.clone());
        set_limits(cgroup, &self.bundle.config, self.state.rootless)?;
        Ok(true)
    }

    /// Maps the ids of its new user namespace.
    fn map_ids(&self, pid: Pid) -> Result<()> {
        if self.namespaces.is_new(Kind::User) {
            let linux = self.bundle.config.linux().as_ref();
            let uids = linux.and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default();
            let gids = linux.and_then(|linux| linux.gid_mappings().as_deref()).unwrap_or_default();
            idmap::write(self.proc_dir, pid, uids, gids)?;
        }
        let user = self.bundle.config.process().as_ref().map_or(0, |process| process.user().uid());
        if let (true, Some(uid)) = (self.namespaces.is_own(Kind::User), idmap::outside(self.proc_dir, user)) {
            process::give_stdio(fd::stdio(), uid)?;
        }
        Ok(())
    }
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
