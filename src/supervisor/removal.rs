//! What is left of a container when it is removed: its history (interface.md section 5).

use std::path::Path;

use anyhow::Result;

use super::history;
use super::settings::Settings;
use crate::container::delete;
use crate::container::root::Root;
use crate::container::state::State;
use crate::lifecycle::journal::{self, Journal};
use crate::lifecycle::model::Plan;
use crate::lifecycle::notice::Notice;
use crate::linux::clock;

/// Removes a container that has lifecycle hooks and no supervisor but, perhaps, ourselves. Its journal and its hooks'
/// output move to the history.
pub fn remove(root: &Root, state: &State, dir: &Path) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    if state.has_hooks {
        let settings = Settings::load(dir).ok();
        if let Some(Settings { plan, no_history: false, .. }) = settings
            && let Err(error) = tell_deleted(state, dir, &plan).and_then(|()| keep_history(state, dir))
        {
            warnings.push(format!("keep the history of {}: {error:#}", state.id));
        }
    }
    warnings.extend(delete::delete(root, &state.id, true)?);
    Ok(warnings)
}

/// The last event of a life, whoever removes the container.
fn tell_deleted(state: &State, dir: &Path, plan: &Plan) -> Result<()> {
    // One whose journal is gone is being deleted by someone else.
    if dir.join(journal::FILE_NAME).exists() {
        let notice = Notice::normal("Deleted", format!("Deleted container {}", state.id));
        let record = journal::stamp(notice, &plan.container, clock::now(), &clock::boot_id()?);
        Journal::create(dir)?.append(&record)?;
    }
    Ok(())
}

fn keep_history(state: &State, dir: &Path) -> Result<()> {
    let history = Root::of_caller()?.path().join(history::DIR_NAME);
    Root::of_caller()?.prepare()?;
    history::keep(&history, &state.id, dir, history::Limits::default()).map(drop)
}

/// A root that is not the default one is remembered, so that `logs ID` finds the container without `--root`.
/// It is only a convenience, so a failure is nobody's.
pub fn remember_root(root: &Root) {
    if let Ok(default) = Root::of_caller()
        && default != *root
    {
        let _ = default.prepare().and_then(|()| history::record_root(default.path(), root.path()));
    }
}
