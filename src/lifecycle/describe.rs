//! A resolved plan for people and programs: `bookend hooks --resolve`.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::model::{Entry, Handler, Hook};
use super::source::Resolved;
use crate::foreign::{self, quote};

/// The plan as JSON, in Kubernetes' words. `hooks` is an object by hook name, with lists for preStart and postStop (L-08).
pub fn json(resolved: &Resolved) -> Value {
    let plan = &resolved.plan;
    let mut hooks = Map::new();
    for hook in Hook::ALL {
        let mut entries: Vec<Value> = plan.entries(hook).iter().map(entry).collect();
        if hook.is_list() && !entries.is_empty() {
            hooks.insert(hook.name().to_owned(), Value::Array(entries));
        } else if let Some(entry) = entries.pop() {
            hooks.insert(hook.name().to_owned(), entry);
        }
    }
    json!({
        "container": plan.container,
        "origin": resolved.origin,
        "terminationGracePeriodSeconds": plan.grace_seconds,
        "stopSignal": plan.stop_signal.to_string(),
        "hooks": hooks,
        "warnings": resolved.warnings,
    })
}

fn entry(entry: &Entry) -> Value {
    let handler = match &entry.handler {
        Handler::Exec { command } => json!({ "command": command }),
        Handler::HttpGet(get) => {
            let headers: Vec<Value> =
                get.headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
            json!({ "scheme": get.scheme, "host": get.host, "port": get.port, "path": get.path, "httpHeaders": headers })
        }
        Handler::TcpSocket { host, port } => json!({ "host": host, "port": port }),
        Handler::Sleep { seconds } => json!({ "seconds": seconds }),
    };
    let policy = &entry.policy;
    let mut value = Map::new();
    value.insert(entry.handler.name().to_owned(), handler);
    value.insert(
        "policy".to_owned(),
        json!({
            "timeoutSeconds": number(policy.timeout.unwrap_or_default()),
            "retries": policy.retries,
            "retryDelaySeconds": number(policy.retry_delay),
            "onFailure": policy.on_failure,
            "successStatus": policy.success_status,
            "log": policy.log,
            "injectEnv": policy.inject_env,
        }),
    );
    value.insert("source".to_owned(), json!(entry.source));
    Value::Object(value)
}

/// Seconds, whole where they are.
fn number(span: Duration) -> Value {
    if span.subsec_nanos() == 0 { json!(span.as_secs()) } else { json!(span.as_secs_f64()) }
}

/// The plan as a small table.
pub fn text(resolved: &Resolved) -> String {
    let plan = &resolved.plan;
    let mut rows = vec![["HOOK", "HANDLER", "TIMEOUT", "RETRIES", "ON FAILURE", "FROM"].map(str::to_owned)];
    for hook in Hook::ALL {
        let entries = plan.entries(hook);
        for (index, entry) in entries.iter().enumerate() {
            let name = if hook.is_list() { format!("{hook}[{index}]") } else { hook.to_string() };
            let timeout = entry.policy.timeout.map_or("none".to_owned(), |limit| format!("{}s", number(limit)));
            let on_failure = format!("{:?}", entry.policy.on_failure).to_lowercase();
            let retries = entry.policy.retries.to_string();
            rows.push([name, summary(&entry.handler), timeout, retries, on_failure, foreign::legible(&entry.source)]);
        }
    }
    let mut table = format!(
        "container:    {}\nhooks from:   {}\ngrace period: {}s\nstop signal:  {}\n",
        foreign::legible(&plan.container),
        foreign::legible(&resolved.origin),
        plan.grace_seconds,
        plan.stop_signal
    );
    if rows.len() > 1 {
        table.push('\n');
        let widths: Vec<usize> =
            (0..5).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
        for row in &rows {
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(table, "{cell:<width$}  "); // a String takes every write
            }
            table.push_str(&row[5]);
            table.push('\n');
        }
    }
    for warning in &resolved.warnings {
        let _ = writeln!(table, "warning: {warning}"); // as above
    }
    table
}

/// A handler in one short line: `exec /bin/sh -c "sleep 10"`, `httpGet http://:8080/drain`.
pub fn summary(handler: &Handler) -> String {
    const WIDTH: usize = 60;
    let text = in_full(handler);
    if text.chars().count() <= WIDTH { text } else { text.chars().take(WIDTH - 3).chain("...".chars()).collect() }
}

/// The same, however long it is.
pub fn in_full(handler: &Handler) -> String {
    match handler {
        Handler::Exec { command } => {
            let plain = |word: &String| {
                !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic() && !"\"'\\$`;&|<>()*?".contains(c))
            };
            let words: Vec<String> =
                command.iter().map(|word| if plain(word) { word.clone() } else { quote(word) }).collect();
            format!("exec {}", words.join(" "))
        }
        Handler::HttpGet(get) => {
            let scheme = format!("{:?}", get.scheme).to_lowercase();
            let slash = if get.path.starts_with('/') { "" } else { "/" };
            let address = address(get.host.as_deref(), get.port);
            format!("httpGet {}", foreign::legible(&format!("{scheme}://{address}{slash}{}", get.path)))
        }
        Handler::TcpSocket { host, port } => format!("tcpSocket {}", address(host.as_deref(), *port)),
        Handler::Sleep { seconds } => format!("sleep {seconds}s"),
    }
}

fn address(host: Option<&str>, port: u16) -> String {
    match host {
        Some(host) if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{}:{port}", host.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::source::fixture::from_annotations;

    fn resolved() -> Resolved {
        from_annotations(&[
            ("bookend/pre-start", "/bin/migrate"),
            ("bookend/post-start.http", "http://:8080/warm"),
            ("bookend/pre-stop.shell", "sleep 1; echo '\u{1b}[31m'"),
            ("bookend/pre-stop.timeout", "1.5"),
            ("bookend/post-stop.tcp", "[::1]:9"),
            ("bookend/stop-signal", "SIGWINCH"),
        ])
        .unwrap()
    }

    #[test]
    fn the_json_has_kubernetes_words() {
        let json = json(&resolved());
        assert_eq!(json["stopSignal"], "SIGWINCH");
        assert_eq!(json["terminationGracePeriodSeconds"], 30);
        assert_eq!(json["origin"], "annotations of config.json");
        assert_eq!(json["hooks"]["preStart"][0]["exec"]["command"], json!(["/bin/migrate"]));
        assert_eq!(json["hooks"]["preStart"][0]["policy"]["timeoutSeconds"], 60);
        assert_eq!(json["hooks"]["postStart"]["httpGet"]["scheme"], "HTTP");
        assert_eq!(json["hooks"]["preStop"]["policy"]["timeoutSeconds"], 1.5);
        assert_eq!(json["hooks"]["preStop"]["policy"]["successStatus"], "any");
        assert_eq!(json["warnings"][0].as_str().unwrap().split(':').next(), Some("bookend/stop-signal"));
    }

    #[test]
    fn the_table_has_a_line_for_each_handler_and_no_control_characters() {
        let text = text(&resolved());
        for part in [
            "container:    c1\n",
            "grace period: 30s\nstop signal:  SIGWINCH\n",
            "preStart[0]",
            "exec /bin/migrate ",
            "httpGet http://:8080/warm ",
            "exec /bin/sh -c \"sleep 1; echo '\\x1b[31m'\"",
            "tcpSocket [::1]:9 ",
            "annotation bookend/post-stop.tcp\n",
            "\nwarning: bookend/stop-signal: SIGWINCH does not end a process",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }
}
