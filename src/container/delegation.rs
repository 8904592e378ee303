//! Whether a container may manage its own part of the cgroup tree (kernel documentation admin-guide/cgroup-v2.rst, "Delegation").

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType as Kind, Mount, Spec};

use super::idmap;

/// The user, as the host numbers it, who gets the container's v2 cgroup: that of the container's process, where a user
/// namespace keeps its rights to itself, a cgroup namespace hides what is above, and the tree is mounted to be written.
pub fn owner(config: &Spec) -> Option<u32> {
    let linux = config.linux().as_ref()?;
    let is_new = |one: &&LinuxNamespace| one.path().as_ref().is_none_or(|path| path.as_os_str().is_empty());
    let new = |kind| linux.namespaces().iter().flatten().filter(is_new).any(|namespace| namespace.typ() == kind);
    let is_writable = |mount: &Mount| {
        let is_cgroup = matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"));
        let is_read_only = mount.options().iter().flatten().any(|option| option == "ro" || option == "rro");
        is_cgroup && mount.destination().ends_with("sys/fs/cgroup") && !is_read_only
    };
    if !new(Kind::User) || !new(Kind::Cgroup) || !config.mounts().iter().flatten().any(is_writable) {
        return None;
    }
    let uid = config.process().as_ref().map_or(0, |process| process.user().uid());
    idmap::host_id(linux.uid_mappings().as_deref()?, uid)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn owner_of(change: impl FnOnce(&mut Value)) -> Option<u32> {
        let mut config = crate::container::spec::template(false);
        config["process"]["user"] = json!({"uid": 5, "gid": 0});
        config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "user"}, {"type": "cgroup"}]);
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        config["mounts"] =
            json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}]);
        change(&mut config);
        owner(&serde_json::from_value(config).unwrap())
    }

    #[test]
    fn the_containers_user_gets_the_cgroup_only_where_it_is_shut_in() {
        assert_eq!(owner_of(|_| {}), Some(100_005));
        assert_eq!(owner_of(|config| config["process"]["user"]["uid"] = json!(1000)), None);
        assert_eq!(owner_of(|config| config["mounts"][0]["options"] = json!(["ro"])), None);
        assert_eq!(owner_of(|config| config["mounts"] = json!([])), None);
        for missing in [1, 2] {
            let remove =
                |config: &mut Value| drop(config["linux"]["namespaces"].as_array_mut().unwrap().remove(missing));
            assert_eq!(owner_of(remove), None);
        }
    }
}
