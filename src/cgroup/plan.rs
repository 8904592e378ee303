//! Where a container's cgroup will be: decided before there is anything.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::layout::{Layout, Mounted, Version};
use super::systemd::Unit;
use super::{Cgroup, Hierarchy};

impl Cgroup {
    /// Decides where a container's cgroup will be. Nothing is made yet.
    ///
    /// `cgroups_path` is `linux.cgroupsPath`: an absolute one is below the top of each hierarchy, a relative one below our
    /// own cgroup on v1 and beside it on v2 (where a cgroup with processes cannot pass controllers on), and an absent one
    /// is like the relative `id`; so does runc. When `rootless`, hierarchies that cannot be written are left out.
    pub fn plan(cgroups_path: Option<&Path>, id: &str, rootless: bool) -> Result<Cgroup> {
        let layout = Layout::of_this_process()?;
        let cgroup = Cgroup::plan_in(&layout, cgroups_path, id, |path| !rootless || may_make_below(path))?;
        ensure!(rootless || !cgroup.is_none(), "no cgroup hierarchy is mounted: mount cgroup2 on /sys/fs/cgroup");
        Ok(cgroup)
    }

    pub(super) fn plan_in(
        layout: &Layout,
        cgroups_path: Option<&Path>,
        id: &str,
        may_make: impl Fn(&Path) -> bool,
    ) -> Result<Cgroup> {
        let below = match cgroups_path.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => checked(path)?,
            None => checked(Path::new(id))?,
        };
        let place = |mounted: &Mounted| {
            let candidates = match (below.strip_prefix("/"), mounted.version) {
                (Ok(below), _) => vec![mounted.mount.join(below)],
                (Err(_), Version::V1) => vec![mounted.own_directory().join(&below)],
                (Err(_), Version::V2) => {
                    let own = mounted.own_directory();
                    let beside = own.parent().filter(|parent| parent.starts_with(&mounted.mount));
                    // The top of a delegated tree has nothing beside it that we may write: then below us, without controllers.
                    beside.into_iter().chain([own.as_path()]).map(|parent| parent.join(&below)).collect()
                }
            };
            let path = candidates.into_iter().find(|path| may_make(path))?;
            Some(Hierarchy { path, ..mounted.into() })
        };
        Ok(Cgroup { hierarchies: layout.0.iter().filter_map(place).collect(), unit: None })
    }

    /// The same with systemd as the driver: `cgroups_path` is `slice:prefix:name`, and the place is where systemd will put
    /// the scope. It is an error if systemd cannot be asked.
    pub fn plan_unit(cgroups_path: Option<&Path>, id: &str, rootless: bool) -> Result<Cgroup> {
        let (unit, cgroup) = Unit::plan(cgroups_path, id, rootless)?;
        Cgroup::of_unit(&Layout::of_this_process()?, unit, &cgroup)
    }

    pub(super) fn of_unit(layout: &Layout, unit: Unit, cgroup: &Path) -> Result<Cgroup> {
        let place = |mounted: &Mounted| {
            let path = mounted.directory(cgroup).with_context(|| {
                format!("the cgroup of {} is outside of what is mounted at {}", unit.name, mounted.mount.display())
            })?;
            Ok(Hierarchy { path, ..mounted.into() })
        };
        let hierarchies = layout.0.iter().map(place).collect::<Result<Vec<_>>>()?;
        // On v1 systemd writes its own idea of the device rules whenever it is reloaded, and opens them all.
        ensure!(
            hierarchies.iter().all(|hierarchy| hierarchy.version == Version::V2),
            "--systemd-cgroup needs cgroup v2 alone, and this host has v1: leave the flag out, or boot with \
             systemd.unified_cgroup_hierarchy=1"
        );
        Ok(Cgroup { hierarchies, unit: Some(unit) })
    }
}

/// `linux.cgroupsPath` without anything that could lead elsewhere.
fn checked(path: &Path) -> Result<PathBuf> {
    let text = path.to_string_lossy();
    // `slice:prefix:name` is the form for systemd. No other path of an engine has two colons and no slash.
    if !text.contains('/') && text.split(':').count() == 3 {
        bail!(
            "linux.cgroupsPath {text:?} is in the form for systemd: give --systemd-cgroup in front of the verb, or a path"
        );
    }
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => bail!("linux.cgroupsPath {text:?} has \"..\" in it"),
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    ensure!(clean.file_name().is_some(), "linux.cgroupsPath {text:?} names no cgroup below the top");
    Ok(clean)
}

/// Whether a cgroup could be made at `path`: its nearest ancestor that exists can be written by us.
fn may_make_below(path: &Path) -> bool {
    use rustix::fs::{Access, access};
    let parent = path.ancestors().skip(1).find(|ancestor| ancestor.exists());
    parent.is_some_and(|parent| {
        // A process is moved by writing to a file of the parent's owner, too (cgroups(7), delegation).
        access(parent, Access::WRITE_OK).is_ok() && access(parent.join("cgroup.procs"), Access::WRITE_OK).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(path: Option<&str>, may_make: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let layout = Layout::parse(
            "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n",
            "4:memory:/a/b\n0::/a/b\n",
            |_, _| true,
        );
        Cgroup::plan_in(&layout, path.map(Path::new), "id", may_make).unwrap().paths()
    }

    #[test]
    fn an_absolute_path_is_below_the_top_and_a_relative_one_near_our_own() {
        let paths = |texts: [&str; 2]| texts.map(PathBuf::from);
        assert_eq!(plan(Some("/x/y"), |_| true), paths(["/cg/memory/x/y", "/cg/unified/x/y"]));
        assert_eq!(plan(Some("x/./y"), |_| true), paths(["/cg/memory/a/b/x/y", "/cg/unified/a/x/y"]));
        assert_eq!(plan(None, |_| true), paths(["/cg/memory/a/b/id", "/cg/unified/a/id"]));
        assert_eq!(plan(Some(""), |_| true), plan(None, |_| true));
    }

    #[test]
    fn what_cannot_be_written_is_left_out() {
        assert!(plan(None, |_| false).is_empty());
        let delegated = plan(None, |path| path.starts_with("/cg/unified/a/b"));
        assert_eq!(delegated, [PathBuf::from("/cg/unified/a/b/id")]);
    }
}
