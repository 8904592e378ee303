//! The limits of `linux.resources`, set where the host has their controllers.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::LinuxResources;

use super::directory::Directory;
use super::{Cgroup, Hierarchy, Version, limits, systemd, v1, v2};

/// A setting and the hierarchy that has its controller.
pub(super) type Placed<'a> = (Option<&'a Hierarchy>, limits::Setting);

impl Cgroup {
    /// Refuses limits that the container's cgroup could never have, before there is anything.
    pub fn check(&self, resources: &LinuxResources) -> Result<()> {
        for (hierarchy, setting) in self.placed(resources, &|_| None)? {
            let Some(hierarchy) = hierarchy else { bail!("{setting}: {}", self.why_no_controller(&setting)) };
            if hierarchy.version == Version::V2 && setting.if_missing == limits::IfMissing::Fail {
                v2::check_controller(hierarchy, &setting.controller).with_context(|| setting.to_string())?;
            }
        }
        Ok(())
    }

    /// Sets the limits of `linux.resources`, all but device rules (`set_devices`).
    pub fn set(&self, resources: &LinuxResources) -> Result<()> {
        self.placed(resources, &|file| self.current(file))?.iter().try_for_each(|placed| self.write(placed))
    }

    /// Sets limits of a container that exists: all of them, or none.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        let placed = self.placed(resources, &|file| self.current(file))?;
        // Backwards, the kernel accepts each step that it accepted forwards.
        let before: Vec<Placed> = placed.iter().rev().filter_map(before).collect();
        self.tell_systemd(&placed)?;
        placed.iter().try_for_each(|placed| self.write(placed)).inspect_err(|_| {
            // The first error is what is told; what it left is put back as far as it goes.
            let _ = self.tell_systemd(&before);
            before.iter().for_each(|placed| drop(self.write(placed)));
        })
    }

    fn tell_systemd(&self, placed: &[Placed]) -> Result<()> {
        match &self.unit {
            Some(unit) => unit.set(&systemd::of_settings(placed.iter().map(|(_, setting)| setting))?),
            None => Ok(()),
        }
    }

    fn write(&self, (hierarchy, setting): &Placed) -> Result<()> {
        let Some(hierarchy) = hierarchy else { bail!("{setting}: {}", self.why_no_controller(setting)) };
        let directory = Directory::open(&hierarchy.path)
            .with_context(|| format!("{setting}: open {}", hierarchy.path.display()))?;
        match directory.write(&setting.file, &setting.value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match setting.if_missing {
                limits::IfMissing::Skip => Ok(()),
                limits::IfMissing::Fail => bail!("{setting}: {}", hierarchy.why_missing(setting)),
            },
            Err(error) => {
                let hint = hint(&directory, setting, &error);
                Err(error).with_context(|| format!("{setting} in {}{hint}", hierarchy.path.display()))
            }
            Ok(()) => Ok(()),
        }
    }

    /// What a file says now; `None` where there is no such file.
    fn current(&self, file: &str) -> Option<String> {
        let controller = file.split_once('.')?.0;
        let directory = Directory::open(&self.of_controller(controller)?.path).ok()?;
        directory.read(file).ok()
    }

    /// Each setting with the hierarchy that has its controller, in the form which that hierarchy understands.
    pub(super) fn placed(&self, resources: &LinuxResources, current: limits::Current) -> Result<Vec<Placed<'_>>> {
        let v1 = self.hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V1);
        let v2 = self.v2();
        let in_v1 = |controller: &str| self.of_controller(controller).filter(|found| found.version == Version::V1);
        let v2_controllers = v2.map(v2::controllers).unwrap_or_default();
        // Alone, the v2 tree has to have everything; beside v1 hierarchies it has some controllers, mostly none.
        let in_v2 = |controller: &str| match controller {
            _ if !v1 => true,
            "blkio" => v2_controllers.iter().any(|found| found == "io"),
            "cgroup" => true,
            _ => v2_controllers.iter().any(|found| found == controller),
        };
        if (v1 || v2.is_none()) && !resources.unified().as_ref().is_none_or(HashMap::is_empty) {
            self.check_unified(resources, in_v2)?;
        }

        let mut placed = Vec::new();
        let mut refused = Vec::new();
        if v1 || v2.is_none() {
            let limits = limits::limits(Version::V1, resources, current)?;
            refused.extend(limits.refused.into_iter().filter(|refusal| !in_v2(&refusal.controller)));
            for setting in limits.settings {
                let found = in_v1(&setting.controller);
                if found.is_some() || v2.is_none() || !in_v2(&setting.controller) {
                    placed.push((found, setting));
                }
            }
        }
        if let Some(hierarchy) = v2 {
            let limits = limits::limits(Version::V2, resources, current)?;
            refused.extend(limits.refused.into_iter().filter(|refusal| in_v2(&refusal.controller)));
            let settings = limits.settings.into_iter().filter(|setting| in_v2(&setting.controller));
            placed.extend(settings.map(|setting| (Some(hierarchy), setting)));
        }
        match refused.first() {
            Some(refusal) => bail!("{}", refusal.text),
            None => Ok(placed),
        }
    }

    /// runtime-spec: an error where the controller of a key is not one of cgroup v2.
    fn check_unified(&self, resources: &LinuxResources, in_v2: impl Fn(&str) -> bool) -> Result<()> {
        for file in resources.unified().iter().flatten().map(|(file, _)| file) {
            limits::check_unified(file)?;
            let controller = file.split_once('.').map_or(file.as_str(), |(controller, _)| controller);
            ensure!(
                self.v2().is_some() && in_v2(controller),
                "linux.resources.unified has {file:?}: it is for cgroup v2, and this host has the {controller} controller \
                 on v1 or not at all; use the other fields of linux.resources"
            );
        }
        Ok(())
    }

    fn why_no_controller(&self, setting: &limits::Setting) -> String {
        if self.is_none() {
            return "the container has no cgroup, as the user may make none; remove the limit, or have a cgroup delegated \
                    (`bookend doctor` says how)"
                .to_owned();
        }
        let known = fs::read_to_string("/proc/cgroups").unwrap_or_default();
        v1::why_no_controller(&setting.controller, &known)
    }
}

impl Hierarchy {
    /// Why a file of a controller that it has is not there.
    fn why_missing(&self, setting: &limits::Setting) -> String {
        match self.version {
            _ if setting.controller == "hugetlb" && self.has_hugetlb() => {
                let pages = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
                let mut sizes: Vec<_> =
                    pages.map(|size| size.file_name().to_string_lossy().replace("hugepages-", "")).collect();
                sizes.sort();
                format!("this machine has no pages of that size, but of {}", sizes.join(", "))
            }
            Version::V1 => format!("{} has no {}: this kernel lacks it", self.path.display(), setting.file),
            Version::V2 => v2::why_missing(self, &setting.controller, &setting.file),
        }
    }

    /// Whether hugetlb is here; a v2 cgroup may not have been given it.
    fn has_hugetlb(&self) -> bool {
        self.version == Version::V1 || v2::controllers(self).iter().any(|found| found == "hugetlb")
    }
}

/// The setting that puts back what a file says now; `None` where it does not say it in a form that it takes.
fn before<'a>((hierarchy, setting): &Placed<'a>) -> Option<Placed<'a>> {
    let text = Directory::open(&(*hierarchy)?.path).ok()?.read(&setting.file).ok()?;
    let value = limits::before(&setting.file, &setting.value, text.trim_end())?;
    Some((*hierarchy, limits::Setting { value, ..setting.clone() }))
}

/// What the kernel's errno does not say of a value that it refused.
fn hint(directory: &Directory, setting: &limits::Setting, error: &io::Error) -> String {
    let read = |file: &str| directory.read(file).map(|text| text.trim().to_owned()).unwrap_or_default();
    match (setting.file.as_str(), error.raw_os_error()) {
        ("memory.limit_in_bytes" | "memory.memsw.limit_in_bytes", Some(libc::EBUSY)) => {
            format!(": {} bytes are in use, and no more can be freed", read("memory.usage_in_bytes"))
        }
        ("memory.limit_in_bytes" | "memory.memsw.limit_in_bytes", Some(libc::EINVAL)) => format!(
            ": memory and swap together (memory.swap) may not have less than memory alone; their limit is {} now",
            read("memory.memsw.limit_in_bytes")
        ),
        ("cpu.rt_runtime_us", Some(libc::EINVAL)) => {
            ": every cgroup above must have as much: set its cpu.rt_runtime_us first".to_owned()
        }
        ("cpu.cfs_quota_us" | "cpu.cfs_period_us" | "cpu.max", Some(libc::EINVAL)) => {
            ": the kernel takes 1000 to 1000000 microseconds, and no larger share than a cgroup above has".to_owned()
        }
        (file @ ("cpuset.cpus" | "cpuset.mems"), Some(_)) => {
            let effective = file.replace('.', ".effective_");
            let above = Directory::open(directory.path.parent().unwrap_or(Path::new("/")));
            let above =
                above.and_then(|above| above.read(&format!("{file}.effective")).or_else(|_| above.read(&effective)));
            above.map_or_else(|_| String::new(), |list| format!(": the cgroup above has {}", list.trim()))
        }
        (_, Some(libc::ENODEV | libc::ENXIO)) if setting.field.contains("blockIO") => {
            ": there is no such block device (a partition has no limits of its own)".to_owned()
        }
        _ => String::new(),
    }
}
