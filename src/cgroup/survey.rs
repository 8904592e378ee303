//! What this host and this user's place in it allow: asked by `doctor`.

use anyhow::Result;

use super::{Cgroup, Layout, Version, v2};

/// Which hierarchies have controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    None,
    V1,
    /// v1 controllers beside a v2 tree.
    Hybrid,
    V2,
}

/// What came of making a container's cgroup.
#[derive(Debug)]
pub struct Survey {
    pub mode: Mode,
    /// What the new cgroup's limits can be set by; empty where no cgroup can be made.
    pub controllers: Vec<String>,
    /// Whether `cgroup.kill` is there (Linux 5.14).
    pub kill: bool,
}

/// Makes the cgroup that a container `name` would get, looks at it, and removes it.
pub fn survey(name: &str, rootless: bool) -> Result<Survey> {
    let mode = mode(&Layout::of_this_process()?);
    if mode == Mode::None {
        return Ok(Survey { mode, controllers: Vec::new(), kill: false });
    }
    let cgroup = Cgroup::plan(None, name, rootless)?;
    cgroup.create()?;
    let kill = cgroup.v2().is_some_and(|hierarchy| hierarchy.path.join("cgroup.kill").exists());
    let controllers = cgroup.hierarchies.iter().flat_map(|hierarchy| match hierarchy.version {
        Version::V1 => hierarchy.controllers.clone(),
        Version::V2 => v2::controllers(hierarchy),
    });
    let mut controllers: Vec<String> = controllers.filter(|name| !name.starts_with("name=")).collect();
    controllers.sort();
    cgroup.delete()?;
    Ok(Survey { mode, controllers, kill })
}

fn mode(layout: &Layout) -> Mode {
    let v2 = layout.0.iter().any(|mounted| mounted.version == Version::V2);
    let v1 = layout.0.iter().any(|mounted| mounted.version == Version::V1);
    match (v1, v2) {
        (false, false) => Mode::None,
        (true, false) => Mode::V1,
        (true, true) => Mode::Hybrid,
        (false, true) => Mode::V2,
    }
}
