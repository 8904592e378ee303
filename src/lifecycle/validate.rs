//! From the tree of a source to its checked hooks (lifecycle.md sections 2 and 9).
//!
//! Nothing stops at the first mistake: each is put on the list of `Problems`, with its place, and the walk goes on. What
//! needs more than one field (the grace period above all) is checked in `settle`, when every source has been read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::model::{Entry, Handler, Hook, HookLog, HttpGet, OnFailure, Policy, Scheme, SuccessStatus};
use super::rule::{Rule, Severity};
use super::signal::Signal;
use super::tree::{Mark, Node, Value, integer, nearest};
use crate::foreign::{self, quote};

/// Something that is wrong, or only odd, with the place where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `<field path>: <kind>: <detail>`.
    pub text: String,
    /// The file or annotation that it is in.
    pub source: String,
    pub at: Option<Mark>,
    pub rule: Rule,
    pub severity: Severity,
    /// What to do, where it is not what the rule says of all its findings.
    pub cure: Option<String>,
}

impl Problem {
    pub fn new(text: String, source: &str, at: Option<Mark>, severity: Severity) -> Problem {
        Problem { text, source: source.to_owned(), at, rule: Rule::WrongKind, severity, cure: None }
    }

    /// Says which rule it breaks.
    pub fn is(&mut self, rule: Rule) -> &mut Problem {
        self.rule = rule;
        self
    }

    pub fn cured_by(&mut self, cure: impl Into<String>) -> &mut Problem {
        self.cure = Some(cure.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// All that was found in one source.
#[derive(Debug, Default)]
pub struct Problems {
    /// What `Problem::source` of the next ones is.
    pub source: String,
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// What only `check` tells.
    pub notes: Vec<Problem>,
}

impl Problems {
    pub fn of(source: impl Into<String>) -> Problems {
        Problems { source: source.into(), ..Problems::default() }
    }

    pub fn error(&mut self, at: impl Into<Option<Mark>>, path: &str, detail: impl fmt::Display) -> &mut Problem {
        self.put(Severity::Error, at.into(), format!("{path}: {detail}"))
    }

    pub fn invalid(&mut self, at: impl Into<Option<Mark>>, path: &str, shown: &str, why: &str) -> &mut Problem {
        self.error(at, path, format_args!("Invalid value: {shown}: {why}"))
    }

    pub fn warning(&mut self, at: impl Into<Option<Mark>>, path: &str, detail: impl fmt::Display) -> &mut Problem {
        self.put(Severity::Warning, at.into(), format!("{path}: {detail}"))
    }

    pub fn note(&mut self, at: impl Into<Option<Mark>>, path: &str, detail: impl fmt::Display) -> &mut Problem {
        self.put(Severity::Info, at.into(), format!("{path}: {detail}"))
    }

    /// Adds a problem by its whole text.
    pub fn put(&mut self, severity: Severity, at: Option<Mark>, text: String) -> &mut Problem {
        let problem = Problem::new(text, &self.source, at, severity);
        let list = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
            Severity::Info => &mut self.notes,
        };
        list.push(problem);
        list.last_mut().expect("one was just put there")
    }

    /// Adds what another source has.
    pub fn append(&mut self, other: Problems) {
        self.errors.extend(other.errors);
        self.warnings.extend(other.warnings);
        self.notes.extend(other.notes);
    }
}

/// A value and where it was set.
#[derive(Clone, Debug, PartialEq)]
pub struct Set<T> {
    pub value: T,
    pub path: String,
    pub at: Option<Mark>,
}

/// One handler as it was read. `handler` is None when it is invalid, which the list of problems tells already.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub handler: Option<Handler>,
    /// `lifecycle.preStop.exec`, `bookend/pre-stop`.
    pub path: String,
    pub at: Option<Mark>,
    pub exec_timeout: Option<Set<Option<Duration>>>,
    /// `Entry::source`.
    pub source: String,
}

/// The policy fields of a hook that were set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyDraft {
    /// Where the policy is: `extensions.policy.preStop`; None when only single fields are set.
    pub path: Option<Set<()>>,
    pub timeout: Option<Set<Option<Duration>>>,
    pub retries: Option<Set<u32>>,
    pub retry_delay: Option<Set<Duration>>,
    pub on_failure: Option<Set<OnFailure>>,
    pub success_status: Option<Set<SuccessStatus>>,
    pub log: Option<Set<HookLog>>,
    pub inject_env: Option<Set<bool>>,
}

impl PolicyDraft {
    /// Where what is set was set: the whole policy, or each single field.
    fn places(&self) -> Vec<(String, Option<Mark>)> {
        fn place<T>(set: &Option<Set<T>>) -> Option<(String, Option<Mark>)> {
            set.as_ref().map(|set| (set.path.clone(), set.at))
        }
        if let Some(whole) = place(&self.path) {
            return vec![whole];
        }
        [
            place(&self.timeout),
            place(&self.retries),
            place(&self.retry_delay),
            place(&self.on_failure),
            place(&self.success_status),
            place(&self.log),
            place(&self.inject_env),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Takes what `other` sets, where both do too.
    pub fn overlay(&mut self, other: PolicyDraft) {
        self.path = self.path.take().or(other.path);
        self.timeout = other.timeout.or(self.timeout.take());
        self.retries = other.retries.or(self.retries.take());
        self.retry_delay = other.retry_delay.or(self.retry_delay.take());
        self.on_failure = other.on_failure.or(self.on_failure.take());
        self.success_status = other.success_status.or(self.success_status.take());
        self.log = other.log.or(self.log.take());
        self.inject_env = other.inject_env.or(self.inject_env.take());
    }
}

/// What one source says of a container, field by field; not yet checked as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// A hook that is named is here, even if all of it is invalid.
    pub hooks: BTreeMap<Hook, Vec<Draft>>,
    pub policies: BTreeMap<Hook, PolicyDraft>,
    /// As written; may be negative (V-19).
    pub grace: Option<Set<i64>>,
    pub stop_signal: Option<Set<Signal>>,
    /// `log` of every hook that does not say otherwise.
    pub log: Option<HookLog>,
}

impl Wishes {
    pub fn names_a_hook(&self) -> bool {
        !self.hooks.is_empty()
    }
}

/// An entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    pub number: u16,
}

/// Reads the shape of lifecycle.md section 2. `origin` begins `Entry::source`.
pub fn shape(root: &Node, origin: &str, problems: &mut Problems) -> Wishes {
    const FIELDS: [&str; 4] = ["terminationGracePeriodSeconds", "ports", "lifecycle", "extensions"];
    let mut wishes = Wishes::default();
    let hint = |name: &str| match name {
        "spec" | "kind" | "metadata" | "apiVersion" => Some("this is a Pod's: use --pod".to_owned()),
        "postStart" | "preStop" | "stopSignal" => Some("put it under \"lifecycle\"".to_owned()),
        "preStart" | "postStop" | "policy" => Some("put it under \"extensions\"".to_owned()),
        _ => None,
    };
    if !object(root, "", &FIELDS, problems, hint) {
        return wishes;
    }
    wishes.grace = root.get("terminationGracePeriodSeconds").and_then(|node| grace(node, problems));
    let ports = root.get("ports").map(|node| ports(node, problems)).unwrap_or_default();
    if let Some(node) = root.get("lifecycle") {
        lifecycle(node, &ports, origin, "lifecycle", &mut wishes, problems);
    }
    if let Some(node) = root.get("extensions") {
        extensions(node, &ports, origin, &mut wishes, problems);
    }
    wishes
}

/// Checks that a node is an object with no other fields than these; `hint` may say more of an unknown one (V-22).
pub fn object(
    node: &Node,
    path: &str,
    known: &[&str],
    problems: &mut Problems,
    hint: impl Fn(&str) -> Option<String>,
) -> bool {
    let Value::Map(fields) = &node.value else {
        let path = if path.is_empty() { "(the document)" } else { path };
        problems.invalid(node.at, path, &node.shown(), "must be an object");
        return false;
    };
    for (name, at, _) in fields.iter().filter(|(name, ..)| !known.contains(&name.as_str())) {
        let field = under(path, &foreign::name(name));
        let hint = hint(name).or_else(|| {
            nearest(name, known.iter().copied()).map(|candidate| format!("did you mean {}?", quote(candidate)))
        });
        match hint {
            Some(hint) => problems.error(*at, &field, format_args!("Unknown field; {hint}")),
            None => problems.error(*at, &field, format_args!("Unknown field; known are {}", known.join(", "))),
        }
        .is(Rule::UnknownKey);
    }
    true
}

fn under(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// `terminationGracePeriodSeconds`; a negative one is V-19's.
pub fn grace(node: &Node, problems: &mut Problems) -> Option<Set<i64>> {
    const PATH: &str = "terminationGracePeriodSeconds";
    match &node.value {
        Value::Number(text) if integer(text).is_some() => {
            integer(text).map(|value| Set { value, path: PATH.to_owned(), at: Some(node.at) })
        }
        _ => {
            problems.invalid(node.at, PATH, &node.shown(), "must be an integer");
            None
        }
    }
}

/// The named ones of `ports`, all of them checked (V-09, V-10, V-32).
pub fn ports(node: &Node, problems: &mut Problems) -> Vec<Port> {
    const FIELDS: [&str; 5] = ["name", "containerPort", "protocol", "hostPort", "hostIP"];
    let Some(nodes) = node.list() else {
        problems.invalid(node.at, "ports", &node.shown(), "must be a list");
        return Vec::new();
    };
    let mut ports: Vec<Port> = Vec::new();
    let mut names = BTreeSet::new();
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("ports[{index}]");
        if !object(node, &path, &FIELDS, problems, |_| None) {
            continue;
        }
        let number = match node.get("containerPort") {
            Some(number) => port_number(number, &format!("{path}.containerPort"), problems),
            None => {
                problems.error(node.at, &format!("{path}.containerPort"), "Required value").is(Rule::PortRange);
                None
            }
        };
        let Some(name) = node.get("name") else { continue };
        let name_path = format!("{path}.name");
        let Some(text) = name.text() else {
            problems.invalid(name.at, &name_path, &name.shown(), "must be a string");
            continue;
        };
        if text.is_empty() {
            continue;
        }
        port_name(name, text, &name_path, problems);
        if !names.insert(text) {
            problems
                .error(name.at, &name_path, format_args!("Duplicate value: {}", quote(text)))
                .is(Rule::DuplicatePort);
        } else {
            // A number that is wrong was told; the name is known all the same.
            ports.push(Port { name: text.to_owned(), number: number.unwrap_or_default() });
        }
    }
    ports
}

fn port_number(node: &Node, path: &str, problems: &mut Problems) -> Option<u16> {
    let Value::Number(text) = &node.value else {
        problems.invalid(node.at, path, &node.shown(), "must be an integer");
        return None;
    };
    match integer(text) {
        Some(number @ 1..=65535) => u16::try_from(number).ok(),
        None if text.contains(['.', 'e', 'E']) => {
            problems.invalid(node.at, path, text, "must be an integer");
            None
        }
        _ => {
            problems.invalid(node.at, path, text, "must be between 1 and 65535, inclusive").is(Rule::PortRange);
            None
        }
    }
}

/// The rules of a port's name, each broken one told (V-08 to V-10).
fn port_name(node: &Node, name: &str, path: &str, problems: &mut Problems) -> bool {
    let before = problems.errors.len();
    let mut told = |rule: Rule, why: &str| {
        problems.invalid(node.at, path, &quote(name), why).is(rule);
    };
    if name.len() > 15 {
        told(Rule::LongPortName, "must be no more than 15 characters");
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        told(Rule::PortName, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let quoted_number = name.parse::<u16>().is_ok();
        let hint = if quoted_number { "; write the number without quotes" } else { "" };
        let rule = if quoted_number { Rule::QuotedPort } else { Rule::PortName };
        told(rule, &format!("must contain at least one letter (a-z){hint}"));
    }
    if name.contains("--") {
        told(Rule::PortName, "must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        told(Rule::PortName, "must not begin or end with a hyphen");
    }
    problems.errors.len() == before
}

/// Kubernetes' stanza. `place` is where it is in its file, for `Entry::source`.
pub fn lifecycle(node: &Node, ports: &[Port], origin: &str, place: &str, wishes: &mut Wishes, problems: &mut Problems) {
    const FIELDS: [&str; 3] = ["postStart", "preStop", "stopSignal"];
    let hint = |name: &str| {
        let known = FIELDS.iter().copied().chain(["preStart", "postStop"]);
        match nearest(name, known) {
            Some(extension @ ("preStart" | "postStop")) => {
                Some(format!("{extension} is an extension, put it under \"extensions\""))
            }
            _ => None,
        }
    };
    if !object(node, "lifecycle", &FIELDS, problems, hint) {
        return;
    }
    for hook in [Hook::PostStart, Hook::PreStop] {
        if let Some(node) = node.get(hook.name()) {
            let source = format!("{origin}: {place}.{hook}");
            let draft = handler(node, hook, ports, &format!("lifecycle.{hook}"), source, problems);
            wishes.hooks.insert(hook, vec![draft]);
        }
    }
    if let Some(node) = node.get("stopSignal") {
        let word = match &node.value {
            Value::Text(text) | Value::Number(text) => text.as_str(),
            _ => "",
        };
        let set = |value| Set { value, path: "lifecycle.stopSignal".to_owned(), at: Some(node.at) };
        wishes.stop_signal = stop_signal(word, node.at.into(), "lifecycle.stopSignal", problems).map(set);
    }
}

/// V-20: a full name, as Kubernetes wants it.
pub fn stop_signal(word: &str, at: Option<Mark>, path: &str, problems: &mut Problems) -> Option<Signal> {
    let signal = Signal::from_name(word);
    if signal.is_none() {
        let hint = match Signal::nearest(word) {
            Some(signal) => format!("; did you mean \"{signal}\"?"),
            None => String::new(),
        };
        let names = Signal::names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        unsupported(at, path, &quote(word), &names, &hint, problems).is(Rule::StopSignal);
    }
    signal
}

fn unsupported<'p>(
    at: Option<Mark>,
    path: &str,
    shown: &str,
    words: &[&str],
    hint: &str,
    problems: &'p mut Problems,
) -> &'p mut Problem {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    problems.error(at, path, format_args!("Unsupported value: {shown}: supported values: {}{hint}", words.join(", ")))
}

fn extensions(node: &Node, ports: &[Port], origin: &str, wishes: &mut Wishes, problems: &mut Problems) {
    let hint = |name: &str| {
        let known = ["preStart", "postStop", "policy", "postStart", "preStop", "stopSignal"];
        match nearest(name, known) {
            Some(own @ ("postStart" | "preStop" | "stopSignal")) => {
                Some(format!("{own} is Kubernetes' own, put it under \"lifecycle\""))
            }
            _ => None,
        }
    };
    if !object(node, "extensions", &["preStart", "postStop", "policy"], problems, hint) {
        return;
    }
    for hook in [Hook::PreStart, Hook::PostStop] {
        let path = format!("extensions.{hook}");
        let Some(node) = node.get(hook.name()) else { continue };
        let Some(nodes) = node.list() else {
            problems.invalid(node.at, &path, &node.shown(), "must be a list of handlers");
            wishes.hooks.insert(hook, Vec::new());
            continue;
        };
        let entry = |(index, node)| {
            let path = format!("{path}[{index}]");
            handler(node, hook, ports, &path, format!("{origin}: {path}"), problems)
        };
        let drafts: Vec<Draft> = nodes.iter().enumerate().map(entry).collect();
        if !drafts.is_empty() {
            wishes.hooks.insert(hook, drafts);
        }
    }
    if let Some(node) = node.get("policy") {
        let names = Hook::ALL.map(Hook::name);
        if object(node, "extensions.policy", &names, problems, |_| None) {
            for hook in Hook::ALL {
                if let Some(node) = node.get(hook.name()) {
                    wishes.policies.insert(hook, policy(node, &format!("extensions.policy.{hook}"), problems));
                }
            }
        }
    }
}

/// A handler: exactly one of four (V-01, V-02).
fn handler(node: &Node, hook: Hook, ports: &[Port], path: &str, source: String, problems: &mut Problems) -> Draft {
    const KINDS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];
    let mut draft = Draft { handler: None, path: path.to_owned(), at: Some(node.at), exec_timeout: None, source };
    let hint = |name: &str| match name {
        "grpc" => Some("grpc is a probe handler, not a lifecycle handler".to_owned()),
        _ if POLICY.contains(&name) => Some(format!("put it under extensions.policy.{hook}")),
        _ => None,
    };
    let before = problems.errors.len();
    if !object(node, path, &KINDS, problems, hint) {
        return draft;
    }
    let unknown_told = problems.errors.len() > before;
    let given: Vec<(&str, &Node)> = KINDS.iter().filter_map(|kind| Some((*kind, node.get(kind)?))).collect();
    let Some((kind, node)) = given.first().copied() else {
        if !unknown_told {
            problems.error(node.at, path, "Required value: must specify a handler type").is(Rule::NoHandler);
        }
        return draft;
    };
    for (kind, node) in &given[1..] {
        let why = "Forbidden: may not specify more than 1 handler type";
        problems.error(node.at, &format!("{path}.{kind}"), why).is(Rule::SecondHandler);
    }
    draft.path = format!("{path}.{kind}");
    draft.at = Some(node.at);
    let path = &draft.path;
    draft.handler = match kind {
        "exec" => exec(node, path, &mut draft.exec_timeout, problems),
        "httpGet" => http_get(node, hook, ports, path, problems),
        "tcpSocket" => tcp_socket(node, hook, ports, path, problems),
        _ => sleep(node, path, problems),
    };
    draft
}

fn exec(
    node: &Node,
    path: &str,
    timeout: &mut Option<Set<Option<Duration>>>,
    problems: &mut Problems,
) -> Option<Handler> {
    if !object(node, path, &["command", "timeoutSeconds"], problems, |_| None) {
        return None;
    }
    if let Some(node) = node.get("timeoutSeconds") {
        *timeout = seconds(node, &format!("{path}.timeoutSeconds"), problems);
    }
    let path = format!("{path}.command");
    match node.get("command") {
        Some(command) if matches!(&command.value, Value::List(nodes) if !nodes.is_empty()) => {
            strings(command, &path, problems).and_then(|words| command_words(words, Some(command.at), &path, problems))
        }
        Some(Node { value: Value::List(_), at, .. }) => {
            problems.error(*at, &path, "Required value").is(Rule::NoCommand);
            None
        }
        None => {
            problems.error(node.at, &path, "Required value").is(Rule::NoCommand);
            None
        }
        Some(command) => {
            let why = "must be a list of strings; for a shell line use [\"/bin/sh\", \"-c\", \"...\"]";
            problems.error(command.at, &path, format_args!("Invalid value: {why}")).is(Rule::CommandNotList);
            None
        }
    }
}

/// V-05, for a list that is not empty.
pub fn command_words(words: Vec<String>, at: Option<Mark>, path: &str, problems: &mut Problems) -> Option<Handler> {
    let before = problems.errors.len();
    if words.first().is_some_and(String::is_empty) {
        problems.invalid(at, &format!("{path}[0]"), "\"\"", "must not be empty").is(Rule::BadWord);
    }
    for (index, word) in words.iter().enumerate().filter(|(_, word)| word.contains('\0')) {
        let path = format!("{path}[{index}]");
        problems.invalid(at, &path, &quote(word), "must not contain a NUL byte").is(Rule::BadWord);
    }
    (problems.errors.len() == before).then_some(Handler::Exec { command: words })
}

/// A list of strings.
pub fn strings(node: &Node, path: &str, problems: &mut Problems) -> Option<Vec<String>> {
    let Some(nodes) = node.list() else {
        problems.invalid(node.at, path, &node.shown(), "must be a list of strings").is(Rule::CommandNotList);
        return None;
    };
    let mut words = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        match node.text() {
            Some(text) => words.push(text.to_owned()),
            None => {
                let path = format!("{path}[{index}]");
                let why = "must be a string; put it in quotes";
                problems.invalid(node.at, &path, &node.shown(), why).is(Rule::CommandNotList);
            }
        }
    }
    (words.len() == nodes.len()).then_some(words)
}

fn http_get(node: &Node, hook: Hook, ports: &[Port], path: &str, problems: &mut Problems) -> Option<Handler> {
    if !object(node, path, &["host", "port", "path", "scheme", "httpHeaders"], problems, |_| None) {
        return None;
    }
    let before = problems.errors.len();
    let scheme = match node.get("scheme") {
        None => Scheme::Http,
        Some(node) => match node.text() {
            Some("" | "HTTP") => Scheme::Http,
            Some("HTTPS") => Scheme::Https,
            _ => {
                let path = format!("{path}.scheme");
                unsupported(Some(node.at), &path, &node.shown(), &["HTTP", "HTTPS"], "", problems).is(Rule::Scheme);
                Scheme::Http
            }
        },
    };
    let port = port(node, ports, path, problems);
    let host = host(node, hook, path, problems);
    let url_path = match node.get("path") {
        None => "/".to_owned(),
        Some(node) => {
            let path = format!("{path}.path");
            let text = string(node, &path, problems).unwrap_or_default();
            if text.contains(['\r', '\n', '\0']) {
                problems.error(node.at, &path, "Invalid value: must not contain line breaks").is(Rule::HeaderValue);
            }
            if text.is_empty() { "/".to_owned() } else { text }
        }
    };
    let headers = node.get("httpHeaders").map(|node| headers(node, path, problems)).unwrap_or_default();
    if problems.errors.len() > before {
        return None;
    }
    Some(Handler::HttpGet(HttpGet { scheme, host, port: port?, path: url_path, headers }))
}

/// V-13 and V-14.
fn headers(node: &Node, path: &str, problems: &mut Problems) -> Vec<(String, String)> {
    const NAME: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex \
                        used for validation is '[-A-Za-z0-9]+')";
    let path = format!("{path}.httpHeaders");
    let Some(nodes) = node.list() else {
        problems.invalid(node.at, &path, &node.shown(), "must be a list of objects with name and value");
        return Vec::new();
    };
    let mut headers = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let item = format!("{path}[{index}]");
        if !object(node, &item, &["name", "value"], problems, |_| None) {
            continue;
        }
        let mut text = |field: &str| {
            node.get(field)
                .map(|node| string(node, &format!("{item}.{field}"), problems))
                .unwrap_or(Some(String::new()))
        };
        let (Some(name), Some(value)) = (text("name"), text("value")) else { continue };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            problems.invalid(node.at, &path, &quote(&name), NAME).is(Rule::HeaderName);
        }
        if value.contains(['\r', '\n', '\0']) {
            let why = "Invalid value: must not contain line breaks";
            problems.error(node.at, &format!("{item}.value"), why).is(Rule::HeaderValue);
        }
        headers.push((name, value));
    }
    headers
}

fn string(node: &Node, path: &str, problems: &mut Problems) -> Option<String> {
    if node.text().is_none() {
        problems.invalid(node.at, path, &node.shown(), "must be a string; put it in quotes");
    }
    node.text().map(str::to_owned)
}

fn tcp_socket(node: &Node, hook: Hook, ports: &[Port], path: &str, problems: &mut Problems) -> Option<Handler> {
    if !object(node, path, &["host", "port"], problems, |_| None) {
        return None;
    }
    let before = problems.errors.len();
    let port = port(node, ports, path, problems);
    let host = host(node, hook, path, problems);
    if problems.errors.len() > before {
        return None;
    }
    Some(Handler::TcpSocket { host, port: port? })
}

/// The port of a handler: a number, or a name that is looked up (X-H06, X-H07, V-06 to V-11).
fn port(handler: &Node, ports: &[Port], path: &str, problems: &mut Problems) -> Option<u16> {
    let path = format!("{path}.port");
    let Some(node) = handler.get("port") else {
        problems.invalid(handler.at, &path, "0", "must be between 1 and 65535, inclusive").is(Rule::PortRange);
        return None;
    };
    let Some(name) = node.text() else { return port_number(node, &path, problems) };
    if !port_name(node, name, &path, problems) {
        return None;
    }
    let port = ports.iter().find(|port| port.name == name);
    if port.is_none() {
        problems.error(node.at, &path, format_args!("Not found: {}", quote(name))).is(Rule::UndeclaredPort);
    }
    port.map(|port| port.number)
}

/// The host of a handler; None is the container (V-15, V-29).
fn host(handler: &Node, hook: Hook, path: &str, problems: &mut Problems) -> Option<String> {
    let path = format!("{path}.host");
    let text = match handler.get("host") {
        Some(node) => {
            let text = string(node, &path, problems)?;
            if !text.is_empty() && !is_host(&text) {
                problems.invalid(node.at, &path, &quote(&text), "must be a host name or address only").is(Rule::Host);
            }
            text
        }
        None => String::new(),
    };
    let host = Some(text).filter(|text| !text.is_empty());
    needs_host(host.as_deref(), hook, Some(handler.at), &path, problems);
    host
}

/// V-29.
pub fn needs_host(host: Option<&str>, hook: Hook, at: Option<Mark>, path: &str, problems: &mut Problems) {
    if host.is_none() && hook.is_list() {
        let why = "Required value: nothing listens in the container at this stage";
        problems.error(at, path, why).is(Rule::NeedsHost);
    }
}

/// A name or an address, IPv6 without brackets (X-H04); nothing that a URL has besides.
pub fn is_host(text: &str) -> bool {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let zone = |zone: &str| !zone.is_empty() && zone.bytes().all(name);
    match text.split_once('%') {
        Some((address, z)) => address.parse::<std::net::Ipv6Addr>().is_ok() && zone(z),
        None => text.parse::<IpAddr>().is_ok() || text.len() <= 253 && text.bytes().all(name),
    }
}

fn sleep(node: &Node, path: &str, problems: &mut Problems) -> Option<Handler> {
    if !object(node, path, &["seconds"], problems, |_| None) {
        return None;
    }
    let Some(node) = node.get("seconds") else { return Some(Handler::Sleep { seconds: 0 }) };
    let number = match &node.value {
        Value::Number(text) => integer(text),
        _ => None,
    };
    let Some(seconds) = number else {
        let path = format!("{path}.seconds");
        problems.invalid(node.at, &path, &node.shown(), "must be an integer").is(Rule::SleepNotInteger);
        return None;
    };
    if seconds < 0 {
        // V-17's words name the grace period, which `settle` knows: a negative sleep travels there.
        return Some(Handler::Sleep { seconds: seconds as u64 });
    }
    Some(Handler::Sleep { seconds: seconds.unsigned_abs() })
}

const POLICY: [&str; 7] =
    ["timeoutSeconds", "retries", "retryDelaySeconds", "onFailure", "successStatus", "log", "injectEnv"];

fn policy(node: &Node, path: &str, problems: &mut Problems) -> PolicyDraft {
    let mut draft = PolicyDraft {
        path: Some(Set { value: (), path: path.to_owned(), at: Some(node.at) }),
        ..PolicyDraft::default()
    };
    if !object(node, path, &POLICY, problems, |_| None) {
        return draft;
    }
    let at = |name: &str| node.get(name).map(|node| (node, format!("{path}.{name}")));
    if let Some((node, path)) = at("timeoutSeconds") {
        draft.timeout = seconds(node, &path, problems);
    }
    if let Some((node, path)) = at("retries") {
        draft.retries = retries(&node.shown(), Some(node.at), &path, problems);
    }
    if let Some((node, path)) = at("retryDelaySeconds") {
        let value = match &node.value {
            Value::Number(text) => text.parse::<f64>().ok(),
            _ => None,
        };
        draft.retry_delay = match value.map(Duration::try_from_secs_f64) {
            Some(Ok(value)) => Some(Set { value, path, at: Some(node.at) }),
            Some(Err(_)) => {
                let why = "must be greater than or equal to 0";
                problems.invalid(node.at, &path, &node.shown(), why).is(Rule::PolicyNumber);
                None
            }
            None => {
                problems.invalid(node.at, &path, &node.shown(), "must be a number").is(Rule::PolicyNumber);
                None
            }
        };
    }
    let text = |name: &str| {
        let (node, path) = at(name)?;
        Some((node.text().map(str::to_owned).unwrap_or_else(|| node.shown()), Some(node.at), path))
    };
    let words = (text("onFailure"), text("successStatus"), text("log"));
    draft.on_failure = words.0.and_then(|(word, at, path)| on_failure(&word, at, &path, problems));
    draft.success_status = words.1.and_then(|(word, at, path)| success_status(&word, at, &path, problems));
    draft.log = words.2.and_then(|(word, at, path)| hook_log(&word, at, &path, problems));
    if let Some((node, path)) = at("injectEnv") {
        match node.bool() {
            Some(value) => draft.inject_env = Some(Set { value, path, at: Some(node.at) }),
            None => {
                problems.invalid(node.at, &path, &node.shown(), "must be true or false");
            }
        }
    }
    draft
}

/// Whole seconds of a time limit; 0 is none (V-25).
fn seconds(node: &Node, path: &str, problems: &mut Problems) -> Option<Set<Option<Duration>>> {
    let number = match &node.value {
        Value::Number(text) => integer(text),
        _ => None,
    };
    let Some(number) = number else {
        problems.invalid(node.at, path, &node.shown(), "must be an integer").is(Rule::PolicyNumber);
        return None;
    };
    let Ok(seconds) = u64::try_from(number) else {
        let why = "must be greater than or equal to 0";
        problems.invalid(node.at, path, &node.shown(), why).is(Rule::PolicyNumber);
        return None;
    };
    let value = (seconds > 0).then_some(Duration::from_secs(seconds));
    Some(Set { value, path: path.to_owned(), at: Some(node.at) })
}

/// 0 to 100 (V-25).
pub fn retries(text: &str, at: Option<Mark>, path: &str, problems: &mut Problems) -> Option<Set<u32>> {
    let why = match integer(text) {
        Some(number @ 0..=100) => {
            return u32::try_from(number).ok().map(|value| Set { value, path: path.to_owned(), at });
        }
        Some(..0) => "must be greater than or equal to 0",
        Some(_) => "must be between 0 and 100, inclusive",
        None => "must be an integer",
    };
    problems.invalid(at, path, text, why).is(Rule::PolicyNumber);
    None
}

/// One word of several (V-27).
fn word<T: Copy>(
    text: &str,
    words: &[(&str, T)],
    at: Option<Mark>,
    path: &str,
    problems: &mut Problems,
) -> Option<Set<T>> {
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Some(Set { value: *value, path: path.to_owned(), at }),
        None => {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            unsupported(at, path, &quote(text), &words, "", problems).is(Rule::PolicyWord);
            None
        }
    }
}

pub fn on_failure(text: &str, at: Option<Mark>, path: &str, problems: &mut Problems) -> Option<Set<OnFailure>> {
    word(text, &[("fail", OnFailure::Fail), ("ignore", OnFailure::Ignore)], at, path, problems)
}

pub fn success_status(text: &str, at: Option<Mark>, path: &str, problems: &mut Problems) -> Option<Set<SuccessStatus>> {
    word(text, &[("any", SuccessStatus::Any), ("2xx-3xx", SuccessStatus::Below400)], at, path, problems)
}

pub fn hook_log(text: &str, at: Option<Mark>, path: &str, problems: &mut Problems) -> Option<Set<HookLog>> {
    const WORDS: [(&str, HookLog); 5] = [
        ("file", HookLog::File),
        ("inherit", HookLog::Inherit),
        ("both", HookLog::Both),
        ("container", HookLog::Container),
        ("none", HookLog::None),
    ];
    word(text, &WORDS, at, path, problems)
}

/// The checks that need the whole source and the grace period as written; then each hook's entries with their policies.
pub fn settle(wishes: &Wishes, grace: i64, problems: &mut Problems) -> BTreeMap<Hook, Vec<Entry>> {
    // V-28; of single fields each is told.
    let idle = wishes.policies.iter().filter(|(hook, _)| !wishes.hooks.contains_key(hook));
    for (path, at) in idle.flat_map(|(_, policy)| policy.places()) {
        problems.error(at, &path, "Invalid value: no such hook is defined").is(Rule::PolicyWithoutHook);
    }
    let mut settled = BTreeMap::new();
    for (hook, drafts) in &wishes.hooks {
        let fields = wishes.policies.get(hook).cloned().unwrap_or_default();
        policy_fits(drafts, &fields, problems);
        let mut entries = Vec::new();
        for draft in drafts {
            let policy = policy_of(*hook, draft, &fields, wishes.log, grace, problems);
            let Some(handler) = &draft.handler else { continue };
            fits(*hook, draft, handler, grace, problems);
            entries.push(Entry { handler: handler.clone(), policy, source: draft.source.clone() });
        }
        settled.insert(*hook, entries);
    }
    if let Some(draft) = wishes.hooks.get(&Hook::PreStop).and_then(|drafts| drafts.first())
        && grace == 0
    {
        problems.warning(draft.at, "terminationGracePeriodSeconds", "0: preStop will be skipped").is(Rule::NoGrace);
    }
    settled
}

/// V-24 and V-31: policy fields that the handlers of their hook have no use for.
fn policy_fits(drafts: &[Draft], fields: &PolicyDraft, problems: &mut Problems) {
    let handlers = || drafts.iter().filter_map(|draft| draft.handler.as_ref());
    if let Some(retries) = &fields.retries
        && retries.value > 0
        && handlers().any(|handler| matches!(handler, Handler::Sleep { .. }))
    {
        let shown = retries.value.to_string();
        let why = "a sleep hook cannot be retried";
        problems.invalid(retries.at, &retries.path, &shown, why).is(Rule::SleepRetried);
    }
    if let Some(status) = &fields.success_status
        && handlers().next().is_some()
        && !handlers().any(|handler| matches!(handler, Handler::HttpGet(_)))
    {
        problems.error(status.at, &status.path, "Forbidden: only for httpGet").is(Rule::StatusWithoutHttp);
    }
}

/// The defaults with what is set above them; V-26 and V-34.
fn policy_of(
    hook: Hook,
    draft: &Draft,
    fields: &PolicyDraft,
    log: Option<HookLog>,
    grace: i64,
    problems: &mut Problems,
) -> Policy {
    let mut policy = Policy::default_of(hook);
    if let (Some(own), Some(general)) = (&draft.exec_timeout, &fields.timeout)
        && own.value != general.value
    {
        let why = format_args!("Forbidden: conflicts with {}", general.path);
        problems.error(own.at, &own.path, why).is(Rule::TwoTimeouts);
    }
    if let Some(timeout) = draft.exec_timeout.as_ref().or(fields.timeout.as_ref()) {
        policy.timeout = timeout.value;
        // V-19: a negative grace period counts as 1.
        let grace = u64::try_from(grace).unwrap_or(1);
        if hook == Hook::PreStop && timeout.value.is_some_and(|limit| limit > Duration::from_secs(grace)) {
            let why = "has no effect beyond the grace period";
            problems.warning(timeout.at, &timeout.path, why).is(Rule::LongTimeout);
        }
    }
    fn put<T: Clone>(place: &mut T, set: &Option<Set<T>>) {
        if let Some(set) = set {
            place.clone_from(&set.value);
        }
    }
    policy.log = log.unwrap_or(policy.log);
    put(&mut policy.retries, &fields.retries);
    put(&mut policy.retry_delay, &fields.retry_delay);
    put(&mut policy.on_failure, &fields.on_failure);
    put(&mut policy.success_status, &fields.success_status);
    put(&mut policy.log, &fields.log);
    put(&mut policy.inject_env, &fields.inject_env);
    policy
}

/// V-17, and X-T02's warning.
fn fits(hook: Hook, draft: &Draft, handler: &Handler, grace: i64, problems: &mut Problems) {
    match handler {
        Handler::Sleep { seconds } => {
            let seconds = *seconds as i64;
            let shown = seconds.to_string();
            if hook.is_list() && seconds < 0 {
                let why = "must be greater than or equal to 0";
                problems.invalid(draft.at, &draft.path, &shown, why).is(Rule::NegativeSleep);
            } else if !hook.is_list() && (seconds < 0 || seconds > grace) {
                let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                let rule = if seconds < 0 { Rule::NegativeSleep } else { Rule::HookTime };
                problems.invalid(draft.at, &draft.path, &shown, &why).is(rule);
            }
        }
        // Kubernetes does not have the extensions.
        Handler::TcpSocket { .. } if !hook.is_list() => {
            let why = "tcpSocket hooks are accepted by the Kubernetes API but always fail at run time";
            problems.warning(draft.at, &draft.path, why).is(Rule::TcpSocket);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
