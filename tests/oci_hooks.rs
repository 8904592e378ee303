//! The hooks of the runtime specification, `hooks` of config.json: not to be mixed up with lifecycle hooks.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use common::{Fixture, needs_root};

/// A script of the host that is a hook. `$1` is the kind of the hook, by its arguments.
fn script(c: &Fixture, name: &str, text: &str) -> PathBuf {
    let path = c.scratch.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn with_hook(c: Fixture, kind: &str, hook: Value) -> Fixture {
    c.with(|config| {
        let list = &mut config["hooks"][kind];
        if list.is_null() {
            *list = json!([]);
        }
        list.as_array_mut().unwrap().push(hook);
    })
}

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

#[test]
fn each_kind_runs_at_its_moment_with_the_state_on_standard_input() {
    let c = Fixture::busybox().shell("echo entrypoint >> /order; exec sleep 1000").annotation("org.example/a", "b");
    let dir = c.scratch.path().to_owned();
    let order = c.rootfs().join("order");
    // startContainer runs inside: where the host's paths are not.
    let body = |order: &str, dir: &str| {
        format!(
            "echo $1 >> {order}; cat > {dir}/state-$1; echo \"$A:$HOME:$#\" > {dir}/env-$1; readlink /proc/self/ns/mnt > {dir}/mnt-$1"
        )
    };
    let outside = script(&c, "hook", &body(order.to_str().unwrap(), dir.to_str().unwrap()));
    let inside = c.rootfs().join("bin/inside-hook");
    fs::write(&inside, format!("#!/bin/sh\n{}\n", body("/order", ""))).unwrap();
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755)).unwrap();
    let c = KINDS.iter().fold(c, |c, kind| {
        let path = if *kind == "startContainer" { PathBuf::from("/bin/inside-hook") } else { outside.clone() };
        with_hook(
            c,
            kind,
            json!({"path": path, "args": ["hook", kind, "third"], "env": ["A=x y", "PATH=/bin:/usr/bin"]}),
        )
    });
    let read =
        |name: &str| fs::read_to_string(dir.join(name)).or_else(|_| fs::read_to_string(c.rootfs().join(name))).unwrap();
    c.create().ok();
    assert_eq!(c.read("/order"), "prestart\ncreateRuntime\ncreateContainer\n");
    let pid = c.pid();
    c.verb("start").ok();
    c.wait_for("the entrypoint", |c| c.read("/order").lines().count() == 6);
    let mut lines: Vec<String> = c.read("/order").lines().map(str::to_owned).collect();
    assert_eq!(lines[3], "startContainer");
    lines[4..].sort();
    assert_eq!(lines[4..], ["entrypoint", "poststart"], "poststart and the ENTRYPOINT run side by side");
    c.call(&["kill", &c.id, "KILL"]).ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    c.verb("delete").ok();
    assert_eq!(c.read("/order").lines().last().unwrap(), "poststop");

    let ours = fs::read_link("/proc/self/ns/mnt").unwrap();
    for kind in KINDS {
        let state: Value = serde_json::from_str(&read(&format!("state-{kind}"))).unwrap();
        assert_eq!(state["id"], c.id.as_str(), "{kind}");
        assert_eq!(state["bundle"], c.bundle().to_str().unwrap(), "{kind}");
        assert_eq!(state["annotations"], json!({"org.example/a": "b"}), "{kind}");
        let status = match kind {
            "startContainer" => "created",
            "poststart" => "running",
            "poststop" => "stopped",
            _ => "creating",
        };
        assert_eq!(state["status"], status, "{kind}");
        if !["poststop", "startContainer", "createContainer"].contains(&kind) {
            assert_eq!(state["pid"], pid, "{kind}");
        }
        assert_eq!(read(&format!("env-{kind}")), "x y::2\n", "{kind}: nothing of our environment");
        let same = read(&format!("mnt-{kind}")).trim() == ours.to_str().unwrap();
        assert_eq!(same, !["createContainer", "startContainer"].contains(&kind), "{kind}: whose mount namespace");
    }
}

#[test]
fn a_failing_hook_before_the_start_fails_create_by_name_and_leaves_nothing() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let c = Fixture::busybox();
        let bad = script(&c, "bad", "echo the reason >&2; exit 3");
        let c = with_hook(with_hook(c, kind, json!({"path": "/bin/true"})), kind, json!({"path": bad}));
        c.create().fails(1).says(&format!("{kind} hook #1")).says("exit code 3").says("the reason");
        c.assert_nothing_left();
        c.run().fails(125).says(&format!("{kind} hook #1"));
        c.assert_nothing_left();
    }
}

/// runtime.md, "Lifecycle": it goes on with `delete`, and so with poststop.
#[test]
fn poststop_hooks_are_run_once_when_the_container_could_not_be_made_or_started() {
    for (kind, verb) in
        [("createRuntime", "create"), ("createContainer", "create"), ("poststart", "run"), ("", "create")]
    {
        for lifecycle in [false, true] {
            let c = Fixture::busybox();
            let log = c.scratch.path().join("log");
            let tell = script(&c, "tell", &format!("cat >> {0}; echo >> {0}", log.display()));
            let c = with_hook(c, "poststop", json!({"path": tell}));
            let c = if lifecycle { c.hook("preStop", "true") } else { c };
            let c = match kind {
                "" => c.entrypoint(["/nonexistent"]),
                kind => with_hook(c, kind, json!({"path": "/bin/false"})),
            };
            let verb = if verb == "run" { vec!["run", "--detach"] } else { vec!["create"] };
            assert_ne!(c.make(&verb).code, 0, "{kind}");
            c.assert_nothing_left();
            let said = fs::read_to_string(&log).unwrap_or_default();
            assert_eq!(said.lines().count(), 1, "{kind}, {lifecycle}: {said:?}");
            assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["status"], "stopped", "{kind}");
        }
    }
}

#[test]
fn a_failing_start_container_hook_fails_start() {
    let c = with_hook(
        Fixture::busybox().shell("echo ran > /ran"),
        "startContainer",
        json!({"path": "/bin/sh", "args": ["sh", "-c", "exit 4"]}),
    );
    c.create().ok();
    c.verb("start").fails(1).says("startContainer hook #0").says("exit code 4");
    c.wait_for("stopped", |c| c.status() == "stopped");
    assert_eq!(c.read("/ran"), "");
    c.verb("delete").ok();
    c.run().fails(125).says("startContainer hook #0");
    c.assert_nothing_left();
}

/// What init itself and the hooks beside it need is no concern of the program's limits.
#[test]
fn a_limit_of_open_files_is_the_programs_however_low_it_is() {
    for limit in [3, 7, 63] {
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo ran > /hook"]});
        let c = with_hook(Fixture::busybox(), "startContainer", hook).with(|config| {
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": limit, "hard": limit + 1}]);
        });
        let both = format!("{limit}\n{}\n", limit + 1);
        let c = c.shell("ulimit -n; ulimit -Hn");
        assert_eq!(c.run().ok().stdout, both);
        assert_eq!(c.read("/hook"), "ran\n");
        let c = c.entrypoint(["/bin/sleep", "1000"]).hook("postStart", "ulimit -n; ulimit -Hn").started();
        assert_eq!(c.exec("ulimit -n; ulimit -Hn").ok().stdout, both);
        let logs = c.call(&["logs", &c.id]).ok().stdout;
        let last_words: Vec<&str> = logs.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert!(last_words.ends_with(&both.lines().collect::<Vec<_>>()), "{logs}");
    }
}

/// Its word is what counts, not whether it still lives or listens when that is heard.
#[test]
fn a_failing_start_container_hook_is_told_however_long_init_takes_to_end() {
    if !needs_root("a_failing_start_container_hook_is_told_however_long_init_takes_to_end") {
        return; // newuidmap and newgidmap have no rights under a tracer
    }
    let c = with_hook(Fixture::busybox(), "startContainer", json!({"path": "/bin/false"}));
    c.write();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=exit_group"]);
    command.args(["-e", "inject=exit_group:delay_enter=300000", "--"]);
    command.arg(common::bookend()).arg("--root").arg(c.root()).args(["run", "--bundle"]).arg(c.bundle()).arg(&c.id);
    common::finish(command, &c.scratch).fails(125).says("startContainer hook #0 /bin/false: exit code 1");
    c.assert_nothing_left();
}

#[test]
fn a_failing_poststart_hook_fails_start_and_ends_the_container() {
    let c = with_hook(Fixture::busybox(), "poststart", json!({"path": "/bin/false"}));
    c.create().ok();
    c.verb("start").fails(1).says("poststart hook #0 /bin/false: exit code 1");
    c.wait_for("stopped", |c| c.status() == "stopped");
    c.verb("delete").ok();
    c.run_detached().fails(125).says("poststart hook #0");
    c.assert_nothing_left();
}

#[test]
fn a_failing_poststop_hook_is_a_warning_and_the_others_still_run() {
    let c = Fixture::busybox();
    let mark = script(&c, "mark", "echo ran > \"$(dirname \"$0\")/marked\"");
    let c = with_hook(with_hook(c, "poststop", json!({"path": "/bin/false"})), "poststop", json!({"path": mark}));
    c.create().ok();
    c.verb("delete").ok().says("warning").says("poststop hook #0 /bin/false: exit code 1");
    assert_eq!(fs::read_to_string(c.scratch.path().join("marked")).unwrap(), "ran\n");
    c.assert_nothing_left();
}

#[test]
fn a_timeout_is_a_bound_for_the_hook_and_what_it_started() {
    let c = Fixture::busybox();
    let slow = script(&c, "slow", &format!("echo $$ > {}/pid; sleep 1001 & sleep 1001", c.scratch.path().display()));
    let c = with_hook(c, "createRuntime", json!({"path": slow, "timeout": 1}));
    let begun = std::time::Instant::now();
    c.create().fails(1).says("createRuntime hook #0").says("timed out after 1s");
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    c.assert_nothing_left();
}

/// Nothing else would end one without a timeout, and who creates or starts the container has its lock.
#[test]
fn delete_force_ends_a_container_whose_hook_hangs() {
    let hangs = "echo hangs > /tmp/hangs; exec sleep 1000";
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        for lifecycle in [false, true] {
            let c = Fixture::busybox();
            let seen = c.rootfs().join("tmp/hangs");
            let outside = script(&c, "hook", &hangs.replace("/tmp/hangs", seen.to_str().unwrap()));
            let inside = json!({"path": "/bin/sh", "args": ["sh", "-c", hangs]});
            let hook = if kind == "startContainer" { inside } else { json!({"path": outside}) };
            let c = with_hook(c, kind, hook);
            let c = if lifecycle { c.hook("preStop", "true") } else { c };
            c.write();
            let hanging = match kind {
                "startContainer" => {
                    c.create().ok();
                    c.spawn(&["start", &c.id])
                }
                _ => c.spawn(&["create", "--bundle", c.bundle().to_str().unwrap(), &c.id]),
            };
            c.wait_for("the hook", |_| fs::read_to_string(&seen).is_ok_and(|text| text == "hangs\n"));
            c.call(&["delete", "--force", &c.id]).ok();
            let why = match kind {
                "startContainer" if lifecycle => "stopped before the ENTRYPOINT was executed",
                "startContainer" => "init ended before it executed its program",
                "createContainer" => "init ended before it was ready",
                _ => "hook: killed, since init has ended",
            };
            hanging.wait().fails(1).says(why);
            c.assert_nothing_left();
        }
    }
}

#[test]
fn delete_force_ends_a_create_that_has_no_init_yet() {
    if !needs_root("delete_force_ends_a_create_that_has_no_init_yet") {
        return;
    }
    let c = Fixture::busybox();
    let path = script(&c, "hook", "exec sleep 1000");
    let c = with_hook(c, "createRuntime", json!({"path": path}));
    c.write();
    // The link to init is made after everything else is written down, and before init.
    let mut create = Command::new("strace");
    create.args(["-qq", "-o", "/dev/null", "-e", "trace=socketpair"]);
    create.args(["-e", "inject=socketpair:delay_enter=1500000"]);
    create.arg(common::bookend()).arg("--root").arg(c.root()).args(["create", "--bundle"]).arg(c.bundle()).arg(&c.id);
    let mut create = create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    c.wait_for("the container's directory", |c| c.state_dir().join("identity.json").exists());
    let identity = fs::read_to_string(c.state_dir().join("identity.json")).unwrap();
    assert!(identity.contains("\"pid\":0"), "{identity}");
    c.call(&["delete", "--force", &c.id]).ok();
    assert!(!create.wait().unwrap().success());
    c.assert_nothing_left();
}

/// As every other end of init: not the code of an execve that failed.
#[test]
fn h7_an_init_that_is_killed_between_its_start_and_its_execve_has_its_code() {
    let hangs = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo hangs > /tmp/hangs; exec sleep 1000"]});
    let container =
        || with_hook(Fixture::busybox().hook("postStop", "echo post >> /post"), "startContainer", hangs.clone());
    let kill = |c: &Fixture| {
        c.wait_for("the hook", |c| c.read("/tmp/hangs") == "hangs\n");
        Command::new("sh").arg("-c").arg(format!("kill -9 {}", c.pid())).status().unwrap();
    };
    let c = container();
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    kill(&c);
    start.wait().fails(1).says("container exited (SIGKILL) before its ENTRYPOINT was executed");
    c.verb("wait").fails(137);
    assert_eq!(c.event("Exited")["signal"], "SIGKILL");
    assert_eq!(c.read("/post"), "post\n", "O-02");

    let c = container();
    let run = c.spawn_run();
    c.wait_for("the hook", |c| c.read("/tmp/hangs") == "hangs\n");
    // What ends nothing is no reason: the terminal's size.
    run.signal(Signal::SIGWINCH);
    c.wait_for("the signal to be taken", |_| {
        let status = fs::read_to_string(format!("/proc/{}/status", run.child.id())).unwrap();
        status.lines().any(|line| line == "ShdPnd:\t0000000000000000")
    });
    kill(&c);
    run.wait().fails(137).says("before its ENTRYPOINT was executed");
}

#[test]
fn a_container_that_is_being_created_is_not_said_to_have_lost_its_supervisor() {
    let c = Fixture::busybox().hook("preStop", "true");
    let seen = c.rootfs().join("tmp/hangs");
    let path = script(&c, "hook", &format!("echo hangs > {}; exec sleep 1000", seen.display()));
    let c = with_hook(c, "createRuntime", json!({"path": path}));
    c.write();
    let creating = c.spawn(&["create", "--bundle", c.bundle().to_str().unwrap(), &c.id]);
    c.wait_for("the hook", |_| fs::read_to_string(&seen).is_ok_and(|text| text == "hangs\n"));
    for verb in [["start"].as_slice(), &["stop"], &["kill"]] {
        c.call(&[verb, &[&c.id]].concat()).fails(1).says("is still being created: end it with `bookend delete --force");
    }
    c.call(&["delete", "--force", &c.id]).ok();
    creating.wait().fails(1);
    c.assert_nothing_left();
}

#[test]
fn hooks_that_cannot_be_run_are_told() {
    let c = with_hook(Fixture::busybox(), "createRuntime", json!({"path": "/nonexistent/hook"}));
    c.create().fails(1).says("createRuntime hook #0 /nonexistent/hook").says("No such file");
    c.assert_nothing_left();
    let c = with_hook(Fixture::busybox(), "createRuntime", json!({"path": "relative/hook"}));
    c.create().fails(1).says("hooks.createRuntime[0].path").says("not an absolute path");
    c.assert_nothing_left();
    let c = with_hook(Fixture::busybox(), "poststart", json!({"path": "/bin/true", "timeout": 0}));
    c.create().fails(1).says("hooks.poststart[0].timeout");
    c.assert_nothing_left();
}

#[test]
fn kinds_that_the_specification_does_not_know_are_ignored_with_a_warning() {
    let c = with_hook(Fixture::busybox().shell("exit 3"), "poststrat", json!({"path": "/bin/false"}));
    c.run().fails(3).says("hooks.poststrat").says("poststart");
}

#[test]
fn oci_hooks_and_lifecycle_hooks_go_together() {
    let c = Fixture::busybox().hook("postStart", "echo postStart >> /order").shell("exec sleep 1000");
    let order = c.rootfs().join("order");
    let path = script(&c, "hook", &format!("echo $1 >> {}", order.display()));
    let c = ["createRuntime", "poststart"]
        .iter()
        .fold(c, |c, kind| with_hook(c, kind, json!({"path": path, "args": ["hook", kind]})));
    c.create().ok();
    c.verb("start").ok();
    assert_eq!(c.read("/order"), "createRuntime\npostStart\npoststart\n");
    c.call(&["delete", "-f", &c.id]).ok();
}
