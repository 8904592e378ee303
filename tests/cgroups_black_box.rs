//! Control groups as whoever runs a container sees them: limits, places, freezing, and that all of it goes away.

mod common;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use common::{Fixture, cgroups_named, needs_root, skip};

/// A file of the container's cgroup in the hierarchy that has it, v1 or v2.
fn file(c: &Fixture, names: &[&str]) -> Option<String> {
    let directories = cgroups_named(&c.id);
    let found =
        directories.iter().find_map(|dir| names.iter().find_map(|name| fs::read_to_string(dir.join(name)).ok()));
    found.map(|text| text.trim().to_owned())
}

fn limited(resources: Value) -> Fixture {
    Fixture::busybox().with(|config| {
        for (key, value) in resources.as_object().unwrap() {
            config["linux"]["resources"][key] = value.clone();
        }
    })
}

#[test]
fn limits_of_pids_memory_and_cpu_are_set() {
    if !needs_root("limits_of_pids_memory_and_cpu_are_set") {
        return;
    }
    let c = limited(json!({
        "pids": {"limit": 20}, "memory": {"limit": 67108864}, "cpu": {"shares": 512, "quota": 50000, "period": 100000},
    }));
    let c = c.started();
    assert_eq!(file(&c, &["pids.max"]).unwrap(), "20");
    if let Some(limit) = file(&c, &["memory.limit_in_bytes", "memory.max"]) {
        assert_eq!(limit, "67108864");
    }
    if let Some(quota) = file(&c, &["cpu.cfs_quota_us"]) {
        assert_eq!(quota, "50000");
    }
    c.call(&["delete", "-f", &c.id]).ok();
    c.assert_nothing_left();
}

#[test]
fn the_pids_limit_holds() {
    if !needs_root("the_pids_limit_holds") {
        return;
    }
    let c = limited(json!({"pids": {"limit": 5}}));
    let c = c.shell("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all");
    let output = c.run();
    assert!(output.code != 0 && output.stderr.contains("can't fork"), "{output:?}");
    c.assert_nothing_left();
}

#[test]
fn a_limit_that_cannot_be_set_fails_create_and_names_itself() {
    if !needs_root("a_limit_that_cannot_be_set_fails_create_and_names_itself") {
        return;
    }
    let c = limited(json!({"cpu": {"cpus": "4096-5000"}}));
    c.create().fails(1).says("cpus").says("4096-5000");
    c.assert_nothing_left();
    c.run().fails(125);
    c.assert_nothing_left();
}

#[test]
fn the_path_is_absolute_or_relative_and_is_made() {
    if !needs_root("the_path_is_absolute_or_relative_and_is_made") {
        return;
    }
    for prefix in ["/toci-bb/deep/", "toci-bb-relative/"] {
        let c = Fixture::busybox();
        let path = format!("{prefix}{}", c.id);
        let c = c.with(|config| config["linux"]["cgroupsPath"] = json!(path)).started();
        let directories = cgroups_named(&c.id);
        assert!(!directories.is_empty());
        for dir in &directories {
            assert!(dir.ends_with(path.trim_start_matches('/')), "{dir:?}");
        }
        let pids: Vec<String> =
            directories.iter().map(|dir| fs::read_to_string(dir.join("cgroup.procs")).unwrap()).collect();
        assert!(pids.iter().all(|pids| pids.lines().any(|pid| pid == c.pid().to_string())), "{pids:?}");
        c.call(&["delete", "-f", &c.id]).ok();
        c.assert_nothing_left();
    }
    for name in ["toci-bb/deep", "toci-bb", "toci-bb-relative"] {
        let mut left: Vec<PathBuf> = cgroups_named(name.rsplit('/').next().unwrap());
        left.retain(|dir| dir.ends_with(name));
        left.iter().for_each(|dir| drop(fs::remove_dir(dir)));
    }
}

#[test]
fn a_path_with_dots_or_a_cgroup_in_use_is_refused() {
    if !needs_root("a_path_with_dots_or_a_cgroup_in_use_is_refused") {
        return;
    }
    let c = Fixture::busybox().with(|config| config["linux"]["cgroupsPath"] = json!("/a/../../b"));
    c.create().fails(1).says("..");
    c.assert_nothing_left();
    let first = Fixture::busybox().started();
    let taken = format!("/{}", first.id);
    let used = cgroups_named(&first.id);
    let first_path = used.iter().find(|dir| dir.ends_with(&first.id)).unwrap();
    let _ = first_path;
    let c = Fixture::busybox().with(|config| config["linux"]["cgroupsPath"] = json!(first.id.clone()));
    c.create().fails(1).says(&taken);
    c.assert_nothing_left();
    assert_eq!(first.status(), "running");
}

#[test]
fn pause_and_resume_freeze_and_thaw() {
    if !needs_root("pause_and_resume_freeze_and_thaw") {
        return;
    }
    let c = Fixture::busybox().shell("while :; do echo x >> /count; sleep 0.02; done").started();
    let size = |c: &Fixture| c.read("/count").len();
    c.wait_for("some lines", |c| size(c) > 4);
    c.verb("pause").ok();
    assert_eq!(c.status(), "paused");
    let before = size(&c);
    std::thread::sleep(std::time::Duration::from_millis(300)); // nothing is to happen
    assert_eq!(size(&c), before);
    c.verb("pause").fails(1).says("paused");
    c.call(&["exec", &c.id, "true"]).fails(125).says("paused");
    c.verb("delete").fails(1).says("paused");
    // It waits in there until all go on.
    let waiting = c.spawn(&["exec", "--ignore-paused", &c.id, "echo", "thawed"]);
    c.verb("resume").ok();
    assert_eq!(waiting.wait().ok().stdout, "thawed\n");
    c.wait_for("more lines", |c| size(c) > before);
    c.verb("resume").fails(1).says("running");
    c.call(&["exec", &c.id, "true"]).ok();
    c.verb("pause").ok();
    // A frozen container can be killed and removed.
    c.call(&["delete", "--force", &c.id]).ok();
    c.assert_nothing_left();
}

/// The container's v1 freezer, and whether there is a v2 tree beside it.
fn v1_freezer(c: &Fixture) -> Option<(PathBuf, bool)> {
    let mut states = cgroups_named(&c.id).into_iter().map(|cgroup| cgroup.join("freezer.state"));
    let hybrid = cgroups_named(&c.id).iter().any(|cgroup| cgroup.join("cgroup.freeze").exists());
    Some((states.find(|state| state.exists())?, hybrid))
}

#[test]
fn on_a_hybrid_host_a_paused_container_is_held_by_the_v2_freezer_alone_so_that_anybody_can_kill_it() {
    if !needs_root("on_a_hybrid_host_a_paused_container_is_held_by_the_v2_freezer_alone_so_that_anybody_can_kill_it") {
        return;
    }
    let c = Fixture::busybox().started();
    let pid = c.pid();
    c.verb("pause").ok();
    if let Some((state, true)) = v1_freezer(&c) {
        assert_eq!(fs::read_to_string(state).unwrap(), "THAWED\n");
    } else if v1_freezer(&c).is_some() {
        return; // v1 alone: its freezer lets nobody die
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    c.wait_for("the end of init", |c| c.status() == "stopped");
}

#[test]
fn a_container_that_the_v1_freezer_holds_dies_by_kill() {
    let name = "a_container_that_the_v1_freezer_holds_dies_by_kill";
    if !needs_root(name) {
        return;
    }
    for c in [Fixture::busybox(), Fixture::busybox().hook("preStop", "true")] {
        let c = c.started();
        let Some((state, _)) = v1_freezer(&c) else {
            skip(name, "needs a v1 freezer");
            return;
        };
        fs::write(state, "FROZEN").unwrap();
        assert_eq!(c.status(), "paused");
        c.call(&["kill", &c.id, "KILL"]).ok();
        c.wait_for("the end of init", |c| c.status() == "stopped");
    }
}

#[test]
fn a_process_of_exec_is_in_the_containers_cgroup() {
    if !needs_root("a_process_of_exec_is_in_the_containers_cgroup") {
        return;
    }
    let c = Fixture::busybox().without_namespace("cgroup").started();
    let init = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    let of_exec = c.exec("cat /proc/self/cgroup").ok().stdout;
    for line in init.lines().filter(|line| line.contains(&c.id)) {
        assert!(of_exec.lines().any(|found| found == line), "{line} in {of_exec}");
    }
    assert!(init.contains(&c.id), "{init}");
}

#[test]
fn s_13_the_cgroup_mount_is_read_only_and_shows_only_the_container() {
    if !needs_root("s_13_the_cgroup_mount_is_read_only_and_shows_only_the_container") {
        return;
    }
    let own = |config: &mut Value| {
        let list = config["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|namespace| namespace["type"] != "cgroup");
        list.push(json!({"type": "cgroup"}));
    };
    let c = Fixture::busybox().with(own).shell(
        "cat /proc/self/cgroup; echo ---; for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/evil 2>/dev/null && echo made $d; \
         for f in cgroup.procs tasks release_agent notify_on_release; do [ -e $d/$f ] && echo 0 2>/dev/null > $d/$f && echo wrote $d/$f; done; done; exit 0",
    );
    let out = c.run().ok().stdout;
    let (own, tried) = out.split_once("---\n").unwrap();
    assert_eq!(tried, "");
    assert!(own.lines().all(|line| line.ends_with(":/")), "{own}");
}

#[test]
fn sub_cgroups_that_the_container_made_go_with_it() {
    if !needs_root("sub_cgroups_that_the_container_made_go_with_it") {
        return;
    }
    let c = Fixture::busybox()
        .with(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            for mount in mounts.iter_mut().filter(|mount| mount["type"] == "cgroup") {
                mount["options"] = json!(["nosuid", "noexec", "nodev", "relatime"]);
            }
        })
        .shell("mkdir -p /sys/fs/cgroup/pids/sub/deeper && echo 0 > /sys/fs/cgroup/pids/sub/deeper/cgroup.procs; echo > /ready; exec sleep 1000")
        .started();
    c.wait_for("ready", |c| c.read("/ready") == "\n");
    c.call(&["delete", "-f", &c.id]).ok();
    c.assert_nothing_left();
}

/// A container in a cgroup namespace, whose own cgroups it may write.
fn with_writable_cgroups(script: &str) -> Fixture {
    let c = Fixture::busybox().without_namespace("cgroup").shell(script);
    c.with(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["type"] != "cgroup");
        mounts.push(
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid"]}),
        );
    })
}

/// Where the container sees its v2 cgroup.
const FIND_V2: &str = "v2=/sys/fs/cgroup; [ -e $v2/cgroup.controllers ] || v2=/sys/fs/cgroup/unified; ";

fn has_v2() -> bool {
    ["", "unified/"].iter().any(|dir| fs::metadata(format!("/sys/fs/cgroup/{dir}cgroup.controllers")).is_ok())
}

#[test]
fn a_container_in_a_user_namespace_manages_its_own_cgroup_and_not_its_limits() {
    if !needs_root("a_container_in_a_user_namespace_manages_its_own_cgroup_and_not_its_limits") || !has_v2() {
        return;
    }
    let script = format!(
        "{FIND_V2} mkdir $v2/sub && echo $$ > $v2/sub/cgroup.procs && cat /proc/self/cgroup | grep ^0: ; \
         (echo 9 > $v2/cgroup.max.depth) 2>/dev/null || echo the limits are not its own"
    );
    let c = with_writable_cgroups(&script).with(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        for maps in ["uidMappings", "gidMappings"] {
            config["linux"][maps] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        }
    });
    let owned = std::process::Command::new("chown").args(["-R", "100000:100000"]).arg(c.rootfs()).status().unwrap();
    assert!(owned.success());
    assert_eq!(c.run().ok().stdout, "0::/sub\nthe limits are not its own\n");
    c.assert_nothing_left();
}

#[test]
fn x_e01_exec_joins_init_where_the_container_has_passed_its_controllers_on() {
    if !needs_root("x_e01_exec_joins_init_where_the_container_has_passed_its_controllers_on") || !has_v2() {
        return;
    }
    let script = format!(
        "{FIND_V2} mkdir $v2/init && echo $$ > $v2/init/cgroup.procs; \
         for c in $(cat $v2/cgroup.controllers); do echo +$c > $v2/cgroup.subtree_control; done; \
         cat $v2/cgroup.subtree_control > /new; mv /new /passed; exec sleep 1000"
    );
    let c = with_writable_cgroups(&script).started();
    c.wait_for("the controllers to be passed on", |c| c.rootfs().join("passed").exists());
    let passes = c.read("/passed").split_whitespace().any(|name| !["cpu", "cpuset", "pids"].contains(&name));
    let place = |output: &str| output.lines().find(|line| line.starts_with("0:")).unwrap().to_owned();
    let own = place(&c.exec("cat /proc/self/cgroup").ok().stdout);
    assert_eq!(own, if passes { "0::/init" } else { "0::/" });
    if passes {
        // Who names the container's own cgroup gets it, or the kernel's error.
        c.call(&["exec", "--cgroup", "/", &c.id, "true"]).fails(125).says("Device or resource busy");
    }
}

#[test]
fn what_the_machine_has_no_controller_for_is_refused_before_anything_is_made() {
    if !needs_root("what_the_machine_has_no_controller_for_is_refused_before_anything_is_made") {
        return;
    }
    let known = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let is_alone = fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok();
    if !known.lines().any(|line| line.starts_with("rdma")) {
        let c = limited(json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}));
        c.create().fails(1).says("linux.resources.rdma").says("no rdma controller");
        c.assert_nothing_left();
    }
    if is_alone {
        let c = limited(json!({"network": {"classID": 7}}));
        c.create().fails(1).says("linux.resources.network.classID: cgroup v2 has no such controller");
        limited(json!({"unified": {"nosuch.max": "7"}})).create().fails(1).says("nosuch");
    } else {
        let c = limited(json!({"unified": {"pids.max": "7"}}));
        c.create().fails(1).says("linux.resources.unified").says("it is for cgroup v2");
        c.assert_nothing_left();
    }
    let c = limited(json!({"unified": {"../pids.max": "7"}}));
    c.create().fails(1).says("is not the name of a cgroup file");
    c.assert_nothing_left();
}

#[test]
fn a_limit_that_init_cannot_live_with_is_named() {
    if !needs_root("a_limit_that_init_cannot_live_with_is_named") {
        return;
    }
    let c = limited(json!({"memory": {"limit": 4096}}));
    c.create().fails(1).says("init was killed for want of memory").says("linux.resources.memory.limit is 4096 bytes");
    c.assert_nothing_left();
}

// ── devices ──

/// In /dev, since a temporary directory may be on a file system that is mounted with nodev.
const TRY: &str = "mknod /dev/test-disk b 8 0; mknod /dev/test-kmsg c 1 11; mknod /dev/test-null c 1 3; \
                   head -c 1 /dev/test-disk 2>&1; (: > /dev/test-kmsg) 2>&1; echo x > /dev/test-null && echo null works; exit 0";

#[test]
fn a_device_that_is_not_allowed_cannot_be_opened() {
    if !needs_root("a_device_that_is_not_allowed_cannot_be_opened") {
        return;
    }
    let with_mknod = |rules: Value| {
        let c = Fixture::busybox().shell(TRY).with(|config| {
            config["linux"]["resources"]["devices"] = rules;
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_MKNOD"));
            }
        });
        c.run().ok().stdout
    };
    let deny = json!({"allow": false, "access": "rwm"});
    let out = with_mknod(json!([deny]));
    assert!(out.contains("/dev/test-disk: Operation not permitted"), "{out}");
    assert!(out.contains("/dev/test-kmsg: Operation not permitted"), "{out}");
    assert!(out.contains("null works"), "{out}");
    // As runc's default: without a rule nothing but the usual devices either.
    let out = with_mknod(json!([]));
    assert!(out.contains("/dev/test-kmsg: Operation not permitted") && out.contains("null works"), "{out}");
    let out = with_mknod(json!([deny, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}]));
    assert!(!out.contains("/dev/test-kmsg: Operation not permitted"), "{out}");
    assert!(out.contains("/dev/test-disk: Operation not permitted"), "{out}");
}

#[test]
fn device_rules_that_make_no_sense_are_refused() {
    for (rule, words) in [
        (json!({"allow": true, "type": "x", "access": "r"}), "type"),
        (json!({"allow": true, "type": "c", "access": "q"}), "access"),
        (json!({"allow": true, "type": "c", "major": -7, "access": "r"}), "major"),
    ] {
        let c = Fixture::busybox().with(|config| config["linux"]["resources"]["devices"] = json!([rule]));
        c.create().fails(1).says("linux.resources.devices[0]").says(words);
        c.assert_nothing_left();
    }
}
