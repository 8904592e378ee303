//! `create`, and what it shares with `run`.

use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};

use super::args::{Global, HookFlags, run_args};
use super::log::Log;
use super::{NO_PROGRAM, NOT_STARTED};
use crate::cgroup::Driver;
use crate::container::bundle::Bundle;
use crate::container::capabilities;
use crate::container::create::{CreateOptions, Created, create};
use crate::container::exec::hold_namespaces;
use crate::container::id::ContainerId;
use crate::container::interrupt::HeldSignals;
use crate::container::link::Failure;
use crate::container::notify::Manager;
use crate::container::root::Root;
use crate::container::state::{Identity, Init};
use crate::lifecycle::fault::Faults;
use crate::lifecycle::model::{DEFAULT_GRACE_SECONDS, Plan};
use crate::lifecycle::notice::Notice;
use crate::lifecycle::signal::Signal;
use crate::lifecycle::source::{self, Sources};
use crate::linux::fd;
use crate::supervisor::boot::Handover;
use crate::supervisor::control;
use crate::supervisor::records::Records;
use crate::supervisor::settings::Settings;

pub fn run(global: &Global, args: &run_args::Create) -> Result<u8> {
    let prepared = prepare(global, args).with_context(|| format!("create {}", args.id))?;
    refuse_lost_terminal(args, &prepared).with_context(|| format!("create {}", args.id))?;
    let held = HeldSignals::begin()?;
    let mut created = make(global, args, &prepared, &held).with_context(|| format!("create {}", args.id))?;
    held.check().with_context(|| format!("create {}", args.id))?;
    if prepared.settings.plan.has_hooks() {
        hand_over(global, args, &prepared, &created).with_context(|| format!("create {}", args.id))?;
    }
    created.keep();
    Ok(0)
}

/// A bundle and its hooks, read and checked: nothing has been created yet.
pub struct Prepared {
    pub bundle: Bundle,
    pub settings: Settings,
    /// It has a supervisor: for its hooks, or for who follows its life.
    pub supervised: bool,
}

/// Reads and checks all input. Problems of the lifecycle are told all at once, a line each (lifecycle.md section 9).
pub fn prepare(global: &Global, args: &run_args::Create) -> Result<Prepared> {
    let bundle = Bundle::load(&args.bundle)?;
    let flags = Flags { global: &global.hooks, verb: &args.hooks };
    let annotations = bundle.config.annotations().clone().unwrap_or_default().into_iter().collect();
    let sources = Sources {
        pod: flags.either(|flags| flags.pod.as_deref()),
        container: flags.either(|flags| flags.container.as_deref()),
        lifecycle: flags.either(|flags| flags.lifecycle.as_deref()),
        annotations: &annotations,
        bundle: &bundle.dir,
        id: args.id.as_str(),
        flags_are_global: args.hooks.pod.is_none() && args.hooks.lifecycle.is_none(),
    };
    let mut resolved = source::resolve(&sources)?;
    let manner = args.hooks.manner.or(&global.hooks.manner);
    manner.apply(&mut resolved.plan);
    let log = Log::new(global);
    if !resolved.plan.has_hooks()
        && let Some(file) = sources.lifecycle.or(sources.pod)
    {
        log.warn(&format!("{} names no hooks for this container", file.display()));
    }
    resolved.warnings.iter().for_each(|warning| log.warn(warning));
    let hook_log_dir = manner.hook_log_dir.map(std::path::absolute).transpose()?;
    let supervised = resolved.plan.has_hooks();
    Ok(Prepared {
        bundle,
        supervised,
        settings: Settings {
            plan: resolved.plan,
            hook_log_dir,
            no_history: manner.no_history,
            faults: Faults::default(),
        },
    })
}

/// A terminal in the background, whose master nobody would hold.
pub fn refuse_lost_terminal(args: &run_args::Create, prepared: &Prepared) -> Result<()> {
    let terminal = prepared.bundle.config.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    if terminal && args.console_socket.is_none() {
        bail!("cannot allocate a terminal that nobody holds: give --console-socket, or set process.terminal to false");
    }
    Ok(())
}

/// The verb's own flags go before those that stand in front of it.
struct Flags<'a> {
    global: &'a HookFlags,
    verb: &'a HookFlags,
}

impl<'a> Flags<'a> {
    fn either<T>(&self, of: impl Fn(&'a HookFlags) -> Option<T>) -> Option<T> {
        of(self.verb).or_else(|| of(self.global))
    }
}

/// Makes the container, and its records if it has hooks. Dropping the result undoes all of it.
pub fn make(global: &Global, args: &run_args::Create, prepared: &Prepared, held: &HeldSignals) -> Result<Created> {
    make_with(global, args, prepared, &options(global, args, prepared)?, held)
}

/// What the command line asks for.
pub fn options(global: &Global, args: &run_args::Create, prepared: &Prepared) -> Result<CreateOptions> {
    Ok(CreateOptions {
        console_socket: args.console_socket.clone(),
        pid_file: args.pid_file.clone(),
        pidfd_socket: args.pidfd_socket.clone(),
        preserve_fds: args.preserve_fds,
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        rootless: global.is_rootless(),
        driver: if global.systemd_cgroup { Driver::Systemd } else { Driver::Files },
        // A preStart hook may install the program (P-01).
        lookup_program: prepared.settings.plan.pre_start.is_empty(),
        dies_with_parent: false,
        notify: Manager::of_caller()?.is_some(),
    })
}

/// `make`, with options that are not all the command line's.
pub fn make_with(
    global: &Global,
    args: &run_args::Create,
    prepared: &Prepared,
    options: &CreateOptions,
    held: &HeldSignals,
) -> Result<Created> {
    let plan = &prepared.settings.plan;
    let root = global.root()?;
    let created = create(&root, &args.id, &prepared.bundle, options, prepared.supervised, held);
    let created = created.map_err(|error| tell_rest(of_the_program(error), &root, &args.id))?;
    let log = Log::new(global);
    created.warnings.iter().for_each(|warning| log.warn(warning));
    let process = prepared.bundle.config.process().as_ref();
    let impossible = process.and_then(|process| capabilities::impossible(process.capabilities()));
    impossible.iter().for_each(|note| log.note(note));
    if prepared.supervised || plan.stop_signal != Signal::TERM || plan.grace_seconds != DEFAULT_GRACE_SECONDS {
        // Also `stop` of a container without hooks wants to know (S-23).
        prepared.settings.save(&created.dir)?;
    }
    if plan.has_hooks() {
        crate::supervisor::removal::remember_root(&root);
    }
    Ok(created)
}

/// What people know from runc, and search for, where the program is not there or cannot be executed.
fn of_the_program(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Failure>().is_some_and(|failure| NO_PROGRAM.contains(&failure.code)) {
        true => error.context(NOT_STARTED),
        false => error,
    }
}

/// An init that hangs in the kernel does not end, and keeps from being undone what it is in.
fn tell_rest(error: anyhow::Error, root: &Root, id: &ContainerId) -> anyhow::Error {
    let made_by_us = Identity::load(&root.container(id)).is_ok_and(|identity| identity.creator.is_ourselves());
    match made_by_us {
        true => error.context(format!("init does not end; `delete --force {id}` removes what is left when it has")),
        false => error,
    }
}

/// The records of a container that was just made.
pub fn begin_records(prepared: &Prepared, created: &Created, by_caller: bool) -> Result<Records> {
    let Settings { plan, hook_log_dir, .. } = &prepared.settings;
    let mut records = Records::create(&created.dir, plan, hook_log_dir.clone())?;
    if by_caller && plan.post_start.as_ref().is_some_and(|entry| entry.policy.timeout.is_none()) {
        // P-06
        let text = "postStart has no time limit: whoever called `start` is blocked until it ends (set its timeout)";
        records.tell(Notice::warning("PostStartUnlimited", text), &created.dir, plan);
    }
    Ok(records)
}

/// Leaves the container to a supervisor of its own.
fn hand_over(global: &Global, args: &run_args::Create, prepared: &Prepared, created: &Created) -> Result<()> {
    drop(begin_records(prepared, created, true)?);
    let dir = fd::open_path(&created.dir)?;
    let listener = control::listen_in(dir.as_fd())?;
    let namespaces = kept_namespaces(&prepared.settings.plan, created)?;
    let handover = Handover {
        root: &global.root()?,
        id: &args.id,
        pidfd: created.pidfd.as_fd(),
        proc_dir: created.proc_dir.as_fd(),
        listener: listener.as_fd(),
        namespaces: &namespaces,
        parent: false,
    };
    handover.spawn()
}

/// Held only when postStop is defined: a pinned mount namespace keeps the caller's overlay busy (design.md section 2).
pub fn kept_namespaces(plan: &Plan, created: &Created) -> Result<Vec<(nix::sched::CloneFlags, std::os::fd::OwnedFd)>> {
    if plan.post_stop.is_empty() {
        return Ok(Vec::new());
    }
    let pid = nix::unistd::Pid::from_raw(created.state.pid);
    hold_namespaces(&Init { pid, pidfd: created.pidfd.try_clone()? }, &created.dir)
}
