//! Findings for programs (docs/check.md): fields are added, never changed.

use serde_json::{Value, json};

use crate::check::Report;
use crate::lifecycle::rule::Severity;

pub fn report(report: &Report) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "id": finding.rule.to_string(),
                "rule": finding.rule.facts().name,
                "severity": finding.severity.name(),
                "file": finding.file,
                "line": finding.at.map(|at| at.line),
                "column": finding.at.map(|at| at.column),
                "workload": finding.workload,
                "container": finding.container,
                "message": finding.sentence,
                "cure": Some(&finding.cure).filter(|cure| !cure.is_empty()),
            })
        })
        .collect();
    json!({
        "version": 1,
        "findings": findings,
        "summary": {
            "files": report.files,
            "containers": report.containers,
            "hooks": report.hooks,
            "errors": report.count(Severity::Error),
            "warnings": report.count(Severity::Warning),
            "infos": report.count(Severity::Info),
            "exitCode": report.exit_code(),
        },
    })
}
