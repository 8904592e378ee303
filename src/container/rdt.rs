//! `linux.intelRdt`: a share of caches and of memory bandwidth, by a group of the resctrl file system (config-linux.md, "IntelRdt";
//! the kernel's Documentation/filesystems/resctrl.rst).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxIntelRdt, Spec};
use serde::{Deserialize, Serialize};

use super::id::ContainerId;
use super::state::write_file;

/// How long others may hold the lock. They hold it for milliseconds, unless something is wrong with them.
const PATIENCE: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(10);

/// Its name in a state directory.
const FILE: &str = "rdt.json";

/// The group of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    dir: PathBuf,
    /// It is named after the container, and goes with it. One with a closID of its own belongs to whoever chose that.
    own: bool,
    /// The container's monitoring group, below the other.
    monitoring: Option<PathBuf>,
    /// What it must have where it is there already (`l3CacheSchema`, `memBwSchema`), a line each.
    #[serde(skip)]
    limits: Vec<String>,
    /// The lines of `schemata`, which come after those and are not compared.
    #[serde(skip)]
    schemata: Vec<String>,
    /// Nobody else had made it before us.
    #[serde(skip)]
    made: bool,
    /// The same of the monitoring group.
    #[serde(skip)]
    monitoring_made: bool,
}

impl Group {
    /// What a configuration asks for, checked as far as it can be before anything is made.
    pub fn of(config: &Spec, id: &ContainerId) -> Result<Option<Group>> {
        let Some(rdt) = config.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref()) else { return Ok(None) };
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let Some(root) = mount_point(&mounts) else {
            bail!(
                "linux.intelRdt: no resctrl file system is mounted; mount it (mount -t resctrl resctrl /sys/fs/resctrl, on a \
                 processor that has it), or remove it"
            );
        };
        Group::below(&root, rdt, id).map(Some)
    }

    fn below(root: &Path, rdt: &LinuxIntelRdt, id: &ContainerId) -> Result<Group> {
        let chosen = rdt.clos_id().as_deref().filter(|name| !name.is_empty());
        let dir = match chosen {
            // The group that everything is in which is in no other.
            Some("/") => root.to_owned(),
            name => root.join(name.unwrap_or(id.as_str())),
        };
        let (limits, schemata) = lines(rdt);
        let asks = !limits.is_empty() || !schemata.is_empty();
        match (fs::read_to_string(dir.join("schemata")), chosen) {
            (Ok(there), Some(name)) => check_same(&there, &limits, name)?,
            (Ok(_), None) => bail!(is_anothers(&dir)),
            (Err(_), None) if ["info", "mon_data", "mon_groups"].contains(&id.as_str()) => {
                bail!("linux.intelRdt: a group cannot be called {id}; choose another id for the container")
            }
            (Err(error), Some(name)) if !asks && error.kind() == io::ErrorKind::NotFound => bail!(
                "linux.intelRdt.closID: there is no group {name:?} in {}; make it, or say with schemata what it shall be",
                root.display()
            ),
            (Err(error), _) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("linux.intelRdt: read {}/schemata", dir.display()));
            }
            _ => {}
        }
        let monitoring = rdt.enable_monitoring().unwrap_or(false);
        let monitoring = monitoring.then(|| dir.join("mon_groups").join(id.as_str()));
        Ok(Group { dir, own: chosen.is_none(), monitoring, limits, schemata, made: false, monitoring_made: false })
    }

    /// Writes down what `delete` has to remove. Before it is made (R1).
    pub fn save(&self, dir: &Path) -> Result<()> {
        write_file(&dir.join(FILE), &serde_json::to_vec(self)?)
    }

    pub fn load(dir: &Path) -> Result<Option<Group>> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("parse {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Makes the group unless it is there, and puts a process in it. All of that under the lock, so that of two containers which are
    /// created at once one makes the group, and neither takes it from under the other.
    pub fn found(&mut self, pid: Pid) -> Result<()> {
        let _lock = self.lock()?;
        self.made = make_directory(&self.dir)?;
        match self.made {
            true => {}
            // Both were looked at before, but not under the lock.
            false if self.own => bail!(is_anothers(&self.dir)),
            false => {
                let path = self.dir.join("schemata");
                let there = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                check_same(&there, &self.limits, &self.name())?;
            }
        }
        self.write_schemata()?;
        self.monitoring_made = self.monitoring.as_deref().map_or(Ok(false), make_directory)?;
        self.admit(pid)
    }

    /// Gives a group that is there other shares.
    pub fn change(&mut self, rdt: &LinuxIntelRdt) -> Result<()> {
        (self.limits, self.schemata) = lines(rdt);
        let _lock = self.lock()?;
        self.write_schemata()
    }

    fn write_schemata(&self) -> Result<()> {
        let lines = [self.limits.as_slice(), &self.schemata].concat();
        if lines.is_empty() {
            return Ok(());
        }
        let path = self.dir.join("schemata");
        // In one write: the kernel takes the lines in their order.
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        fs::write(&path, &text).with_context(|| {
            format!("linux.intelRdt: write {:?} to {}{}", lines.join("; "), path.display(), self.why())
        })
    }

    /// Where resctrl is mounted.
    fn root(&self) -> &Path {
        match self.dir.parent() {
            Some(parent) if !self.dir.join("info").is_dir() => parent,
            // It is the group of everything that is in no other.
            _ => &self.dir,
        }
    }

    /// The lock by which those that use resctrl agree (resctrl.rst, "Locking between applications"). Everybody who can read the
    /// directory can hold it for ever, and nothing tells that it is free and ends by a signal or in time: it is asked for again.
    fn lock(&self) -> Result<Flock<File>> {
        let root = self.root();
        let mut file = File::open(root).with_context(|| format!("linux.intelRdt: open {}", root.display()))?;
        let begun = Instant::now();
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((back, Errno::EWOULDBLOCK)) if begun.elapsed() < PATIENCE => file = back,
                Err((_, Errno::EWOULDBLOCK)) => bail!(
                    "linux.intelRdt: another program has had {0} locked for {1}s: end it (fuser {0})",
                    root.display(),
                    PATIENCE.as_secs()
                ),
                Err((_, errno)) => {
                    return Err(anyhow!(errno).context(format!("linux.intelRdt: lock {}", root.display())));
                }
            }
            thread::sleep(TICK);
        }
    }

    fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What the kernel says of its last refusal; only text, for the message.
    fn why(&self) -> String {
        let said = fs::read_to_string(self.root().join("info/last_cmd_status")).unwrap_or_default();
        match said.trim() {
            "" | "ok" => String::new(),
            said => format!(" ({})", said.escape_debug()),
        }
    }

    /// Puts a process in it; its children are born there.
    pub fn admit(&self, pid: Pid) -> Result<()> {
        for dir in [Some(&self.dir), self.monitoring.as_ref()].into_iter().flatten() {
            let tasks = dir.join("tasks");
            fs::write(&tasks, pid.to_string())
                .with_context(|| format!("linux.intelRdt: write pid {pid} to {}", tasks.display()))?;
        }
        Ok(())
    }

    /// Removes what was made for the container alone.
    pub fn remove(&self) -> Result<()> {
        for dir in [self.monitoring.as_ref(), self.own.then_some(&self.dir)].into_iter().flatten() {
            remove_directory(dir)?;
        }
        Ok(())
    }

    /// Removes what a `create` that failed has made: a group with a closID too, unless others are in it by now, whom the kernel would
    /// put back with everybody else.
    pub fn undo(&self) -> Result<()> {
        if !self.made && !self.monitoring_made {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.monitoring.as_deref().filter(|_| self.monitoring_made).map_or(Ok(()), remove_directory)?;
        if !self.made || !self.is_empty() {
            return Ok(());
        }
        remove_directory(&self.dir)
    }

    fn is_empty(&self) -> bool {
        fs::read_to_string(self.dir.join("tasks")).map_or(true, |tasks| tasks.trim().is_empty())
    }
}

fn is_anothers(dir: &Path) -> String {
    // `delete` would remove it.
    format!(
        "linux.intelRdt: {} is there already and not this container's; name it as closID to share it, or choose another id for the \
         container",
        dir.display()
    )
}

/// Whether it was not there before.
fn make_directory(dir: &Path) -> Result<bool> {
    match fs::create_dir(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
            bail!("linux.intelRdt: make {}: the processor has no more groups", dir.display())
        }
        Err(error) => Err(error).with_context(|| format!("linux.intelRdt: make {}", dir.display())),
    }
}

fn remove_directory(dir: &Path) -> Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Where resctrl is mounted, from a mountinfo (proc(5)): its field 5, where the type after the dash is resctrl.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        (filesystem.split(' ').next() == Some("resctrl")).then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The lines of the two old fields, and those of `schemata`, which come last and are not compared with what is there.
fn lines(rdt: &LinuxIntelRdt) -> (Vec<String>, Vec<String>) {
    let split = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    let cache: Vec<String> = rdt.l3_cache_schema().as_deref().map(split).unwrap_or_default();
    let bandwidth: Vec<String> = rdt.mem_bw_schema().as_deref().map(split).unwrap_or_default();
    let kept = cache.into_iter().filter(|line| bandwidth.is_empty() || !line.starts_with("MB:"));
    let limits = kept.chain(bandwidth.clone()).collect();
    let schemata = rdt.schemata().iter().flatten().flat_map(|text| split(text)).collect();
    (limits, schemata)
}

/// A group that is there already must have what is asked for: it is used by others.
fn check_same(there: &str, asked: &[String], name: &str) -> Result<()> {
    let there = parse_schemata(there.lines());
    for ((resource, domain), value) in parse_schemata(asked.iter().map(String::as_str)) {
        let found = there.get(&(resource, domain)).copied().unwrap_or("nothing");
        if found != value {
            bail!(
                "linux.intelRdt: the group {name:?} is there and has {found} for {resource}:{domain}, not {value}; choose \
                 another closID"
            );
        }
    }
    Ok(())
}

/// `L3:0=7f0;1=1f`: a value by resource and domain, as the kernel prints it, without leading zeros.
fn parse_schemata<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<(&'a str, &'a str), &'a str> {
    let mut values = BTreeMap::new();
    for (resource, domains) in lines.filter_map(|line| line.trim().split_once(':')) {
        for (domain, value) in domains.split(';').filter_map(|part| part.split_once('=')) {
            let value = value.trim();
            let short = value.trim_start_matches('0');
            values.insert((resource.trim(), domain.trim()), if short.is_empty() { value } else { short });
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A directory that looks like resctrl, with a group `gold`.
    fn resctrl() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for dir in ["gold", "gold/mon_groups", "mon_groups", "info"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("schemata"), "    MB:0=100\n    L3:0=7ff\n").unwrap();
        fs::write(root.path().join("gold/schemata"), "    MB:0=100\n    L3:0=0f;1=00ff\n").unwrap();
        root
    }

    fn group(root: &Path, rdt: Value) -> Result<Group> {
        Group::below(root, &serde_json::from_value(rdt).unwrap(), &"web".parse().unwrap())
    }

    /// What the last process leaves: the kernel's directories go with the files that it put there.
    fn empty(dir: &Path) {
        for name in ["schemata", "tasks"] {
            let _ = fs::remove_file(dir.join(name));
        }
    }

    #[test]
    fn a_create_that_fails_takes_away_the_group_that_it_made_unless_others_are_in_it() {
        let root = resctrl();
        let new = json!({"closID": "new", "memBwSchema": "MB:0=50"});
        let dir = root.path().join("new");
        let mut failed = group(root.path(), new.clone()).unwrap();
        failed.found(Pid::from_raw(7)).unwrap();
        empty(&dir);
        failed.undo().unwrap();
        assert!(!dir.exists());
        failed.found(Pid::from_raw(7)).unwrap();
        let mut joined = group(root.path(), new).unwrap();
        joined.found(Pid::from_raw(8)).unwrap();
        // Its own process has ended, and the other's is there.
        failed.undo().unwrap();
        assert_eq!(fs::read_to_string(dir.join("tasks")).unwrap(), "8");
        empty(&dir);
        joined.undo().unwrap();
        assert!(dir.exists(), "who joined it did not make it");
    }

    #[test]
    fn of_two_containers_that_saw_no_group_the_second_finds_the_firsts_and_is_held_to_it() {
        let root = resctrl();
        let of = |share: &str| group(root.path(), json!({"closID": "new", "memBwSchema": share})).unwrap();
        let (mut first, mut same, mut other) = (of("MB:0=50"), of("MB:0=50"), of("MB:0=60"));
        first.found(Pid::from_raw(7)).unwrap();
        same.found(Pid::from_raw(8)).unwrap();
        let error = format!("{:#}", other.found(Pid::from_raw(9)).unwrap_err());
        assert!(error.contains("the group \"new\" is there and has 50 for MB:0, not 60"), "{error}");
        assert_eq!(fs::read_to_string(root.path().join("new/schemata")).unwrap(), "MB:0=50\n");
        let (mut one, mut two) = (group(root.path(), json!({})).unwrap(), group(root.path(), json!({})).unwrap());
        one.found(Pid::from_raw(7)).unwrap();
        assert!(format!("{:#}", two.found(Pid::from_raw(8)).unwrap_err()).contains("not this container's"));
    }

    #[test]
    fn a_group_is_not_made_while_somebody_else_has_the_lock() {
        let root = resctrl();
        let mut waiting = group(root.path(), json!({"memBwSchema": "MB:0=50"})).unwrap();
        let held = Flock::lock(File::open(root.path()).unwrap(), FlockArg::LockExclusive).unwrap();
        let error = format!("{:#}", waiting.found(Pid::from_raw(7)).unwrap_err());
        assert!(error.contains("another program has had") && error.contains("locked for 3s"), "{error}");
        assert!(!root.path().join("web").exists());
        waiting.undo().unwrap(); // does not wait for it: there is nothing to take back
        drop(held);
        waiting.found(Pid::from_raw(7)).unwrap();
    }

    #[test]
    fn a_monitoring_group_that_was_there_is_not_taken_away_by_a_create_that_fails() {
        let root = resctrl();
        let mut failed = group(root.path(), json!({"closID": "gold", "enableMonitoring": true})).unwrap();
        let monitoring = root.path().join("gold/mon_groups/web");
        fs::create_dir(&monitoring).unwrap();
        for stays in [true, false] {
            failed.found(Pid::from_raw(7)).unwrap();
            empty(&monitoring);
            failed.undo().unwrap();
            assert_eq!(monitoring.exists(), stays);
            let _ = fs::remove_dir(&monitoring);
        }
    }

    #[test]
    fn without_a_clos_id_the_group_is_the_containers_and_goes_with_it() {
        let root = resctrl();
        let rdt =
            json!({"l3CacheSchema": "L3:0=f\nMB:0=10", "memBwSchema": "MB:0=20", "schemata": ["L2:0=3", "L2:1=1"]});
        let mut made = group(root.path(), rdt).unwrap();
        made.found(Pid::from_raw(42)).unwrap();
        let read = |name: &str| fs::read_to_string(root.path().join("web").join(name)).unwrap();
        assert_eq!(read("schemata"), "L3:0=f\nMB:0=20\nL2:0=3\nL2:1=1\n");
        assert_eq!(read("tasks"), "42");
        let change = serde_json::from_value(json!({"memBwSchema": "MB:0=30"})).unwrap();
        made.clone().change(&change).unwrap();
        assert_eq!(read("schemata"), "MB:0=30\n");
        empty(&root.path().join("web"));
        made.remove().unwrap();
        assert!(!root.path().join("web").exists());
        made.remove().unwrap();
    }

    #[test]
    fn a_group_that_is_there_is_joined_monitored_and_left_there() {
        let root = resctrl();
        let mut joined = group(root.path(), json!({"closID": "gold", "enableMonitoring": true})).unwrap();
        joined.found(Pid::from_raw(7)).unwrap();
        let tasks = |dir: &str| fs::read_to_string(root.path().join(dir).join("tasks")).unwrap();
        assert_eq!((tasks("gold"), tasks("gold/mon_groups/web")), ("7".to_owned(), "7".to_owned()));
        let kept = root.path().join("kept");
        fs::create_dir(&kept).unwrap();
        joined.save(&kept).unwrap();
        let found = Group::load(&kept).unwrap().unwrap();
        assert_eq!(found, Group { monitoring_made: false, ..joined });
        empty(&root.path().join("gold/mon_groups/web"));
        found.remove().unwrap();
        assert!(root.path().join("gold").exists() && !root.path().join("gold/mon_groups/web").exists());
        assert_eq!(Group::load(root.path()).unwrap(), None);
    }

    #[test]
    fn a_clos_id_that_is_not_there_or_is_another_is_refused_by_its_field() {
        let root = resctrl();
        let says = |rdt: Value, words: &str| {
            let error = format!("{:#}", group(root.path(), rdt).unwrap_err());
            assert!(error.contains(words), "{error}");
        };
        says(json!({"closID": "none"}), "linux.intelRdt.closID: there is no group \"none\"");
        says(json!({"closID": "gold", "memBwSchema": "MB:0=50"}), "has 100 for MB:0, not 50");
        says(json!({"closID": "gold", "l3CacheSchema": "L3:2=f"}), "has nothing for L3:2, not f");
        group(root.path(), json!({"closID": "gold", "l3CacheSchema": "L3:0=f;1=ff", "memBwSchema": "MB:0=100"}))
            .unwrap();
        group(root.path(), json!({"closID": "new", "memBwSchema": "MB:0=50"})).unwrap();
        assert_eq!(group(root.path(), json!({"closID": "/"})).unwrap().dir, root.path());
    }

    #[test]
    fn resctrl_is_found_by_its_type_and_its_absence_is_told() {
        let line = "36 25 0:31 / /sys/fs/resctrl rw,relatime shared:9 - resctrl resctrl rw\n";
        let other = "30 25 0:29 / /resctrl rw - tmpfs resctrl rw\n";
        assert_eq!(mount_point(&format!("{other}{line}")), Some(PathBuf::from("/sys/fs/resctrl")));
        assert_eq!(mount_point(other), None);
    }
}
