//! What only an unprivileged user can show. The other files run as such a user too.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use common::{Fixture, bookend, needs_a_user, subordinate};
use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};

/// Maps root to the caller, and 65535 more ids from `uid` and `gid` on.
fn with_range(c: Fixture, uid: u32, gid: u32) -> Fixture {
    let map = |own: u32, range: u32| json!([{ "containerID": 0, "hostID": own, "size": 1 }, { "containerID": 1, "hostID": range, "size": 65535 }]);
    c.with(|config| {
        config["linux"]["uidMappings"] = map(geteuid().as_raw(), uid);
        config["linux"]["gidMappings"] = map(getegid().as_raw(), gid);
    })
}

fn with_all_hooks(c: Fixture) -> Fixture {
    c.handler("preStart", json!({"exec": {"command": ["/bin/sh", "-c", "echo preStart $(id -u) >> /log"]}}))
        .hook("postStart", "echo postStart $(id -u) >> /log")
        .hook("preStop", "echo preStop $(id -u) >> /log")
        .handler("postStop", json!({"exec": {"command": ["/bin/sh", "-c", "echo postStop $(id -u) >> /log"]}}))
}

const ALL_HOOKS: &str = "preStart 0\npostStart 0\npreStop 0\npostStop 0\n";

#[test]
fn the_verbs_work_with_one_mapped_id_and_no_rights() {
    if !needs_a_user("the_verbs_work_with_one_mapped_id_and_no_rights") {
        return;
    }
    let c = Fixture::busybox();
    c.create().ok();
    // The waiting init may not be looked into (S24), not even by its own user.
    c.exec("id -u").ok().says("0");
    c.verb("start").ok();
    c.exec("cat /proc/self/uid_map").ok().says(&geteuid().to_string());
    assert_eq!(c.state()["status"], "running");
    c.verb("kill").ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    c.verb("delete").ok();
    c.assert_nothing_left();
}

#[test]
fn all_four_hooks_run_around_a_detached_container() {
    if !needs_a_user("all_four_hooks_run_around_a_detached_container") {
        return;
    }
    let c = with_all_hooks(Fixture::busybox()).started();
    c.stop().ok();
    assert_eq!(c.read("/log"), ALL_HOOKS);
}

#[test]
fn all_four_hooks_run_around_create_and_start() {
    if !needs_a_user("all_four_hooks_run_around_create_and_start") {
        return;
    }
    let c = with_all_hooks(Fixture::busybox());
    c.create().ok();
    c.verb("start").ok();
    c.verb("kill").ok();
    c.wait_for_phase("Stopped");
    c.verb("delete").ok();
    assert_eq!(c.read("/log"), ALL_HOOKS);
}

#[test]
fn all_four_hooks_run_around_a_foreground_run() {
    if !needs_a_user("all_four_hooks_run_around_a_foreground_run") {
        return;
    }
    let c = with_all_hooks(Fixture::busybox());
    let run = c.spawn_run();
    c.wait_for_phase("Running");
    run.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(run.wait().code, 0);
    assert_eq!(c.read("/log"), ALL_HOOKS);
}

#[test]
fn x_e18_hooks_without_a_control_group_are_told_once() {
    if !needs_a_user("x_e18_hooks_without_a_control_group_are_told_once") {
        return;
    }
    let c = with_all_hooks(Fixture::busybox()).started();
    if !common::cgroups_named(&c.id).is_empty() {
        println!("this user has a control group of its own: there is nothing to warn of");
        return;
    }
    c.stop().ok();
    let told = c.reasons().iter().filter(|reason| *reason == "HookOutsideCgroup").count();
    assert_eq!(told, 1, "{:?}", c.reasons());
    assert_eq!(c.event("HookOutsideCgroup")["type"], "Warning");
}

#[test]
fn o_03_post_stop_has_a_pid_namespace_and_a_masked_proc_of_its_own() {
    if !needs_a_user("o_03_post_stop_has_a_pid_namespace_and_a_masked_proc_of_its_own") {
        return;
    }
    let script = "echo $$; ls /proc | grep -c '^[0-9]'; cat /proc/timer_list; echo x > /proc/sys/kernel/hostname || echo ro; hostname";
    let c = Fixture::busybox()
        .handler("postStop", json!({"exec": {"command": ["/bin/sh", "-c", format!("({script}) > /log 2>&1")]}}))
        .started();
    c.stop().ok();
    let log = c.read("/log");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], "1", "{log}");
    assert!(lines[1].parse::<u32>().unwrap() <= 4, "{log}");
    assert!(log.contains("ro\n") && log.contains("Read-only file system"), "{log}");
    assert_eq!(lines.last(), Some(&"bookend"), "{log}");
}

#[test]
fn s_20_what_a_hook_left_in_the_hosts_pid_namespace_is_killed_with_the_container() {
    if !needs_a_user("s_20_what_a_hook_left_in_the_hosts_pid_namespace_is_killed_with_the_container") {
        return;
    }
    let c =
        Fixture::busybox().without_namespace("pid").hook("postStart", "sleep 4711 > /dev/null 2>&1 & echo $! > /pid");
    // The kernel mounts a new proc only in a pid namespace of the same user namespace.
    let c = c.with(|config| {
        for mount in config["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/proc" {
                *mount = json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]});
            }
        }
    });
    let c = c.started();
    let pid = c.read("/pid").trim().to_owned();
    let lives = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("(sleep)") && !stat.contains(") Z")
    };
    c.wait_for("the hook's child to be executed", |_| lives());
    c.stop().ok();
    c.wait_for("the hook's child to be killed", |_| !lives());
}

#[test]
fn x_e15_a_hook_that_times_out_dies_with_its_children() {
    if !needs_a_user("x_e15_a_hook_that_times_out_dies_with_its_children") {
        return;
    }
    let c = Fixture::busybox()
        .hook("postStart", "setsid sleep 4712 & setsid sh -c 'sleep 4713; :' & sleep 4714")
        .policy("postStart", "timeoutSeconds", json!(1))
        .policy("postStart", "onFailure", json!("ignore"))
        .started();
    assert_eq!(c.event("FailedPostStartHook")["message"], "PostStartHook failed: timed out after 1s (ignored)");
    c.wait_for("the hook's tree to die", |c| !c.exec("ps | grep -v grep").stdout.contains("sleep 471"));
}

#[test]
fn r_06_leftovers_of_pre_start_are_killed_before_the_entrypoint() {
    if !needs_a_user("r_06_leftovers_of_pre_start_are_killed_before_the_entrypoint") {
        return;
    }
    let left = "setsid sleep 4715 > /dev/null 2>&1 & exit 0";
    let c = Fixture::busybox()
        .handler("preStart", json!({"exec": {"command": ["/bin/sh", "-c", left]}}))
        .shell("ps > /log; exec /bin/entrypoint")
        .started();
    c.wait_for("the ENTRYPOINT", |c| c.read("/log").contains("ps"));
    assert!(!c.read("/log").contains("sleep 4715"), "{}", c.read("/log"));
}

#[test]
fn a_range_of_subordinate_ids_is_mapped_by_newuidmap() {
    if !needs_a_user("a_range_of_subordinate_ids_is_mapped_by_newuidmap") {
        return;
    }
    let (Some(uid), Some(gid)) = (subordinate("/etc/subuid"), subordinate("/etc/subgid")) else {
        // The same user must be told how to get there.
        let c = with_range(Fixture::busybox(), 100_000, 100_000);
        c.create().fails(1).says("newuidmap").says("give this user a range in /etc/subuid, or map its own id alone");
        return c.assert_nothing_left();
    };
    let c = with_range(Fixture::busybox(), uid, gid)
        .with(|config| config["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [5] }))
        .shell("id > /tmp/id; touch /tmp/file; exec /bin/entrypoint")
        .hook("postStart", "id > /tmp/hook")
        .started();
    c.wait_for("the file", |c| c.rootfs().join("tmp/file").exists());
    assert_eq!(fs::metadata(c.rootfs().join("tmp/file")).unwrap().uid(), uid + 999);
    assert_eq!(c.read("/tmp/id").trim(), "uid=1000(app) gid=1000(app) groups=5(tty)");
    assert_eq!(c.read("/tmp/hook"), c.read("/tmp/id"));
    c.stop().ok();
    // Files of other ids are only the container's to remove.
    let remove =
        c.with(|config| config["process"]["args"] = json!(["/bin/sh", "-c", "rm /tmp/id /tmp/file /tmp/hook"]));
    remove.verb("delete").ok();
    fs::remove_file(remove.bundle().join("lifecycle.json")).unwrap();
    fs::write(remove.bundle().join("config.json"), remove.config.to_string()).unwrap();
    remove.call(&["run", "--bundle", remove.bundle().to_str().unwrap(), &remove.id]).ok();
}

#[test]
fn the_caller_may_be_another_user_than_root_in_a_single_mapping() {
    if !needs_a_user("the_caller_may_be_another_user_than_root_in_a_single_mapping") {
        return;
    }
    let map = |own: u32| json!([{ "containerID": 1000, "hostID": own, "size": 1 }]);
    let c = Fixture::busybox()
        .with(|config| {
            config["linux"]["uidMappings"] = map(geteuid().as_raw());
            config["linux"]["gidMappings"] = map(getegid().as_raw());
            config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        })
        .handler("postStop", json!({"exec": {"command": ["/bin/sh", "-c", "id -u > /log"]}}))
        .started();
    c.exec("id -u").ok().says("1000");
    c.stop().ok();
    assert_eq!(c.read("/log"), "1000\n");
}

#[test]
fn limits_that_cannot_be_set_and_ids_that_are_not_mapped_are_refused() {
    if !needs_a_user("limits_that_cannot_be_set_and_ids_that_are_not_mapped_are_refused") {
        return;
    }
    let c = Fixture::busybox().with(|config| config["process"]["user"] = json!({ "uid": 5, "gid": 0 }));
    c.create().fails(1).says("process.user.uid 5 is not mapped in the user namespace");
    c.assert_nothing_left();
    let c = Fixture::busybox().with(|config| {
        let list = config["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|namespace| namespace["type"] != "user");
        config["linux"].as_object_mut().unwrap().remove("uidMappings");
        config["linux"].as_object_mut().unwrap().remove("gidMappings");
    });
    c.create().fails(1).says("rootless containers need a user namespace").says("bookend spec --rootless");
    c.assert_nothing_left();
}

#[test]
fn a_terminal_and_every_new_namespace_are_there_without_rights() {
    if !needs_a_user("a_terminal_and_every_new_namespace_are_there_without_rights") {
        return;
    }
    let c = Fixture::busybox().shell("tty; test -c /dev/console && hostname; ip addr show lo").with(|config| {
        config["process"]["terminal"] = json!(true);
        let list = config["linux"]["namespaces"].as_array_mut().unwrap();
        list.extend(["network", "cgroup", "time"].map(|kind| json!({ "type": kind })));
    });
    c.run().ok().says("/dev/pts/0").says("bookend").says("127.0.0.1");
}

#[test]
fn probes_reach_the_hosts_network_and_one_of_the_containers_own() {
    if !needs_a_user("probes_reach_the_hosts_network_and_one_of_the_containers_own") {
        return;
    }
    let own = |c: Fixture| {
        c.with(|config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "network" }));
        })
    };
    // A free port of the host, as good as certainly still free a moment later.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (c, port) in [(Fixture::busybox(), free), (own(Fixture::busybox()), 8080)] {
        let c = c
            .entrypoint(["busybox", "httpd", "-f", "-p", &format!("127.0.0.1:{port}")])
            .handler("postStart", json!({"httpGet": {"path": "/", "port": port}}))
            .policy("postStart", "retries", json!(100))
            .policy("postStart", "retryDelaySeconds", json!(0.1))
            .started();
        assert_eq!(c.status(), "running");
        c.call(&["stop", "--grace", "0", &c.id]).ok();
    }
}

#[test]
fn without_root_given_containers_live_where_interface_5_says() {
    if !needs_a_user("without_root_given_containers_live_where_interface_5_says") {
        return;
    }
    let c = Fixture::busybox();
    c.write();
    let call = |args: &[&str], xdg: Option<&str>| {
        let mut command = std::process::Command::new(bookend());
        command.args(args).env_remove("XDG_RUNTIME_DIR").envs(xdg.map(|dir| ("XDG_RUNTIME_DIR", dir)));
        common::finish(command, &c.scratch)
    };
    let (bundle, run) = (c.bundle(), c.scratch.path().join("run"));
    let (bundle, run) = (bundle.to_str().unwrap(), run.to_str().unwrap());
    let tmp = format!("/tmp/bookend-{}", geteuid());
    for (xdg, root) in [(Some(run), format!("{run}/bookend")), (Some(""), tmp.clone()), (None, tmp)] {
        call(&["create", "--bundle", bundle, &c.id], xdg).ok();
        let dir = fs::metadata(format!("{root}/{}", c.id)).unwrap();
        let mode = fs::metadata(&root).unwrap().mode() & 0o777;
        let state: Value = call(&["state", &c.id], xdg).ok().json();
        call(&["delete", "--force", &c.id], xdg).ok();
        assert_eq!((dir.mode() & 0o777, mode), (0o700, 0o700), "{root}");
        assert_eq!(state["status"], "created");
    }
}
