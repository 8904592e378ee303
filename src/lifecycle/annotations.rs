//! Hooks in flat annotations (interface.md section 4).
//!
//! They are written by whoever may create a container. All that they can ask for happens inside of it, or as a request
//! from its network namespace.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{Handler, Hook, HttpGet, Scheme};
use super::rule::{Rule, Severity};
use super::signal::Signal;
use super::tree::{self, Mark, integer, nearest};
use super::validate::{
    Draft, PolicyDraft, Problem, Problems, Set, Wishes, command_words, hook_log, is_host, needs_host, on_failure,
    retries, shape, stop_signal, success_status,
};
use crate::foreign::{self, quote};

/// What bookend's own annotations begin with.
pub const PREFIX: &str = "bookend";

const CRI_NAME: &str = "io.kubernetes.cri.container-name";
const KUBERNETES_NAME: &str = "io.kubernetes.container.name";
const CRI_TYPE: &str = "io.kubernetes.cri.container-type";
/// What CRI-O writes in its place.
const CRIO_TYPE: &str = "io.kubernetes.cri-o.ContainerType";
const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
/// The stop signal of an image, as podman tells it (lifecycle.md S-23).
pub const IMAGE_STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

/// An annotation with the place of its value, where there is one.
#[derive(Clone, Debug)]
pub struct Annotation<'a> {
    pub key: &'a str,
    pub value: &'a str,
    pub at: Option<Mark>,
}

/// The container's name as its caller's annotations have it.
pub fn container_name(annotations: &BTreeMap<String, String>) -> Option<&str> {
    let name = annotations.get(CRI_NAME).or_else(|| annotations.get(KUBERNETES_NAME))?;
    Some(name.as_str()).filter(|name| !name.is_empty())
}

/// Whether this is a Pod's sandbox, which never has hooks.
pub fn is_sandbox(annotations: &BTreeMap<String, String>) -> bool {
    [CRI_TYPE, CRIO_TYPE].iter().any(|key| annotations.get(*key).is_some_and(|kind| kind == "sandbox"))
}

/// The grace period that the kubelet writes on each container. One that cannot be read is not the user's mistake.
pub fn pod_grace(annotations: &BTreeMap<String, String>, problems: &mut Problems) -> Option<Set<i64>> {
    let text = annotations.get(POD_GRACE)?;
    let value = integer(text);
    if value.is_none() {
        problems.warning(None, POD_GRACE, format_args!("Invalid value: {}: ignored; must be an integer", quote(text)));
    }
    value.map(|value| Set { value, path: POD_GRACE.to_owned(), at: None })
}

/// The image's own stop signal, a name or a number. The user cannot mend an image, so a bad one is only a warning.
pub fn image_stop_signal(annotations: &BTreeMap<String, String>, problems: &mut Problems) -> Option<Signal> {
    let text = annotations.get(IMAGE_STOP_SIGNAL).filter(|text| !text.is_empty())?;
    let signal = Signal::parse(text);
    if signal.is_none() {
        let why = "ignored; must be a signal's name or number";
        problems.warning(None, IMAGE_STOP_SIGNAL, format_args!("Invalid value: {}: {why}", quote(text)));
    }
    signal
}

/// Reads the annotations under our prefix. `name` is the container's, for `NAME.bookend/...`; `file` begins
/// `Entry::source` when they come from a file.
pub fn read<'a>(
    annotations: impl IntoIterator<Item = Annotation<'a>>,
    name: Option<&str>,
    file: Option<&str>,
    problems: &mut Problems,
) -> Wishes {
    let mut general = Keys::default();
    let mut own = Keys::default();
    for annotation in annotations {
        let Some((prefix, rest)) = annotation.key.split_once('/') else { continue };
        if prefix == PREFIX {
            general.0.insert(rest, annotation);
            continue;
        }
        let Some(scope) = prefix.strip_suffix(PREFIX).and_then(|scope| scope.strip_suffix('.')) else { continue };
        match name {
            Some(name) if name == scope => {
                own.0.insert(rest, annotation);
            }
            Some(_) => {}
            None => {
                let scope = foreign::name(scope);
                let why = format_args!("ignored: the container's name is not known; tell it by --container {scope}");
                problems.warning(annotation.at, &foreign::name(annotation.key), why);
            }
        }
    }
    let mut wishes = general.wishes(file, problems);
    wishes.overlay(own.wishes(file, problems));
    wishes
}

impl Wishes {
    /// Takes what `nearer` has, where both have it.
    fn overlay(&mut self, nearer: Wishes) {
        self.hooks.extend(nearer.hooks);
        for (hook, policy) in nearer.policies {
            self.policies.entry(hook).or_default().overlay(policy);
        }
        self.grace = nearer.grace.or(self.grace.take());
        self.stop_signal = nearer.stop_signal.or(self.stop_signal.take());
        self.log = nearer.log.or(self.log.take());
    }

    /// Joins two parts of one source. The same hook in both is an error that names both places.
    pub fn join(&mut self, other: Wishes, problems: &mut Problems) {
        for (hook, drafts) in &other.hooks {
            if let (Some(here), Some(there)) = (self.hooks.get(hook).and_then(|own| own.first()), drafts.first()) {
                let why = format!("Forbidden: {hook} is given by {} too", here.source);
                problems.error(there.at, &there.path, why).is(Rule::SameHookTwice);
            }
        }
        self.overlay(other);
    }
}

fn hook_key(hook: Hook) -> &'static str {
    match hook {
        Hook::PreStart => "pre-start",
        Hook::PostStart => "post-start",
        Hook::PreStop => "pre-stop",
        Hook::PostStop => "post-stop",
    }
}

const HANDLERS: [&str; 5] = ["", ".shell", ".http", ".tcp", ".sleep"];
const POLICIES: [&str; 5] = [".timeout", ".retries", ".retry-delay", ".on-failure", ".success-status"];
const GENERAL: [&str; 4] = ["grace-period", "stop-signal", "hook-logs", "lifecycle"];

/// Every key that there is, without its prefix.
fn known() -> Vec<String> {
    let suffixes = |hook| HANDLERS.iter().chain(&POLICIES).map(move |suffix| format!("{}{suffix}", hook_key(hook)));
    Hook::ALL.into_iter().flat_map(suffixes).chain(GENERAL.map(str::to_owned)).collect()
}

/// Every annotation that changes what bookend does with a container, for `features`.
pub fn keys() -> Vec<String> {
    let own = known().into_iter().map(|key| format!("{PREFIX}/{key}"));
    own.chain([POD_GRACE, IMAGE_STOP_SIGNAL, CRI_TYPE, CRIO_TYPE].map(str::to_owned)).collect()
}

/// The keys of one scope, without their prefix.
#[derive(Default)]
struct Keys<'a>(BTreeMap<&'a str, Annotation<'a>>);

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<Value<'a>> {
        let Annotation { key, value, at } = self.0.get(key)?;
        Some(Value { key: foreign::name(key), text: value, at: *at })
    }

    fn wishes(&self, file: Option<&str>, problems: &mut Problems) -> Wishes {
        self.unknown(problems);
        let source = |key: &str| match file {
            Some(file) => format!("{file}: annotation {key}"),
            None => format!("annotation {key}"),
        };
        let mut wishes = Wishes::default();
        if let Some(value) = self.get("lifecycle") {
            wishes = value.lifecycle(&source(&value.key), problems);
        }
        let mut flat = Wishes::default();
        for hook in Hook::ALL {
            if let Some(draft) = self.handler(hook, &source, problems) {
                flat.hooks.insert(hook, vec![draft]);
            }
            let policy = self.policy(hook, problems);
            if policy != PolicyDraft::default() {
                flat.policies.insert(hook, policy);
            }
        }
        flat.grace = self.get("grace-period").and_then(|value| value.grace(problems));
        flat.stop_signal = self.get("stop-signal").and_then(|value| {
            let signal = stop_signal(value.text, value.at, &value.key, problems)?;
            Some(value.set(signal))
        });
        flat.log = self
            .get("hook-logs")
            .and_then(|value| hook_log(value.text, value.at, &value.key, problems))
            .map(|set| set.value);
        wishes.join(flat, problems);
        wishes
    }

    /// A key that is none of ours is an error: it was meant to do something.
    fn unknown(&self, problems: &mut Problems) {
        let known = known();
        for (rest, annotation) in &self.0 {
            if known.iter().any(|known| known == rest) {
                continue;
            }
            let prefix = annotation.key.strip_suffix(rest).unwrap_or(annotation.key);
            let hint = match nearest(rest, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean \"{prefix}{near}\"?"),
                None => format!("known are {} and {}", Hook::ALL.map(hook_key).join(", "), GENERAL.join(", ")),
            };
            let why = format_args!("Unknown annotation; {hint}");
            problems.error(annotation.at, &foreign::name(annotation.key), why).is(Rule::UnknownKey);
        }
    }

    fn handler(&self, hook: Hook, source: &dyn Fn(&str) -> String, problems: &mut Problems) -> Option<Draft> {
        let key = hook_key(hook);
        let given: Vec<(&str, Value)> =
            HANDLERS.iter().filter_map(|suffix| Some((*suffix, self.get(&format!("{key}{suffix}"))?))).collect();
        let (suffix, value) = given.first()?;
        for (_, other) in &given[1..] {
            let why = format!("Forbidden: {} is given too; a hook has one handler", value.key);
            problems.error(other.at, &other.key, why).is(Rule::SecondHandler);
        }
        let handler = match *suffix {
            _ if value.text.trim().is_empty() => {
                problems.error(value.at, &value.key, "Required value").is(Rule::NoCommand);
                None
            }
            "" => value.words(problems),
            ".shell" => {
                let words = ["/bin/sh", "-c", value.text].map(str::to_owned).to_vec();
                command_words(words, value.at, &value.key, problems)
            }
            ".http" => value.http(hook, problems),
            ".tcp" => value.tcp(hook, problems),
            _ => value.sleep(problems),
        };
        Some(Draft { handler, path: value.key.clone(), at: value.at, exec_timeout: None, source: source(&value.key) })
    }

    fn policy(&self, hook: Hook, problems: &mut Problems) -> PolicyDraft {
        let get = |suffix: &str| self.get(&format!("{}{suffix}", hook_key(hook)));
        let mut policy = PolicyDraft::default();
        if let Some(value) = get(".timeout") {
            policy.timeout = value.span(problems).map(|span| value.set((!span.is_zero()).then_some(span)));
        }
        if let Some(value) = get(".retries") {
            policy.retries = match integer(value.text) {
                Some(_) => retries(value.text, value.at, &value.key, problems),
                None => retries(&quote(value.text), value.at, &value.key, problems),
            };
        }
        if let Some(value) = get(".retry-delay") {
            policy.retry_delay = value.span(problems).map(|span| value.set(span));
        }
        if let Some(value) = get(".on-failure") {
            policy.on_failure = on_failure(value.text, value.at, &value.key, problems);
        }
        if let Some(value) = get(".success-status") {
            policy.success_status = success_status(value.text, value.at, &value.key, problems);
        }
        policy
    }
}

/// One annotation's value, with its key as messages show it.
struct Value<'a> {
    key: String,
    text: &'a str,
    at: Option<Mark>,
}

impl Value<'_> {
    fn set<T>(&self, value: T) -> Set<T> {
        Set { value, path: self.key.clone(), at: self.at }
    }

    /// Numbers are shown bare, other text in quotes.
    fn invalid(&self, why: &str, problems: &mut Problems) {
        let number = self.text.len() <= 40 && self.text.parse::<f64>().is_ok();
        let shown = if number { self.text.to_owned() } else { quote(self.text) };
        problems.invalid(self.at, &self.key, &shown, why);
    }

    /// The whole object as JSON, or that in base64.
    fn lifecycle(&self, source: &str, problems: &mut Problems) -> Wishes {
        let bytes = match self.text.trim_start().strip_prefix("base64:") {
            Some(text) => match base64(text) {
                Some(bytes) => bytes,
                None => {
                    problems.error(self.at, &self.key, "Invalid value: not base64 after \"base64:\"");
                    return Wishes::default();
                }
            },
            None => self.text.as_bytes().to_vec(),
        };
        let documents = match tree::parse(&bytes) {
            Ok(documents) => documents,
            Err(error) => {
                // V-33: the place is one inside of the value.
                let text = format!("{source}:{error}");
                let mut problem = Problem::new(text, source, self.at, Severity::Error);
                problem.is(Rule::NotReadable);
                problems.errors.push(problem);
                return Wishes::default();
            }
        };
        let [root] = documents.as_slice() else {
            problems.error(self.at, &self.key, "Invalid value: must be one JSON object");
            return Wishes::default();
        };
        let mut found = Problems::of(source);
        let wishes = match self.at {
            Some(at) => shape(&root.clone().moved_to(at), source, &mut found),
            None => shape(root, source, &mut found),
        };
        problems.append(found);
        wishes
    }

    fn words(&self, problems: &mut Problems) -> Option<Handler> {
        match shlex::split(self.text) {
            Some(words) if !words.is_empty() => command_words(words, self.at, &self.key, problems),
            Some(_) => {
                problems.error(self.at, &self.key, "Required value").is(Rule::NoCommand);
                None
            }
            None => {
                self.invalid("unbalanced quote or backslash", problems);
                None
            }
        }
    }

    /// `http://host:port/path`; an empty host is the container (X-H03).
    fn http(&self, hook: Hook, problems: &mut Problems) -> Option<Handler> {
        if self.text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            self.invalid("must not contain blanks, line breaks or control characters", problems);
            return None;
        }
        let (scheme, rest, usual) = if let Some(rest) = self.text.strip_prefix("http://") {
            (Scheme::Http, rest, 80)
        } else if let Some(rest) = self.text.strip_prefix("https://") {
            (Scheme::Https, rest, 443)
        } else {
            self.invalid("must be a URL that begins with http:// or https://", problems);
            return None;
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (host, port) = self.address(authority, Some(usual), hook, problems)?;
        Some(Handler::HttpGet(HttpGet { scheme, host, port, path, headers: Vec::new() }))
    }

    fn tcp(&self, hook: Hook, problems: &mut Problems) -> Option<Handler> {
        let (host, port) = self.address(self.text, None, hook, problems)?;
        Some(Handler::TcpSocket { host, port })
    }

    /// `host:port`, `:port`, `[address]:port`; without a port the scheme's usual one.
    fn address(
        &self,
        text: &str,
        usual: Option<u16>,
        hook: Hook,
        problems: &mut Problems,
    ) -> Option<(Option<String>, u16)> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) if host.contains(':') => {
                (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")))
            }
            Some(_) => (text, None),
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, Some("")),
            },
        };
        let port = port.filter(|_| !text.contains('@'));
        let bare_colon = host.contains(':') && !text.starts_with('[');
        let (Some(port), false) = (port, bare_colon || !host.is_empty() && !is_host(host)) else {
            self.invalid("must have a host name or address only, or none, before the port", problems);
            return None;
        };
        let port = match (port, usual) {
            ("", Some(usual)) => usual,
            _ if port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                port.parse().ok()?
            }
            _ => {
                self.invalid("the port must be a number between 1 and 65535, inclusive", problems);
                return None;
            }
        };
        let host = Some(host).filter(|host| !host.is_empty());
        needs_host(host, hook, self.at, &self.key, problems);
        Some((host.map(str::to_owned), port))
    }

    fn sleep(&self, problems: &mut Problems) -> Option<Handler> {
        let seconds = match (integer(self.text), duration(self.text)) {
            // `settle` has the words for a negative one.
            (Some(seconds), _) => seconds as u64,
            (None, Some(span)) if span.subsec_nanos() == 0 && i64::try_from(span.as_secs()).is_ok() => span.as_secs(),
            _ => {
                self.invalid("must be whole seconds, as 5 or 1m30s", problems);
                return None;
            }
        };
        Some(Handler::Sleep { seconds })
    }

    /// Whole seconds, or a duration rounded up.
    fn grace(&self, problems: &mut Problems) -> Option<Set<i64>> {
        let rounded = || {
            let span = duration(self.text)?;
            i64::try_from(span.as_secs() + u64::from(span.subsec_nanos() > 0)).ok()
        };
        let value = integer(self.text).or_else(rounded);
        if value.is_none() {
            self.invalid("must be whole seconds or a duration, as 30 or 1m30s", problems);
        }
        value.map(|value| self.set(value))
    }

    /// A number of seconds, or a duration (V-25).
    fn span(&self, problems: &mut Problems) -> Option<Duration> {
        let number = self.text.parse::<f64>().ok();
        if number.is_some_and(|number| number < 0.0) || self.text.starts_with('-') {
            self.invalid("must be greater than or equal to 0", problems);
            return None;
        }
        let span = number.and_then(|number| Duration::try_from_secs_f64(number).ok()).or_else(|| duration(self.text));
        if span.is_none() {
            self.invalid("must be seconds or a duration, as 5 or 1m30s", problems);
        }
        span
    }
}

/// A duration as Go and kubectl write it: `1h30m`, `1.5s`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    if text.is_empty() || text.len() > 64 {
        return None;
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len()));
        let nanoseconds: u64 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" | "µs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let mut part = whole.parse::<u128>().ok()?.checked_mul(u128::from(nanoseconds))?;
        let mut scale = u128::from(nanoseconds);
        for digit in fraction.bytes() {
            scale /= 10;
            part += u128::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?) * scale;
        }
        let seconds = u64::try_from(part / 1_000_000_000).ok()?;
        let nanos = u32::try_from(part % 1_000_000_000).ok()?;
        sum = sum.checked_add(Duration::new(seconds, nanos))?;
        rest = tail;
    }
    Some(sum)
}

/// RFC 4648 section 4, with or without padding; line breaks are ignored.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let end = digits.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    if digits.len() - end > 2 || end % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(end / 4 * 3 + 2);
    let (mut bits, mut held) = (0u32, 0);
    for digit in &digits[..end] {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::model::{HookLog, OnFailure, SuccessStatus};
    use crate::lifecycle::source::fixture::{from_annotations, problems};

    fn refused(pairs: &[(&str, &str)]) -> Vec<String> {
        problems(from_annotations(pairs))
    }

    fn exec(words: &[&str]) -> Handler {
        Handler::Exec { command: words.iter().map(|word| word.to_string()).collect() }
    }

    fn http(scheme: Scheme, host: Option<&str>, port: u16, path: &str) -> Handler {
        Handler::HttpGet(HttpGet {
            scheme,
            host: host.map(str::to_owned),
            port,
            path: path.to_owned(),
            headers: Vec::new(),
        })
    }

    fn tcp(host: Option<&str>, port: u16) -> Handler {
        Handler::TcpSocket { host: host.map(str::to_owned), port }
    }

    #[test]
    fn every_kind_of_handler_has_its_key() {
        for (suffix, value, handler) in [
            ("", "/bin/drain --wait '2 0' a\\ b", exec(&["/bin/drain", "--wait", "2 0", "a b"])),
            ("", "echo $HOME *", exec(&["echo", "$HOME", "*"])),
            (".shell", "echo $HOME | cat", exec(&["/bin/sh", "-c", "echo $HOME | cat"])),
            (".http", "http://:8080/drain?x=1", http(Scheme::Http, None, 8080, "/drain?x=1")),
            (".http", "http://example.com", http(Scheme::Http, Some("example.com"), 80, "/")),
            (".http", "http://example.com?x", http(Scheme::Http, Some("example.com"), 80, "/?x")),
            (".http", "https://[::1]/x", http(Scheme::Https, Some("::1"), 443, "/x")),
            (".http", "http:///x", http(Scheme::Http, None, 80, "/x")),
            (".tcp", ":80", tcp(None, 80)),
            (".tcp", "[::1]:80", tcp(Some("::1"), 80)),
            (".tcp", "a.example:65535", tcp(Some("a.example"), 65535)),
            (".sleep", "5", Handler::Sleep { seconds: 5 }),
            (".sleep", "0m20.0s", Handler::Sleep { seconds: 20 }),
        ] {
            let plan = from_annotations(&[(&format!("bookend/pre-stop{suffix}"), value)]).unwrap().plan;
            let entry = plan.pre_stop.unwrap();
            assert_eq!(entry.handler, handler, "{value}");
            assert_eq!(entry.source, format!("annotation bookend/pre-stop{suffix}"));
        }
    }

    #[test]
    fn every_hook_has_its_key_and_its_policy() {
        for hook in Hook::ALL {
            let key = hook_key(hook);
            let plan = from_annotations(&[
                (&format!("bookend/{key}.http"), "http://h:1/"),
                (&format!("bookend/{key}.timeout"), "1m30s"),
                (&format!("bookend/{key}.retries"), "3"),
                (&format!("bookend/{key}.retry-delay"), "0.5"),
                (&format!("bookend/{key}.on-failure"), "ignore"),
                (&format!("bookend/{key}.success-status"), "2xx-3xx"),
                ("bookend/hook-logs", "inherit"),
            ])
            .unwrap()
            .plan;
            let [entry] = plan.entries(hook) else { panic!("{plan:?}") };
            let policy = &entry.policy;
            assert_eq!((policy.timeout, policy.retries), (Some(Duration::from_secs(90)), 3));
            assert_eq!((policy.retry_delay, policy.on_failure), (Duration::from_millis(500), OnFailure::Ignore));
            assert_eq!((policy.success_status, policy.log), (SuccessStatus::Below400, HookLog::Inherit));
        }
        let none = from_annotations(&[("bookend/pre-start", "a"), ("bookend/pre-start.timeout", "0")]).unwrap().plan;
        assert_eq!(none.pre_start[0].policy.timeout, None);
    }

    #[test]
    fn bad_values_name_their_key() {
        for (key, value, line) in [
            ("pre-stop", "", "Required value"),
            ("pre-stop", "  ", "Required value"),
            ("pre-stop", "# all comment", "Required value"),
            ("pre-stop", "a 'b", "Invalid value: \"a 'b\": unbalanced quote or backslash"),
            (
                "pre-stop.http",
                "ftp://x/",
                "Invalid value: \"ftp://x/\": must be a URL that begins with http:// or https://",
            ),
            (
                "pre-stop.http",
                "http://:web/",
                "Invalid value: \"http://:web/\": the port must be a number between 1 and 65535, inclusive",
            ),
            (
                "pre-stop.http",
                "http://:0/",
                "Invalid value: \"http://:0/\": the port must be a number between 1 and 65535, inclusive",
            ),
            (
                "pre-stop.http",
                "http://u:p@h/",
                "Invalid value: \"http://u:p@h/\": must have a host name or address only, or none, before the port",
            ),
            (
                "pre-stop.http",
                "http://h/\r\nX: y",
                "Invalid value: \"http://h/\\r\\nX: y\": must not contain blanks, line breaks or control characters",
            ),
            ("pre-stop.tcp", "h", "Invalid value: \"h\": the port must be a number between 1 and 65535, inclusive"),
            ("pre-stop.sleep", "1.5", "Invalid value: 1.5: must be whole seconds, as 5 or 1m30s"),
            ("pre-stop.sleep", "500ms", "Invalid value: \"500ms\": must be whole seconds, as 5 or 1m30s"),
            (
                "pre-stop.sleep",
                "31",
                "Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
            ),
            (
                "pre-stop.sleep",
                "-1",
                "Invalid value: -1: must be non-negative and less than terminationGracePeriodSeconds (30)",
            ),
            ("grace-period", "soon", "Invalid value: \"soon\": must be whole seconds or a duration, as 30 or 1m30s"),
            (
                "hook-logs",
                "x",
                "Unsupported value: \"x\": supported values: \"file\", \"inherit\", \"both\", \"container\", \"none\"",
            ),
            ("lifecycle", "base64:*", "Invalid value: not base64 after \"base64:\""),
            ("lifecycle", "", "Invalid value: must be one JSON object"),
        ] {
            assert_eq!(refused(&[(&format!("bookend/{key}"), value)]), [format!("bookend/{key}: {line}")], "{value:?}");
        }
        for (key, value, line) in [
            ("timeout", "-1", "Invalid value: -1: must be greater than or equal to 0"),
            ("timeout", "soon", "Invalid value: \"soon\": must be seconds or a duration, as 5 or 1m30s"),
            ("retries", "-1", "Invalid value: -1: must be greater than or equal to 0"),
            ("retries", "x", "Invalid value: \"x\": must be an integer"),
            ("retry-delay", "-0.5", "Invalid value: -0.5: must be greater than or equal to 0"),
            ("on-failure", "x", "Unsupported value: \"x\": supported values: \"fail\", \"ignore\""),
            ("success-status", "any", "Forbidden: only for httpGet"),
        ] {
            let found = refused(&[("bookend/pre-stop", "a"), (&format!("bookend/pre-stop.{key}"), value)]);
            assert_eq!(found, [format!("bookend/pre-stop.{key}: {line}")]);
        }
    }

    #[test]
    fn v_20_a_stop_signal_is_a_name_and_only_the_images_may_be_a_number() {
        let signal = |pairs: &[(&str, &str)]| from_annotations(pairs).unwrap().plan.stop_signal.to_string();
        assert_eq!(signal(&[("bookend/stop-signal", "SIGRTMIN+3")]), "SIGRTMIN+3");
        assert!(
            refused(&[("bookend/stop-signal", "15")])[0].starts_with("bookend/stop-signal: Unsupported value: \"15\"")
        );
        assert_eq!(signal(&[(IMAGE_STOP_SIGNAL, "3")]), "SIGQUIT");
        assert_eq!(signal(&[(IMAGE_STOP_SIGNAL, "SIGWINCH")]), "SIGWINCH");
        assert_eq!(signal(&[(IMAGE_STOP_SIGNAL, "3"), ("bookend/stop-signal", "SIGHUP")]), "SIGHUP");
        // S-26 is not told of an image's; what cannot be read is, and does no harm.
        assert!(from_annotations(&[(IMAGE_STOP_SIGNAL, "SIGWINCH")]).unwrap().warnings.is_empty());
        assert_eq!(from_annotations(&[(IMAGE_STOP_SIGNAL, "x")]).unwrap().warnings.len(), 1);
    }

    #[test]
    fn the_grace_period_is_ours_else_the_pods_else_30() {
        let grace = |pairs: &[(&str, &str)]| from_annotations(pairs).unwrap().plan.grace_seconds;
        assert_eq!(grace(&[]), 30);
        assert_eq!(grace(&[(POD_GRACE, "60")]), 60);
        assert_eq!(grace(&[(POD_GRACE, "60"), ("bookend/grace-period", "5")]), 5);
        assert_eq!(grace(&[("bookend/grace-period", "1m1.2s")]), 62);
        assert_eq!(grace(&[(POD_GRACE, "x")]), 30);
        let negative = from_annotations(&[("bookend/grace-period", "-3")]).unwrap();
        assert_eq!((negative.plan.grace_seconds, negative.warnings.len()), (1, 1));
    }

    #[test]
    fn two_handlers_of_a_hook_are_an_error_that_names_both_keys() {
        assert_eq!(
            refused(&[("bookend/pre-stop", "a"), ("bookend/pre-stop.sleep", "1"), ("bookend/pre-stop.tcp", ":1")]),
            [
                "bookend/pre-stop.tcp: Forbidden: bookend/pre-stop is given too; a hook has one handler",
                "bookend/pre-stop.sleep: Forbidden: bookend/pre-stop is given too; a hook has one handler",
            ]
        );
        assert_eq!(
            refused(&[("bookend/pre-stop", "a"), ("bookend/lifecycle", r#"{"lifecycle":{"preStop":{"sleep":{}}}}"#)]),
            ["bookend/pre-stop: Forbidden: preStop is given by annotation bookend/lifecycle: lifecycle.preStop too"]
        );
    }

    #[test]
    fn an_unknown_key_is_an_error_with_the_nearest_one() {
        assert_eq!(
            refused(&[("bookend/prestop", "a")]),
            ["bookend/prestop: Unknown annotation; did you mean \"bookend/pre-stop\"?"]
        );
        assert_eq!(
            refused(&[("bookend/pre-stop.htpp", "a")]),
            ["bookend/pre-stop.htpp: Unknown annotation; did you mean \"bookend/pre-stop.http\"?"]
        );
        assert_eq!(
            refused(&[("bookend/banana", "a")]),
            [
                "bookend/banana: Unknown annotation; known are pre-start, post-start, pre-stop, post-stop and grace-period, \
              stop-signal, hook-logs, lifecycle"
            ]
        );
        assert_eq!(refused(&[("bookend/", "a")]).len(), 1);
        for other in
            ["bookendx/pre-stop", "notbookend/pre-stop", "bookend", "bookend.io/pre-stop", "x/bookend/pre-stop"]
        {
            assert!(!from_annotations(&[(other, "a")]).unwrap().plan.has_hooks(), "{other}");
        }
    }

    #[test]
    fn v_28_a_policy_key_needs_its_hook() {
        assert_eq!(
            refused(&[("bookend/pre-stop.timeout", "1"), ("bookend/pre-stop.retries", "1")]),
            [
                "bookend/pre-stop.timeout: Invalid value: no such hook is defined",
                "bookend/pre-stop.retries: Invalid value: no such hook is defined",
            ]
        );
    }

    #[test]
    fn v_29_a_request_of_post_stop_names_its_host() {
        assert_eq!(
            refused(&[("bookend/post-stop.http", "http://:80/")]),
            ["bookend/post-stop.http: Required value: nothing listens in the container at this stage"]
        );
    }

    #[test]
    fn the_whole_object_is_json_or_base64() {
        let json = r#"{"lifecycle":{"preStop":{"httpGet":{"port":1,"httpHeaders":[{"name":"X","value":"é"}]}}}}"#;
        let encoded = "base64:eyJsaWZlY3ljbGUiOnsicHJlU3RvcCI6eyJodHRwR2V0Ijp7InBvcnQiOjEsImh0dHBIZWFkZXJzIjpbeyJuYW1l\n\
                       IjoiWCIsInZhbHVlIjoiw6kifV19fX19";
        let plans = [json, encoded].map(|value| from_annotations(&[("bookend/lifecycle", value)]).unwrap().plan);
        assert_eq!(plans[0], plans[1]);
        let Handler::HttpGet(get) = &plans[0].pre_stop.as_ref().unwrap().handler else { panic!("no httpGet") };
        assert_eq!(get.headers, [("X".to_owned(), "é".to_owned())]);
        assert_eq!(
            refused(&[("bookend/lifecycle", r#"{"lifecycle":{"prestop":{}}}"#)]),
            ["lifecycle.prestop: Unknown field; did you mean \"preStop\"?"]
        );
        assert_eq!(
            refused(&[("bookend/lifecycle", "{\"a\": 1,\n \"a\": 2}")]),
            ["annotation bookend/lifecycle:2:2: duplicate key \"a\", first on line 1"]
        );
    }

    #[test]
    fn s_15_hostile_values_are_refused_and_stay_on_one_line() {
        let deep = "[".repeat(100_000);
        let huge = "x".repeat(2 << 20);
        for value in [
            "{",
            "{\"a\":",
            "\0\u{1}\u{2}",
            deep.as_str(),
            huge.as_str(),
            "a: &a [*a]",
            "{}\n---\n{}",
            "[]",
            "base64:AA=A",
        ] {
            let found = refused(&[("bookend/lifecycle", value)]);
            assert!(found.iter().all(|line| !line.contains('\n') && line.len() < 300), "{found:?}");
        }
        assert_eq!(
            refused(&[("bookend/pre-stop", "a \0b")]),
            ["bookend/pre-stop[1]: Invalid value: \"\\x00b\": must not contain a NUL byte"]
        );
        let key = format!("bookend/{}\n", "y".repeat(5000));
        let found = refused(&[(&key, "x")]);
        assert!(found[0].len() < 300 && !found[0].contains('\n'), "{found:?}");
    }

    #[test]
    fn a_scoped_key_is_for_the_container_of_that_name_and_wins() {
        let text = include_str!("../../testdata/annotations/cri.json");
        let annotations: BTreeMap<String, String> = serde_json::from_str(text).unwrap();
        let mut pairs: Vec<(&str, &str)> = annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let plan = from_annotations(&pairs).unwrap().plan;
        assert_eq!((plan.container.as_str(), plan.grace_seconds), ("web", 60));
        let stop = plan.pre_stop.unwrap();
        assert_eq!(stop.handler, exec(&["/bin/sh", "-c", "kill -QUIT 1; sleep 1"]));
        assert_eq!((stop.source.as_str(), stop.policy.log), ("annotation web.bookend/pre-stop.shell", HookLog::Both));
        pairs.retain(|(key, _)| *key != CRI_NAME);
        let unnamed = from_annotations(&pairs).unwrap();
        assert_eq!(unnamed.plan.pre_stop.unwrap().handler, Handler::Sleep { seconds: 5 });
        assert_eq!(unnamed.warnings.len(), 2);
    }

    #[test]
    fn podmans_annotations_give_hooks() {
        let text = include_str!("../../testdata/annotations/podman.json");
        let annotations: BTreeMap<String, String> = serde_json::from_str(text).unwrap();
        let pairs: Vec<(&str, &str)> = annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let plan = from_annotations(&pairs).unwrap().plan;
        assert_eq!((plan.grace_seconds, plan.stop_signal, plan.container.as_str()), (40, Signal::QUIT, "c1"));
        assert_eq!(plan.post_start.unwrap().handler, http(Scheme::Http, None, 8080, "/warm"));
    }

    #[test]
    fn a_sandbox_has_no_hooks_and_an_images_labels_are_no_source() {
        for kind in [CRI_TYPE, CRIO_TYPE] {
            let annotations = [(kind, "sandbox"), ("bookend/pre-stop", "a"), ("bookend/x", "y")];
            assert!(!from_annotations(&annotations).unwrap().plan.has_hooks());
        }
        assert!(!from_annotations(&[("org.opencontainers.image.bookend/pre-stop", "a")]).unwrap().plan.has_hooks());
    }

    #[test]
    fn durations_are_gos() {
        for (text, ms) in [("1h", 3_600_000), ("1m30s", 90_000), ("1.5s", 1500), ("250ms", 250), ("1s1s", 2000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "1", "-1s", "1x", "1.2.3s", "99999999999999999999h", "1 s", "1µ"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn base64_is_rfc_4648() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmE", "fooba")] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        for text in ["Z", "Zg===", "Z-g=", "====", "Zg=a"] {
            assert_eq!(base64(text), None, "{text}");
        }
    }

    #[test]
    fn no_value_makes_a_panic() {
        use proptest::prelude::*;
        proptest!(ProptestConfig::with_cases(300), |(value in ".{0,40}", index in 0..HANDLERS.len() + POLICIES.len())| {
            let suffix = HANDLERS.iter().chain(&POLICIES).nth(index).unwrap();
            let _ = from_annotations(&[(&format!("bookend/pre-stop{suffix}"), &value)]); // either way is right
            let _ = from_annotations(&[("bookend/lifecycle", &value), ("bookend/grace-period", &value)]); // as above
        });
    }
}
