//! The OCI verbs on a plain container, without hooks.

mod common;

use common::Fixture;

#[test]
fn run_returns_the_code_of_the_entrypoint_and_removes_the_container() {
    let c = Fixture::busybox().shell("echo hello; exit 7");
    c.run().fails(7).says("hello");
    c.assert_nothing_left();
}

#[test]
fn create_start_kill_delete_go_through_the_four_states() {
    let c = Fixture::busybox();
    c.create().ok();
    assert_eq!(c.status(), "created");
    c.verb("start").ok();
    assert_eq!(c.status(), "running");
    c.verb("delete").fails(1).says("that is not stopped: running");
    c.verb("kill").ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    c.verb("delete").ok();
    c.verb("state").fails(1).says("does not exist");
}
