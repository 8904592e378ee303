//! The verbs that set a machine up: `config`, `doctor`, `completions`, `man`, and what help says.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use common::{Output, Scratch, bookend, finish, needs_a_user, needs_tool};

/// bookend as somebody whose runtime directory is in `scratch`.
fn call(scratch: &Scratch, args: &[&str]) -> Output {
    call_of(&bookend(), scratch, args)
}

fn call_of(program: &Path, scratch: &Scratch, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).env("XDG_RUNTIME_DIR", runtime_dir(scratch));
    finish(command, scratch)
}

fn runtime_dir(scratch: &Scratch) -> PathBuf {
    let dir = scratch.path().join("run");
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A shell script with the program as $1 and in namespaces of its own, where the caller is root.
fn in_user_namespace(scratch: &Scratch, script: &str, more: &str) -> Output {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-euc", script, "sh"]);
    command.arg(bookend()).arg(more).env("XDG_RUNTIME_DIR", runtime_dir(scratch));
    finish(command, scratch)
}

// ── config ──

fn toml(output: &Output) -> toml::Table {
    toml::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{}", output.stdout))
}

/// Where containerd has the runtimes of its CRI plugin.
fn cri_runtime<'a>(config: &'a toml::Table, plugin: &str) -> Option<&'a toml::Value> {
    config["plugins"].get(plugin)?.get("containerd")?.get("runtimes")?.get("bookend")
}

const CRI_2: &str = "io.containerd.grpc.v1.cri";
const CRI_3: &str = "io.containerd.cri.v1.runtime";

#[test]
fn every_snippet_is_of_its_format_and_names_the_running_binary_whatever_its_path() {
    let scratch = Scratch::new();
    let dir = scratch.path().join("a \"b\" 100% $x");
    fs::create_dir(&dir).unwrap();
    let program = dir.join("bookend");
    fs::copy(bookend(), &program).unwrap();
    let path = program.to_str().unwrap();
    let config = |args: &[&str]| call_of(&program, &scratch, &[&["config"], args].concat()).ok();

    let containerd = toml(&config(&["containerd"]));
    for plugin in [CRI_2, CRI_3] {
        let runtime = cri_runtime(&containerd, plugin).unwrap();
        assert_eq!(runtime["runtime_type"].as_str(), Some("io.containerd.runc.v2"));
        assert_eq!(runtime["options"]["BinaryName"].as_str(), Some(path));
        for annotations in ["pod_annotations", "container_annotations"] {
            let patterns: Vec<_> =
                runtime[annotations].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
            assert_eq!(patterns, ["bookend/*", "*.bookend/*"]);
        }
    }
    let podman = toml(&config(&["podman"]));
    assert_eq!(podman["engine"]["runtimes"]["bookend"][0].as_str(), Some(path));
    let crio = toml(&config(&["crio"]));
    assert_eq!(crio["crio"]["runtime"]["runtimes"]["bookend"]["runtime_path"].as_str(), Some(path));
    let docker = config(&["docker"]).says("/etc/docker/daemon.json").json();
    assert_eq!(docker["runtimes"]["bookend"]["path"], path);
    let systemd = config(&["systemd"]).stdout;
    let quoted = path.replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    assert!(systemd.contains(&format!("ExecStart=\"{quoted}\" run --bundle /srv/web web\n")), "{systemd}");
}

#[test]
fn one_version_of_containerd_gets_the_one_table_that_it_reads() {
    let scratch = Scratch::new();
    for (version, has, lacks) in [("1.7.2", CRI_2, CRI_3), ("v2.1.0", CRI_3, CRI_2)] {
        let config = toml(&call(&scratch, &["config", "containerd", "--containerd-version", version]).ok());
        assert!(cri_runtime(&config, has).is_some() && cri_runtime(&config, lacks).is_none(), "{version}");
    }
}

#[test]
fn the_annotations_of_the_example_pod_are_hooks() {
    let scratch = Scratch::new();
    let file = scratch.path().join("class.yaml");
    fs::write(&file, call(&scratch, &["config", "runtimeclass"]).ok().stdout).unwrap();
    let resolved = call(&scratch, &["hooks", "--resolve", file.to_str().unwrap()]).ok();
    resolved.says("preStart").says("/bin/migrate").says("preStop").says("drain").says("postStop");
}

#[test]
fn what_can_be_read_only_once_and_what_never_ends_is_resolved_too() {
    let scratch = Scratch::new();
    let pod = "kind: Pod\nspec: {containers: [{name: web, lifecycle: {preStop: {sleep: {seconds: 1}}}}]}\n";
    let pipe = format!("printf '%s' '{pod}' | \"$0\" hooks --resolve /dev/stdin");
    let mut command = Command::new("sh");
    command.args(["-c", &pipe]).arg(bookend());
    finish(command, &scratch).ok().says("hooks from:   /dev/stdin, container \"web\"");
    call(&scratch, &["hooks", "--resolve", "/dev/zero"]).fails(1).says("/dev/zero:1:1: larger than 1 MiB");
    // The word alone makes no Pod.
    let file = scratch.path().join("lifecycle.yaml");
    fs::write(&file, "lifecycle:\n  preStop:\n    exec:\n      command:\n      - |\n        kind: x\n").unwrap();
    call(&scratch, &["hooks", "--resolve", file.to_str().unwrap()]).ok().says("lifecycle.yaml");
}

#[test]
fn config_refuses_what_it_does_not_know_and_lists_what_it_does() {
    let scratch = Scratch::new();
    call(&scratch, &["config", "dockr"]).fails(2).says("containerd, docker, podman, crio, runtimeclass, systemd");
    call(&scratch, &["config"]).fails(2).says("<TOOL>");
    call(&scratch, &["config", "podman", "docker"]).fails(2).says("unexpected argument 'docker'");
    call(&scratch, &["config", "docker", "--containerd-version", "1.7"]).fails(2).says("config containerd");
    call(&scratch, &["config", "containerd", "--containerd-version", "new"]).fails(2).says("1.7 or 2.1");
    call(&scratch, &["config", "containerd", "--containerd-version", "1.2"]).fails(2).says("too old");
}

// ── doctor ──

fn report(output: &Output) -> Vec<Value> {
    output.json()["findings"].as_array().unwrap().clone()
}

#[test]
fn where_the_tests_run_containers_can_run_and_asking_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut command = Command::new(bookend());
    command.args(["--root", scratch.path().join("deep/root").to_str().unwrap(), "doctor"]);
    let output = finish(command, &scratch).ok().says("Containers can run here.").says("deep/root");
    assert!(!scratch.path().join("deep").exists());
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    let left = || Command::new("find").args(["/sys/fs/cgroup", "-name", "bookend-doctor-*"]).output().unwrap().stdout;
    common::Fixture::busybox().wait_for("no control group of it, nor of another test's", |_| left().is_empty());
    for line in output.stdout.lines() {
        let path = line.split(' ').any(|word| word.len() > 55);
        assert!(line.chars().count() <= 80 || path, "{line}");
    }
}

#[test]
fn the_report_for_programs_has_a_cure_for_all_that_is_not_ok() {
    let scratch = Scratch::new();
    let output = call(&scratch, &["doctor", "--format", "json"]).ok();
    assert_eq!(output.json()["canRun"], true);
    let findings = report(&output);
    for finding in &findings {
        assert!(["ok", "warn"].contains(&finding["verdict"].as_str().unwrap()), "{finding}");
        assert_eq!(finding["verdict"] == "ok", finding["cure"].is_null(), "{finding}");
    }
    for subject in ["kernel", "system calls", "namespaces", "proc", "overlay", "cgroups", "state"] {
        assert!(findings.iter().any(|finding| finding["subject"] == subject), "{subject} is missing");
    }
}

#[test]
fn a_user_without_newuidmap_is_told_and_can_run_containers_all_the_same() {
    if !needs_a_user("a_user_without_newuidmap_is_told_and_can_run_containers_all_the_same") {
        return;
    }
    let scratch = Scratch::new();
    let mut command = Command::new(bookend());
    command.arg("doctor").env("PATH", "/nonexistent").env("XDG_RUNTIME_DIR", runtime_dir(&scratch));
    finish(command, &scratch).ok().says("newuidmap is not in PATH").says("uidmap").says("no podman, docker");
}

#[test]
fn where_no_user_namespace_can_be_made_the_setting_to_change_is_named() {
    let scratch = Scratch::new();
    // Root of a user namespace that may have no more of them, without the rights to do without.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces
                  exec setpriv --inh-caps=-all --bounding-set=-all \"$1\" --root \"$2\" doctor";
    let root = scratch.path().join("root");
    let output = in_user_namespace(&scratch, script, root.to_str().unwrap()).fails(1);
    output.says("FAIL  namespaces").says("sysctl user.max_user_namespaces=").says("Containers cannot run here");
}

#[test]
fn a_state_directory_that_cannot_be_used_is_a_failure() {
    let scratch = Scratch::new();
    call(&scratch, &["--root", "/proc/nowhere/root", "doctor"]).fails(1).says("FAIL  state");
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    call(&scratch, &["--root", file.to_str().unwrap(), "doctor"]).fails(1).says("FAIL  state");
    call(&scratch, &["doctor", "--format", "xml"]).fails(2).says("text, json");
    call(&scratch, &["doctor", "web"]).fails(2).says("unexpected argument");
}

// ── completions ──

#[test]
fn bash_completes_verbs_and_flags() {
    if !needs_tool("bash_completes_verbs_and_flags", "bash") {
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.path().join("bookend.bash");
    fs::write(&file, call(&scratch, &["completions", "bash"]).ok().stdout).unwrap();
    let script = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1))
                  _bookend bookend \"${!#}\" \"${@: -2:1}\"; echo \"${COMPREPLY[@]}\"";
    let complete = |words: &[&str]| {
        let mut command = Command::new("bash");
        command.args(["--norc", "-euc", script, "bash"]).arg(&file).args(words);
        finish(command, &scratch).ok().stdout
    };
    assert_eq!(complete(&["bookend", "st"]), "start state stop\n");
    assert!(complete(&["bookend", "stop", "--gr"]).contains("--grace"));
    assert!(complete(&["bookend", "config", "po"]).contains("podman"));
}

#[test]
fn there_are_completions_for_the_known_shells_without_internal_verbs() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = call(&scratch, &["completions", shell]).ok().stdout;
        assert!(script.contains("timeline"), "{shell}");
        let code = script.lines().filter(|line| !line.starts_with('#'));
        let words = code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric()));
        let internal: Vec<&str> = words.filter(|word| ["supervise", "handle"].contains(word)).collect();
        assert!(internal.is_empty(), "{shell} has {internal:?}");
    }
    call(&scratch, &["completions", "tcsh"]).fails(2).says("bash, elvish, fish, powershell, zsh");
    call(&scratch, &["completions", "bash", "zsh"]).fails(2).says("unexpected argument");
}

#[test]
fn an_output_that_is_full_is_an_error() {
    let scratch = Scratch::new();
    for verb in ["completions bash", "config podman", "doctor"] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" --root \"$1\" {verb} > /dev/full")]);
        command.arg(bookend()).arg(scratch.path().join("root"));
        finish(command, &scratch).fails(1).says("write to stdout: No space left on device");
    }
}

// ── man ──

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn there_is_a_man_page_for_each_verb_and_it_can_be_written_again() {
    let scratch = Scratch::new();
    let dir = scratch.path().join("man1");
    for _ in 0..2 {
        call(&scratch, &["man", dir.to_str().unwrap()]).ok().says("man pages in");
    }
    let pages = names(&dir);
    let help = call(&scratch, &["--help"]).ok().stdout;
    let verbs = help.lines().take_while(|line| !line.starts_with("Options")).filter(|line| line.starts_with("  "));
    let verbs: Vec<&str> = verbs
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| !["#", "bookend"].contains(word))
        .collect();
    assert_eq!(pages.len(), verbs.len() + 1, "{pages:?}\n{verbs:?}");
    for verb in verbs {
        let page = fs::read_to_string(dir.join(format!("bookend-{verb}.1"))).unwrap();
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH EXAMPLES", ".SH OPTIONS", ".SH \"EXIT STATUS\""] {
            assert!(page.contains(section), "{verb} has no {section}");
        }
        assert!(page.contains(&format!("bookend\\-{verb} \\- ")), "{page}");
    }
    assert!(fs::read_to_string(dir.join("bookend.1")).unwrap().contains("bookend\\-timeline(1)"));
}

#[test]
fn a_page_of_somebody_else_is_never_replaced() {
    let scratch = Scratch::new();
    let foreign = scratch.path().join("bookend-run.1");
    fs::write(&foreign, "mine").unwrap();
    let dir = scratch.path().to_str().unwrap();
    call(&scratch, &["man", dir])
        .fails(1)
        .says("bookend-run.1 is not a page that bookend wrote")
        .says("remove it first");
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "mine");
    assert!(!names(scratch.path()).contains(&"bookend.1".to_owned()), "nothing is written when not all can be");
    fs::remove_file(&foreign).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &foreign).unwrap();
    call(&scratch, &["man", dir]).fails(1).says("is not a page that bookend wrote");
}

#[test]
fn a_directory_that_cannot_take_the_pages_is_told() {
    let scratch = Scratch::new();
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    call(&scratch, &["man", file.to_str().unwrap()]).fails(1).says("is no directory");
    let deep = scratch.path().join("no/man1");
    call(&scratch, &["man", deep.to_str().unwrap()]).fails(1).says("No such file or directory").says("mkdir -p");
    call(&scratch, &["man", "/proc/sys"]).fails(1).says("write a page to /proc/sys");
    call(&scratch, &["man"]).fails(2).says("<DIR>");
    call(&scratch, &["man", "a", "b"]).fails(2).says("unexpected argument 'b'");
}

#[test]
fn a_full_disk_leaves_no_half_page() {
    let scratch = Scratch::new();
    let dir = scratch.path().join("small");
    fs::create_dir(&dir).unwrap();
    let script = "mount -t tmpfs -o size=8k tmpfs \"$2\"; status=0; \"$1\" man \"$2\" || status=$?
                  for page in \"$2\"/* \"$2\"/.b*; do case $page in */.b*[0-9]) echo left: $page ;; esac; done; exit $status";
    let output = in_user_namespace(&scratch, script, dir.to_str().unwrap()).fails(1).says("No space left on device");
    assert!(!output.stdout.contains("left:"), "{}", output.stdout);
}

// ── help ──

#[test]
fn bookend_alone_prints_its_help_as_an_error() {
    let scratch = Scratch::new();
    let output = call(&scratch, &[]).fails(2);
    assert!(output.stdout.is_empty());
    output.says("bookend doctor").says("bookend test pod.yaml").says("Set-up:");
}

#[test]
fn help_has_an_example_and_the_long_one_says_more() {
    let scratch = Scratch::new();
    let short = call(&scratch, &["exec", "-h"]).ok().stdout;
    let long = call(&scratch, &["exec", "--help"]).ok().stdout;
    let same = call(&scratch, &["help", "exec"]).ok().stdout;
    assert!(short.contains("bookend exec web cat /etc/hosts\n\nUsage:"), "{short}");
    assert!(!short.contains("Exit codes:") && long.contains("Exit codes:"), "{short}\n{long}");
    assert_eq!(long, same);
}

#[test]
fn a_verb_of_another_tool_or_a_misspelt_one_is_answered_with_ours() {
    let scratch = Scratch::new();
    for (typed, ours) in [("rm", "bookend delete"), ("ls", "bookend list"), ("unpause", "bookend resume")] {
        call(&scratch, &[typed, "web"]).fails(2).says(&format!("it is `{ours}`"));
    }
    call(&scratch, &["staet"]).fails(2).says("'state'");
    call(&scratch, &["docter"]).fails(2).says("'doctor'");
    call(&scratch, &["checkpoint", "web"]).fails(1).says("not offered");
}

// ── docs/install.md ──

#[test]
fn the_commands_of_the_installation_guide_do_what_they_say() {
    let scratch = Scratch::new();
    let guide = fs::read_to_string(common::repository().join("docs/install.md")).unwrap();
    let blocks: Vec<&str> = guide.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 5);
    let prefix = scratch.path().join("usr");
    let run = |block: &str| {
        let script = block
            .replace("$(scripts/build | tail -n 1)", bookend().to_str().unwrap())
            .replace("/usr/local", prefix.to_str().unwrap())
            .replace("/etc/containers", scratch.path().join("etc").to_str().unwrap())
            .replace("sudo ", "");
        let mut command = Command::new("/bin/sh");
        let path = format!("{}/bin:{}", prefix.display(), std::env::var("PATH").unwrap());
        command.args(["-euc", &script]).env("PATH", path).env("XDG_RUNTIME_DIR", runtime_dir(&scratch));
        finish(command, &scratch).ok()
    };
    let (last, first) = blocks.split_last().unwrap();
    let outputs: String = first.iter().map(|block| run(block).stdout).collect();
    for words in ["bookend version", "Containers can run here.", "man pages in", "BinaryName", "kind: RuntimeClass"] {
        assert!(outputs.contains(words), "{words:?} in {outputs}");
    }
    for file in ["man/man1/bookend-run.1", "zsh/site-functions/_bookend", "bash-completion/completions/bookend"] {
        assert!(prefix.join("share").join(file).metadata().unwrap().len() > 100, "{file}");
    }
    let conf: toml::Table =
        toml::from_str(&fs::read_to_string(scratch.path().join("etc/containers.conf.d/50-bookend.conf")).unwrap())
            .unwrap();
    let installed = prefix.join("bin/bookend");
    assert_eq!(conf["engine"]["runtimes"]["bookend"][0].as_str(), installed.to_str());
    run(last);
    let left = Command::new("find").arg(&prefix).args(["-type", "f"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}
