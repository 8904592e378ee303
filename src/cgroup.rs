//! Control groups: v2, v1, hybrid, or none at all (rootless without delegation).
//!
//! A `Cgroup` is a directory in every hierarchy of the host. It is a plain value that says where they are: the verb that
//! creates a container plans it, stores it in the state, and every later verb works on what it finds there.
//!
//! On a hybrid host the container has its directory in the v2 tree beside the v1 controllers, even where the v2 tree has
//! none: being born there is free (`CLONE_INTO_CGROUP`), and the v2 core freezes and kills better than v1 can.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use serde::{Deserialize, Serialize};

mod device_filter;
mod devices;
mod directory;
mod layout;
mod limits;
mod members;
mod oom;
mod stats;
mod survey;
mod systemd;
mod v1;
mod v2;

pub use devices::DeviceRules;
use directory::{Directory, is_gone};
pub use layout::Version;
use layout::{Layout, Mounted};
pub use oom::OomWatch;
pub use stats::{Interface, Stats};
pub use survey::{Mode, Survey, survey};
use systemd::Unit;
pub use systemd::{Driver, Scope};

/// How long a freeze, a kill and a removal may take before they are errors.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long `kill` waits for a v1 cgroup to freeze, and for those it killed to exit, before its next round.
const ROUND: Duration = Duration::from_millis(100);

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

    fn plan_in(
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

    fn of_unit(layout: &Layout, unit: Unit, cgroup: &Path) -> Result<Cgroup> {
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

    /// The container stays in the cgroup of its caller.
    pub fn none() -> Cgroup {
        Cgroup::default()
    }

    pub fn is_none(&self) -> bool {
        self.hierarchies.is_empty()
    }

    /// Makes the directory in every hierarchy, or in none. One that exists must be empty and not frozen.
    pub fn create(&self) -> Result<()> {
        let mut made = Made::default();
        for hierarchy in self.owned() {
            match hierarchy.version {
                Version::V1 => v1::make(hierarchy, &mut made)?,
                Version::V2 => v2::make(hierarchy, &mut made, Members::Refused)?,
            }
        }
        made.keep();
        Ok(())
    }

    /// What systemd is to make of the container; None where it is not the driver. All that can be refused is refused here.
    pub fn scope(
        &self,
        id: &str,
        annotations: &HashMap<String, String>,
        resources: &LinuxResources,
    ) -> Result<Option<Scope>> {
        if self.unit.is_none() {
            return Ok(None);
        }
        for hierarchy in self.owned().filter(|hierarchy| hierarchy.path.exists()) {
            hierarchy.refuse_used()?;
        }
        let placed = self.placed(resources, &|_| None)?;
        let limits = systemd::of_settings(placed.iter().map(|(_, setting)| setting))?;
        Scope::new(id, annotations, limits).map(Some)
    }

    /// Has systemd make the scope with a process in it, and passes on the controllers that it does not know. The
    /// limits are still to be set.
    pub fn start(&self, scope: &Scope, pid: Pid) -> Result<()> {
        let (Some(unit), Some(tracking)) = (&self.unit, self.tracking()) else { return Ok(()) };
        let hierarchy = &self.hierarchies[tracking];
        let cgroup = hierarchy.path.strip_prefix(&hierarchy.mount).unwrap_or(&hierarchy.path);
        unit.start(scope, pid, &hierarchy.root.join(cgroup))?;
        let mut made = Made::default();
        v2::make(hierarchy, &mut made, Members::AreFine)?;
        made.keep();
        Ok(())
    }

    /// Sets limits of a container that exists.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        if let Some(unit) = &self.unit {
            let placed = self.placed(resources, &|file| self.current(file))?;
            unit.set(&systemd::of_settings(placed.iter().map(|(_, setting)| setting))?)?;
        }
        self.set(resources)
    }

    /// What a file says now; `None` where there is no such file.
    fn current(&self, file: &str) -> Option<String> {
        let controller = file.split_once('.')?.0;
        let directory = Directory::open(&self.of_controller(controller)?.path).ok()?;
        directory.read(file).ok()
    }

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
        for (hierarchy, setting) in self.placed(resources, &|file| self.current(file))? {
            let Some(hierarchy) = hierarchy else { bail!("{setting}: {}", self.why_no_controller(&setting)) };
            let directory = Directory::open(&hierarchy.path)
                .with_context(|| format!("{setting}: open {}", hierarchy.path.display()))?;
            match directory.write(&setting.file, &setting.value) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => match setting.if_missing {
                    limits::IfMissing::Skip => {}
                    limits::IfMissing::Fail => bail!("{setting}: {}", hierarchy.why_missing(&setting)),
                },
                Err(error) => {
                    let hint = hint(&directory, &setting, &error);
                    return Err(error).with_context(|| format!("{setting} in {}{hint}", hierarchy.path.display()));
                }
            }
        }
        Ok(())
    }

    /// Each setting with the hierarchy that has its controller, in the form which that hierarchy understands.
    fn placed(
        &self,
        resources: &LinuxResources,
        current: limits::Current,
    ) -> Result<Vec<(Option<&Hierarchy>, limits::Setting)>> {
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
            return "the container has no cgroup: none can be written (rootless without delegation)".to_owned();
        }
        let known = fs::read_to_string("/proc/cgroups").unwrap_or_default();
        v1::why_no_controller(&setting.controller, &known)
    }

    /// Sets the device rules of `linux.resources.devices`: all denied, the rules in order, then the devices that every
    /// container has. To be called once, before the container's first process, by one that may: on v2 the rules are a
    /// program in the kernel, which takes rights in the initial user namespace.
    pub fn set_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<DeviceRules> {
        let v1 = self.of_controller("devices").filter(|found| found.version == Version::V1);
        let Some(hierarchy) = v1.or(self.v2()) else { return Ok(DeviceRules::NotEnforced) };
        let directory =
            Directory::open(&hierarchy.path).with_context(|| format!("open {}", hierarchy.path.display()))?;
        match hierarchy.version {
            Version::V1 => devices::apply(&directory, rules)?,
            Version::V2 => device_filter::attach(&directory, rules)?,
        }
        Ok(DeviceRules::Enforced)
    }

    /// Replaces the device rules of a container that runs, so that what the old and the new ones allow is never denied.
    pub fn change_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<DeviceRules> {
        let v1 = self.of_controller("devices").filter(|found| found.version == Version::V1);
        let Some(hierarchy) = v1.or(self.v2()) else { return Ok(DeviceRules::NotEnforced) };
        let directory =
            Directory::open(&hierarchy.path).with_context(|| format!("open {}", hierarchy.path.display()))?;
        match hierarchy.version {
            Version::V2 => device_filter::replace(&directory, rules)?,
            Version::V1 => match device_filter::difference(&directory, rules)? {
                Some(writes) => devices::write_all(&directory, &writes)?,
                // All is denied for a moment: nobody is to notice.
                None => self.while_frozen(|| devices::apply(&directory, rules))?,
            },
        }
        Ok(DeviceRules::Enforced)
    }

    fn while_frozen(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.is_frozen()? {
            return act();
        }
        self.freeze()?;
        let done = act();
        self.thaw()?;
        done
    }

    /// Gives the v2 cgroup to a user: the directory, and the files that the kernel says are for who manages what is below
    /// (`/sys/kernel/cgroup/delegate`, Linux 4.15). v1 has no safe way to do that.
    pub fn delegate(&self, owner: u32) -> Result<()> {
        let Some(hierarchy) = self.v2() else { return Ok(()) };
        let files = fs::read_to_string("/sys/kernel/cgroup/delegate");
        let files = files.unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned());
        let context = || format!("give {} to user {owner}", hierarchy.path.display());
        let directory = Directory::open(&hierarchy.path).with_context(context)?;
        for file in ["."].into_iter().chain(files.lines()) {
            match directory.give(file, owner) {
                // Not every cgroup has each of them.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                given => given.with_context(|| format!("{}: {file}", context()))?,
            }
        }
        Ok(())
    }

    /// The v2 directory to be born in (`CLONE_INTO_CGROUP`), where there is one.
    pub fn clone_into(&self) -> Result<Option<OwnedFd>> {
        let Some(hierarchy) = self.v2() else { return Ok(None) };
        let directory = match Directory::open(&hierarchy.path) {
            // systemd makes it for a process that is there already.
            Err(error) if is_gone(&error) && self.unit.is_some() => return Ok(None),
            opened => opened.with_context(|| format!("open {}", hierarchy.path.display()))?,
        };
        Ok(Some(directory.into_fd()))
    }

    /// Moves a process into every hierarchy, but for the v2 one when it was born there. A process that moves itself
    /// can give pid 0.
    pub fn enter(&self, pid: Pid, cloned_into: bool) -> Result<()> {
        for hierarchy in &self.hierarchies {
            if cloned_into && hierarchy.version == Version::V2 {
                continue;
            }
            let file = hierarchy.path.join("cgroup.procs");
            let moved = Directory::open(&hierarchy.path)
                .and_then(|directory| directory.write("cgroup.procs", &pid.to_string()));
            match (moved, &self.unit) {
                (Err(error), Some(unit)) if is_denied(&error) && pid.as_raw() != 0 => unit.attach(pid)?,
                (moved, _) => moved.with_context(|| format!("write process {pid} to {}", file.display()))?,
            }
        }
        Ok(())
    }

    /// The cgroup to join where the container has enabled controllers in its own, so that the kernel refuses processes in
    /// it (EBUSY): the one below it that its PID 1 is in (X-E01).
    pub fn join_as(&self, init: Pid) -> Result<Cgroup> {
        let file = format!("/proc/{init}/cgroup");
        let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        Ok(self.joined_as(&text))
    }

    fn joined_as(&self, memberships: &str) -> Cgroup {
        let memberships: Vec<_> = memberships.lines().filter_map(layout::parse_membership).collect();
        let mut joined = self.clone();
        for hierarchy in joined.hierarchies.iter_mut() {
            hierarchy.owned = false;
            if hierarchy.version == Version::V1 {
                continue;
            }
            let of_init = memberships.iter().find(|(controllers, _)| *controllers == hierarchy.controllers);
            let directory =
                of_init.and_then(|(_, cgroup)| layout::directory_below(&hierarchy.mount, &hierarchy.root, cgroup));
            // Elsewhere than below the container's own cgroup it is none of ours to join.
            if let Some(directory) = directory.filter(|found| found.starts_with(&hierarchy.path)) {
                hierarchy.path = directory;
            }
        }
        joined
    }

    /// Cgroups below this one that exist, for a process to join: of the named controllers, or of all (no names). What is not
    /// named stays as it is.
    ///
    /// In a cgroup file system nobody can make links, so a path without `..` leads nowhere else.
    pub fn below(&self, places: &[(Vec<&str>, &Path)]) -> Result<Cgroup> {
        ensure!(!self.is_none(), "the container has no cgroup: none can be written (rootless without delegation)");
        let mut joined = self.clone();
        joined.hierarchies.iter_mut().for_each(|hierarchy| hierarchy.owned = false);
        let v1 = self.hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V1);
        for (controllers, path) in places {
            let text = path.to_string_lossy();
            let beyond = path.components().any(|part| part == Component::ParentDir);
            ensure!(!beyond, "{text} is not a sub cgroup path: it leads out of the container's cgroup");
            let path = path.strip_prefix("/").unwrap_or(path);
            for name in controllers {
                ensure!(
                    joined.hierarchies.iter().any(|hierarchy| hierarchy.has(name)),
                    "unknown controller {name:?} in --cgroup: {}",
                    self.controllers_for_join()
                );
            }
            for hierarchy in &mut joined.hierarchies {
                let named = controllers.iter().any(|name| hierarchy.has(name));
                // Beside v1 hierarchies the v2 tree is followed only where the container has made the same there.
                let optional = v1 && hierarchy.version == Version::V2;
                let target = hierarchy.path.join(path);
                if named || controllers.is_empty() && (!optional || target.is_dir()) {
                    ensure!(target.is_dir(), "cgroup {}: No such file or directory", target.display());
                    hierarchy.path = target;
                }
            }
        }
        Ok(joined)
    }

    fn controllers_for_join(&self) -> String {
        let names: Vec<&str> =
            self.hierarchies.iter().flat_map(|found| &found.controllers).map(String::as_str).collect();
        match names.is_empty() {
            true => "cgroup v2 has one tree for all, so give the path alone".to_owned(),
            false => format!("there are {}", names.join(", ")),
        }
    }

    /// A cgroup of its own, below this one, for a tree of processes that must be found again and killed (X-E15).
    ///
    /// It is a directory in one hierarchy only: the v2 tree, or else a v1 freezer. In all others its processes join
    /// this cgroup, so that they count against the container. `create` makes it and `delete` removes it.
    pub fn child(&self, name: &str) -> Result<Cgroup> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        ensure!(!name.is_empty() && name.bytes().all(legal), "invalid name of a sub-cgroup {name:?}");
        let unit = self.unit.as_ref().map(|unit| unit.child(name));
        let mut child = Cgroup { hierarchies: self.hierarchies.clone(), unit };
        let tracking = self.tracking();
        for (index, hierarchy) in child.hierarchies.iter_mut().enumerate() {
            hierarchy.owned = Some(index) == tracking;
            if hierarchy.owned {
                hierarchy.path.push(name);
            }
        }
        Ok(child)
    }

    /// The hierarchy whose membership is what counts for freezing and killing.
    fn tracking(&self) -> Option<usize> {
        let position = |test: &dyn Fn(&Hierarchy) -> bool| self.hierarchies.iter().position(test);
        position(&|hierarchy| hierarchy.version == Version::V2)
            .or_else(|| position(&|hierarchy| hierarchy.has("freezer")))
            .or_else(|| position(&|hierarchy| hierarchy.has("pids")))
            .or_else(|| position(&|_| true))
    }

    /// Stops every process of the cgroup where it is.
    pub fn freeze(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let freezer = self.freezer().context("freeze: the container's cgroup has no freezer")?;
        let directory = Directory::open(&freezer.path).with_context(|| format!("open {}", freezer.path.display()))?;
        match freezer.version {
            Version::V1 => members::freeze_v1(&directory, deadline),
            Version::V2 => members::freeze_v2(&directory, deadline),
        }
    }

    /// Lets them go on. A cgroup that is gone or was not frozen is fine.
    pub fn thaw(&self) -> Result<()> {
        for hierarchy in self.owned().filter(|hierarchy| hierarchy.can_freeze()) {
            let context = || format!("thaw {}", hierarchy.path.display());
            if let Some(directory) = Directory::open_if_there(&hierarchy.path).with_context(context)? {
                members::thaw(&directory).with_context(context)?;
            }
        }
        Ok(())
    }

    /// Whether the cgroup was asked to freeze. One that is gone is not frozen.
    pub fn is_frozen(&self) -> Result<bool> {
        for hierarchy in self.owned() {
            if hierarchy.is_frozen()? {
                return Ok(true);
            }
        }
        Ok(false)
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

    /// Kills every process in the cgroup and below it, and returns when they have exited. Whatever happens, the cgroup
    /// is not left frozen.
    pub fn kill(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        if self.members()?.is_empty() {
            return self.thaw();
        }
        let mut at_once = true;
        loop {
            let killed = if at_once { self.kill_at_once()? } else { None };
            // A v1 cgroup that is frozen does not let its processes die.
            self.thaw()?;
            if killed.is_none() && self.members()?.is_empty() {
                return Ok(());
            }
            let killed = killed.map_or_else(|| self.kill_while_frozen(), Ok)?;
            members::wait_exits(&killed, deadline.min(Instant::now() + ROUND))?;
            let members = self.members()?;
            if members.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "kill the processes of {}: still there after {} s: {}",
                    self.name(),
                    PATIENCE.as_secs(),
                    members::name(members.into_iter().map(Pid::from_raw))
                );
            }
            // Those who survived `cgroup.kill` are not in the v2 tree.
            at_once = false;
            members::tick()?;
        }
    }

    /// `cgroup.kill` (Linux 5.14), which no fork outruns. Returns those that were there just before, or `None` where
    /// there is no such file.
    fn kill_at_once(&self) -> Result<Option<BTreeSet<i32>>> {
        let Some(hierarchy) = self.v2().filter(|hierarchy| hierarchy.owned) else { return Ok(None) };
        let context = || format!("kill the processes of {}", hierarchy.path.display());
        let Some(directory) = Directory::open_if_there(&hierarchy.path).with_context(context)? else {
            return Ok(None);
        };
        let mut members = Vec::new();
        directory.processes_below(&mut members).with_context(context)?;
        match directory.write("cgroup.kill", "1") {
            Ok(()) => Ok(Some(members.into_iter().map(Pid::as_raw).collect())),
            // EOPNOTSUPP: a threaded cgroup.
            Err(error) if is_gone(&error) || error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
            Err(error) => Err(error).with_context(context),
        }
    }

    /// One round of freezing, so that nobody forks meanwhile, killing and thawing. Returns those it has killed.
    fn kill_while_frozen(&self) -> Result<BTreeSet<i32>> {
        // Those whom `cgroup.kill` did not reach are held by the v1 freezer, where there is one.
        let v1 = self.owned().find(|hierarchy| hierarchy.has("freezer"));
        if let Some(freezer) = v1.or_else(|| self.freezer())
            && let Some(directory) =
                Directory::open_if_there(&freezer.path).with_context(|| format!("open {}", freezer.path.display()))?
        {
            let until = Instant::now() + ROUND;
            // One that does not freeze (a process in uninterruptible sleep) is killed as it is; the next round gets the rest.
            let _ = match freezer.version {
                Version::V1 => members::freeze_v1(&directory, until),
                Version::V2 => members::freeze_v2(&directory, until),
            };
        }
        let killed = self.members().and_then(|members| members::kill_each(&members).map(|()| members));
        self.thaw()?;
        killed
    }

    /// Removes the cgroup at once if it has neither processes nor cgroups below it; false if something is left of it, for
    /// `kill` and `delete` to find.
    pub fn delete_if_unused(&self) -> bool {
        if self.unit.is_some() {
            // The directory is systemd's to remove.
            return self.members().is_ok_and(|members| members.is_empty());
        }
        self.owned().all(|hierarchy| fs::remove_dir(&hierarchy.path).or_else(gone_is_fine).is_ok())
    }

    /// Removes the cgroup with all below it. One that is gone is fine; one that has processes is waited for.
    pub fn delete(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        // Without a bus the session has ended, and its scopes with it: only a cgroup that is there still needs its manager.
        if let Some(unit) = self.unit.as_ref().filter(|unit| unit.is_whole())
            && let Err(error) = unit.stop()
            && self.owned().any(|hierarchy| hierarchy.path.exists())
        {
            return Err(error);
        }
        for hierarchy in self.owned() {
            loop {
                match remove_tree(&hierarchy.path) {
                    Ok(()) => break,
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                        self.wait_until_unused(hierarchy, deadline)?;
                    }
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        let members = self.pids()?;
                        bail!(
                            "remove {}: in use after {} s by the processes: {}",
                            hierarchy.path.display(),
                            PATIENCE.as_secs(),
                            members::name(members)
                        );
                    }
                    Err(error) => {
                        return Err(error).with_context(|| format!("remove {}", hierarchy.path.display()));
                    }
                }
            }
        }
        Ok(())
    }

    fn wait_until_unused(&self, hierarchy: &Hierarchy, deadline: Instant) -> Result<()> {
        let context = || format!("open {}", hierarchy.path.display());
        let Some(directory) = Directory::open_if_there(&hierarchy.path).with_context(context)? else { return Ok(()) };
        let members = self.members()?;
        if !members.is_empty() {
            return members::wait_exits(&members, deadline);
        }
        if hierarchy.version == Version::V2 {
            members::wait_event(&directory, "populated 0", deadline)?;
        }
        members::tick()
    }

    /// How many processes of the cgroup, and of those below it, the kernel has killed for want of memory; 0 when that is
    /// unknown.
    pub fn oom_kills(&self) -> u64 {
        let Some(hierarchy) = self.of_controller("memory") else { return 0 };
        let Ok(directory) = Directory::open(&hierarchy.path) else { return 0 };
        match hierarchy.version {
            Version::V1 => v1::oom_kills(&directory),
            Version::V2 => oom_kills_in(&directory, "memory.events"),
        }
    }

    /// The cgroup's directories on the host.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.hierarchies.iter().map(|hierarchy| hierarchy.path.clone()).collect()
    }

    /// What a mount of type `cgroup` in the container shows.
    pub fn mounts_for_container(&self) -> Vec<CgroupMount> {
        let alone = self.hierarchies.len() == 1;
        self.hierarchies.iter().map(|hierarchy| hierarchy.mount_for_container(alone)).collect()
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

    /// The v2 freezer if there is one: it says when it is done, and its frozen processes can be killed.
    fn freezer(&self) -> Option<&Hierarchy> {
        let v2 = self.owned().find(|hierarchy| hierarchy.version == Version::V2 && hierarchy.can_freeze());
        v2.or_else(|| self.owned().find(|hierarchy| hierarchy.has("freezer")))
    }

    /// The directory that stands for the whole in messages.
    fn name(&self) -> String {
        let tracking = self.tracking().map(|index| &self.hierarchies[index]);
        tracking.map_or("no cgroup".to_owned(), |hierarchy| hierarchy.path.display().to_string())
    }
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

impl Hierarchy {
    /// Why a file of a controller that it has is not there.
    fn why_missing(&self, setting: &limits::Setting) -> String {
        match self.version {
            _ if setting.controller == "hugetlb" => {
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

    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// Since Linux 5.2 every v2 cgroup has a freezer.
    fn can_freeze(&self) -> bool {
        self.version == Version::V2 || self.has("freezer")
    }

    fn is_frozen(&self) -> Result<bool> {
        let (file, thawed) = match self.version {
            Version::V2 => ("cgroup.freeze", "0"),
            Version::V1 if self.has("freezer") => ("freezer.state", "THAWED"),
            Version::V1 => return Ok(false),
        };
        let state = Directory::open(&self.path).and_then(|directory| directory.read(file));
        match state {
            Ok(state) => Ok(state.trim() != thawed),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("read {}", self.path.join(file).display())),
        }
    }

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

    /// The directories from the top of the mount to the cgroup's own, without the top itself.
    fn steps(&self) -> Vec<PathBuf> {
        let mut steps: Vec<PathBuf> =
            self.path.ancestors().take_while(|step| *step != self.mount).map(Path::to_owned).collect();
        steps.reverse();
        steps
    }

    /// A directory that exists already may be taken when nobody is in it and it would not freeze who comes.
    fn refuse_used(&self) -> Result<()> {
        let directory = Directory::open(&self.path).with_context(|| format!("open {}", self.path.display()))?;
        let mut found = Vec::new();
        directory.processes_below(&mut found).with_context(|| format!("read {}", self.path.display()))?;
        ensure!(
            found.is_empty(),
            "cgroup {} is in use by the processes: {}",
            self.path.display(),
            members::name(found)
        );
        ensure!(
            !self.is_frozen()?,
            "cgroup {} is frozen: thaw it, or use another linux.cgroupsPath",
            self.path.display()
        );
        Ok(())
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

/// What to do with a cgroup that has processes already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Members {
    Refused,
    /// They are the container's: systemd has put them there.
    AreFine,
}

/// The directories that a `create` has made, removed again unless they are kept.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a directory; false when it was there.
    fn make(&mut self, path: &Path) -> Result<bool> {
        match fs::create_dir(path) {
            Ok(()) => {
                self.0.push(path.to_owned());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error).with_context(|| format!("make cgroup {}", path.display())),
        }
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            let _ = fs::remove_dir(path); // the error that is being returned is why we are here
        }
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

fn is_denied(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

/// The line `oom_kill N` of a file.
fn oom_kills_in(directory: &Directory, file: &str) -> u64 {
    kills(&directory.read(file).unwrap_or_default())
}

fn kills(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Removes a cgroup directory with all below it, lowest first.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        // Most cgroups have none below, so that is tried first.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        Err(error) if !is_gone(&error) => return Err(error),
        _ => return Ok(()),
    }
    let Some(directory) = Directory::open_if_there(path)? else { return Ok(()) };
    remove_below(&directory)?;
    fs::remove_dir(path).or_else(gone_is_fine)
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    if is_gone(&error) { Ok(()) } else { Err(error) }
}

fn remove_below(directory: &Directory) -> io::Result<()> {
    for name in directory.children()? {
        if let Some(child) = directory.child(&name)? {
            remove_below(&child)?;
            match directory.remove_child(&name) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
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

    #[test]
    fn x_e01_pid_1_in_a_sub_cgroup_is_followed_there_and_nowhere_else() {
        let joined = |memberships: &str| {
            let layout = Layout::parse("41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n", "0::/\n", |_, _| true);
            let cgroup = Cgroup::plan_in(&layout, Some(Path::new("/c")), "id", |_| true).unwrap();
            cgroup.joined_as(memberships).paths()
        };
        assert_eq!(joined("0::/c/init.scope\n"), [PathBuf::from("/cg/c/init.scope")]);
        assert_eq!(joined("0::/c\n"), [PathBuf::from("/cg/c")]);
        assert_eq!(joined("0::/elsewhere\n"), [PathBuf::from("/cg/c")]);
        assert_eq!(joined("0::/../x\n"), [PathBuf::from("/cg/c")]);
    }

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

    #[test]
    fn a_scope_that_went_with_its_session_needs_no_bus_to_be_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let bus = dir.path().join("bus");
        let unit = serde_json::json!({ "name": "c.scope", "slice": "a.slice", "bus": bus, "user": true });
        let mountinfo = format!("41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n", dir.path().display());
        let layout = Layout::parse(&mountinfo, "0::/\n", |_, _| true);
        let unit = serde_json::from_value(unit).unwrap();
        let cgroup = Cgroup::of_unit(&layout, unit, Path::new("/a.slice/c.scope")).unwrap();
        cgroup.delete().unwrap();
        fs::create_dir_all(dir.path().join("a.slice/c.scope")).unwrap();
        let error = format!("{:#}", cgroup.delete().unwrap_err());
        assert!(error.contains("loginctl enable-linger"), "{error}");
    }

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
