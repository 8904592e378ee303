//! `wait`

use std::os::fd::AsFd;

use anyhow::{Result, bail};

use super::args::{Global, Id};
use super::lookup::{self, Container};
use super::with_code;
use crate::container::id::ContainerId;
use crate::container::state::Status as Oci;
use crate::lifecycle::journal;
use crate::lifecycle::status::Status;
use crate::linux::{exit, fd, pidfd};
use crate::supervisor::control::{Answer, Request};

pub fn run(global: &Global, args: &Id) -> Result<u8> {
    let code = match lookup::container_anywhere(global, &args.id) {
        Ok(container) if container.state.has_hooks => with_hooks(global, &container)?,
        Ok(container) => plain(&container)?,
        Err(error) => deleted(global, &args.id).ok_or(error)?,
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

/// The code of a container that its caller deleted a moment ago (interface.md section 5).
fn deleted(global: &Global, id: &ContainerId) -> Option<Option<i32>> {
    let status = Status::load(&lookup::records(global, id, 0).ok()?).ok()?;
    status.exit.map(|exit| exit.code)
}

/// The same of one that was there a moment ago, whose id may have had earlier lives.
fn deleted_since(global: &Global, container: &Container) -> Option<Option<i32>> {
    let records = lookup::records(global, &container.id, 0).ok()?;
    let first = journal::read(&records.join(journal::FILE_NAME)).ok()?.first()?.time.clone();
    let is_of_this_life = first >= container.state.created; // RFC 3339, always as long
    is_of_this_life.then(|| deleted(global, &container.id)).flatten()
}

fn with_hooks(global: &Global, container: &Container) -> Result<Option<i32>> {
    let asked = match container.ask(Request::Wait) {
        Err(_) if !container.dir.exists() => None, // a `delete` was faster
        asked => asked?,
    };
    match asked {
        Some(Answer::Exit(code)) => Ok(code),
        Some(Answer::Error(text)) => bail!("wait {}: {text}", container.id),
        _ if container.status() == Oci::Stopped => {
            let here = container.lifecycle().and_then(|status| status.exit).map(|exit| exit.code);
            // Or a `delete` has moved it just now.
            Ok(here.or_else(|| deleted_since(global, container)).flatten())
        }
        _ => Err(container.no_supervisor()),
    }
}

fn plain(container: &Container) -> Result<Option<i32>> {
    let Some(init) = container.state.init() else { return Ok(None) };
    let proc_dir = fd::open_path(&std::path::PathBuf::from(format!("/proc/{}", init.pid)))?;
    pidfd::wait_ended(init.as_fd(), None)?;
    Ok(exit::code_of(proc_dir.as_fd(), init.as_fd()).code())
}
