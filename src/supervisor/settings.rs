//! What `create` and `run` were told about a container's lifecycle, kept with it: `plan.json` in its state directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::container::state::write_file;
use crate::lifecycle::fault::Faults;
use crate::lifecycle::model::Plan;

pub const FILE: &str = "plan.json";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    pub plan: Plan,
    /// `--hook-log-dir`: a copy of every hook log is kept under `DIR/ID/`.
    pub hook_log_dir: Option<PathBuf>,
    /// `--no-history`
    pub no_history: bool,
    /// Only `test` sets any.
    #[serde(default, skip_serializing_if = "Faults::is_empty")]
    pub faults: Faults,
}

impl Settings {
    pub fn load(dir: &Path) -> Result<Settings> {
        let path = dir.join(FILE);
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))
    }

    pub fn save(&self, dir: &Path) -> Result<()> {
        write_file(&dir.join(FILE), &serde_json::to_vec(self)?)
    }
}
