//! Control groups: v2, v1, hybrid, or none at all (rootless without delegation).
//!
//! A `Cgroup` is a directory in every hierarchy of the host. It is a plain value that says where they are: the verb that
//! creates a container plans it, stores it in the state, and every later verb works on what it finds there.
//!
//! On a hybrid host the container has its directory in the v2 tree beside the v1 controllers, even where the v2 tree has
//! none: being born there is free (`CLONE_INTO_CGROUP`), and the v2 core freezes and kills better than v1 can.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

mod create;
mod delete;
mod device_filter;
mod devices;
mod directory;
mod freeze;
mod join;
mod kill;
mod layout;
mod limits;
mod members;
mod mount;
mod oom;
mod plan;
mod settings;
mod stats;
mod survey;
mod systemd;
mod v1;
mod v2;

pub use devices::DeviceRules;
use directory::Directory;
pub use layout::Version;
use layout::{Layout, Mounted};
pub use mount::CgroupMount;
pub use oom::OomWatch;
pub use stats::{Interface, Stats};
pub use survey::{Mode, Survey, survey};
use systemd::Unit;
pub use systemd::{Driver, PROPERTY_PREFIX, Scope};

/// How long a freeze, a kill and a removal may take before they are errors.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a container's cgroup is, in every hierarchy. Nothing is open and nothing need exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cgroup {
    hierarchies: Vec<Hierarchy>,
    /// The unit whose it is, where systemd is the driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<Unit>,
}

/// One hierarchy's part of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hierarchy {
    version: Version,
    /// v1: its controllers or `name=...`; v2: none.
    controllers: Vec<String>,
    mount: PathBuf,
    /// The cgroup seen at `mount`.
    root: PathBuf,
    /// The cgroup's directory.
    path: PathBuf,
    /// Whether the directory is this cgroup's own. The sub-cgroup of a hook joins the container's where it has none.
    owned: bool,
}

impl Cgroup {
    /// The container stays in the cgroup of its caller.
    pub fn none() -> Cgroup {
        Cgroup::default()
    }

    pub fn is_none(&self) -> bool {
        self.hierarchies.is_empty()
    }

    /// The hierarchy whose membership is what counts for freezing and killing.
    fn tracking(&self) -> Option<usize> {
        let position = |test: &dyn Fn(&Hierarchy) -> bool| self.hierarchies.iter().position(test);
        position(&|hierarchy| hierarchy.version == Version::V2)
            .or_else(|| position(&|hierarchy| hierarchy.has("freezer")))
            .or_else(|| position(&|hierarchy| hierarchy.has("pids")))
            .or_else(|| position(&|_| true))
    }

    /// Every process in the cgroup and below it, as our pid namespace sees them. A cgroup that is gone has none.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        Ok(self.members()?.into_iter().map(Pid::from_raw).collect())
    }

    fn members(&self) -> Result<BTreeSet<i32>> {
        // A process that was moved half-way, or that moved itself out of one hierarchy, is still found in the others.
        let mut found = Vec::new();
        for hierarchy in self.owned() {
            let context = || format!("read the processes of {}", hierarchy.path.display());
            if let Some(directory) = Directory::open_if_there(&hierarchy.path).with_context(context)? {
                directory.processes_below(&mut found).with_context(context)?;
            }
        }
        Ok(found.into_iter().map(Pid::as_raw).collect())
    }

    /// The cgroup's directories on the host.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.hierarchies.iter().map(|hierarchy| hierarchy.path.clone()).collect()
    }

    fn owned(&self) -> impl Iterator<Item = &Hierarchy> {
        self.hierarchies.iter().filter(|hierarchy| hierarchy.owned)
    }

    fn v2(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2)
    }

    /// The hierarchy that has a controller: the v1 one that was mounted with it, or else the v2 one, which may.
    fn of_controller(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.has(controller)).or_else(|| self.v2())
    }

    /// The directory that stands for the whole in messages.
    fn name(&self) -> String {
        let tracking = self.tracking().map(|index| &self.hierarchies[index]);
        tracking.map_or("no cgroup".to_owned(), |hierarchy| hierarchy.path.display().to_string())
    }
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// The directories from the top of the mount to the cgroup's own, without the top itself.
    fn steps(&self) -> Vec<PathBuf> {
        let mut steps: Vec<PathBuf> =
            self.path.ancestors().take_while(|step| *step != self.mount).map(Path::to_owned).collect();
        steps.reverse();
        steps
    }
}

impl From<&Mounted> for Hierarchy {
    /// Its top.
    fn from(mounted: &Mounted) -> Hierarchy {
        Hierarchy {
            version: mounted.version,
            controllers: mounted.controllers.clone(),
            mount: mounted.mount.clone(),
            root: mounted.root.clone(),
            path: mounted.mount.clone(),
            owned: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxResources;

    use super::*;

    #[test]
    fn without_a_cgroup_limits_are_refused_and_everything_else_is_fine() {
        let none = Cgroup::none();
        let limits: LinuxResources = serde_json::from_str(r#"{"pids": {"limit": 5}}"#).unwrap();
        let error = format!("{:#}", none.set(&limits).unwrap_err());
        let expected = "linux.resources.pids.limit: set pids.max to 5: the container has no cgroup";
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(format!("{:#}", none.check(&limits).unwrap_err()), error);
        none.set(&LinuxResources::default()).unwrap();
        none.create().unwrap();
        none.enter(Pid::from_raw(1), false).unwrap();
        none.kill().unwrap();
        none.delete().unwrap();
        assert!(none.clone_into().unwrap().is_none());
    }
}
