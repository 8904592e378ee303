//! Findings in SARIF 2.1.0, which code scanning services and editors read.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::message;
use crate::check::{Finding, Report};
use crate::lifecycle::rule::{Facts, RULES, Severity};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

pub fn log(report: &Report) -> Value {
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "bookend",
                    "version": env!("CARGO_PKG_VERSION"),
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": RULES.iter().map(rule).collect::<Vec<_>>(),
                },
            },
            "columnKind": "unicodeCodePoints",
            "invocations": [{ "executionSuccessful": !report.unreadable, "exitCode": report.exit_code() }],
            "results": report.findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn rule(facts: &Facts) -> Value {
    let mut rule = json!({
        "id": facts.rule.to_string(),
        "name": facts.name,
        "shortDescription": { "text": facts.title },
    });
    if !facts.cure.is_empty() {
        rule["help"] = json!({ "text": format!("{}.", facts.cure) });
    }
    rule
}

fn result(finding: &Finding) -> Value {
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let mut place = Map::new();
    place.insert("artifactLocation".to_owned(), json!({ "uri": uri(&finding.file) }));
    if let Some(at) = finding.at {
        place.insert("region".to_owned(), json!({ "startLine": at.line, "startColumn": at.column }));
    }
    let mut location = json!({ "physicalLocation": place });
    let names = [finding.workload.as_deref(), finding.container.as_deref()];
    let names: Vec<&str> = names.into_iter().flatten().collect();
    if !names.is_empty() {
        location["logicalLocations"] = json!([{ "fullyQualifiedName": names.join("/"), "kind": "resource" }]);
    }
    json!({
        "ruleId": finding.rule.to_string(),
        "ruleIndex": finding.rule as usize,
        "level": level,
        "message": { "text": message(finding) },
        "locations": [location],
    })
}

/// A file's name as a reference of RFC 3986, relative where the name is.
fn uri(file: &str) -> String {
    let path = file.strip_prefix("./").unwrap_or(file);
    let prefix = if Path::new(path).is_absolute() { "file://" } else { "" };
    let mut uri = prefix.to_owned();
    for byte in Path::new(path).as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_is_a_reference() {
        for (file, expected) in [
            ("./k8s/web.yaml", "k8s/web.yaml"),
            ("../a b#c?.yaml", "../a%20b%23c%3F.yaml"),
            ("/tmp/é:%.yaml", "file:///tmp/%C3%A9%3A%25.yaml"),
            ("standard input", "standard%20input"),
        ] {
            assert_eq!(uri(file), expected);
        }
    }
}
