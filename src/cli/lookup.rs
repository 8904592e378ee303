//! Finding the container that a verb is about.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

use super::args::Global;
use super::log::Log;
use super::progress::Progress;
use crate::container::id::ContainerId;
use crate::container::root::Root;
use crate::container::state::{ContainerError, State, Status as Oci};
use crate::lifecycle::journal;
use crate::lifecycle::status::{Status, oci_status};
use crate::linux::clock;
use crate::supervisor::control::{self, Answer, Request};
use crate::supervisor::history;
use crate::supervisor::succession::{self, Succession};

/// How many supervisors may be lost one after the other while one verb waits for an answer.
pub const SUCCESSORS: usize = 5;

/// A container that exists.
pub struct Container {
    pub root: Root,
    pub id: ContainerId,
    pub dir: PathBuf,
    pub state: State,
    pub log: Log,
    /// How it is shown what is waited for.
    pub progress: Progress,
}

/// The container of an id below the root that the command line names.
pub fn container(global: &Global, id: &ContainerId) -> Result<Container> {
    container_in(global.root()?, global, id)
}

/// As `container`, for the verbs that no caller of ours calls: without `--root`, a container with hooks is also found in
/// the other roots that are known, as containerd's shim gives one.
pub fn container_anywhere(global: &Global, id: &ContainerId) -> Result<Container> {
    container(global, id).or_else(|error| {
        let is_not_found = matches!(error.downcast_ref(), Some(ContainerError::NotFound(_)));
        if global.root.is_some() || !is_not_found {
            return Err(error);
        }
        match history::present(id, None, Root::of_caller()?.path())?.as_deref().and_then(Path::parent) {
            Some(root) => container_in(Root::at(root), global, id),
            None => Err(error),
        }
    })
}

fn container_in(root: Root, global: &Global, id: &ContainerId) -> Result<Container> {
    let state = State::load(&root, id)?;
    Ok(Container {
        dir: root.container(id),
        id: id.clone(),
        root,
        state,
        log: Log::new(global),
        progress: Progress::new(global),
    })
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
        // Who has the short id or the name that docker shows, or a container without hooks of docker's or containerd's.
        Err(error) => Err(error.context(format!(
            "no life of \"{id}\" is in the history (ids are whole; a container without hooks is found in its caller's --root)"
        ))),
    }
}

impl Container {
    /// Asks the container's supervisor and waits for its answer, as every verb does; None when there is none any more, since
    /// its work is done. One that was lost is succeeded, and its successor is asked (S-27, S-28).
    pub fn ask(&self, mut request: Request) -> Result<Option<Answer>> {
        for _ in 0..SUCCESSORS {
            if let Some(connection) = control::connect(&self.dir)? {
                control::send_request(&connection, request)?;
                self.progress.wait(connection.as_fd(), &self.dir, self.id.as_str());
                if let Some(answer) = control::read_answer(&connection)? {
                    return Ok(Some(answer));
                }
                request = request.again();
            }
            if !self.see_to_a_supervisor()? {
                return Ok(None);
            }
        }
        bail!("container \"{}\" has lost {SUCCESSORS} supervisors while this was asked of them: {request}", self.id)
    }

    /// Whether somebody supervises the container, which is started if it is missing.
    pub fn see_to_a_supervisor(&self) -> Result<bool> {
        let found = succession::ensure(&self.root, &self.id, &self.dir)?;
        if found == Succession::Begun {
            let why = self.last_words().map_or_else(String::new, |words| format!(" ({words})"));
            self.log.warn(&format!("the supervisor of {} was lost{why}; another one has taken over", self.id));
        }
        Ok(found != Succession::NotNeeded)
    }

    /// What the supervisor that was lost last has said of itself (threats.md R24).
    fn last_words(&self) -> Option<String> {
        let told = journal::read(&self.dir.join(journal::FILE_NAME)).ok()?;
        let mut backwards = told.into_iter().rev().map(|record| record.notice);
        backwards.find(|notice| notice.reason == "SupervisorLost")?;
        backwards.next().filter(|notice| notice.reason == "SupervisorFailed").map(|notice| notice.message)
    }

    /// What is known of the hooks; None for a plain OCI container.
    pub fn lifecycle(&self) -> Option<Status> {
        let mut status = self.state.has_hooks.then(|| Status::load(&self.dir).ok()).flatten()?;
        if clock::boot_id().is_ok_and(|now| now != self.state.boot_id) {
            status.phase = "Stopped".to_owned(); // R19: nobody was there to write it
        }
        Some(status)
    }

    /// For verbs that cannot go on without a supervisor.
    pub fn no_supervisor(&self) -> anyhow::Error {
        let id = &self.id;
        let why = match self.status() {
            Oci::Creating => "is still being created",
            _ => "has hooks, but its supervisor is gone and has left nothing to go on from",
        };
        anyhow!("container \"{id}\" {why}: end it with `bookend delete --force {id}`")
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
