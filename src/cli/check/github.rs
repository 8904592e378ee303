//! Findings as annotations of a GitHub workflow: commands that its runner reads from what a step prints.

use super::message;
use crate::check::{Finding, Report};
use crate::lifecycle::rule::Severity;

pub fn annotations(report: &Report) -> String {
    report.findings.iter().map(annotation).collect()
}

fn annotation(finding: &Finding) -> String {
    let command = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "notice",
    };
    let place = finding.at.map(|at| format!(",line={},col={}", at.line, at.column)).unwrap_or_default();
    let title = format!("{} {}", finding.rule, finding.rule.facts().title);
    format!(
        "::{command} file={}{place},title={}::{}\n",
        property(finding.file.strip_prefix("./").unwrap_or(&finding.file)),
        property(&title),
        escaped(&message(finding))
    )
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// In a property `:` and `,` would end it.
fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::rule::Rule;
    use crate::lifecycle::tree::Mark;

    #[test]
    fn nothing_in_a_finding_ends_the_command_or_begins_another() {
        let finding = Finding {
            file: "a:b,c\n::error::x".to_owned(),
            at: Some(Mark { line: 3, column: 7 }),
            severity: Severity::Info,
            rule: Rule::SameHookTwice,
            workload: None,
            container: None,
            sentence: "50% of it\r\n::warning::y".to_owned(),
            cure: String::new(),
        };
        assert_eq!(
            annotation(&finding),
            "::notice file=a%3Ab%2Cc%0A%3A%3Aerror%3A%3Ax,line=3,col=7,title=BE012 The same hook is given by stanza and \
             by annotation::50%25 of it%0D%0A::warning::y\n"
        );
    }
}
