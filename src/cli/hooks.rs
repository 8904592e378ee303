//! `bookend hooks ID`: a table of the container's hooks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use super::args::{Global, Hooks, TableFormat};
use super::{lookup, with_code};
use crate::container::bundle::Bundle;
use crate::foreign::legible;
use crate::lifecycle::describe;
use crate::lifecycle::file::documents;
use crate::lifecycle::source::{Resolved, Sources, resolve};
use crate::lifecycle::status::{HookStatus, Status};
use crate::lifecycle::timeline::seconds;
use crate::lifecycle::validate::Problems;
use crate::wall::parse_rfc3339;

const TITLES: [&str; 8] = ["HOOK", "HANDLER", "STATE", "STARTED", "TOOK", "ATTEMPTS", "EXIT CODE", "REASON"];

pub fn run(global: &Global, args: &Hooks) -> Result<u8> {
    let resolving = args.resolve;
    match (&args.subject, resolving) {
        (subject, true) => print_resolved(args, subject.as_deref().map(Path::new))?,
        (None, false) => {
            return Err(with_code(2, anyhow!("hooks: name a container, or give --resolve with a file or bundle")));
        }
        (Some(id), false) => {
            let id = id.parse().map_err(|error: String| anyhow!(error))?;
            let dir = lookup::records(global, &id, args.previous)?;
            let status = Status::load(&dir)?;
            match args.format {
                TableFormat::Table => print!("{}", render(&status, crate::linux::clock::wall())),
                TableFormat::Json => println!("{:#}", json(&status)),
            }
        }
    }
    Ok(0)
}

/// `hooks --resolve`: what the sources say, and which of them won.
fn print_resolved(args: &Hooks, file: Option<&Path>) -> Result<()> {
    let resolved = match (&args.bundle, file) {
        (Some(bundle), None) => {
            let bundle = Bundle::load(bundle)?;
            let annotations = bundle.config.annotations().clone().unwrap_or_default().into_iter().collect();
            resolved(&annotations, &bundle.dir, None, args.container.as_deref())?
        }
        (None, Some(file)) => {
            resolved(&BTreeMap::new(), Path::new("/nonexistent"), Some(file), args.container.as_deref())?
        }
        _ => bail!(with_code(2, anyhow!("hooks --resolve: give a Pod or lifecycle file, or --bundle DIR"))),
    };
    resolved.warnings.iter().for_each(|warning| eprintln!("bookend: warning: {warning}"));
    match args.format {
        TableFormat::Table => print!("{}", describe::text(&resolved)),
        TableFormat::Json => println!("{:#}", describe::json(&resolved)),
    }
    Ok(())
}

/// A file with `kind` is a Pod or a workload; one without is a lifecycle file.
fn resolved(
    annotations: &BTreeMap<String, String>,
    bundle: &Path,
    file: Option<&Path>,
    container: Option<&str>,
) -> Result<Resolved> {
    // What can be read only once is taken for a Pod, and so is what cannot be read: the error is the same.
    let is_pod = |path: &Path| {
        let documents = path.is_file().then(|| documents(path, &mut Problems::default())).flatten();
        documents.is_none_or(|documents| documents.iter().any(|document| document.get("kind").is_some()))
    };
    let (pod, lifecycle) = match file {
        Some(path) if is_pod(path) => (file, None),
        _ => (None, file),
    };
    let id = container.unwrap_or("container");
    Ok(resolve(&Sources { pod, container, lifecycle, annotations, bundle, id, flags_are_global: false })?)
}

/// The table, a row a handler; `wall` is the present wall time, up to which a running hook has taken.
pub fn render(status: &Status, wall: Duration) -> String {
    let mut rows = vec![TITLES.map(str::to_owned)];
    for (hook, entry, state) in status.entries() {
        let list = hook.is_list() && status.entry(hook, 1).is_some();
        let name = if list { format!("{hook}[{entry}]") } else { hook.name().to_owned() };
        rows.push([
            name,
            state.handler.clone(),
            state.state.name().to_owned(),
            // To the second: who needs more asks for JSON.
            state.started_at.as_deref().and_then(|time| time.get(..19)).map_or_else(dash, |time| format!("{time}Z")),
            took(state, wall).map_or_else(dash, seconds),
            state.attempts.to_string(),
            state.exit_code.map_or_else(dash, |code| code.to_string()),
            state.reason.as_deref().filter(|reason| !reason.is_empty()).map_or_else(dash, legible),
        ]);
    }
    table(&rows)
}

fn dash() -> String {
    "-".to_owned()
}

/// From the first attempt's start to the last one's end.
fn took(state: &HookStatus, wall: Duration) -> Option<Duration> {
    let started = parse_rfc3339(state.started_at.as_deref()?)?;
    let end = state.finished_at.as_deref().and_then(parse_rfc3339).unwrap_or(wall);
    Some(end.saturating_sub(started))
}

/// Rows with their columns aligned.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    aligned(rows, 0, 2)
}

/// The same with columns of at least so many characters, of which so many are blank at the end.
pub fn aligned<const N: usize>(rows: &[[String; N]], least: usize, blank: usize) -> String {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count() + blank).max().unwrap_or(0).max(least);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<String>().trim_end();
        text.push('\n');
    }
    text
}

/// What `--format json` prints: `phase`, `hooks` (L-08) and `exit`, as in the state.
pub fn json(status: &Status) -> Value {
    let mut value = serde_json::json!({ "phase": status.phase, "hooks": status.hooks });
    if let Some(exit) = &status.exit {
        value["exit"] = serde_json::json!(exit);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        serde_json::from_value(serde_json::json!({
            "phase": "Stopping",
            "hooks": {
                "preStart": [
                    { "state": "Succeeded", "handler": "exec", "attempts": 2, "exitCode": 0,
                      "startedAt": "2026-01-01T00:00:00.250000000Z", "finishedAt": "2026-01-01T00:00:01.500000000Z" },
                    { "state": "Failed", "handler": "exec", "attempts": 1, "exitCode": 3, "reason": "exit code 3",
                      "startedAt": "2026-01-01T00:00:01.500000000Z", "finishedAt": "2026-01-01T00:00:01.600000000Z",
                      "error": "command '/bin/x' exited with 3: secret" },
                ],
                "preStop": { "state": "Running", "handler": "httpGet", "attempts": 1, "startedAt": "2026-01-01T00:00:10.000000000Z" },
                "postStop": [{ "state": "Pending", "handler": "sleep", "attempts": 0 }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_table_has_a_row_for_each_handler() {
        let now = parse_rfc3339("2026-01-01T00:00:22.000000000Z").unwrap();
        let expected = "\
HOOK         HANDLER  STATE      STARTED               TOOK   ATTEMPTS  EXIT CODE  REASON
preStart[0]  exec     Succeeded  2026-01-01T00:00:00Z  1.25s  2         0          -
preStart[1]  exec     Failed     2026-01-01T00:00:01Z  0.10s  1         3          exit code 3
preStop      httpGet  Running    2026-01-01T00:00:10Z  12.0s  1         -          -
postStop     sleep    Pending    -                     -      0         -          -
";
        assert_eq!(render(&status(), now), expected);
    }

    #[test]
    fn the_json_is_that_of_the_state() {
        let json = json(&status());
        assert_eq!(json["phase"], "Stopping");
        assert_eq!(json["hooks"]["preStart"][1]["exitCode"], 3);
        assert_eq!(json.as_object().unwrap().len(), 2);
    }
}
