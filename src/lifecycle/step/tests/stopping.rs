//! Section 5, T-03 and T-05, and the worked timelines of section 10 that begin with a stop request.

use super::*;
use Hook::{PostStart, PostStop, PreStart, PreStop};

#[test]
fn s_01_a_signal_to_the_supervisor_is_a_stop_request_with_the_default_grace() {
    let mut c = Sim::running(plan().grace(7));
    c.signalled(Signal::TERM).at(7.0);
    c.expect(&["0 Killing", "0 SIGTERM", "7 GraceDeadline", "7 ExceededGracePeriod", "7 SIGKILL"]);
}

#[test]
fn s_02_stop_has_a_grace_of_its_own() {
    let mut c = Sim::running(plan());
    c.stop_grace(4).at(4.0);
    assert_eq!(c.lines().last().unwrap(), "4 SIGKILL");
    assert_eq!(c.notice("Killing").grace_seconds, Some(4));
}

#[test]
fn s_03_kill_is_answered_at_once_and_the_stop_signal_is_the_containers_own() {
    let mut c = Sim::running(plan().with(PreStop).stop_signal("SIGQUIT"));
    c.kill_to_stop(Signal::TERM).at(1.0).ok(PreStop);
    c.expect(&["0 kill: ok", "0 Killing", "0 run preStop", "1 HookSucceeded", "1 SIGQUIT"]);
    let asked = c.notice("StopRequested");
    assert_eq!((asked.by.as_deref(), asked.signal.as_deref()), (Some("kill"), Some("SIGTERM")));
}

#[test]
fn s_03_kill_all_sends_the_stop_signal_to_every_process_after_pre_stop() {
    let mut c = Sim::running(plan().with(PreStop));
    let by = By::Kill(c.request("kill"));
    c.event(Event::Stop(StopRequest { by, grace_seconds: None, signal: Signal::TERM, all: true })).ok(PreStop);
    c.expect(&["0 kill: ok", "0 Killing", "0 run preStop", "0 HookSucceeded", "0 SIGTERM to all"]);
}

#[test]
fn s_06_without_pre_stop_the_whole_budget_is_the_entrypoints() {
    let mut c = Sim::running(plan());
    c.stop().at(6.0).exit(0);
    c.expect(&["0 Killing", "0 SIGTERM", "6 Exited", "6 stop: ok"]);
    assert_eq!(c.notice("Killing").message, "Stopping container web");
    assert_eq!((c.life.exit_code(), c.life.reason(), c.life.killed_after_grace), (Some(0), "Completed", false));
}

/// Section 10: what is done at which second after the stop request.
struct Case {
    grace: u64,
    pre_stop_takes: Option<f64>,
    exits_at: Option<f64>,
    then: &'static [&'static str],
}

const WORKED: [Case; 6] = [
    Case {
        grace: 30,
        pre_stop_takes: Some(5.0),
        exits_at: Some(6.0),
        then: &["0 Killing", "0 run preStop", "5 HookSucceeded", "5 SIGTERM", "6 Exited", "6 run postStop[0]"],
    },
    Case {
        grace: 30,
        pre_stop_takes: None,
        exits_at: None,
        then: &[
            "0 Killing",
            "0 run preStop",
            "30 PreStopHookTimedOut",
            "30 SIGTERM",
            "32 GraceDeadline",
            "32 ExceededGracePeriod",
            "32 SIGKILL",
            "32 Exited",
            "32 cancel preStop",
            "32 run postStop[0]",
        ],
    },
    Case {
        grace: 30,
        pre_stop_takes: Some(29.7),
        exits_at: None,
        then: &[
            "0 Killing",
            "0 run preStop",
            "29.7 HookSucceeded",
            "29.7 SIGTERM",
            "31.7 GraceDeadline",
            "31.7 ExceededGracePeriod",
            "31.7 SIGKILL",
            "31.7 Exited",
            "31.7 run postStop[0]",
        ],
    },
    Case {
        grace: 8, // callers.md section 5: 3.7 counts as 3
        pre_stop_takes: Some(3.7),
        exits_at: None,
        then: &[
            "0 Killing",
            "0 run preStop",
            "3.7 HookSucceeded",
            "3.7 SIGTERM",
            "8.7 GraceDeadline",
            "8.7 ExceededGracePeriod",
            "8.7 SIGKILL",
            "8.7 Exited",
            "8.7 run postStop[0]",
        ],
    },
    Case {
        grace: 60, // S-10
        pre_stop_takes: Some(55.0),
        exits_at: None,
        then: &[
            "0 Killing",
            "0 run preStop",
            "55 HookSucceeded",
            "55 SIGTERM",
            "60 GraceDeadline",
            "60 ExceededGracePeriod",
            "60 SIGKILL",
            "60 Exited",
            "60 run postStop[0]",
        ],
    },
    Case {
        grace: 0,
        pre_stop_takes: None,
        exits_at: None,
        then: &[
            "0 Killing",
            "0 PreStopHookSkipped",
            "0 SIGTERM",
            "2 GraceDeadline",
            "2 ExceededGracePeriod",
            "2 SIGKILL",
            "2 Exited",
            "2 run postStop[0]",
        ],
    },
];

#[test]
fn s_06_s_07_s_09_s_10_s_11_the_worked_timelines() {
    for case in WORKED {
        let mut c = Sim::running(plan().with(PreStop).with(PostStop).grace(case.grace));
        c.signalled(Signal::TERM);
        if let Some(seconds) = case.pre_stop_takes {
            c.at(seconds).ok(PreStop);
        }
        match case.exits_at {
            Some(seconds) => {
                c.at(seconds).exit(0);
            }
            None => {
                while !c.life.killed_after_grace {
                    c.now = c.life.deadline().expect("SIGKILL is due some time");
                    c.event(Event::Tick);
                }
                c.dies_of(Signal::KILL);
                assert_eq!(c.life.exit_code(), Some(137));
            }
        }
        c.expect(case.then);
    }
}

#[test]
fn s_08_a_failed_pre_stop_is_told_and_changes_nothing_else() {
    let mut c = Sim::running(plan().with(PreStop));
    c.stop().at(5.0).fails(PreStop).at(30.0);
    c.expect(&[
        "0 Killing",
        "0 run preStop",
        "5 FailedPreStopHook",
        "5 SIGTERM",
        "30 GraceDeadline",
        "30 ExceededGracePeriod",
        "30 SIGKILL",
    ]);
    assert_eq!(c.notice("FailedPreStopHook").message, "PreStopHook failed: exit code 1");
    c.exit(0);
    assert_eq!(c.life.exit_code(), Some(0));
}

#[test]
fn x_04_a_failed_pre_stop_that_counts_turns_0_into_125() {
    let plan = plan().on_failure(PreStop, OnFailure::Fail).grace(5);
    let mut failed = Sim::running(plan.clone());
    failed.stop().fails(PreStop).exit(0);
    let mut cut_off = Sim::running(plan.clone());
    cut_off.stop().at(5.0).exit(0);
    for c in [failed, cut_off] {
        assert_eq!((c.life.exit_code(), c.life.reason()), (Some(125), "Completed"));
    }
    let mut own_code = Sim::running(plan.clone());
    own_code.stop().fails(PreStop).exit(3);
    assert_eq!(own_code.life.exit_code(), Some(3));
    let mut interrupted = Sim::running(plan);
    interrupted.stop().at(1.0).exit(0);
    assert_eq!(interrupted.life.exit_code(), Some(0));
}

#[test]
fn s_09_an_exec_outlives_the_wait_for_it_and_its_end_is_told_once() {
    let mut c = Sim::running(plan().with(PreStop).grace(5));
    c.stop().at(5.0).forget().at(5.5).fails(PreStop).at(6.0).exit(0);
    c.expect(&["6 Exited", "6 cancel preStop", "6 stop: ok"]);
}

#[test]
fn s_09_x_s03_a_sleep_is_cut_off_when_the_budget_ends() {
    let mut c = Sim::running(plan().sleep(PreStop, 60).grace(5));
    c.stop().at(6.0);
    c.expect(&["0 Killing", "0 run preStop", "5 PreStopHookTimedOut", "5 cancel preStop", "5 SIGTERM"]);
    assert_eq!(c.notice("PreStopHookTimedOut").outcome.as_deref(), Some("TimedOut"));
}

#[test]
fn s_11_pre_stop_is_skipped_by_a_stop_without_grace() {
    let mut c = Sim::running(plan().with(PreStop));
    c.stop_grace(0);
    c.expect(&["0 Killing", "0 PreStopHookSkipped", "0 SIGTERM"]);
    let notice = c.notice("PreStopHookSkipped");
    assert_eq!((notice.message.as_str(), notice.outcome.as_deref()), ("no grace period", Some("Skipped")));
}

#[test]
fn s_12_an_exit_during_pre_stop_cancels_it_and_no_signal_is_sent() {
    let mut c = Sim::running(plan().with(PreStop).with(PostStop));
    c.stop().at(1.0).exit(0).at(40.0);
    c.expect(&[
        "0 Killing",
        "0 run preStop",
        "1 Exited",
        "1 cancel preStop",
        "1 PreStopHookInterrupted (Interrupted)",
        "1 run postStop[0]",
    ]);
    assert_eq!(c.notice("PreStopHookInterrupted").message, "container exited during preStop");
}

#[test]
fn s_13_s_14_an_exit_that_nobody_asked_for_runs_no_pre_stop() {
    let mut c = Sim::running(plan().with(PreStop).with(PostStop));
    c.at(9.0).event(Event::InitExited(Exit { code: Some(137), signal: Some(Signal::KILL), oom: true }));
    c.expect(&["9 Exited", "9 run postStop[0]"]);
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(137), "OOMKilled"));
    assert!(!c.life.stop_requested());
}

#[test]
fn s_15_a_stop_of_a_stopped_container_succeeds() {
    let mut c = Sim::running(plan());
    c.exit(0).forget().stop().kill_to_stop(Signal::TERM);
    c.expect(&["0 stop: ok", "0 kill: container not running"]);
}

#[test]
fn s_16_a_stop_before_the_start_ends_the_waiting_init_and_runs_no_hook() {
    let hooks = || plan().with(PreStart).with(PreStop).with(PostStop).stop_signal("SIGRTMIN+3");
    let mut c = Sim::created(hooks());
    c.stop().dies_of(Signal::TERM);
    c.expect(&["0 SIGTERM", "0 Exited", "0 stop: ok"]);
    assert_eq!((c.life.phase_name(), c.life.exit_code()), ("Stopped", Some(143)));

    let mut c = Sim::created(hooks());
    c.kill_to_stop(Signal::from_number(37).unwrap()).dies_of(Signal::from_number(37).unwrap());
    c.expect(&["0 kill: ok", "0 SIGRTMIN+3", "0 Exited"]);
    assert_eq!(c.life.exit_code(), Some(128 + 37));

    let winch = Signal::from_name("SIGWINCH").unwrap();
    let mut c = Sim::created(plan().with(PreStop).stop_signal("SIGWINCH"));
    c.kill_to_stop(winch).dies_of(Signal::KILL); // it would not end a process
    c.expect(&["0 kill: ok", "0 SIGKILL", "0 Exited"]);
}

#[test]
fn s_16_what_was_stopped_before_its_start_cannot_be_started() {
    let mut c = Sim::created(plan().with(PreStop));
    c.stop().forget().start();
    c.expect(&["0 start: cannot start a container that has stopped"]);
}

#[test]
fn s_17_a_second_stop_waits_and_neither_hook_nor_signal_is_repeated() {
    let mut c = Sim::running(plan().with(PreStop));
    c.stop().at(1.0).stop_grace(40).at(2.0).signalled(Signal::TERM).ok(PreStop).at(3.0).stop().at(4.0).exit(0);
    c.count("Killing", 1);
    c.count("run preStop", 1);
    c.count("SIGTERM", 1);
    c.count("stop: ok", 3);
    let asked: Vec<_> = c.told().filter(|notice| notice.reason == "StopRequested").collect();
    assert_eq!(asked.len(), 4);
    assert_eq!(
        (asked[0].message.as_str(), asked[1].message.as_str()),
        ("stop requested by stop", "stop requested by stop again")
    );
}

#[test]
fn s_17_the_default_grace_does_not_come_back_over_an_explicit_one() {
    let mut c = Sim::running(plan().grace(5));
    c.stop_grace(60).at(1.0).stop().signalled(Signal::TERM).at(59.0);
    c.count("SIGKILL", 0);
}

#[test]
fn s_18_a_smaller_grace_shortens_pre_stop() {
    let mut c = Sim::running(plan().with(PreStop));
    c.stop().at(3.0).stop_grace(4).at(20.0);
    c.expect(&[
        "0 Killing",
        "0 run preStop",
        "7 PreStopHookTimedOut",
        "7 SIGTERM",
        "9 GraceDeadline",
        "9 ExceededGracePeriod",
        "9 SIGKILL",
    ]);
}

#[test]
fn s_18_no_grace_ends_the_wait_for_pre_stop_at_once() {
    let mut c = Sim::running(plan().with(PreStop));
    c.stop().at(3.0).forget().stop_grace(0);
    c.expect(&["3 PreStopHookTimedOut", "3 SIGTERM"]);
}

#[test]
fn s_18_a_smaller_grace_after_the_signal_keeps_the_floor_window() {
    let last = |second: f64, grace: u64| {
        let mut c = Sim::running(plan());
        c.stop().at(second).stop_grace(grace).at(60.0);
        c.lines().last().unwrap().clone()
    };
    assert_eq!(last(10.0, 5), "15 SIGKILL");
    assert_eq!(last(10.0, 0), "10 SIGKILL");
    assert_eq!(last(0.5, 0), "2 SIGKILL");
    assert_eq!(last(10.0, 25), "30 SIGKILL");
}

#[test]
fn s_19_a_second_sigint_kills_and_a_second_sigterm_does_not() {
    let mut c = Sim::running(plan().with(PreStop));
    c.signalled(Signal::TERM).at(1.0).signalled(Signal::TERM).signalled(Signal::INT);
    c.count("SIGKILL", 0);
    c.at(2.0).signalled(Signal::INT).dies_of(Signal::KILL);
    c.expect(&[
        "0 Killing",
        "0 run preStop",
        "2 SIGKILL",
        "2 Exited",
        "2 cancel preStop",
        "2 PreStopHookInterrupted (Interrupted)",
    ]);
    assert!(!c.life.killed_after_grace);
}

#[test]
fn s_20_what_is_left_of_the_container_is_killed_after_its_hooks_are_cancelled() {
    let mut c = Sim::running(plan().with(PreStop).with(PostStop));
    c.stop().exit(0);
    let place = |wanted: &Action| c.done.iter().position(|(_, action)| action == wanted).unwrap();
    let post_stop = Action::Run { hook: PostStop, entry: 0, attempt: 1 };
    assert!(place(&Action::Cancel(PreStop)) < place(&Action::KillRest));
    assert!(place(&Action::KillRest) < place(&post_stop));
}

#[test]
fn s_21_s_22_sigkill_at_the_end_of_the_budget_is_told_and_kept() {
    let mut c = Sim::running(plan().grace(5));
    c.stop().at(5.0).dies_of(Signal::KILL);
    c.count("ExceededGracePeriod", 1);
    assert!(c.life.killed_after_grace);
    assert_eq!((c.life.exit_code(), c.life.reason()), (Some(137), "Error"));
}

#[test]
fn s_24_sigkill_as_the_stop_signal_comes_right_after_pre_stop() {
    let mut c = Sim::running(plan().with(PreStop).stop_signal("SIGKILL"));
    c.stop().at(5.0).ok(PreStop).at(60.0);
    c.expect(&["0 Killing", "0 run preStop", "5 HookSucceeded", "5 SIGKILL"]);
    assert!(!c.life.killed_after_grace);
}

#[test]
fn s_29_a_frozen_container_is_resumed_before_its_hooks_are_run_or_it_is_signalled() {
    for plan in [plan(), plan().with(PreStop), plan().stop_signal("SIGKILL")] {
        let mut c = Sim::running(plan);
        c.stop();
        assert_eq!(
            c.done
                .iter()
                .filter_map(|(_, action)| match action {
                    Action::Thaw | Action::Run { .. } | Action::Signal { .. } => Some(action),
                    _ => None,
                })
                .next(),
            Some(&Action::Thaw)
        );
    }
    let mut c = Sim::executing(plan().with(PreStop));
    c.stop();
    assert!(c.done.iter().any(|(_, action)| *action == Action::Thaw), "init could not answer");
}

#[test]
fn t_03_a_longer_limit_of_pre_stop_does_not_extend_the_budget() {
    let mut c =
        Sim::running(plan().entry(PreStop, |entry| entry.policy.timeout = Some(Duration::from_secs(60))).grace(5));
    c.stop().at(5.0);
    c.count("PreStopHookTimedOut", 1);
}

#[test]
fn t_05_attempts_and_pauses_of_pre_stop_share_the_budget() {
    let mut c = Sim::running(plan().retries(PreStop, 9).grace(5));
    c.stop().at(2.0).fails(PreStop).at(4.5).fails(PreStop).at(6.0);
    c.expect(&[
        "0 Killing",
        "0 run preStop",
        "2 HookRetrying",
        "3 run preStop #2",
        "4.5 FailedPreStopHook", // 5.5 would be too late
        "4.5 SIGTERM",
    ]);
}

#[test]
fn t_05_a_budget_that_shrinks_below_the_pause_ends_the_hook_in_it() {
    let mut c = Sim::running(plan().retries(PreStop, 9));
    c.stop().at(1.0).fails(PreStop).forget().at(1.5).stop_grace(0).at(1.9).exit(0);
    c.expect(&["1.5 PreStopHookTimedOut", "1.5 SIGTERM", "1.9 Exited", "1.9 stop: ok", "1.9 stop: ok"]);
    assert_eq!(c.notice("PreStopHookTimedOut").attempt, None);
}

#[test]
fn t_06_pre_stop_is_not_tried_again_after_the_exit() {
    let mut c = Sim::running(plan().retries(PreStop, 9));
    c.stop().at(1.0).fails(PreStop).at(1.5).exit(0).at(9.0);
    c.count("run preStop #2", 0);
    c.count("PreStopHookInterrupted (Interrupted)", 1);
}

#[test]
fn o_04_a_stop_that_was_asked_for_during_p_07_counts_as_one() {
    let mut c = Sim::executed(plan().with(PostStart));
    c.fails(PostStart);
    assert!(!c.life.stop_requested());
    c.stop();
    assert!(c.life.stop_requested());
}
