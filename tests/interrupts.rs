//! ^C at an awkward time leaves nothing behind, and what names a stop signal without a hook is heard.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Fixture, Running, Scratch, bookend, bundles, cgroups_named, needs_root, repository};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Sends SIGINT to a command after each of these times, and waits for its end.
fn interrupted(mut command: Command, after: Duration) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after); // the time of the signal is the subject here
    let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGINT);
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(50), "it did not end by SIGINT after {after:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// From the first instruction to well after the start.
fn moments() -> impl Iterator<Item = Duration> {
    [2, 5, 10, 15, 20, 30, 45, 70, 110, 200].into_iter().map(Duration::from_millis)
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    for after in moments() {
        let c = Fixture::busybox().hook("preStop", "true").grace(5);
        c.write();
        let bundle = c.bundle();
        interrupted(c.command(&["run", "--bundle", bundle.to_str().unwrap(), &c.id]), after);
        c.assert_nothing_left();
    }
}

#[test]
fn an_interrupted_create_leaves_nothing_or_a_whole_container() {
    for after in moments() {
        let c = Fixture::busybox().hook("preStop", "true");
        c.write();
        let bundle = c.bundle();
        interrupted(c.command(&["create", "--bundle", bundle.to_str().unwrap(), &c.id]), after);
        if c.state_dir().exists() {
            assert_eq!(c.status(), "created", "{after:?}");
        } else {
            c.assert_nothing_left();
        }
    }
}

/// A container of whom an OCI hook at `point` never ends; it makes the file `reached` in the bundle, or in the root for
/// `startContainer`.
fn hanging_at(point: &str) -> Fixture {
    let c = Fixture::busybox();
    let reached = match point {
        "startContainer" => "/reached".to_owned(),
        _ => c.scratch.path().join("reached").to_str().unwrap().to_owned(),
    };
    let script = format!("touch {reached}; exec sleep 1000");
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
    c.with(|config| config["hooks"][point] = json!([hook]))
}

/// A verb that makes this container, in the background.
fn making(c: &Fixture, verb: &[&str]) -> Running {
    c.write();
    let bundle = c.bundle();
    let mut args = verb.to_vec();
    args.extend(["--bundle", bundle.to_str().unwrap(), &c.id]);
    c.spawn(&args)
}

#[track_caller]
fn wait_for_the_hook(c: &Fixture) {
    let is_reached = |c: &Fixture| c.scratch.path().join("reached").exists() || c.rootfs().join("reached").exists();
    c.wait_for("the hook", is_reached);
}

/// `verb` hangs in the hook, gets the signal alone, and has to end by it, with everything taken back.
#[track_caller]
fn is_ended_by(signal: Signal, c: Fixture, verb: &[&str]) {
    let running = making(&c, verb);
    wait_for_the_hook(&c);
    running.signal(signal);
    running.wait().fails(128 + signal as i32).says(&format!("interrupted by {signal}"));
    c.assert_nothing_left();
}

#[test]
fn a_create_whose_hook_hangs_is_ended_by_sigterm() {
    for point in ["prestart", "createRuntime", "createContainer"] {
        is_ended_by(Signal::SIGTERM, hanging_at(point), &["create"]);
    }
}

#[test]
fn a_run_whose_hook_hangs_is_ended_by_ctrl_c() {
    for point in ["createRuntime", "createContainer", "startContainer", "poststart"] {
        is_ended_by(Signal::SIGINT, hanging_at(point), &["run"]);
    }
}

#[test]
fn a_run_with_lifecycle_hooks_is_ended_by_sigterm_where_poststart_hangs() {
    is_ended_by(Signal::SIGTERM, hanging_at("poststart").hook("preStop", "true"), &["run"]);
}

#[test]
fn a_detached_run_is_ended_wherever_it_hangs() {
    for point in ["createRuntime", "createContainer", "startContainer", "poststart"] {
        is_ended_by(Signal::SIGTERM, hanging_at(point), &["run", "--detach"]);
    }
}

#[test]
fn a_detached_run_with_lifecycle_hooks_is_ended_wherever_a_hook_of_the_hosts_hangs() {
    for point in ["createRuntime", "createContainer", "poststart"] {
        is_ended_by(Signal::SIGINT, hanging_at(point).hook("preStop", "true"), &["run", "--detach"]);
    }
}

/// `verb` with SIGINT and SIGTERM ignored, as by nohup or in the background of a script; in a thread that blocks SIGHUP, that is
/// blocked too.
fn ignoring(c: &Fixture, verb: &[&str]) -> Running {
    let bundle = c.bundle();
    let whole = c.command(&[verb, &["--bundle", bundle.to_str().unwrap(), &c.id]].concat());
    let out = c.scratch.path().join("out");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' INT TERM; exec \"$@\"", "sh"]).arg(whole.get_program()).args(whole.get_args());
    command.envs(whole.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let file = fs::File::create(&out).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGHUP);
    blocked.thread_block().unwrap();
    let child = command.spawn().unwrap();
    blocked.thread_unblock().unwrap();
    Running { child, out }
}

#[test]
fn what_a_caller_ignores_or_blocks_interrupts_nothing() {
    for (verb, status) in [(&["create"][..], "created"), (&["run", "--detach"], "running")] {
        let c = Fixture::busybox();
        let (reached, go) = (c.scratch.path().join("reached"), c.scratch.path().join("go"));
        let script = format!("touch {}; until [ -e {} ]; do sleep 0.02; done", reached.display(), go.display());
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
        let c = c.with(|config| config["hooks"]["createRuntime"] = json!([hook]));
        c.write();
        let running = ignoring(&c, verb);
        wait_for_the_hook(&c);
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| running.signal(signal));
        fs::write(go, "").unwrap();
        running.wait().ok();
        assert_eq!(c.status(), status);
    }
}

#[test]
fn an_init_that_is_killed_while_it_is_made_ends_create() {
    let c = hanging_at("createContainer");
    let running = making(&c, &["create"]);
    wait_for_the_hook(&c);
    kill(init(&c), Signal::SIGKILL).unwrap();
    running.wait().fails(1).says("init ended before it was ready");
    c.assert_nothing_left();
}

/// Init, as the state directory has it.
fn init(c: &Fixture) -> Pid {
    let state: Value = serde_json::from_slice(&fs::read(c.state_dir().join("state.json")).unwrap()).unwrap();
    Pid::from_raw(state["pid"].as_i64().unwrap() as i32)
}

#[test]
fn a_second_signal_ends_a_poststop_hook_that_hangs() {
    let c = hanging_at("createRuntime");
    let second = c.scratch.path().join("second");
    let script = format!("touch {}; exec sleep 1000", second.display());
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
    let c = c.with(|config| config["hooks"]["poststop"] = json!([hook]));
    let running = making(&c, &["create"]);
    wait_for_the_hook(&c);
    running.signal(Signal::SIGINT);
    c.wait_for("poststop", |_| second.exists());
    running.signal(Signal::SIGINT);
    running.wait().fails(130).says("interrupted by SIGINT");
    c.assert_nothing_left();
}

/// As under `delete` of containerd's shim, whose end killed `create`.
#[test]
fn delete_force_waits_for_no_init_whose_create_was_killed() {
    let c = hanging_at("createContainer");
    let mut running = making(&c, &["create"]);
    wait_for_the_hook(&c);
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    c.call(&["delete", "--force", &c.id]).ok();
    c.assert_nothing_left();
}

/// An OCI hook of this kind that is in the file `reached` until there is the file `go`, and then fails.
fn failing_at_last(point: &str) -> Fixture {
    let c = Fixture::busybox();
    let dir = c.scratch.path().display().to_string();
    let script = format!("touch {dir}/reached; until [ -e {dir}/go ]; do sleep 0.05; done; exit 3");
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
    c.with(|config| config["hooks"][point] = json!([hook]))
}

#[test]
fn r7_a_run_that_failed_late_leaves_alone_what_another_has_made_under_its_id() {
    for (lifecycle, signal) in [(false, None), (true, None), (false, Some(Signal::SIGTERM))] {
        let c = failing_at_last("poststart");
        let mut c = if lifecycle { c.hook("preStop", "true") } else { c };
        let first = making(&c, &["run", "--detach"]);
        wait_for_the_hook(&c);
        c.call(&["delete", "--force", &c.id]).ok();
        c.config["hooks"] = json!({});
        c.run_detached().ok();
        let pid = c.pid();
        match signal {
            Some(signal) => first.signal(signal),
            None => fs::write(c.scratch.path().join("go"), "").unwrap(),
        }
        assert_ne!(first.wait().code, 0);
        assert_eq!((c.status(), c.pid()), ("running".to_owned(), pid), "{lifecycle} {signal:?}");
    }
}

#[test]
fn r7_a_start_whose_poststart_hook_hangs_keeps_nobody_from_ending_the_container() {
    for verb in ["delete", "stop"] {
        let c = failing_at_last("poststart");
        c.create().ok();
        let start = c.spawn(&["start", &c.id]);
        wait_for_the_hook(&c);
        match verb {
            "delete" => c.call(&["delete", "--force", &c.id]).ok(),
            _ => c.stop().ok(),
        };
        fs::write(c.scratch.path().join("go"), "").unwrap();
        start.wait().fails(1).says("poststart hook #0");
    }
}

/// A hook that init runs ends with init, also where there is no pid namespace and no control group that would end it.
#[test]
fn an_interrupted_create_leaves_no_hook_of_inits_own() {
    let c = Fixture::busybox().without_namespace("pid");
    let at = c.scratch.path().join("at").display().to_string();
    let script = format!("echo $$ > {at}.new; mv {at}.new {at}; exec sleep 1000");
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
    let c = c.with(|config| {
        config["hooks"]["createContainer"] = json!([hook]);
        // The kernel lets only root mount a new proc outside of a pid namespace of the same user namespace.
        config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/proc");
        for paths in ["maskedPaths", "readonlyPaths"] {
            config["linux"][paths] = json!([]);
        }
    });
    let running = making(&c, &["create"]);
    c.wait_for("the hook", |_| Path::new(&at).exists());
    let pid = fs::read_to_string(&at).unwrap().trim().to_owned();
    running.signal(Signal::SIGTERM);
    running.wait().fails(143);
    let command_line = || fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    c.wait_for("the end of the hook", |_| command_line().is_empty());
    c.assert_nothing_left();
}

/// A process of another parent in its pid namespace, which nobody reaps, keeps init from ending.
#[test]
fn an_interrupted_create_says_what_is_left_where_init_does_not_end() {
    if !needs_root("an_interrupted_create_says_what_is_left_where_init_does_not_end") {
        return;
    }
    let c = hanging_at("createContainer");
    let running = making(&c, &["create"]);
    wait_for_the_hook(&c);
    let inside = c.scratch.path().join("inside");
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &init(&c).to_string(), "--pid", "sh", "-c"]);
    let mut enter = enter.arg(format!("touch {}; exec sleep 1000", inside.display())).spawn().unwrap();
    c.wait_for("another process in its namespace", |_| inside.exists());
    let parent = Pid::from_raw(enter.id() as i32);
    kill(parent, Signal::SIGSTOP).unwrap();
    c.wait_for("it to be stopped", |_| fs::read_to_string(format!("/proc/{parent}/stat")).unwrap().contains(") T "));
    running.signal(Signal::SIGTERM);
    let output = running.wait();
    kill(parent, Signal::SIGCONT).unwrap();
    enter.wait().unwrap();
    output.fails(143).says(&format!("`delete --force {}`", c.id)).says("interrupted by SIGTERM");
    c.call(&["delete", "--force", &c.id]).ok();
    c.assert_nothing_left();
}

/// The old life has ended by then, so nothing is left at all.
#[test]
fn an_interrupted_restart_leaves_nothing() {
    for lifecycle in [false, true] {
        let c = Fixture::busybox();
        let dir = c.scratch.path().display().to_string();
        let script = format!("[ -e {dir}/once ] && touch {dir}/reached && exec sleep 1000; touch {dir}/once");
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
        let c = c.with(|config| config["hooks"]["createRuntime"] = json!([hook]));
        let c = if lifecycle { c.hook("preStop", "true") } else { c }.started();
        let running = c.spawn(&["restart", &c.id]);
        wait_for_the_hook(&c);
        running.signal(Signal::SIGTERM);
        running.wait().fails(143).says("interrupted by SIGTERM");
        c.assert_nothing_left();
    }
}

#[test]
fn a_rehearsal_whose_oci_hook_hangs_is_ended_by_ctrl_c() {
    if !needs_root("a_rehearsal_whose_oci_hook_hangs_is_ended_by_ctrl_c") {
        return; // without root a rehearsal makes a configuration of its own, without such hooks
    }
    let c = hanging_at("createContainer");
    c.write();
    let tmp = c.scratch.path().join("tmp");
    fs::create_dir(&tmp).unwrap();
    let mut command = c.command(&["test"]);
    command.arg(repository().join("testdata/hooks-pod.yaml")).arg("--bundle").arg(c.bundle()).env("TMPDIR", &tmp);
    let out = c.scratch.path().join("out-test");
    let file = fs::File::create(&out).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let running = Running { child: command.spawn().unwrap(), out };
    let id = format!("test-hooks-pod-{}", running.child.id());
    wait_for_the_hook(&c);
    running.signal(Signal::SIGINT);
    running.wait().fails(1).says("interrupted");
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
    assert!(cgroups_named(&id).is_empty());
}

#[test]
fn an_interrupted_rehearsal_leaves_nothing() {
    for after in moments() {
        let scratch = Scratch::new();
        let tmp = scratch.path().join("tmp");
        fs::create_dir(&tmp).unwrap();
        let pod = scratch.path().join("pod.yaml");
        let text = fs::read_to_string(repository().join("testdata/hooks-pod.yaml")).unwrap();
        fs::write(&pod, text.replace("sleep 10", "sleep 1").replace("hooks-pod", "int-pod")).unwrap();
        let mut command = Command::new(bookend());
        command.arg("test").arg(&pod).arg("--bundle").arg(bundles().join("busybox")).args(["--run-for", "1s"]);
        command.env("TMPDIR", &tmp).env("XDG_RUNTIME_DIR", scratch.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let id = format!("test-int-pod-{}", child.id());
        std::thread::sleep(after); // the time of the signal is the subject here
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGINT);
        child.wait().unwrap();
        let left: Vec<_> = fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "left after {after:?}: {left:?}");
        let cgroups = cgroups_named(&id);
        assert!(cgroups.is_empty(), "control groups are left after {after:?}: {cgroups:?}");
    }
}

#[test]
fn s_23_a_stop_signal_and_a_grace_period_without_any_hook_are_heard_by_stop() {
    let c = Fixture::busybox()
        .shell("trap '' TERM; trap 'exit 3' QUIT; touch /up; while :; do sleep 0.05; done")
        .stop_signal("SIGQUIT")
        .grace(20)
        .started();
    c.wait_for("the ENTRYPOINT's handlers", |c| c.rootfs().join("up").exists());
    c.stop().ok().says("exit code 3");
}

#[test]
fn a_lifecycle_file_that_names_no_hook_is_told() {
    let c = Fixture::busybox();
    let file = c.scratch.path().join("empty.yaml");
    fs::write(&file, "lifecycle: {}\n").unwrap();
    let c = c.flag("--lifecycle").flag(file.to_str().unwrap());
    c.create().ok().says("names no hooks");
}

#[test]
fn v_36_a_grace_that_is_no_whole_number_is_a_usage_error_and_nothing_is_touched() {
    let c = Fixture::busybox().started();
    for grace in ["--grace=-1", "--grace=1.5", "--grace=soon", "--grace="] {
        c.call(&["stop", grace, &c.id]).fails(2);
    }
    for grace in ["-1", "1.5"] {
        c.call(&["stop", "--grace", grace, &c.id]).fails(2).says("write whole seconds, 0 or more");
    }
    assert_eq!(c.status(), "running");
}
