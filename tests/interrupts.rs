//! ^C at an awkward time leaves nothing behind, and what names a stop signal without a hook is heard.

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Fixture, Running, Scratch, bookend, bundles, cgroups_named, repository};
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

#[track_caller]
fn wait_for_the_hook(c: &Fixture) {
    let is_reached = |c: &Fixture| c.scratch.path().join("reached").exists() || c.rootfs().join("reached").exists();
    c.wait_for("the hook", is_reached);
}

/// `verb` hangs in the hook, gets the signal alone, and has to end by it, with everything taken back.
#[track_caller]
fn is_ended_by(signal: Signal, c: Fixture, verb: &[&str]) {
    c.write();
    let bundle = c.bundle();
    let mut args = verb.to_vec();
    args.extend(["--bundle", bundle.to_str().unwrap(), &c.id]);
    let running = c.spawn(&args);
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
    for point in ["createRuntime", "createContainer"] {
        is_ended_by(Signal::SIGINT, hanging_at(point), &["run"]);
    }
}

#[test]
fn a_detached_run_is_ended_wherever_it_hangs() {
    for point in ["createRuntime", "createContainer", "startContainer", "poststart"] {
        is_ended_by(Signal::SIGTERM, hanging_at(point), &["run", "--detach"]);
    }
}

#[test]
fn a_detached_run_with_lifecycle_hooks_passes_the_signal_on_to_who_makes_the_container() {
    for point in ["createRuntime", "createContainer"] {
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
    c.write();
    let bundle = c.bundle();
    let running = c.spawn(&["create", "--bundle", bundle.to_str().unwrap(), &c.id]);
    wait_for_the_hook(&c);
    let state: Value = serde_json::from_slice(&fs::read(c.state_dir().join("state.json")).unwrap()).unwrap();
    kill(Pid::from_raw(state["pid"].as_i64().unwrap() as i32), Signal::SIGKILL).unwrap();
    running.wait().fails(1).says("init ended before it was ready");
    c.assert_nothing_left();
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
