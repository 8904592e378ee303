//! Cgroups on the real kernel. Each test runs on what the host has, and on cgroup v2: where the host is hybrid, in a
//! private mount namespace with the v2 tree alone.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bookend::cgroup::{Cgroup, DeviceRules, Version};
use common::{needs_root, skip};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxResources;
use serde_json::json;

const V2_ALONE: &str = "BOOKEND_TEST_V2_ALONE";

/// Defines a test for the host as it is and one for cgroup v2 alone.
macro_rules! on_each_version {
    ($(#[$doc:meta])* $name:ident, $body:expr) => {
        mod $name {
            use super::*;
            #[test]
            fn as_the_host_is() {
                if may_run() {
                    $body(concat!(stringify!($name), "-host"));
                }
            }
            #[test]
            fn on_v2_alone() {
                if may_run() && in_v2_alone(concat!(stringify!($name), "::on_v2_alone")) {
                    $body(concat!(stringify!($name), "-v2"));
                }
            }
        }
    };
}

fn may_run() -> bool {
    std::env::var_os("BOOKEND_TEST_DELEGATED").is_some() || needs_root(std::thread::current().name().unwrap())
}

/// True when cgroup v2 is all there is. Otherwise runs the named test once more, where that is so.
fn in_v2_alone(test: &str) -> bool {
    let unified = Path::new("/sys/fs/cgroup/unified");
    if std::env::var_os(V2_ALONE).is_some() || !unified.exists() {
        if !Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
            return skip(test, "needs cgroup v2");
        }
        return true;
    }
    let script = "mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup && exec \"$0\" \"$1\" --exact --nocapture";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(V2_ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// A cgroup that is made, and killed and removed however the test ends.
struct Made(Cgroup);

impl Made {
    fn new(name: &str) -> Made {
        let made = Made(planned(name));
        made.0.create().unwrap();
        made
    }
}

impl std::ops::Deref for Made {
    type Target = Cgroup;
    fn deref(&self) -> &Cgroup {
        &self.0
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = self.0.kill(); // the test has failed already, or they are dead
        let _ = self.0.delete(); // as above
    }
}

fn planned(name: &str) -> Cgroup {
    let id = format!("bookend-cgroup-{}-{name}", std::process::id());
    let cgroup = Cgroup::plan(None, &id, !nix::unistd::geteuid().is_root()).unwrap();
    // Without one nothing would end the processes of a test that fails.
    assert!(!cgroup.is_none(), "no cgroup can be made here");
    cgroup
}

/// A shell that waits for a line before it runs its script.
struct Shell(Child);

impl Shell {
    fn held(script: &str) -> Shell {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert!(child.stdin.is_some() && child.try_wait().unwrap().is_none());
        Shell(child)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32)
    }

    fn go(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// A member of a cgroup that is running its script.
    fn in_cgroup(cgroup: &Cgroup, script: &str) -> Shell {
        let mut shell = Shell::held(script);
        cgroup.enter(shell.pid(), false).unwrap();
        shell.go();
        shell
    }

    fn signal(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        self.0.wait().unwrap().signal()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have been killed by the test
        let _ = self.0.wait(); // and reaped
    }
}

fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    // In an emulated machine all takes its time (scripts/test --vm).
    let deadline = Instant::now() + Duration::from_secs(120);
    while !test() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn resources(json: serde_json::Value) -> LinuxResources {
    serde_json::from_value(json).unwrap()
}

/// The file of a cgroup, in whichever hierarchy has it.
fn file(cgroup: &Cgroup, name: &str) -> Option<PathBuf> {
    cgroup.paths().into_iter().map(|path| path.join(name)).find(|file| file.exists())
}

fn read(cgroup: &Cgroup, name: &str) -> Option<String> {
    Some(std::fs::read_to_string(file(cgroup, name)?).unwrap().trim().to_owned())
}

fn none_left(cgroup: &Cgroup) {
    for path in cgroup.paths() {
        assert!(!path.exists(), "{} is left", path.display());
    }
}

on_each_version!(a_process_enters_every_hierarchy_and_delete_leaves_nothing, |name: &str| {
    let cgroup = Made::new(name);
    let mut shell = Shell::held("exit 0");
    cgroup.enter(shell.pid(), false).unwrap();
    let memberships = std::fs::read_to_string(format!("/proc/{}/cgroup", shell.pid())).unwrap();
    let inside = memberships.lines().filter(|line| line.ends_with(name)).count();
    assert_eq!(inside, cgroup.paths().len(), "{memberships}");
    assert_eq!(cgroup.pids().unwrap(), [shell.pid()]);
    shell.go();
    shell.0.wait().unwrap();
    cgroup.delete().unwrap();
    none_left(&cgroup);
});

on_each_version!(r_10_a_fork_bomb_is_killed_whole, |name: &str| {
    let cgroup = Made::new(name);
    let limit = resources(json!({"pids": {"limit": 500}}));
    // Each loop forks without pause; a shell that is refused a fork ends, so the bomb stays near the limit.
    let (loops, wanted) = match cgroup.set(&limit) {
        // In an emulated machine few are there at once: loops end about as fast as others begin.
        Ok(()) => (300, 100),
        // Without a pids controller it must be bounded by itself.
        Err(error) => {
            assert!(format!("{error:#}").contains("set pids.max to 500"), "{error:#}");
            (60, 60)
        }
    };
    let bomb = format!("i=0; while [ $i -lt {loops} ]; do (while :; do (:); done) & i=$((i+1)); done; wait");
    let mut shell = Shell::in_cgroup(&cgroup, &bomb);
    eventually("the bomb did not go off", || cgroup.pids().unwrap().len() >= wanted);
    let start = Instant::now();
    cgroup.kill().unwrap();
    println!("killed {wanted} and more in {:?}", start.elapsed());
    assert_eq!(cgroup.pids().unwrap(), []);
    shell.0.wait().unwrap();
    cgroup.delete().unwrap();
    println!("killed and deleted in {:?}", start.elapsed());
    none_left(&cgroup);
});

on_each_version!(r_11_a_paused_cgroup_is_killed_and_deleted, |name: &str| {
    let cgroup = Made::new(name);
    let mut shell = Shell::in_cgroup(&cgroup, "while :; do sleep 0.01; done");
    assert!(!cgroup.is_frozen().unwrap());
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    let start = Instant::now();
    cgroup.kill().unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    assert_eq!(shell.signal(), Some(9));
    cgroup.delete().unwrap();
    println!("gone after {:?}", start.elapsed());
    none_left(&cgroup);
});

on_each_version!(a_frozen_process_goes_on_when_it_is_thawed, |name: &str| {
    let cgroup = Made::new(name);
    let directory = tempfile::tempdir().unwrap();
    let (go, done) = (directory.path().join("go"), directory.path().join("done"));
    let script = format!("while ! [ -e {} ]; do :; done; : > {}", go.display(), done.display());
    let mut shell = Shell::in_cgroup(&cgroup, &script);
    cgroup.freeze().unwrap();
    std::fs::write(&go, "").unwrap();
    assert_eq!(shell.0.try_wait().unwrap(), None);
    assert!(!done.exists());
    cgroup.thaw().unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    eventually("the process did not go on", || done.exists());
});

on_each_version!(r_12_sub_cgroups_five_deep_are_killed_and_removed, |name: &str| {
    let cgroup = Made::new(name);
    let mut shells = Vec::new();
    for path in cgroup.paths() {
        let mut path = path;
        // A cpuset has to be filled before it takes a process; here empty directories do.
        let takes_processes = !path.join("cpuset.mems").exists() || path.join("cgroup.subtree_control").exists();
        for depth in 1..=5 {
            path.push(format!("sub{depth}"));
            std::fs::create_dir(&path).unwrap();
        }
        if takes_processes {
            let mut shell = Shell::held("while :; do sleep 0.01; done");
            std::fs::write(path.join("cgroup.procs"), shell.pid().to_string()).unwrap();
            shell.go();
            shells.push(shell);
        }
    }
    assert!(cgroup.pids().unwrap().len() >= shells.len());
    let start = Instant::now();
    cgroup.kill().unwrap();
    println!("killed after {:?}", start.elapsed());
    cgroup.delete().unwrap();
    println!("gone after {:?}", start.elapsed());
    assert!(shells.iter_mut().all(|shell| shell.signal() == Some(9)));
    none_left(&cgroup);
});

on_each_version!(x_e15_a_hooks_own_cgroup_is_killed_and_the_container_lives, |name: &str| {
    let cgroup = Made::new(name);
    let mut container = Shell::in_cgroup(&cgroup, "while :; do sleep 0.01; done");
    let child = Made(cgroup.child("hook-postStart-1").unwrap());
    child.create().unwrap();
    let mut hook = Shell::in_cgroup(&child, "(while :; do sleep 0.01; done) & while :; do sleep 0.01; done");
    eventually("the hook has no child", || child.pids().unwrap().len() >= 2);
    // It counts against the container: no other hierarchy has a directory for it.
    let differing = child.paths().iter().zip(cgroup.paths()).filter(|(own, parents)| *own != parents).count();
    assert_eq!(differing, 1);
    assert!(cgroup.pids().unwrap().contains(&hook.pid()));
    child.kill().unwrap();
    assert_eq!(hook.signal(), Some(9));
    child.delete().unwrap();
    assert_eq!(container.0.try_wait().unwrap(), None);
    let alive = cgroup.pids().unwrap();
    assert!(alive.contains(&container.pid()));
    cgroup.kill().unwrap();
    assert_eq!(container.signal(), Some(9));
    cgroup.delete().unwrap();
    none_left(&cgroup);
});

on_each_version!(a_cgroup_that_is_in_use_is_refused_and_nothing_is_left_of_the_try, |name: &str| {
    let cgroup = planned(name);
    // The last hierarchy has it already, so that all the others are made first.
    let last = cgroup.paths().pop().unwrap();
    std::fs::create_dir(&last).unwrap();
    let shell = Shell::held("exit 0");
    std::fs::write(last.join("cgroup.procs"), shell.pid().to_string()).unwrap();
    let error = format!("{:#}", cgroup.create().unwrap_err());
    assert!(error.contains("is in use by the processes") && error.contains(&shell.pid().to_string()), "{error}");
    for path in cgroup.paths() {
        assert_eq!(path.exists(), path == last, "{}", path.display());
    }
    drop(shell);
    // Empty, it is taken over.
    eventually("the shell is still in its cgroup", || cgroup.pids().unwrap().is_empty());
    cgroup.create().unwrap();
    cgroup.delete().unwrap();
    none_left(&cgroup);
});

on_each_version!(a_frozen_cgroup_is_refused, |name: &str| {
    let first = Made::new(name);
    first.freeze().unwrap();
    let error = format!("{:#}", first.create().unwrap_err());
    assert!(error.contains("is frozen"), "{error}");
    first.thaw().unwrap();
    first.create().unwrap();
});

on_each_version!(limits_read_back_as_they_were_set, |name: &str| {
    let cgroup = Made::new(name);
    let shares = resources(json!({
        "memory": {"limit": 67108864, "reservation": 33554432},
        "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 77},
    }));
    if let Err(error) = cgroup.set(&shares) {
        // A v2 tree beside v1 controllers has none itself.
        let error = format!("{error:#}");
        assert!(error.starts_with("linux.resources.pids.limit: set pids.max to 77: /sys/fs/cgroup"), "{error}");
        assert!(error.contains("has no pids controller"), "{error}");
        return;
    }
    let expect = |file: &str, value: &str| {
        if let Some(found) = read(&cgroup, file) {
            assert_eq!(found, value, "{file}");
        }
    };
    assert_eq!(read(&cgroup, "pids.max").as_deref(), Some("77"));
    expect("memory.limit_in_bytes", "67108864");
    expect("memory.soft_limit_in_bytes", "33554432");
    expect("cpu.shares", "1024");
    expect("cpu.cfs_quota_us", "50000");
    expect("cpuset.cpus", "0");
    expect("memory.max", "67108864");
    expect("memory.low", "33554432");
    expect("cpu.weight", "100");
    expect("cpu.max", "50000 100000");
    // Changed one by one, in both directions.
    for (change, v1, v2) in [
        (json!({"cpu": {"period": 20000, "quota": 10000}}), ("cpu.cfs_period_us", "20000"), ("cpu.max", "10000 20000")),
        (json!({"cpu": {"period": 200000}}), ("cpu.cfs_period_us", "200000"), ("cpu.max", "10000 200000")),
        (json!({"cpu": {"quota": -1}}), ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 200000")),
        (json!({"memory": {"limit": 134217728}}), ("memory.limit_in_bytes", "134217728"), ("memory.max", "134217728")),
        (json!({"pids": {"limit": -1}}), ("pids.max", "max"), ("pids.max", "max")),
        (json!({"pids": {"limit": 0}}), ("pids.max", "1"), ("pids.max", "1")),
    ] {
        cgroup.set(&resources(change.clone())).unwrap_or_else(|error| panic!("{change}: {error:#}"));
        expect(v1.0, v1.1);
        expect(v2.0, v2.1);
    }
});

on_each_version!(a_limit_that_cannot_be_set_names_file_value_and_cause, |name: &str| {
    let cgroup = Made::new(name);
    let error = cgroup.set(&resources(json!({"cpu": {"cpus": "4000"}}))).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("cpuset.cpus to 4000"), "{error}");
    if error.contains("os error") {
        assert!(error.contains("the cgroup above has 0"), "{error}");
    }
    let because = ["os error", "has no cpuset controller", "does not pass the cpuset controller on"];
    assert!(because.iter().any(|cause| error.contains(cause)), "{error}");
});

on_each_version!(what_is_gone_can_be_asked_killed_thawed_and_deleted, |name: &str| {
    let cgroup = planned(name);
    assert_eq!(cgroup.pids().unwrap(), []);
    assert!(!cgroup.is_frozen().unwrap());
    assert_eq!(cgroup.oom_kills(), 0);
    cgroup.thaw().unwrap();
    cgroup.kill().unwrap();
    cgroup.delete().unwrap();
    none_left(&cgroup);
});

on_each_version!(swap_and_memory_move_together_in_both_directions, |name: &str| {
    let cgroup = Made::new(name);
    let Some(memsw) = file(&cgroup, "memory.memsw.limit_in_bytes") else { return };
    for (limit, swap) in [(67108864, 134217728), (268435456, 268435456), (33554432, 33554432), (67108864, -1)] {
        cgroup.set(&resources(json!({"memory": {"limit": limit, "swap": swap}}))).unwrap();
        assert_eq!(read(&cgroup, "memory.limit_in_bytes").unwrap(), limit.to_string());
        let now: i64 = std::fs::read_to_string(&memsw).unwrap().trim().parse().unwrap();
        assert!(if swap < 0 { now > 1 << 60 } else { now == swap }, "{now}");
    }
});

on_each_version!(r_13_kills_for_want_of_memory_are_counted, |name: &str| {
    let cgroup = Made::new(name);
    if cgroup.set(&resources(json!({"memory": {"limit": 16777216, "swap": 16777216}}))).is_err() {
        println!("no memory controller here");
        return;
    }
    assert_eq!(cgroup.oom_kills(), 0);
    // One line without an end, which must be held in memory.
    let mut shell = Shell::in_cgroup(&cgroup, "exec busybox tail -n 1 /dev/zero");
    assert_eq!(shell.signal(), Some(9));
    assert!(cgroup.oom_kills() >= 1);
});

on_each_version!(r_13_kills_in_a_sub_cgroup_are_counted_too, |name: &str| {
    let cgroup = Made::new(name);
    if cgroup.set(&resources(json!({"memory": {"limit": 16777216, "swap": 16777216}}))).is_err() {
        println!("no memory controller here");
        return;
    }
    let Some(memory) = cgroup.paths().into_iter().find(|path| path.join("memory.oom_control").exists()) else { return };
    let below = memory.join("below");
    std::fs::create_dir(&below).unwrap();
    let script = format!("echo $$ > {}/cgroup.procs; exec busybox tail -n 1 /dev/zero", below.display());
    let mut shell = Shell::in_cgroup(&cgroup, &script);
    assert_eq!(shell.signal(), Some(9));
    assert!(cgroup.oom_kills() >= 1);
});

on_each_version!(device_rules_hold, |name: &str| {
    let cgroup = Made::new(name);
    let rules = resources(json!({"devices": [{"allow": false, "access": "rwm"},
                                             {"allow": true, "type": "c", "major": 10, "minor": 183, "access": "r"}]}));
    let enforced = cgroup.set_devices(rules.devices().as_ref().unwrap());
    if !nix::unistd::geteuid().is_root() {
        // A delegated v2 cgroup: the program takes rights that its user does not have, and is never left out silently.
        assert!(format!("{:#}", enforced.unwrap_err()).contains("attach a device program to /sys/fs/cgroup/"));
        return;
    }
    assert_eq!(enforced.unwrap(), DeviceRules::Enforced);
    // /dev/kmsg is 1:11, which no default allows.
    let mut shell = Shell::in_cgroup(&cgroup, "head -c1 /dev/zero && ! (: < /dev/kmsg) && exit 42");
    assert_eq!(shell.0.wait().unwrap().code(), Some(42));
});

on_each_version!(device_rules_change_while_what_stays_allowed_stays_usable, |name: &str| {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let cgroup = Made::new(name);
    let rules = |extra: serde_json::Value| {
        let mut all = vec![json!({"allow": false, "access": "rwm"})];
        all.extend(extra.as_array().unwrap().iter().cloned());
        resources(json!({"devices": all})).devices().clone().unwrap()
    };
    let kmsg = json!([{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}]);
    let enforced = cgroup.set_devices(&rules(json!([]))).unwrap();
    assert_eq!(enforced, DeviceRules::Enforced);
    let directory = tempfile::tempdir().unwrap();
    let (end, denied) = (directory.path().join("end"), directory.path().join("denied"));
    let script = format!(
        "while ! [ -e {} ]; do true > /dev/null || true > {}; done; true < /dev/kmsg && exit 42",
        end.display(),
        denied.display()
    );
    let mut shell = Shell::in_cgroup(&cgroup, &script);
    for round in 0..30 {
        let wanted = if round % 2 == 0 { kmsg.clone() } else { json!([]) };
        assert_eq!(cgroup.change_devices(&rules(wanted)).unwrap(), DeviceRules::Enforced);
    }
    let mut other = Shell::in_cgroup(&cgroup, "! true < /dev/kmsg && exit 43");
    assert_eq!(other.0.wait().unwrap().code(), Some(43));
    // From some allowed to all allowed but for one, and back.
    let all_but = json!([{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "r"}]);
    assert_eq!(cgroup.change_devices(&rules(all_but)).unwrap(), DeviceRules::Enforced);
    assert!(!cgroup.is_frozen().unwrap());
    assert_eq!(cgroup.change_devices(&rules(kmsg)).unwrap(), DeviceRules::Enforced);
    std::fs::write(&end, "").unwrap();
    assert_eq!(shell.0.wait().unwrap().code(), Some(42));
    assert!(!denied.exists(), "/dev/null was denied in between");
});

on_each_version!(a_delegated_cgroup_is_its_owners_and_its_limits_are_not, |name: &str| {
    use std::os::unix::fs::MetadataExt;
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let cgroup = Made::new(name);
    cgroup.delegate(12345).unwrap();
    let owner = |path: &Path| std::fs::metadata(path).unwrap().uid();
    for path in cgroup.paths() {
        let is_v2 = path.join("cgroup.subtree_control").exists();
        let expected = if is_v2 { 12345 } else { 0 };
        assert_eq!((owner(&path), owner(&path.join("cgroup.procs"))), (expected, expected), "{}", path.display());
        if is_v2 {
            assert_eq!(owner(&path.join("cgroup.subtree_control")), 12345);
            assert_eq!(owner(&path.join("cgroup.freeze")), 0);
        }
    }
});

on_each_version!(memory_limits_of_one_version_read_back, |name: &str| {
    let cgroup = Made::new(name);
    if file(&cgroup, "memory.swappiness").is_none() {
        return;
    }
    let memory =
        json!({"memory": {"limit": 67108864, "swappiness": 0, "disableOOMKiller": true, "kernelTCP": 1048576}});
    cgroup.set(&resources(memory)).unwrap();
    assert_eq!(read(&cgroup, "memory.swappiness").unwrap(), "0");
    assert!(read(&cgroup, "memory.oom_control").unwrap().contains("oom_kill_disable 1"));
    assert_eq!(read(&cgroup, "memory.kmem.tcp.limit_in_bytes").unwrap(), "1048576");
    let mut shell = Shell::in_cgroup(&cgroup, "held=$(head -c 4000000 /dev/zero | tr '\\0' x); while :; do :; done");
    let used = || read(&cgroup, "memory.usage_in_bytes").unwrap().parse::<u64>().unwrap();
    eventually("the shell holds no memory", || used() > 3_000_000);
    let error = format!("{:#}", cgroup.set(&resources(json!({"memory": {"limit": 4096}}))).unwrap_err());
    assert!(error.starts_with("linux.resources.memory.limit: set memory.limit_in_bytes to 4096"), "{error}");
    assert!(error.contains("bytes are in use, and no more can be freed"), "{error}");
    cgroup.set(&resources(json!({"memory": {"limit": -1}}))).unwrap();
    assert!(read(&cgroup, "memory.memsw.limit_in_bytes").is_none_or(|limit| limit.parse::<u64>().unwrap() > 1 << 60));
    cgroup.kill().unwrap();
    assert_eq!(shell.signal(), Some(9));
});

on_each_version!(idle_burst_and_realtime_read_back, |name: &str| {
    let cgroup = Made::new(name);
    let set = |cpu: serde_json::Value| cgroup.set(&resources(json!({"cpu": cpu})));
    if set(json!({"quota": 50000, "period": 100000, "burst": 20000})).is_err() {
        println!("no cpu controller here");
        return;
    }
    let burst = |cgroup: &Cgroup| read(cgroup, "cpu.cfs_burst_us").or_else(|| read(cgroup, "cpu.max.burst")).unwrap();
    assert_eq!(burst(&cgroup), "20000");
    set(json!({"quota": 10000, "burst": 5000})).unwrap();
    assert_eq!(burst(&cgroup), "5000");
    set(json!({"shares": 512, "idle": 1})).unwrap();
    assert_eq!(read(&cgroup, "cpu.idle").unwrap(), "1");
    set(json!({"shares": 2048, "idle": 0})).unwrap();
    assert_eq!(read(&cgroup, "cpu.idle").unwrap(), "0");
    if let Some(shares) = read(&cgroup, "cpu.shares") {
        assert_eq!(shares, "2048");
    }
    let realtime = json!({"realtimePeriod": 900000, "realtimeRuntime": 1000});
    match (file(&cgroup, "cpu.cfs_quota_us"), file(&cgroup, "cpu.rt_runtime_us")) {
        (Some(_), Some(_)) => {
            set(realtime).unwrap();
            assert_eq!(read(&cgroup, "cpu.rt_period_us").unwrap(), "900000");
            assert_eq!(read(&cgroup, "cpu.rt_runtime_us").unwrap(), "1000");
            let error = format!("{:#}", set(json!({"realtimeRuntime": 990000})).unwrap_err());
            assert!(error.contains("linux.resources.cpu.realtimeRuntime"), "{error}");
        }
        (Some(_), None) => assert!(format!("{:#}", set(realtime).unwrap_err()).contains("this kernel lacks it")),
        _ => assert!(format!("{:#}", set(realtime).unwrap_err()).contains("cgroup v2 has no realtime limits")),
    }
});

/// A disk to read from, as `major:minor`, and its device node.
fn disk() -> Option<(String, PathBuf)> {
    let mut names: Vec<_> = std::fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names.into_iter().rev().find_map(|name| {
        let (sys, node) = (Path::new("/sys/block").join(&name), Path::new("/dev").join(&name));
        let sectors: u64 = std::fs::read_to_string(sys.join("size")).ok()?.trim().parse().ok()?;
        let number = std::fs::read_to_string(sys.join("dev")).ok()?.trim().to_owned();
        let is_memory = name.to_string_lossy().starts_with("zram") || name.to_string_lossy().starts_with("ram");
        (sectors > 16384 && !is_memory && std::fs::File::open(&node).is_ok()).then_some((number, node))
    })
}

on_each_version!(block_io_limits_read_back_and_hold, |name: &str| {
    let cgroup = Made::new(name);
    let Some((number, node)) = disk() else {
        println!("no disk to read from");
        return;
    };
    let (major, minor) =
        number.split_once(':').map(|(a, b)| (a.parse::<i64>().unwrap(), b.parse::<i64>().unwrap())).unwrap();
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let limits = json!({"blockIO": {"throttleReadBpsDevice": rate(1 << 20), "throttleWriteIOPSDevice": rate(1000)}});
    if let Err(error) = cgroup.set(&resources(limits)) {
        assert!(format!("{error:#}").starts_with("linux.resources.blockIO.throttleReadBpsDevice: "), "{error:#}");
        println!("{error:#}");
        return;
    }
    match read(&cgroup, "io.max") {
        Some(limits) => assert_eq!(limits, format!("{number} rbps=1048576 wbps=max riops=max wiops=1000")),
        None => {
            assert_eq!(read(&cgroup, "blkio.throttle.read_bps_device").unwrap(), format!("{number} 1048576"));
            assert_eq!(read(&cgroup, "blkio.throttle.write_iops_device").unwrap(), format!("{number} 1000"));
        }
    }
    let start = Instant::now();
    let script = format!("exec dd if={} of=/dev/null bs=64k count=32 iflag=direct", node.display());
    let mut shell = Shell::in_cgroup(&cgroup, &script);
    assert!(shell.0.wait().unwrap().success());
    assert!(start.elapsed() > Duration::from_millis(700), "2 MiB at 1 MiB/s in {:?}", start.elapsed());
    cgroup.set(&resources(json!({"blockIO": {"throttleReadBpsDevice": rate(0)}}))).unwrap();
    let left = read(&cgroup, "blkio.throttle.read_bps_device").or_else(|| read(&cgroup, "io.max")).unwrap();
    assert!(!left.contains("1048576"), "{left}");
    // A weight needs a scheduler that has weights: then it reads back, and else it is refused by name.
    match cgroup.set(&resources(json!({"blockIO": {"weight": 500}}))) {
        Ok(()) => {
            let files = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight"];
            let weight = files.iter().find_map(|file| read(&cgroup, file)).unwrap();
            assert!(weight.contains("500") || weight.contains("4950"), "{weight}");
        }
        Err(error) => assert!(format!("{error:#}").starts_with("linux.resources.blockIO.weight: "), "{error:#}"),
    }
    let no_device = json!({"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 7, "rate": 9}]}});
    let error = format!("{:#}", cgroup.set(&resources(no_device)).unwrap_err());
    assert!(error.contains("there is no such block device"), "{error}");
});

on_each_version!(huge_pages_are_limited_where_their_controller_is, |name: &str| {
    let cgroup = Made::new(name);
    let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]});
    if let Err(error) = cgroup.set(&resources(limits)) {
        let error = format!("{error:#}");
        assert!(error.starts_with("linux.resources.hugepageLimits: ") && error.contains("hugetlb"), "{error}");
        return;
    }
    for file in ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max", "hugetlb.2MB.limit_in_bytes"] {
        if let Some(limit) = read(&cgroup, file) {
            assert_eq!(limit, "4194304", "{file}");
        }
    }
    assert!(file(&cgroup, "hugetlb.2MB.max").or_else(|| file(&cgroup, "hugetlb.2MB.limit_in_bytes")).is_some());
    let error = cgroup.set(&resources(json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}))).unwrap_err();
    assert!(format!("{error:#}").contains("no pages of that size, but of "), "{error:#}");
});

on_each_version!(unified_is_for_the_v2_tree_alone, |name: &str| {
    let cgroup = Made::new(name);
    let v2 = cgroup.paths().into_iter().find(|path| path.join("cgroup.controllers").exists());
    let controllers =
        v2.map(|path| std::fs::read_to_string(path.join("cgroup.controllers")).unwrap()).unwrap_or_default();
    for (controller, file, value) in [("hugetlb", "hugetlb.2MB.max", "2097152"), ("pids", "pids.max", "33")] {
        let unified = resources(json!({"unified": {file: value}}));
        if controllers.split_whitespace().any(|found| found == controller) {
            cgroup.check(&unified).unwrap();
            cgroup.set(&unified).unwrap();
            assert_eq!(read(&cgroup, file).unwrap(), value);
        } else {
            let error = format!("{:#}", cgroup.set(&unified).unwrap_err());
            assert!(error.contains(&format!("unified.{file}: ")) || error.contains("it is for cgroup v2"), "{error}");
            assert!(error.contains(controller) && !error.contains("pages of that size"), "{error}");
            assert!(cgroup.check(&unified).is_err());
        }
    }
});

const WITH_NETWORK: &str = "BOOKEND_TEST_WITH_NETWORK";

/// The test once more in a mount namespace that has the v1 network controllers, which few hosts mount.
/// Alone: /proc/PID/cgroup of every process has the hierarchy meanwhile, and other tests compare that.
#[test]
fn a_networks_class_and_priorities_read_back_alone() {
    let name = "a_networks_class_and_priorities_read_back_alone";
    if !needs_root(name) {
        return;
    }
    if std::env::var_os(WITH_NETWORK).is_none() {
        let known = std::fs::read_to_string("/proc/cgroups").unwrap();
        let is_free = |name: &str| known.lines().any(|line| line.starts_with(&format!("{name}\t0\t")));
        if !["net_cls", "net_prio"].into_iter().all(is_free) {
            skip(name, "needs net_cls and net_prio that nobody has mounted");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let script = "mount -t cgroup -o net_cls,net_prio cgroup \"$2\" && exec \"$0\" \"$1\" --exact --nocapture";
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .arg(directory.path())
            .env(WITH_NETWORK, "1")
            .output()
            .unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let cgroup = Made::new("network");
    let network = json!({"network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 7}]}});
    cgroup.check(&resources(network.clone())).unwrap();
    cgroup.set(&resources(network)).unwrap();
    assert_eq!(read(&cgroup, "net_cls.classid").unwrap(), "1048577");
    assert!(read(&cgroup, "net_prio.ifpriomap").unwrap().lines().any(|line| line == "lo 7"));
}

#[test]
fn a_controller_that_is_not_there_is_refused_before_anything_is_made() {
    if !may_run() {
        return;
    }
    let known = std::fs::read_to_string("/proc/cgroups").unwrap();
    let on_v2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let cgroup = planned("absent");
    for (controller, limits) in [
        ("rdma", json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}})),
        ("net_cls", json!({"network": {"classID": 7}})),
        ("net_prio", json!({"network": {"priorities": [{"name": "lo", "priority": 7}]}})),
    ] {
        // A hierarchy that is mounted somewhere has a number; v2 has its own list.
        if on_v2.split_whitespace().any(|found| found == controller) {
            continue;
        }
        if known.lines().any(|line| line.starts_with(controller) && !line.starts_with(&format!("{controller}\t0\t"))) {
            continue;
        }
        let error = match cgroup.check(&resources(limits)) {
            Err(error) => format!("{error:#}"),
            Ok(()) => panic!("{controller} was found"),
        };
        assert!(error.starts_with("linux.resources.") && error.contains("controller"), "{error}");
    }
    none_left(&cgroup);
}

on_each_version!(the_state_keeps_the_cgroup_and_the_container_is_shown_its_own, |name: &str| {
    let cgroup = planned(name);
    let kept: Cgroup = serde_json::from_str(&serde_json::to_string(&cgroup).unwrap()).unwrap();
    assert_eq!(kept, cgroup);
    let mounts = cgroup.mounts_for_container();
    assert_eq!(mounts.len(), cgroup.paths().len());
    let v2_alone = mounts.len() == 1;
    assert!(mounts.iter().all(|mount| mount.source.ends_with(mount.source.file_name().unwrap())));
    assert!(mounts.iter().all(|mount| mount.name.is_empty() == (v2_alone && mount.version == Version::V2)));
});

#[test]
fn as_root_a_path_that_cannot_be_had_is_an_error() {
    for (path, cause) in [("/a/../b", "\"..\""), ("system.slice:bookend:x", "--systemd-cgroup"), ("/", "no cgroup")] {
        let error = format!("{:#}", Cgroup::plan(Some(Path::new(path)), "x", false).unwrap_err());
        assert!(error.contains(cause), "{path}: {error}");
    }
}
