//! What people read when a hook did not succeed (interface.md section 7).

use std::fmt::Write;
use std::time::Duration;

use super::journal::Record;
use super::model::{Entry, Handler, Hook, Scheme};
use super::status::class;
use super::time::Instant;
use super::timeline::seconds;
use crate::foreign::legible;

/// The end of a hook's stderr, made safe for a terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stderr {
    pub lines: Vec<String>,
    /// How many lines there were in all.
    pub total: usize,
    /// Whether there is anything that was printed, on stdout or here.
    pub printed: bool,
}

/// The whole story of a hook that did not succeed, without the `bookend: ` in front.
///
/// `records` is the journal so far and `ended` the record in it that ended the hook. Empty `stderr` (`log: none`, or a
/// handler that has none) leaves its lines out. Header values are never shown (threats.md S22).
pub fn hook_failed(id: &str, hook: Hook, entry: &Entry, ended: &Record, records: &[Record], stderr: &Stderr) -> String {
    let notice = &ended.notice;
    let verb = match notice.outcome.as_deref() {
        Some("Interrupted") => "was interrupted",
        Some("TimedOut") => "timed out",
        Some("Skipped") => "was skipped",
        _ => "failed",
    };
    let after = notice.duration_ms.map(|ms| format!(" after {}", brief(Duration::from_millis(ms)))).unwrap_or_default();
    let class = class(&notice.message).trim_end_matches("(ignored)").trim_end();
    let cause = if class.is_empty() || class.starts_with("timed out") { String::new() } else { format!(": {class}") };
    let mut text = format!("{hook} hook of container \"{}\" {verb}{after}{cause}\n", legible(&ended.container));

    let what = describe(&entry.handler);
    let _ = writeln!(text, "  {what:<38} ({})", entry.source);
    if !stderr.lines.is_empty() {
        let plural = if stderr.total == 1 { "line" } else { "lines" };
        let _ = writeln!(text, "  stderr (last {} of {} {plural}):", stderr.lines.len(), stderr.total);
        for line in &stderr.lines {
            let _ = writeln!(text, "    | {line}");
        }
    }
    if let Some(aftermath) = aftermath(hook, notice.message.ends_with("(ignored)"), records) {
        let _ = writeln!(text, "  {aftermath}");
    }
    if notice.log_path.is_some() && stderr.printed {
        let _ = writeln!(text, "  full output: bookend logs {id} --hook {hook}");
    }
    text
}

/// What the handler does, in one line that can be pasted into a shell where it is a command.
fn describe(handler: &Handler) -> String {
    match handler {
        Handler::Exec { command } => {
            let words = command.iter().map(|word| legible(word));
            let words: Vec<String> = words.collect();
            let line = shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "));
            format!("command: {line}")
        }
        Handler::HttpGet(get) => {
            let scheme = if get.scheme == Scheme::Https { "https" } else { "http" };
            let host = get.host.as_deref().unwrap_or("");
            let slash = if get.path.starts_with('/') { "" } else { "/" };
            format!("request: GET {scheme}://{host}:{}{slash}{}", get.port, get.path)
        }
        Handler::TcpSocket { host, port } => format!("connection: {}:{port}", host.as_deref().unwrap_or("")),
        Handler::Sleep { seconds } => format!("sleep: {seconds}s"),
    }
}

/// What became of the container. Times count from the stop.
fn aftermath(hook: Hook, ignored: bool, records: &[Record]) -> Option<String> {
    let find = |reason: &str| records.iter().find(|record| record.notice.reason == reason);
    let executed = find("EntrypointExecuted").is_some();
    match hook {
        Hook::PreStart if !executed => return Some("the container was never started".to_owned()),
        Hook::PreStart | Hook::PostStart if ignored => {
            return Some("the container runs on (onFailure: ignore)".to_owned());
        }
        Hook::PostStop => return None,
        _ => {}
    }
    let stop = records.iter().find(|record| matches!(record.notice.reason.as_str(), "StopRequested" | "Killing"));
    let exited = find("Exited")?;
    let Some(stop) = stop else { return Some(format!("the container had exited by itself ({})", exit(exited))) };
    let since = |at: Instant| format!("+{}", brief(at - stop.monotonic_ns));
    let sent = find("SignalSent").map(|sent| {
        let signal = sent.notice.signal.as_deref().unwrap_or("stop signal");
        format!("{signal} at {}, ", since(sent.monotonic_ns))
    });
    let killed = find("SigkillSent").map(|sent| format!("SIGKILL at {}, ", since(sent.monotonic_ns)));
    let anyway = if hook == Hook::PreStop { " anyway" } else { "" };
    Some(format!(
        "the container was stopped{anyway} ({}{}{} at {})",
        sent.unwrap_or_default(),
        killed.unwrap_or_default(),
        exit(exited),
        since(exited.monotonic_ns)
    ))
}

fn exit(record: &Record) -> String {
    record.notice.code.map_or_else(|| "exit code unknown".to_owned(), |code| format!("exit code {code}"))
}

/// A tenth of a second is enough in a sentence.
fn brief(span: Duration) -> String {
    match span.as_millis() {
        100..60_000 => format!("{:.1}s", span.as_secs_f64()),
        _ => seconds(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::journal::stamp;
    use crate::lifecycle::model::{HttpGet, Policy};
    use crate::lifecycle::notice::Notice;

    fn at(seconds: f64, notice: Notice) -> Record {
        stamp(notice, "web", Instant((seconds * 1e9) as u64), "boot")
    }

    fn failed(hook: Hook, outcome: &str, message: &str) -> Record {
        at(
            10.2,
            Notice {
                hook: Some(hook),
                outcome: Some(outcome.into()),
                duration_ms: Some(1200),
                log_path: Some("/run/bookend/web/hooks/x.log".into()),
                ..Notice::warning("Failed...Hook", message)
            },
        )
    }

    fn entry(hook: Hook, handler: Handler) -> Entry {
        Entry { handler, policy: Policy::default_of(hook), source: "annotation bookend/pre-stop".into() }
    }

    fn stopped() -> Vec<Record> {
        vec![
            at(0.0, Notice::normal("EntrypointExecuted", "")),
            at(9.0, Notice::normal("StopRequested", "")),
            at(10.2, Notice { signal: Some("SIGTERM".into()), ..Notice::normal("SignalSent", "") }),
            at(10.9, Notice { code: Some(0), ..Notice::normal("Exited", "") }),
        ]
    }

    #[test]
    fn a_failed_pre_stop_is_told_as_the_interface_has_it() {
        let entry =
            entry(Hook::PreStop, Handler::Exec { command: ["/bin/drain", "--wait", "20"].map(String::from).into() });
        let stderr =
            Stderr { lines: vec!["connecting to db...".into(), "db not reachable".into()], total: 2, printed: true };
        let ended = failed(Hook::PreStop, "Failed", "PreStopHook failed: exit code 3");
        let expected = "\
preStop hook of container \"web\" failed after 1.2s: exit code 3
  command: /bin/drain --wait 20          (annotation bookend/pre-stop)
  stderr (last 2 of 2 lines):
    | connecting to db...
    | db not reachable
  the container was stopped anyway (SIGTERM at +1.2s, exit code 0 at +1.9s)
  full output: bookend logs web --hook preStop
";
        assert_eq!(hook_failed("web", Hook::PreStop, &entry, &ended, &stopped(), &stderr), expected);
        let silent = hook_failed("web", Hook::PreStop, &entry, &ended, &stopped(), &Stderr::default());
        assert!(!silent.contains("full output"), "{silent}");
    }

    #[test]
    fn each_handler_and_outcome_has_its_words() {
        let get = HttpGet {
            scheme: Scheme::Http,
            host: None,
            port: 8080,
            path: "drain".into(),
            headers: vec![("Authorization".into(), "secret".into())],
        };
        let tell = |hook, handler, outcome, message, records: &[Record]| {
            hook_failed(
                "web",
                hook,
                &entry(hook, handler),
                &failed(hook, outcome, message),
                records,
                &Stderr::default(),
            )
        };
        let text = tell(
            Hook::PostStart,
            Handler::HttpGet(get),
            "Failed",
            "PostStartHook failed: connection failed (ignored)",
            &[],
        );
        assert!(text.contains("failed after 1.2s: connection failed\n  request: GET http://:8080/drain "), "{text}");
        assert!(text.contains("runs on (onFailure: ignore)") && !text.contains("secret"), "{text}");

        let tcp = Handler::TcpSocket { host: Some("db".into()), port: 5432 };
        let text = tell(Hook::PreStart, tcp, "TimedOut", "PreStartHook failed: timed out after 1s", &[]);
        assert!(text.contains("timed out after 1.2s\n  connection: db:5432 "), "{text}");
        assert!(text.contains("the container was never started"), "{text}");

        let own_end = vec![at(0.0, Notice::normal("EntrypointExecuted", "")), stopped().remove(3)];
        let text = tell(Hook::PostStart, Handler::Sleep { seconds: 5 }, "Interrupted", "x: container exited", &own_end);
        assert!(text.contains("was interrupted after 1.2s: container exited\n  sleep: 5s "), "{text}");
        assert!(text.contains("had exited by itself (exit code 0)"), "{text}");
    }
}
