//! OCI hooks: host programs that `config.json` names, given the state on stdin (runtime-spec, "POSIX-platform Hooks").

use std::path::Path;

use anyhow::Result;

use super::state::State;

/// Runs the poststart hooks, for `start`. The first that fails is the error.
pub fn poststart(_state: &State, _dir: &Path) -> Result<()> {
    todo!()
}

/// Runs every poststop hook, for `delete`; the failures are warnings.
pub fn poststop(_state: &State, _dir: &Path) -> Vec<String> {
    todo!()
}
