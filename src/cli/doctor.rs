//! `doctor`: what this machine gives to this user, found out by trying, and the cure for what it does not give.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result, anyhow};
use serde_json::json;

use super::args::{Doctor, Global, TextFormat};
use crate::linux::fork;

mod cgroup;
mod ids;
mod kernel;
mod namespaces;
mod place;

/// Columns of the report, and where its texts begin.
const WIDTH: usize = 80;
const INDENT: usize = 20;

/// Whether containers can run all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        }
    }
}

/// One line of the report.
#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    subject: &'static str,
    text: String,
    /// What to do about it.
    cure: Option<String>,
}

impl Finding {
    fn ok(subject: &'static str, text: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Ok, subject, text: text.into(), cure: None }
    }

    fn warn(subject: &'static str, text: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Warn, subject, text: text.into(), cure: Some(cure.into()) }
    }

    fn fail(subject: &'static str, text: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Fail, ..Finding::warn(subject, text, cure) }
    }
}

pub fn run(global: &Global, args: &Doctor) -> Result<u8> {
    let rootless = global.is_rootless();
    let mut findings = kernel::look();
    findings.extend(namespaces::look());
    findings.extend(ids::look());
    findings.push(cgroup::look(rootless));
    findings.extend(place::look(global));
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    match args.format {
        TextFormat::Text => print_text(&findings, failed),
        TextFormat::Json => print_json(&findings, failed)?,
    }
    Ok(u8::from(failed > 0))
}

fn print_text(findings: &[Finding], failed: usize) {
    for finding in findings {
        let mut head = format!("{:<4}  {:<12}  ", finding.verdict.word(), finding.subject);
        let cure = finding.cure.iter().map(|cure| format!("cure: {cure}"));
        for line in [finding.text.clone()].into_iter().chain(cure).flat_map(|text| wrapped(&text)) {
            println!("{head}{line}");
            head = " ".repeat(INDENT);
        }
    }
    match failed {
        0 => println!("\nContainers can run here."),
        1 => println!("\nContainers cannot run here, for the one reason that is marked FAIL."),
        failed => println!("\nContainers cannot run here, for the {failed} reasons that are marked FAIL."),
    }
}

/// The lines of a text that fit beside the subjects. A word that is longer than a line stays whole: it may be a path.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is one from the beginning");
        match last.is_empty() || INDENT + last.chars().count() + 1 + word.chars().count() <= WIDTH {
            true if last.is_empty() => last.push_str(word),
            true => last.extend([" ", word]),
            false => lines.push(word.to_owned()),
        }
    }
    lines
}

fn print_json(findings: &[Finding], failed: usize) -> Result<()> {
    let list = findings.iter().map(|finding| {
        json!({
            "verdict": finding.verdict.word().to_lowercase(),
            "subject": finding.subject,
            "finding": finding.text,
            "cure": finding.cure,
        })
    });
    println!(
        "{}",
        serde_json::to_string_pretty(&json!({ "canRun": failed == 0, "findings": list.collect::<Vec<_>>() }))?
    );
    Ok(())
}

/// Does something in a child, which takes with it whatever namespaces and mounts it has made, and gives back its error.
fn in_child(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let (reader, writer) = fork::pipe().context("make a pipe")?;
    let child = fork::run(|| match work() {
        Ok(()) => 0,
        Err(error) => {
            // One whose error does not arrive has failed all the same.
            let _ = nix::unistd::write(&writer, format!("{error:#}").as_bytes());
            1
        }
    });
    let child = child.context("fork")?;
    drop(writer);
    let mut error = String::new();
    File::from(reader).read_to_string(&mut error).context("read from a child")?;
    match nix::sys::wait::waitpid(child, None).context("wait for a child")? {
        nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(()),
        ended if error.is_empty() => Err(anyhow!("the attempt ended unexpectedly: {ended:?}")),
        _ => Err(anyhow!(error)),
    }
}

/// A file of /proc or /sys, without the white space around; None where it cannot be read.
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The first of the directories in PATH that has this program.
fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
}
