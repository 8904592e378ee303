//! What a successor needs to go on where a supervisor was killed (S-27, S-28): `life.json` in the state directory.
//!
//! It is written before anything that follows from it is done, and not synced: who comes after a reboot finds another boot,
//! and a container that is stopped.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::container::state::{ProcessId, read_json};
use crate::lifecycle::life::Life;
use crate::lifecycle::model::Hook;
use crate::lifecycle::time::Instant;
use crate::linux::clock;

const FILE: &str = "life.json";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Legacy {
    /// The boot whose clock the life's moments are of.
    pub boot_id: String,
    /// `run` in the foreground.
    pub foreground: bool,
    pub life: Life,
    pub runs: Vec<Run>,
}

/// An attempt of a hook that has processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    pub hook: Hook,
    pub entry: usize,
    pub attempt: u32,
    pub since: Instant,
    /// `bookend handle`
    pub handle: Option<ProcessId>,
    /// The hook's own.
    pub process: Option<ProcessId>,
}

impl Legacy {
    /// What was written down for a container that is not over. None where all is over, after a reboot, and where nothing was
    /// written yet.
    pub fn load(dir: &Path) -> Result<Option<Legacy>> {
        if !dir.join(FILE).exists() {
            return Ok(None);
        }
        let legacy: Legacy = read_json(&dir.join(FILE))?;
        let now = legacy.boot_id == clock::boot_id()?;
        Ok((now && !legacy.life.is_stopped()).then_some(legacy))
    }

    pub fn save(&self, dir: &Path) -> Result<()> {
        let (path, temporary) = (dir.join(FILE), dir.join(".life.json.new"));
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            fs::rename(&temporary, &path)
        };
        write().with_context(|| format!("write {}", path.display()))
    }
}
