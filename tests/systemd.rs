//! systemd as the cgroup driver, by a systemd that runs: the machine of `scripts/test --vm` has one.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use common::{Fixture, Output, is_root, needs_root, needs_systemd};

fn with_systemd(resources: serde_json::Value) -> Fixture {
    let c = Fixture::busybox();
    let id = c.id.clone();
    c.with(|config| {
        let slice = if is_root() { "system.slice" } else { "user.slice" };
        config["linux"]["cgroupsPath"] = json!(format!("{slice}:bt:{id}"));
        config["linux"]["resources"] = resources;
    })
}

fn run_detached(c: &Fixture) -> Output {
    c.make(&["--systemd-cgroup", "run", "--detach"])
}

fn scope(c: &Fixture) -> String {
    format!("bt-{}.scope", c.id)
}

/// A property of the container's scope, as systemctl prints it.
fn property(c: &Fixture, name: &str) -> String {
    let mut systemctl = Command::new("systemctl");
    systemctl.args((!is_root()).then_some("--user")).args(["show", "--value", "--property", name, &scope(c)]);
    let output = systemctl.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn cgroup_of(pid: i32) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    Path::new("/sys/fs/cgroup").join(own)
}

fn read(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).unwrap().trim().to_owned()
}

#[test]
fn a_container_is_a_scope_whose_limits_systemd_knows() {
    if !needs_systemd("a_container_is_a_scope_whose_limits_systemd_knows") {
        return;
    }
    let c = with_systemd(json!({ "pids": { "limit": 50 }, "memory": { "limit": 67_108_864 } }))
        .annotation("org.systemd.property.TimeoutStopUSec", "uint64 5000000");
    run_detached(&c).ok();
    let cgroup = cgroup_of(c.pid());
    assert!(cgroup.ends_with(scope(&c)), "{}", cgroup.display());
    let show = |name: &str| property(&c, name);
    assert_eq!(Path::new("/sys/fs/cgroup").join(show("ControlGroup").trim_start_matches('/')), cgroup);
    assert_eq!([show("TasksMax"), show("MemoryMax"), show("Delegate")], ["50", "67108864", "yes"]);
    assert_eq!(
        [show("TimeoutStopUSec"), show("Description")],
        ["5s".to_owned(), format!("bookend container {}", c.id)]
    );
    assert_eq!([read(&cgroup, "pids.max"), read(&cgroup, "memory.max")], ["50", "67108864"]);

    // Both sides hear of an update, so that systemd does not put the old limits back.
    c.call(&["update", "--pids-limit", "77", "--memory", "134217728", &c.id]).ok();
    assert_eq!([show("TasksMax"), show("MemoryMax")], ["77", "134217728"]);
    assert_eq!([read(&cgroup, "pids.max"), read(&cgroup, "memory.max")], ["77", "134217728"]);

    // Not always the first: what another test has mounted of version 1 is there, too.
    let seen = c.exec("cat /proc/self/cgroup").ok().stdout;
    assert!(seen.lines().any(|line| line.starts_with("0::/")), "{seen}");
    c.verb("pause").ok();
    assert_eq!(read(&cgroup, "cgroup.freeze"), "1");
    c.call(&["delete", "--force", &c.id]).ok();
    assert_eq!(show("LoadState"), "not-found");
    assert!(!cgroup.exists());
}

/// A login session may not move its processes into a scope: systemd does it, and into the very place that was named.
#[test]
fn exec_is_put_into_the_sub_cgroup_of_the_scope_that_is_named() {
    if !needs_systemd("exec_is_put_into_the_sub_cgroup_of_the_scope_that_is_named") {
        return;
    }
    let c = with_systemd(json!({}));
    run_detached(&c).ok();
    fs::create_dir_all(cgroup_of(c.pid()).join("sub/deeper")).unwrap();
    for place in ["/sub", "/sub/deeper"] {
        let output = c.call(&["exec", "--cgroup", place, &c.id, "cat", "/proc/self/cgroup"]).ok();
        assert!(output.stdout.trim_end().ends_with(place), "{place}: {}", output.stdout);
    }
    c.call(&["exec", "--cgroup", "none", &c.id, "true"]).fails(125).says("none: No such file or directory");
}

#[test]
fn x_e01_exec_joins_init_where_the_scope_has_passed_its_controllers_on() {
    if !needs_systemd("x_e01_exec_joins_init_where_the_scope_has_passed_its_controllers_on") {
        return;
    }
    let c = with_systemd(json!({})).entrypoint(["sleep", "1000"]);
    run_detached(&c).ok();
    let scope = cgroup_of(c.pid());
    fs::create_dir(scope.join("inner")).unwrap();
    fs::write(scope.join("inner/cgroup.procs"), c.pid().to_string()).unwrap();
    fs::write(scope.join("cgroup.subtree_control"), "+memory").unwrap();
    let of_exec = c.exec("cat /proc/self/cgroup").ok().stdout;
    assert!(of_exec.ends_with("/inner\n"), "{of_exec}");
}

#[test]
fn hooks_run_in_the_scope_and_after_it() {
    if !needs_systemd("hooks_run_in_the_scope_and_after_it") {
        return;
    }
    let c = with_systemd(json!({}))
        .hook("postStart", "cat /proc/self/cgroup")
        .hook("preStop", "cat /proc/self/cgroup")
        .handler("postStop", json!({ "exec": { "command": ["/bin/echo", "after"] } }));
    run_detached(&c).ok();
    let cgroup = cgroup_of(c.pid());
    c.stop().ok();
    let logs = c.verb("logs").ok().stdout;
    assert!(logs.contains("after"), "{logs}");
    assert!(c.journal().iter().all(|record| record["reason"] != "HookOutsideCgroup"), "{:?}", c.journal());
    c.verb("delete").ok();
    assert!(!cgroup.exists() && property(&c, "LoadState") == "not-found");
}

/// The word comes from the container, and the service's main process is its ENTRYPOINT, though bookend has ended.
#[test]
fn a_service_of_type_notify_is_active_when_its_container_says_that_it_is_ready() {
    let test = "a_service_of_type_notify_is_active_when_its_container_says_that_it_is_ready";
    // A user's service ends with bookend: the user's systemd does not take the word for another main process, presumably since it
    // is in another cgroup.
    if !needs_systemd(test) || !needs_root(test) {
        return;
    }
    let say_ready = "ln -sf $NOTIFY_SOCKET /dev/log; logger \"$(printf 'x\nREADY=1\nx')\"";
    let wait = "while [ ! -S /run/notify/notify.sock ]; do sleep 0.05; done";
    let c = Fixture::busybox().shell(&format!("{wait}; touch /before; {say_ready}; exec /bin/entrypoint"));
    c.write();
    let unit = format!("bt-{}.service", c.id);
    let mut service = Command::new("systemd-run");
    service.args(["--quiet", "--collect", "-p", "Type=notify", "-p", "NotifyAccess=all", "--unit", &unit]);
    service.arg(common::bookend()).arg("--root").arg(c.root()).args(["run", "--detach", "--bundle"]);
    service.arg(c.bundle()).arg(&c.id);
    common::finish(service, &c.scratch).ok();
    assert!(c.rootfs().join("before").exists());
    let show = |name: &str| {
        let mut systemctl = Command::new("systemctl");
        systemctl.args(["show", "--value", "--property", name, &unit]);
        common::finish(systemctl, &c.scratch).ok().stdout.trim().to_owned()
    };
    assert_eq!(show("ActiveState"), "active");
    c.wait_for("the second word, MAINPID", |c| show("MainPID") == c.pid().to_string());
    let mut stop = Command::new("systemctl");
    stop.args(["stop", &unit]);
    common::finish(stop, &c.scratch).ok();
    c.wait_for("the end", |c| c.status() == "stopped");
}

#[test]
fn one_that_ends_by_itself_leaves_no_unit() {
    if !needs_systemd("one_that_ends_by_itself_leaves_no_unit") {
        return;
    }
    let c = with_systemd(json!({})).entrypoint(["/bin/false"]);
    c.make(&["--systemd-cgroup", "run"]).fails(1);
    assert_eq!(property(&c, "LoadState"), "not-found");
    c.assert_nothing_left();
}

#[test]
fn a_name_that_is_taken_is_refused_and_its_owner_stays() {
    if !needs_systemd("a_name_that_is_taken_is_refused_and_its_owner_stays") {
        return;
    }
    let c = with_systemd(json!({}));
    run_detached(&c).ok();
    let path = c.config["linux"]["cgroupsPath"].clone();
    let other = Fixture::busybox().with(|config| config["linux"]["cgroupsPath"] = path);
    other.make(&["--systemd-cgroup", "create"]).fails(1).says("in use by the processes");
    assert_eq!(c.status(), "running");
}

#[test]
fn s15_a_property_that_runs_a_command_is_refused_before_anything_is_made() {
    if !needs_systemd("s15_a_property_that_runs_a_command_is_refused_before_anything_is_made") {
        return;
    }
    let c = with_systemd(json!({})).annotation("org.systemd.property.ExecStopPost", "[('/bin/sh', ['sh'], false)]");
    run_detached(&c).fails(125).says("org.systemd.property.ExecStopPost").says("TimeoutStopUSec");
    assert_eq!(property(&c, "LoadState"), "not-found");
    c.assert_nothing_left();
}

#[test]
fn without_a_bus_the_error_says_what_to_do() {
    let c = with_systemd(json!({}));
    c.write();
    let bundle = c.bundle();
    let mut command = c.command(&["--systemd-cgroup", "create", "--bundle", bundle.to_str().unwrap(), &c.id]);
    command
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");
    let output = common::finish(command, &c.scratch).fails(1).says("--systemd-cgroup").says("leave the flag out");
    assert!(!c.state_dir().exists(), "{}", output.stderr);
}

#[test]
fn a_path_of_the_other_driver_is_refused_by_both() {
    let c = with_systemd(json!({}));
    c.create().fails(1).says("give --systemd-cgroup");
    if !needs_systemd("a_path_of_the_other_driver_is_refused_by_both") {
        return;
    }
    let c = c.with(|config| config["linux"]["cgroupsPath"] = json!("/a/b"));
    c.make(&["--systemd-cgroup", "create"]).fails(1).says("expected cgroupsPath to be of format \"slice:prefix:name\"");
}
