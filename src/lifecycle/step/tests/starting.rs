//! Sections 3 and 6 (preStart), T-01 to T-06 for postStart, and the worked timelines that begin with `start`.

use super::*;
use crate::lifecycle::model::HookLog;
use Hook::{PostStart, PostStop, PreStart, PreStop};

#[test]
fn p_01_a_failed_execve_runs_post_stop_and_no_other_hook() {
    let mut c = Sim::executing(plan().with(PostStart).with(PreStop).with(PostStop));
    c.event(Event::ExecFailed { message: "exec: \"x\": not found".into(), code: 127 });
    c.exit(1).ok(PostStop);
    c.expect(&[
        "0 execute",
        "0 Failed",
        "0 Exited",
        "0 run postStop[0]",
        "0 start: exec: \"x\": not found",
        "0 HookSucceeded",
        "0 cancel postStop",
    ]);
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(127), "StartError"));
    assert_eq!(c.life.phase_name(), "Stopped");
}

#[test]
fn p_02_without_post_start_the_container_is_running_at_once() {
    let mut c = Sim::created(plan().with(PreStop));
    c.start().event(Event::Executed);
    c.expect(&["0 execute", "0 EntrypointExecuted", "0 Started", "0 start: ok"]);
    assert_eq!(c.notice("Started").message, "Started container web");
    assert_eq!(c.life.oci_status(), "running");
}

#[test]
fn p_03_post_start_begins_when_the_execve_has_succeeded_and_not_before() {
    let mut c = Sim::created(plan().with(PostStart));
    c.start().at(1.0).event(Event::Executed);
    c.expect(&["0 execute", "1 EntrypointExecuted", "1 run postStart"]);
}

#[test]
fn p_04_while_post_start_runs_the_phase_is_starting_and_the_status_created() {
    let mut c = Sim::executed(plan().with(PostStart));
    assert_eq!((c.life.phase_name(), c.life.oci_status()), ("Starting", "created"));
    c.count("start: ok", 0);
    c.forget().start();
    c.expect(&["0 start: cannot start an already started container"]);
}

#[test]
fn p_05_start_returns_when_post_start_has_succeeded() {
    let mut c = Sim::executed(plan().with(PostStart));
    c.forget().at(3.0).ok(PostStart);
    c.expect(&["3 HookSucceeded", "3 Started", "3 start: ok"]);
}

#[test]
fn p_06_post_start_has_no_limit_of_its_own() {
    let mut c = Sim::executed(plan().with(PostStart));
    c.at(1_000_000.0);
    assert_eq!((c.life.phase_name(), c.life.deadline()), ("Starting", None));
}

#[test]
fn p_07_a_failed_post_start_runs_pre_stop_and_fails_start() {
    let mut c = Sim::executed(plan().sleep(PreStop, 5).with(PostStart).with(PostStop));
    c.forget().at(3.0).fails(PostStart).at(8.0).ok(PreStop).at(9.0).exit(0);
    c.expect(&[
        "3 FailedPostStartHook",
        "3 Killing",
        "3 run preStop",
        "8 HookSucceeded",
        "8 SIGTERM",
        "9 Exited",
        "9 run postStop[0]",
        "9 start: PostStartHook failed: exit code 1: no db",
    ]);
    assert_eq!(c.notice("FailedPostStartHook").message, "PostStartHook failed: exit code 1"); // L-03, L-07
    assert_eq!(c.notice("Killing").message, "FailedPostStartHook");
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(125), "PostStartHookError")); // X-03, L-09
    assert!(!c.life.stop_requested()); // O-04
}

#[test]
fn p_08_pre_stop_has_the_full_budget_after_a_failed_post_start() {
    let mut c = Sim::executed(plan().with(PreStop).with(PostStart).grace(20));
    c.at(100.0).forget().fails(PostStart).at(130.0);
    c.expect(&[
        "100 FailedPostStartHook",
        "100 Killing",
        "100 run preStop",
        "120 PreStopHookTimedOut",
        "120 SIGTERM",
        "122 GraceDeadline",
        "122 ExceededGracePeriod",
        "122 SIGKILL",
    ]);
}

#[test]
fn p_09_an_ignored_failure_of_post_start_lets_the_container_run() {
    let mut c = Sim::executed(plan().on_failure(PostStart, OnFailure::Ignore));
    c.forget().fails(PostStart);
    c.expect(&["0 FailedPostStartHook", "0 Started", "0 start: ok"]);
    assert_eq!(c.notice("FailedPostStartHook").message, "PostStartHook failed: exit code 1 (ignored)");
}

#[test]
fn p_10_an_exit_during_post_start_cancels_it_without_pre_stop() {
    let mut c = Sim::executed(plan().with(PreStop).with(PostStart).with(PostStop));
    c.forget().at(1.0).exit(3);
    c.expect(&[
        "1 Exited",
        "1 cancel postStart",
        "1 FailedPostStartHook (Interrupted)",
        "1 run postStop[0]",
        "1 start: container exited (exit code 3) before postStart completed",
    ]);
    let notice = c.notice("FailedPostStartHook");
    assert_eq!(notice.message, "PostStartHook failed: container exited (exit code 3) before the hook finished");
    assert_eq!((notice.attempt, notice.duration_ms), (Some(1), Some(1000)));
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(3), "Error"));
    c.forget().fails(PostStart); // what it says now is not heard
    c.expect(&[]);
}

#[test]
fn p_10_an_exit_between_two_attempts_is_the_hooks_interruption_and_no_attempts() {
    let mut c = Sim::executed(plan().retries(PostStart, 3));
    c.forget().fails(PostStart).at(0.5).exit(0).at(9.0);
    c.count("run postStart #2", 0);
    let notice = c.notice("FailedPostStartHook");
    assert_eq!((notice.attempt, notice.outcome.as_deref()), (None, Some("Interrupted")));
}

#[test]
fn p_11_a_stop_during_post_start_begins_at_once_and_leaves_post_start_running() {
    let mut c = Sim::executed(plan().sleep(PreStop, 1).with(PostStart).with(PostStop));
    c.forget().at(2.0).stop().at(3.0).ok(PreStop);
    assert_eq!((c.life.phase_name(), c.life.oci_status()), ("Stopping", "created"));
    c.at(4.0).exit(0);
    c.expect(&[
        "2 Killing",
        "2 run preStop",
        "3 HookSucceeded",
        "3 SIGTERM",
        "4 Exited",
        "4 cancel postStart",
        "4 FailedPostStartHook (Interrupted)",
        "4 run postStop[0]",
        "4 start: stopped before postStart completed",
    ]);
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(0), "Completed"));
}

#[test]
fn p_11_post_start_is_cancelled_when_the_budget_is_spent() {
    let mut c = Sim::executed(plan().with(PostStart).grace(5));
    c.forget().stop().at(5.0);
    c.count("cancel postStart", 1);
    c.count("FailedPostStartHook (Interrupted)", 1);
    c.exit(0);
    c.count("cancel postStart", 1);
}

#[test]
fn p_11_a_result_of_post_start_after_the_stop_changes_nothing() {
    let mut c = Sim::executed(plan().retries(PostStart, 3));
    c.forget().stop().at(1.0).fails(PostStart).at(5.0).exit(0);
    c.expect(&[
        "0 Killing",
        "0 SIGTERM",
        "1 FailedPostStartHook",
        "5 Exited",
        "5 start: stopped before postStart completed",
        "5 stop: ok",
    ]);
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(0), "Completed"));

    let mut c = Sim::executed(plan().with(PostStart));
    c.forget().stop().ok(PostStart);
    c.count("Started", 0);
    c.count("start: ok", 0);
}

#[test]
fn p_12_a_stop_that_waits_is_acted_on_when_post_start_has_ended() {
    let mut c = Sim::executed(plan().stop_waits().with(PostStart).with(PreStop).grace(10));
    c.forget().at(2.0).kill_to_stop(Signal::TERM).stop().at(60.0);
    assert_eq!((c.life.phase_name(), c.life.oci_status()), ("Starting", "created"));
    c.ok(PostStart).at(90.0).exit(0);
    c.expect(&[
        "2 kill: ok",
        "60 HookSucceeded",
        "60 Started",
        "60 start: ok",
        "60 Killing",
        "60 run preStop",
        "70 PreStopHookTimedOut",
        "70 SIGTERM",
        "72 GraceDeadline",
        "72 ExceededGracePeriod",
        "72 SIGKILL",
        "90 Exited",
        "90 cancel preStop",
        "90 stop: ok",
    ]);
    assert_eq!(c.told().filter(|notice| notice.reason == "StopRequested").count(), 2);
}

#[test]
fn p_12_without_a_post_start_there_is_nothing_to_wait_for() {
    let mut c = Sim::running(plan().stop_waits());
    c.stop().expect(&["0 Killing", "0 SIGTERM"]);
    let mut c = Sim::running(plan().stop_waits().with(PostStart));
    c.stop().expect(&["0 Killing", "0 SIGTERM"]);
}

#[test]
fn p_12_a_stop_that_waits_does_not_keep_post_start_from_its_attempts() {
    let mut c = Sim::executed(plan().stop_waits().retries(PostStart, 1));
    c.forget().stop().at(1.0).fails(PostStart).at(3.0);
    c.count("run postStart #2", 1);
    c.ok(PostStart).count("SIGTERM", 1);
    // One that came while init was about to execute the ENTRYPOINT waits too.
    let mut c = Sim::executing(plan().stop_waits().with(PostStart));
    c.forget().stop().event(Event::Executed).ok(PostStart);
    c.expect(&[
        "0 EntrypointExecuted",
        "0 run postStart",
        "0 HookSucceeded",
        "0 Started",
        "0 start: ok",
        "0 Killing",
        "0 SIGTERM",
    ]);
}

#[test]
fn p_12_of_several_stops_that_wait_the_shortest_grace_counts() {
    for (graces, seconds) in [([20, 5], 5), ([5, 20], 5), ([90, 40], 30)] {
        let mut c = Sim::executed(plan().stop_waits().with(PostStart));
        c.forget().stop();
        for grace in graces {
            c.stop_grace(grace);
        }
        c.ok(PostStart);
        assert_eq!(c.notice("Killing").grace_seconds, Some(seconds), "{graces:?}");
        c.count("SIGTERM", 1);
    }
}

#[test]
fn p_12_a_failed_post_start_is_p_07_and_the_waiting_stop_is_answered_with_its_end() {
    let mut c = Sim::executed(plan().stop_waits().with(PostStart));
    c.forget().stop_grace(1).at(5.0).fails(PostStart).at(6.0).exit(0);
    c.expect(&[
        "5 FailedPostStartHook",
        "5 Killing",
        "5 SIGTERM",
        "6 Exited",
        "6 start: PostStartHook failed: exit code 1: no db",
        "6 stop: ok",
    ]);
}

#[test]
fn p_12_the_exit_and_sigkill_end_the_wait() {
    let mut c = Sim::executed(plan().stop_waits().with(PostStart));
    c.forget().stop().at(1.0).exit(3);
    c.count("start: container exited (exit code 3) before postStart completed", 1);
    c.count("stop: ok", 1);

    let mut c = Sim::executed(plan().stop_waits().with(PostStart));
    c.forget().stop().kill(Signal::KILL).dies_of(Signal::KILL);
    c.count("SIGKILL", 1);
    c.count("start: stopped before postStart completed", 1);

    // S-19: a person at a terminal has nothing else.
    let mut c = Sim::executed(plan().stop_waits().with(PostStart));
    c.forget().signalled(Signal::TERM).signalled(Signal::INT).count("SIGKILL", 0);
    c.signalled(Signal::INT).count("SIGKILL", 1);
}

#[test]
fn a_stop_in_the_instant_of_the_execve_is_a_stop_from_then_on() {
    let mut c = Sim::executing(plan().with(PostStart).with(PreStop).grace(10));
    c.forget().stop().at(0.4).event(Event::Executed).at(13.0);
    c.expect(&[
        "0.4 EntrypointExecuted",
        "0.4 Killing",
        "0.4 run preStop",
        "10 PreStopHookTimedOut",
        "10 SIGTERM",
        "12 GraceDeadline",
        "12 ExceededGracePeriod",
        "12 SIGKILL",
    ]);
    c.count("run postStart", 0);
}

#[test]
fn an_execve_that_never_ends_is_killed_when_the_budget_of_a_stop_is_spent() {
    let mut c = Sim::executing(plan().with(PreStop).grace(10));
    c.forget().stop().at(20.0).dies_of(Signal::KILL);
    c.expect(&[
        "10 GraceDeadline",
        "10 ExceededGracePeriod",
        "10 SIGKILL",
        "20 Exited",
        "20 start: stopped before the ENTRYPOINT was executed",
        "20 stop: ok",
    ]);
}

#[test]
fn a_failed_execve_wins_over_a_stop_that_waits_for_it() {
    let mut c = Sim::executing(plan().with(PreStop));
    c.kill_to_stop(Signal::TERM).event(Event::ExecFailed { message: "no".into(), code: 126 }).at(50.0).exit(1);
    c.count("kill: ok", 1);
    c.count("run preStop", 0);
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(126), "StartError"));
}

#[test]
fn x_03_t_02_a_timed_out_post_start_fails_the_start() {
    let mut c = Sim::executed(plan().with(PostStart));
    c.forget().at(20.0).times_out(PostStart, 20).exit(0);
    let notice = c.notice("FailedPostStartHook");
    assert_eq!(notice.message, "PostStartHook failed: timed out after 20s");
    assert_eq!((notice.outcome.as_deref(), c.life.exit_code()), (Some("TimedOut"), Some(125)));
    c.count("start: PostStartHook failed: timed out after 20s", 1);
}

#[test]
fn x_03_the_entrypoints_own_code_wins_over_125() {
    let mut c = Sim::executed(plan().with(PostStart));
    c.fails(PostStart).dies_of(Signal::TERM);
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(143), "PostStartHookError"));
}

#[test]
fn l_03_start_returns_no_output_where_the_log_is_none() {
    let mut c = Sim::executed(plan().entry(PostStart, |entry| entry.policy.log = HookLog::None));
    c.fails(PostStart).exit(0);
    c.count("start: PostStartHook failed: exit code 1", 1);
}

// ── retries ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn t_01_there_is_one_attempt_by_default() {
    let mut c = Sim::executed(plan().with(PostStart));
    c.fails(PostStart).at(9.0);
    c.count("run postStart", 1);
    c.count("run postStart #2", 0);
}

#[test]
fn t_04_a_failed_attempt_is_followed_by_another_after_the_delay() {
    let mut c = Sim::executed(plan().retries(PostStart, 2));
    c.forget().at(1.0).fails(PostStart).at(5.0).times_out(PostStart, 3).at(6.0).fails(PostStart);
    c.expect(&[
        "1 HookRetrying",
        "2 run postStart #2",
        "5 HookRetrying",
        "6 run postStart #3",
        "6 FailedPostStartHook",
        "6 Killing",
        "6 SIGTERM",
    ]);
    let retrying: Vec<_> = c.told().filter(|notice| notice.reason == "HookRetrying").collect();
    assert_eq!(retrying[0].message, "postStart attempt 1 failed: exit code 1");
    assert_eq!((retrying[1].attempt, retrying[1].outcome.as_deref()), (Some(2), Some("TimedOut")));
    assert_eq!(c.notice("FailedPostStartHook").attempt, Some(3));
}

#[test]
fn t_04_a_late_word_of_an_ended_attempt_does_not_stop_the_next() {
    let mut c = Sim::executed(plan().retries(PostStart, 1));
    c.fails(PostStart).fails(PostStart).at(1.0);
    c.count("run postStart #2", 1);
}

#[test]
fn t_06_after_a_stop_request_post_start_is_not_tried_again() {
    let mut c = Sim::executed(plan().retries(PostStart, 3));
    c.fails(PostStart).at(0.5).stop().at(9.0);
    c.count("run postStart #2", 0);
    let notice = c.notice("FailedPostStartHook");
    assert_eq!((notice.attempt, notice.outcome.as_deref()), (None, Some("Interrupted")));
}

// ── preStart ────────────────────────────────────────────────────────────────────────────────────

#[test]
fn r_01_r_03_r_06_the_entries_of_pre_start_run_one_by_one_then_leftovers_are_killed() {
    let mut c = Sim::created(plan().with(PreStart).with(PreStart));
    c.start().at(1.0).ok(PreStart).at(2.0).ok(PreStart);
    c.expect(&[
        "0 run preStart[0]",
        "1 HookSucceeded",
        "1 run preStart[1]",
        "2 HookSucceeded",
        "2 cancel preStart",
        "2 execute",
    ]);
}

#[test]
fn r_04_a_failed_pre_start_skips_all_but_post_stop() {
    let mut c = Sim::created(plan().with(PreStart).with(PreStart).with(PostStart).with(PreStop).with(PostStop));
    c.start().fails(PreStart).dies_of(Signal::KILL).ok(PostStop);
    c.expect(&[
        "0 run preStart[0]",
        "0 FailedPreStartHook",
        "0 SIGKILL",
        "0 Exited",
        "0 run postStop[0]",
        "0 start: PreStartHook failed: exit code 1: no db",
        "0 HookSucceeded",
        "0 cancel postStop",
    ]);
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(125), "PreStartHookError"));
}

#[test]
fn r_05_an_ignored_failure_of_pre_start_leads_to_the_next_entry() {
    let mut c = Sim::created(plan().on_failure(PreStart, OnFailure::Ignore).with(PreStart));
    c.start().fails(PreStart);
    c.expect(&["0 run preStart[0]", "0 FailedPreStartHook", "0 run preStart[1]"]);
    assert_eq!(c.notice("FailedPreStartHook").message, "PreStartHook failed: exit code 1 (ignored)");
}

#[test]
fn r_07_a_stop_during_pre_start_terminates_the_hook_and_post_stop_runs() {
    let mut c = Sim::created(plan().with(PreStart).with(PreStop).with(PostStop));
    c.start().forget().at(1.0).stop().at(2.0).fails(PreStart).dies_of(Signal::KILL).ok(PostStop);
    c.expect(&[
        "1 terminate preStart",
        "2 cancel preStart",
        "2 FailedPreStartHook (Interrupted)",
        "2 SIGKILL",
        "2 Exited",
        "2 run postStop[0]",
        "2 start: stopped before the ENTRYPOINT was executed",
        "2 HookSucceeded",
        "2 cancel postStop",
        "2 stop: ok",
    ]);
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(143), "Error"));
}

#[test]
fn r_07_a_pre_start_that_ignores_sigterm_is_killed_after_at_most_ten_seconds() {
    for (grace, seconds) in [(30, 10), (4, 4), (0, 0)] {
        let mut c = Sim::created(plan().with(PreStart).grace(grace));
        c.start().forget().kill_to_stop(Signal::INT).at(20.0).dies_of(Signal::KILL);
        assert_eq!(c.lines()[2], format!("{seconds} cancel preStart"));
        c.count("FailedPreStartHook (Interrupted)", 1);
        assert_eq!(c.life.exit_code(), Some(130));
    }
}

#[test]
fn r_07_a_second_stop_terminates_once_and_only_shortens() {
    let mut c = Sim::created(plan().with(PreStart));
    c.start().forget().stop().at(1.0).stop_grace(2).at(1.5).stop().at(20.0).dies_of(Signal::KILL);
    c.count("terminate preStart", 1);
    assert_eq!(c.lines()[1], "3 cancel preStart");
    c.count("stop: ok", 3);
}

#[test]
fn r_07_a_stop_between_two_attempts_or_during_a_sleep_ends_pre_start_at_once() {
    let mut pausing = Sim::created(plan().retries(PreStart, 2));
    pausing.start().fails(PreStart).at(0.5).forget().stop().at(9.0);
    let mut sleeping = Sim::created(plan().sleep(PreStart, 60));
    sleeping.start().at(0.5).forget().stop().at(9.0);
    for c in [pausing, sleeping] {
        c.expect(&["0.5 cancel preStart", "0.5 FailedPreStartHook (Interrupted)", "0.5 SIGKILL"]);
    }
}

#[test]
fn r_08_a_timed_out_pre_start_is_a_failure() {
    assert_eq!(Policy::default_of(PreStart).timeout, Some(Duration::from_secs(60)));
    let mut c = Sim::created(plan().with(PreStart));
    c.start().at(60.0).times_out(PreStart, 60);
    assert_eq!(c.notice("FailedPreStartHook").message, "PreStartHook failed: timed out after 60s");
    c.count("execute", 0);
}

#[test]
fn init_that_dies_during_pre_start_ends_it_and_post_stop_runs() {
    let mut c = Sim::created(plan().with(PreStart).with(PostStop));
    c.start().forget().dies_of(Signal::KILL);
    c.expect(&[
        "0 Exited",
        "0 cancel preStart",
        "0 FailedPreStartHook (Interrupted)",
        "0 run postStop[0]",
        "0 start: container exited (SIGKILL) before its ENTRYPOINT was executed",
    ]);
}
