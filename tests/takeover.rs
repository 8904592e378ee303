//! The supervisor that is killed, and the one that comes after it (S-27, S-28; threats.md R17, R19, R24).

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Fixture, Output, cgroups_named};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

// ── fixtures ──

/// Processes that have this word and the fixture's root in their command line.
fn processes(c: &Fixture, word: &str) -> Vec<i32> {
    let root = c.root().to_str().unwrap().to_owned();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_it = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.contains(&word.as_bytes()) && words.contains(&root.as_bytes())
    };
    pids.filter(is_it).collect()
}

/// SIGKILL to the supervisor, which is gone then.
#[track_caller]
fn kill_supervisor(c: &Fixture) {
    let found = processes(c, "supervise");
    assert_eq!(found.len(), 1, "supervisors");
    kill(Pid::from_raw(found[0]), Signal::SIGKILL).unwrap();
    // Its memory is gone before its socket is. A verb that waits has started the next one by then.
    c.wait_for("the supervisor's end", |c| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", found[0])).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")) && !processes(c, "supervise").contains(&found[0])
    });
}

/// How often a reason was told.
fn count(c: &Fixture, reason: &str) -> usize {
    c.reasons().iter().filter(|found| *found == reason).count()
}

/// How often a hook was begun.
fn begun(c: &Fixture, hook: &str) -> usize {
    let of = |record: &&Value| record["reason"] == "HookStarted" && record["hook"] == hook;
    c.journal().iter().filter(of).count()
}

/// A hook's script that writes that it was run, and waits for a file of the container.
fn waiting(name: &str) -> String {
    format!("echo {name} >> /ran; while [ ! -e /go-{name} ]; do sleep 0.05; done")
}

fn go(c: &Fixture, name: &str) {
    fs::write(c.rootfs().join(format!("go-{name}")), "").unwrap();
}

/// An ENTRYPOINT that says which signals come, and exits with 0 on SIGTERM.
const TALKS: &str = "trap 'echo term >> /ran; exit 0' TERM; echo up >> /ran; while :; do sleep 0.05; done";

/// It has its trap by then.
fn wait_until_it_talks(c: &Fixture) {
    c.wait_for("the ENTRYPOINT's word", |c| c.read("/ran").contains("up"));
}

// ── S-27 ──

#[test]
fn s_27_the_entrypoint_lives_on_and_every_verb_that_needs_a_supervisor_starts_one() {
    let c = Fixture::busybox().hook("preStop", "echo preStop >> /ran").started();
    let pid = c.pid();
    let verbs: [(&[&str], &str); 3] =
        [(&["kill", &c.id, "HUP"], "kill"), (&["state", &c.id], "state"), (&["kill", &c.id, "USR1"], "kill")];
    for (args, verb) in verbs {
        kill_supervisor(&c);
        c.call(args).ok().says(&format!("warning: the supervisor of {} was lost; another one has taken over", c.id));
        assert_eq!(processes(&c, "supervise").len(), 1, "{verb}");
    }
    assert_eq!((c.pid(), c.phase().as_str(), count(&c, "SupervisorLost")), (pid, "Running", 3));
    kill_supervisor(&c);
    // In a container of the test's own the code is known by its zombie, or by the kernel's memory of it.
    let stopped = c.stop().ok();
    assert!(stopped.stdout.contains("exit code 0") || stopped.stdout.contains("exit code unknown"), "{stopped:?}");
    assert_eq!(c.read("/ran"), "preStop\n");
    // It answers before it ends.
    c.wait_for("the supervisor's end", |c| processes(c, "supervise").is_empty());
}

#[test]
fn s_27_a_container_that_create_made_is_taken_over_too_and_in_phase_created() {
    let c = Fixture::busybox()
        .hook("postStart", "echo postStart >> /ran")
        .handler("postStop", json!({"exec": {"command": ["/bin/sh", "-c", "echo postStop >> /ran"]}}));
    c.create().ok();
    kill_supervisor(&c);
    c.verb("start").ok();
    assert_eq!((c.status().as_str(), c.read("/ran").as_str()), ("running", "postStart\n"));
    kill_supervisor(&c);
    // The namespaces for postStop were opened anew.
    c.call(&["delete", "--force", &c.id]).ok();
    assert_eq!(c.read("/ran"), "postStart\npostStop\n");
}

#[test]
fn s_27_of_many_verbs_at_once_one_starts_the_successor() {
    let c = Fixture::busybox().hook("preStop", "true").started();
    kill_supervisor(&c);
    let callers: Vec<_> = (0..6).map(|_| c.command(&["kill", &c.id, "HUP"]).spawn().unwrap()).collect();
    for mut caller in callers {
        assert!(caller.wait().unwrap().success());
    }
    assert_eq!((processes(&c, "supervise").len(), count(&c, "SupervisorLost")), (1, 1));
}

#[test]
fn s_27_wait_survives_its_supervisor_and_knows_the_code_or_says_that_nobody_can() {
    let c = Fixture::busybox().shell("trap 'exit 7' TERM; while :; do sleep 0.05; done").hook("preStop", "true");
    c.run_detached().ok();
    let wait = c.spawn(&["wait", &c.id]);
    c.wait_for("the waiter", |c| !processes(c, "wait").is_empty());
    kill_supervisor(&c);
    c.wait_for("a successor", |c| !processes(c, "supervise").is_empty());
    c.stop().ok();
    let output = wait.wait();
    assert!(output.code == 7 || output.stdout.contains("cannot be known"), "{output:?}");
}

#[test]
fn s_27_without_its_foreground_run_the_entrypoint_is_killed() {
    let c = Fixture::busybox().shell(TALKS).hook("preStop", "echo preStop >> /ran");
    let run = c.spawn_run();
    c.wait_for_phase("Running");
    let pid = Pid::from_raw(c.pid());
    run.signal(Signal::SIGKILL);
    c.wait_for("the ENTRYPOINT's end", |_| kill(pid, None).is_err() || is_zombie(pid));
    // Nobody stopped it, so preStop did not run; who deletes it finds it stopped.
    c.wait_for("the status", |c| c.status() == "stopped");
    assert!(!c.read("/ran").contains("preStop"));
    c.call(&["delete", "--force", &c.id]).ok();
}

fn is_zombie(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

/// prctl(2): a change of credentials makes the kernel forget the signal for the parent's death.
#[test]
fn s_27_an_entrypoint_that_changed_its_user_is_killed_when_somebody_looks() {
    if !common::needs_root("s_27_an_entrypoint_that_changed_its_user_is_killed_when_somebody_looks") {
        return;
    }
    let c = Fixture::busybox().entrypoint(["/bin/su", "-s", "/bin/sh", "nobody", "-c", "while :; do sleep 0.05; done"]);
    fs::create_dir_all(c.rootfs().join("etc")).unwrap();
    fs::write(c.rootfs().join("etc/passwd"), "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n").unwrap();
    fs::write(c.rootfs().join("etc/group"), "root:x:0:\nnogroup:x:65534:\n").unwrap();
    let c = c.hook("preStop", "true").with(|config| {
        let all = json!(["CAP_SETUID", "CAP_SETGID"]);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = all.clone();
        }
        config["process"]["noNewPrivileges"] = json!(false);
    });
    let run = c.spawn_run();
    c.wait_for_phase("Running");
    let pid = Pid::from_raw(c.pid());
    let user = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    c.wait_for("the change of user", |_| user().contains("Uid:\t65534") || user().is_empty());
    run.signal(Signal::SIGKILL);
    drop(run);
    c.verb("state").ok();
    c.wait_for("the ENTRYPOINT's end", |_| kill(pid, None).is_err() || is_zombie(pid));
    c.call(&["delete", "--force", &c.id]).ok();
}

#[test]
fn r19_after_a_reboot_nothing_is_taken_over() {
    let c = Fixture::busybox().hook("preStop", "echo preStop >> /ran").started();
    let pid = c.pid();
    kill_supervisor(&c);
    for name in ["life.json", "state.json", "identity.json"] {
        let path = c.state_dir().join(name);
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(boot_id.trim()), "{name}");
        fs::write(&path, text.replace(boot_id.trim(), "00000000-0000-4000-8000-000000000000")).unwrap();
    }
    assert_eq!((c.status().as_str(), c.phase().as_str()), ("stopped", "Stopped"));
    c.stop().ok();
    c.verb("start").fails(1).says("cannot start a container that has stopped");
    assert!(processes(&c, "supervise").is_empty());
    assert_eq!((c.read("/ran").as_str(), count(&c, "SupervisorLost")), ("", 0));
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

// ── S-28 ──

#[test]
fn s_28_a_pre_stop_that_runs_is_waited_for_with_its_output_and_its_code() {
    let c = Fixture::busybox()
        .shell(TALKS)
        .hook("preStop", &format!("{}; echo said; exit 3", waiting("preStop")))
        .started();
    wait_until_it_talks(&c);
    c.verb("kill").ok();
    c.wait_for("preStop", |c| c.read("/ran").contains("preStop"));
    kill_supervisor(&c);
    assert_eq!(c.phase(), "Stopping");
    go(&c, "preStop");
    c.stop().ok();
    assert_eq!(c.read("/ran"), "up\npreStop\nterm\n");
    assert_eq!(c.event("FailedPreStopHook")["message"], "PreStopHook failed: exit code 3");
    assert_eq!((begun(&c, "preStop"), count(&c, "SignalSent")), (1, 1));
    c.verb("logs").ok().says("said");
}

#[test]
fn s_28_what_a_hook_said_while_nobody_supervised_is_not_lost() {
    let c = Fixture::busybox()
        .shell(TALKS)
        .hook("preStop", &format!("{}; echo alone; exit 4", waiting("preStop")))
        .started();
    wait_until_it_talks(&c);
    c.verb("kill").ok();
    c.wait_for("preStop", |c| c.read("/ran").contains("preStop"));
    kill_supervisor(&c);
    go(&c, "preStop");
    c.wait_for("the hook's end", |c| processes(c, "handle").is_empty());
    c.stop().ok();
    assert_eq!(c.event("FailedPreStopHook")["message"], "PreStopHook failed: exit code 4");
    assert_eq!((begun(&c, "preStop"), c.read("/ran").as_str()), (1, "up\npreStop\nterm\n"));
}

#[test]
fn s_28_a_hook_that_is_gone_without_a_word_has_failed_and_is_not_run_again() {
    let c = Fixture::busybox().shell(TALKS).hook("preStop", "echo $$ > /pid; echo preStop >> /ran; sleep 60").started();
    wait_until_it_talks(&c);
    c.verb("kill").ok();
    c.wait_for("preStop", |c| c.read("/ran").contains("preStop"));
    let handlers = processes(&c, "handle");
    kill_supervisor(&c);
    handlers.iter().for_each(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap());
    c.exec("kill -9 $(cat /pid)").ok();
    c.stop().ok();
    let failed = c.event("FailedPreStopHook");
    // Its exit is known where the kernel still knows it.
    let message = failed["message"].as_str().unwrap();
    assert!(["supervisor lost", "exit code 137"].iter().any(|class| message.ends_with(class)), "{message}");
    assert_eq!((begun(&c, "preStop"), c.read("/ran").as_str()), (1, "up\npreStop\nterm\n"));
}

#[test]
fn s_28_a_start_that_loses_its_supervisor_goes_on_waiting() {
    let c = Fixture::busybox().shell(TALKS).hook("postStart", &waiting("postStart"));
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for("postStart", |c| c.read("/ran").contains("postStart"));
    for _ in 0..2 {
        kill_supervisor(&c);
        c.wait_for("a successor", |c| !processes(c, "supervise").is_empty());
    }
    assert_eq!(c.status(), "created");
    go(&c, "postStart");
    start.wait().ok();
    assert_eq!((c.status().as_str(), c.phase().as_str(), begun(&c, "postStart")), ("running", "Running", 1));
}

#[test]
fn s_28_a_post_start_that_is_gone_fails_the_start_with_pre_stop_p_07() {
    let script = "until grep -q up /ran; do sleep 0.05; done; echo $$ > /pid; echo postStart >> /ran; sleep 60";
    let c = Fixture::busybox().shell(TALKS).hook("postStart", script);
    let c = c.hook("preStop", "echo preStop >> /ran");
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for("postStart", |c| c.read("/ran").contains("postStart"));
    let (pid, handlers) = (c.read("/pid"), processes(&c, "handle"));
    // All three at once, so that no successor finds one of them alive.
    let inside = c.exec("cat /proc/self/status").ok();
    assert!(!inside.stdout.is_empty());
    processes(&c, "supervise")
        .iter()
        .chain(&handlers)
        .for_each(|pid| kill(Pid::from_raw(*pid), Signal::SIGSTOP).unwrap());
    c.exec(&format!("kill -9 {}", pid.trim())).ok();
    processes(&c, "supervise")
        .iter()
        .chain(&handlers)
        .rev()
        .for_each(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap());
    let output = start.wait().fails(1);
    assert!(output.stdout.contains("PostStartHook failed: "), "{output:?}");
    assert_eq!(c.read("/ran"), "up\npostStart\npreStop\nterm\n");
    assert_eq!((begun(&c, "postStart"), begun(&c, "preStop")), (1, 1));
}

#[test]
fn s_28_a_stop_that_loses_its_supervisor_goes_on_waiting_and_t0_stays() {
    let c = Fixture::busybox().shell("trap '' TERM; echo up >> /ran; while :; do sleep 0.05; done").grace(3);
    let c = c.hook("preStop", "sleep 60").started();
    let stop = c.spawn(&["stop", &c.id]);
    c.wait_for_phase("Stopping");
    kill_supervisor(&c);
    let output = stop.wait().ok();
    assert!(output.stdout.contains("killed at the end of its grace period"), "{output:?}");
    let killed = c.between("Killing", "SigkillSent");
    // G + 2 s from T0 (S-09), however late the successor came.
    assert!((4.9..9.0).contains(&killed), "SIGKILL at {killed}");
    assert_eq!((begun(&c, "preStop"), count(&c, "StopRequested")), (1, 1));
}

#[test]
fn s_28_a_sleep_ends_when_it_would_have_ended() {
    let c = Fixture::busybox().handler("preStop", json!({"sleep": {"seconds": 2}})).started();
    c.verb("kill").ok();
    kill_supervisor(&c);
    c.stop().ok();
    let slept = c.between("HookStarted", "HookSucceeded");
    assert!((1.9..6.0).contains(&slept), "{slept}");
    assert_eq!(begun(&c, "preStop"), 1);
}

#[test]
fn s_28_post_stop_runs_once_where_the_supervisor_is_lost_in_it() {
    let script = format!("{}; exit 5", waiting("postStop"));
    let c =
        Fixture::busybox().shell(TALKS).handler("postStop", json!({"exec": {"command": ["/bin/sh", "-c", script]}}));
    let c = c.started();
    wait_until_it_talks(&c);
    let stop = c.spawn(&["stop", &c.id]);
    c.wait_for("postStop", |c| c.read("/ran").contains("postStop"));
    kill_supervisor(&c);
    go(&c, "postStop");
    stop.wait().ok();
    assert_eq!((c.read("/ran").as_str(), begun(&c, "postStop")), ("up\nterm\npostStop\n", 1));
    assert_eq!(c.event("FailedPostStopHook")["message"], "PostStopHook failed: exit code 5");
}

#[test]
fn s_28_a_post_stop_whose_namespaces_went_with_the_supervisor_says_so_and_never_runs_on_the_host() {
    let c = Fixture::busybox().shell("while [ ! -e /go-end ]; do sleep 0.05; done; exit 6");
    let script = format!("echo postStop > {}", c.scratch.path().join("host").display());
    let c = c.handler("postStop", json!({"exec": {"command": ["/bin/sh", "-c", script]}}));
    let c = c.handler("postStop", json!({"sleep": {"seconds": 0}})).started();
    let pid = Pid::from_raw(c.pid());
    kill_supervisor(&c);
    go(&c, "end");
    c.wait_for("the ENTRYPOINT's end", |_| kill(pid, None).is_err() || is_zombie(pid));
    let wait = c.verb("wait");
    assert!(wait.code == 6 || wait.stderr.contains("cannot be known"), "{wait:?}");
    let state = c.state();
    let hooks = state["hooks"]["postStop"].as_array().unwrap();
    assert_eq!((hooks[0]["state"].as_str(), hooks[1]["state"].as_str()), (Some("Failed"), Some("Succeeded")));
    assert!(
        hooks[0]["error"].as_str().unwrap().contains("namespaces are gone: its supervisor was killed"),
        "{hooks:?}"
    );
    assert!(hooks[0].get("exitCode").is_none());
    assert!(!c.scratch.path().join("host").exists());
}

// ── R17, R24 ──

/// A container with every hook, each of which takes its time and writes down that it ran.
fn with_every_hook() -> Fixture {
    let entry = |name: &str| json!({"exec": {"command": ["/bin/sh", "-c", format!("echo {name} >> /ran; sleep 0.3")]}});
    Fixture::busybox()
        .shell("trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done")
        .handler("preStart", entry("preStart"))
        .handler("postStart", entry("postStart"))
        .handler("preStop", entry("preStop"))
        .handler("postStop", entry("postStop"))
        .grace(5)
}

/// No hook ran twice, in the container or in the journal; and nothing is left once it is deleted.
#[track_caller]
fn assert_clean(c: &Fixture, what: &str) {
    c.call(&["delete", "--force", &c.id]).ok();
    let ran = c.read("/ran");
    for hook in ["preStart", "postStart", "preStop", "postStop"] {
        assert!(ran.lines().filter(|line| *line == hook).count() <= 1, "{what}: {hook} ran twice: {ran}");
        assert!(begun(c, hook) <= 1, "{what}: {hook} was begun twice: {:?}", c.reasons());
    }
    assert!(cgroups_named(&c.id).is_empty(), "{what}");
    c.wait_for("all processes' end", |c| processes(c, "supervise").is_empty() && processes(c, "handle").is_empty());
}

/// Kills the supervisor so long after an event, whatever it is in by then.
fn killed_after(reason: &str, hook: Option<&str>, millis: &[u64]) {
    for delay in millis {
        let c = with_every_hook();
        c.create().ok();
        let start = c.spawn(&["start", &c.id]);
        let is_it = |record: &Value| record["reason"] == reason && hook.is_none_or(|hook| record["hook"] == hook);
        let stopping = !matches!(hook, Some("preStart" | "postStart"));
        if stopping {
            start.wait().ok();
            c.verb("kill").ok();
        }
        c.wait_for(reason, |c| c.journal().iter().any(is_it));
        // The point of time is the subject: anywhere in the phase.
        std::thread::sleep(std::time::Duration::from_millis(*delay));
        let found = processes(&c, "supervise");
        for pid in found {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // it may have ended by itself
        }
        assert_clean(&c, &format!("{delay} ms after {reason} {hook:?}"));
    }
}

#[test]
fn r17_killed_in_pre_start_everything_is_cleaned() {
    killed_after("HookStarted", Some("preStart"), &[0, 20, 100, 300]);
}

#[test]
fn r17_killed_in_post_start_everything_is_cleaned() {
    killed_after("HookStarted", Some("postStart"), &[0, 20, 100, 300]);
}

#[test]
fn r17_killed_in_pre_stop_everything_is_cleaned_and_no_second_pre_stop_runs() {
    killed_after("HookStarted", Some("preStop"), &[0, 10, 50, 150, 300]);
}

#[test]
fn r17_killed_after_the_stop_signal_everything_is_cleaned() {
    killed_after("SignalSent", None, &[0, 50, 150, 300]);
}

#[test]
fn r17_killed_in_post_stop_everything_is_cleaned() {
    killed_after("HookStarted", Some("postStop"), &[0, 20, 100, 300]);
}

/// One life whose supervisor panics before its N-th action, as the verbs see it.
fn failing_at(point: u32) -> (Fixture, Vec<Output>) {
    let c = with_every_hook();
    c.write();
    let bundle = c.bundle();
    let mut create = c.command(&["create", "--bundle", bundle.to_str().unwrap(), &c.id]);
    create.env("BOOKEND_TEST_FAIL_AT", point.to_string());
    let created = common::finish(create, &c.scratch).ok();
    // `start` and `stop` go on with the successor.
    let started = c.verb("start");
    let stopped = c.stop().ok();
    (c, vec![created, started, stopped])
}

fn r_24(test: &str, points: std::ops::Range<u32>) {
    if !common::needs_a_debug_build(test) {
        return;
    }
    for point in points {
        let (c, outputs) = failing_at(point);
        let what = format!("action {point}: {outputs:?} {:?}", c.reasons());
        let told = c.event("SupervisorFailed")["message"].as_str().unwrap().to_owned();
        assert!(told.contains(&format!("failed on demand before action {point}")), "{what}");
        let shown = outputs.iter().any(|output| output.stderr.contains(&told));
        assert!(shown, "{what}");
        assert_eq!((count(&c, "SupervisorLost"), c.phase().as_str()), (1, "Stopped"), "{what}");
        let ran = c.read("/ran");
        // Each ran once, but one that was to be begun when it died.
        let runs = ["preStart", "postStart", "preStop", "postStop"].map(|hook| ran.matches(hook).count());
        assert!(runs.iter().all(|times| *times <= 1), "{what}: {ran}");
        assert_clean(&c, &what);
    }
}

#[test]
fn r24_a_panic_while_it_starts_is_told_and_succeeded() {
    r_24("r24_a_panic_while_it_starts_is_told_and_succeeded", 1..8);
}

#[test]
fn r24_a_panic_while_it_stops_is_told_and_succeeded() {
    r_24("r24_a_panic_while_it_stops_is_told_and_succeeded", 8..15);
}

#[test]
fn r24_a_panic_at_the_end_is_told_and_succeeded() {
    r_24("r24_a_panic_at_the_end_is_told_and_succeeded", 15..21);
}

// ── P-13 ──

#[test]
fn p_13_a_restart_is_the_whole_stop_and_a_new_start_of_the_same_id() {
    let entry = |name: &str| json!({"exec": {"command": ["/bin/sh", "-c", format!("echo {name} >> /ran")]}});
    let c = Fixture::busybox().shell(TALKS);
    let hooks = ["preStart", "postStart", "preStop", "postStop"];
    let c = hooks.iter().fold(c, |c, hook| c.handler(hook, entry(hook)));
    // postStart may be quicker than the ENTRYPOINT's first word.
    let c = c.handler("postStart", json!({"exec": {"command": ["/bin/sh", "-c", "until [ $(grep -c up /ran) -gt $(grep -c postStart /ran) ]; do sleep 0.05; done; echo postStart >> /ran"]}}));
    let mut c = c.started();
    let pid = c.pid();
    // The bundle is read again.
    c.config["annotations"]["which"] = json!("second");
    c.write();
    let output = c.verb("restart").ok();
    assert!(output.stdout.contains(&format!("{}: stopped after ", c.id)), "{output:?}");
    assert!(output.stdout.contains(&format!("{}: running again after ", c.id)), "{output:?}");
    assert_eq!(c.read("/ran"), "preStart\nup\npostStart\npreStop\nterm\npostStop\npreStart\nup\npostStart\n");
    let state = c.state();
    assert_ne!(state["pid"], json!(pid));
    assert_eq!((state["status"].as_str(), state["annotations"]["which"].as_str()), (Some("running"), Some("second")));
    // The first life is in the history, and the second one has a journal of its own.
    assert_eq!(begun(&c, "postStart"), 1);
    let first = fs::read_to_string(c.history().unwrap().join("journal.jsonl")).unwrap();
    assert!(first.contains("\"Deleted\"") && first.contains("HookSucceeded"), "{first}");
}

#[test]
fn p_13_a_container_without_hooks_and_one_that_has_stopped_are_restarted_too() {
    let c = Fixture::busybox().shell(TALKS).started();
    let first = c.pid();
    c.wait_for("the trap", |c| c.read("/ran").contains("up"));
    c.verb("restart").ok();
    assert_ne!(c.pid(), first);
    c.call(&["kill", &c.id, "KILL"]).ok();
    c.wait_for("its end", |c| c.status() == "stopped");
    c.verb("restart").ok();
    assert_eq!(c.status(), "running");
}

#[test]
fn p_13_what_create_made_only_its_caller_can_restart() {
    let c = Fixture::busybox().hook("preStop", "echo preStop >> /ran");
    c.create().ok();
    c.verb("start").ok();
    let pid = c.pid();
    c.verb("restart")
        .fails(1)
        .says("was not made by `run --detach`")
        .says("use the caller's own restart (`docker restart`");
    assert_eq!((c.pid(), c.read("/ran").as_str(), c.phase().as_str()), (pid, "", "Running"));
}

#[test]
fn p_13_bad_input_is_found_before_the_container_is_touched() {
    let c = Fixture::busybox().hook("preStop", "echo preStop >> /ran").started();
    let pid = c.pid();
    fs::write(c.bundle().join("lifecycle.json"), r#"{"lifecycle": {"preStop": {}}}"#).unwrap();
    c.verb("restart").fails(1).says("must specify a handler type");
    assert_eq!((c.pid(), c.read("/ran").as_str()), (pid, ""));
}

#[test]
fn p_13_a_start_that_fails_is_an_error_and_leaves_the_stopped_container() {
    let c = Fixture::busybox().hook("postStart", "test ! -e /broken").started();
    fs::write(c.rootfs().join("broken"), "").unwrap();
    c.verb("restart").fails(1).says("PostStartHook failed: exit code 1");
    assert_eq!(c.status(), "stopped");
    fs::remove_file(c.rootfs().join("broken")).unwrap();
    c.verb("restart").ok();
    assert_eq!(c.status(), "running");
}

// ── R15 ──

#[test]
fn r15_a_supervisor_without_a_free_descriptor_does_not_spin_and_hears_those_who_waited() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    use std::os::fd::AsRawFd;
    let c = Fixture::busybox().hook("preStop", "true").started();
    let pid = processes(&c, "supervise")[0];
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
    let limit = rustix::process::Rlimit { current: Some(open + 3), maximum: Some(open + 3) };
    let process = rustix::process::Pid::from_raw(pid);
    rustix::process::prlimit(process, rustix::process::Resource::Nofile, limit).unwrap();
    let path = c.state_dir().join("control.sock");
    let call = |_| {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        connect(fd.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        fd
    };
    let silent: Vec<_> = (0..8).map(call).collect();
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let used = ticks() - before;
    assert!(used <= 10, "{used} ticks in 1.5 s");
    drop(silent);
    c.call(&["kill", &c.id, "HUP"]).ok();
}

// ── after the supervisor ──

/// A `delete` moves the records to the history before the container goes.
#[test]
fn wait_knows_the_code_also_between_the_steps_of_a_delete() {
    let c = Fixture::busybox().hook("preStop", "true").started();
    c.stop().ok();
    c.wait_for("the supervisor's end", |c| processes(c, "supervise").is_empty());
    let (here, kept) = (c.state_dir(), c.scratch.path().join("kept"));
    let copy = |from: &Path, to: &Path| {
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(copied.success());
    };
    copy(&here, &kept);
    c.verb("delete").ok();
    copy(&kept, &here);
    ["journal.jsonl", "status.json"].iter().for_each(|name| fs::remove_file(here.join(name)).unwrap());
    assert_eq!(c.verb("wait").ok().stdout, "0\n");

    // A later life that leaves nothing in the history does not have the code of this one.
    c.call(&["delete", "--force", &c.id]).ok();
    let c = c.shell("exit 3").flag("--no-history");
    c.run_detached().ok();
    c.wait_for("the supervisor's end", |c| c.status() == "stopped" && processes(c, "supervise").is_empty());
    assert_eq!(c.verb("wait").fails(3).stdout, "3\n");
    ["journal.jsonl", "status.json"].iter().for_each(|name| fs::remove_file(c.state_dir().join(name)).unwrap());
    c.verb("wait").fails(255).says("cannot be known");
}
