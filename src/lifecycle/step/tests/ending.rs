//! The exit and postStop: O-01 to O-10, X-01 to X-05, L-09.

use super::*;
use Hook::{PostStart, PostStop, PreStop};

#[test]
fn o_01_post_stop_runs_its_entries_in_order_after_the_exit() {
    let mut c = Sim::running(plan().with(PostStop).with(PostStop));
    c.exit(0).at(1.0).ok(PostStop).at(2.0).ok(PostStop).ok(PostStop);
    c.expect(&[
        "0 Exited",
        "0 run postStop[0]",
        "1 HookSucceeded",
        "1 cancel postStop",
        "1 run postStop[1]",
        "2 HookSucceeded",
        "2 cancel postStop",
    ]);
    assert_eq!((c.life.phase_name(), c.life.oci_status()), ("Stopped", "stopped"));
}

#[test]
fn o_01_a_second_exit_changes_nothing() {
    let mut c = Sim::running(plan().with(PostStop));
    c.exit(0).forget().exit(7);
    c.expect(&[]);
    assert_eq!(c.life.exit_code(), Some(0));
}

#[test]
fn o_02_post_stop_does_not_run_where_nothing_was_started() {
    let mut c = Sim::created(plan().with(PostStop));
    c.dies_of(Signal::KILL);
    c.expect(&["0 Exited"]);
    assert_eq!(c.life.phase_name(), "Stopped");
}

#[test]
fn o_05_stop_waits_for_post_stop_which_uses_up_no_grace() {
    let mut c = Sim::running(plan().with(PostStop).grace(1));
    c.stop().exit(0).forget().at(59.0).ok(PostStop);
    c.expect(&["59 HookSucceeded", "59 cancel postStop", "59 stop: ok"]);
}

#[test]
fn o_06_a_failed_entry_of_post_stop_is_followed_by_the_others() {
    let mut c = Sim::running(plan().with(PostStop).with(PostStop));
    c.exit(0).forget().fails(PostStop).at(60.0).times_out(PostStop, 60);
    c.expect(&[
        "0 FailedPostStopHook",
        "0 cancel postStop",
        "0 run postStop[1]",
        "60 FailedPostStopHook",
        "60 cancel postStop",
    ]);
    assert_eq!(c.life.exit_code(), Some(0));
}

#[test]
fn o_06_x_04_a_failed_post_stop_that_counts_turns_0_into_125() {
    let mut c = Sim::running(plan().on_failure(PostStop, OnFailure::Fail).with(PostStop));
    c.exit(0).fails(PostStop).ok(PostStop);
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(125), "Completed"));
}

#[test]
fn t_04_post_stop_is_tried_again_after_its_delay() {
    let mut c = Sim::running(plan().retries(PostStop, 1));
    c.exit(0).forget().fails(PostStop).at(1.0).ok(PostStop);
    c.expect(&["0 HookRetrying", "1 run postStop[0] #2", "1 HookSucceeded", "1 cancel postStop"]);
}

#[test]
fn o_07_post_stop_ignores_one_sigterm_and_ends_at_the_second() {
    let mut c = Sim::running(plan().with(PostStop).with(PostStop));
    c.exit(0).forget().at(1.0).signalled(Signal::TERM);
    c.expect(&[]);
    c.at(2.0).signalled(Signal::TERM);
    c.expect(&["2 cancel postStop", "2 FailedPostStopHook (Interrupted)"]);
    assert_eq!((c.life.phase_name(), c.life.exit_code()), ("Stopped", Some(0)));
}

#[test]
fn o_07_sigint_ends_post_stop_between_two_attempts_too() {
    let mut c = Sim::running(plan().retries(PostStop, 1));
    c.exit(0).fails(PostStop).forget().signalled(Signal::INT).at(9.0);
    c.expect(&["0 cancel postStop", "0 FailedPostStopHook (Interrupted)"]);
}

#[test]
fn o_10_kill_in_post_stop_is_answered_as_for_a_stopped_container() {
    let mut c = Sim::running(plan().with(PostStop));
    c.exit(0).forget().kill(Signal::KILL).kill_to_stop(Signal::TERM);
    for signal in [Signal::KILL, Signal::TERM] {
        let request = Some(c.request("kill --all"));
        c.event(Event::Kill { request, signal, all: true, raw: false });
        let by = By::Kill(c.request("kill --all"));
        c.event(Event::Stop(StopRequest { by, grace_seconds: None, signal, all: true }));
    }
    c.count("kill: container not running", 2);
    c.count("kill --all: ok", 4);
    assert_eq!(c.lines().len(), 6);
}

#[test]
fn o_10_stop_without_grace_ends_post_stop_and_a_plain_stop_waits() {
    let mut c = Sim::running(plan().with(PostStop));
    c.exit(0).forget().stop();
    c.expect(&[]);
    c.stop_grace(0);
    c.expect(&["0 cancel postStop", "0 FailedPostStopHook (Interrupted)", "0 stop: ok", "0 stop: ok"]);
}

#[test]
fn start_of_a_stopped_container_is_refused() {
    let mut c = Sim::running(plan().with(PostStop));
    c.exit(0).forget().start().ok(PostStop).start();
    c.count("start: cannot start a container that has stopped", 2);
}

#[test]
fn x_01_x_02_l_09_the_code_and_the_reason_are_the_entrypoints_own() {
    let end = |exit: Exit| {
        let mut c = Sim::running(plan().with(PreStop));
        c.event(Event::InitExited(exit));
        (c.life.exit_code(), c.life.reason())
    };
    assert_eq!(end(Exit { code: Some(0), ..Exit::default() }), (Some(0), "Completed"));
    assert_eq!(end(Exit { code: Some(5), ..Exit::default() }), (Some(5), "Error"));
    assert_eq!(end(Exit { code: Some(143), signal: Some(Signal::TERM), oom: false }), (Some(143), "Error"));
    assert_eq!(end(Exit::default()), (None, "Unknown"));
}

/// Section 10, the last line.
#[test]
fn an_exit_with_0_during_post_start_leaves_code_0_and_completed() {
    let mut c = Sim::executed(plan().with(PostStart).with(PostStop));
    c.forget().at(1.0).exit(0).ok(PostStop);
    c.count("FailedPostStartHook (Interrupted)", 1);
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(0), "Completed"));
}
