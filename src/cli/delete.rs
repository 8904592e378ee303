//! `delete`

use anyhow::{Result, bail};

use super::args::{Delete, Global};
use super::log::Log;
use super::lookup::{self, Container};
use crate::container::delete;
use crate::container::id::ContainerId;
use crate::container::state::{ContainerError, STOP_FIRST};
use crate::supervisor::control::{Answer, Request};
use crate::supervisor::removal;

pub fn run(global: &Global, args: &Delete) -> Result<u8> {
    let warnings = remove(global, &args.id, args.force)?;
    let log = Log::new(global);
    warnings.iter().for_each(|warning| log.warn(warning));
    Ok(0)
}

/// Removes a container. Where a supervisor lives it does the work, after postStop (O-09).
pub fn remove(global: &Global, id: &ContainerId, force: bool) -> Result<Vec<String>> {
    let root = &global.root()?;
    let container = match lookup::container(global, id) {
        Ok(container) => container,
        Err(error) => {
            return match error.downcast_ref::<ContainerError>() {
                // Also where it is not there: a `delete` that was killed may have left something (R2).
                Some(ContainerError::NotFound(_) | ContainerError::Damaged(..)) if force => {
                    delete::delete(root, id, true)
                }
                _ => Err(error),
            };
        }
    };
    let Container { state, dir, .. } = &container;
    if state.has_hooks {
        match container.ask(Request::Delete { force }) {
            Ok(Some(Answer::Error(text))) if text.starts_with("that is not stopped") => {
                bail!("cannot delete container \"{id}\" {text}; {STOP_FIRST}")
            }
            Ok(Some(Answer::Error(text))) => bail!("delete {id}: {text}"),
            Ok(Some(_)) => return Ok(Vec::new()),
            // Its supervisor has ended with the container.
            Ok(None) => {}
            Err(_) if !dir.exists() => {}
            // Nothing can be run any more; what there is is removed all the same.
            Err(error) if force => container.log.warn(&format!("delete {id}: {error:#}")),
            Err(error) => return Err(error),
        }
    }
    if !dir.exists() {
        return Ok(Vec::new());
    }
    if !force && state.has_hooks && state.init().is_some() {
        return delete::delete(root, id, false);
    }
    match state.has_hooks {
        true => removal::remove(root, state, dir),
        false => delete::delete(root, id, force),
    }
}
