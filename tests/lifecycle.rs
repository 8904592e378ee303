//! The rows of lifecycle.md on real containers.

mod common;

use common::Fixture;

#[test]
fn p_05_start_returns_when_post_start_has_succeeded() {
    let c = Fixture::busybox().hook("postStart", "echo post > /post").started();
    assert_eq!(c.status(), "running");
    assert_eq!(c.read("/post"), "post\n");
}

#[test]
fn s_07_pre_stop_runs_before_the_stop_signal() {
    let c = Fixture::busybox()
        .shell("trap 'echo term >> /log; exit' TERM; while :; do sleep 0.1; done")
        .hook("preStop", "echo drain >> /log")
        .started();
    c.stop().ok();
    assert_eq!(c.read("/log"), "drain\nterm\n");
}
