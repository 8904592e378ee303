//! The manifests below a directory.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Finding, Report};
use crate::lifecycle::rule::{Rule, Severity};

/// The most files of one directory, and the deepest that is gone.
const MAX_FILES: usize = 10_000;
const MAX_DEPTH: usize = 32;

/// What was found below a directory.
#[derive(Debug, Default)]
pub struct Walked {
    /// Sorted by name.
    pub files: Vec<PathBuf>,
    /// Directories that could not be read, and why.
    unreadable: Vec<(PathBuf, String)>,
    full: bool,
}

/// Every `*.yaml`, `*.yml` and `*.json` below a directory. Hidden directories and links to directories are left out.
pub fn manifests(directory: &Path) -> Walked {
    let mut walked = Walked::default();
    let mut pending = vec![(directory.to_owned(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) => {
                walked.unreadable.push((directory, error.to_string()));
                continue;
            }
        };
        for entry in entries.flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if kind.is_ok_and(|kind| kind.is_dir()) {
                if !hidden && depth < MAX_DEPTH {
                    pending.push((path, depth + 1));
                }
            } else if is_manifest(&path) && path.is_file() {
                walked.files.push(path);
            }
        }
        if walked.files.len() > MAX_FILES {
            walked.full = true;
            break;
        }
    }
    walked.files.sort();
    walked.files.truncate(MAX_FILES);
    walked
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

impl Walked {
    /// Tells what kept files from being found.
    pub fn tell(&self, directory: &Path, report: &mut Report) {
        let mut tell = |path: &Path, severity, rule, sentence: String, cure: &str| {
            report.findings.push(Finding {
                file: path.display().to_string(),
                at: None,
                severity,
                rule,
                workload: None,
                container: None,
                sentence,
                cure: cure.to_owned(),
            });
        };
        for (path, why) in &self.unreadable {
            let cure = "make it readable for this user";
            tell(path, Severity::Error, Rule::NotReadable, format!("cannot be read: {why}"), cure);
        }
        if self.full {
            let why = format!("more than {MAX_FILES} manifests in here");
            tell(directory, Severity::Error, Rule::NotReadable, why, "check its directories one by one");
        } else if self.files.is_empty() {
            let why = "no *.yaml, *.yml or *.json in here; nothing was checked".to_owned();
            tell(directory, Severity::Info, Rule::NothingToCheck, why, "");
        }
        report.unreadable |= self.full || !self.unreadable.is_empty();
    }
}
