//! Findings for people: a line each, and a summary.

use std::io::IsTerminal;

use super::message;
use crate::check::{Finding, Report};
use crate::foreign::legible;
use crate::lifecycle::rule::Severity;

/// Whether colours would be seen: by a terminal, and by who did not ask for none (`NO_COLOR`).
pub fn is_coloured() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

/// `file:line:col: severity id: sentence; cure`
pub fn findings(report: &Report, coloured: bool) -> String {
    report.findings.iter().map(|finding| line(finding, coloured) + "\n").collect()
}

fn line(finding: &Finding, coloured: bool) -> String {
    let place = match finding.at {
        Some(at) => format!("{}:{}:{}", legible(&finding.file), at.line, at.column),
        None => legible(&finding.file),
    };
    let severity = match (coloured, finding.severity) {
        (false, severity) => severity.name().to_owned(),
        (true, Severity::Error) => "\x1b[1;31merror\x1b[0m".to_owned(),
        (true, Severity::Warning) => "\x1b[33mwarning\x1b[0m".to_owned(),
        (true, Severity::Info) => "\x1b[36minfo\x1b[0m".to_owned(),
    };
    format!("{place}: {severity} {}: {}", finding.rule, message(finding))
}

/// `2 errors, 1 warning: 3 files, 14 containers, 5 hooks`
pub fn summary(report: &Report) -> String {
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let found = match (errors, warnings) {
        (0, 0) => "no findings".to_owned(),
        (errors, 0) => count(errors, "error"),
        (0, warnings) => count(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    };
    let seen = [count(report.files, "file"), count(report.containers, "container"), count(report.hooks, "hook")];
    format!("{found} in {}", seen.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::rule::Rule;
    use crate::lifecycle::tree::Mark;

    pub fn finding() -> Finding {
        Finding {
            file: "a\nb.yaml".to_owned(),
            at: Some(Mark { line: 3, column: 7 }),
            severity: Severity::Error,
            rule: Rule::SecondHandler,
            workload: None,
            container: None,
            sentence: "lifecycle.preStop.sleep: Forbidden".to_owned(),
            cure: "keep one of them".to_owned(),
        }
    }

    #[test]
    fn a_finding_is_one_line() {
        assert_eq!(
            line(&finding(), false),
            "a b.yaml:3:7: error BE002: lifecycle.preStop.sleep: Forbidden; keep one of them"
        );
        let bare = Finding { at: None, cure: String::new(), ..finding() };
        assert_eq!(line(&bare, false), "a b.yaml: error BE002: lifecycle.preStop.sleep: Forbidden");
        assert!(line(&finding(), true).contains("\x1b[1;31merror\x1b[0m BE002"));
    }

    #[test]
    fn the_summary_counts() {
        let mut report = Report { files: 1, containers: 2, hooks: 3, ..Report::default() };
        assert_eq!(summary(&report), "no findings in 1 file, 2 containers, 3 hooks");
        report.findings.push(finding());
        assert_eq!(summary(&report), "1 error in 1 file, 2 containers, 3 hooks");
        report.findings.extend(
            [Severity::Warning, Severity::Warning, Severity::Info].map(|severity| Finding { severity, ..finding() }),
        );
        assert_eq!(summary(&report), "1 error, 2 warnings in 1 file, 2 containers, 3 hooks");
    }
}
