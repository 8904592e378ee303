//! What the tests of threats.md share: an attacker inside the container, written in C, and a look at processes.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::process::Command;

use crate::common::Fixture;

/// How often a loop turns: short here, longer with BOOKEND_TEST_ROUNDS.
pub fn rounds(usual: u32) -> u32 {
    std::env::var("BOOKEND_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

/// Puts the attacker into the root file system, as /bin/attacker: the one of BOOKEND_TEST_ATTACKER where there is no compiler.
pub fn attacker(fixture: &Fixture) {
    if let Some(ready) = std::env::var_os("BOOKEND_TEST_ATTACKER") {
        fs::copy(ready, fixture.rootfs().join("bin/attacker")).unwrap();
        return;
    }
    let source = fixture.scratch.path().join("attacker.c");
    fs::write(&source, include_str!("attacker.c")).unwrap();
    let mut compile = Command::new("cc");
    compile.args(["-static", "-no-pie", "-O1", "-Wall", "-o"]).arg(fixture.rootfs().join("bin/attacker")).arg(source);
    assert!(compile.status().unwrap().success(), "cc -static");
}

/// Command lines with a text in them, but for those of strace.
pub fn processes_with(text: &str) -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text) && !line.starts_with("strace")).collect()
}

pub fn processes_of(fixture: &Fixture) -> Vec<String> {
    processes_with(&fixture.id)
}
