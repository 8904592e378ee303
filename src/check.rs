//! What would go wrong with the hooks of a file, found without running anything (interface.md section 6).
//!
//! The rules of lifecycle.md section 9 are the validator's own (`lifecycle/validate.rs`), which `run` and `test` go by too.
//! Those that only `check` has are the functions of `RULES`: each looks at one container and tells what it sees.

mod command;
mod image;
mod input;
mod network;
mod pid1;
mod pod_rules;
mod program;
mod shell;
mod time;
mod walk;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::foreign;
use crate::lifecycle::file;
use crate::lifecycle::model::{Handler, Hook, HttpGet};
use crate::lifecycle::pod::{self, Chosen, Template};
use crate::lifecycle::rule::{Rule, Severity};
use crate::lifecycle::source::{Given, Judged, judge};
use crate::lifecycle::tree::{Mark, Node, Value};
use crate::lifecycle::validate::{Draft, Problem, Problems, Wishes, shape};

pub use image::Image;

/// The most findings of one file that are shown.
const MAX_FINDINGS: usize = 1000;
/// The most containers of one Pod that are looked at: each is compared with what they share.
const MAX_CONTAINERS: usize = 100;

/// Kubernetes' own kinds that have a Pod's template: what they lack is a mistake. Custom resources have their own rules.
const WORKLOADS: [&str; 9] = [
    "Pod",
    "PodTemplate",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "CronJob",
];

/// What to look at besides the files.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// The root file system that the containers run on.
    pub image: Option<Image>,
    /// Only this container.
    pub container: Option<&'a str>,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: String,
    pub at: Option<Mark>,
    pub severity: Severity,
    pub rule: Rule,
    /// `Deployment/web`.
    pub workload: Option<String>,
    pub container: Option<String>,
    /// `<field path>: <what is wrong>`, one line.
    pub sentence: String,
    /// What to do; empty where the sentence says it.
    pub cure: String,
}

/// All that was found.
#[derive(Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// How many files were looked at.
    pub files: usize,
    /// How many containers they have, init containers too.
    pub containers: usize,
    /// How many hooks these have.
    pub hooks: usize,
    /// What these are called, where only one is wanted.
    pub names: BTreeSet<String>,
    /// A file, or part of one, could not be read.
    pub unreadable: bool,
}

impl Report {
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// 0 clean, 1 findings, 2 unreadable (interface.md 2.4).
    pub fn exit_code(&self) -> u8 {
        match self.findings.iter().any(|finding| finding.severity != Severity::Info) {
            _ if self.unreadable => 2,
            true => 1,
            false => 0,
        }
    }
}

/// Checks files, directories with all manifests below them, and standard input (`-`).
pub fn check(paths: &[PathBuf], options: &Options) -> Report {
    let mut report = Report::default();
    for path in paths {
        if path != Path::new("-") && path.is_dir() {
            let walked = walk::manifests(path);
            for found in &walked.files {
                of_file(found, input::Named::ByWalking, options, &mut report);
            }
            walked.tell(path, &mut report);
        } else {
            of_file(path, input::Named::ByUser, options, &mut report);
        }
    }
    report
}

fn of_file(path: &Path, named: input::Named, options: &Options, report: &mut Report) {
    of_bytes(&file::label(path), input::read(path), named, options, report);
}

/// Checks one file, document by document: what is wrong with one does not hide the others.
fn of_bytes(label: &str, bytes: Result<Vec<u8>, Problem>, named: input::Named, options: &Options, report: &mut Report) {
    let mut found = Found::new(label);
    report.files += 1;
    match bytes {
        Err(why) => {
            found.unreadable = true;
            found.tell(None, None, why);
        }
        Ok(bytes) => input::documents(&bytes, named, &mut found, &mut |node, found| {
            pod::items(node).iter().for_each(|item| object(item, options, found, report));
        }),
    }
    report.unreadable |= found.unreadable;
    report.findings.append(&mut found.sorted());
}

/// The findings of one file.
struct Found {
    label: String,
    findings: Vec<Finding>,
    /// Of those that several containers share, one is told.
    known: BTreeSet<(Option<Mark>, Rule, String)>,
    unreadable: bool,
    /// Something in it was worth checking.
    relevant: bool,
}

impl Found {
    fn new(label: &str) -> Found {
        let (findings, known) = (Vec::new(), BTreeSet::new());
        Found { label: label.to_owned(), findings, known, unreadable: false, relevant: false }
    }

    fn tell(&mut self, workload: Option<&str>, container: Option<&str>, problem: Problem) {
        let key = (problem.at, problem.rule, problem.text.clone());
        if self.findings.len() > MAX_FINDINGS || !self.known.insert(key) {
            return;
        }
        let full = self.findings.len() == MAX_FINDINGS;
        let sentence = match full {
            true => format!("more than {MAX_FINDINGS} findings: the rest is left out"),
            false => foreign::legible(&problem.text),
        };
        let cure = problem.cure.as_deref().unwrap_or(problem.rule.facts().cure);
        self.findings.push(Finding {
            file: self.label.clone(),
            at: problem.at,
            severity: problem.severity,
            rule: problem.rule,
            workload: workload.map(str::to_owned),
            container: container.map(str::to_owned),
            sentence,
            cure: foreign::legible(cure),
        });
    }

    fn tell_all(&mut self, workload: Option<&str>, container: Option<&str>, problems: Problems) {
        let Problems { errors, warnings, notes, .. } = problems;
        errors.into_iter().chain(warnings).chain(notes).for_each(|problem| self.tell(workload, container, problem));
    }

    /// In the order of the file.
    fn sorted(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| (finding.at, finding.severity));
        self.findings
    }
}

/// One object of a document: a workload, a lifecycle file's root, or something that is no affair of ours.
fn object(item: &Node, options: &Options, found: &mut Found, report: &mut Report) {
    let kind = item.get("kind").and_then(Node::text);
    if let Some(template) = pod::template(item) {
        let ours = kind.is_none_or(|kind| WORKLOADS.contains(&kind));
        if ours || template.spec.get("containers").and_then(Node::list).is_some() {
            found.relevant = true;
            workload(item, &template, ours, options, found, report);
        }
    } else if input::is_lifecycle(item) {
        found.relevant = true;
        let mut problems = Problems::of(&found.label);
        let wishes = shape(item, &found.label, &mut problems);
        of_container(None, wishes, options, &mut problems, report);
        found.tell_all(None, None, problems);
    } else if kind.is_some() {
        found.relevant = true;
    }
}

/// All containers of a workload. One that is not Kubernetes' own (`ours`) may leave out what its controller adds.
fn workload(item: &Node, template: &Template, ours: bool, options: &Options, found: &mut Found, report: &mut Report) {
    let word = |node: Option<&Node>| node.and_then(Node::text).map(foreign::name);
    let name = item.get("metadata").and_then(|metadata| metadata.get("name"));
    let label = format!("{}/{}", word(item.get("kind")).unwrap_or_default(), word(name).unwrap_or_default());
    let mut shared = Problems::of(&found.label);
    let mut containers = Vec::new();
    for (field, role) in pod_rules::LISTS {
        let mut problems = Problems::of(&found.label);
        let listed = pod::listed(template, field, &found.label, &mut problems);
        if ours {
            // A patch has only what it changes.
            if template.spec.get("containers").is_none() {
                problems.notes.append(&mut problems.errors);
                problems.notes.iter_mut().for_each(|problem| problem.severity = Severity::Info);
            }
            shared.append(problems);
        }
        containers.extend(listed.into_iter().map(|chosen| (role, chosen)));
    }
    pod_rules::workload(item, template, ours, &containers, &mut shared);
    report.containers += containers.len();
    if options.container.is_some() {
        report.names.extend(containers.iter().map(|(_, chosen)| chosen.name.clone()));
    }
    for (role, chosen) in containers.iter().take(MAX_CONTAINERS) {
        if options.container.is_some_and(|name| name != chosen.name) {
            continue;
        }
        let mut problems = Problems::of(&found.label);
        match pod_rules::forbidden(*role, chosen) {
            Some((at, why)) => {
                problems.error(at, &format!("{}.lifecycle", chosen.path), why).is(Rule::InitHook);
            }
            None if *role == pod_rules::Role::Container || pod_rules::is_sidecar(chosen) => {
                let wishes = chosen.wishes(&mut problems);
                of_container(Some(chosen), wishes, options, &mut problems, report);
                if !ours && chosen.spec.get("terminationGracePeriodSeconds").is_none() {
                    // Its controller may give another than Kubernetes' own 30 s.
                    problems.errors.retain(|problem| problem.rule != Rule::HookTime);
                    problems.warnings.retain(|problem| problem.rule != Rule::HookTime);
                }
            }
            None => {}
        }
        found.tell_all(Some(&label), Some(&chosen.name), problems);
    }
    found.tell_all(Some(&label), None, shared);
}

/// Everything that is checked of one container's hooks; `chosen` is None for a lifecycle file.
fn of_container(
    chosen: Option<&Chosen>,
    wishes: Wishes,
    options: &Options,
    problems: &mut Problems,
    report: &mut Report,
) {
    let source = problems.source.clone();
    let given = [Given { origin: source.clone(), source, wishes }];
    let judged = judge(&given, problems);
    let [Given { wishes, .. }] = &given;
    report.hooks += wishes.hooks.len();
    let subject = Subject { chosen, wishes, judged: &judged, image: options.image.as_ref() };
    RULES.iter().for_each(|rule| rule(&subject, problems));
}

/// The rules that only `check` has, in the order of their ids.
const RULES: [fn(&Subject, &mut Problems); 11] = [
    time::reaches_the_grace_period,
    network::tcp_socket_is_for_bookend,
    command::is_split_wrongly,
    program::is_missing,
    pid1::is_ended_by_pre_stop,
    pod_rules::stop_signal_without_os,
    network::any_status_is_success,
    time::post_start_has_no_limit,
    network::localhost_is_the_node,
    command::is_not_expanded,
    pod_rules::timeout_unknown_to_kubernetes,
];

/// One container's hooks, with all that is known of their surroundings.
struct Subject<'a> {
    /// None: a lifecycle file.
    chosen: Option<&'a Chosen>,
    wishes: &'a Wishes,
    judged: &'a Judged,
    image: Option<&'a Image>,
}

impl Subject<'_> {
    /// Every handler that is valid.
    fn handlers(&self) -> impl Iterator<Item = (Hook, &Draft, &Handler)> {
        let drafts = self.wishes.hooks.iter().flat_map(|(hook, drafts)| drafts.iter().map(move |draft| (*hook, draft)));
        drafts.filter_map(|(hook, draft)| Some((hook, draft, draft.handler.as_ref()?)))
    }

    fn commands(&self) -> impl Iterator<Item = (Hook, &Draft, &[String])> {
        self.handlers().filter_map(|(hook, draft, handler)| match handler {
            Handler::Exec { command } => Some((hook, draft, command.as_slice())),
            _ => None,
        })
    }

    fn requests(&self) -> impl Iterator<Item = (Hook, &Draft, &HttpGet)> {
        self.handlers().filter_map(|(hook, draft, handler)| match handler {
            Handler::HttpGet(get) => Some((hook, draft, get)),
            _ => None,
        })
    }

    /// Whether a field of the Pod's spec is true.
    fn pod_has(&self, field: &str) -> bool {
        self.chosen.and_then(|chosen| chosen.spec.get(field)?.bool()).unwrap_or(false)
    }

    /// Whether Kubernetes runs this hook. It knows nothing of annotations and lifecycle files: those are bookend's.
    fn is_for_kubernetes(&self, hook: Hook, draft: &Draft) -> bool {
        let stanza = |chosen: &Chosen| format!(": {}.lifecycle.{hook}", chosen.path);
        self.chosen.is_some_and(|chosen| draft.source.ends_with(&stanza(chosen)))
    }

    /// A field of the container.
    fn field(&self, name: &str) -> Option<&Node> {
        self.chosen?.container.get(name)
    }

    /// The texts of a list of objects' field, as `mountPath` of `volumeMounts`.
    fn texts(&self, list: &str, field: &str) -> Vec<&str> {
        let items = self.field(list).and_then(Node::list).unwrap_or_default();
        items.iter().filter_map(|item| item.get(field)?.text()).collect()
    }
}

/// The fields of an object that is a map.
fn fields(node: Option<&Node>) -> &[(String, Mark, Node)] {
    match node.map(|node| &node.value) {
        Some(Value::Map(fields)) => fields,
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
