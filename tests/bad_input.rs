//! Bad input: what is said, with which code, and that nothing is created (issue "First light", item 7). A message says
//! the operation, the object, the cause and where there is one the next step.

mod common;

use std::fs;

use serde_json::{Value, json};

use common::{Fixture, Output, is_root};

/// `create` (1) and `run` (125) say all of these words, and nothing is left.
#[track_caller]
fn refused(c: &Fixture, words: &[&str]) {
    for (output, verb) in [(c.create().fails(1), "create"), (c.run().fails(125), "run")] {
        let whole = format!("bookend: {verb} {}: ", c.id);
        assert!(output.stderr.lines().any(|line| line.starts_with(&whole)), "{whole:?} in {}", output.stderr);
        for word in words {
            assert!(output.stderr.contains(word), "{verb}: {word:?} in {}", output.stderr);
        }
        assert!(!output.stderr.contains("panicked") && !output.stderr.contains("stack backtrace"), "{}", output.stderr);
        c.assert_nothing_left();
    }
}

#[track_caller]
fn config_refused(pointer: &str, value: Value, words: &[&str]) {
    let c = Fixture::busybox().with(|config| {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        if config["linux"]["resources"].is_null() {
            config["linux"]["resources"] = json!({}); // the rootless template has none
        }
        config.pointer_mut(parent).unwrap()[key] = value;
    });
    refused(&c, words);
}

#[test]
fn a_bundle_config_or_root_that_is_missing_is_told() {
    let c = Fixture::busybox();
    let call = |bundle: &str| c.call(&["create", "--bundle", bundle, &c.id]).fails(1);
    call("/nonexistent").says("/nonexistent").says("No such file or directory");
    let empty = c.scratch.path().join("empty");
    fs::create_dir(&empty).unwrap();
    call(empty.to_str().unwrap()).says("config.json").says("No such file or directory");
    call("/etc/passwd").says("/etc/passwd").says("Not a directory");
    let c = Fixture::busybox();
    fs::rename(c.rootfs(), c.bundle().join("elsewhere")).unwrap();
    refused(&c, &["rootfs", "No such file or directory"]);
}

#[test]
fn a_config_that_is_no_json_has_its_line_and_column() {
    let c = Fixture::busybox();
    c.write();
    let bundle = c.bundle();
    for (text, words) in [
        ("{\n  \"ociVersion\": \"1.0.2\",\n", &["config.json", "line 3 column", "EOF"][..]),
        ("", &["config.json", "EOF"]),
        ("[]", &["config.json", "not a JSON object"]),
        ("{\"ociVersion\": nonsense}", &["line 1 column"]),
        ("{\"process\": {\"args\": \"sh\"}}", &["process.args"]),
        ("\u{0}", &["config.json", "line 1"]),
    ] {
        fs::write(bundle.join("config.json"), text).unwrap();
        let mut output = c.call(&["create", "--bundle", bundle.to_str().unwrap(), &c.id]).fails(1);
        for word in words {
            output = output.says(word);
        }
        c.assert_nothing_left();
    }
}

#[test]
fn what_the_specification_demands_is_checked_field_by_field() {
    config_refused("/ociVersion", json!("2.0.0"), &["ociVersion", "\"2.0.0\"", "bookend knows 1.x"]);
    config_refused("/process/args", json!([]), &["process.args", "name the program"]);
    config_refused("/process/args", json!([""]), &["process.args[0]", "empty"]);
    config_refused("/process/cwd", json!("relative"), &["process.cwd", "\"relative\" is not an absolute path"]);
    config_refused("/process/env", json!(["NOVALUE"]), &["process.env[0]", "NAME=VALUE"]);
    config_refused("/process", Value::Null, &["process", "missing"]);
    config_refused("/root", Value::Null, &["root", "missing"]);
    config_refused("/linux/namespaces", json!([{"type": "nonsense"}]), &["linux.namespaces[0].type", "nonsense"]);
    config_refused("/process/args", json!(["a\u{0}b"]), &["process.args[0]", "NUL"]);
    config_refused("/linux/maskedPaths", json!(["proc"]), &["linux.maskedPaths[0]", "absolute"]);
    config_refused("/hostname", json!("x".repeat(65)), &["hostname", "64"]);
    config_refused("/hooks", json!({"poststart": [{"path": "x"}]}), &["hooks.poststart[0].path", "absolute"]);
}

#[test]
fn all_problems_are_told_at_once() {
    let c = Fixture::busybox().with(|config| {
        config["process"]["cwd"] = json!("x");
        config["process"]["args"] = json!([]);
        config["linux"]["personality"] = json!({"domain": "x"});
    });
    refused(&c, &["process.cwd", "process.args", "linux.personality"]);
}

/// What the specification knows and this host does not have: refused by name, never ignored.
#[test]
fn what_is_not_there_is_refused_by_name() {
    for (pointer, value) in [
        ("/process/apparmorProfile", json!("x")),
        ("/process/selinuxLabel", json!("x")),
        ("/linux/mountLabel", json!("x")),
        ("/linux/intelRdt", json!({"closID": "no-such-group"})),
        ("/linux/netDevices", json!({"no-such-dev": {}})),
    ] {
        config_refused(pointer, value, &[&pointer[1..].replace('/', ".")]);
    }
    let option =
        |option: &str| json!([{"destination": "/v", "source": "/etc", "type": "bind", "options": ["bind", option]}]);
    for name in ["move", "tmpcopyup"] {
        config_refused("/mounts", option(name), &["mounts[0]", name]);
    }
}

#[test]
fn a_lifecycle_that_is_no_good_creates_nothing() {
    let c = Fixture::busybox().handler("postStart", json!({"exec": {"command": []}}));
    refused(&c, &["postStart"]);
    let c = Fixture::busybox().annotation("bookend/pre-stopp", "true");
    refused(&c, &["bookend/pre-stopp", "did you mean"]);
}

/// As runc: what cannot be told is not done.
#[test]
fn a_log_that_cannot_be_opened_creates_nothing() {
    let c = Fixture::busybox();
    c.write();
    let bundle = c.bundle();
    let create = ["--log", "/nonexistent/log", "create", "--bundle", bundle.to_str().unwrap(), &c.id];
    let output = c.call(&create).fails(1);
    assert_eq!(
        output.stderr,
        "bookend: open the log /nonexistent/log (--log): No such file or directory (os error 2)\n"
    );
    c.assert_nothing_left();
}

/// lifecycle.md section 9: all of them, one a line, without a prefix; a caller's log has the whole story in one line.
#[test]
fn the_problems_of_a_lifecycle_are_told_one_a_line_without_a_prefix() {
    let c = Fixture::busybox().handler("postStart", json!({})).handler("prestop", json!({"sleep": {}}));
    let log = c.scratch.path().join("log.json");
    c.write();
    let bundle = c.bundle();
    let flags = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let output = c.call(&[&flags[..], &["create", "--bundle", bundle.to_str().unwrap(), &c.id]].concat()).fails(1);
    let mut lines: Vec<&str> = output.stderr.lines().collect();
    let summary = lines.pop().unwrap();
    lines.sort();
    assert_eq!(
        lines,
        [
            "lifecycle.postStart: Required value: must specify a handler type",
            "lifecycle.prestop: Unknown field; did you mean \"preStop\"?",
        ]
    );
    assert_eq!(summary, format!("bookend: create {}: 2 problems in the lifecycle; nothing was created", c.id));
    let story = std::fs::read_to_string(log).unwrap();
    assert!(
        story.lines().count() == 1 && lines.iter().all(|line| story.contains(&line.replace('"', "\\\""))),
        "{story}"
    );
}

/// A failed `create` removes what it had made by then, wherever it fails.
#[test]
fn create_leaves_nothing_at_whatever_point_it_fails() {
    let mount = |source: &str| json!([{"destination": "/v", "source": source, "type": "bind", "options": ["bind"]}]);
    config_refused("/mounts", mount("/nonexistent"), &["/nonexistent", "No such file"]);
    config_refused("/root/path", json!("nowhere"), &["nowhere"]);
    config_refused("/hooks", json!({"createRuntime": [{"path": "/bin/false"}]}), &["createRuntime hook #0 /bin/false"]);
    config_refused("/process/cwd", json!("/bin/sh"), &["/bin/sh"]);
    let c = Fixture::busybox().entrypoint(["/nonexistent"]);
    c.create().fails(1).says("/nonexistent");
    c.assert_nothing_left();
    let c = Fixture::busybox().flag("--pid-file").flag("/nonexistent/dir/pid");
    refused(&c, &["/nonexistent/dir/pid", "No such file"]);
    let c = Fixture::busybox().flag("--console-socket").flag("/nonexistent/socket");
    let c = c.with(|config| config["process"]["terminal"] = json!(true));
    refused(&c, &["/nonexistent/socket"]);
    if is_root() {
        config_refused("/linux/sysctl", json!({"net.ipv4.nonsense": "1"}), &["net.ipv4.nonsense"]);
    }
    let c = Fixture::busybox().hook("postStart", "true").with(|config| config["root"]["path"] = json!("nowhere"));
    refused(&c, &["nowhere"]);
}

#[test]
fn a_failed_start_leaves_a_container_that_can_be_deleted() {
    let c = Fixture::busybox().entrypoint(["/bin/program"]);
    fs::copy(c.rootfs().join("bin/busybox"), c.rootfs().join("bin/program")).unwrap();
    c.create().ok();
    fs::remove_file(c.rootfs().join("bin/program")).unwrap();
    c.verb("start").fails(1).says(&format!("start {}", c.id)).says("/bin/program").says("no such file");
    c.wait_for("stopped", |c| c.status() == "stopped");
    c.verb("delete").ok();
    c.assert_nothing_left();
}

#[test]
fn exec_says_what_is_wrong() {
    let c = Fixture::busybox().started();
    let exec = |args: &[&str]| c.call(&[&["exec"], args].concat());
    exec(&[&c.id, "/nonexistent"]).fails(127).says("no such file or directory");
    exec(&[&c.id, "nonexistent"]).fails(127).says("executable file not found in $PATH");
    exec(&[&c.id, "/etc/passwd"]).fails(126).says("permission denied");
    exec(&[&c.id]).fails(2).says("name a command");
    exec(&["--cwd", "relative", &c.id, "true"]).fails(125).says("absolute");
    exec(&["--user", "nobody", &c.id, "true"]).fails(2).says("\"nobody\"");
    exec(&["--cap", "CAP_FLY", &c.id, "true"]).fails(2).says("CAP_FLY");
    exec(&["--process", "/nonexistent.json", &c.id]).fails(125).says("/nonexistent.json");
    exec(&["--process", "/dev/zero", &c.id]).fails(125).says("larger than");
    exec(&["--env", "NOVALUE", &c.id, "true"]).fails(2).says("NAME=VALUE");
    let bad = c.scratch.path().join("process.json");
    for (text, word) in [("{", "line 1"), ("{\"args\": []}", "process"), ("[]", "process.json")] {
        fs::write(&bad, text).unwrap();
        exec(&["--process", bad.to_str().unwrap(), &c.id]).fails(125).says(word);
    }
    exec(&["--apparmor", "x", &c.id, "true"]).fails(125).says("process.apparmorProfile");
    exec(&["--cwd", "/nonexistent/dir", &c.id, "pwd"]).says("/nonexistent/dir");
    assert_eq!(c.status(), "running");
}

#[test]
fn the_names_of_bookends_own_directories_are_no_ids_in_the_default_root() {
    let c = Fixture::busybox();
    c.write();
    let scratch = &c.scratch;
    let bundle = c.bundle();
    for id in ["history", "roots", "seccomp"] {
        let mut command = std::process::Command::new(common::bookend());
        command.args(["create", "--bundle"]).arg(&bundle).arg(id);
        // The default root of a test, also as root: in a user namespace of its own it is in XDG_RUNTIME_DIR.
        command.env("XDG_RUNTIME_DIR", scratch.path().join("run"));
        common::finish(command, scratch).fails(1).says("a name of bookend's own");
    }
}

// ── docs/bad-input.md ──

/// A configuration with one thing changed, run.
fn run_with(change: impl FnOnce(&mut Value)) -> (Fixture, Output) {
    let c = Fixture::busybox().shell("true").with(change);
    let output = c.run();
    (c, output)
}

fn call(verb: &[&str]) -> (Fixture, Output) {
    let c = Fixture::busybox();
    let words: Vec<&str> = verb.iter().map(|word| if *word == "ID" { c.id.as_str() } else { word }).collect();
    let output = c.call(&words);
    (c, output)
}

fn hook(kind: &'static str, hook: Value) -> (Fixture, Output) {
    run_with(move |config| config["hooks"] = json!({kind: [hook]}))
}

fn a_config_of(text: Option<&str>) -> (Fixture, Output) {
    let c = Fixture::busybox();
    c.write();
    let config = c.bundle().join("config.json");
    match text {
        Some(text) => fs::write(config, text).unwrap(),
        None => fs::remove_file(config).unwrap(),
    }
    let output = c.call(&["run", "--bundle", c.bundle().to_str().unwrap(), &c.id]);
    (c, output)
}

fn in_a_life(words: &[&str]) -> (Fixture, Output) {
    let c = Fixture::busybox().shell("exec sleep 1000");
    c.create().ok();
    c.verb("start").ok();
    let words: Vec<&str> = words.iter().map(|word| if *word == "ID" { c.id.as_str() } else { word }).collect();
    let output = if words == ["run"] { c.run() } else { c.call(&words) };
    c.call(&["delete", "--force", &c.id]).ok();
    (c, output)
}

/// A second range of ids, which nobody gives to a user who has any.
fn foreign_ids() -> (Fixture, Output) {
    run_with(|config| {
        for kind in ["uidMappings", "gidMappings"] {
            let list = config["linux"][kind].as_array_mut().unwrap();
            list.push(json!({"containerID": 1, "hostID": 4_000_000_000_u32, "size": 1000}));
        }
    })
}

type Doing = fn() -> (Fixture, Output);

/// Rows that only a user without rights can try.
const OF_USERS: [&str; 2] = ["ids that the user was not given", "a limit without the right to a cgroup"];

/// The rows of the page, by what they say was done.
const DOINGS: [(&str, Doing); 26] = [
    ("a bundle that is not there", || call(&["run", "--bundle", "/nonexistent", "ID"])),
    ("a bundle without `config.json`", || a_config_of(None)),
    ("`config.json` that is cut off", || a_config_of(Some("{\"ociVersion\": \"1.3.0\", \"process\": {"))),
    ("`ociVersion` of another major version", || run_with(|config| config["ociVersion"] = json!("2.0.0"))),
    ("a root file system that is not there", || run_with(|config| config["root"]["path"] = json!("nowhere"))),
    ("no arguments", || run_with(|config| config["process"]["args"] = json!([]))),
    ("a program that is not there", || run_with(|config| config["process"]["args"] = json!(["nosuch"]))),
    ("a file that is no program", || run_with(|config| config["process"]["args"] = json!(["/etc/passwd"]))),
    ("a relative `cwd`", || run_with(|config| config["process"]["cwd"] = json!("tmp"))),
    ("a namespace that does not exist", || {
        run_with(|config| config["linux"]["namespaces"].as_array_mut().unwrap().insert(0, json!({"type": "nosuch"})))
    }),
    ("a sysctl that is the host's", || {
        run_with(|config| config["linux"]["sysctl"] = json!({"kernel.core_pattern": "|/x"}))
    }),
    ("the source of a bind mount that is not there", || {
        run_with(|config| {
            let mount = json!({"destination": "/v", "type": "bind", "source": "/nonexistent", "options": ["bind"]});
            config["mounts"].as_array_mut().unwrap().push(mount);
        })
    }),
    (OF_USERS[0], foreign_ids),
    (OF_USERS[1], || run_with(|config| config["linux"]["resources"] = json!({"pids": {"limit": 10}}))),
    ("a hook whose program is not there", || hook("createRuntime", json!({"path": "/nonexistent"}))),
    ("a hook that fails", || hook("createRuntime", json!({"path": "/bin/false"}))),
    ("a hook that takes too long", || {
        hook("createRuntime", json!({"path": "/bin/sleep", "args": ["sleep", "20"], "timeout": 1}))
    }),
    ("a hook with a relative path", || hook("createRuntime", json!({"path": "bin/true"}))),
    ("a key under `hooks` that does not exist", || hook("preStop", json!({"path": "/bin/true"}))),
    ("an id that is a path", || call(&["state", "a/b"])),
    ("an id that is taken", || in_a_life(&["run"])),
    ("a container that does not exist", || call(&["state", "nosuch"])),
    ("a signal that does not exist", || in_a_life(&["kill", "ID", "NOSUCH"])),
    ("`start` of a container that runs", || in_a_life(&["start", "ID"])),
    ("`delete` of a container that runs", || in_a_life(&["delete", "ID"])),
    ("a flag that does not exist", || call(&["create", "--nosuch", "ID"])),
];

/// `BLESS=1` writes what is said into the page.
#[test]
fn what_the_page_on_bad_input_shows_is_what_is_said() {
    let path = common::repository().join("docs/bad-input.md");
    let page = fs::read_to_string(&path).unwrap();
    let mut told = page.clone();
    for (done, doing) in DOINGS {
        if is_root() && OF_USERS.contains(&done) {
            continue;
        }
        let (c, output) = doing();
        c.assert_nothing_left();
        let said = output.stderr.replace(c.bundle().to_str().unwrap(), "BUNDLE").replace(&c.id, "ID");
        let said = said.lines().next().unwrap_or_default();
        if done == OF_USERS[1] && output.code == 0 {
            continue; // this user has a cgroup that may be changed
        }
        let row = page.lines().find(|line| line.starts_with(&format!("| {done} |")));
        let row = row.unwrap_or_else(|| panic!("docs/bad-input.md has no row {done:?}"));
        let others = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        let said = if said.contains('`') { format!("`` {said} ``") } else { format!("`{said}`") };
        told = told.replace(row, &format!("| {done} | {} | {said} | {others} |", output.code));
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &told).unwrap();
    }
    assert_eq!(page, told, "docs/bad-input.md shows something else; BLESS=1 mends it");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what")).count();
    assert_eq!(rows, DOINGS.len(), "a row of docs/bad-input.md is not tried");
}
