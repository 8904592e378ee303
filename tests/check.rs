//! `bookend check`: what it finds, in which words and forms, and what it does with input that is none.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Output, Scratch, bookend, finish, needs_a_user, repository};

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

#[test]
fn real_manifests_have_the_findings_that_an_expert_would_name_and_no_others() {
    let manifests = files(&testdata().join("real"), ".yaml");
    assert!(manifests.len() >= 50);
    for (name, path) in manifests {
        let text = fs::read_to_string(&path).unwrap();
        let first = text.trim_start_matches('\u{feff}').lines().next().unwrap();
        let expected =
            first.strip_prefix("# expected: ").unwrap_or_else(|| panic!("{name} does not say what is expected"));
        let output = check(path.parent().unwrap(), &["--quiet", path.file_name().unwrap().to_str().unwrap()]);
        let found = ids(&output).join(" ");
        assert_eq!(found, expected.replace("none", ""), "{name}:\n{}", output.stdout);
        assert_eq!(output.code, i32::from(!found.is_empty()), "{name}");
    }
}

/// A directory with these files in it.
fn with(files: &[(&str, &str)]) -> Scratch {
    let scratch = Scratch::new();
    for (name, text) in files {
        let path = scratch.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    scratch
}

/// A Pod with this lifecycle.
fn pod(lifecycle: &str) -> String {
    format!("kind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - name: c\n    lifecycle: {lifecycle}\n")
}

fn pod_with_pre_stop(command: &str) -> String {
    pod(&format!("{{preStop: {{exec: {{command: {command}}}}}}}"))
}

#[test]
fn p_06_a_post_start_without_a_limit_is_told_and_one_with_a_limit_is_not() {
    let unlimited = pod("{postStart: {exec: {command: [/bin/warm]}}}");
    let limited = "lifecycle: {postStart: {exec: {command: [/bin/warm]}}}\n\
                   extensions: {policy: {postStart: {timeoutSeconds: 20}}}\n";
    let endless = pod("{postStart: {exec: {command: [sleep, infinity]}}}");
    let scratch = with(&[("unlimited.yaml", &unlimited), ("limited.yaml", limited), ("endless.yaml", &endless)]);
    check(scratch.path(), &["unlimited.yaml"])
        .ok()
        .says("info BE040: lifecycle.postStart.exec: postStart has no time limit");
    assert_eq!(check(scratch.path(), &["limited.yaml"]).ok().stdout, "");
    check(scratch.path(), &["endless.yaml"])
        .fails(1)
        .says("warning BE040: lifecycle.postStart.exec: postStart never ends");
}

#[test]
fn s_12_a_pre_stop_that_ends_pid_1_is_told_with_what_kubernetes_records() {
    let scratch = with(&[("pod.yaml", &pod_with_pre_stop("[nginx, -s, quit]"))]);
    check(scratch.path(), &["pod.yaml"]).fails(1).says("warning BE006").says("FailedPreStopHook (137)");
    let lifecycle = "lifecycle: {preStop: {exec: {command: [nginx, -s, quit]}}}\n";
    let scratch = with(&[("lifecycle.yaml", lifecycle)]);
    check(scratch.path(), &["lifecycle.yaml"]).ok().says("info BE006").says("Interrupted here");
}

#[test]
fn the_ready_made_lifecycles_have_no_findings() {
    let output = check(&repository(), &["hooks"]).ok();
    assert!(output.stderr.starts_with("no findings in "), "{}", output.stderr);
}

#[test]
fn the_exit_code_is_that_of_the_worst_file_and_every_file_is_read() {
    let bad = pod("{preStop: {}}");
    let scratch = with(&[("good.yaml", &pod("{preStop: {sleep: {seconds: 5}}}")), ("bad.yaml", &bad)]);
    let output = check(scratch.path(), &["good.yaml"]).ok();
    assert_eq!(output.stdout, "");
    assert_eq!(output.stderr, "no findings in 1 file, 1 container, 1 hook\n");
    check(scratch.path(), &["good.yaml", "bad.yaml"]).fails(1).says("1 error in 2 files, 2 containers, 2 hooks");
    let output = check(scratch.path(), &["none.yaml", "bad.yaml"]).fails(2);
    let output =
        output.says("none.yaml: error BE038: cannot be read: No such file or directory (os error 2); check the");
    assert!(output.stdout.contains("bad.yaml:6:26: error BE014: "), "{}", output.stdout);
    check(scratch.path(), &[]).fails(2).says("FILE");
    check(scratch.path(), &["--format", "xml", "good.yaml"]).fails(2).says("text, json, sarif, github");
    check(scratch.path(), &["-", "-"]).fails(2).says("given more than once");
}

#[test]
fn standard_input_is_a_file_too() {
    let scratch = with(&[("in.yaml", &pod("{preStop: {}}"))]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "\"$0\" check - < in.yaml"]).arg(bookend()).current_dir(scratch.path());
    finish(command, &scratch).fails(1).says("standard input:6:26: error BE014: ");
}

#[test]
fn a_directory_stands_for_the_manifests_below_it() {
    let bad = pod("{preStop: {}}");
    let scratch = with(&[
        ("a/b/deep.yml", &bad),
        ("a/pod.json", &serde_json::json!({"kind": "Pod", "spec": {"containers": []}}).to_string()),
        ("a/.git/hidden.yaml", &bad),
        ("a/notes.txt", &bad),
        // What other tools have in such directories is no affair of ours.
        ("a/tsconfig.json", "{ /* comment */ \"x\": 1,, }"),
        ("a/values.yaml", "image: {tag: 1}\nreplicas: 2\nlifecycle: {}\n"),
        ("a/templates/web.yaml", "kind: Pod\nspec: {containers: {{ toYaml .Values.containers }}}\n"),
    ]);
    std::os::unix::fs::symlink("..", scratch.path().join("a/loop")).unwrap();
    let output = check(scratch.path(), &["a"]).fails(1);
    let lines: Vec<&str> = output.stdout.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["a/b/deep.yml:6:26", "a/pod.json:1:36", "a/templates/web.yaml:2:1"], "{}", output.stdout);
    assert!(output.stdout.contains("info BE044"), "a template is told, and no error of a directory");
    let empty = with(&[("x/notes.txt", "")]);
    check(empty.path(), &["x"]).ok().says("x: info BE045: no *.yaml");
}

#[test]
fn only_the_container_that_was_asked_for_is_checked() {
    let two = "kind: Pod\nspec:\n  containers:\n  - {name: a, lifecycle: {preStop: {}}}\n  - {name: b, lifecycle: {postStart: {}}}\n";
    let scratch = with(&[("pod.yaml", two)]);
    let output = check(scratch.path(), &["--container", "b", "pod.yaml"]).fails(1);
    assert!(output.stdout.contains("postStart") && !output.stdout.contains("preStop"), "{}", output.stdout);
    let output = check(scratch.path(), &["--container", "c", "pod.yaml"]).fails(2);
    output.says("there is no container \"c\"; there are \"a\", \"b\"");
}

#[test]
fn v_33_what_is_no_yaml_is_told_with_its_place_and_a_cure() {
    let many = format!("kind: Pod\nspec: [{}]\n", "1,".repeat(200_000));
    for (name, text, place, sentence, cure) in [
        (
            "open.yaml",
            b"kind: Pod\nspec: {containers: [\n".as_slice(),
            ":",
            "not valid YAML or JSON: ",
            "mend the place",
        ),
        ("tab.yaml", b"kind: Pod\nspec:\n\tcontainers: []\n", ":3:", "not valid YAML or JSON: ", "no tabs"),
        ("twice.yaml", b"kind: Pod\nkind: Pod\n", ":2:1:", "duplicate key \"kind\", first on line 1", "keep one"),
        ("binary.yaml", b"\x7fELF\x02\x01\x01\0\0", ":1:1:", "control character 0x7f", ""),
        ("nul.yaml", b"kind: Pod\0\n", ":1:10:", "control character 0x00", "give a YAML or JSON file"),
        ("latin1.yaml", b"kind: P\xf6d\n", ":1:8:", "not UTF-8 text", "give a YAML or JSON file"),
        ("utf16.yaml", b"\xff\xfek\0i\0n\0d\0", ":1:1:", "not UTF-8 text", "it is UTF-16"),
        ("packed.yaml", b"\x1f\x8b\x08\0\0\0\0\0", ":1:", "", "it is compressed"),
        (
            "helm.yaml",
            b"kind: Pod\nmetadata: {name: {{ .Release.Name }}}\n",
            ":2:1:",
            "template of Helm",
            "helm template",
        ),
        ("deep.yaml", &b"[".repeat(100_000), ":1:", "not valid YAML or JSON: ", ""),
        ("bomb.yaml", include_bytes!("../testdata/pods/bomb.yaml"), ":", "aliases expand to too many values", ""),
        ("many.yaml", many.as_bytes(), ":2:", "more than 100000 values", ""),
        ("word.yaml", b"hello\n", ":1:1:", "Invalid value: \"hello\": must be an object", "give a Pod"),
    ] {
        let scratch = Scratch::new();
        fs::write(scratch.path().join(name), text).unwrap();
        let output = check(scratch.path(), &["-q", name]);
        let told = output.stdout.clone();
        assert!(!told.contains("binary") || output.code == 2);
        if name == "binary.yaml" {
            assert!(told.contains("error BE0") && output.code == 2, "{told}");
            continue;
        }
        assert_eq!(output.code, 2, "{name}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.starts_with(&format!("{name}{place}")), "{told}");
        assert!(told.contains(sentence) && told.contains(cure), "{told}");
        assert!(told.contains(": error BE0"), "{told}");
    }
}

#[test]
fn v_33_a_large_file_is_read_in_parts_and_one_that_is_too_large_is_not_read() {
    let large = format!(
        "{}---\n{}",
        format!("kind: ConfigMap\ndata: {{x: '{}'}}\n---\n", "x".repeat(900_000)).repeat(4),
        pod("{preStop: {}}")
    );
    let scratch = with(&[("large.yaml", &large)]);
    check(scratch.path(), &["large.yaml"]).fails(1).says("large.yaml:19:26: error BE014");
    let file = fs::File::create(scratch.path().join("huge.yaml")).unwrap();
    file.set_len(1 << 40).unwrap();
    check(scratch.path(), &["huge.yaml"]).fails(2).says("huge.yaml: error BE038: larger than 32 MiB; split it");
}

#[test]
fn crlf_a_byte_order_mark_and_unicode_keep_their_columns() {
    let text = pod("{preStop: {}}").replace('\n', "\r\n");
    let scratch = with(&[
        ("dos.yaml", &format!("\u{feff}{text}")),
        ("wide.yaml", "kind: Pod\nspec: {containers: [{name: é, lifecyle: {}}]}"),
    ]);
    check(scratch.path(), &["dos.yaml"]).fails(1).says("dos.yaml:6:26: error BE014");
    check(scratch.path(), &["wide.yaml"]).fails(1).says("wide.yaml:2:31: error BE009");
}

#[test]
fn init_and_ephemeral_containers_have_no_hooks_and_sidecars_do() {
    let text = "kind: Pod\nspec:\n  containers: [{name: a}]\n  initContainers:\n  - {name: b, lifecycle: {preStop: {sleep: {seconds: 1}}}}\n  \
                - {name: c, restartPolicy: Always, lifecycle: {preStop: {sleep: {seconds: 1}}}}\n  \
                - {name: d, restartPolicy: Always, lifecycle: {preStop: {}}}\n  \
                ephemeralContainers:\n  - {name: e, lifecycle: {preStop: {sleep: {seconds: 1}}}}\n";
    let scratch = with(&[("pod.yaml", text)]);
    let output = check(scratch.path(), &["-q", "pod.yaml"]).fails(1);
    assert_eq!(ids(&output), ["BE007", "BE014", "BE007"], "{}", output.stdout);
    assert!(output.stdout.contains("spec.initContainers[0].lifecycle: Forbidden"), "{}", output.stdout);
    assert!(output.stdout.contains("cannot be set for an Ephemeral Container"), "{}", output.stdout);
}

#[test]
fn x_e10_what_a_busybox_shell_can_do_itself_is_not_looked_for_and_the_rest_is() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let root = Scratch::new();
    let bin = root.path().join("bin");
    fs::create_dir(&bin).unwrap();
    // As in the real one, each name has a NUL behind it.
    fs::write(bin.join("busybox"), "\0[\0cat\0sleep\0wget\0").unwrap();
    fs::set_permissions(bin.join("busybox"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/bin/busybox", bin.join("sh")).unwrap();
    let run = |line: &str| {
        let scratch = with(&[("pod.yaml", &pod_with_pre_stop(&format!("[sh, -c, '{line}']")))]);
        check(scratch.path(), &["-q", "--rootfs", root.path().to_str().unwrap(), "pod.yaml"])
    };
    assert_eq!(run("cat x | cat; wget http://x/ & wait; ulimit -n; sleep 1").ok().stdout, "");
    for (line, lacks) in [("curl http://x/", "\"curl\""), ("sleep 1; /usr/bin/wget http://x/", "\"/usr/bin/wget\"")] {
        run(line).fails(1).says(&format!("warning BE005: lifecycle.preStop.exec: the shell line calls {lacks}"));
    }
}

#[test]
fn x_e10_programs_are_looked_for_inside_the_root_file_system() {
    let root = Scratch::new();
    let at = |path: &str| root.path().join(path);
    fs::create_dir_all(at("usr/bin")).unwrap();
    fs::create_dir_all(at("opt")).unwrap();
    std::os::unix::fs::symlink("usr/bin", at("bin")).unwrap();
    let program = |path: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        fs::write(at(path), text).unwrap();
        fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    program("usr/bin/sh", "", 0o755);
    program("usr/bin/drain", "#!/bin/sh\n", 0o755);
    program("opt/script", "#! /usr/bin/python3 -u\n", 0o755);
    program("opt/plain", "", 0o644);
    std::os::unix::fs::symlink("/bin/drain", at("opt/absolute")).unwrap();
    // Out of the root, where it would be found.
    std::os::unix::fs::symlink("../../../../../../../../bin/ls", at("opt/outside")).unwrap();
    std::os::unix::fs::symlink("loop", at("opt/loop")).unwrap();
    let run = |manifest: &str| {
        let scratch = with(&[("pod.yaml", manifest)]);
        let rootfs = root.path().to_str().unwrap().to_owned();
        check(scratch.path(), &["-q", "--rootfs", &rootfs, "pod.yaml"])
    };
    for command in [
        "[/bin/drain]",
        "[drain]",
        "[/opt/absolute]",
        "[sh, -c, drain; echo done]",
        "[relative/program]",
        "[sh, -c, 'x || true']",
    ] {
        let output = run(&pod_with_pre_stop(command));
        let clean = output.stdout.is_empty() || command.contains("x ||");
        assert!(clean, "{command}: {}", output.stdout);
    }
    for (command, severity, sentence) in [
        ("[/bin/nosuch]", "error", "the root file system has no \"/bin/nosuch\""),
        ("[nosuch]", "warning", "the root file system has no \"nosuch\" in the usual PATH"),
        ("[/opt/plain]", "error", "\"/opt/plain\" is not executable"),
        ("[/opt]", "error", "\"/opt\" is not executable"),
        ("[/opt/script]", "error", "is a script for \"/usr/bin/python3\", which the root file system lacks"),
        ("[/opt/outside]", "error", "has no \"/opt/outside\""),
        ("[/opt/loop]", "error", "has no \"/opt/loop\""),
        ("[/bin/bash, -c, drain]", "error", "has no \"/bin/bash\""),
        ("[sh, -c, drain && curl -s http://x/]", "warning", "the shell line calls \"curl\""),
    ] {
        let output = run(&pod_with_pre_stop(command)).fails(1);
        assert!(
            output.stdout.contains(&format!("{severity} BE005: ")) && output.stdout.contains(sentence),
            "{}",
            output.stdout
        );
    }
    let mounted = pod_with_pre_stop("[/scripts/drain.sh]") + "    volumeMounts: [{name: s, mountPath: /scripts}]\n";
    assert_eq!(run(&mounted).ok().stdout, "");
    let path = pod_with_pre_stop("[script]") + "    env: [{name: PATH, value: '/opt:/bin'}]\n";
    run(&path).fails(1).says("error BE005").says("python3");
    let scratch = with(&[("pod.yaml", &pod("{}"))]);
    check(scratch.path(), &["--rootfs", "nosuch", "pod.yaml"]).fails(2).says("--rootfs: open nosuch: No such file");
}

#[test]
fn json_has_every_finding_and_a_summary() {
    let output = check(&testdata(), &["-q", "--format", "json", "BE001.yaml", "BE045.yaml"]).fails(1);
    let report = output.json();
    assert_eq!(report["version"], 1);
    assert_eq!(
        report["findings"][0],
        serde_json::json!({
            "id": "BE001", "rule": "hook-time", "severity": "warning", "file": "BE001.yaml", "line": 9, "column": 23,
            "workload": "Pod/web", "container": "web",
            "message": "lifecycle.preStop.exec: takes at least 30 s, and the grace period is 30 s: the process gets the stop \
                        signal only then, and SIGKILL 2 s later",
            "cure": "raise terminationGracePeriodSeconds or shorten the hook: the grace period covers preStop and the shutdown together",
        })
    );
    assert_eq!(report["findings"][1]["line"], serde_json::Value::Null);
    let summary = serde_json::json!({
        "files": 2, "containers": 1, "hooks": 1, "errors": 0, "warnings": 1, "infos": 1, "exitCode": 1
    });
    assert_eq!(report["summary"], summary);
}

/// The parts of the SARIF 2.1.0 schema that a log like ours must keep to; the whole schema was held against it by hand.
#[test]
fn sarif_is_what_its_schema_asks_for() {
    let log = check(&repository(), &["-q", "--format", "sarif", "testdata/check"]).fails(2).json();
    assert_eq!((log["version"].as_str(), log["runs"].as_array().unwrap().len()), (Some("2.1.0"), 1));
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "bookend");
    let rules = driver["rules"].as_array().unwrap();
    for (index, rule) in rules.iter().enumerate() {
        assert_eq!(rule["id"], format!("BE{:03}", index + 1));
        assert!(rule["shortDescription"]["text"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let results = run["results"].as_array().unwrap();
    assert!(results.len() > 60);
    for result in results {
        let index = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(repository().join(uri).exists(), "{uri}");
        if let Some(region) = place.get("region") {
            assert!(region["startLine"].as_u64() > Some(0) && region["startColumn"].as_u64() > Some(0));
        }
    }
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    assert_eq!(run["columnKind"], "unicodeCodePoints");
}

#[test]
fn github_gets_an_annotation_for_each_finding() {
    let output = check(&testdata(), &["-q", "--format", "github", "BE014.yaml", "BE013.yaml"]).fails(1);
    assert_eq!(
        output.stdout,
        "::error file=BE014.yaml,line=8,col=16,title=BE014 A hook has no handler::lifecycle.preStop: Required value: must \
         specify a handler type; give it exec, httpGet or sleep\n\
         ::notice file=BE013.yaml,line=8,col=26,title=BE013 Kubernetes counts any HTTP answer of a hook as \
         success::lifecycle.preStop.httpGet: any answer counts as success, 404 and 500 too; where the status matters, use an \
         exec hook, or under bookend the policy successStatus: 2xx-3xx\n"
    );
}

#[test]
fn the_page_of_findings_shows_every_rule_with_its_example_and_what_it_prints() {
    let page = fs::read_to_string(repository().join("docs/check.md")).unwrap();
    for (id, path) in files(&testdata(), ".yaml") {
        let section =
            page.split("\n### ").find(|section| section.starts_with(&id)).unwrap_or_else(|| panic!("no section {id}"));
        for part in [path.clone(), path.with_extension("txt")] {
            let text = fs::read_to_string(&part).unwrap();
            assert!(section.contains(text.trim_end()), "docs/check.md does not show {}", part.display());
        }
    }
}

#[test]
fn what_may_not_be_read_is_told_and_the_rest_is_checked() {
    // Root may read anything.
    if !needs_a_user("what_may_not_be_read_is_told_and_the_rest_is_checked") {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let scratch = with(&[("d/secret.yaml", ""), ("d/closed/x.yaml", ""), ("d/bad.yaml", &pod("{preStop: {}}"))]);
    let close =
        |path: &str, mode| fs::set_permissions(scratch.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    close("d/secret.yaml", 0);
    close("d/closed", 0);
    let output = check(scratch.path(), &["d"]);
    close("d/closed", 0o700);
    let output = output.fails(2).says("d/secret.yaml: error BE038: cannot be read: Permission denied");
    output.says("d/closed: error BE038: cannot be read: Permission denied").says("d/bad.yaml:6:26: error BE014");
}

#[test]
fn a_patch_without_containers_is_no_finding() {
    let patch = "kind: Deployment\nspec:\n  template:\n    spec: {nodeSelector: {disk: ssd}}\n";
    let misspelt = "lifecyle: {preStop: {sleep: {seconds: 5}}}\n";
    let scratch = with(&[("patch.yaml", patch), ("lifecycle.yaml", misspelt)]);
    check(scratch.path(), &["patch.yaml"]).ok().says("info BE043");
    check(scratch.path(), &["lifecycle.yaml"]).fails(1).says("1:1: error BE009: lifecyle: Unknown field; did you mean");
}

#[test]
fn the_commands_of_the_page_do_what_they_say() {
    let page = fs::read_to_string(repository().join("docs/check.md")).unwrap();
    let block = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let clean = pod("{preStop: {sleep: {seconds: 5}}}");
    let scratch = with(&[("pod.yaml", &clean), ("k8s/web.yaml", &clean), ("rootfs/etc/hostname", "")]);
    let script = format!("set -eux; helm() {{ cat pod.yaml; }}; bookend() {{ {:?} \"$@\"; }}\n{block}", bookend());
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).current_dir(scratch.path());
    let output = finish(command, &scratch).ok();
    assert_eq!(output.stderr.matches("no findings in 1 file, 1 container, 1 hook").count(), 5, "{}", output.stderr);
    let sarif = fs::read_to_string(scratch.path().join("check.sarif")).unwrap();
    assert!(sarif.contains("\"version\": \"2.1.0\""));
}

#[test]
fn what_kubernetes_does_not_run_is_not_judged_by_what_it_would_do() {
    let annotated = |key: &str, value: &str| {
        format!("kind: Pod\nmetadata: {{annotations: {{{key}: '{value}'}}}}\nspec: {{containers: [{{name: a}}]}}\n")
    };
    let stop_signal =
        r#"{"lifecycle": {"stopSignal": "SIGQUIT", "preStop": {"exec": {"command": ["a"], "timeoutSeconds": 5}}}}"#;
    for (key, value, told) in [
        ("bookend/pre-stop.tcp", ":80", "info BE003"),
        ("bookend/pre-stop", "nginx -s quit", "info BE006"),
        ("bookend/pre-stop.http", "http://localhost:80/", "info BE013"),
        ("bookend/lifecycle", stop_signal, ""),
    ] {
        let scratch = with(&[("pod.yaml", &annotated(key, value))]);
        let output = check(scratch.path(), &["-q", "pod.yaml"]).ok();
        assert_eq!(output.stdout.lines().count(), usize::from(!told.is_empty()), "{}", output.stdout);
        output.says(told);
    }
    let scratch = with(&[("lifecycle.yaml", "lifecycle: {postStart: {tcpSocket: {port: 80}}}\n")]);
    check(scratch.path(), &["lifecycle.yaml"]).ok().says("info BE003");
}
