//! `exec`: one more process in a container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::{Capabilities, Capability, Process};

use super::args::{Exec, Global};
use super::log::Log;
use super::lookup;
use super::{NO_PROGRAM, NOT_STARTED, with_code};
use crate::cgroup::Cgroup;
use crate::container::bundle::{Bundle, read_bounded};
use crate::container::capabilities;
use crate::container::config;
use crate::container::create::write_pid;
use crate::container::exec::{Child, Console, ExecOptions, spawn};
use crate::container::labels;
use crate::container::receiver;
use crate::container::state::{State, Status};
use crate::container::user;
use crate::linux::reap;
use crate::supervisor::boot::take_signals;
use crate::supervisor::relay::Relay;

pub fn run(global: &Global, args: &Exec) -> Result<u8> {
    let what = || format!("exec in {}", args.id);
    let container = lookup::container(global, &args.id)?;
    if container.state.status(&container.dir) == Status::Stopped {
        return Err(anyhow!("cannot exec in a stopped container").context(what()));
    }
    let (process, warnings) = process(args, &container.state, &container.dir).with_context(what)?;
    let terminal = process.terminal().unwrap_or(false);
    if terminal && args.detach && args.console_socket.is_none() {
        bail!("exec in {}: a detached process with a terminal needs --console-socket", args.id);
    }
    let mut options = ExecOptions::new(process);
    options.preserve_fds = args.preserve_fds;
    options.ignore_paused = args.ignore_paused;
    options.cgroup = sub_cgroup(&args.cgroup, &container.state).with_context(what)?;
    if let Some(socket) = &args.console_socket {
        options.console = Console::Socket(socket.clone());
    }
    let watcher = args.pidfd_socket.as_deref();
    let watcher = watcher.map(|path| receiver::reach(receiver::PIDFD, path)).transpose().with_context(what)?;
    let impossible = capabilities::impossible(options.process.capabilities());
    let child = spawn(&container.state, &container.dir, &options).map_err(|error| match exit_code(error.code) {
        125 => with_code(125, anyhow!(error).context(what())),
        code => with_code(code, anyhow!(error).context(NOT_STARTED).context(what())),
    })?;
    let log = Log::new(global);
    warnings.iter().chain(&child.warnings).for_each(|warning| log.warn(warning));
    impossible.iter().for_each(|note| log.note(note));
    if let Err(error) = tell_of(&child, args.pid_file.as_deref(), watcher.as_ref()) {
        // Nobody would know of it.
        if crate::linux::pidfd::send_signal(child.pidfd.as_fd(), libc::SIGKILL).is_ok() {
            reap::reap(child.pidfd.as_fd());
        }
        return Err(error.context(what()));
    }
    if args.detach { Ok(0) } else { attend(child) }
}

/// Says who the process is to those that wait for it.
fn tell_of(child: &Child, pid_file: Option<&Path>, watcher: Option<&OwnedFd>) -> Result<()> {
    pid_file.map_or(Ok(()), |path| write_pid(path, child.pid))?;
    watcher.map_or(Ok(()), |socket| receiver::give_pidfd(socket, child.pidfd.as_fd()))
}

/// Of a program that was not found or cannot be executed; all else is an error of ours (interface.md 2.4).
fn exit_code(code: i32) -> u8 {
    u8::try_from(code).ok().filter(|_| NO_PROGRAM.contains(&code)).unwrap_or(125)
}

/// Where `--cgroup` puts the process: a cgroup below the container's (`PATH`), or one for some v1 controllers each
/// (`CONTROLLER[,CONTROLLER]:PATH`).
fn sub_cgroup(given: &[String], state: &State) -> Result<Option<Cgroup>> {
    let mut places: Vec<(Vec<&str>, &Path)> = Vec::new();
    for argument in given {
        let (controllers, path) = match argument.split_once(':') {
            Some((controllers, path)) if !controllers.is_empty() => (controllers.split(',').collect(), path),
            Some(_) => {
                return Err(with_code(2, anyhow!("--cgroup {argument:?}: write [CONTROLLER[,CONTROLLER]:]PATH")));
            }
            None if given.len() > 1 => {
                return Err(with_code(
                    2,
                    anyhow!("--cgroup {argument:?}: say of which controller, if it is not for all"),
                ));
            }
            None => (Vec::new(), argument.as_str()),
        };
        if let Some(twice) = controllers.iter().find(|name| places.iter().any(|(taken, _)| taken.contains(name))) {
            return Err(with_code(2, anyhow!("--cgroup {argument:?}: {twice} is given twice")));
        }
        places.push((controllers, Path::new(path)));
    }
    if places.is_empty() { Ok(None) } else { state.cgroup.below(&places).map(Some) }
}

/// The container's own process with what the command line changes, or the one of `--process`; and warnings.
fn process(args: &Exec, state: &State, dir: &Path) -> Result<(Process, Vec<String>)> {
    if let Some(path) = &args.process {
        let read = config::process(&read_bounded(path)?);
        let (mut process, warnings) = read.with_context(|| format!("parse {}", path.display()))?;
        if args.tty {
            process.set_terminal(Some(true));
        }
        keep_capabilities(&mut process, state, dir)?;
        keep_labels(&mut process, state, dir)?;
        set_labels(&mut process, args);
        return Ok((process, warnings));
    }
    if args.command.is_empty() {
        return Err(with_code(2, anyhow!("exec: name a command, or give --process FILE")));
    }
    let mut process = own_process(state, dir)?;
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    if let Some(variable) = args.env.iter().find(|variable| !variable.contains('=') || variable.starts_with('=')) {
        return Err(with_code(2, anyhow!("--env {variable:?}: write NAME=VALUE")));
    }
    if !args.env.is_empty() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(args.env.iter().cloned());
        process.set_env(Some(env));
    }
    if let Some(user) = &args.user {
        let (uid, gid) = user::parse(user).map_err(|error| with_code(2, error.context("--user")))?;
        // As runc: a group that is not named stays the container's, and is not root's by accident (S11).
        let gid = gid.unwrap_or(process.user().gid());
        let mut user = process.user().clone();
        user.set_uid(uid).set_gid(gid);
        process.set_user(user);
    }
    if !args.additional_gids.is_empty() {
        let mut user = process.user().clone();
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(&args.additional_gids);
        user.set_additional_gids(Some(groups));
        process.set_user(user);
    }
    if let Some(no_new_privs) = args.no_new_privs {
        process.set_no_new_privileges(Some(no_new_privs));
    }
    set_labels(&mut process, args);
    add_capabilities(&mut process, &args.cap)?;
    Ok((check(process)?, Vec::new()))
}

/// A process that says nothing of capabilities gets the container's, as in runc; `{}` says that it has none.
fn keep_capabilities(process: &mut Process, state: &State, dir: &Path) -> Result<()> {
    if process.capabilities().is_none() {
        process.set_capabilities(own_process(state, dir)?.capabilities().clone());
    }
    Ok(())
}

/// A process that names no label gets the container's, as in runc: it is not to be less confined.
fn keep_labels(process: &mut Process, state: &State, dir: &Path) -> Result<()> {
    if !labels::has_apparmor() && !labels::has_selinux() {
        return Ok(()); // the container has none
    }
    let own = own_process(state, dir)?;
    if process.apparmor_profile().as_ref().is_none_or(String::is_empty) {
        process.set_apparmor_profile(own.apparmor_profile().clone());
    }
    if process.selinux_label().as_ref().is_none_or(String::is_empty) {
        process.set_selinux_label(own.selinux_label().clone());
    }
    Ok(())
}

/// The `process` of the container's configuration as it was at `create`.
pub fn own_process(state: &State, dir: &Path) -> Result<Process> {
    let path = dir.join("config.json");
    let raw = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let bundle = Bundle::kept(&state.bundle, raw)?;
    bundle.config.process().clone().context("config.json has no process")
}

fn check(process: Process) -> Result<Process> {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        bail!("process.args: Required value");
    }
    if !process.cwd().is_absolute() {
        bail!("cwd must be an absolute path, found {:?}", process.cwd());
    }
    let nul = |word: &String| word.contains('\0');
    let words = process.args().iter().chain(process.env()).flatten();
    if words.into_iter().any(nul) {
        bail!("process: an argument or variable must not contain a NUL byte");
    }
    Ok(process)
}

fn set_labels(process: &mut Process, args: &Exec) {
    if let Some(profile) = args.apparmor.as_ref().filter(|profile| !profile.is_empty()) {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = args.process_label.as_ref().filter(|label| !label.is_empty()) {
        process.set_selinux_label(Some(label.clone()));
    }
}

/// `--cap`: to every set but the inheritable and ambient ones (threats.md S10).
fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let capability = |name: &String| {
        let known = name.strip_prefix("CAP_").unwrap_or(name).parse::<Capability>();
        known.map_err(|_| with_code(2, anyhow!("--cap {name:?}: there is no such capability")))
    };
    let added = names.iter().map(capability).collect::<Result<Capabilities>>()?;
    let mut sets = process.capabilities().clone().unwrap_or_default();
    let with = |set: &Option<Capabilities>| Some(set.iter().flatten().chain(&added).copied().collect());
    let (bounding, effective, permitted) = (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    sets.set_bounding(bounding);
    sets.set_effective(effective);
    sets.set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(())
}

/// Waits for a process in the foreground: its terminal is carried, our signals are passed on, its code is ours.
fn attend(child: Child) -> Result<u8> {
    let signals = take_signals()?;
    let mut relay = child.terminal.map(Relay::begin).transpose().context("take over the terminal")?;
    loop {
        let mut fds =
            vec![PollFd::new(child.pidfd.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(relay.iter().flat_map(Relay::descriptors));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        let ended = fds[0].any().unwrap_or(false);
        drop(fds);
        while let Ok(Some(info)) = signals.read_signal() {
            match info.ssi_signo as i32 {
                libc::SIGCHLD | libc::SIGCONT | libc::SIGPIPE => {}
                libc::SIGWINCH => relay.iter().for_each(Relay::resize),
                // Gone already: its end is about to be seen.
                signal => drop(crate::linux::pidfd::send_signal(child.pidfd.as_fd(), signal)),
            }
        }
        if let Some(relay) = &mut relay {
            relay.serve();
        }
        if ended {
            drop(relay);
            let code = reap::reap(child.pidfd.as_fd()).code().unwrap_or(255);
            return Ok(u8::try_from(code).unwrap_or(255));
        }
    }
}
