//! What README.md, hooks/README.md and the pages of docs/ on seeing, CI and troubleshooting show is true: their commands are
//! run here as they stand.

mod common;

use std::fs;
use std::process::Command;

use common::{Scratch, block, bookend, bundles, finish, repository};

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// Runs a block of the README by sh, with the binary under test, a bundle of ours, and the repository as directory.
fn run(script: &str) -> common::Output {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path().join("run")).unwrap();
    let bundle = scratch.path().join("bundle");
    let copied = Command::new("cp").arg("-a").arg(bundles().join("busybox")).arg(&bundle).status().unwrap();
    assert!(copied.success());
    if !common::is_root() {
        // What `scripts/mkbundle --rootless` makes.
        let rootless = ["busybox", bundle.to_str().unwrap(), "--rootless", "--config-only"];
        let made = Command::new(repository().join("scripts/mkbundle")).args(rootless).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let script = script
        .replace("$(scripts/build | tail -n 1)", bookend().to_str().unwrap())
        .replace("scripts/mkbundle busybox /tmp/bundle", ":")
        .replace("/tmp/bundle", bundle.to_str().unwrap())
        .replace("sudo ", "")
        .replace("tutorial", &format!("readme-{}", std::process::id()));
    let mut command = Command::new("/bin/sh");
    command
        .args(["-euxc", &format!("bookend={}; bookend() {{ \"$bookend\" \"$@\"; }}; {script}", bookend().display())])
        .current_dir(repository());
    command.env("XDG_RUNTIME_DIR", scratch.path().join("run")).env("TMPDIR", scratch.path());
    finish(command, &scratch)
}

#[test]
fn the_readme_shows_the_pod_of_the_tutorial() {
    assert_eq!(
        block(&read("README.md"), "This is the Pod", "yaml").trim_end(),
        read("testdata/hooks-pod.yaml").trim_end()
    );
}

#[test]
fn the_example_of_the_readme_does_what_it_says() {
    let output = run(block(&read("README.md"), "Make a bundle", "sh")).ok();
    assert!(output.stderr.contains("Hello postStart!"), "{}", output.stderr);
    assert!(output.stdout.contains("hooks-pod: passed"), "{}", output.stdout);
}

#[test]
fn the_same_by_hand_does_what_it_says() {
    let output = run(block(&read("README.md"), "The same by hand", "sh")).ok();
    output
        .says("Hello postStart!")
        .says("\"phase\": \"Running\"")
        .says("stopped after")
        .says("exit code 0")
        .says("preStop");
}

#[test]
fn the_page_on_seeing_does_what_it_says() {
    let page = read("docs/seeing.md");
    let blocks = ["Make a container", "## The questions", "## The history"].map(|after| block(&page, after, "sh"));
    let script = ["lifecycle.yaml", "tutorial.svg", "tutorial.html"]
        .iter()
        .fold(blocks.concat(), |script, file| script.replace(&format!("/tmp/{file}"), &format!("$TMPDIR/{file}")));
    let script = script + "\nhead -c 5 $TMPDIR/tutorial.svg; cat $TMPDIR/tutorial.html\n";
    let output = run(&script).ok();
    output.says("db not reachable").says("FailedPreStopHook").says("<svg ").says("<!doctype html>").says("Skipped");
    let record: bookend::lifecycle::journal::Record =
        serde_json::from_str(block(&page, "## The journal", "json")).unwrap();
    let shown = serde_json::to_value(record).unwrap();
    for field in shown.as_object().unwrap().keys() {
        assert!(page.contains(&format!("`{field}`")), "{field} has no line");
    }
}

#[test]
fn the_lifecycle_of_the_readme_is_valid() {
    let scratch = Scratch::new();
    let file = scratch.path().join("lifecycle.yaml");
    fs::write(&file, block(&read("README.md"), "## Hooks", "yaml")).unwrap();
    let mut command = Command::new(bookend());
    command.args(["hooks", "--resolve"]).arg(&file);
    finish(command, &scratch).ok().says("postStart").says("preStop").says("preStart").says("postStop");
}

/// Commands of a guide, in a directory with the deployment that it speaks of, on a bundle in place of an image.
fn run_in_guide(script: &str) -> common::Output {
    let manifest = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web
        command: [/bin/entrypoint]
        lifecycle:
          postStart: {exec: {command: [touch, /tmp/up]}}
          preStop: {exec: {command: [sleep, "0.1"]}}
"#;
    run(&format!("cd $(mktemp -d); mkdir deploy; cat > deploy/web.yaml <<'END'{manifest}END\n{script}")
        .replace("--image web.tar", "--bundle /tmp/bundle --run-for 200ms"))
}

#[test]
fn the_commands_of_the_guide_for_ci_do_what_they_say() {
    let guide = read("docs/ci.md");
    let script = block(&guide, "Two commands make a good job", "sh");
    let output = run_in_guide(&format!("{script}\ngrep -c testcase hooks.xml; head -c 4 hooks.svg")).ok();
    assert!(output.stdout.contains("web: passed") && output.stdout.contains("<svg"), "{}", output.stdout);
    run_in_guide(block(&guide, "## What if", "sh")).ok();
}

#[test]
fn the_example_of_the_troubleshooting_page_says_why() {
    let page = read("docs/troubleshooting.md");
    let pod = block(&page, "## The same in an example", "yaml");
    let command = block(&page, "## The same in an example", "sh");
    let output = run(&format!("cd $(mktemp -d); cat > broken.yaml <<'END'\n{pod}END\n{command}")).fails(1);
    for words in block(&page, "the story of the hook", "text").lines() {
        assert!(output.stdout.contains(words), "{words:?} in {}", output.stdout);
    }
}

#[test]
fn every_ready_made_lifecycle_is_valid_and_has_its_line() {
    let readme = read("hooks/README.md");
    let mut found = 0;
    for entry in fs::read_dir(repository().join("hooks")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "README.md" {
            continue;
        }
        let scratch = Scratch::new();
        let mut command = Command::new(bookend());
        command.args(["hooks", "--resolve"]).arg(&path);
        finish(command, &scratch).ok();
        assert!(readme.contains(&format!("`{name}`")), "hooks/README.md has no line for {name}");
        found += 1;
    }
    assert!(found >= 3);
}

#[test]
fn every_file_that_the_map_names_is_there() {
    let map = read("ARCHITECTURE.md");
    let words = map.split(|c: char| !(c.is_alphanumeric() || "/._-".contains(c)));
    let roots = [
        "src/",
        "cli/",
        "lifecycle/",
        "handler/",
        "supervisor/",
        "container/",
        "cgroup/",
        "linux/",
        "tests/",
        "scripts/",
    ];
    let paths = words.filter(|word| roots.iter().any(|root| word.starts_with(root)) && word.ends_with(".rs"));
    let mut seen = 0;
    for path in paths {
        let full = if path.starts_with("src/") || path.starts_with("tests/") {
            path.to_owned()
        } else {
            format!("src/{path}")
        };
        assert!(repository().join(&full).exists(), "ARCHITECTURE.md names {full}, which does not exist");
        seen += 1;
    }
    assert!(seen >= 8, "the map names its files");
}
