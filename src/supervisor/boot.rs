//! How a supervisor comes to be, and how it makes its handlers' processes.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::attempt::{Child, Peer, Source};
use super::fault::Armed;
use super::records::{self, HOOKS, Records};
use super::settings::Settings;
use super::succession::{self, Place};
use super::{Parts, Supervisor, Watched, control};
use crate::cgroup::Cgroup;
use crate::container::id::ContainerId;
use crate::container::root::Root;
use crate::container::state::State;
use crate::handler::log::HookLog;
use crate::handler::report::{NAMESPACES_FD, OUTPUT_FD, REPORT_FD};
use crate::lifecycle::model::{Entry, Hook, HookLog as Policy};
use crate::linux::{fd, fork, inherit, reexec, spawn};

/// Where `bookend supervise` finds what it is given; a successor gets only the first two.
const LISTENER: RawFd = 3;
const READY: RawFd = 4;
const PIDFD: RawFd = 5;
const PROC_DIR: RawFd = 6;
const KEPT_NAMESPACES: RawFd = 7;

/// What a new supervisor process is given.
pub struct Handover<'a> {
    pub root: &'a Root,
    pub id: &'a ContainerId,
    pub pidfd: BorrowedFd<'a>,
    pub proc_dir: BorrowedFd<'a>,
    pub listener: BorrowedFd<'a>,
    pub namespaces: &'a [(CloneFlags, OwnedFd)],
    /// The supervisor will be init's parent: it replaces the process that cloned it.
    pub parent: bool,
}

impl Handover<'_> {
    /// The command line of `bookend supervise`, with every descriptor in its place.
    fn command(&self, ready: BorrowedFd) -> Result<Command> {
        let mut command = reexec::command();
        command.arg("supervise").arg(self.root.path()).arg(self.id.as_str());
        command.arg(if self.parent { "parent" } else { "watcher" });
        command.args(self.namespaces.iter().map(|(kind, _)| kind.bits().to_string()));
        let mut fds = vec![(self.pidfd, PIDFD), (self.proc_dir, PROC_DIR), (self.listener, LISTENER), (ready, READY)];
        fds.extend(self.namespaces.iter().zip(KEPT_NAMESPACES..).map(|((_, fd), at)| (fd.as_fd(), at)));
        spawn::pass_fds(&mut command, &fds).context("pass descriptors to the supervisor")?;
        keep_nothing(&mut command);
        Ok(command)
    }

    /// Starts a supervisor beside us and waits until it has taken the container over.
    pub fn spawn(&self) -> Result<()> {
        let (said, ready) = fork::pipe()?;
        #[cfg_attr(not(debug_assertions), expect(unused_mut, reason = "what makes it fail is in test builds only"))]
        let mut command = self.command(ready.as_fd())?;
        #[cfg(debug_assertions)]
        command.envs(std::env::vars_os().filter(|(name, _)| name == super::perform::FAIL_AT));
        spawn_ready(command, ready, said)
    }

    /// Becomes the supervisor; who waits at the other end of `ready` is told. Returns only on failure.
    pub fn become_it(&self, ready: BorrowedFd) -> anyhow::Error {
        match self.command(ready) {
            Ok(mut command) => anyhow!(command.exec()).context("execute the supervisor"),
            Err(error) => error,
        }
    }
}

/// Starts a supervisor for a container whose own was killed, and waits until it has taken over. The caller holds the lock.
pub fn spawn_successor(root: &Root, id: &ContainerId, listener: BorrowedFd) -> Result<()> {
    let (said, ready) = fork::pipe()?;
    let mut command = reexec::command();
    command.arg("supervise").arg(root.path()).arg(id.as_str()).arg(SUCCESSOR);
    spawn::pass_fds(&mut command, &[(listener, LISTENER), (ready.as_fd(), READY)])
        .context("pass descriptors to the supervisor")?;
    keep_nothing(&mut command);
    spawn_ready(command, ready, said)
}

const SUCCESSOR: &str = "successor";

fn keep_nothing(command: &mut Command) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
}

fn spawn_ready(mut command: Command, ready: OwnedFd, said: OwnedFd) -> Result<()> {
    let mut child = command.spawn().context("start the supervisor")?;
    drop((command, ready)); // what is passed on is the command's until then
    await_ready(said).inspect_err(|_| {
        let _ = child.wait();
    })
}

/// Waits for the word of a supervisor; anything but `ok` is its error.
pub fn await_ready(said: OwnedFd) -> Result<()> {
    let mut text = String::new();
    io::Read::read_to_string(&mut std::fs::File::from(said), &mut text).context("wait for the supervisor")?;
    match text.as_str() {
        "ok" => Ok(()),
        "" => bail!(KilledAtBirth),
        error => bail!("{error}"),
    }
}

/// A supervisor that has ended without a word; it may be succeeded like any other.
#[derive(Debug, PartialEq, Eq)]
pub struct KilledAtBirth;

impl std::error::Error for KilledAtBirth {}

impl std::fmt::Display for KilledAtBirth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the supervisor ended before it was ready")
    }
}

/// `bookend supervise ROOT ID parent|watcher|successor NAMESPACE…`: keeps nothing of its caller's (design.md section 2).
pub fn supervise(arguments: &[OsString]) -> Result<()> {
    // Its children enter containers, and a successor was started by any verb (threats.md S1).
    reexec::protect()?;
    let ready = inherit::inherited(READY)?;
    let supervisor = take_over(arguments);
    let word = match &supervisor {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    // The verb may have been killed; the container is ours all the same.
    let _ = nix::unistd::write(&ready, word.as_bytes());
    drop(ready);
    let mut supervisor = supervisor?;
    // By descriptor: when we end, another container of the same id may have been made where ours was.
    let dir = fd::open_path(&supervisor.dir)?;
    let ended = supervisor.run();
    if let Err(error) = &ended {
        records::tell_failure(&supervisor.dir, &supervisor.plan.container, &format!("{error:#}"));
    }
    // A verb that finds no socket looks at the state directory instead.
    let _ = rustix::fs::unlinkat(&dir, control::NAME, rustix::fs::AtFlags::empty());
    ended
}

fn take_over(arguments: &[OsString]) -> Result<Supervisor> {
    let [root, id, front, kinds @ ..] = arguments else { bail!("supervise is bookend's own: it is not to be called") };
    let listener = inherit::inherited(LISTENER)?;
    let successor = front == SUCCESSOR;
    let inherited = match successor {
        true => None,
        false => Some(Watched {
            pidfd: inherit::inherited(PIDFD)?,
            proc_dir: inherit::inherited(PROC_DIR)?,
            parent: front == "parent",
        }),
    };
    let kept = |(kind, at): (&OsString, RawFd)| -> Result<(CloneFlags, OwnedFd)> {
        let bits = kind.to_str().and_then(|bits| bits.parse().ok()).context("read the kind of a namespace")?;
        Ok((CloneFlags::from_bits_retain(bits), inherit::inherited(at)?))
    };
    let namespaces = kinds.iter().zip(KEPT_NAMESPACES..).map(kept).collect::<Result<Vec<_>>>()?;
    let first_free = if successor { READY + 1 } else { KEPT_NAMESPACES + kinds.len() as RawFd };
    fd::close_from(first_free).context("close what was inherited")?;
    // Fails for a process group leader, which a session of its own does not hurt.
    let _ = nix::unistd::setsid();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let root = Root::at(Path::new(root));
    let id: ContainerId = id.to_str().context("read the id")?.parse().map_err(anyhow::Error::msg)?;
    let dir = root.container(&id);
    let state = State::load(&root, &id)?;
    let Settings { plan, hook_log_dir, faults, .. } = Settings::load(&dir)?;
    records::tell_panics(&dir, &plan.container);
    if successor {
        return succession::succeed(Place { root, id, dir, state, plan, hook_log_dir, faults, listener });
    }
    let records = Some(Records::open(&dir, &plan, hook_log_dir)?);
    let parts = Parts {
        id,
        root,
        dir,
        state,
        plan,
        records,
        init: inherited,
        listener: Some(listener),
        namespaces,
        relay: None,
        foreground: false,
        readiness: None,
    };
    let mut supervisor = Supervisor::new(parts)?;
    supervisor.faults = Armed::of(faults);
    supervisor.remember();
    Ok(supervisor)
}

/// Blocks every signal that can be blocked and has them read from a descriptor instead.
pub fn take_signals() -> Result<SignalFd> {
    let all = SigSet::all();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None).context("block signals")?;
    SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("make a signal descriptor")
}

/// Starts `bookend handle` for one attempt of an exec, httpGet or tcpSocket handler.
pub fn spawn_handler(of: &Supervisor, hook: Hook, entry: usize, number: u32, spec: &Entry) -> io::Result<Child> {
    let mut command = reexec::command();
    command.arg("handle").arg(of.root.path()).arg(of.id.as_str());
    command.args([hook.name(), &entry.to_string(), &number.to_string()]);
    if spec.policy.inject_env {
        command.args(environment(of, hook, number).into_iter().map(|(name, value)| format!("env:{name}={value}")));
    }
    let (report, report_end) = UnixStream::pair()?;
    let (report, report_end) = (OwnedFd::from(report), OwnedFd::from(report_end));
    let ([stdout, stdout_end], [stderr, stderr_end]) = (fork::pipe()?.into(), fork::pipe()?.into());
    let mut fds = vec![(report_end.as_fd(), REPORT_FD), (stdout.as_fd(), OUTPUT_FD), (stderr.as_fd(), OUTPUT_FD + 1)];
    if hook == Hook::PostStop {
        command.args(of.namespaces.iter().map(|(kind, _)| format!("ns:{}", kind.bits())));
        fds.extend(of.namespaces.iter().zip(NAMESPACES_FD..).map(|((_, fd), at)| (fd.as_fd(), at)));
    }
    spawn::pass_fds(&mut command, &fds)?;
    command.stdin(Stdio::null()).stdout(stdout_end).stderr(stderr_end).current_dir("/");
    let child = command.spawn()?;
    for fd in [&stdout, &stderr, &report] {
        rustix::io::ioctl_fionbio(fd, true)?;
    }
    let list_entry = hook.is_list().then_some(entry);
    let mut log = HookLog::create(&of.dir.join(HOOKS), hook, list_entry, number, spec.policy.log);
    if spec.policy.log == Policy::Container && of.foreground {
        let [_, stdout, stderr] = fd::stdio();
        log.mirror_to(stdout.try_clone_to_owned()?, stderr.try_clone_to_owned()?);
    }
    Ok(Child {
        handle: Some(Peer::of(Pid::from_raw(child.id() as i32))?), // not reaped yet
        process: None,
        source: Source::Report { report: Some(report), heard: Vec::new() },
        output: [Some(stdout), Some(stderr)],
        log: Some(log),
        tree: tree(&of.state.cgroup, hook, entry),
        drain_until: None,
        finished: None,
    })
}

/// The control group of a hook's own tree, below the container's (X-E15).
pub(super) fn tree(container: &Cgroup, hook: Hook, entry: usize) -> Cgroup {
    container.child(&tree_name(hook, entry)).unwrap_or_else(|_| Cgroup::none())
}

pub fn tree_name(hook: Hook, entry: usize) -> String {
    format!("bookend-{hook}-{entry}")
}

/// Ends what a hook left behind in its control group, and removes that.
pub fn kill_leftovers(container: &Cgroup, hook: Hook, entry: usize) {
    if container.is_none() {
        return;
    }
    let tree = tree(container, hook, entry);
    // What cannot be killed or removed now goes with the container's own group, and is told there.
    let _ = tree.kill().and_then(|()| tree.delete());
}

/// O-04; the code and the reason are there for postStop only.
fn environment(of: &Supervisor, hook: Hook, attempt: u32) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("BOOKEND_HOOK", hook.name().to_owned()),
        ("BOOKEND_ATTEMPT", attempt.to_string()),
        ("BOOKEND_CONTAINER_ID", of.id.to_string()),
    ];
    if hook == Hook::PostStop {
        let exit = of.life.exit.unwrap_or_default();
        let signal = exit.signal.map(|signal| signal.to_string()).unwrap_or_default();
        variables.extend([
            ("BOOKEND_EXIT_CODE", exit.code.map(|code| code.to_string()).unwrap_or_default()),
            ("BOOKEND_EXIT_SIGNAL", signal),
            ("BOOKEND_REASON", of.life.reason().to_owned()),
            ("BOOKEND_STOP_REQUESTED", u8::from(of.life.stop_requested()).to_string()),
        ]);
    }
    variables
}

/// The other way, for a process that inherited the supervisor's mask.
pub fn unblock_signals() {
    // Only a bad argument can fail.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}
