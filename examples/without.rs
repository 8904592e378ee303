//! `without CALL,FILE,… COMMAND…` executes a command to whose whole family these are not there: system calls, as if the
//! kernel or the filter of a container engine did not know them (ENOSYS, or with `CALL:EPERM` what older engines say), and
//! files of these names, for who would write to them (a name with a dot in it: `cgroup.kill`). For the tests of what takes
//! their place.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use bookend::container::link::{self, Message};
use bookend::linux::{fork, inherit, pidfd};
use libseccomp::{
    ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags,
    ScmpSyscall,
};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(names), Some(program)) = (arguments.next(), arguments.next()) else {
        bail!("usage: without CALL[:EPERM],FILE... COMMAND [ARGUMENT...]");
    };
    let names = names.to_str().context("names of system calls and files are text")?;
    let (files, calls): (Vec<&str>, Vec<&str>) = names.split(',').partition(|name| name.contains('.'));
    let mut command = Command::new(program);
    command.args(arguments);
    let filter = filter(&calls, !files.is_empty())?;
    if files.is_empty() {
        filter.load().context("load the filter")?;
        return Err(command.exec()).context("execute the command");
    }
    // Whoever answers must not be under the filter.
    let (ours, theirs) = link::pair()?;
    let child = fork::run(|| match filtered(&filter, command, theirs.as_fd()) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("without: {error:#}");
            125
        }
    })?;
    drop(theirs);
    let Some((_, Some(listener))) = link::receive(ours.as_fd())? else { bail!("the filter was not loaded") };
    hide(&files, &listener, child)
}

fn filter(calls: &[&str], ask: bool) -> Result<ScmpFilterContext> {
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow)?;
    // Programs that change the user, newuidmap for one, have to work in there; so this needs CAP_SYS_ADMIN.
    filter.set_ctl_nnp(false)?;
    filter.set_act_badarch(ScmpAction::Allow)?;
    for name in calls {
        let (name, errno) = match name.strip_suffix(":EPERM") {
            Some(name) => (name, Errno::EPERM),
            None => (*name, Errno::ENOSYS),
        };
        let call = ScmpSyscall::from_name(name).with_context(|| format!("no system call is named {name:?}"))?;
        filter.add_rule(ScmpAction::Errno(errno as i32), call)?;
    }
    if ask {
        let mode = ScmpCompareOp::MaskedEqual(libc::O_ACCMODE as u64);
        let to_write = ScmpArgCompare::new(2, mode, libc::O_WRONLY as u64);
        filter.add_rule_conditional(ScmpAction::Notify, ScmpSyscall::from_name("openat")?, &[to_write])?;
    }
    Ok(filter)
}

/// Loads the filter, passes on where it asks, and becomes the command.
fn filtered(filter: &ScmpFilterContext, mut command: Command, link: BorrowedFd) -> Result<std::convert::Infallible> {
    filter.load().context("load the filter")?;
    let listener = inherit::inherited(filter.get_notify_fd()?)?;
    link::send(link, &Message::Seccomp, Some(listener.as_fd()))?;
    drop(listener);
    Err(command.exec()).context("execute the command")
}

/// Answers until the command has ended; its exit code.
fn hide(files: &[&str], listener: &OwnedFd, command: Pid) -> Result<ExitCode> {
    let ended = pidfd::open(command)?;
    loop {
        let mut both =
            [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        match poll(&mut both, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            ready => ready.context("poll")?,
        };
        if both[1].any() == Some(true) {
            break;
        }
        // Who asked may have been killed: then there is nothing to receive, or nobody to tell.
        if let Ok(request) = ScmpNotifReq::receive(listener.as_raw_fd()) {
            let _ = answer(files, &request).respond(listener.as_raw_fd());
        }
    }
    match waitpid(command, None)? {
        WaitStatus::Exited(_, code) => Ok(ExitCode::from(code as u8)),
        WaitStatus::Signaled(_, signal, _) => Ok(ExitCode::from(128 + signal as u8)),
        other => bail!("the command: {other:?}"),
    }
}

fn answer(files: &[&str], request: &ScmpNotifReq) -> ScmpNotifResp {
    let flags = ScmpNotifRespFlags::empty();
    match name(request) {
        Ok(name) if files.contains(&name.rsplit('/').next().unwrap_or(&name)) => {
            ScmpNotifResp::new_error(request.id, -libc::ENOENT, flags)
        }
        // Not being able to look must be seen.
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            ScmpNotifResp::new_error(request.id, -libc::EIO, flags)
        }
        _ => ScmpNotifResp::new_continue(request.id, ScmpNotifRespFlags::CONTINUE),
    }
}

/// The path that the call has in its memory.
fn name(request: &ScmpNotifReq) -> std::io::Result<String> {
    let memory = std::fs::File::open(format!("/proc/{}/mem", request.pid))?;
    let mut path = Vec::new();
    // It may end at the end of a page, behind which there is nothing.
    let mut at = request.data.args[1];
    while !path.contains(&0) && path.len() < libc::PATH_MAX as usize {
        let mut block = vec![0; 256 - (at % 256) as usize];
        memory.read_exact_at(&mut block, at)?;
        at += block.len() as u64;
        path.extend(block);
    }
    let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(path).into_owned())
}
