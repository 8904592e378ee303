//! postStop (lifecycle.md section 6, O rows), time limits and retries (section 7), and the ways in which a container gets
//! its hooks (interface.md 2.2) on real containers.

mod common;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use common::{Fixture, needs_root};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const WAIT_FOR_GO: &str = "while [ ! -e /go ]; do sleep 0.05; done";

fn go(c: &Fixture) {
    fs::write(c.rootfs().join("go"), "").unwrap();
}

fn count(c: &Fixture, reason: &str) -> usize {
    c.reasons().iter().filter(|found| *found == reason).count()
}

/// In phase PostStop until `go`.
fn in_post_stop(c: Fixture) -> Fixture {
    let c = c.hook("postStop", &format!("touch /posting; {WAIT_FOR_GO}; echo said; echo post >> /log")).started();
    c.call(&["kill", &c.id, "KILL"]).ok();
    c.wait_for("postStop", |c| c.rootfs().join("posting").exists());
    c
}

fn env_of(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().filter(|line| line.starts_with("BOOKEND_")).collect();
    lines.sort();
    lines
}

// ── postStop ──

#[test]
fn o_01_post_stop_runs_once_whatever_ended_the_entrypoint() {
    for how in ["exit", "crash", "stop", "kill"] {
        let c = Fixture::busybox().shell(&format!("trap 'exit 0' TERM; {WAIT_FOR_GO}; . /go"));
        let c = c.hook("postStop", "echo one >> /log").hook("postStop", "echo two >> /log").started();
        match how {
            "exit" => fs::write(c.rootfs().join("go"), "exit 0").unwrap(),
            "crash" => fs::write(c.rootfs().join("go"), "exit 77").unwrap(),
            "stop" => drop(c.stop().ok()),
            _ => drop(c.call(&["kill", &c.id, "KILL"]).ok()),
        }
        c.verb("wait");
        assert_eq!(c.read("/log"), "one\ntwo\n", "{how}");
    }
}

#[test]
fn o_01_the_phase_is_post_stop_and_the_status_stopped_while_it_runs() {
    let c = in_post_stop(Fixture::busybox());
    assert_eq!((c.status().as_str(), c.phase().as_str()), ("stopped", "PostStop"));
    let state = c.state();
    assert_eq!(state["exit"]["code"], 137);
    assert_eq!(state["hooks"]["postStop"][0]["state"], "Running");
    go(&c);
    c.verb("wait").fails(137);
    assert_eq!(c.phase(), "Stopped");
}

#[test]
fn o_03_post_stop_is_in_the_containers_namespaces_but_a_new_pid_namespace_with_a_masked_proc() {
    let show = "hostname > /host; ls /proc/net/dev > /dev/null && grep -c : /proc/net/dev > /net; echo $$ > /pid; \
                ps | grep -c entrypoint > /ps; cat /proc/1/comm > /comm; cat /proc/keys > /keys 2> /dev/null; \
                echo x 2> /dev/null > /proc/sys/kernel/core_pattern && echo written > /written; true";
    let c = Fixture::busybox().own_network().hook("postStop", show).started();
    c.stop().ok();
    c.verb("wait").ok();
    assert_eq!(c.state()["hooks"]["postStop"][0]["state"], "Succeeded", "{:#}", c.state());
    assert_eq!(c.read("/host").trim(), c.config["hostname"].as_str().unwrap());
    assert_eq!(c.read("/net"), "1\n", "only lo");
    assert_eq!(c.read("/pid"), "1\n", "a pid namespace of its own");
    assert_eq!(c.read("/comm"), "sh\n");
    // /proc/keys is masked and /proc/sys read-only, as in the container.
    let masked = c.config["linux"]["maskedPaths"].to_string();
    assert!(masked.contains("/proc/keys"), "{masked}");
    assert_eq!((c.read("/keys").as_str(), c.rootfs().join("written").exists()), ("", false));
}

#[test]
fn o_03_post_stop_knows_the_mounts_of_the_container() {
    let c = Fixture::busybox().with(|config| {
        let tmp = json!({"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]});
        config["mounts"].as_array_mut().unwrap().push(tmp);
    });
    let c = c
        .shell("echo kept > /scratch/file; exec /bin/entrypoint")
        .hook("postStart", "while [ ! -s /scratch/file ]; do sleep 0.05; done");
    let c = c.hook("postStop", "cat /scratch/file > /seen").started();
    c.stop().ok();
    assert_eq!(c.read("/seen"), "kept\n");
    assert!(!c.rootfs().join("scratch/file").exists());
}

#[test]
fn o_04_post_stop_is_told_how_the_container_ended() {
    let id = |c: &Fixture| format!("BOOKEND_CONTAINER_ID={}", c.id);
    let c = Fixture::busybox().shell("exit 6").hook("postStop", "env > /env");
    c.run().fails(6);
    let expected = [
        "BOOKEND_ATTEMPT=1",
        &id(&c),
        "BOOKEND_EXIT_CODE=6",
        "BOOKEND_EXIT_SIGNAL=",
        "BOOKEND_HOOK=postStop",
        "BOOKEND_REASON=Error",
        "BOOKEND_STOP_REQUESTED=0",
    ];
    assert_eq!(env_of(&c.read("/env")), expected);
    assert!(c.read("/env").contains("PATH="));

    let c = Fixture::busybox().hook("postStop", "env > /env").started();
    c.call(&["delete", "--force", &c.id]).ok();
    let expected = [
        "BOOKEND_ATTEMPT=1",
        &id(&c),
        "BOOKEND_EXIT_CODE=137",
        "BOOKEND_EXIT_SIGNAL=SIGKILL",
        "BOOKEND_HOOK=postStop",
        "BOOKEND_REASON=Error",
        "BOOKEND_STOP_REQUESTED=1",
    ];
    assert_eq!(env_of(&c.read("/env")), expected);
}

#[test]
fn o_05_post_stop_has_a_time_limit_of_its_own() {
    let hangs = json!({"exec": {"command": ["/bin/sleep", "1000"], "timeoutSeconds": 1}}); // X-E16
    let c = Fixture::busybox().handler("postStop", hangs).hook("postStop", "touch /second").started();
    c.call(&["stop", &c.id, "--grace", "0"]).ok();
    let state = c.state();
    assert_eq!(state["hooks"]["postStop"][0]["state"], "TimedOut");
    assert_eq!(state["hooks"]["postStop"][1]["state"], "Succeeded");
    let c = Fixture::busybox().hook("postStop", "sleep 1000").policy("postStop", "timeoutSeconds", json!(1)).started();
    c.call(&["stop", &c.id, "--grace", "0"]).ok();
    assert_eq!(c.state()["hooks"]["postStop"][0]["state"], "TimedOut");
}

#[test]
fn o_06_a_failed_post_stop_is_told_and_the_rest_still_runs() {
    let c = Fixture::busybox().hook("postStop", "exit 8").hook("postStop", "touch /second").started();
    c.stop().ok();
    c.verb("wait").ok();
    assert_eq!(c.event("FailedPostStopHook")["message"], "PostStopHook failed: exit code 8");
    assert!(c.rootfs().join("second").exists());
}

#[test]
fn o_07_one_sigterm_during_post_stop_is_ignored_and_the_second_ends_it() {
    for signals in [[Signal::SIGTERM, Signal::SIGTERM], [Signal::SIGTERM, Signal::SIGINT]] {
        let c = Fixture::busybox().shell("exit 0").hook("postStop", "touch /posting; sleep 1000").flag("--keep");
        let mut run = c.spawn_run();
        c.wait_for("postStop", |c| c.rootfs().join("posting").exists());
        run.signal(signals[0]);
        c.wait_for("the signal to be taken", |c| {
            let life = fs::read_to_string(c.state_dir().join("life.json")).unwrap();
            serde_json::from_str::<Value>(&life).unwrap()["life"]["asked_in_post_stop"] == true
        });
        assert_eq!(c.phase(), "PostStop");
        assert!(!run.is_over());
        run.signal(signals[1]);
        run.wait().ok();
        assert_eq!(c.state()["hooks"]["postStop"][0]["state"], "Interrupted");
    }
}

#[test]
fn o_08_post_stop_runs_before_the_oci_poststop_hook() {
    let c = Fixture::busybox();
    let log = c.rootfs().join("log").display().to_string();
    let c = c.with(|config| {
        config["hooks"] =
            json!({"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", format!("echo oci >> {log}")]}]});
    });
    let c = c.hook("postStop", "echo ours >> /log").started();
    c.call(&["delete", "--force", &c.id]).ok();
    assert_eq!(c.read("/log"), "ours\noci\n");
}

#[test]
fn o_09_delete_waits_for_post_stop_and_loses_neither_output_nor_journal() {
    for force in [true, false] {
        let c = in_post_stop(Fixture::busybox());
        let args: &[&str] = if force { &["delete", "--force", &c.id] } else { &["delete", &c.id] };
        let mut delete = c.spawn(args);
        assert!(c.state_dir().exists() && !delete.is_over());
        assert_eq!(c.phase(), "PostStop");
        go(&c);
        delete.wait().ok();
        assert!(!c.state_dir().exists());
        assert_eq!(c.read("/log"), "post\n");
        assert_eq!((count(&c, "HookSucceeded"), count(&c, "Deleted")), (1, 1), "{:?}", c.reasons());
        let history = c.history().unwrap();
        let log = fs::read_to_string(history.join("hooks/postStop-0-1.log")).unwrap();
        assert!(log.ends_with(" stdout said\n"), "{log}");
        c.verb("logs").ok().says("said");
        c.verb("hooks").ok().says("postStop");
        c.verb("timeline").ok().says("postStop");
        c.verb("wait").fails(137).says("137");
    }
}

#[test]
fn o_09_a_delete_whose_caller_gives_up_is_finished_by_the_supervisor() {
    let c = in_post_stop(Fixture::busybox());
    let delete = c.spawn(&["delete", "--force", &c.id]);
    // Its connection is open once the supervisor knows of it; which only its end can show. So the kill comes when it waits.
    let waits = format!("/proc/{}/wchan", delete.child.id());
    c.wait_for("the wait", |_| {
        fs::read_to_string(&waits).is_ok_and(|at| ["recv", "unix", "skb", "poll"].iter().any(|word| at.contains(word)))
    });
    delete.signal(Signal::SIGKILL);
    drop(delete);
    go(&c);
    c.wait_for("the deletion", |c| !c.state_dir().exists());
    c.call(&["delete", "--force", &c.id]).ok();
    assert_eq!(c.read("/log"), "post\n");
}

#[test]
fn o_10_kill_does_not_reach_post_stop() {
    let c = in_post_stop(Fixture::busybox());
    c.call(&["kill", &c.id, "KILL"]).fails(1).says("container not running");
    c.call(&["kill", &c.id, "TERM"]).fails(1).says("container not running");
    c.call(&["kill", "--all", &c.id, "KILL"]).ok();
    assert_eq!(c.phase(), "PostStop");
    go(&c);
    c.verb("wait").fails(137);
    assert_eq!(c.read("/log"), "post\n");
}

#[test]
fn o_10_a_stop_without_grace_ends_post_stop_now() {
    let c = in_post_stop(Fixture::busybox());
    let waiting = [c.spawn(&["wait", &c.id]), c.spawn(&["stop", &c.id])];
    c.wait_for("the verbs to wait", |c| c.phase() == "PostStop");
    c.call(&["stop", &c.id, "--grace", "0"]).ok();
    let [wait, stop] = waiting;
    wait.wait().fails(137);
    stop.wait().ok();
    assert_eq!(c.state()["hooks"]["postStop"][0]["state"], "Interrupted");
    assert_eq!(c.read("/log"), "");
}

// ── time limits and retries ──

#[test]
fn t_02_t_04_an_attempt_that_fails_is_followed_by_another() {
    let script = "echo try >> /log; [ $(wc -l < /log) -ge 3 ] || { echo again >&2; exit 5; }";
    let c = Fixture::busybox().hook("postStart", script).policy("postStart", "retries", json!(5));
    let c = c.policy("postStart", "retryDelaySeconds", json!(0.2)).started();
    assert_eq!(c.read("/log"), "try\ntry\ntry\n");
    let retries: Vec<Value> = c.journal().into_iter().filter(|record| record["reason"] == "HookRetrying").collect();
    assert_eq!(retries.len(), 2);
    assert_eq!((&retries[1]["attempt"], &retries[1]["type"]), (&json!(2), &json!("Normal")));
    assert!(retries[0]["message"].as_str().unwrap().contains("exit code 5"));
    let hook = &c.state()["hooks"]["postStart"];
    assert_eq!((&hook["attempts"], &hook["state"]), (&json!(3), &json!("Succeeded")));
    assert_eq!(count(&c, "FailedPostStartHook"), 0);
    for attempt in 1..=3 {
        assert!(c.state_dir().join(format!("hooks/postStart-{attempt}.log")).exists());
    }
}

#[test]
fn t_02_t_04_only_the_last_failure_fails_the_hook() {
    let c = Fixture::busybox().hook("postStart", "sleep 1000").policy("postStart", "timeoutSeconds", json!(1));
    let c = c.policy("postStart", "retries", json!(1)).policy("postStart", "retryDelaySeconds", json!(0));
    c.create().ok();
    c.verb("start").fails(1).says("PostStartHook failed: timed out after 1s");
    assert_eq!((count(&c, "HookRetrying"), count(&c, "FailedPostStartHook")), (1, 1));
    assert_eq!(c.state()["hooks"]["postStart"]["state"], "TimedOut");
}

#[test]
fn t_05_the_attempts_of_pre_stop_share_the_grace_period() {
    let c = Fixture::busybox().hook("preStop", "echo try >> /log; exit 1").policy("preStop", "retries", json!(100));
    let c = c.policy("preStop", "retryDelaySeconds", json!(1.2)).grace(3).started();
    c.stop().ok();
    let tries = c.read("/log").lines().count();
    assert!((1..=3).contains(&tries), "{tries}");
    assert!(c.between("Killing", "SignalSent") < 5.0);
}

#[test]
fn t_06_after_a_stop_request_post_start_gets_no_further_attempt() {
    let c = Fixture::busybox().hook("postStart", &format!("echo try >> /log; {WAIT_FOR_GO}; exit 1"));
    let c = c.policy("postStart", "retries", json!(50)).policy("postStart", "retryDelaySeconds", json!(0));
    let c = c.hook("preStop", &WAIT_FOR_GO.replace("/go", "/end"));
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for("postStart", |c| !c.read("/log").is_empty());
    c.verb("kill").ok();
    c.wait_for_phase("Stopping");
    go(&c);
    c.wait_for("postStart's end", |c| c.reasons().iter().any(|reason| reason == "FailedPostStartHook"));
    fs::write(c.rootfs().join("end"), "").unwrap();
    start.wait().fails(1);
    assert_eq!((c.read("/log").as_str(), count(&c, "HookRetrying")), ("try\n", 0));
}

// ── where hooks come from ──

#[test]
fn hooks_come_from_annotations() {
    let c = Fixture::busybox().annotation("bookend/post-start", "/bin/touch '/post start'");
    let c = c.annotation("bookend/pre-stop.shell", "echo $0 drain > /log").annotation("bookend/grace-period", "7");
    let c = c.annotation("bookend/post-stop.shell", "echo post >> /log").started();
    assert!(c.rootfs().join("post start").exists());
    c.stop().ok();
    assert!(c.read("/log").ends_with("drain\npost\n"));
    assert_eq!(c.event("Killing")["graceSeconds"], 7);
}

#[test]
fn hooks_come_from_a_pod() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  terminationGracePeriodSeconds: 9\n  containers:\n  - name: web\n    lifecycle:\n      postStart: {exec: {command: [/bin/touch, /post]}}\n      preStop: {exec: {command: [/bin/touch, /pre]}}\n";
    let c = Fixture::busybox();
    let file = c.scratch.path().join("pod.yaml");
    fs::write(&file, pod).unwrap();
    let c = c.flag("--pod").flag(file.to_str().unwrap()).started();
    c.stop().ok();
    assert!(c.rootfs().join("post").exists() && c.rootfs().join("pre").exists());
    assert_eq!(c.event("Killing")["message"], "Stopping container web");
    assert_eq!(c.event("Killing")["graceSeconds"], 9);
    assert_eq!(c.event("Killing")["container"], "web");
}

#[test]
fn a_pod_is_read_from_standard_input() {
    let c = Fixture::busybox();
    c.write();
    let mut run = c.command(&["run", "--detach", "--pod", "-", "--bundle", c.bundle().to_str().unwrap(), &c.id]);
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pod = r#"{"kind":"Pod","spec":{"containers":[{"name":"web","lifecycle":{"postStart":{"exec":{"command":["touch","/post"]}}}}]}}"#;
    run.stdin.take().unwrap().write_all(pod.as_bytes()).unwrap();
    assert!(run.wait().unwrap().success());
    assert!(c.rootfs().join("post").exists());
}

#[test]
fn hooks_come_from_lifecycle_files_and_flags_may_stand_before_the_verb() {
    let c = Fixture::busybox().hook("postStart", "touch /beside");
    let file = c.scratch.path().join("lifecycle.yaml");
    fs::write(&file, "lifecycle:\n  postStart:\n    exec:\n      command: [touch, /flag]\n").unwrap();
    c.write();
    let (file, bundle) = (file.to_str().unwrap(), c.bundle());
    let bundle = bundle.to_str().unwrap();
    let seen = |c: &Fixture| {
        let seen = ["beside", "flag"].map(|name| fs::remove_file(c.rootfs().join(name)).is_ok());
        c.call(&["delete", "--force", &c.id]).ok();
        seen
    };
    c.call(&["run", "--detach", "--lifecycle", file, "--bundle", bundle, &c.id]).ok();
    assert_eq!(seen(&c), [false, true], "the flag alone counts");
    c.call(&["--lifecycle", file, "run", "--detach", "--bundle", bundle, &c.id]).ok();
    assert_eq!(seen(&c), [false, true]);
    c.call(&["--lifecycle", file, "create", "--bundle", bundle, &c.id]).ok();
    c.call(&["--lifecycle", file, "start", &c.id]).ok();
    assert_eq!(seen(&c), [false, true]);
    c.call(&["run", "--detach", "--bundle", bundle, &c.id]).ok();
    assert_eq!(seen(&c), [true, false]);
    // Annotations of the container override what stands before the verb, and not what stands behind it.
    let c = c.annotation("bookend/post-start", "/bin/touch /annotation");
    c.write();
    c.call(&["--lifecycle", file, "run", "--detach", "--bundle", bundle, &c.id]).ok();
    assert!(c.rootfs().join("annotation").exists());
    assert_eq!(seen(&c), [false, false]);
}

#[test]
fn hook_logs_are_copied_and_a_history_can_be_refused() {
    let c = Fixture::busybox().hook("postStart", "echo to be kept");
    let logs = c.scratch.path().join("logs");
    let c = c.flag("--hook-log-dir").flag(logs.to_str().unwrap()).flag("--no-history").started();
    c.call(&["delete", "--force", &c.id]).ok();
    let copy = fs::read_to_string(logs.join(&c.id).join("postStart-1.log")).unwrap();
    assert!(copy.ends_with("stdout to be kept\n"), "{copy}");
    assert!(c.history().is_err());
}

#[test]
fn post_stop_has_a_control_group_of_its_own() {
    if !needs_root("post_stop_has_a_control_group_of_its_own") {
        return;
    }
    let c = in_post_stop(Fixture::busybox());
    let groups = common::cgroups_named("bookend-postStop-0");
    assert!(groups.iter().any(|path| path.to_string_lossy().contains(&c.id)), "{groups:?}");
    go(&c);
    c.verb("wait").fails(137);
}
