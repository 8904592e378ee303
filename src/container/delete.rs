//! `delete`: ends what is left of a container and removes it.

use anyhow::Result;

use super::id::ContainerId;
use super::root::Root;

/// Removes a container without a supervisor. Returns warnings: a poststop hook that fails is only that.
///
/// Unless forced it must be stopped, or created and never started. Forced, it may be in any state, damaged, half made, or not there at all.
pub fn delete(_root: &Root, _id: &ContainerId, _force: bool) -> Result<Vec<String>> {
    todo!()
}
