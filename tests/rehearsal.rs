//! `bookend test`: a Pod's hooks rehearsed without a cluster.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    r.run(&r.web(HOOKS), &[]).fails(2).says("--bundle DIR, --rootfs DIR or --image PATH");
    r.run(&r.web(HOOKS), &["--bundle", "/nonexistent"]).fails(2).says("/nonexistent");
    r.with_bundle(&r.web(HOOKS), &["--grace", "-1"]).fails(2);
    r.with_bundle(&r.web(HOOKS), &["--run-for", "soon"]).fails(2).says("no duration");
}

#[test]
fn an_entrypoint_that_ends_by_itself_gets_no_pre_stop() {
    let r = Rehearsal::new();
    // No postStart: it could be what the end interrupts.
    let pod = r.web(&format!("command: [/bin/sh, -c, 'sleep 0.5; exit 4']\n{PLAIN}"));
    let output = r.with_bundle(&pod, &["--run-for", "60s"]).ok();
    output.says("the container ended by itself").says("exit code 4 (Error)").says("preStop exec");
}

/// The bundle's ENTRYPOINT with a preStop that is over at once.
const PLAIN: &str = "lifecycle: {preStop: {exec: {command: [/bin/true]}}}";

#[test]
fn every_fault_of_a_handler_has_its_effect() {
    let r = Rehearsal::new();
    let pod = r.web(PLAIN);
    for (fault, expected) in [
        ("preStop=hang", "preStop=timed-out"),
        ("preStop=flood", "preStop=timed-out"),
        ("preStop=fail", "preStop=failed"),
        ("preStop=slow:300ms", "preStop=succeeded"),
    ] {
        let grace = if expected.ends_with("timed-out") { "1" } else { "30" };
        let output = r.with_bundle(&pod, &["--fault", fault, "--expect", expected, "--grace", grace]).ok();
        output.says(&format!("(expected: {expected})"));
    }
    r.with_bundle(&pod, &["--fault", "preStop=fail"]).fails(1).says("asked for: --fault preStop=fail");
    let slow = ["--fault", "preStop=slow:1500ms", "--format", "json", "--quiet"];
    let json = r.with_bundle(&pod, &slow).ok().json();
    let took = json["containers"][0]["checks"][0]["seconds"].as_f64().unwrap();
    assert!(took >= 1.5, "the handler began {took}s after its time");
}

#[test]
fn a_fault_takes_the_place_of_handlers_that_are_no_programs() {
    let r = Rehearsal::new();
    let pod = r.web("lifecycle:\n  postStart: {sleep: {seconds: 0}}\n  preStop: {httpGet: {port: 9}}");
    let args = ["--fault", "preStop=hang", "--expect", "preStop=timed-out", "--grace", "1"];
    r.with_bundle(&pod, &args).ok();
    let args = ["--fault", "postStart=fail", "--expect", "postStart=failed", "--expect", "preStop=failed"];
    r.with_bundle(&pod, &[&args[..], &["--expect", "reason=PostStartHookError", "--expect", "exit=125"]].concat()).ok();
    let args = ["--fault", "postStart=slow:300ms", "--expect", "preStop=failed"];
    r.with_bundle(&pod, &args).ok().says("[fault: slow:0.3s] succeeded");
}

#[test]
fn p_11_a_post_start_without_end_is_stopped_in_its_time() {
    let r = Rehearsal::new();
    let pod = r.web("lifecycle: {postStart: {exec: {command: [/bin/true]}}}");
    let args = ["--fault", "postStart=hang", "--expect", "postStart=interrupted", "--run-for", "500ms"];
    r.with_bundle(&pod, &args).ok().says("the stop comes now").says("stopped before postStart completed");
}

#[test]
fn a_stop_signal_that_is_lost_ends_in_sigkill() {
    let r = Rehearsal::new();
    let pod = r.web(PLAIN);
    let lost = ["--fault", "stop-signal=ignore", "--grace", "1"];
    let killed = ["--expect", "grace=exceeded", "--expect", "exit=137", "--expect", "reason=Error"];
    r.with_bundle(&pod, &[&lost[..], &killed[..]].concat()).ok().says("grace period exceeded: SIGKILL was needed");
    let output = r.with_bundle(&pod, &[&lost[..], &["--expect", "grace=kept"]].concat()).fails(1);
    output.says("grace period exceeded: SIGKILL was needed, but grace=kept was expected");
    let kill = r.web(&format!("{PLAIN}\n").replace("{preStop", "{stopSignal: SIGKILL, preStop"));
    r.with_bundle(&kill, &lost).fails(2).says("which nobody can ignore");
}

#[test]
fn an_entrypoint_that_is_made_to_end_skips_pre_stop_and_post_stop_sees_its_code() {
    let r = Rehearsal::new();
    let with_post_stop = |condition: &str| {
        r.pod(&format!(
            "kind: Pod\nmetadata:\n  annotations:\n    bookend/pre-stop: /bin/true\n    \
             bookend/post-stop.shell: '[ \"$BOOKEND_EXIT_CODE $BOOKEND_REASON\" = \"{condition}\" ]'\n\
             spec: {{containers: [{{name: web}}]}}\n"
        ))
    };
    let pod = with_post_stop("3 Error");
    let expected = ["--expect", "exit=3", "--expect", "reason=Error", "--expect", "preStop=skipped"];
    let args = [&["--fault", "entrypoint=exit:3@200ms", "--run-for", "60s"], &expected[..]].concat();
    r.with_bundle(&pod, &args).ok().says("the container ended by itself");
    let pod = with_post_stop("137 OOMKilled");
    let expected = ["--expect", "exit=137", "--expect", "reason=OOMKilled", "--expect", "preStop=skipped"];
    let args = [&["--fault", "entrypoint=oom@200ms", "--run-for", "60s"], &expected[..]].concat();
    r.with_bundle(&pod, &args).ok();
}

#[test]
fn an_expectation_that_is_not_met_is_a_failed_verdict_that_says_what_was() {
    let r = Rehearsal::new();
    let pod = r.web(PLAIN);
    for (expected, words) in [
        ("preStop=failed", "succeeded, but preStop=failed was expected"),
        ("exit=1", "exit code 0 (Completed), but exit=1 was expected"),
        ("reason=Error", "exit code 0 (Completed), but reason=Error was expected"),
        ("grace=exceeded", "grace period kept, but grace=exceeded was expected"),
        ("stopped-within=0", "but stopped-within=0s was expected"),
    ] {
        r.with_bundle(&pod, &["--expect", expected]).fails(1).says(words);
    }
    let met = ["--expect", "exit=0", "--expect", "stopped-within=20s", "--expect", "grace=kept"];
    r.with_bundle(&pod, &[&met[..], &["--expect", "preStop=succeeded", "--expect", "postStart=skipped"]].concat()).ok();
}

#[test]
fn wrong_faults_and_expectations_are_usage_errors_that_list_what_there_is() {
    let r = Rehearsal::new();
    let pod = r.web(PLAIN);
    r.with_bundle(&pod, &["--fault", "preStop=explode"]).fails(2).says("HOOK=slow:DURATION").says("supervisor=kill@");
    r.with_bundle(&pod, &["--expect", "prestop=failed"]).fails(2).says("reason=REASON").says("stopped-within=DURATION");
    r.with_bundle(&pod, &["--fault", "postStart=hang"]).fails(2).says("no postStart hook here; there are preStop");
    r.with_bundle(&pod, &["--expect", "postStop=failed"]).fails(2).says("no postStop hook here; there are preStop");
    let args = ["--expect", "preStop=succeeded", "--container", "nobody"];
    r.with_bundle(&pod, &args).fails(2).says("no container \"nobody\"; there are web");
}

#[test]
fn a_broken_pre_stop_is_told_with_its_cause_and_cure() {
    let r = Rehearsal::new();
    for (handler, words) in [
        ("exec: {command: [/bin/drain]}", "the image has no \"/bin/drain\""),
        ("exec: {command: ['drain --wait 5']}", "write [\"drain\", \"--wait\", \"5\"]"),
        ("exec: {command: [/bin/bash, -c, 'sleep 1']}", "the image has no \"/bin/bash\"; it has /bin/sh"),
        ("exec: {command: [/bin/sh, -c, 'echo \"open']}", "a quote or bracket is open"),
        ("exec: {command: [/bin/sh, -c, sleep, '1']}", "write [\"/bin/sh\", \"-c\", \"sleep 1\"]"),
        ("exec: {command: [/bin/sh, -c, 'nosuch --x']}", "a program that the shell was to run is not in the image"),
        ("exec: {command: [/bin/sh, -c, 'kill 1; sleep 9']}", "the hook itself ended it"),
        ("exec: {command: [/etc/passwd]}", "is there but cannot be executed"),
        ("exec: {command: [/bin/sh, -c, 'sleep 9']}", "raise terminationGracePeriodSeconds (now 1)"),
        ("httpGet: {port: 8081, path: /drain}", "nothing answered at port 8081"),
    ] {
        let pod = r.web(&format!("lifecycle:\n  preStop: {{{handler}}}"));
        // The others fail by themselves, however long that takes here.
        let grace = if words.starts_with("raise") { "1" } else { "30" };
        let output = r.with_bundle(&pod, &["--grace", grace]).fails(1);
        output.says(words).says("pod.yaml:7:7");
    }
}

#[test]
fn what_listens_and_a_status_that_kubernetes_ignores_are_told() {
    if !common::needs_root("what_listens_and_a_status_that_kubernetes_ignores_are_told") {
        return; // a network of its own
    }
    let r = Rehearsal::new();
    let server = "command: [/bin/sh, -c, 'while :; do printf \"HTTP/1.0 404 no\\r\\n\\r\\n\" | nc -l -p 8080 > /dev/null; done']\n";
    let ready =
        "postStart: {exec: {command: [/bin/sh, -c, 'until grep -q :1F90 /proc/net/tcp*; do sleep 0.05; done']}}";
    let pod = |port: u16| r.web(&format!("{server}lifecycle:\n  {ready}\n  preStop: {{httpGet: {{port: {port}}}}}"));
    let output = r.with_bundle(&pod(8081), &["--grace", "1"]).fails(1);
    output.says("nothing answered at port 8081: just before the stop something listened at 8080");
    let output = r.with_bundle(&pod(8080), &["--grace", "1"]).ok();
    output.says("note    preStop got HTTP 404; Kubernetes counts this as success");
}

#[test]
fn reports_are_written_to_files_and_told_in_the_format_that_was_asked_for() {
    let r = Rehearsal::new();
    let pod = r.web("lifecycle:\n  preStop: {exec: {command: [/bin/sh, -c, 'echo \"<&]]>\" >&2; exit 3']}}");
    let at = |name: &str| r.scratch.path().join(name);
    let junit = at("report.xml");
    for (ending, word) in [("svg", "<svg"), ("html", "<!doctype html>"), ("json", "\"lanes\""), ("txt", "├")] {
        let picture = at(&format!("life.{ending}"));
        let files = ["--junit", junit.to_str().unwrap(), "--timeline", picture.to_str().unwrap()];
        r.with_bundle(&pod, &[&files[..], &["--quiet"]].concat()).fails(1);
        let text = fs::read_to_string(&picture).unwrap();
        assert!(text.contains(word) && text.contains("preStop"), "{ending}: {text}");
    }
    let report = fs::read_to_string(&junit).unwrap();
    assert!(report.contains("<testsuite name=\"web\" tests=\"2\"") && report.contains("failures=\"1\""), "{report}");
    assert!(report.contains("&lt;&amp;") && report.contains("exit code 3"), "{report}");

    let tap = r.with_bundle(&pod, &["--format", "tap", "--quiet"]).fails(1).stdout;
    assert!(tap.starts_with("TAP version 14\n1..1\n# Subtest: web\n    1..2\n    not ok 1 - preStop exec"), "{tap}");
    assert!(tap.contains("\n      ---\n") && tap.contains("\n      line: 7\n"), "{tap}");
    assert!(tap.ends_with("    ok 2 - entrypoint: exit code 0 (Completed)\nnot ok 1 - web\n"), "{tap}");

    let github = r.with_bundle(&pod, &["--format", "github", "--quiet"]).fails(1).stdout;
    let annotation = github.lines().next().unwrap();
    assert!(annotation.starts_with("::error file="), "{github}");
    assert!(annotation.contains("pod.yaml,line=7,col=7,title=web%3A preStop::bookend: preStop hook"), "{github}");
    assert!(annotation.contains("%0A    | <&]]>%0A"), "{github}");
}

#[test]
fn files_that_cannot_be_written_are_refused_before_anything_runs() {
    let r = Rehearsal::new();
    let pod = r.web("command: [/bin/sh, -c, 'echo it ran']\nlifecycle: {preStop: {exec: {command: [/bin/true]}}}");
    let dir = r.scratch.path().to_str().unwrap().to_owned();
    let (inside, picture) = (format!("{dir}/no/such/report.xml"), format!("{dir}/life.png"));
    for (args, words) in [
        (["--junit", inside.as_str()], "open it for writing"),
        (["--junit", dir.as_str()], "open it for writing"),
        (["--timeline", picture.as_str()], ".svg, .html, .json or .txt"),
        (["--timeline", "/nonexistent/life.svg"], "open it for writing"),
    ] {
        let output = r.with_bundle(&pod, &args).fails(2).says(words);
        assert!(!output.stderr.contains("it ran"), "{}", output.stderr);
    }
    let twice = format!("{dir}/life.txt");
    r.with_bundle(&pod, &["--junit", &twice, "--timeline", &twice]).fails(2).says("the same file");
    // What was opened and never written is not left.
    r.run(&pod, &["--junit", &twice]).fails(2).says("say what to run: --bundle DIR");
    assert!(!Path::new(&twice).exists());
}

const LIVES_ON: &str = "trap \"exit 0\" TERM; while :; do sleep 0.05; done";

/// A Pod with an init container, a sidecar and two containers, of which one has a postStart that shows the order.
fn shop(init: &str) -> String {
    format!(
        "kind: Pod\nmetadata: {{name: shop}}\nspec:\n  initContainers:\n\
         \x20 - {{name: migrate, command: [/bin/sh, -c, 'echo migrating; {init}']}}\n\
         \x20 - name: proxy\n    restartPolicy: Always\n    command: [/bin/sh, -c, '{LIVES_ON}']\n\
         \x20   lifecycle: {{preStop: {{exec: {{command: [/bin/true]}}}}}}\n\
         \x20 containers:\n  - name: web\n    command: [/bin/sh, -c, '{LIVES_ON}']\n\
         \x20   lifecycle: {{postStart: {{sleep: {{seconds: 1}}}}, preStop: {{exec: {{command: [/bin/true]}}}}}}\n\
         \x20 - {{name: plain, command: [/bin/sh, -c, '{LIVES_ON}']}}\n"
    )
}

#[test]
fn p_14_the_containers_of_a_pod_start_in_order_live_together_and_stop_as_a_pod() {
    let r = Rehearsal::new();
    let output = r.with_bundle(&r.pod(&shop("exit 0")), &["--run-for", "300ms"]).ok();
    let at = |line: &str| {
        output
            .stderr
            .lines()
            .position(|known| known.starts_with(line))
            .unwrap_or_else(|| panic!("no {line:?} in {}", output.stderr))
    };
    let order = [
        "migrate:   | migrating",
        "migrate: the container ended by itself",
        "proxy: start",
        "proxy: running",
        "web: start",
        "web: running",
        "plain: start",
        "plain: running",
        "web: stop ",
        "proxy: stop ",
    ];
    assert!(order.map(at).is_sorted(), "{}", output.stderr);
    assert!(at("plain: stop,") < at("proxy: stop ") && at("plain: stopped") < at("proxy: stop "), "{}", output.stderr);
    output.says("passed: all 4 containers");

    let json = r.with_bundle(&r.pod(&shop("exit 0")), &["--format", "json", "--quiet"]).ok().json();
    let roles: Vec<&str> =
        json["containers"].as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["init", "sidecar", "main", "main"]);
    assert!(json["containers"].as_array().unwrap().iter().all(|one| one["pod"] == "shop" && one["exitCode"] == 0));
}

#[test]
fn an_init_container_that_fails_keeps_its_pod_from_starting_and_shows_its_output() {
    let r = Rehearsal::new();
    let output = r.with_bundle(&r.pod(&shop("echo no database >&2; exit 5")), &[]).fails(1);
    let output = output
        .says("init container migrate ended with exit code 5, so its Pod does not start")
        .says("    | no database")
        .says("web: failed")
        .says("was not started: what had to come before it failed");
    assert!(!output.stderr.contains("web: start"), "{}", output.stderr);
}

#[test]
fn hooks_on_an_init_container_are_refused_in_kubernetes_words() {
    let r = Rehearsal::new();
    let text = "kind: Pod\nspec:\n  initContainers:\n  - name: migrate\n    command: [/bin/true]\n    \
                lifecycle: {preStop: {sleep: {seconds: 1}}}\n  containers:\n  - name: web\n    \
                lifecycle: {preStop: {sleep: {seconds: 1}}}\n";
    let output = r.with_bundle(&r.pod(text), &[]).fails(2);
    output.says(
        "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
    );
    // The bundle's ENTRYPOINT is a server: it would never end.
    let text = text.replace("    command: [/bin/true]\n", "").replacen(
        "    lifecycle: {preStop: {sleep: {seconds: 1}}}\n",
        "",
        1,
    );
    r.with_bundle(&r.pod(&text), &[]).fails(2).says("init container \"migrate\" names no command");
}

#[test]
fn several_files_are_rehearsed_at_a_time_and_one_failure_is_a_failed_run() {
    let r = Rehearsal::new();
    let file = |name: &str, program: &str| {
        let path = r.scratch.path().join(name);
        let text = format!(
            "kind: Pod\nmetadata: {{name: {}}}\nspec: {{containers: [{{name: web, lifecycle: {{preStop: {{exec: {{command: [{program}]}}}}}}}}]}}\n",
            name.trim_end_matches(".yaml")
        );
        fs::write(&path, text).unwrap();
        path
    };
    let (good, bad) = (file("good.yaml", "/bin/true"), file("bad.yaml", "/bin/false"));
    let plain = r.scratch.path().join("plain.yaml");
    fs::write(&plain, "kind: Pod\nspec: {containers: [{name: other}]}\n").unwrap();
    for jobs in ["1", "4"] {
        let others = [bad.to_str().unwrap(), plain.to_str().unwrap(), "--jobs", jobs];
        let output = r.with_bundle(&good, &others).fails(1);
        output
            .says("good/web: passed")
            .says("bad/web: failed")
            .says("failed: 1 of 2 containers: bad/web")
            .says("container \"other\" has no hooks: there is nothing to rehearse");
    }
    r.with_bundle(&good, &["--jobs", "0"]).fails(2);
    // Two documents of one file, and the same file twice.
    let both = format!("{}---\n{}", fs::read_to_string(&good).unwrap(), fs::read_to_string(&good).unwrap());
    r.with_bundle(&r.pod(&both), &[]).ok().says("good/web: passed").says("good/web (2): passed");
}

#[test]
fn each_container_can_have_its_own_root_file_system() {
    let r = Rehearsal::new();
    let bundle = bundles().join("busybox");
    let (bundle, rootfs) = (bundle.to_str().unwrap(), bundle.join("rootfs"));
    let rootfs = rootfs.to_str().unwrap();
    let text = format!(
        "kind: Pod\nspec:\n  containers:\n  - {{name: web, {PLAIN}}}\n  - {{name: other, command: [/bin/sh, -c, '{LIVES_ON}']}}\n"
    );
    let pod = r.pod(&text);
    let quick = ["--run-for", "100ms"];
    let with = |args: &[&str]| r.run(&pod, &[args, &quick[..]].concat());
    with(&["--bundle", &format!("web={bundle}"), "--rootfs", &format!("other={rootfs}")]).ok();
    with(&["--bundle", bundle, "--rootfs", &format!("other={rootfs}")]).ok();
    with(&["--bundle", &format!("web={bundle}")]).fails(2).says("say what to run: --bundle DIR");
    with(&["--bundle", bundle, "--rootfs", rootfs]).fails(2).says("not several of them");
    with(&["--bundle", bundle, "--rootfs", &format!("nobody={rootfs}")]).fails(2).says("no container \"nobody\"");
    with(&["--rootfs", rootfs]).fails(2).says("container \"web\" names no command");
}

#[test]
fn hostile_files_are_refused_with_code_2_and_nothing_is_left() {
    let r = Rehearsal::new();
    let at = |name: &str, bytes: &[u8]| {
        let path = r.scratch.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..8 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        bomb += &format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(", "));
    }
    for file in [
        at("bomb.yaml", bomb.as_bytes()),
        at("binary.yaml", &[0, 159, 146, 150, 255]),
        at("huge.yaml", &vec![b'#'; 2 << 20]),
        at("empty.yaml", b""),
        at("half.yaml", b"kind: Pod\nspec: {containers: ["),
        r.scratch.path().to_owned(),
    ] {
        // A good file beside it does not run either.
        let output = r.with_bundle(&r.web(PLAIN), &[file.to_str().unwrap()]).fails(2);
        assert!(!output.stderr.contains("web: start"), "{}", output.stderr);
    }
    r.with_bundle(Path::new("-"), &["-"]).fails(2).says("standard input can be read once only");
}

#[test]
fn what_the_entrypoint_writes_is_shown_with_its_name_and_cannot_speak_to_the_terminal() {
    let r = Rehearsal::new();
    let pod = r.web(
        &format!("command: [/bin/sh, -c, 'printf \"a\\033[31mb\\n\"; seq 500; exit 4']\n{HOOKS}")
            .replace("post > /var/tmp/hello.txt", "x"),
    );
    let output = r.with_bundle(&pod, &["--run-for", "60s", "--expect", "postStart=interrupted"]);
    assert!(output.stderr.contains("web:   | a\\u{1b}[31mb\n"), "{}", output.stderr);
    assert!(output.stderr.contains("(its output goes on)") && !output.stderr.contains("| 400\n"), "{}", output.stderr);
    output.says("note    the last line of its output: 500");
}

#[test]
fn a_name_cannot_speak_to_the_terminal_nor_to_the_runner_of_a_ci() {
    let r = Rehearsal::new();
    let pod = r.web("command: [/bin/entrypoint]\nlifecycle: {preStop: {exec: {command: [nosuch]}}}");
    let text = fs::read_to_string(&pod).unwrap().replace("name: web", "name: \"we\\e[31mb\\n::error::x\"");
    let output = r.with_bundle(&r.pod(&text), &[]).fails(1);
    for text in [&output.stdout, &output.stderr] {
        assert!(!text.contains('\u{1b}') && !text.lines().any(|line| line.starts_with("::")), "{text}");
    }
    output.says("preStop hook of container \"we\\u{1b}[31mb ::error::x\" failed");
}

#[test]
fn p_01_an_entrypoint_that_the_root_file_system_lacks_is_a_failed_verdict() {
    let r = Rehearsal::new();
    let pod = r.web("command: [/bin/nosuch]\nlifecycle: {preStop: {exec: {command: [/bin/true]}}}");
    let output = r.with_bundle(&pod, &[]).fails(1);
    output.says("FAILED  entrypoint: the ENTRYPOINT of container \"web\": unable to start container process: exec: \"/bin/nosuch\"");
}

#[test]
fn a_verdict_that_cannot_be_written_is_no_success() {
    let r = Rehearsal::new();
    let pod = r.web("lifecycle: {preStop: {exec: {command: [/bin/true]}}}");
    let bundle = bundles().join("busybox");
    let mut command = r.command(&pod, &["--bundle", bundle.to_str().unwrap(), "--run-for", "1ms", "--quiet"]);
    command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("write the verdict to stdout: No space left"));
}

#[test]
fn x_t03_p_12_a_rehearsal_takes_the_flags_of_run_before_the_verb_and_after_it() {
    let r = Rehearsal::new();
    let pod = r.web("lifecycle: {preStop: {tcpSocket: {port: 8080}}}");
    r.with_bundle(&pod, &["--strict-kubernetes"])
        .fails(1)
        .says("FAILED  preStop tcpSocket :8080 failed: invalid handler");
    let bundle = bundles().join("busybox");
    let mut command = Command::new(bookend());
    command.args(["--strict-kubernetes", "test"]).arg(&pod).arg("--bundle").arg(&bundle);
    let (runtime, temporary) = (r.scratch.path().join("tmp"), r.scratch.path().join("tmp"));
    command.args(["--run-for", "1ms"]).env("XDG_RUNTIME_DIR", runtime).env("TMPDIR", temporary);
    finish(command, &r.scratch).fails(1).says("invalid handler");
    let pod = r.web("lifecycle: {postStart: {exec: {command: [/bin/true]}}}");
    let output = r.with_bundle(&pod, &["--poststart-stop", "wait", "--fault", "postStart=hang"]).fails(2);
    output.says("the stop would wait for ever, as in Kubernetes");
}

#[test]
fn a_rehearsals_hook_output_is_kept_where_it_is_told_to_and_not_in_the_history() {
    let r = Rehearsal::new();
    let fails = "{exec: {command: [/bin/sh, -c, 'echo in vain; exit 3']}}";
    // Of a name of its own: the id is of the name and a process's number, which another test's rehearsal may have had.
    let stanza = format!("{{postStart: {{exec: {{command: [/bin/echo, hello]}}}}, preStop: {fails}}}");
    let pod = r.pod(&format!("kind: Pod\nspec: {{containers: [{{name: unremembered, lifecycle: {stanza}}}]}}\n"));
    let kept = r.scratch.path().join("kept");
    fs::create_dir(&kept).unwrap();
    let output = r.with_bundle(&pod, &["--no-history", "--hook-log-dir", kept.to_str().unwrap()]).fails(1);
    let ids: Vec<_> = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [one] = ids.as_slice() else { panic!("{ids:?}") };
    assert!(fs::read_to_string(one.join("postStart-1.log")).unwrap().ends_with("stdout hello\n"));
    let id = one.file_name().unwrap().to_str().unwrap();
    output.says(&format!("bookend logs {id}"));
    let mut command = Command::new(bookend());
    command.args(["hooks", id]).env("XDG_RUNTIME_DIR", r.scratch.path().join("tmp"));
    finish(command, &r.scratch).fails(1).says("does not exist");
}

#[test]
fn containers_of_one_name_are_told_apart_in_the_picture_too() {
    let r = Rehearsal::new();
    let stanza = "spec: {containers: [{name: web, lifecycle: {preStop: {exec: {command: [/bin/true]}}}}]}\n";
    let pods = ["a", "b"].map(|name| format!("kind: Pod\nmetadata: {{name: {name}}}\n{stanza}"));
    let output = r.with_bundle(&r.pod(&pods.join("---\n")), &["--run-for", "1ms"]).ok();
    for label in ["a/web ", "b/web "] {
        assert!(
            output.stdout.lines().any(|line| line.starts_with(label) && line.contains("create")),
            "{}",
            output.stdout
        );
    }
}

#[test]
fn a_rehearsal_whose_director_is_killed_cleans_up_all_the_same() {
    let r = Rehearsal::new();
    let pod = r.web(PLAIN);
    let bundle = bundles().join("busybox");
    let mut command = r.command(&pod, &["--bundle", bundle.to_str().unwrap(), "--run-for", "300s"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("running after")));
    child.kill().unwrap();
    child.wait().unwrap();
    // The actor holds the other end of stderr until it is done.
    lines.for_each(drop);
    let left = fs::read_dir(r.scratch.path().join("tmp"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("bookend-test"));
    assert_eq!(left.count(), 0, "a stage is left");
}

#[test]
fn s_27_a_rehearsal_goes_on_when_its_supervisor_is_killed_at_any_stage() {
    let r = Rehearsal::new();
    let pod = r.web(HOOKS);
    let expected = ["--expect", "postStart=succeeded", "--expect", "preStop=succeeded", "--expect", "exit=0"];
    // While postStart runs, while the container runs, and while it is stopped.
    for (killed, slow) in
        [("10ms", "postStart=slow:1s"), ("700ms", "postStart=slow:1ms"), ("1500ms", "preStop=slow:3s")]
    {
        let fault = format!("supervisor=kill@{killed}");
        let args = ["--fault", &fault, "--fault", slow, "--run-for", "1s"];
        let output = r.with_bundle(&pod, &[&args[..], &expected[..]].concat()).ok();
        assert!(output.stderr.contains("its supervisor was lost; another one has taken over"), "{}", output.stderr);
    }
}

#[test]
fn the_containers_of_a_pod_share_a_network_as_in_kubernetes() {
    if !common::needs_root("the_containers_of_a_pod_share_a_network_as_in_kubernetes") {
        return; // a network of its own
    }
    let r = Rehearsal::new();
    let server = "while :; do printf \"HTTP/1.0 200 ok\\r\\n\\r\\n\" | nc -l -p 8080 > /dev/null; done";
    let pod = r.pod(&format!(
        "kind: Pod\nspec:\n  containers:\n  - name: server\n    command: [/bin/sh, -c, '{server}']\n\
         \x20 - name: web\n    lifecycle:\n\
         \x20     postStart: {{exec: {{command: [/bin/sh, -c, 'until grep -q :1F90 /proc/net/tcp*; do sleep 0.05; done']}}}}\n\
         \x20     preStop: {{httpGet: {{port: 8080}}}}\n"
    ));
    let args = ["--grace", "5", "--expect", "postStart=succeeded", "--expect", "preStop=succeeded"];
    r.with_bundle(&pod, &args).ok();
}

#[test]
fn an_interrupted_rehearsal_is_not_passed() {
    let r = Rehearsal::new();
    let pod = r.web(PLAIN);
    let bundle = bundles().join("busybox");
    let report = r.scratch.path().join("report.xml");
    let args = ["--bundle", bundle.to_str().unwrap(), "--exec", "sleep 300", "--junit", report.to_str().unwrap()];
    let mut command = r.command(&pod, &args);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("exec sleep 300")));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGINT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest.iter().any(|line| line.contains("bookend: interrupted")), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!report.exists(), "a report of nothing is left");
}

#[test]
fn a_lifecycle_file_is_rehearsed_on_the_entrypoint_of_the_bundle() {
    let r = Rehearsal::new();
    let file = r.scratch.path().join("drain.yaml");
    let text = fs::read_to_string(repository().join("hooks/sleep-before-stop.yaml")).unwrap();
    fs::write(&file, text.replace("seconds: 5", "seconds: 1")).unwrap();
    r.with_bundle(&file, &[]).ok().says("preStop sleep").says("drain: passed");
    // All four hooks, and the place of one that failed.
    fs::write(
        &file,
        "lifecycle:\n  preStop: {exec: {command: [/bin/sh, -c, exit 3]}}\nextensions:\n  preStart: [{sleep: {seconds: 0}}]\n  \
         postStop: [{exec: {command: ['true']}}]\n",
    )
    .unwrap();
    let output = r.with_bundle(&file, &[]).fails(1);
    for words in ["drain.yaml:2:3", "preStop exec", "exit code 3", "preStart sleep", "postStop exec"] {
        assert!(output.stdout.contains(words), "{words:?} in {}", output.stdout);
    }
    // It says nothing of a program, and is checked as everywhere.
    let rootfs = bundles().join("busybox/rootfs");
    r.run(&file, &["--rootfs", rootfs.to_str().unwrap()]).fails(2).says("names no command");
    fs::write(&file, "lifecycle: {preStop: {}}\n").unwrap();
    r.with_bundle(&file, &[]).fails(2).says("lifecycle.preStop: Required value: must specify a handler type");
}

#[test]
fn a_pod_without_hooks_is_rehearsed_with_those_of_its_bundle() {
    let r = Rehearsal::new();
    let bundle = r.scratch.path().join("bundle");
    fs::create_dir(&bundle).unwrap();
    std::os::unix::fs::symlink(bundles().join("busybox/rootfs"), bundle.join("rootfs")).unwrap();
    let config = fs::read(bundles().join("busybox/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["annotations"] = serde_json::json!({ "bookend/pre-stop": "/bin/false" });
    config["root"]["path"] = serde_json::json!(bundles().join("busybox/rootfs"));
    let write = |config: &serde_json::Value| fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    write(&config);
    let pod = r.web("image: busybox");
    let rehearse = |pod: &Path| r.run(pod, &["--bundle", bundle.to_str().unwrap(), "--run-for", "100ms"]);
    // It prints nothing, so there is no output to look at.
    let output = rehearse(&pod).fails(1).says("annotation bookend/pre-stop");
    assert!(!output.stdout.contains("full output"), "{}", output.stdout);
    // Of a Pod that names a hook only its own count.
    rehearse(&r.web(PLAIN)).ok();
    config["annotations"] = serde_json::json!({});
    write(&config);
    fs::write(bundle.join("lifecycle.yaml"), "lifecycle: {preStop: {sleep: {seconds: 0}}}\n").unwrap();
    rehearse(&r.web("image: busybox")).ok().says("preStop sleep");
}

#[test]
fn p_06_who_interrupts_an_endless_post_start_sees_what_it_did() {
    let r = Rehearsal::new();
    let pod = r.web("lifecycle:\n  postStart: {exec: {command: [/bin/sh, -c, 'echo locked >&2; sleep 1000']}}");
    let bundle = bundles().join("busybox");
    let mut command = r.command(&pod, &["--bundle", bundle.to_str().unwrap()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("start (postStart exec)")));
    std::thread::sleep(std::time::Duration::from_millis(700)); // for the hook, of which nothing tells before its end
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGINT).unwrap();
    let told: String = lines.map(|line| line.unwrap() + "\n").collect();
    let output = child.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}{told}");
    assert!(told.contains("this is how far they had come"), "{told}");
    assert!(shown.contains("postStart exec") && shown.contains("web: failed"), "{shown}");
}
