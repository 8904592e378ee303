//! `bookend check`: what it finds, in which words and forms, and what it does with input that is none.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Output, Scratch, bookend, finish, repository};

fn testdata() -> PathBuf {
    repository().join("testdata/check")
}

/// Runs `bookend check` in a directory.
fn check(directory: &Path, args: &[&str]) -> Output {
    let scratch = Scratch::new();
    let mut command = Command::new(bookend());
    command.arg("check").args(args).current_dir(directory);
    finish(command, &scratch)
}

/// The files of a directory with this ending, by name without it.
fn files(directory: &Path, ending: &str) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(ending)?.to_owned();
        Some((name, path))
    };
    entries.filter_map(named).collect()
}

/// The findings in a text output, without those that are for information only.
fn ids(output: &Output) -> Vec<String> {
    let words = output.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = words.filter(|words| words[1] != "info").map(|words| words[2].trim_end_matches(':').to_owned());
    found.collect()
}

#[test]
fn every_rule_has_an_example_that_breaks_it_and_says_what_it_prints() {
    let (examples, expected) = (files(&testdata(), ".yaml"), files(&testdata(), ".txt"));
    assert!(examples.len() >= 48 && examples.keys().eq(expected.keys()), "an example or its output is missing");
    let rootfs = Scratch::new();
    for (id, example) in &examples {
        let name = example.file_name().unwrap().to_str().unwrap();
        let mut args = vec!["--quiet", name];
        if id == "BE005" {
            args.extend(["--rootfs", rootfs.path().to_str().unwrap()]);
        }
        let output = check(&testdata(), &args);
        let text = fs::read_to_string(&expected[id]).unwrap();
        assert_eq!(output.stdout, text, "{id}");
        assert!(text.contains(&format!(" {id}: ")), "the example of {id} does not break it");
        let code = match ids(&output) {
            _ if ["BE038", "BE044"].contains(&id.as_str()) => 2,
            found if found.is_empty() => 0,
            found => {
                assert!(found.iter().all(|found| found == id), "{id}: {found:?}");
                1
            }
        };
        assert_eq!(output.code, code, "{id}");
        assert_eq!(output.stderr, "", "{id}");
    }
}
