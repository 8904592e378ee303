//! The result of a rehearsal as text, JSON, TAP and as annotations of GitHub.

use std::fmt::Write;

use serde_json::{Value, json};

use super::super::hooks;
use super::verdict::{Check, Verdict, stop_took};
use crate::foreign::legible;
use crate::lifecycle::timeline::Life;

/// The failures' stories with the pictures between them, then a line for each check.
pub fn text(verdicts: &[Verdict], quiet: bool, picture: &str) -> String {
    let mut text = String::new();
    if !quiet {
        let told = |check: &&Check| !check.story.is_empty();
        for check in verdicts.iter().flat_map(|verdict| &verdict.checks).filter(told) {
            let _ = write!(text, "\n{}", check.story); // a String takes every write
        }
        let _ = write!(text, "\n{picture}\n");
    }
    match verdicts {
        [one] => {
            text += &checks(one, "");
            let _ = writeln!(text, "{}: {}", one.player.label, word(one.passed()));
        }
        several => {
            for one in several {
                let _ = write!(text, "{}: {}\n{}", one.player.label, word(one.passed()), checks(one, "  "));
            }
            let failed: Vec<&str> =
                several.iter().filter(|one| !one.passed()).map(|one| one.player.label.as_str()).collect();
            let _ = match failed.len() {
                0 => writeln!(text, "\npassed: all {} containers", several.len()),
                number => writeln!(text, "\nfailed: {number} of {} containers: {}", several.len(), failed.join(", ")),
            };
        }
    }
    text
}

fn checks(verdict: &Verdict, indent: &str) -> String {
    let line = |check: &Check| format!("{indent}{}  {}\n", if check.good { "ok    " } else { "FAILED" }, check.text);
    let notes = verdict.notes.iter().map(|note| format!("{indent}note    {note}\n"));
    verdict.checks.iter().map(line).chain(notes).collect()
}

fn word(passed: bool) -> &'static str {
    if passed { "passed" } else { "failed" }
}

/// The shape is part of the interface (docs/test.md): fields are added, never renamed.
pub fn json(verdicts: &[Verdict]) -> Value {
    let containers: Vec<Value> = verdicts.iter().map(container).collect();
    json!({ "passed": verdicts.iter().all(Verdict::passed), "containers": containers })
}

fn container(verdict: &Verdict) -> Value {
    let player = verdict.player;
    let mut value = json!({
        "container": player.chosen.name,
        "pod": player.pod,
        "file": player.chosen.file(),
        "role": player.part.role,
        "passed": verdict.passed(),
        "checks": verdict.checks.iter().map(check).collect::<Vec<_>>(),
        "notes": verdict.notes,
    });
    if let Some(act) = &verdict.act {
        let status = hooks::json(&act.status);
        value["hooks"] = status["hooks"].clone();
        value["exit"] = status["exit"].clone();
        value["exitCode"] = json!(act.exit_code);
        value["stopSeconds"] = json!(stop_took(act).map(|took| took.as_secs_f64()));
        value["timeline"] = Life::of(&act.records, None).map_or(Value::Null, |life| life.json());
    }
    value
}

fn check(check: &Check) -> Value {
    json!({
        "name": check.name,
        "passed": check.good,
        "text": check.text,
        "story": (!check.story.is_empty()).then_some(&check.story),
        "seconds": check.took.map(|took| took.as_secs_f64()),
        "line": check.place.line,
        "column": check.place.column,
    })
}

/// TAP 14: a subtest for each container.
pub fn tap(verdicts: &[Verdict]) -> String {
    let mut text = format!("TAP version 14\n1..{}\n", verdicts.len());
    for (number, verdict) in verdicts.iter().enumerate() {
        let label = tap_words(&verdict.player.label);
        let _ = writeln!(text, "# Subtest: {label}\n    1..{}", verdict.checks.len());
        for (number, check) in verdict.checks.iter().enumerate() {
            let _ = writeln!(text, "    {}ok {} - {}", not(check.good), number + 1, tap_words(&check.text));
            if !check.good {
                text += &diagnostics(verdict, check);
            }
        }
        for note in &verdict.notes {
            let _ = writeln!(text, "    # {}", legible(note));
        }
        let _ = writeln!(text, "{}ok {} - {label}", not(verdict.passed()), number + 1);
    }
    text
}

fn not(good: bool) -> &'static str {
    if good { "" } else { "not " }
}

/// A description may hold neither a directive nor a line's end.
fn tap_words(text: &str) -> String {
    legible(text).replace('\\', "\\\\").replace('#', "\\#")
}

/// A YAML block; a JSON string is a YAML string.
fn diagnostics(verdict: &Verdict, check: &Check) -> String {
    let mut text = "      ---\n".to_owned();
    let _ = writeln!(text, "      file: {}", json!(verdict.player.chosen.file()));
    let _ = writeln!(text, "      line: {}\n      column: {}", check.place.line, check.place.column);
    if !check.story.is_empty() {
        let _ = writeln!(text, "      message: {}", json!(check.story.trim_end()));
    }
    text + "      ...\n"
}

/// Workflow commands, so that a failure is shown at its stanza.
pub fn github(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for verdict in verdicts {
        let file = property(verdict.player.chosen.file());
        let at = |check: &Check| format!("file={file},line={},col={}", check.place.line, check.place.column);
        for check in verdict.checks.iter().filter(|check| !check.good) {
            let title = property(&format!("{}: {}", verdict.player.label, check.name));
            let story = if check.story.is_empty() { &check.text } else { check.story.trim_end() };
            let _ = writeln!(text, "::error {},title={title}::{}", at(check), message(story));
        }
        let place = verdict.player.chosen.place();
        for note in &verdict.notes {
            let at = format!("file={file},line={},col={}", place.line, place.column);
            let _ = writeln!(text, "::notice {at},title={}::{}", property(&verdict.player.label), message(note));
        }
        let _ = writeln!(text, "{}: {}", legible(&verdict.player.label), word(verdict.passed()));
    }
    text
}

/// The runner's own escapes; a line's end would end the command.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_workflow_command_is_escaped() {
        assert_eq!(message("50%\nnext"), "50%25%0Anext");
        assert_eq!(property("a: b, c\n"), "a%3A b%2C c%0A");
    }

    #[test]
    fn a_tap_description_has_no_directive_in_it() {
        assert_eq!(tap_words("ok # skip this\nnot ok"), "ok \\# skip this not ok");
    }
}
