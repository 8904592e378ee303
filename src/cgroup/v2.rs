//! What the v2 hierarchy needs when a cgroup is made (kernel documentation admin-guide/cgroup-v2.rst).

use std::path::Path;

use anyhow::{Result, bail};
use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::Hierarchy;
use super::create::{Made, Members};
use super::directory::Directory;

/// Makes the directory and its missing parents, and passes every controller down to it as far as the kernel allows.
pub(super) fn make(hierarchy: &Hierarchy, made: &mut Made, members: Members) -> Result<()> {
    let mut parent = hierarchy.mount.clone();
    for step in hierarchy.steps() {
        pass_on_controllers(&parent);
        if !made.make(&step)? && step == hierarchy.path && members == Members::Refused {
            hierarchy.refuse_used()?;
        }
        parent = step;
    }
    Ok(())
}

/// Enables in `parent` what it can give to those below. What cannot be enabled (EBUSY where it has processes, EACCES
/// above a delegated tree) matters only if a limit needs it, and then `why_missing` says so.
fn pass_on_controllers(parent: &Path) {
    let Ok(directory) = Directory::open(parent) else { return };
    if is_leaf(&directory) {
        return;
    }
    let passed = words(&directory, "cgroup.subtree_control");
    let missing: Vec<String> =
        words(&directory, "cgroup.controllers").into_iter().filter(|name| !passed.contains(name)).collect();
    let all: Vec<String> = missing.iter().map(|name| format!("+{name}")).collect();
    if all.is_empty() || directory.write("cgroup.subtree_control", &all.join(" ")).is_ok() {
        return;
    }
    // One that is refused must not take the others with it.
    for name in all {
        let _ = directory.write("cgroup.subtree_control", &name); // see above
    }
}

/// Whether a cgroup has processes of its own and is not the top of the tree, so that it must pass nothing on.
///
/// The kernel refuses memory and io there, but not cpu and pids: these make a threaded domain of it, and what is below
/// takes no processes any more (EOPNOTSUPP; cgroup-v2.rst "Threads").
fn is_leaf(directory: &Directory) -> bool {
    directory.read("cgroup.type").is_ok()
        && directory.read("cgroup.procs").map_or(true, |processes| !processes.is_empty())
}

/// The controllers of the cgroup itself, or of the nearest above it that exists.
pub(super) fn controllers(hierarchy: &Hierarchy) -> Vec<String> {
    let directory = hierarchy.path.ancestors().find_map(|path| Directory::open(path).ok());
    directory.map(|directory| words(&directory, "cgroup.controllers")).unwrap_or_default()
}

/// Refuses a controller that no cgroup at this place can have: the top of the tree has it not, or a cgroup on the way does
/// not pass it on and is not the caller's to change.
pub(super) fn check_controller(hierarchy: &Hierarchy, controller: &str) -> Result<()> {
    // `cgroup` names the files that every cgroup has.
    if controller == "cgroup" {
        return Ok(());
    }
    let mut above = hierarchy.mount.clone();
    for step in hierarchy.steps() {
        let Ok(directory) = Directory::open(&above) else { return Ok(()) };
        if !has(&directory, "cgroup.controllers", controller) {
            bail!(no_controller(&above, controller));
        }
        if !has(&directory, "cgroup.subtree_control", controller) {
            return match access(above.join("cgroup.subtree_control"), Access::WRITE_OK) {
                Err(Errno::ACCESS) => bail!(
                    "{} does not pass the {controller} controller on, and is not yours to change; have it delegated \
                     (`bookend doctor` says how)",
                    above.display()
                ),
                _ => Ok(()),
            };
        }
        above = step;
    }
    Ok(())
}

fn no_controller(directory: &Path, controller: &str) -> String {
    format!(
        "{} has no {controller} controller: it is not part of this kernel, not delegated, or in use by cgroup v1",
        directory.display()
    )
}

/// Why a file of a controller is not there.
pub(super) fn why_missing(hierarchy: &Hierarchy, controller: &str, file: &str) -> String {
    let mut parent = hierarchy.mount.clone();
    for step in hierarchy.steps() {
        let Ok(directory) = Directory::open(&parent) else { break };
        let name = parent.display();
        if !has(&directory, "cgroup.controllers", controller) {
            return no_controller(&parent, controller);
        }
        if !has(&directory, "cgroup.subtree_control", controller) && is_leaf(&directory) {
            return format!(
                "{name} does not pass the {controller} controller on: it has processes of its own, so it can pass no \
                 controllers on (move them, or use another linux.cgroupsPath)"
            );
        }
        if let Err(error) = directory.write("cgroup.subtree_control", &format!("+{controller}")) {
            return format!("{name} does not pass the {controller} controller on: {error}");
        }
        parent = step;
    }
    format!("{} has no {file}: this kernel lacks it", hierarchy.path.display())
}

fn has(directory: &Directory, file: &str, controller: &str) -> bool {
    words(directory, file).iter().any(|found| found == controller)
}

fn words(directory: &Directory, file: &str) -> Vec<String> {
    directory.read(file).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}
