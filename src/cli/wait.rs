//! `wait`

use std::os::fd::AsFd;

use anyhow::{Result, bail};

use super::args::{Global, Id};
use super::lookup::{self, Container};
use super::with_code;
use crate::container::state::Status;
use crate::linux::{exit, fd, pidfd};
use crate::supervisor::control::{Answer, Request, no_supervisor};

pub fn run(global: &Global, args: &Id) -> Result<u8> {
    let container = lookup::container(global, &args.id)?;
    let code = match container.state.has_hooks {
        true => with_hooks(&container)?,
        false => plain(&container)?,
    };
    match code {
        Some(code) => {
            println!("{code}");
            Ok(u8::try_from(code).unwrap_or(255))
        }
        None => Err(with_code(
            255,
            anyhow::anyhow!("wait {}: its exit code cannot be known: whoever reaped it has it", args.id),
        )),
    }
}

fn with_hooks(container: &Container) -> Result<Option<i32>> {
    match container.ask(Request::Wait)? {
        Some(Answer::Exit(code)) => Ok(code),
        Some(Answer::Error(text)) => bail!("wait {}: {text}", container.id),
        _ if container.status() == Status::Stopped => {
            Ok(container.lifecycle().and_then(|status| status.exit).and_then(|exit| exit.code))
        }
        _ => no_supervisor(container.id.as_str()).map(|()| None),
    }
}

fn plain(container: &Container) -> Result<Option<i32>> {
    let Some(init) = container.state.init() else { return Ok(None) };
    let proc_dir = fd::open_path(&std::path::PathBuf::from(format!("/proc/{}", init.pid)))?;
    pidfd::wait_ended(init.as_fd(), None)?;
    Ok(exit::code_of(proc_dir.as_fd(), init.as_fd()).code())
}
