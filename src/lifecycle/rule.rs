//! The rules that a lifecycle is checked by: what breaks one is a finding of `check`, known by the rule's id.
//!
//! The order is that of interface.md section 6, then of lifecycle.md section 9; ids are never given anew.

use std::fmt;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Kubernetes or bookend refuses it, or the hook surely fails.
    Error,
    /// It is taken, and will not do what it says.
    Warning,
    /// Worth knowing; no finding.
    Info,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    HookTime,
    SecondHandler,
    TcpSocket,
    CommandLine,
    MissingProgram,
    EndsPid1,
    InitHook,
    UndeclaredPort,
    UnknownKey,
    NoGrace,
    StopSignalOs,
    SameHookTwice,
    AnyStatus,
    NoHandler,
    NoCommand,
    CommandNotList,
    BadWord,
    PortRange,
    QuotedPort,
    LongPortName,
    PortName,
    Scheme,
    HeaderName,
    HeaderValue,
    Host,
    NegativeSleep,
    SleepNotInteger,
    NegativeGrace,
    StopSignal,
    SleepRetried,
    PolicyNumber,
    TwoTimeouts,
    PolicyWord,
    PolicyWithoutHook,
    NeedsHost,
    StatusWithoutHttp,
    DuplicatePort,
    NotReadable,
    LongTimeout,
    NoTimeLimit,
    SignalSpares,
    /// What `Problem`s are that name no other rule.
    WrongKind,
    NoContainers,
    Template,
    NothingToCheck,
    Localhost,
    NotExpanded,
    OutsideTemplate,
}

/// What is said of a rule, whatever breaks it.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub rule: Rule,
    /// One word for people and suppressions.
    pub name: &'static str,
    pub title: &'static str,
    /// What to do; empty where each finding's own sentence says it.
    pub cure: &'static str,
}

const fn facts(rule: Rule, name: &'static str, title: &'static str, cure: &'static str) -> Facts {
    Facts { rule, name, title, cure }
}

/// Every rule, by id.
pub const RULES: [Facts; 48] = [
    facts(
        Rule::HookTime,
        "hook-time",
        "A hook's time reaches the grace period",
        "raise terminationGracePeriodSeconds or shorten the hook: the grace period covers preStop and the shutdown together",
    ),
    facts(Rule::SecondHandler, "second-handler", "A hook has more than one handler", "keep one of them"),
    facts(
        Rule::TcpSocket,
        "tcp-socket",
        "tcpSocket hooks always fail on Kubernetes",
        "use exec or httpGet in a Pod; bookend itself runs them",
    ),
    facts(Rule::CommandLine, "command-line", "A command is not split as its writer meant", ""),
    facts(
        Rule::MissingProgram,
        "missing-program",
        "The root file system lacks the hook's program",
        "put it in the image, or use the sleep or httpGet handler, which need nothing in the image",
    ),
    facts(
        Rule::EndsPid1,
        "ends-pid1",
        "preStop ends PID 1 itself",
        "let preStop only wait or drain, and name the graceful signal by lifecycle.stopSignal or the image's STOPSIGNAL",
    ),
    facts(
        Rule::InitHook,
        "init-hook",
        "Init and ephemeral containers have no hooks",
        "move the hook to a container; an init container can be made a sidecar by restartPolicy: Always",
    ),
    facts(
        Rule::UndeclaredPort,
        "undeclared-port",
        "A hook names a port that its container does not declare",
        "declare it in the container's ports, or write the number",
    ),
    facts(Rule::UnknownKey, "unknown-key", "A key is unknown, misspelt or in the wrong place", ""),
    facts(
        Rule::NoGrace,
        "no-grace",
        "A grace period of 0 skips preStop",
        "give terminationGracePeriodSeconds at least what preStop needs, or remove preStop",
    ),
    facts(
        Rule::StopSignalOs,
        "stop-signal-os",
        "stopSignal needs spec.os.name",
        "add os: {name: linux} to the Pod's spec",
    ),
    facts(
        Rule::SameHookTwice,
        "same-hook-twice",
        "The same hook is given by stanza and by annotation",
        "keep one of them",
    ),
    facts(
        Rule::AnyStatus,
        "any-status",
        "Kubernetes counts any HTTP answer of a hook as success",
        "where the status matters, use an exec hook, or under bookend the policy successStatus: 2xx-3xx",
    ),
    facts(Rule::NoHandler, "no-handler", "A hook has no handler", "give it exec, httpGet or sleep"),
    facts(Rule::NoCommand, "no-command", "An exec handler has no command", "list the program and its arguments"),
    facts(Rule::CommandNotList, "command-not-list", "A command is not a list of strings", ""),
    facts(
        Rule::BadWord,
        "bad-word",
        "A command has an empty program or a NUL byte",
        "write the program's name or path",
    ),
    facts(
        Rule::PortRange,
        "port-range",
        "A port is missing or out of range",
        "write the port that the container listens on",
    ),
    facts(Rule::QuotedPort, "quoted-port", "A port number is quoted", ""),
    facts(Rule::LongPortName, "long-port-name", "A port name is longer than 15 characters", "shorten the name"),
    facts(
        Rule::PortName,
        "port-name",
        "A port name has characters that it may not have",
        "use lower-case letters, digits and single hyphens",
    ),
    facts(Rule::Scheme, "scheme", "A scheme is neither HTTP nor HTTPS", "write it in capitals"),
    facts(Rule::HeaderName, "header-name", "A header's name is not valid", "use letters, digits and hyphens"),
    facts(Rule::HeaderValue, "header-value", "A header's value or a path has line breaks", "write it on one line"),
    facts(
        Rule::Host,
        "host",
        "A host is more than a name or an address",
        "put scheme, port and path in their own fields; leave host out to mean the container",
    ),
    facts(Rule::NegativeSleep, "negative-sleep", "A sleep is negative", "write 0 or more seconds"),
    facts(
        Rule::SleepNotInteger,
        "sleep-not-integer",
        "A sleep is not a whole number of seconds",
        "write whole seconds",
    ),
    facts(
        Rule::NegativeGrace,
        "negative-grace",
        "A grace period is negative",
        "write the seconds that the whole stop may take",
    ),
    facts(Rule::StopSignal, "stop-signal", "A stop signal is unknown", ""),
    facts(Rule::SleepRetried, "sleep-retried", "A sleep hook has retries", "remove retries: a sleep cannot fail"),
    facts(Rule::PolicyNumber, "policy-number", "A policy's number is not valid", "write 0 or more"),
    facts(Rule::TwoTimeouts, "two-timeouts", "Two time limits of one hook differ", "keep one of them"),
    facts(Rule::PolicyWord, "policy-word", "A policy's word is unknown", ""),
    facts(
        Rule::PolicyWithoutHook,
        "policy-without-hook",
        "A policy is for a hook that is not defined",
        "define the hook or remove its policy",
    ),
    facts(
        Rule::NeedsHost,
        "needs-host",
        "A preStart or postStop request has no host",
        "name another host: the container's own process does not run then",
    ),
    facts(
        Rule::StatusWithoutHttp,
        "status-without-http",
        "successStatus is set for a handler that is not httpGet",
        "remove successStatus",
    ),
    facts(Rule::DuplicatePort, "duplicate-port", "Two ports have one name", "give each port its own name"),
    facts(Rule::NotReadable, "not-readable", "The file is no valid YAML or JSON", ""),
    facts(
        Rule::LongTimeout,
        "long-timeout",
        "A time limit of preStop is beyond the grace period",
        "shorten it or raise terminationGracePeriodSeconds",
    ),
    facts(
        Rule::NoTimeLimit,
        "no-time-limit",
        "postStart has no time limit",
        "put timeout(1) before its command, or under bookend set the policy timeoutSeconds",
    ),
    facts(
        Rule::SignalSpares,
        "signal-spares",
        "The stop signal does not end a process by itself",
        "use SIGTERM, or be sure that the program handles this one",
    ),
    facts(Rule::WrongKind, "wrong-kind", "A value is not of the kind that its field takes", ""),
    facts(
        Rule::NoContainers,
        "no-containers",
        "A Pod's containers cannot be told",
        "list containers, each with its name",
    ),
    facts(
        Rule::Template,
        "template",
        "The file is a template, not a manifest",
        "render it first: helm template CHART | bookend check -",
    ),
    facts(Rule::NothingToCheck, "nothing-to-check", "The file has no Pod, workload or lifecycle in it", ""),
    facts(
        Rule::Localhost,
        "localhost",
        "An httpGet hook names localhost",
        "leave host out: the request then goes to the Pod's own address",
    ),
    facts(
        Rule::NotExpanded,
        "not-expanded",
        "A variable in a hook's command is not expanded",
        "run it by a shell and write $NAME there: [\"/bin/sh\", \"-c\", \"...\"]",
    ),
    facts(
        Rule::OutsideTemplate,
        "outside-template",
        "Annotations for hooks are not on the Pod's template",
        "move them to the metadata of the template: a workload's own do not reach its Pods",
    ),
];

impl Rule {
    pub fn facts(self) -> &'static Facts {
        &RULES[self as usize]
    }
}

/// The rule's id: `BE001`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BE{:03}", *self as usize + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_stands_at_its_id() {
        for (index, facts) in RULES.iter().enumerate() {
            assert_eq!(facts.rule as usize, index, "{}", facts.name);
        }
        assert_eq!(Rule::HookTime.to_string(), "BE001");
        assert_eq!(RULES.last().unwrap().rule, Rule::OutsideTemplate);
    }

    #[test]
    fn names_are_words_of_their_own() {
        for (index, facts) in RULES.iter().enumerate() {
            assert!(facts.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
            assert!(!RULES[..index].iter().any(|other| other.name == facts.name), "{}", facts.name);
        }
    }
}
