//! S-04, S-05, O-09: signals that are no stop request, SIGKILL, and `delete`, in every phase.

use super::*;
use Hook::{PostStart, PostStop, PreStart, PreStop};

fn all_hooks() -> Plan {
    plan().with(PreStart).with(PostStart).with(PreStop).with(PostStop)
}

/// A life in every phase that has a live init.
fn alive() -> Vec<(&'static str, Sim)> {
    let mut pre_start = Sim::created(all_hooks());
    pre_start.start();
    let mut stopping = Sim::running(all_hooks());
    stopping.stop();
    let mut signalled = Sim::running(all_hooks());
    signalled.stop().at(30.0);
    vec![
        ("Created", Sim::created(all_hooks())),
        ("PreStart", pre_start),
        ("Executing", Sim::executing(all_hooks())),
        ("Starting", Sim::executed(all_hooks())),
        ("Running", Sim::running(all_hooks())),
        ("Stopping", stopping),
        ("Stopping, signalled", signalled),
    ]
}

#[test]
fn s_04_sigkill_in_any_phase_kills_at_once_and_no_hook_is_begun_but_post_stop() {
    for (phase, mut c) in alive() {
        c.forget().kill(Signal::KILL);
        c.count("SIGKILL", 1);
        c.count("kill: ok", 1);
        c.dies_of(Signal::KILL).at(100.0);
        c.count("SIGKILL", 1);
        for never in ["run preStart[0]", "run postStart", "run preStop", "execute", "SIGTERM", "Killing"] {
            c.count(never, 0);
        }
        c.count("run postStop[0]", usize::from(phase != "Created"));
        assert_eq!(c.life.exit_code(), Some(137), "{phase}");
        assert!(c.life.stop_requested(), "{phase}");
    }
}

#[test]
fn s_04_pre_stop_is_skipped_where_it_had_not_begun() {
    let mut c = Sim::running(all_hooks());
    c.kill(Signal::KILL);
    c.expect(&["0 SIGKILL", "0 PreStopHookSkipped", "0 kill: ok"]);
    c.forget().stop(); // the ENTRYPOINT takes long to die
    c.expect(&[]);
}

#[test]
fn s_04_a_running_pre_stop_is_interrupted_and_that_is_told_once() {
    let mut c = Sim::running(all_hooks());
    c.stop().at(1.0).forget().kill(Signal::KILL).fails(PreStop).dies_of(Signal::KILL);
    c.expect(&[
        "1 SIGKILL",
        "1 kill: ok",
        "1 Exited",
        "1 cancel preStop",
        "1 PreStopHookInterrupted (Interrupted)",
        "1 run postStop[0]",
    ]);
}

#[test]
fn s_04_a_pre_stop_whose_wait_is_over_ends_with_the_container_when_it_is_killed() {
    let mut c = Sim::running(all_hooks());
    c.stop().at(30.5).forget().kill(Signal::KILL).dies_of(Signal::KILL);
    c.expect(&["30.5 SIGKILL", "30.5 kill: ok", "30.5 Exited", "30.5 cancel preStop", "30.5 run postStop[0]"]);
}

#[test]
fn s_04_post_start_that_succeeds_on_a_killed_container_does_not_make_it_running() {
    let mut c = Sim::executed(all_hooks());
    c.forget().kill(Signal::KILL).ok(PostStart).dies_of(Signal::KILL);
    c.count("Started", 0);
    c.count("start: stopped before postStart completed", 1);
}

#[test]
fn s_04_an_execve_that_sigkill_overtakes_begins_no_post_start() {
    let mut c = Sim::executing(all_hooks());
    c.forget().kill(Signal::KILL).event(Event::Executed).dies_of(Signal::KILL);
    c.count("EntrypointExecuted", 1);
    c.count("run postStart", 0);
}

#[test]
fn s_04_sigkill_to_all_reaches_the_entrypoint_and_the_rest() {
    let mut c = Sim::running(plan());
    let request = Some(c.request("kill"));
    c.event(Event::Kill { request, signal: Signal::KILL, all: true, raw: false });
    c.expect(&["0 SIGKILL", "0 SIGKILL to all", "0 kill: ok"]);
}

#[test]
fn s_05_another_signal_is_passed_on_in_every_phase_and_changes_nothing() {
    for (phase, mut c) in alive() {
        let before = c.life.clone();
        c.forget().kill(Signal::HUP);
        assert_eq!(c.lines().iter().filter(|line| line.ends_with("SIGHUP")).count(), 1, "{phase}");
        c.count("kill: ok", 1);
        assert_eq!(c.life, before, "{phase}");
    }
}

#[test]
fn s_03_a_signal_that_may_be_meant_to_stop_leaves_a_warning_where_there_is_a_pre_stop() {
    let warned = |plan: Plan, from_verb: bool, raw: bool| {
        let mut c = Sim::running(plan);
        let request = from_verb.then(|| c.request("kill"));
        c.event(Event::Kill { request, signal: Signal::QUIT, all: false, raw });
        c.count("SIGQUIT", 1);
        c.told().count() == 1
    };
    assert!(warned(all_hooks(), true, false));
    assert!(!warned(all_hooks(), true, true));
    assert!(!warned(all_hooks(), false, false));
    assert!(!warned(plan().with(PostStop), true, false));
}

#[test]
fn o_04_a_raw_kill_counts_as_asked_and_runs_no_hook() {
    let mut c = Sim::running(all_hooks());
    let request = Some(c.request("kill"));
    c.event(Event::Kill { request, signal: Signal::TERM, all: false, raw: true }).dies_of(Signal::TERM);
    c.expect(&["0 SIGTERM", "0 kill: ok", "0 Exited", "0 run postStop[0]"]);
    assert!(c.life.stop_requested());
}

#[test]
fn o_09_delete_force_in_any_phase_kills_and_removes_when_post_stop_has_ended() {
    for (phase, mut c) in alive() {
        c.forget().delete(true).delete(true).dies_of(Signal::KILL);
        if phase != "Created" {
            c.count("run postStop[0]", 1);
            c.count("remove for 2", 0);
            c.ok(PostStop);
        }
        c.count("remove for 2", 1);
        assert_eq!(c.lines().last().unwrap().split_once(' ').unwrap().1, "remove for 2", "{phase}");
        assert_eq!(c.life.phase_name(), "Stopped", "{phase}");
    }
}

#[test]
fn delete_without_force_is_for_created_and_stopped_containers() {
    for (phase, mut c) in alive() {
        c.forget().delete(false);
        match phase {
            "Created" => c.expect(&["0 SIGKILL"]),
            "PreStart" | "Executing" => c.expect(&["0 delete: that is not stopped: created"]),
            _ => c.count("delete: that is not stopped: running", 1),
        }
    }
    let mut c = Sim::created(all_hooks());
    c.kill_to_stop(Signal::TERM).forget().delete(false).dies_of(Signal::KILL); // callers do not wait in between
    c.count("remove for 1", 1);
}

#[test]
fn o_09_delete_in_post_stop_waits_for_its_end() {
    let mut c = Sim::running(all_hooks());
    c.exit(0).forget().at(1.0).delete(false).at(2.0).delete(true).at(3.0).ok(PostStop);
    c.expect(&["3 HookSucceeded", "3 cancel postStop", "3 remove for 2"]);
}

#[test]
fn delete_of_a_stopped_container_removes_it() {
    let mut c = Sim::running(plan());
    c.exit(0).forget().delete(false);
    c.expect(&["0 remove for 1"]);
}
