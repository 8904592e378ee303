//! The result of a rehearsal as a JUnit report: a suite for each container, a case for each check.

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::verdict::{Check, Verdict};

pub fn report(verdicts: &[Verdict]) -> Result<String> {
    let mut report = Report::new("bookend test");
    for verdict in verdicts {
        let player = verdict.player;
        let mut suite = TestSuite::new(player.label.as_str());
        suite.add_property(("file", player.chosen.file()));
        for check in &verdict.checks {
            suite.add_test_case(case(verdict, check));
        }
        if !verdict.notes.is_empty() {
            suite.set_system_out(verdict.notes.join("\n"));
        }
        report.add_test_suite(suite);
    }
    report.to_string().context("write the JUnit report")
}

fn case(verdict: &Verdict, check: &Check) -> TestCase {
    let mut status = TestCaseStatus::success();
    if !check.good {
        let kind = if verdict.failure.is_some() { NonSuccessKind::Error } else { NonSuccessKind::Failure };
        status = TestCaseStatus::non_success(kind);
        status.set_message(check.text.as_str());
        status.set_description(if check.story.is_empty() { check.text.as_str() } else { check.story.as_str() });
    }
    let mut case = TestCase::new(check.name.as_str(), status);
    case.set_classname(verdict.player.label.as_str());
    if let Some(took) = check.took {
        case.set_time(took);
    }
    let place = format!("{}:{}:{}", verdict.player.chosen.file(), check.place.line, check.place.column);
    case.add_property(("place", place.as_str()));
    case
}
