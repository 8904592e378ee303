//! Requests of hooks.

use std::net::IpAddr;

use super::Subject;
use crate::lifecycle::model::SuccessStatus;
use crate::lifecycle::rule::Rule;
use crate::lifecycle::validate::Problems;

/// BE013 (X-H15).
pub fn any_status_is_success(subject: &Subject, problems: &mut Problems) {
    for (hook, draft, _) in subject.requests() {
        let policy = subject.judged.hooks.get(&hook).and_then(|entries| Some(&entries.first()?.policy));
        if policy.is_none_or(|policy| policy.success_status == SuccessStatus::Any) {
            let why = "any answer counts as success, 404 and 500 too";
            problems.note(draft.at, &draft.path, why).is(Rule::AnyStatus);
        }
    }
}

/// BE046: the kubelet is who asks, on the node.
pub fn localhost_is_the_node(subject: &Subject, problems: &mut Problems) {
    if subject.chosen.is_none() || subject.pod_has("hostNetwork") {
        return;
    }
    for (_, draft, get) in subject.requests() {
        let Some(host) = &get.host else { continue };
        if host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback()) {
            let why = format_args!("{host} is the node here, not the container: the kubelet sends the request");
            problems.warning(draft.at, &format!("{}.host", draft.path), why).is(Rule::Localhost);
        }
    }
}
