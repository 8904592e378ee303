//! Which cgroup hierarchies this host has, where they are mounted and where we are in them.
//!
//! Everything is read from two texts, `/proc/self/mountinfo` (proc_pid_mountinfo(5)) and `/proc/self/cgroup`
//! (cgroups(7)), and the parsing is pure. Only `Layout::of_this_process` looks at the file system.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The interface that a hierarchy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    V1,
    V2,
}

/// A mounted hierarchy and our own place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    pub version: Version,
    /// v1: controllers (`cpu`, `cpuacct`) or a name (`name=systemd`). v2: empty, since each cgroup lists its own.
    pub controllers: Vec<String>,
    pub mount: PathBuf,
    /// The cgroup that is seen at `mount`: `/`, or the container's own in a container without a cgroup namespace.
    pub root: PathBuf,
    /// Our own cgroup, as `/proc/self/cgroup` names it.
    pub own: PathBuf,
    /// `major:minor` of the file system.
    device: (u32, u32),
}

impl Mounted {
    /// The directory of a cgroup that `/proc/PID/cgroup` names, if it can be seen at this mount.
    pub fn directory(&self, cgroup: &Path) -> Option<PathBuf> {
        directory_below(&self.mount, &self.root, cgroup)
    }

    /// The directory of our own cgroup, or the top of what is mounted when we are outside of it.
    pub fn own_directory(&self) -> PathBuf {
        self.directory(&self.own).unwrap_or_else(|| self.mount.clone())
    }
}

/// Where a cgroup of `/proc/PID/cgroup` is, for a hierarchy whose cgroup `root` is mounted on `mount`.
pub(super) fn directory_below(mount: &Path, root: &Path, cgroup: &Path) -> Option<PathBuf> {
    // `/..` stands for a place above our cgroup namespace (cgroup_namespaces(7)).
    let outside = |path: &Path| path.components().any(|part| part == std::path::Component::ParentDir);
    if outside(root) || outside(cgroup) {
        return None;
    }
    let below = cgroup.strip_prefix(root).ok()?;
    Some(if below.as_os_str().is_empty() { mount.to_owned() } else { mount.join(below) })
}

/// The hierarchies of a host: v1 ones in the order of `/proc/self/cgroup`, then the v2 one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout(pub Vec<Mounted>);

impl Layout {
    pub fn of_this_process() -> Result<Layout> {
        // Mount points may be any bytes; those of cgroup mounts that are not UTF-8 do not match their stat below.
        let mountinfo = fs::read("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let own = fs::read("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        // A mount that another one hides is listed too; the device number of what is really there tells.
        let visible = |mount: &Path, device: (u32, u32)| {
            fs::metadata(mount).is_ok_and(|found| {
                let number = found.dev();
                (rustix::fs::major(number), rustix::fs::minor(number)) == device
            })
        };
        Ok(Layout::parse(&String::from_utf8_lossy(&mountinfo), &String::from_utf8_lossy(&own), visible))
    }

    /// Matches the hierarchies of `/proc/self/cgroup` with the mounts that `visible` confirms.
    pub fn parse(mountinfo: &str, own: &str, visible: impl Fn(&Path, (u32, u32)) -> bool) -> Layout {
        let mounts: Vec<Mount> =
            mountinfo.lines().filter_map(Mount::parse).filter(|mount| visible(&mount.point, mount.device)).collect();
        let mut hierarchies: Vec<Mounted> = own
            .lines()
            .filter_map(|line| {
                let (controllers, own) = parse_membership(line)?;
                let version = if controllers.is_empty() { Version::V2 } else { Version::V1 };
                let found = mounts
                    .iter()
                    .filter(|mount| mount.version == version && controllers.iter().all(|name| mount.has(name)))
                    // Best is the mount that shows us, and of those the one that shows most.
                    .min_by_key(|mount| {
                        let shows_us = directory_below(&mount.point, &mount.root, &own).is_some();
                        (!shows_us, !mount.point.starts_with("/sys/fs/cgroup"), mount.root.components().count())
                    })?;
                Some(Mounted {
                    version,
                    controllers,
                    mount: found.point.clone(),
                    root: found.root.clone(),
                    own,
                    device: found.device,
                })
            })
            .collect();
        // The v2 line is last on a host that boots with v1, and the only one elsewhere; its place is fixed here.
        hierarchies.sort_by_key(|hierarchy| hierarchy.version == Version::V2);
        Layout(hierarchies)
    }
}

/// One line of `/proc/PID/cgroup`: the controllers (none for v2) and the cgroup.
pub(super) fn parse_membership(line: &str) -> Option<(Vec<String>, PathBuf)> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, cgroup) = (fields.next()?, fields.next()?, fields.next()?);
    // A cgroup that was removed while the process was in it.
    let cgroup = cgroup.strip_suffix(" (deleted)").unwrap_or(cgroup);
    if !cgroup.starts_with('/') {
        return None;
    }
    let controllers = controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Some((controllers, PathBuf::from(cgroup)))
}

/// A mount of a cgroup file system.
struct Mount {
    version: Version,
    point: PathBuf,
    root: PathBuf,
    device: (u32, u32),
    options: Vec<String>,
}

impl Mount {
    /// `36 35 0:33 /root /mount/point rw,relatime shared:1 - cgroup cgroup rw,memory`
    fn parse(line: &str) -> Option<Mount> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(2);
        let (major, minor) = front.next()?.split_once(':')?;
        let device = (major.parse().ok()?, minor.parse().ok()?);
        let (root, point) = (unescape(front.next()?), unescape(front.next()?));
        let mut back = back.split(' ');
        let version = match back.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options = back.nth(1)?.split(',').map(str::to_owned).collect();
        Some(Mount { version, point, root, device, options })
    }

    fn has(&self, controller: &str) -> bool {
        self.options.iter().any(|option| option == controller)
    }
}

/// Undoes the octal escapes of a path in mountinfo (`\040` is a space).
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|octal| std::str::from_utf8(octal).ok());
        match digits.and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(mountinfo: &str, own: &str) -> Vec<(String, String, String)> {
        let text = |path: PathBuf| path.display().to_string();
        let layout = Layout::parse(mountinfo, own, |_, _| true);
        let line =
            |found: Mounted| (found.controllers.join(","), text(found.mount.clone()), text(found.own_directory()));
        layout.0.into_iter().map(line).collect()
    }

    fn expect(controllers: &str, mount: &str, own: &str) -> (String, String, String) {
        (controllers.to_owned(), mount.to_owned(), own.to_owned())
    }

    #[test]
    fn a_v2_host_has_one_hierarchy() {
        let found = parse(
            "25 22 0:22 / /sys rw - sysfs sysfs rw\n\
             30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
            "0::/user.slice/user-1000.slice/session-3.scope\n",
        );
        let own = "/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope";
        assert_eq!(found, [expect("", "/sys/fs/cgroup", own)]);
    }

    #[test]
    fn a_hybrid_host_has_its_v2_tree_last() {
        let found = parse(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            "0::/\n2:name=systemd:/init.scope\n1:memory:/own\n",
        );
        assert_eq!(
            found,
            [
                expect("name=systemd", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/systemd/init.scope"),
                expect("memory", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/own"),
                expect("", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified"),
            ]
        );
    }

    #[test]
    fn controllers_that_are_mounted_together_are_one_hierarchy() {
        let found = parse(
            "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
            "4:cpu,cpuacct:/a\n3:pids:/a\n",
        );
        assert_eq!(found, [expect("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/a")]);
    }

    #[test]
    fn in_a_container_without_a_cgroup_namespace_paths_are_taken_below_the_mounts_root() {
        let found = parse(
            "700 690 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            "5:memory:/docker/abc/inner\n",
        );
        assert_eq!(found, [expect("memory", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/inner")]);
    }

    #[test]
    fn in_a_cgroup_namespace_a_mount_from_above_it_is_the_last_choice() {
        let outer = "700 690 0:26 /../.. /mnt/outer rw - cgroup2 cgroup rw\n";
        let inner = "701 690 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(parse(&format!("{outer}{inner}"), "0::/\n"), [expect("", "/sys/fs/cgroup", "/sys/fs/cgroup")]);
        assert_eq!(parse(outer, "0::/\n"), [expect("", "/mnt/outer", "/mnt/outer")]);
    }

    #[test]
    fn a_mount_that_is_hidden_does_not_count() {
        let mountinfo = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                         90 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let layout = Layout::parse(mountinfo, "1:cpu:/\n0::/\n", |mount, _| mount == Path::new("/sys/fs/cgroup"));
        assert_eq!(layout.0.len(), 1);
        assert_eq!(layout.0[0].version, Version::V2);
    }

    #[test]
    fn spaces_and_colons_in_paths_are_kept() {
        assert_eq!(unescape("/a\\040b\\134c\\01"), Path::new("/a b\\c\\01"));
        let (controllers, path) = parse_membership("1:name=systemd:/a:b (deleted)").unwrap();
        assert_eq!((controllers, path), (vec!["name=systemd".to_owned()], PathBuf::from("/a:b")));
        assert_eq!(parse_membership("nonsense"), None);
    }
}
