//! `exec`: one more process in a container.

use std::convert::Infallible;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, setsid};
use oci_spec::runtime::{LinuxNamespaceType, Process};

use super::labels::Labels;
use super::link::{self, Failure, Message};
use super::namespaces::{self, CLONE_NEWTIME, Join};
use super::nature::Nature;
use super::scheduling::{self, Initial};
use super::seccomp::{Filter, Moment};
use super::stand_in::StandIn;
use super::state::{Init, State, Status};
use super::{helper, hooks, idmap, init, limits, process, rdt, receiver, rootfs, terminal, user};
use crate::cgroup::Cgroup;
use crate::linux::process::{NoReturn, exit_now};
use crate::linux::procfs::Procfs;
use crate::linux::{fd, pidfd, signals};

/// Where the terminal of a process goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Console {
    /// To the caller, as `Child::terminal`; there is one only if the process asks for it (`terminal`).
    #[default]
    Foreground,
    /// To a unix socket.
    Socket(PathBuf),
}

/// What a process in a container is made of.
#[derive(Debug)]
pub struct ExecOptions {
    /// All of it counts: args, env, cwd, user, capabilities, rlimits, terminal...
    pub process: Process,
    pub console: Console,
    /// How many descriptors from 3 on the program gets.
    pub preserve_fds: u32,
    /// Its standard input, output and error; None: the caller's.
    pub stdio: Option<[OwnedFd; 3]>,
    /// A sub-cgroup of the container's with this name, for its whole tree (X-E15); see `Child::in_cgroup`.
    pub cgroup_child: Option<String>,
    /// Another cgroup than the container's own, below it.
    pub cgroup: Option<Cgroup>,
    /// Also in a paused container, where it does not run before the container is resumed.
    pub ignore_paused: bool,
    /// What it does in place of its program, which is then not even looked up.
    pub instead: Option<StandIn>,
}

impl ExecOptions {
    pub fn new(process: Process) -> ExecOptions {
        ExecOptions {
            process,
            console: Console::default(),
            preserve_fds: 0,
            stdio: None,
            cgroup_child: None,
            cgroup: None,
            ignore_paused: false,
            instead: None,
        }
    }
}

/// A process that runs its program. Its parent is the caller, who reaps it.
#[derive(Debug)]
pub struct Child {
    pub pid: Pid,
    pub pidfd: OwnedFd,
    /// The master of its terminal, unless a console socket was given.
    pub terminal: Option<OwnedFd>,
    /// Whether it is in the cgroup that was asked for; no where there are no rights (X-E18).
    pub in_cgroup: bool,
    pub warnings: Vec<String>,
}

/// Why a process could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecError {
    pub message: String,
    /// 127 where the program was not found, 126 otherwise; 255 where it is bookend's own failure.
    pub code: i32,
}

impl std::error::Error for ExecError {}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ExecError {
    fn own(error: anyhow::Error) -> ExecError {
        match error.downcast::<Failure>() {
            Ok(failure) => ExecError { message: failure.message, code: failure.code },
            Err(error) => ExecError { message: format!("{error:#}"), code: 255 },
        }
    }
}

/// Makes a process in a running (or created) container. The caller must be single-threaded.
pub fn spawn(state: &State, dir: &Path, options: &ExecOptions) -> std::result::Result<Child, ExecError> {
    spawn_in(state, dir, options).map_err(ExecError::own)
}

fn spawn_in(state: &State, dir: &Path, options: &ExecOptions) -> Result<Child> {
    process::check_passed(options.preserve_fds)?;
    Labels::of(&options.process).check()?;
    let console = reach_console(options)?;
    let init = match state.look(dir) {
        (Status::Created | Status::Running, Some(init)) => init,
        (Status::Paused, Some(init)) if options.ignore_paused => init,
        (Status::Paused, _) => bail!("cannot exec in a paused container (use --ignore-paused to override)"),
        (Status::Creating, _) => bail!("cannot exec in a container that is being created"),
        _ => bail!("cannot exec in a stopped container"),
    };
    let proc = Procfs::open().context("open /proc")?;
    let init_dir = proc.process(init.pid).context("open /proc of init")?;
    let joins = namespaces::of_init(&init, dir, CloneFlags::all() | CLONE_NEWTIME, true)?;
    let place =
        Place { state, init: Some(init.pid), child: options.cgroup_child.as_deref(), below: options.cgroup.as_ref() };
    let join = || namespaces::join(&joins);
    let user = joins.iter().any(|join| join.kind == CloneFlags::CLONE_NEWUSER);
    if let (true, Some(uid)) = (user, idmap::outside(init_dir.as_fd(), options.process.user().uid())) {
        let stdio = match &options.stdio {
            Some(given) => given.each_ref().map(|given| given.as_fd()),
            None => fd::stdio(),
        };
        process::give_stdio(stdio, uid)?;
    }
    let birth = Birth::new(state, dir, options, proc, user)?;
    born(birth, place, CloneFlags::empty(), join, || Ok(()), console)
}

/// The namespaces of a container that a process after its end needs, held open (O-03).
pub fn hold_namespaces(init: &Init, dir: &Path) -> Result<Vec<(CloneFlags, OwnedFd)>> {
    let joins = namespaces::of_init(init, dir, CloneFlags::all() - CloneFlags::CLONE_NEWPID, false)?;
    Ok(joins.into_iter().map(|join| (join.kind, join.namespace)).collect())
}

/// The network of a container as a probe reaches it.
pub struct Network(Vec<Join>);

impl Network {
    /// Of a live container, or of one whose namespaces are held open.
    pub fn of(state: &State, dir: &Path, held: &[(CloneFlags, OwnedFd)]) -> Result<Network> {
        let kinds = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET;
        let joins = match held {
            [] => namespaces::of_init(&state.init().context("the container has exited")?, dir, kinds, true)?,
            held => foreign(held, kinds)?,
        };
        Ok(Network(joins))
    }

    /// Of a container that has exited and whose namespaces nobody held: only the host's is still there, where that was its.
    pub fn after_all(state: &State, dir: &Path) -> Result<Option<Network>> {
        let config = hooks::snapshot(state, dir)?;
        let namespaces = config.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        let own = namespaces.into_iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::Network);
        Ok((!own).then_some(Network(Vec::new())))
    }

    /// Whether it is another than ours.
    pub fn is_own(&self) -> bool {
        self.0.iter().any(|join| join.kind == CloneFlags::CLONE_NEWNET)
    }

    /// Enters it, by way of the user namespace where only that gives the rights to. The caller must be single-threaded.
    pub fn join(&self) -> Result<()> {
        // The host's stays as it is: the container's user namespace gives no rights to it, and none are needed.
        if self.is_own() { namespaces::join(&self.0) } else { Ok(()) }
    }
}

/// Those of the namespaces that we are not in.
fn foreign(held: &[(CloneFlags, OwnedFd)], kinds: CloneFlags) -> Result<Vec<Join>> {
    let mut joins = Vec::new();
    for (kind, namespace) in held.iter().filter(|(kind, _)| kinds.contains(*kind)) {
        if !namespaces::is_ours(*kind, namespace)? {
            let namespace = namespace.try_clone().context("dup")?;
            joins.push(Join { kind: *kind, name: format!("{kind:?} of the container"), namespace });
        }
    }
    Ok(joins)
}

/// Makes a process in a container whose init is gone (O-03): in the namespaces held open, with a new pid namespace and a
/// fresh, masked /proc in a private copy of the mount namespace. The caller must be single-threaded.
pub fn spawn_after(
    namespaces: &[(CloneFlags, OwnedFd)],
    dir: &Path,
    options: &ExecOptions,
) -> std::result::Result<Child, ExecError> {
    spawn_after_in(namespaces, dir, options).map_err(ExecError::own)
}

fn spawn_after_in(held: &[(CloneFlags, OwnedFd)], dir: &Path, options: &ExecOptions) -> Result<Child> {
    let console = reach_console(options)?;
    let state = State::load_dir(dir)?;
    let config = hooks::snapshot(&state, dir)?;
    let joins = foreign(held, CloneFlags::all() | CLONE_NEWTIME)?;
    let user = joins.iter().any(|join| join.kind == CloneFlags::CLONE_NEWUSER);
    let join = || {
        namespaces::join(&joins)?;
        if user {
            user::become_root()?;
        }
        // What is mounted from here on, nobody else sees.
        unshare(CloneFlags::CLONE_NEWNS).context("unshare mount namespace")?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("make the mounts private")
    };
    let place = Place { state: &state, init: None, child: options.cgroup_child.as_deref(), below: None };
    let proc = Procfs::open().context("open /proc")?;
    let birth = Birth::new(&state, dir, options, proc, user)?;
    born(birth, place, CloneFlags::CLONE_NEWPID, join, || rootfs::fresh_proc(&config), console)
}

fn reach_console(options: &ExecOptions) -> Result<Option<OwnedFd>> {
    match &options.console {
        Console::Foreground => Ok(None),
        Console::Socket(_) if !options.process.terminal().unwrap_or(false) => {
            bail!("a console socket needs a process with a terminal")
        }
        Console::Socket(path) => receiver::reach(receiver::CONSOLE, path).map(Some),
    }
}

/// Where the new process counts.
struct Place<'a> {
    state: &'a State,
    init: Option<Pid>,
    child: Option<&'a str>,
    /// What it was told to join instead.
    below: Option<&'a Cgroup>,
}

impl Place<'_> {
    fn cgroup(&self) -> Result<Cgroup> {
        if let Some(below) = self.below {
            return Ok(below.clone());
        }
        let Some(name) = self.child else { return Ok(self.state.cgroup.clone()) };
        let child = self.state.cgroup.child(name)?;
        child.create()?;
        Ok(child)
    }

    /// Puts the helper in its cgroup, so that all it clones is born there. Whether that was done: without the rights for it
    /// the process runs all the same (X-E18).
    fn admit(&self, cgroup: &Cgroup, helper: Pid, in_cgroup: bool) -> Result<bool> {
        let entered = cgroup.enter(helper, in_cgroup).or_else(|error| match self.init {
            // Controllers are enabled in it (EBUSY), so the kernel takes no process there: to where PID 1 is (X-E01).
            // Who names a cgroup gets that one.
            Some(init) if errno_of(&error) == Some(libc::EBUSY) && self.below.is_none() => {
                self.state.cgroup.join_as(init)?.enter(helper, false)
            }
            _ => Err(error),
        });
        match entered {
            Ok(()) => Ok(true),
            Err(error) if self.state.rootless && self.below.is_none() => {
                let _ = error; // told by the flag that this returns
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

fn errno_of(error: &anyhow::Error) -> Option<i32> {
    error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()?.raw_os_error())
}

/// What the new process takes over from its caller.
struct Birth<'a> {
    /// The host's.
    proc: Procfs,
    options: &'a ExecOptions,
    user_namespace: bool,
    rootless: bool,
    /// The container's, for every process in it (X-E02).
    filter: Option<Filter>,
    nature: Nature,
    rdt: Option<rdt::Group>,
    keyring: String,
}

impl<'a> Birth<'a> {
    fn new(
        state: &State,
        dir: &Path,
        options: &'a ExecOptions,
        proc: Procfs,
        user_namespace: bool,
    ) -> Result<Birth<'a>> {
        let kept = state.kept;
        let filter = beside(kept.map(|kept| kept.filter), dir, Filter::load).context("the filter of the container")?;
        let nature = beside(kept.map(|kept| kept.nature), dir, Nature::load).context("the nature of the container")?;
        let rdt =
            beside(kept.map(|kept| kept.rdt), dir, rdt::Group::load).context("the resctrl group of the container")?;
        let nature = nature.unwrap_or_default();
        let (rootless, keyring) = (state.rootless, state.keyring());
        Ok(Birth { proc, options, user_namespace, rootless, filter, nature, rdt, keyring })
    }
}

/// What is kept beside the state. Where that says that there is something, a process is not to be born without it.
fn beside<T>(said: Option<bool>, dir: &Path, load: impl FnOnce(&Path) -> Result<Option<T>>) -> Result<Option<T>> {
    let found = if said == Some(false) { None } else { load(dir)? };
    if said == Some(true) && found.is_none() {
        bail!("is gone from {}: make the container anew", dir.display());
    }
    Ok(found)
}

/// Makes the process by way of a helper, which joins (`join`) and clones it; it finishes its own surroundings (`settle`).
fn born(
    birth: Birth<'_>,
    place: Place<'_>,
    flags: CloneFlags,
    join: impl FnOnce() -> Result<()>,
    settle: impl FnOnce() -> Result<()>,
    console: Option<OwnedFd>,
) -> Result<Child> {
    let initial = Initial::of(&birth.options.process)?;
    let (cgroup, mut in_cgroup) = match place.cgroup() {
        Ok(cgroup) => (cgroup, !place.state.cgroup.is_none()),
        // No sub-cgroup can be made: then the container's own.
        Err(_) if place.state.rootless => (place.state.cgroup.clone(), false),
        Err(error) => return Err(error),
    };
    let agent = birth.filter.as_ref().map_or(Ok(None), Filter::reach_agent)?;
    let directory = cgroup.clone_into()?;
    let (ours, theirs) = link::pair()?;
    let verbs_end = ours.as_raw_fd();
    let oom = (birth.options, &birth.proc, birth.rootless);
    let prepare = || {
        // Inherited by what we clone, and its file is ours only now.
        limits::set_oom_score(&oom.0.process, oom.1, oom.2)?;
        join()
    };
    let admit = |helper, born_in| {
        in_cgroup &= place.admit(&cgroup, helper, born_in)?;
        birth.rdt.as_ref().map_or(Ok(()), |group| group.admit(helper))?;
        Ok(())
    };
    let child = || run(&birth, &theirs, verbs_end, settle);
    let (pid, pidfd, _) = helper::clone_within(directory.as_ref().map(AsFd::as_fd), prepare, flags, child, admit)?;
    drop((theirs, initial));
    let ask = |listener: &OwnedFd| match &agent {
        Some(agent) => agent.send(listener, pid, place.state, Status::Running),
        None => bail!("the process has a seccomp listener that nobody asked for"),
    };
    match hear(&ours, ask) {
        Ok((terminal, warnings)) => {
            let terminal = give_terminal(console, terminal)?;
            Ok(Child { pid, pidfd, terminal, in_cgroup, warnings })
        }
        Err(error) => {
            let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL); // it has ended already, or must
            waitpid(pid, None).context("wait for the process")?;
            if place.child.is_some() {
                let _ = cgroup.delete(); // `delete` removes it with the container's
            }
            Err(error)
        }
    }
}

fn give_terminal(console: Option<OwnedFd>, master: Option<OwnedFd>) -> Result<Option<OwnedFd>> {
    match (console, master) {
        (Some(socket), Some(master)) => receiver::give_master(&socket, &master).map(|()| None),
        (_, master) => Ok(master),
    }
}

/// Listens until the process has executed its program: execve closes the link.
fn hear(link: &OwnedFd, ask: impl Fn(&OwnedFd) -> Result<()>) -> Result<(Option<OwnedFd>, Vec<String>)> {
    let (mut terminal, mut warnings) = (None, Vec::new());
    loop {
        match link::receive(link.as_fd())? {
            None => return Ok((terminal, warnings)),
            Some((Message::Terminal, master)) => terminal = master,
            Some((Message::Warning(warning), _)) => warnings.push(warning),
            Some((Message::Seccomp, Some(listener))) => ask(&listener)?,
            Some((Message::Failed(failure), _)) => bail!(failure),
            Some((other, _)) => bail!("the process said {other:?} before its program"),
        }
    }
}

/// The life of the process, up to its program.
fn run(birth: &Birth<'_>, link: &OwnedFd, verbs_end: RawFd, settle: impl FnOnce() -> Result<()>) {
    let _guard = NoReturn;
    let _ = nix::unistd::close(verbs_end); // it is open, so this cannot fail
    let Ok(mut link) = link.try_clone() else { exit_now(125) };
    let failure = match enter(birth, &mut link, settle) {
        Ok(never) => match never {},
        Err(error) => Failure::of(&error),
    };
    let code = failure.code;
    let _ = link::send(link.as_fd(), &Message::Failed(failure), None); // nobody is left to be told
    exit_now(code)
}

/// The stages, once in the namespaces and the cgroup of the container. Not dumpable since before that (S24).
fn enter(birth: &Birth<'_>, link: &mut OwnedFd, settle: impl FnOnce() -> Result<()>) -> Result<Infallible> {
    let process = &birth.options.process;
    if birth.user_namespace {
        user::become_root()?;
    }
    let groups_denied = birth.proc.read_own("setgroups").is_ok_and(|text| text.trim() == "deny");
    settle()?;
    setsid().context("setsid")?;
    let labels = Labels::of(process);
    birth.nature.join_keyring(&birth.keyring, &labels, &birth.proc)?;
    labels.apply(&birth.proc)?;
    process::place_stdio(birth.options.stdio.as_ref())?;
    terminal::set_up(process, link.as_fd(), false)?;
    // From here on no descriptor of the host is open, whatever name the container gives to one (S9).
    let first = 3 + birth.options.preserve_fds as i32;
    let kept = init::keep_first(&[link.as_fd()], first)?.pop().context("one for one")?;
    std::mem::forget(std::mem::replace(link, kept)); // its number may be another's by now
    let environment = process::environment(process, user::read_passwd, 0);
    let filter = birth.filter.as_ref();
    scheduling::settle(process.exec_cpu_affinity().as_ref())?;
    let room = process::room(process, filter, birth.options.preserve_fds);
    process::set_up(process, &birth.nature, groups_denied, filter, link.as_fd(), room)?;
    if let Some(stand_in) = birth.options.instead {
        signals::reset().context("reset signals")?;
        // As execve would: whoever listens takes it for begun.
        nix::unistd::close(link.as_raw_fd()).context("close the link")?;
        stand_in.act();
    }
    let program = process::look_up(process, &environment)?;
    signals::reset().context("reset signals")?;
    process::filter_at(Moment::BeforeReady, process, filter, link.as_fd())?;
    limits::apply_last(process, room)?;
    process::filter_at(Moment::Last, process, filter, link.as_fd())?;
    Ok(process::exec(&program, process, &environment)?)
}
