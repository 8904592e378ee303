//! `bookend test`: a Pod's hooks rehearsed without a cluster.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Output, Scratch, bookend, bundles, finish, repository};

/// Runs `bookend test` on a Pod with the busybox bundle.
struct Rehearsal {
    scratch: Scratch,
}

impl Rehearsal {
    fn new() -> Rehearsal {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("tmp")).unwrap();
        Rehearsal { scratch }
    }

    fn pod(&self, text: &str) -> PathBuf {
        let path = self.scratch.path().join("pod.yaml");
        fs::write(&path, text).unwrap();
        path
    }

    /// A Pod of one container `web` with these lines below `- name: web`.
    fn web(&self, lines: &str) -> PathBuf {
        let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
        self.pod(&format!("apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: web\n{lines}"))
    }

    fn command(&self, file: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(bookend());
        command.arg("test").arg(file).args(args);
        command.env("XDG_RUNTIME_DIR", self.scratch.path().join("tmp")).env("TMPDIR", self.scratch.path().join("tmp"));
        command
    }

    fn run(&self, file: &Path, args: &[&str]) -> Output {
        let output = finish(self.command(file, args), &self.scratch);
        let left: Vec<_> =
            fs::read_dir(self.scratch.path().join("tmp")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let left: Vec<_> = left.iter().filter(|name| name.to_str().unwrap().starts_with("bookend-test")).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        output
    }

    fn with_bundle(&self, file: &Path, args: &[&str]) -> Output {
        let bundle = bundles().join("busybox");
        // The last of a repeated flag counts.
        let mut all = vec!["--bundle", bundle.to_str().unwrap(), "--run-for", "100ms"];
        all.extend(args);
        self.run(file, &all)
    }
}

const HOOKS: &str = "lifecycle:\n  postStart: {exec: {command: [/bin/sh, -c, 'echo post > /var/tmp/hello.txt']}}\n  preStop: {exec: {command: [/bin/sh, -c, 'sleep 1']}}\n";

#[test]
fn the_tutorials_pod_lives_and_dies() {
    let r = Rehearsal::new();
    let before = fs::read_dir(bundles().join("busybox/rootfs/var/tmp")).unwrap().count();
    // The tutorial's preStop sleeps for 10 s; a rehearsal in the test suite need not.
    let tutorial = fs::read_to_string(repository().join("testdata/hooks-pod.yaml")).unwrap();
    assert!(tutorial.contains("'sleep 10'"));
    let pod = r.pod(&tutorial.replace("sleep 10", "sleep 1"));
    let output = r.with_bundle(&pod, &["--exec", "cat /var/tmp/hello.txt"]).ok();
    assert!(output.stderr.contains("Hello postStart!"), "{}", output.stderr);
    let lines: Vec<&str> = output.stdout.lines().filter(|line| !line.trim().is_empty()).collect();
    let order = ["entrypoint", "postStart", "stop requested", "preStop", "SIGTERM", "grace 30s"];
    let at: Vec<usize> = order
        .iter()
        .map(|word| {
            lines.iter().position(|line| line.trim_start_matches("hooks-pod").trim_start().starts_with(word)).unwrap()
        })
        .collect();
    assert!(at.is_sorted(), "{}", output.stdout);
    assert!(output.stdout.ends_with("hooks-pod: passed\n"), "{}", output.stdout);
    assert_eq!(
        fs::read_dir(bundles().join("busybox/rootfs/var/tmp")).unwrap().count(),
        before,
        "the bundle was changed"
    );
}

#[test]
fn a_failing_pre_stop_is_a_failed_verdict_with_its_reason() {
    let r = Rehearsal::new();
    let pod = r.web("lifecycle:\n  preStop: {exec: {command: [/bin/sh, -c, 'echo db not reachable >&2; exit 3']}}");
    let output = r.with_bundle(&pod, &[]).fails(1);
    output
        .says("preStop hook of container \"web\" failed")
        .says("exit code 3")
        .says("| db not reachable")
        .says("web: failed");
}

#[test]
fn p_07_a_failing_post_start_is_a_failed_verdict() {
    let r = Rehearsal::new();
    let pod = r.web("lifecycle:\n  postStart: {exec: {command: [/bin/false]}}");
    r.with_bundle(&pod, &[]).fails(1).says("PostStartHook failed: exit code 1").says("PostStartHookError");
}

#[test]
fn the_pod_says_command_environment_directory_and_user() {
    let r = Rehearsal::new();
    let user = if common::is_root() { "securityContext: {runAsUser: 1000, runAsGroup: 1000}\n" } else { "" };
    let pod = r.web(&format!(
        "command: [/bin/sh, -c, 'trap exit TERM; echo $GREETING $(pwd) $(id -u) > /tmp/said; while :; do sleep 0.1; done']\n\
         env: [{{name: GREETING, value: hi}}]\nworkingDir: /var/tmp\n{user}\
         lifecycle: {{postStart: {{exec: {{command: [/bin/sh, -c, 'until [ -s /tmp/said ]; do sleep 0.05; done']}}}}}}\n"
    ));
    let uid = if common::is_root() { 1000 } else { 0 };
    r.with_bundle(&pod, &["--exec", "cat /tmp/said"]).ok().says(&format!("hi /var/tmp {uid}"));
}

#[test]
fn a_root_file_system_alone_needs_a_command() {
    let r = Rehearsal::new();
    let rootfs = bundles().join("busybox/rootfs");
    let rootfs = rootfs.to_str().unwrap();
    r.run(&r.web(HOOKS), &["--rootfs", rootfs]).fails(2).says("names no command");
    let pod = r.web(&format!("command: [/bin/entrypoint]\n{HOOKS}"));
    r.run(&pod, &["--rootfs", rootfs, "--run-for", "100ms"]).ok().says("web: passed");
}

#[test]
fn json_has_the_hooks_the_exit_and_the_timeline() {
    let r = Rehearsal::new();
    let value = r.with_bundle(&r.web(HOOKS), &["--format", "json", "--quiet"]).ok().json();
    assert_eq!(value["passed"], true);
    let container = &value["containers"][0];
    assert_eq!(container["hooks"]["preStop"]["state"], "Succeeded");
    assert_eq!(container["exit"]["reason"], "Completed");
    assert!(container["timeline"].is_object());
}

#[test]
fn bad_input_is_told_all_at_once_with_code_2_and_nothing_runs() {
    let r = Rehearsal::new();
    let pod = r.web("lifecycle:\n  postStart: {}\n  prestop: {exec: {command: [/bin/true]}}");
    let output = r.with_bundle(&pod, &[]).fails(2).says("must specify a handler type");
    output.says("did you mean \"preStop\"?");
    r.with_bundle(&r.web("image: x"), &[]).fails(2).says("has no hooks");
    r.with_bundle(Path::new("/nonexistent.yaml"), &[]).fails(2).says("/nonexistent.yaml");
    r.run(&r.web(HOOKS), &[]).fails(2).says("--bundle DIR or --rootfs DIR");
    r.run(&r.web(HOOKS), &["--bundle", "/nonexistent"]).fails(2).says("/nonexistent");
    r.with_bundle(&r.web(HOOKS), &["--grace", "-1"]).fails(2);
    r.with_bundle(&r.web(HOOKS), &["--run-for", "soon"]).fails(2).says("no duration");
}

#[test]
fn an_entrypoint_that_ends_by_itself_gets_no_pre_stop() {
    let r = Rehearsal::new();
    let pod = r.web(&format!("command: [/bin/sh, -c, 'sleep 0.5; exit 4']\n{HOOKS}"));
    let output = r.with_bundle(&pod, &["--run-for", "60s"]).ok();
    output.says("the container ended by itself").says("exit code 4 (Error)").says("preStop exec");
}
