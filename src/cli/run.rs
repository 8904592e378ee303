//! `run`: create, start, and in the foreground wait and delete.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::args::{Global, run_args};
use super::create::{
    Prepared, begin_records, kept_namespaces, make, make_with, options, prepare, refuse_lost_terminal,
};
use super::log::Log;
use super::lookup::{self, Container};
use super::restart::Again;
use super::{start, with_code};
use crate::container::create::{CreateOptions, Created};
use crate::container::id::ContainerId;
use crate::container::interrupt::{HeldSignals, Interrupted};
use crate::container::link::Failure;
use crate::container::notify::{Manager, Notify};
use crate::container::state::{Identity, ProcessId};
use crate::lifecycle::life::Fault;
use crate::lifecycle::outcome::Exit;
use crate::linux::{fd, fork};
use crate::supervisor::boot::{Handover, await_ready};
use crate::supervisor::control::{self, Answer, Request};
use crate::supervisor::relay::Relay;
use crate::supervisor::removal;
use crate::supervisor::{Parts, Readiness, Supervisor, Watched, records};

pub fn run(global: &Global, args: &run_args::Run) -> Result<u8> {
    let what = || format!("run {}", args.create.id);
    let prepared = prepare(global, &args.create).with_context(what)?;
    let done = match args.detach {
        false => foreground(global, args, &prepared),
        true => detached(global, &args.create, &prepared),
    };
    done.with_context(what)
}

fn detached(global: &Global, args: &run_args::Create, prepared: &Prepared) -> Result<u8> {
    let Err(why) = begin(global, args, prepared) else { return Ok(0) };
    let Some(failed) = why.downcast_ref::<StartFailed>() else { return Err(why) };
    let container = match lookup::container(global, &args.id) {
        Ok(container) if container.state.creator == failed.creator => container,
        _ => return Err(why), // somebody else has removed it, and perhaps made another one (R7)
    };
    let code = match failed.cause {
        Cause::Container => code_at_the_end(&container),
        Cause::Signal(signal) => Some(128 + signal as i32),
        Cause::Other => None,
    };
    // All of it goes: nobody has got an id to delete it by.
    if let Err(error) = super::delete::remove(global, &container.id, true) {
        Log::new(global).warn(&format!("{error:#}"));
    }
    Err(match code {
        // It is the container's own code, or that of what kept it from running; a success it is not.
        Some(code) if code != 0 => with_code(u8::try_from(code).unwrap_or(125), why),
        _ => why,
    })
}

/// Why a container that was made did not come to run. It is still there.
#[derive(Debug)]
struct StartFailed {
    text: String,
    /// Who made it.
    creator: ProcessId,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// The end of the container explains it, and its code is the answer.
    Container,
    /// One to us.
    Signal(Signal),
    Other,
}

impl std::error::Error for StartFailed {}

impl std::fmt::Display for StartFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Makes a container in the background and returns when it is running.
pub fn begin(global: &Global, args: &run_args::Create, prepared: &Prepared) -> Result<()> {
    refuse_lost_terminal(args, prepared)?;
    match prepared.settings.plan.has_hooks() {
        true => begin_with_hooks(global, args, prepared),
        false => begin_plain(global, args, prepared),
    }
}

/// This process is the supervisor, and its exit code the container's.
fn foreground(global: &Global, args: &run_args::Run, prepared: &Prepared) -> Result<u8> {
    // S-27: without us there is nobody to own its terminal and its exit code.
    let options = options(global, &args.create, prepared)?;
    // Ready is what its hooks say, and they need no socket for it.
    let notify = options.notify && !prepared.settings.plan.has_hooks();
    let options = CreateOptions { dies_with_parent: true, notify, ..options };
    let held = HeldSignals::begin()?;
    let mut created = make_with(global, &args.create, prepared, &options, &held)?;
    let mut supervisor = attend(global, args, prepared, &mut created)?;
    // The lock of the birth ends here, so that others may exec, kill and delete.
    created.keep();
    drop(created);
    supervisor.interrupt = Some(held.leave_blocked());
    supervisor.start();
    let ended = supervisor.run();
    drop(supervisor.relay.take());
    let code = supervisor.life.exit_code();
    let exit = supervisor.life.exit;
    if !args.keep && !supervisor.is_removed() {
        let warnings = removal::remove(&supervisor.root, &supervisor.state, &supervisor.dir)?;
        let log = Log::new(global);
        warnings.iter().for_each(|warning| log.warn(warning));
    }
    ended?;
    if let Some(error) = supervisor.poststart_error.take() {
        return Err(error);
    }
    if let Some(text) = supervisor.start_error.take() {
        return Err(start_error(&supervisor, text, code, exit));
    }
    Ok(u8::try_from(code.unwrap_or(255)).unwrap_or(255))
}

/// What became of a start that failed: whose exit code it is, P-10's or ours.
fn start_error(supervisor: &Supervisor, text: String, code: Option<i32>, exit: Option<Exit>) -> anyhow::Error {
    let code = match &supervisor.life.fault {
        Some(Fault::StartError { code, .. }) => *code,
        _ => code.or(exit.and_then(|exit| exit.code)).unwrap_or(125),
    };
    with_code(u8::try_from(code).unwrap_or(125), anyhow::anyhow!(text))
}

fn attend(global: &Global, args: &run_args::Run, prepared: &Prepared, created: &mut Created) -> Result<Supervisor> {
    let plan = prepared.settings.plan.clone();
    let records = if plan.has_hooks() { Some(begin_records(prepared, created, false)?) } else { None };
    if plan.has_hooks() {
        records::tell_panics(&created.dir, &plan.container);
    }
    let listener = match plan.has_hooks() {
        true => Some(control::listen_in(fd::open_path(&created.dir)?.as_fd())?),
        false => None,
    };
    let relay = created.terminal.take().map(Relay::begin).transpose().context("take over the terminal")?;
    let readiness = match plan.has_hooks() {
        true => Manager::of_caller()?.map(Readiness::AtRunning),
        false => Notify::listen(&created.dir)?.map(Readiness::FromInside),
    };
    let mut supervisor = Supervisor::new(Parts {
        id: args.create.id.clone(),
        root: global.root()?,
        dir: created.dir.clone(),
        state: created.state.clone(),
        namespaces: kept_namespaces(&plan, created)?,
        plan,
        records,
        init: Some(Watched {
            pidfd: created.pidfd.try_clone()?,
            proc_dir: created.proc_dir.try_clone()?,
            parent: true,
        }),
        listener,
        relay,
        foreground: true,
        readiness,
    })?;
    supervisor.remember();
    Ok(supervisor)
}

/// As runc: init is left to whoever reaps orphans.
fn begin_plain(global: &Global, args: &run_args::Create, prepared: &Prepared) -> Result<()> {
    let held = HeldSignals::begin()?;
    let mut created = make(global, args, prepared, &held)?;
    Again::of(global, args)?.save(&created.dir)?;
    let notify = Notify::listen(&created.dir)?;
    // A hook of its start may hang, and then others are to be able to end it.
    created.unlock();
    start::plain(&created.state, &created.dir, None, Some(&held))?;
    created.keep();
    drop(held);
    start::relay_readiness(global, notify, &created.state);
    Ok(())
}

/// The supervisor is init's parent, so that its exit code is always known.
fn begin_with_hooks(global: &Global, args: &run_args::Create, prepared: &Prepared) -> Result<()> {
    launch(global, args, prepared, HeldSignals::begin()?)?;
    let container = lookup::container(global, &args.id)?;
    let notify = Notify::listen(&container.dir)?;
    let creator = container.state.creator.clone();
    let failed = |text: String, cause| StartFailed { text, creator, cause };
    match container.ask(Request::Start)? {
        Some(Answer::Ok) => {}
        Some(Answer::Error(text)) => bail!(failed(text, Cause::Container)),
        _ => bail!(failed("the supervisor ended before the container was running".to_owned(), Cause::Other)),
    }
    let held = HeldSignals::begin()?;
    start::poststart(&container.state, &container.dir, Some(&held)).map_err(|error| {
        let signal = error.downcast_ref().map(|Interrupted(signal)| *signal);
        failed(format!("{error:#}"), signal.map_or(Cause::Other, Cause::Signal))
    })?;
    drop(held);
    start::relay_readiness(global, notify, &container.state);
    Ok(())
}

/// Waits for the end of a life, and reads how it ended: from the supervisor, or from what it wrote before it ended itself.
fn code_at_the_end(container: &Container) -> Option<i32> {
    match container.ask(Request::Wait) {
        Ok(Some(Answer::Exit(code))) => code,
        _ => container.lifecycle()?.exit?.code,
    }
}

/// Creates a container whose supervisor is a process that clones init and then becomes `supervise`.
pub fn launch(global: &Global, args: &run_args::Create, prepared: &Prepared, held: HeldSignals) -> Result<()> {
    let (said, ready) = fork::pipe()?;
    let child = fork::run(|| match become_supervisor(global, args, prepared, &ready, &held) {
        Ok(never) => match never {},
        Err(error) => {
            // The verb reads it as its own error.
            let _ = nix::unistd::write(&ready, format!("{error:#}").as_bytes());
            error.downcast_ref::<Failure>().map_or(1, |failure| failure.code)
        }
    })
    .context("fork the supervisor")?;
    drop(ready);
    if held.await_readable(said.as_fd()).is_err()
        && let Some(signal) = held.came()
    {
        // It may have come to us alone, and who makes the container takes it back.
        let _ = nix::sys::signal::kill(child, signal); // not reaped yet; ended already is fine
    }
    let ready = await_ready(said);
    let Err(error) = held.check().and(ready) else { return Ok(()) };
    undo(global, &args.id, child);
    // Where it could not make the container it has said why, and is about to end.
    match nix::sys::wait::waitpid(child, None) {
        Ok(WaitStatus::Exited(_, code @ 125..=127)) => Err(with_code(code as u8, error)),
        _ => Err(error),
    }
}

/// Removes what a supervisor leaves that could not take its container over: by then nothing of it undoes anything. A
/// container of the same id that somebody else has made is left alone.
fn undo(global: &Global, id: &ContainerId, creator: Pid) {
    let Ok(root) = global.root() else { return };
    if Identity::load(&root.container(id)).is_ok_and(|identity| identity.creator.pid == creator.as_raw())
        && let Err(error) = super::delete::remove(global, id, true)
    {
        Log::new(global).warn(&format!("{error:#}"));
    }
}

fn become_supervisor(
    global: &Global,
    args: &run_args::Create,
    prepared: &Prepared,
    ready: &OwnedFd,
    held: &HeldSignals,
) -> Result<std::convert::Infallible> {
    let mut created = make(global, args, prepared, held)?;
    Again::of(global, args)?.save(&created.dir)?;
    drop(begin_records(prepared, &created, false)?);
    let listener = control::listen_in(fd::open_path(&created.dir)?.as_fd())?;
    let namespaces = kept_namespaces(&prepared.settings.plan, &created)?;
    let root = global.root()?;
    created.unlock();
    let handover = Handover {
        root: &root,
        id: &args.id,
        pidfd: created.pidfd.as_fd(),
        proc_dir: created.proc_dir.as_fd(),
        listener: listener.as_fd(),
        namespaces: &namespaces,
        parent: true,
    };
    // Back here it has failed, and dropping `created` undoes the container.
    Err(handover.become_it(ready.as_fd()))
}
