//! What v1 hierarchies need when a cgroup is made.

use std::path::Path;

use anyhow::{Context, Result};

use super::directory::Directory;
use super::{Hierarchy, Made, Members, oom_kills_in};

/// Makes the directory and its missing parents.
pub(super) fn make(hierarchy: &Hierarchy, made: &mut Made, members: Members) -> Result<()> {
    let cpuset = hierarchy.has("cpuset");
    let mut parent = hierarchy.mount.clone();
    for step in hierarchy.steps() {
        let new = made.make(&step)?;
        if !new && step == hierarchy.path && members == Members::Refused {
            hierarchy.refuse_used()?;
        }
        if cpuset {
            inherit_cpuset(&parent, &step)?;
        }
        parent = step;
    }
    Ok(())
}

/// A new v1 cpuset is empty and takes no process before it has CPUs and memory nodes (cpuset(7)).
fn inherit_cpuset(parent: &Path, step: &Path) -> Result<()> {
    let open = |path: &Path| Directory::open(path).with_context(|| format!("open {}", path.display()));
    let (parent, step) = (open(parent)?, open(step)?);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let read = |directory: &Directory| {
            directory.read(file).with_context(|| format!("read {}", directory.path.join(file).display()))
        };
        if read(&step)?.trim().is_empty() {
            let value = read(&parent)?;
            step.write(file, value.trim())
                .with_context(|| format!("set {} to {}", step.path.join(file).display(), value.trim()))?;
        }
    }
    Ok(())
}

/// v2 counts in every cgroup what happens below it; here each has its own count alone.
pub(super) fn oom_kills(directory: &Directory) -> u64 {
    let below = directory.children().unwrap_or_default();
    let below = below.iter().filter_map(|name| directory.child(name).ok().flatten());
    oom_kills_in(directory, "memory.oom_control") + below.map(|child| oom_kills(&child)).sum::<u64>()
}
