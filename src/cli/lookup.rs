//! Finding the container that a verb is about.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::args::Global;
use crate::container::id::ContainerId;
use crate::container::root::Root;
use crate::container::state::{State, Status as Oci};
use crate::lifecycle::status::{Status, oci_status};
use crate::supervisor::control::{self, Answer, Request};
use crate::supervisor::history;

/// A container that exists.
pub struct Container {
    pub root: Root,
    pub id: ContainerId,
    pub dir: PathBuf,
    pub state: State,
}

/// The container of an id below the root that the command line names.
pub fn container(global: &Global, id: &ContainerId) -> Result<Container> {
    let root = global.root()?;
    let state = State::load(&root, id)?;
    Ok(Container { dir: root.container(id), id: id.clone(), root, state })
}

/// The directory with the journal, the status and the hook logs of an id: of a container that exists, else of its
/// latest life in the history (interface.md section 5); `previous` lives before that one.
pub fn records(global: &Global, id: &ContainerId, previous: u8) -> Result<PathBuf> {
    let given = global.root()?;
    let default = Root::of_caller()?;
    let lives = history::lives(id, Some(given.path()), default.path())?;
    if let Some(dir) = lives.get(usize::from(previous)) {
        return Ok(dir.clone());
    }
    match State::load(&given, id) {
        _ if !lives.is_empty() => bail!("container \"{id}\" has no life so far back: {} known", lives.len()),
        Ok(state) if !state.has_hooks => bail!("container \"{id}\" has no lifecycle hooks"),
        Ok(_) => bail!("container \"{id}\" has no journal yet"),
        Err(error) => Err(error.context(format!("no life of \"{id}\" is in the history"))),
    }
}

impl Container {
    /// Asks the container's supervisor and waits for its answer, as every verb does; None when there is none (any more).
    pub fn ask(&self, request: Request) -> Result<Option<Answer>> {
        control::ask_in(&self.dir, request)
    }

    /// What is known of the hooks; None for a plain OCI container.
    pub fn lifecycle(&self) -> Option<Status> {
        self.state.has_hooks.then(|| Status::load(&self.dir).ok()).flatten()
    }

    /// The OCI status: what the supervisor wrote, as long as init is there to bear it out.
    pub fn status(&self) -> Oci {
        status_of(&self.state, &self.dir, self.lifecycle().as_ref())
    }
}

/// `created` until postStart has succeeded (lifecycle.md section 1).
pub fn status_of(state: &State, dir: &Path, lifecycle: Option<&Status>) -> Oci {
    let plain = state.status(dir);
    let Some(status) = lifecycle else { return plain };
    if plain == Oci::Stopped {
        return Oci::Stopped;
    }
    match oci_status(status, plain == Oci::Paused) {
        "creating" => Oci::Creating,
        "created" => Oci::Created,
        "running" => Oci::Running,
        "paused" => Oci::Paused,
        _ => Oci::Stopped,
    }
}
