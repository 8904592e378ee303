//! Starting (lifecycle.md section 3, P rows) and preStart (section 6, R rows) on real containers.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Fixture, needs_root, times_slower};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

/// A line of a hook or an ENTRYPOINT that waits until the test makes the file.
const WAIT_FOR_GO: &str = "while [ ! -e /go ]; do sleep 0.05; done";

fn go(c: &Fixture) {
    fs::write(c.rootfs().join("go"), "").unwrap();
}

/// A program of the root file system that the kernel finds and does not execute.
fn broken_program(c: &Fixture, name: &str, content: &str) {
    let path = c.rootfs().join("bin").join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The position of an event among all, for questions of order.
#[track_caller]
fn at(c: &Fixture, reason: &str) -> usize {
    let reasons = c.reasons();
    reasons.iter().position(|found| found == reason).unwrap_or_else(|| panic!("no {reason} in {reasons:?}"))
}

#[test]
fn p_01_create_refuses_a_program_that_is_not_there() {
    let c = Fixture::busybox().entrypoint(["nosuch"]).hook("preStop", "true");
    let c = c.handler("postStop", json!({"exec": {"command": ["/bin/touch", "/post"]}}));
    c.create().fails(1).says("exec: \"nosuch\": executable file not found in $PATH");
    c.assert_nothing_left();
    c.run().fails(127).says("exec: \"nosuch\": executable file not found in $PATH");
    c.run_detached().fails(127);
    c.assert_nothing_left();
    assert!(!c.rootfs().join("post").exists(), "nothing was created, so nothing is cleaned up after");
}

#[test]
fn p_01_what_only_execve_can_tell_fails_the_start_and_runs_post_stop() {
    for (content, code, words) in [("garbage", 126, "exec format error"), ("#!/nosuch\n", 127, "no such file")] {
        let c = Fixture::busybox().entrypoint(["/bin/broken"]).hook("postStart", "touch /hook");
        let c = c.hook("preStop", "touch /hook").hook("postStop", "echo $BOOKEND_REASON >> /post");
        broken_program(&c, "broken", content);
        c.create().ok();
        c.verb("start").fails(1).says(words);
        c.verb("wait").fails(code);
        assert_eq!(c.state()["exit"]["reason"], "StartError");
        assert_eq!(c.event("Failed")["type"], "Warning");
        assert_eq!((c.read("/post").as_str(), c.rootfs().join("hook").exists()), ("StartError\n", false));
    }
}

#[test]
fn p_01_run_returns_126_for_a_program_that_cannot_be_executed() {
    let c = Fixture::busybox().entrypoint(["/bin/broken"]).hook("postStop", "echo post >> /post");
    broken_program(&c, "broken", "garbage");
    c.run().fails(126).says("exec format error");
    c.assert_nothing_left();
    c.run_detached().fails(126);
    c.assert_nothing_left();
    assert_eq!(c.read("/post"), "post\npost\n");
}

#[test]
fn p_01_a_pre_start_may_install_the_program_and_if_it_does_not_start_fails_with_127() {
    let install = "printf '#!/bin/sh\\nexec /bin/entrypoint\\n' > /bin/installed && chmod 755 /bin/installed";
    let c = Fixture::busybox().entrypoint(["installed"]).hook("preStart", install);
    c.create().ok();
    c.verb("start").ok();
    assert_eq!(c.status(), "running");

    let c = Fixture::busybox().entrypoint(["installed"]).hook("preStart", "true").hook("postStop", "touch /post");
    c.create().ok();
    c.verb("start").fails(1).says("exec: \"installed\": executable file not found in $PATH");
    c.verb("wait").fails(127).says("127");
    assert!(c.rootfs().join("post").exists());
}

#[test]
fn p_02_without_a_post_start_the_container_is_running_at_once() {
    let c = Fixture::busybox().hook("preStop", "true");
    c.create().ok();
    assert_eq!((c.status().as_str(), c.phase().as_str()), ("created", "Created"));
    c.verb("start").ok();
    assert_eq!((c.status().as_str(), c.phase().as_str()), ("running", "Running"));
    assert!(at(&c, "EntrypointExecuted") < at(&c, "Started"));
}

#[test]
fn p_03_post_start_finds_the_entrypoint_executed() {
    let c = Fixture::busybox().hook("postStart", "tr '\\0' ' ' < /proc/1/cmdline > /cmdline").started();
    assert!(c.read("/cmdline").contains("/bin/entrypoint"), "{}", c.read("/cmdline"));
    assert!(at(&c, "EntrypointExecuted") < at(&c, "HookStarted"));
}

#[test]
fn p_04_while_post_start_runs_everything_else_goes_on_answering() {
    let entrypoint = "trap 'echo hup >> /log' HUP; trap 'exit 0' TERM; touch /up; while :; do sleep 0.05; done";
    let c = Fixture::busybox().shell(entrypoint).hook("postStart", WAIT_FOR_GO);
    c.create().ok();
    let mut start = c.spawn(&["start", &c.id]);
    c.wait_for_phase("Starting");
    c.wait_for("the program", |c| c.rootfs().join("up").exists());
    let state = c.state();
    assert_eq!((&state["status"], &state["hooks"]["postStart"]["state"]), (&json!("created"), &json!("Running")));
    c.exec("echo from exec > /exec").ok();
    assert_eq!(c.read("/exec"), "from exec\n");
    c.call(&["kill", &c.id, "HUP"]).ok();
    c.wait_for("the signal", |c| c.read("/log") == "hup\n");
    c.verb("start").fails(1).says("already started");
    c.verb("delete").fails(1).says("that is not stopped");
    c.verb("ps").ok();
    assert!(!start.is_over(), "{}", start.printed());
    assert_eq!(c.phase(), "Starting");
    go(&c);
    start.wait().ok();
    assert_eq!((c.status().as_str(), c.phase().as_str()), ("running", "Running"));
}

#[test]
fn p_04_a_container_that_is_starting_can_be_paused() {
    if !needs_root("p_04_a_container_that_is_starting_can_be_paused") {
        return;
    }
    let c = Fixture::busybox().hook("postStart", &format!("touch /posting; {WAIT_FOR_GO}"));
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for("postStart", |c| c.rootfs().join("posting").exists());
    c.verb("pause").ok();
    assert_eq!((c.status().as_str(), c.phase().as_str()), ("paused", "Starting"));
    c.verb("resume").ok();
    assert_eq!(c.status(), "created");
    go(&c);
    start.wait().ok();
}

/// As one that had begun a moment before.
#[test]
fn p_04_a_post_start_that_begins_while_the_container_is_paused_runs_when_it_is_resumed() {
    if !needs_root("p_04_a_post_start_that_begins_while_the_container_is_paused_runs_when_it_is_resumed") {
        return;
    }
    let c = Fixture::busybox().hook("postStart", "echo try >> /log; [ -e /go ]");
    let c =
        c.policy("postStart", "retries", json!(1)).policy("postStart", "retryDelaySeconds", json!(5 * times_slower()));
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for_event("HookRetrying");
    c.verb("pause").ok();
    let begun = |c: &Fixture| c.reasons().iter().filter(|reason| *reason == "HookStarted").count();
    c.wait_for("the second attempt", |c| begun(c) == 2);
    go(&c);
    std::thread::sleep(std::time::Duration::from_millis(300)); // it would have failed by then
    assert_eq!((c.status().as_str(), c.read("/log").as_str()), ("paused", "try\n"));
    c.verb("resume").ok();
    start.wait().ok();
    assert_eq!(c.read("/log"), "try\ntry\n");
}

#[test]
fn p_05_start_returns_when_post_start_has_succeeded() {
    let c = Fixture::busybox().hook("postStart", "sleep 0.3; echo post > /post").started();
    assert_eq!((c.status().as_str(), c.phase().as_str()), ("running", "Running"));
    assert_eq!(c.read("/post"), "post\n");
    assert!(at(&c, "HookSucceeded") < at(&c, "Started"));
}

#[test]
fn p_06_a_post_start_without_a_limit_leaves_a_warning_where_a_caller_will_wait_for_it() {
    let c = Fixture::busybox().hook("postStart", "true");
    c.create().ok();
    assert_eq!(c.event("PostStartUnlimited")["type"], "Warning");
    let limited = Fixture::busybox().hook("postStart", "true").policy("postStart", "timeoutSeconds", json!(20));
    limited.create().ok();
    assert_eq!(limited.reasons(), ["Created"]);
}

#[test]
fn p_07_p_08_a_failed_post_start_runs_pre_stop_and_ends_the_container() {
    let c = Fixture::busybox().shell("trap 'echo term >> /log; exit 0' TERM; touch /up; while :; do sleep 0.05; done");
    let c = c.hook("postStart", "while [ ! -e /up ]; do sleep 0.05; done; echo last words >&2; exit 3");
    let c = c.hook("preStop", "echo drain >> /log").hook("postStop", WAIT_FOR_GO);
    c.create().ok();
    let output = c.verb("start").fails(1).says("PostStartHook failed: exit code 3: last words");
    assert_eq!(c.phase(), "PostStop", "start does not wait for postStop: {output:?}");
    assert_eq!(c.status(), "stopped");
    assert_eq!(c.read("/log"), "drain\nterm\n");
    let failed = c.event("FailedPostStartHook");
    assert_eq!((&failed["type"], &failed["message"]), (&json!("Warning"), &json!("PostStartHook failed: exit code 3")));
    assert_eq!(c.event("Killing")["message"], "FailedPostStartHook");
    let order =
        ["FailedPostStartHook", "Killing", "HookSucceeded", "SignalSent", "Exited"].map(|reason| at(&c, reason));
    assert!(order.is_sorted(), "{:?}", c.reasons());
    assert!(!c.reasons().contains(&"Started".to_owned()));
    go(&c);
    c.verb("wait").fails(125);
    assert_eq!(c.state()["exit"]["reason"], "PostStartHookError");
}

#[test]
fn p_07_run_fails_with_the_reason_and_leaves_nothing() {
    // A SIGTERM before the ENTRYPOINT has its trap would be lost, as it is PID 1: SigCgt's bit 14.
    let trapped = "until grep -q 'SigCgt:.*[4-7c-f]...$' /proc/1/status; do sleep 0.05; done";
    let c = Fixture::busybox().hook("postStart", &format!("{trapped}; echo why >&2; exit 3"));
    let c = c.hook("preStop", "echo drain >> /log");
    let c = c.hook("postStop", "echo $BOOKEND_REASON $BOOKEND_STOP_REQUESTED >> /log");
    c.run_detached().fails(125).says("PostStartHook failed: exit code 3: why");
    c.assert_nothing_left();
    assert_eq!(c.read("/log"), "drain\nPostStartHookError 0\n");
    // X-03: the ENTRYPOINT's code is 0.
    c.run().fails(125).says("PostStartHook failed: exit code 3: why");
    c.assert_nothing_left();
    let c = Fixture::busybox().shell("trap 'exit 7' TERM; touch /up; while :; do sleep 0.05; done");
    let c = c.hook("postStart", "while [ ! -e /up ]; do sleep 0.05; done; exit 3");
    c.run().fails(7).says("PostStartHook failed: exit code 3");
}

#[test]
fn p_09_a_failed_post_start_that_is_to_be_ignored_changes_nothing() {
    let c = Fixture::busybox().hook("postStart", "exit 3").policy("postStart", "onFailure", json!("ignore")).started();
    assert_eq!((c.status().as_str(), c.phase().as_str()), ("running", "Running"));
    assert_eq!(c.event("FailedPostStartHook")["message"], "PostStartHook failed: exit code 3 (ignored)");
    assert!(c.reasons().contains(&"Started".to_owned()));
}

#[test]
fn p_10_an_entrypoint_that_exits_by_itself_interrupts_post_start() {
    let c = Fixture::busybox().shell("while [ ! -e /up ]; do sleep 0.05; done; exit 5");
    let c = c.hook("postStart", "touch /up; sleep 1000").policy("postStart", "retries", json!(3));
    let c = c.hook("preStop", "touch /pre-stop").hook("postStop", "echo $BOOKEND_REASON $BOOKEND_EXIT_CODE > /post");
    c.create().ok();
    c.verb("start").fails(1).says("container exited (exit code 5) before postStart completed");
    c.verb("wait").fails(5);
    let failed = c.event("FailedPostStartHook");
    assert_eq!(failed["outcome"], "Interrupted");
    assert_eq!(failed["message"], "PostStartHook failed: container exited (exit code 5) before the hook finished");
    let state = c.state();
    assert_eq!((&state["exit"]["reason"], &state["exit"]["code"]), (&json!("Error"), &json!(5)));
    assert_eq!(state["hooks"]["postStart"]["state"], "Interrupted");
    assert_eq!(c.read("/post"), "Error 5\n");
    assert!(!c.rootfs().join("pre-stop").exists() && !c.reasons().contains(&"Started".to_owned()));
    assert!(!c.reasons().contains(&"HookRetrying".to_owned()));
}

#[test]
fn p_15_below_a_kubelet_a_pods_own_hooks_are_the_kubelets() {
    // What a CRI runtime writes for a container whose Pod has a lifecycle: the kubelet itself runs those hooks.
    let lifecycle =
        r#"{"postStart":{"exec":{"command":["touch","/hook"]}},"preStop":{"exec":{"command":["touch","/hook"]}}}"#;
    let pod = format!(r#"{{"spec":{{"containers":[{{"name":"web","lifecycle":{lifecycle}}}]}}}}"#);
    let c = Fixture::busybox()
        .annotation("io.kubernetes.cri.container-type", "container")
        .annotation("io.kubernetes.cri.container-name", "web")
        .annotation("io.kubernetes.container.preStopHandler", lifecycle)
        .annotation("kubectl.kubernetes.io/last-applied-configuration", &pod)
        .started();
    assert_eq!(c.state()["phase"], serde_json::Value::Null, "it has hooks");
    assert!(!c.state_dir().join("control.sock").exists());
    c.stop().ok();
    assert!(!c.rootfs().join("hook").exists());
}

#[test]
fn x_e11_a_hook_that_the_end_of_the_entrypoint_killed_did_not_fail() {
    // Sooner or later the kernel kills the hook before the exit of PID 1 is seen: whichever is heard first, it is one thing.
    for _ in 0..3 {
        let c = Fixture::busybox().shell("while [ ! -e /up ]; do sleep 0.05; done; exit 5");
        let c = c.hook("postStart", "touch /up; sleep 1000");
        c.create().ok();
        c.verb("start").fails(1).says("container exited (exit code 5)");
        let hook = &c.state()["hooks"]["postStart"];
        assert_eq!((&hook["state"], &hook["exitCode"]), (&json!("Interrupted"), &serde_json::Value::Null));
        assert_eq!(c.reasons().iter().filter(|reason| *reason == "FailedPostStartHook").count(), 1);
    }
}

#[test]
fn p_10_an_exit_with_0_during_post_start_is_completed() {
    let c = Fixture::busybox().shell("while [ ! -e /up ]; do sleep 0.05; done");
    let c = c.hook("postStart", "touch /up; sleep 1000").flag("--keep");
    c.run().fails(0);
    let state = c.state();
    assert_eq!((&state["exit"]["reason"], &state["exit"]["code"]), (&json!("Completed"), &json!(0)));
}

#[test]
fn p_11_a_stop_during_post_start_begins_at_once_and_start_fails() {
    let c = Fixture::busybox().shell("trap 'echo term >> /log; exit 0' TERM; touch /up; while :; do sleep 0.05; done");
    let c = c.hook("postStart", "touch /posting; sleep 1000").policy("postStart", "retries", json!(2));
    let c = c.hook("preStop", "echo drain >> /log").hook("postStop", "echo post >> /log");
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for("postStart", |c| c.rootfs().join("posting").exists() && c.rootfs().join("up").exists());
    c.stop().ok();
    start.wait().fails(1).says("stopped before postStart completed");
    assert_eq!(c.read("/log"), "drain\nterm\npost\n");
    let failed = c.event("FailedPostStartHook");
    assert_eq!((&failed["outcome"], &failed["attempt"]), (&json!("Interrupted"), &json!(1)));
    assert!(at(&c, "SignalSent") < at(&c, "FailedPostStartHook"), "the stop does not cancel postStart");
    // P-08, X-03: an interrupted postStart does not change the code.
    assert_eq!(c.state()["exit"], json!({"code": 0, "reason": "Completed", "killedAfterGrace": false}));
}

#[test]
fn p_11_while_stopping_before_running_the_status_stays_created() {
    let c = Fixture::busybox().hook("postStart", "touch /posting; sleep 1000").hook("preStop", WAIT_FOR_GO);
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for("postStart", |c| c.rootfs().join("posting").exists());
    c.verb("kill").ok();
    c.wait_for_phase("Stopping");
    assert_eq!(c.status(), "created");
    go(&c);
    start.wait().fails(1);
}

#[test]
fn p_12_with_poststart_stop_wait_a_stop_waits_for_post_start_as_in_kubernetes() {
    let c = Fixture::busybox().shell("trap 'echo term >> /log; exit 0' TERM; touch /up; while :; do sleep 0.05; done");
    let c = c.hook("postStart", &format!("touch /posting; {WAIT_FOR_GO}; echo post >> /log"));
    // Before the verb too, as callers give it; kept with the container.
    let c = c.hook("preStop", "echo drain >> /log");
    c.write();
    let bundle = c.bundle();
    c.call(&["--poststart-stop", "wait", "create", "--bundle", bundle.to_str().unwrap(), &c.id]).ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for("postStart", |c| c.rootfs().join("posting").exists() && c.rootfs().join("up").exists());
    c.verb("kill").ok();
    let stop = c.spawn(&["stop", &c.id]);
    c.wait_for("two requests", |c| c.reasons().iter().filter(|reason| *reason == "StopRequested").count() == 2);
    assert_eq!((c.phase(), c.status()), ("Starting".into(), "created".into()));
    go(&c);
    // Kubernetes has it running for a moment; then the stop.
    start.wait().ok();
    stop.wait().ok();
    assert_eq!(c.read("/log"), "post\ndrain\nterm\n");
    assert!(at(&c, "StopRequested") < at(&c, "Started") && at(&c, "Started") < at(&c, "Killing"));
}

#[test]
fn p_12_another_word_is_a_usage_error_that_lists_both() {
    let c = Fixture::busybox().flag("--poststart-stop=later");
    c.create().fails(2).says("now, wait");
}

#[test]
fn p_14_start_returns_only_after_post_start_so_that_containers_start_in_order() {
    let containers = [(); 2].map(|()| Fixture::busybox().hook("postStart", "sleep 0.5; touch /ready"));
    containers.iter().for_each(|c| drop(c.create().ok()));
    containers.iter().for_each(|c| drop(c.verb("start").ok()));
    let at = |c: &Fixture, reason: &str| c.event(reason)["monotonicNs"].as_u64().unwrap();
    assert!(at(&containers[1], "EntrypointExecuted") > at(&containers[0], "HookSucceeded"));
    assert!(containers.iter().all(|c| c.rootfs().join("ready").exists()));
}

#[test]
fn oci_poststart_hooks_run_once_the_program_is_executed_with_every_verb() {
    let hook = |c: Fixture, script: &str| {
        let script = script.replace("LOG", c.scratch.path().join("log").to_str().unwrap());
        c.with(|config| {
            config["hooks"] = json!({"poststart": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
        })
    };
    for with_hooks in [false, true] {
        for verb in [&["run"] as &[&str], &["run", "--detach"]] {
            let c = hook(Fixture::busybox().entrypoint(["/bin/sleep", "2"]), "echo poststart >> LOG");
            let c = if with_hooks { c.hook("postStart", "true") } else { c };
            let output = c.make(verb).ok();
            let log = fs::read_to_string(c.scratch.path().join("log")).unwrap_or_default();
            assert_eq!(log, "poststart\n", "{verb:?} {with_hooks} {output:?}");
            drop(c);

            let c = hook(Fixture::busybox(), "echo sorry >&2; exit 1");
            let c = if with_hooks { c.hook("postStart", "true") } else { c };
            let output = c.make(verb);
            assert!(output.code != 0, "{verb:?} {with_hooks}");
            output.says("poststart").says("sorry");
            c.assert_nothing_left();
        }
    }
}

// ── preStart ──

#[test]
fn r_01_r_03_pre_start_entries_run_in_order_before_the_entrypoint() {
    let c = Fixture::busybox().shell("echo entrypoint >> /log; exec /bin/entrypoint");
    let c = c.hook("preStart", "echo one >> /log").hook("preStart", &format!("{WAIT_FOR_GO}; echo two >> /log"));
    let c = c.hook("postStart", "while ! grep -q entrypoint /log; do sleep 0.05; done; echo post >> /log");
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for_phase("PreStart");
    c.wait_for("the first entry", |c| c.read("/log") == "one\n");
    assert_eq!(c.status(), "created");
    go(&c);
    start.wait().ok();
    assert_eq!(c.read("/log"), "one\ntwo\nentrypoint\npost\n");
    let hooks = &c.state()["hooks"]["preStart"];
    assert_eq!((&hooks[0]["state"], &hooks[1]["state"]), (&json!("Succeeded"), &json!("Succeeded")));
}

#[test]
fn r_02_pre_start_runs_in_the_container_and_is_not_pid_1() {
    let c = Fixture::busybox().hook("preStart", "echo $$ > /pid; hostname > /host; cat /proc/1/comm > /comm").started();
    assert_ne!(c.read("/pid").trim(), "1");
    let name = c.config["hostname"].as_str().unwrap_or_default();
    assert_eq!(c.read("/host").trim(), name);
    assert!(!c.read("/comm").is_empty());
}

#[test]
fn r_04_a_failed_pre_start_ends_the_start() {
    let c = Fixture::busybox().shell("touch /entrypoint; exec /bin/entrypoint");
    let c = c.hook("preStart", "echo disk full >&2; exit 4").hook("preStart", "touch /second");
    let c = c.hook("postStart", "touch /second").hook("preStop", "touch /second");
    let c = c.hook("postStop", "echo $BOOKEND_REASON >> /post");
    c.create().ok();
    c.verb("start").fails(1).says("PreStartHook failed: exit code 4: disk full");
    c.verb("wait").fails(125);
    assert_eq!(c.event("FailedPreStartHook")["message"], "PreStartHook failed: exit code 4");
    assert_eq!(c.state()["exit"]["reason"], "PreStartHookError");
    c.verb("delete").ok();
    c.run().fails(125).says("PreStartHook failed: exit code 4: disk full");
    c.run_detached().fails(125).says("PreStartHook failed: exit code 4: disk full");
    assert_eq!(c.read("/post"), "PreStartHookError\n".repeat(3));
    assert!(!c.rootfs().join("entrypoint").exists() && !c.rootfs().join("second").exists());
}

#[test]
fn r_05_a_pre_start_failure_that_is_to_be_ignored_is_only_told() {
    let c = Fixture::busybox().hook("preStart", "exit 4").hook("preStart", "touch /second");
    let c = c.policy("preStart", "onFailure", json!("ignore")).started();
    assert_eq!(c.event("FailedPreStartHook")["message"], "PreStartHook failed: exit code 4 (ignored)");
    assert!(c.rootfs().join("second").exists());
    assert_eq!(c.status(), "running");
}

#[test]
fn r_06_what_a_pre_start_leaves_behind_is_killed_before_the_entrypoint() {
    if !needs_root("r_06_what_a_pre_start_leaves_behind_is_killed_before_the_entrypoint") {
        return;
    }
    let c = Fixture::busybox().hook("preStart", "setsid sleep 1234 > /dev/null 2>&1 < /dev/null & sleep 0.1");
    let c = c.started();
    let ps = c.exec("ps").ok();
    assert!(ps.stdout.contains("entrypoint") && !ps.stdout.contains("1234"), "{}", ps.stdout);
}

#[test]
fn r_07_a_stop_during_pre_start_terminates_the_hook() {
    let c = Fixture::busybox().shell("touch /entrypoint; exec /bin/entrypoint");
    let c = c.hook("preStart", "trap 'echo term >> /log; exit 0' TERM; touch /ready; while :; do sleep 0.05; done");
    let c = c.hook("postStop", "echo post $BOOKEND_STOP_REQUESTED >> /log");
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for("preStart", |c| c.rootfs().join("ready").exists());
    c.stop().ok();
    start.wait().fails(1).says("stopped before the ENTRYPOINT was executed");
    assert_eq!(c.read("/log"), "term\npost 1\n");
    c.verb("wait").fails(143);
    assert!(!c.rootfs().join("entrypoint").exists());
}

/// The supervisor does not know the hook's own process from its first moment on.
#[test]
fn r_07_a_sigterm_for_the_process_that_waits_for_a_hook_is_the_hooks() {
    let c = Fixture::busybox();
    let c = c.hook("preStart", "trap 'echo term >> /log; exit 0' TERM; touch /ready; while :; do sleep 0.05; done");
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for("preStart", |c| c.rootfs().join("ready").exists());
    let handle = format!("handle\0{}\0{}\0preStart", c.root().display(), c.id);
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
    let mut pids = pids.filter(|pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&handle)
    });
    kill(Pid::from_raw(pids.next().expect("a handle")), Signal::SIGTERM).unwrap();
    start.wait().ok();
    assert_eq!((c.read("/log").as_str(), c.status().as_str()), ("term\n", "running"));
    assert_eq!(c.state()["hooks"]["preStart"][0]["state"], "Succeeded");
}

#[test]
fn r_07_a_pre_start_that_ignores_sigterm_is_killed() {
    let c = Fixture::busybox().hook("preStart", "trap '' TERM; touch /ready; while :; do sleep 0.05; done").grace(1);
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for("preStart", |c| c.rootfs().join("ready").exists());
    c.call(&["kill", &c.id, "TERM"]).ok();
    start.wait().fails(1);
    c.verb("wait").fails(143);
    assert_eq!(c.event("FailedPreStartHook")["outcome"], "Interrupted");
    assert!(c.between("StopRequested", "Exited") >= 1.0);
}

#[test]
fn r_08_a_pre_start_has_a_time_limit() {
    let c = Fixture::busybox().hook("preStart", "sleep 1000").policy("preStart", "timeoutSeconds", json!(1));
    c.run_detached().fails(125).says("PreStartHook failed: timed out after 1s");
    let plan = Fixture::busybox().hook("preStart", "true");
    plan.create().ok();
    let plan: serde_json::Value =
        serde_json::from_slice(&fs::read(plan.state_dir().join("plan.json")).unwrap()).unwrap();
    assert!(plan["plan"]["preStart"][0]["policy"]["timeout"].to_string().contains("60"), "{plan}");
}
