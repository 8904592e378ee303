//! What a container sees of its cgroups.

use std::path::PathBuf;

use super::{Cgroup, Hierarchy, Version};

/// What a mount of type `cgroup` shows to a container, for one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMount {
    pub version: Version,
    /// The directory below the mount's destination (`memory`, `cpu,cpuacct`, `systemd`); empty where v2 is alone.
    pub name: String,
    /// Names that are links to `name`: `cpu` and `cpuacct` for `cpu,cpuacct`.
    pub links: Vec<String>,
    /// What mount(2) takes for a new mount inside a cgroup namespace: `memory`, `none,name=systemd`; empty for v2.
    pub options: String,
    /// The container's own cgroup on the host, to bind when there is no cgroup namespace.
    pub source: PathBuf,
}

impl Cgroup {
    /// What a mount of type `cgroup` in the container shows.
    pub fn mounts_for_container(&self) -> Vec<CgroupMount> {
        let alone = self.hierarchies.len() == 1;
        self.hierarchies.iter().map(|hierarchy| hierarchy.mount_for_container(alone)).collect()
    }
}

impl Hierarchy {
    fn mount_for_container(&self, alone: bool) -> CgroupMount {
        let name = match self.mount.file_name() {
            Some(name) if !(alone && self.version == Version::V2) => name.to_string_lossy().into_owned(),
            _ => String::new(),
        };
        let links = if self.controllers.len() > 1 { self.controllers.clone() } else { Vec::new() };
        let named = self.controllers.iter().any(|controller| controller.starts_with("name="));
        let options = format!("{}{}", if named { "none," } else { "" }, self.controllers.join(","));
        CgroupMount { version: self.version, name, links, options, source: self.path.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layout;
    use super::*;

    #[test]
    fn comounted_controllers_are_shown_with_a_link_each() {
        let layout = Layout::parse(
            "33 31 0:30 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             34 31 0:31 / /cg/systemd rw - cgroup cgroup rw,name=systemd\n",
            "2:cpu,cpuacct:/\n1:name=systemd:/\n",
            |_, _| true,
        );
        let mounts = Cgroup::plan_in(&layout, None, "id", |_| true).unwrap().mounts_for_container();
        assert_eq!((mounts[0].name.as_str(), mounts[0].options.as_str()), ("cpu,cpuacct", "cpu,cpuacct"));
        assert_eq!(mounts[0].links, ["cpu", "cpuacct"]);
        assert_eq!((mounts[1].name.as_str(), mounts[1].options.as_str()), ("systemd", "none,name=systemd"));
        assert!(mounts[1].links.is_empty());
    }
}
