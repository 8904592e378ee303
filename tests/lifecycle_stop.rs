//! Stopping and preStop (lifecycle.md section 5 and its worked timelines) on real containers.

mod common;

use std::fs;
use std::process::Command;

use common::{Fixture, bookend, finish, is_root, needs_root};
use nix::sys::signal::Signal;
use serde_json::json;

const WAIT_FOR_GO: &str = "while [ ! -e /go ]; do sleep 0.05; done";
/// Ignores what is sent to it.
const STUBBORN: &str = "trap '' TERM; touch /up; while :; do sleep 0.05; done";
/// Writes down what is sent to it, and ends with 0.
const POLITE: &str = "trap 'echo term >> /log; exit 0' TERM; touch /up; while :; do sleep 0.05; done";

fn go(c: &Fixture) {
    fs::write(c.rootfs().join("go"), "").unwrap();
}

/// Runs in the background and has set its signals up.
fn up(c: Fixture) -> Fixture {
    let c = c.started();
    wait_up(&c);
    c
}

fn wait_up(c: &Fixture) {
    c.wait_for("the ENTRYPOINT", |c| c.rootfs().join("up").exists());
}

#[track_caller]
fn at(c: &Fixture, reason: &str) -> usize {
    let reasons = c.reasons();
    reasons.iter().position(|found| found == reason).unwrap_or_else(|| panic!("no {reason} in {reasons:?}"))
}

fn count(c: &Fixture, reason: &str) -> usize {
    c.reasons().iter().filter(|found| *found == reason).count()
}

/// The process that supervises a container which is not in the foreground.
fn supervisor(c: &Fixture) -> i32 {
    let root = c.root().to_str().unwrap().to_owned();
    let is_it = |line: &str| line.contains("supervise") && line.contains(&root);
    let mut found = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).replace('\0', " ");
        is_it(&line).then_some(pid)
    });
    found.next().expect("a supervisor")
}

fn send(pid: i32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

// ── who asks ──

#[test]
fn s_01_sigterm_to_the_supervisor_is_a_stop_request() {
    let c = up(Fixture::busybox().shell(POLITE).hook("preStop", "echo drain >> /log"));
    send(supervisor(&c), Signal::SIGTERM);
    c.verb("wait").ok();
    assert_eq!(c.read("/log"), "drain\nterm\n");
    assert_eq!(c.event("StopRequested")["by"], "signal");
}

#[test]
fn s_01_sigterm_to_a_foreground_run_begins_the_stop() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let c = Fixture::busybox().shell(POLITE).hook("preStop", "echo drain >> /log");
        let run = c.spawn_run();
        c.wait_for_phase("Running");
        wait_up(&c);
        run.signal(signal);
        run.wait().ok();
        assert_eq!(c.read("/log"), "drain\nterm\n", "{signal}");
        c.assert_nothing_left();
    }
}

#[test]
fn s_01_the_stop_signal_to_the_supervisor_is_a_stop_request_and_sigwinch_never_is() {
    let entrypoint = "trap 'echo winch >> /log' WINCH; trap 'echo quit >> /log; exit 0' QUIT; touch /up; while :; do sleep 0.05; done";
    let c = up(Fixture::busybox().shell(entrypoint).stop_signal("SIGQUIT").hook("preStop", "echo drain >> /log"));
    let pid = supervisor(&c);
    send(pid, Signal::SIGCONT);
    send(pid, Signal::SIGCHLD);
    send(pid, Signal::SIGWINCH);
    // A shell serves what it has caught when its command has ended, the later signal not always after the earlier.
    c.wait_for("WINCH", |c| c.read("/log") == "winch\n");
    assert_eq!(c.phase(), "Running");
    send(pid, Signal::SIGQUIT);
    c.verb("wait").ok();
    assert_eq!(c.read("/log"), "winch\ndrain\nquit\n");

    let c = up(Fixture::busybox().shell("trap 'exit 0' WINCH; touch /up; while :; do sleep 0.05; done"));
    drop(c);
    let c = Fixture::busybox().shell(POLITE).stop_signal("SIGWINCH").hook("preStop", "true").started();
    send(supervisor(&c), Signal::SIGWINCH);
    c.verb("state").ok();
    assert_eq!(c.phase(), "Running");
}

#[test]
fn s_03_kill_returns_at_once_and_the_stop_goes_on() {
    for signal in [&[] as &[&str], &["TERM"], &["SIGQUIT"]] {
        let entrypoint = "trap 'echo quit >> /log; exit 0' QUIT; touch /up; while :; do sleep 0.05; done";
        let c = Fixture::busybox().shell(entrypoint).stop_signal("SIGQUIT");
        let c = up(c.hook("preStop", &format!("{WAIT_FOR_GO}; echo drain >> /log")));
        c.call(&[&["kill", &c.id], signal].concat()).ok();
        c.wait_for_phase("Stopping");
        assert_eq!((c.status().as_str(), c.read("/log").as_str()), ("running", ""));
        go(&c);
        c.verb("wait").ok();
        assert_eq!(c.read("/log"), "drain\nquit\n", "the stop signal is sent, not the one that asked");
    }
}

#[test]
fn s_03_kill_raw_sends_the_plain_signal() {
    let c = up(Fixture::busybox().shell(POLITE).hook("preStop", "echo drain >> /log"));
    c.call(&["kill", "--raw", &c.id, "TERM"]).ok();
    c.verb("wait").ok();
    assert_eq!(c.read("/log"), "term\n");
}

#[test]
fn s_03_kill_all_with_term_is_a_stop_and_on_a_stopped_container_it_succeeds() {
    let c = up(Fixture::busybox().shell(POLITE).hook("preStop", "echo drain >> /log"));
    c.call(&["kill", "--all", &c.id, "TERM"]).ok();
    c.verb("wait").ok();
    assert_eq!(c.read("/log"), "drain\nterm\n");
    c.call(&["kill", "--all", &c.id, "KILL"]).ok();
    c.call(&["kill", "--all", &c.id, "TERM"]).ok();
    c.call(&["kill", &c.id, "KILL"]).fails(1).says("container not running");
    c.call(&["kill", &c.id, "TERM"]).fails(1).says("container not running");
}

#[test]
fn s_03_a_likely_stop_signal_that_is_passed_on_leaves_a_warning() {
    let entrypoint = "trap 'echo quit >> /log; exit 0' QUIT; touch /up; while :; do sleep 0.05; done";
    let c = up(Fixture::busybox().shell(entrypoint).hook("preStop", "echo drain >> /log"));
    c.call(&["kill", &c.id, "QUIT"]).ok();
    c.verb("wait").ok();
    assert_eq!(c.read("/log"), "quit\n");
    c.call(&["hooks", &c.id])
        .ok()
        .says("Skipped")
        .says("container exited without a stop request, after another signal");
    let warning = c.event("SignalSent");
    assert_eq!(warning["type"], "Warning");
    assert!(warning["message"].as_str().unwrap().contains("bookend/stop-signal"));
}

#[test]
fn s_04_kill_with_sigkill_skips_pre_stop_and_runs_post_stop() {
    let c = Fixture::busybox().hook("preStop", "touch /pre-stop");
    let c = c.hook("postStop", "echo $BOOKEND_EXIT_SIGNAL $BOOKEND_STOP_REQUESTED > /post").started();
    c.call(&["kill", &c.id, "KILL"]).ok();
    c.verb("wait").fails(137);
    assert!(!c.rootfs().join("pre-stop").exists());
    assert_eq!(c.read("/post"), "SIGKILL 1\n");
    assert_eq!(c.event("PreStopHookSkipped")["outcome"], "Skipped");
    assert_eq!(c.state()["exit"]["killedAfterGrace"], false);
}

#[test]
fn s_04_sigkill_during_a_stop_cuts_pre_stop_off() {
    let c = Fixture::busybox().hook("preStop", "touch /draining; sleep 1000").hook("postStop", "touch /post").started();
    c.verb("kill").ok();
    c.wait_for("preStop", |c| c.rootfs().join("draining").exists());
    c.call(&["kill", &c.id, "KILL"]).ok();
    c.verb("wait").fails(137);
    assert_eq!(c.state()["hooks"]["preStop"]["state"], "Interrupted");
    assert!(c.rootfs().join("post").exists());
}

#[test]
fn s_04_delete_force_kills_and_waits_for_post_stop() {
    let c = Fixture::busybox().hook("preStop", "touch /pre-stop").hook("postStop", "sleep 0.5; echo told > /post");
    let c = c.started();
    c.call(&["delete", "--force", &c.id]).ok();
    c.assert_nothing_left();
    assert_eq!((c.read("/post").as_str(), c.rootfs().join("pre-stop").exists()), ("told\n", false));
}

#[test]
fn s_05_other_signals_are_passed_on() {
    let entrypoint =
        "for s in HUP USR1 USR2 WINCH; do trap \"echo $s >> /log\" $s; done; touch /up; while :; do sleep 0.05; done";
    let c = up(Fixture::busybox().shell(entrypoint).hook("preStop", "true"));
    for signal in ["HUP", "USR1", "USR2", "WINCH"] {
        c.call(&["kill", &c.id, signal]).ok();
        c.wait_for(signal, |c| c.read("/log").contains(signal));
    }
    assert_eq!(c.phase(), "Running");
    send(supervisor(&c), Signal::SIGHUP);
    c.wait_for("the supervisor's", |c| c.read("/log").matches("HUP").count() == 2);
    assert_eq!(count(&c, "StopRequested"), 0);
}

// ── the sequence ──

#[test]
fn s_06_s_07_the_steps_of_a_stop_are_in_order() {
    let c = up(Fixture::busybox().shell(POLITE).hook("preStop", "echo drain >> /log"));
    let output = c.stop().ok();
    assert!(output.stdout.contains("exit code 0 (Completed)"), "{output:?}");
    assert_eq!(c.read("/log"), "drain\nterm\n");
    assert_eq!(c.event("Killing")["message"], format!("Stopping container {}", c.id));
    let steps = ["StopRequested", "Killing", "HookStarted", "HookSucceeded", "SignalSent", "Exited"].map(|s| at(&c, s));
    assert!(steps.is_sorted(), "{:?}", c.reasons());
    assert_eq!(c.status(), "stopped");
}

#[test]
fn s_08_a_failed_pre_stop_is_told_and_the_stop_goes_on() {
    let c = up(Fixture::busybox().shell(POLITE).hook("preStop", "echo no >&2; exit 3"));
    c.stop().ok().says("exit code 0");
    let failed = c.event("FailedPreStopHook");
    assert_eq!((&failed["type"], &failed["message"]), (&json!("Warning"), &json!("PreStopHook failed: exit code 3")));
    assert_eq!(c.read("/log"), "term\n");
    c.verb("wait").ok();
    assert_eq!(c.state()["hooks"]["preStop"]["state"], "Failed");
}

#[test]
fn stop_and_wait_find_a_container_with_hooks_in_another_root() {
    let c = Fixture::busybox().hook("preStop", "echo draining").started();
    let elsewhere = |args: &[&str]| {
        let mut command = Command::new(bookend());
        command.args(args).env("XDG_RUNTIME_DIR", c.scratch.path().join("run"));
        finish(command, &c.scratch)
    };
    elsewhere(&["state", &c.id]).fails(1).says("does not exist");
    let empty = c.scratch.path().join("empty");
    elsewhere(&["--root", empty.to_str().unwrap(), "stop", &c.id]).fails(1).says("does not exist");
    c.wait_for_its_trap();
    elsewhere(&["stop", &c.id]).ok().says("exit code 0");
    assert_eq!(elsewhere(&["wait", &c.id]).ok().stdout, "0\n");
}

mod alone {
    use super::*;

    #[test]
    fn s_09_s_21_s_22_a_pre_stop_that_never_ends_leaves_the_floor_of_two_seconds() {
        let c = Fixture::busybox().shell(STUBBORN).grace(1);
        let c = up(c.hook("preStop", "while :; do echo alive >> /alive; sleep 0.05; done"));
        let stop = c.spawn(&["stop", &c.id]);
        // The hook is not killed at T0 + G: it goes on until the container's end.
        c.wait_for_event("SignalSent");
        let at_signal = c.read("/alive").len();
        c.wait_for("the hook to go on", |c| c.read("/alive").len() > at_signal);
        stop.wait().ok().says("killed at the end of its grace period");
        assert_eq!(c.event("PreStopHookTimedOut")["type"], "Warning");
        assert_eq!(c.event("ExceededGracePeriod")["type"], "Warning");
        let (signal, kill) = (c.between("Killing", "SignalSent"), c.between("Killing", "SigkillSent"));
        assert!((1.0..2.5).contains(&signal), "signal at {signal}");
        assert!((3.0..5.0).contains(&kill), "SIGKILL at {kill}: G + the floor of 2 s");
        assert!(c.between("SignalSent", "SigkillSent") >= 2.0);
        let state = c.state();
        assert_eq!(
            state["exit"],
            json!({"code": 137, "signal": "SIGKILL", "reason": "Error", "killedAfterGrace": true})
        );
        assert_eq!(state["hooks"]["preStop"]["state"], "TimedOut");
    }

    #[test]
    fn s_11_without_grace_pre_stop_is_skipped_and_two_seconds_are_left() {
        let c = Fixture::busybox().shell(STUBBORN).hook("preStop", "touch /pre-stop");
        let c = up(c);
        c.call(&["stop", &c.id, "--grace", "0"]).ok();
        let skipped = c.event("PreStopHookSkipped");
        assert_eq!((&skipped["type"], &skipped["message"]), (&json!("Normal"), &json!("no grace period")));
        let kill = c.between("Killing", "SigkillSent");
        assert!((2.0..4.0).contains(&kill), "SIGKILL at {kill}");
        assert!(c.between("Killing", "SignalSent") < 1.5);
        assert!(!c.rootfs().join("pre-stop").exists());
        c.verb("wait").fails(137);
    }

    #[test]
    fn s_10_what_pre_stop_took_is_missing_at_the_end() {
        let c = up(Fixture::busybox().shell(STUBBORN).grace(4).handler("preStop", json!({"sleep": {"seconds": 1}})));
        c.stop().ok();
        let (signal, kill) = (c.between("Killing", "SignalSent"), c.between("Killing", "SigkillSent"));
        assert!((1.0..2.5).contains(&signal), "signal at {signal}");
        // Seconds are whole, so up to 0.99 s later than T0 + G.
        assert!((4.0..6.0).contains(&kill), "SIGKILL at {kill}");
    }

    #[test]
    fn s_18_a_second_stop_with_less_grace_shortens_the_first() {
        let c = up(Fixture::busybox().shell(STUBBORN).hook("preStop", "echo drain >> /log; sleep 1000").grace(600));
        c.verb("kill").ok();
        c.wait_for("preStop", |c| !c.read("/log").is_empty());
        c.call(&["stop", &c.id, "--grace", "1"]).ok();
        assert_eq!(c.read("/log"), "drain\n", "preStop is not restarted");
        assert!(c.between("Killing", "SigkillSent") >= 3.0);
        assert_eq!((count(&c, "SignalSent"), count(&c, "StopRequested")), (1, 2));
    }

    #[test]
    fn the_timeline_of_a_failed_post_start_with_a_sleeping_pre_stop() {
        let c = Fixture::busybox().shell(POLITE).hook("postStart", "while [ ! -e /up ]; do sleep 0.05; done; exit 1");
        let c = c.handler("preStop", json!({"sleep": {"seconds": 1}}));
        c.create().ok();
        c.verb("start").fails(1);
        assert!(c.between("FailedPostStartHook", "Killing") < 1.0);
        let signal = c.between("Killing", "SignalSent");
        assert!((1.0..3.0).contains(&signal), "signal at {signal}");
        assert!(!c.reasons().contains(&"SigkillSent".to_owned()));
    }
}

#[test]
fn s_12_an_entrypoint_that_exits_during_pre_stop_interrupts_it() {
    let c = Fixture::busybox().shell("while [ ! -e /quit ]; do sleep 0.05; done; exit 4");
    let c = c.hook("preStop", "touch /quit; sleep 1000").started();
    c.stop().ok();
    c.verb("wait").fails(4);
    let interrupted = c.event("PreStopHookInterrupted");
    assert_eq!((&interrupted["type"], &interrupted["outcome"]), (&json!("Normal"), &json!("Interrupted")));
    assert_eq!(interrupted["message"], "container exited during preStop");
    assert_eq!((count(&c, "SignalSent"), count(&c, "FailedPreStopHook")), (0, 0));
}

#[test]
fn s_13_the_containers_own_exit_runs_no_pre_stop() {
    for (script, code, reason) in [("exit 0", 0, "Completed"), ("exit 9", 9, "Error"), ("kill -9 $$", 9, "Error")] {
        // PID 1 cannot kill itself: the kernel ignores it, and the shell goes on to its end.
        let c = Fixture::busybox().shell(&format!("{WAIT_FOR_GO}; {script}; exit 9"));
        let c = c.hook("preStop", "touch /pre-stop").hook("postStop", "echo $BOOKEND_STOP_REQUESTED > /post").started();
        go(&c);
        c.verb("wait").fails(code);
        assert_eq!(c.state()["exit"]["reason"], reason);
        assert!(!c.rootfs().join("pre-stop").exists());
        assert_eq!(c.read("/post"), "0\n");
        let pre_stop = &c.state()["hooks"]["preStop"];
        assert_eq!(
            (&pre_stop["state"], &pre_stop["reason"]),
            (&json!("Skipped"), &json!("container exited without a stop request"))
        );
    }
}

#[test]
fn s_14_a_container_that_the_oom_killer_ended_is_oom_killed_and_runs_no_pre_stop() {
    if !needs_root("s_14_a_container_that_the_oom_killer_ended_is_oom_killed_and_runs_no_pre_stop") {
        return;
    }
    let c = Fixture::busybox().with(|config| config["linux"]["resources"]["memory"] = json!({"limit": 20 << 20}));
    let c = c.shell(&format!("{WAIT_FOR_GO}; a=aaaaaaaaaaaaaaaa; while :; do a=$a$a; done"));
    let c = c.hook("preStop", "touch /pre-stop").hook("postStop", "echo $BOOKEND_REASON > /post").started();
    go(&c);
    c.verb("wait").fails(137);
    assert_eq!(c.state()["exit"]["reason"], "OOMKilled");
    assert_eq!(c.event("Exited")["oom"], true);
    assert_eq!((c.read("/post").as_str(), c.rootfs().join("pre-stop").exists()), ("OOMKilled\n", false));
}

#[test]
fn l_09_r13_an_entrypoint_that_ends_by_the_oom_kill_of_another_member_is_oom_killed() {
    if !needs_root("l_09_r13_an_entrypoint_that_ends_by_the_oom_kill_of_another_member_is_oom_killed") {
        return;
    }
    let limit = |c: Fixture| c.with(|config| config["linux"]["resources"]["memory"] = json!({"limit": 20 << 20}));
    let eat = "busybox tail -n 1 /dev/zero";
    // A shell ends with the code of what it ran; the kernel has killed that, not the shell.
    let c = limit(Fixture::busybox()).shell(&format!("{WAIT_FOR_GO}; {eat}; exit $?"));
    let c = c.hook("postStop", "echo $BOOKEND_REASON > /post").started();
    let supervisor = supervisor_of(&c);
    go(&c);
    c.verb("wait").fails(137);
    let exited = c.event("Exited");
    assert_eq!((&exited["oom"], &exited["code"], exited.get("signal")), (&json!(true), &json!(137), None));
    assert_eq!(c.state()["exit"]["reason"], "OOMKilled");
    assert_eq!(c.read("/post"), "OOMKilled\n");
    // R13: whose score it was given, and not with the container's memory.
    assert_eq!(supervisor.0, fs::read_to_string("/proc/self/oom_score_adj").unwrap());
    assert!(!supervisor.1.contains(&c.id), "{}", supervisor.1);

    // One that lives on is no victim, nor is one that we have killed ourselves.
    let c = limit(Fixture::busybox()).shell(&format!("trap '' TERM; {WAIT_FOR_GO}; {eat}; touch /ate; sleep 1000"));
    let c = c.hook("preStop", "true").started();
    go(&c);
    c.wait_for("the kill", |c| c.rootfs().join("ate").exists());
    c.call(&["stop", "--grace", "0", &c.id]).ok();
    assert_eq!(c.state()["exit"]["code"], 137);
    assert_eq!(c.state()["exit"]["reason"], "Error");
}

/// oom_score_adj and control groups of a container's supervisor.
fn supervisor_of(c: &Fixture) -> (String, String) {
    let root = c.root();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let supervisor = processes.filter(|path| {
        let line = String::from_utf8_lossy(&fs::read(path.join("cmdline")).unwrap_or_default()).replace('\0', " ");
        line.contains(&format!("supervise {} {}", root.display(), c.id))
    });
    let found: Vec<_> = supervisor.collect();
    assert_eq!(found.len(), 1, "one supervisor");
    let read = |file: &str| fs::read_to_string(found[0].join(file)).unwrap();
    (read("oom_score_adj"), read("cgroup"))
}

#[test]
fn s_15_a_stop_of_a_stopped_container_succeeds_and_does_nothing() {
    let c = Fixture::busybox().hook("preStop", "echo drain >> /log").started();
    c.stop().ok();
    let before = c.reasons();
    c.stop().ok();
    c.call(&["stop", &c.id, "--grace", "0"]).ok();
    assert_eq!((c.reasons(), c.read("/log").as_str()), (before, "drain\n"));

    let plain = Fixture::busybox().started();
    plain.stop().ok();
    plain.stop().ok();
}

#[test]
fn s_16_a_stop_of_a_created_container_runs_nothing() {
    let c =
        Fixture::busybox().shell("touch /entrypoint").hook("preStart", "touch /hook").hook("preStop", "touch /hook");
    let c = c.hook("postStop", "touch /hook");
    c.create().ok();
    c.stop().ok();
    assert_eq!((c.status().as_str(), c.phase().as_str()), ("stopped", "Stopped"));
    c.verb("wait").fails(143);
    c.verb("start").fails(1).says("stopped");
    assert!(!c.rootfs().join("hook").exists() && !c.rootfs().join("entrypoint").exists());
}

#[test]
fn s_16_a_signal_that_would_end_a_process_ends_a_created_container_with_128_and_its_number() {
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("INT", 130), ("USR1", 138), ("HUP", 129)] {
        let with = Fixture::busybox().hook("preStop", "true");
        with.create().ok();
        with.call(&["kill", &with.id, signal]).ok();
        let output = with.verb("wait");
        // Who may not look at a zombie that was non-dumpable is told its code by the reap, which its parent can put off.
        let hidden = !is_root() && output.stderr.contains("cannot be known");
        assert!(output.code == code || hidden, "{signal}: {output:?}");
        assert_eq!(with.status(), "stopped");

        let without = Fixture::busybox();
        without.create().ok();
        without.call(&["kill", &without.id, signal]).ok();
        without.wait_for("stopped", |c| c.status() == "stopped");
        without.verb("delete").ok();
    }
    let c = Fixture::busybox();
    c.create().ok();
    c.call(&["kill", &c.id, "WINCH"]).ok();
    assert_eq!(c.status(), "created");
}

#[test]
fn s_17_two_stops_at_once_both_succeed_and_pre_stop_runs_once() {
    let c = up(Fixture::busybox().shell(POLITE).hook("preStop", &format!("echo drain >> /log; {WAIT_FOR_GO}")));
    let first = c.spawn(&["stop", &c.id]);
    c.wait_for("preStop", |c| !c.read("/log").is_empty());
    let mut second = c.command(&["stop", &c.id, "--grace", "600"]).spawn().unwrap();
    c.wait_for("the second", |c| count(c, "StopRequested") == 2);
    go(&c);
    first.wait().ok();
    assert!(second.wait().unwrap().success());
    assert_eq!(c.read("/log"), "drain\nterm\n");
    assert_eq!((count(&c, "SignalSent"), count(&c, "StopRequested")), (1, 2));
}

#[test]
fn s_17_a_barrage_of_requests_runs_pre_stop_once_and_sends_one_signal() {
    let c = up(Fixture::busybox().shell(POLITE).hook("preStop", &format!("echo drain >> /log; {WAIT_FOR_GO}")));
    let pid = supervisor(&c);
    let mut children: Vec<_> = (0..20).map(|_| c.command(&["kill", &c.id, "TERM"]).spawn().unwrap()).collect();
    (0..80).for_each(|_| send(pid, Signal::SIGTERM));
    children.iter_mut().for_each(|child| assert!(child.wait().unwrap().success()));
    go(&c);
    c.verb("wait").ok();
    assert_eq!(c.read("/log"), "drain\nterm\n");
    assert_eq!((count(&c, "SignalSent"), count(&c, "Killing"), count(&c, "Exited")), (1, 1, 1));
}

#[test]
fn s_19_a_second_sigint_kills_and_a_second_sigterm_does_not() {
    let c = Fixture::busybox().shell(STUBBORN).hook("preStop", "touch /draining; sleep 1000").grace(600);
    let run = c.spawn_run();
    c.wait_for_phase("Running");
    wait_up(&c);
    run.signal(Signal::SIGTERM);
    c.wait_for("preStop", |c| c.rootfs().join("draining").exists());
    run.signal(Signal::SIGTERM);
    run.signal(Signal::SIGINT);
    c.wait_for("the requests", |c| count(c, "StopRequested") >= 2);
    assert_eq!(c.phase(), "Stopping");
    c.wait_for("the SIGINT", |c| c.journal().iter().any(|r| r["reason"] == "StopRequested" && r["signal"] == "SIGINT"));
    run.signal(Signal::SIGINT);
    run.wait().fails(137);
}

#[test]
fn s_20_without_a_pid_namespace_the_rest_is_killed_after_the_entrypoint() {
    if !needs_root("s_20_without_a_pid_namespace_the_rest_is_killed_after_the_entrypoint") {
        return;
    }
    for own_exit in [false, true] {
        let script = format!("setsid sleep 4321 & echo $! > /child; touch /up; {WAIT_FOR_GO}");
        let c = up(Fixture::busybox().without_namespace("pid").shell(&script).hook("preStop", "true"));
        let child = format!("/proc/{}", c.read("/child").trim());
        assert!(fs::exists(&child).unwrap());
        if own_exit {
            go(&c)
        } else {
            c.stop().ok();
        }
        c.verb("wait");
        c.wait_for("the child's end", |_| {
            fs::read_to_string(format!("{child}/stat")).map_or(true, |stat| stat.contains(") Z "))
        });
    }
}

#[test]
fn s_23_s_25_the_stop_signal_is_the_one_that_is_named() {
    // busybox's shell knows real-time signals by number only.
    for (name, number) in [("SIGUSR2", 12), ("SIGRTMIN", 34), ("SIGRTMIN+3", 37), ("SIGRTMAX-14", 50), ("SIGRTMAX", 64)]
    {
        let entrypoint = format!("trap 'echo got >> /log; exit 0' {number}; touch /up; while :; do sleep 0.05; done");
        let c = up(Fixture::busybox().shell(&entrypoint).stop_signal(name).hook("preStop", "true"));
        c.stop().ok();
        assert_eq!(c.read("/log"), "got\n", "{name}");
        assert_eq!(c.event("SignalSent")["signal"], name);
    }
}

#[test]
fn s_23_the_images_stop_signal_is_used_when_nothing_nearer_names_one() {
    let entrypoint = "trap 'echo usr1 >> /log; exit 0' USR1; touch /up; while :; do sleep 0.05; done";
    let c = Fixture::busybox().shell(entrypoint).annotation("org.opencontainers.image.stopSignal", "10");
    let c = up(c.hook("preStop", "true"));
    c.stop().ok();
    assert_eq!(c.read("/log"), "usr1\n");
}

#[test]
fn s_24_with_sigkill_as_stop_signal_there_is_no_floor() {
    let c = Fixture::busybox().shell(STUBBORN).stop_signal("SIGKILL").hook("preStop", "echo drain >> /log");
    let c = up(c);
    c.stop().ok();
    c.verb("wait").fails(137);
    assert_eq!(c.read("/log"), "drain\n");
    let state = c.state();
    assert_eq!(state["exit"]["killedAfterGrace"], false);
    assert!(c.between("HookSucceeded", "SigkillSent") < 1.9);
}

#[test]
fn s_26_a_stop_signal_that_cannot_end_a_process_is_warned_of_and_sent() {
    let entrypoint = "trap 'echo winch >> /log; exit 0' WINCH; touch /up; while :; do sleep 0.05; done";
    let c = Fixture::busybox().shell(entrypoint).stop_signal("SIGWINCH").hook("preStop", "true");
    let output = c.run_detached().ok();
    assert!(output.stderr.contains("SIGWINCH"), "{output:?}");
    wait_up(&c);
    c.stop().ok();
    assert_eq!(c.read("/log"), "winch\n");
}

#[test]
fn s_29_a_paused_container_is_resumed_before_it_is_stopped() {
    if !needs_root("s_29_a_paused_container_is_resumed_before_it_is_stopped") {
        return;
    }
    let c = up(Fixture::busybox().shell(POLITE).hook("preStop", "echo drain >> /log"));
    c.verb("pause").ok();
    assert_eq!(c.status(), "paused");
    c.stop().ok();
    assert_eq!(c.read("/log"), "drain\nterm\n");
    let plain = Fixture::busybox().started();
    plain.verb("pause").ok();
    plain.stop().ok();
}

#[test]
fn s_30_a_container_stops_although_a_hook_of_its_was_killed() {
    let c = up(Fixture::busybox().shell(POLITE).hook("preStop", "echo $$ > /pid; exec sleep 1000").grace(600));
    c.verb("kill").ok();
    c.wait_for("preStop", |c| !c.read("/pid").is_empty());
    c.exec("kill -9 $(cat /pid)").ok();
    c.verb("wait").ok();
    assert_eq!(c.event("FailedPreStopHook")["message"], "PreStopHook failed: exit code 137");
    assert_eq!(c.read("/log"), "term\n");
}

#[test]
fn s_27_a_foreground_run_that_is_killed_takes_its_entrypoint_with_it() {
    let c = Fixture::busybox().hook("preStop", "true");
    let run = c.spawn_run();
    c.wait_for_phase("Running");
    let pid = c.pid();
    run.signal(Signal::SIGKILL);
    assert_eq!(run.wait().code, 137);
    c.wait_for("the ENTRYPOINT's end", |_| {
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    assert_eq!(c.status(), "stopped");
}

#[test]
fn h7_whenever_the_entrypoint_dies_it_has_exited_exactly_once_and_post_stop_has_run_once() {
    let c = Fixture::busybox().hook("postStart", "usleep 100000").hook("preStop", "usleep 100000");
    let c = c.hook("postStop", "echo post >> /post");
    let mut ran = 0;
    for round in 0..10 {
        c.create().ok();
        let start = c.spawn(&["start", &c.id]);
        let mut kill = Command::new("sh");
        kill.arg("-c").arg(format!("usleep {0} 2> /dev/null || sleep 0.{0:06}; kill -9 {1}", round * 30_000, c.pid()));
        kill.status().unwrap();
        start.wait();
        c.verb("wait").fails(137);
        assert_eq!((count(&c, "Exited"), count(&c, "Deleted")), (1, 0), "{:?}", c.reasons());
        let is_told = c.journal().iter().any(|record| record["hook"] == "postStop");
        // O-02: where it died before its start was heard, there is nothing to clean up after.
        ran += usize::from(is_told || count(&c, "Started") > 0);
        assert_eq!(c.read("/post").lines().count(), ran, "after round {round}: {:?}", c.reasons());
        c.verb("delete").ok();
    }
}

/// Its supervisor is no parent of it and may not look at it yet: it waits for whoever reaps it, be that slow (exit.rs).
#[test]
fn h7_an_init_that_is_killed_before_its_start_has_its_code() {
    let c = Fixture::busybox().hook("preStop", "true");
    c.create().ok();
    Command::new("sh").arg("-c").arg(format!("kill -9 {}", c.pid())).status().unwrap();
    c.verb("wait").fails(137);
    c.verb("delete").ok();
}

#[test]
fn r7_four_forced_deletions_at_once_all_succeed() {
    let c = Fixture::busybox().hook("preStop", "true").hook("postStop", "sleep 0.2; echo post >> /post").started();
    let mut children: Vec<_> = (0..4).map(|_| c.command(&["delete", "--force", &c.id]).spawn().unwrap()).collect();
    children.iter_mut().for_each(|child| assert!(child.wait().unwrap().success()));
    c.assert_nothing_left();
    assert_eq!(c.read("/post"), "post\n");
}
