//! `without CALL,CALL COMMAND…` executes a command to whose whole family these system calls are not there, as if the kernel
//! or the filter of a container engine did not know them: ENOSYS, or with `CALL:EPERM` what older engines say. For the
//! tests of what takes their place.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use libseccomp::{ScmpAction, ScmpFilterContext, ScmpSyscall};
use nix::errno::Errno;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(calls), Some(program)) = (arguments.next(), arguments.next()) else {
        bail!("usage: without CALL[:EPERM],... COMMAND [ARGUMENT...]");
    };
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow)?;
    // Programs that change the user, newuidmap for one, have to work in there; so this needs CAP_SYS_ADMIN.
    filter.set_ctl_nnp(false)?;
    filter.set_act_badarch(ScmpAction::Allow)?;
    for name in calls.to_str().context("names of system calls are text")?.split(',') {
        let (name, errno) = match name.strip_suffix(":EPERM") {
            Some(name) => (name, Errno::EPERM),
            None => (name, Errno::ENOSYS),
        };
        let call = ScmpSyscall::from_name(name).with_context(|| format!("no system call is named {name:?}"))?;
        filter.add_rule(ScmpAction::Errno(errno as i32), call)?;
    }
    filter.load().context("load the filter")?;
    Err(Command::new(program).args(arguments).exec()).context("execute the command")
}
