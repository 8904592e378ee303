//! `pause` and `resume`

use anyhow::{Result, bail};

use super::args::{Global, Id};
use super::lookup;
use crate::container::state::{ContainerError, Status};

pub fn pause(global: &Global, args: &Id) -> Result<u8> {
    let container = lookup::container(global, &args.id)?;
    match container.state.status(&container.dir) {
        Status::Running | Status::Created => container.state.cgroup.freeze()?,
        found => bail!(ContainerError::Not { wanted: Status::Running, found }),
    }
    Ok(0)
}

pub fn resume(global: &Global, args: &Id) -> Result<u8> {
    let container = lookup::container(global, &args.id)?;
    match container.state.status(&container.dir) {
        Status::Paused => container.state.cgroup.thaw()?,
        found => bail!(ContainerError::Not { wanted: Status::Paused, found }),
    }
    Ok(0)
}
