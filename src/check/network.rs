//! Requests of hooks.

use std::net::IpAddr;

use super::Subject;
use crate::lifecycle::model::SuccessStatus;
use crate::lifecycle::rule::{Rule, Severity};
use crate::lifecycle::validate::{Problem, Problems};

/// BE003: the validator warns of every tcpSocket (X-T02). Where bookend is to run it, that is only worth knowing.
pub fn tcp_socket_is_for_bookend(subject: &Subject, problems: &mut Problems) {
    for (hook, draft, _) in subject.handlers().filter(|(hook, draft, _)| !subject.is_for_kubernetes(*hook, draft)) {
        let is_its =
            |problem: &mut Problem| problem.rule == Rule::TcpSocket && problem.at == draft.at && !hook.is_list();
        for mut problem in problems.warnings.extract_if(.., is_its).collect::<Vec<_>>() {
            problem.severity = Severity::Info;
            problems.notes.push(problem);
        }
    }
}

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
    if subject.pod_has("hostNetwork") {
        return;
    }
    for (_, draft, get) in subject.requests().filter(|(hook, draft, _)| subject.is_for_kubernetes(*hook, draft)) {
        let Some(host) = &get.host else { continue };
        if host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback()) {
            let why = format_args!("{host} is the node here, not the container: the kubelet sends the request");
            problems.warning(draft.at, &format!("{}.host", draft.path), why).is(Rule::Localhost);
        }
    }
}
