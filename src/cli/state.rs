//! `state`

use anyhow::Result;
use serde_json::Value;

use super::args::{Global, Id};
use super::lookup::{self, Container};
use crate::supervisor::control;

pub fn run(global: &Global, args: &Id) -> Result<u8> {
    let container = lookup::container(global, &args.id)?;
    if container.state.has_hooks
        && !control::is_there(&container.dir)
        && let Err(error) = container.see_to_a_supervisor()
    {
        container.log.warn(&format!("state {}: {error:#}", args.id));
    }
    println!("{}", serde_json::to_string_pretty(&describe(&container))?);
    Ok(0)
}

/// The OCI state, and for a container with hooks `phase`, `hooks` and `exit` (interface.md section 3).
pub fn describe(container: &Container) -> Value {
    let lifecycle = container.lifecycle();
    let mut value = container.state.oci(lookup::status_of(&container.state, &container.dir, lifecycle.as_ref()));
    if let (Some(status), Some(object)) = (lifecycle, value.as_object_mut())
        && let Value::Object(shown) = super::hooks::json(&status)
    {
        object.extend(shown);
    }
    value
}
