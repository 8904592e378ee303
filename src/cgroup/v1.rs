//! What v1 hierarchies need when a cgroup is made.

use std::path::Path;

use anyhow::{Context, Result};

use super::Hierarchy;
use super::create::Made;
use super::directory::Directory;
use super::oom::oom_kills_in;

/// Makes the directory and its missing parents.
pub(super) fn make(hierarchy: &Hierarchy, made: &mut Made) -> Result<()> {
    let cpuset = hierarchy.has("cpuset");
    let mut parent = hierarchy.mount.clone();
    for step in hierarchy.steps() {
        let new = made.make(&step)?;
        if !new && step == hierarchy.path {
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

/// Why no hierarchy of the container has a controller, by `/proc/cgroups` (cgroups(7)), and what helps.
pub(super) fn why_no_controller(controller: &str, known: &str) -> String {
    let line = known.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    match line.into_iter().find(|words| words.first() == Some(&controller)).as_deref() {
        Some([_, "0", _, "1"]) => format!(
            "the {controller} controller is mounted nowhere: mkdir /sys/fs/cgroup/{controller} && mount -t cgroup -o \
             {controller} cgroup /sys/fs/cgroup/{controller}, or remove the field"
        ),
        Some([_, _, _, "0"]) => {
            format!(
                "the {controller} controller is disabled: boot without cgroup_disable={controller}, or remove the field"
            )
        }
        Some(_) => format!("no cgroup of the container has the {controller} controller"),
        None => format!("this kernel has no {controller} controller: remove the field"),
    }
}

#[cfg(test)]
mod tests {
    use super::why_no_controller;

    #[test]
    fn a_missing_controller_is_explained_with_what_helps() {
        let known = "#subsys_name\thierarchy\tnum_cgroups\tenabled\nnet_cls\t0\t8\t1\nmemory\t0\t1\t0\ncpu\t1\t6\t1\n";
        for (controller, words) in [
            ("net_cls", "mount -t cgroup -o net_cls cgroup /sys/fs/cgroup/net_cls"),
            ("memory", "boot without cgroup_disable=memory"),
            ("cpu", "no cgroup of the container has the cpu controller"),
            ("rdma", "this kernel has no rdma controller: remove the field"),
        ] {
            let why = why_no_controller(controller, known);
            assert!(why.contains(words), "{why}");
        }
    }
}
