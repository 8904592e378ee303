//! `list`

use anyhow::Result;
use serde_json::json;

use super::args::{Global, List, TableFormat};
use super::log::Log;
use super::lookup::Container;
use super::progress::Progress;
use crate::container::state::State;

pub fn run(global: &Global, args: &List) -> Result<u8> {
    let root = global.root()?;
    let load = |id: crate::container::id::ContainerId| {
        // One that is removed while we look, or is no container, is not listed.
        let state = State::load(&root, &id).ok()?;
        Some(Container {
            root: root.clone(),
            dir: root.container(&id),
            id,
            state,
            log: Log::new(global),
            progress: Progress::Quiet,
        })
    };
    let containers: Vec<Container> = root.list()?.into_iter().filter_map(load).collect();
    match (args.quiet, args.format) {
        (true, _) => containers.iter().for_each(|container| println!("{}", container.id)),
        (false, TableFormat::Json) => {
            let list: Vec<_> = containers.iter().map(describe).collect();
            println!("{}", serde_json::to_string(&list)?);
        }
        (false, TableFormat::Table) => table(&containers),
    }
    Ok(0)
}

/// runc's keys.
fn describe(container: &Container) -> serde_json::Value {
    let mut value = container.state.oci(container.status());
    if let Some(object) = value.as_object_mut() {
        object.insert("rootfs".into(), json!(container.state.rootfs));
        object.insert("created".into(), json!(container.state.created));
        object.insert("owner".into(), json!(container.state.owner));
    }
    value
}

fn table(containers: &[Container]) {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    for container in containers {
        let (status, state) = (container.status(), &container.state);
        let pid = if status == crate::container::state::Status::Stopped { 0 } else { state.pid };
        rows.push([
            container.id.to_string(),
            pid.to_string(),
            status.to_string(),
            state.bundle.display().to_string(),
            state.created.clone(),
            state.owner.clone(),
        ]);
    }
    // As wide as runc's, for scripts that cut by position.
    print!("{}", super::hooks::aligned(&rows, 12, 3));
}
