//! The same bundles and command lines given to bookend, runc and crun, and what comes of them compared: exit codes, the
//! state, the kind of an error, and all that a process can see of the container it is in.
//!
//! bookend is to be taken for runc, so runc is the measure and crun a second opinion: where bookend does otherwise than runc,
//! the case says so with its reason, and whether crun does as bookend ([`Case::like_crun`]) or bookend is alone
//! ([`Case::alone`]). A difference that nobody wanted fails the test, and so does a reason whose difference is gone. What
//! crun alone does otherwise is no concern of ours.
//!
//! crun refuses a host whose version 2 hierarchy stands beside those of version 1, so it is called in a mount namespace
//! without that; the others see the host as it is.

#[path = "../common/mod.rs"]
mod common;

mod case;
mod compare;
mod facts;
mod probe;
mod runtime;
mod table;

use common::{needs_a_user, needs_root, needs_tool};

/// Whether the runtimes are here with which the table was made. Newer ones do some things otherwise.
fn measures_are_here(test: &str) -> bool {
    needs_tool(test, "runc") && needs_tool(test, "crun") && runtime::versions_fit(test)
}

fn all_as_runc(test: &str, cases: Vec<case::Case>) {
    if needs_root(test) && measures_are_here(test) {
        compare::all(cases, false);
    }
}

#[test]
fn the_default_configuration_is_as_under_runc() {
    let test = "the_default_configuration_is_as_under_runc";
    if needs_root(test) && measures_are_here(test) {
        compare::all(vec![table::default(), table::created()], true);
    }
}

#[test]
fn a_process_is_as_under_runc() {
    all_as_runc("a_process_is_as_under_runc", table::process::cases());
}

#[test]
fn users_and_rights_are_as_under_runc() {
    all_as_runc("users_and_rights_are_as_under_runc", table::process::rights());
}

#[test]
fn namespaces_are_as_under_runc() {
    all_as_runc("namespaces_are_as_under_runc", table::namespaces::cases());
}

#[test]
fn mounts_are_as_under_runc() {
    all_as_runc("mounts_are_as_under_runc", table::mounts::cases());
}

#[test]
fn the_root_and_its_devices_are_as_under_runc() {
    all_as_runc("the_root_and_its_devices_are_as_under_runc", table::mounts::root_and_devices());
}

#[test]
fn control_groups_are_as_under_runc() {
    all_as_runc("control_groups_are_as_under_runc", table::cgroups::cases());
}

#[test]
fn verbs_are_as_under_runc() {
    all_as_runc("verbs_are_as_under_runc", table::verbs::cases());
}

#[test]
fn exec_is_as_under_runc() {
    all_as_runc("exec_is_as_under_runc", table::verbs::exec());
}

#[test]
fn hooks_are_as_under_runc() {
    all_as_runc("hooks_are_as_under_runc", table::hooks::cases());
}

#[test]
fn what_is_refused_is_as_under_runc() {
    all_as_runc("what_is_refused_is_as_under_runc", table::refusals::cases());
}

#[test]
fn without_root_it_is_as_under_runc() {
    let test = "without_root_it_is_as_under_runc";
    if needs_a_user(test) && needs_tool(test, "runc") && runtime::versions_fit(test) {
        compare::all(table::rootless::cases(), true);
    }
}
