//! What concerns a Pod, its workload and its kinds of container.

use std::collections::BTreeSet;

use super::{MAX_CONTAINERS, Subject, fields};
use crate::foreign::{self, quote};
use crate::lifecycle::annotations::PREFIX;
use crate::lifecycle::pod::{Chosen, Template};
use crate::lifecycle::rule::Rule;
use crate::lifecycle::tree::{Mark, Node, nearest};
use crate::lifecycle::validate::Problems;

/// What a container is in its Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Container,
    Init,
    Ephemeral,
}

/// The lists of containers that a Pod has.
pub const LISTS: [(&str, Role); 3] =
    [("containers", Role::Container), ("initContainers", Role::Init), ("ephemeralContainers", Role::Ephemeral)];

/// An init container that goes on running beside the others; it may have hooks.
pub fn is_sidecar(chosen: &Chosen) -> bool {
    chosen.path.contains(".initContainers[")
        && chosen.container.get("restartPolicy").and_then(Node::text) == Some("Always")
}

/// BE007: why this container may have no hooks, if it has some; in Kubernetes' words.
pub fn forbidden(role: Role, chosen: &Chosen) -> Option<(Mark, &'static str)> {
    let lifecycle = chosen.container.get("lifecycle")?;
    match role {
        Role::Container => None,
        Role::Init if is_sidecar(chosen) => None,
        Role::Init => {
            Some((lifecycle.at, "Forbidden: may not be set for init containers without restartPolicy=Always"))
        }
        Role::Ephemeral => Some((lifecycle.at, "Forbidden: cannot be set for an Ephemeral Container")),
    }
}

/// What concerns the workload as a whole.
pub fn workload(item: &Node, template: &Template, ours: bool, containers: &[(Role, Chosen)], problems: &mut Problems) {
    if template.path != "spec" {
        annotated_outside(item, problems);
        if ours {
            placed_outside(item, template, problems);
        }
    }
    scoped_to_nobody(template, containers, problems);
}

fn is_ours(key: &str) -> bool {
    let prefix = key.split_once('/').map(|(prefix, _)| prefix);
    prefix.is_some_and(|prefix| prefix == PREFIX || prefix.ends_with(&format!(".{PREFIX}")))
}

fn annotations(metadata: Option<&Node>) -> &[(String, Mark, Node)] {
    fields(metadata.and_then(|metadata| metadata.get("annotations")))
}

/// BE048.
fn annotated_outside(item: &Node, problems: &mut Problems) {
    for (key, at, _) in annotations(item.get("metadata")).iter().filter(|(key, ..)| is_ours(key)) {
        problems.warning(*at, &foreign::name(key), "does not reach the Pods from here").is(Rule::OutsideTemplate);
    }
}

/// BE009: fields of a Pod's spec beside its template.
fn placed_outside(item: &Node, template: &Template, problems: &mut Problems) {
    for (name, at, _) in fields(item.get("spec")).iter() {
        if ["terminationGracePeriodSeconds", "lifecycle", "preStop", "postStart"].contains(&name.as_str()) {
            let place = match name.as_str() {
                "terminationGracePeriodSeconds" => template.path.to_owned(),
                _ => format!("a container of {}.containers", template.path),
            };
            let why = format_args!("Unknown field; {name} belongs to {place}");
            problems.error(*at, &format!("spec.{name}"), why).is(Rule::UnknownKey);
        }
    }
}

/// BE009: annotations for a container that there is not.
fn scoped_to_nobody(template: &Template, containers: &[(Role, Chosen)], problems: &mut Problems) {
    let suffix = format!(".{PREFIX}");
    let known: BTreeSet<&str> = containers.iter().map(|(_, chosen)| chosen.name.as_str()).collect();
    let scope = |key: &str| Some(key.split_once('/')?.0.strip_suffix(&suffix)?.to_owned());
    let scopes = annotations(template.metadata).iter().filter_map(|(key, at, _)| Some((key, at, scope(key)?)));
    // Comparing names costs something: of a hundred the rest can be guessed.
    for (key, at, scope) in scopes.filter(|(.., scope)| !known.contains(scope.as_str())).take(100) {
        let names = || known.iter().copied().take(MAX_CONTAINERS);
        let hint = match nearest(&scope, names()) {
            Some(near) => format!("did you mean {}?", quote(near)),
            None => format!("there are {}", names().take(10).map(quote).collect::<Vec<_>>().join(", ")),
        };
        let why = format_args!("there is no container {}; {hint}", quote(&scope));
        problems.warning(*at, &foreign::name(key), why).is(Rule::UnknownKey);
    }
}

/// BE011 (V-21): bookend runs on Linux only and asks for no more.
pub fn stop_signal_without_os(subject: &Subject, problems: &mut Problems) {
    let (Some(chosen), Some(signal)) = (subject.chosen, &subject.wishes.stop_signal) else { return };
    if subject.field("lifecycle").and_then(|lifecycle| lifecycle.get("stopSignal")).is_none() {
        return;
    }
    let os = chosen.spec.get("os").and_then(|os| os.get("name")?.text()).unwrap_or_default();
    if signal.path == "lifecycle.stopSignal" && os.is_empty() {
        let why = "Forbidden: may not be set for containers with empty `spec.os.name`";
        problems.error(signal.at, &signal.path, why).is(Rule::StopSignalOs);
    }
}

/// BE009 (X-E16): a field that bookend takes and Kubernetes does not have yet.
pub fn timeout_unknown_to_kubernetes(subject: &Subject, problems: &mut Problems) {
    for (_, draft, _) in subject.handlers().filter(|(hook, draft, _)| subject.is_for_kubernetes(*hook, draft)) {
        let Some(timeout) = &draft.exec_timeout else { continue };
        let why = "only bookend knows this field; Kubernetes has no time limit of hooks";
        let cure = "put timeout(1) before the command, or use the annotation bookend/...timeout";
        problems.warning(timeout.at, &timeout.path, why).is(Rule::UnknownKey).cured_by(cure);
    }
}
