//! The OCI verbs on a plain container, without hooks: interface.md 2.1 and 2.4, and callers.md sections 1 and 3.

mod common;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use common::{Fixture, Output, bookend, finish, is_root, needs_root};

// ── the four states ──

#[test]
fn run_returns_the_code_of_the_entrypoint_and_removes_the_container() {
    let c = Fixture::busybox().shell("echo hello; exit 7");
    c.run().fails(7).says("hello");
    c.assert_nothing_left();
}

#[test]
fn create_start_kill_delete_go_through_the_four_states() {
    let c = Fixture::busybox();
    c.create().ok();
    assert_eq!(c.status(), "created");
    c.verb("start").ok();
    assert_eq!(c.status(), "running");
    c.verb("delete").fails(1).says("that is not stopped: running");
    c.verb("kill").ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    c.verb("delete").ok();
    c.verb("state").fails(1).says("does not exist");
}

#[test]
fn a_container_is_started_once() {
    let c = Fixture::busybox();
    c.create().ok();
    c.verb("start").ok();
    c.verb("start").fails(1).says("running");
    c.verb("kill").ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    c.verb("start").fails(1).says("stopped");
}

#[test]
fn a_created_container_that_was_never_started_can_be_deleted() {
    let c = Fixture::busybox();
    c.create().ok();
    c.verb("delete").ok();
    c.assert_nothing_left();
}

#[test]
fn state_is_the_state_of_the_specification() {
    let c = Fixture::busybox().annotation("org.example/a", "b").started();
    let state = c.state();
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{state}");
    assert_eq!(state["id"], c.id.as_str());
    assert_eq!(state["status"], "running");
    assert_eq!(state["bundle"], c.bundle().to_str().unwrap());
    assert_eq!(state["annotations"], json!({"org.example/a": "b"}));
    let pid = state["pid"].as_i64().unwrap();
    assert!(fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().contains("entrypoint"));
    c.verb("kill").ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    assert_eq!(c.state()["pid"].as_i64().unwrap_or(0), 0, "{}", c.state());
}

#[test]
fn a_container_without_hooks_leaves_no_process_of_bookend_behind() {
    let c = Fixture::busybox().started();
    let supervisors = || {
        let all = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
        all.filter(|line| String::from_utf8_lossy(line).contains(c.root().to_str().unwrap())).count()
    };
    assert_eq!(supervisors(), 0);
}

#[test]
fn config_json_is_read_once_at_create() {
    let c = Fixture::busybox().shell("echo first > /said");
    c.create().ok();
    fs::write(c.bundle().join("config.json"), "{ broken").unwrap();
    c.verb("start").ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    assert_eq!(c.read("/said"), "first\n");
    c.verb("delete").ok();
}

// ── flags: both orders and forms ──

/// The ways in which the callers put the flags of `create`.
#[test]
fn flags_stand_before_or_after_the_id_and_with_or_without_an_equals_sign() {
    let c = Fixture::busybox();
    c.write();
    let (bundle, log, pid) = (c.bundle(), c.scratch.path().join("log"), c.scratch.path().join("pid"));
    let (bundle, log, pid) = (bundle.to_str().unwrap(), log.to_str().unwrap(), pid.to_str().unwrap());
    let (bundle_is, log_is, pid_is) =
        (format!("--bundle={bundle}"), format!("--log={log}"), format!("--pid-file={pid}"));
    let id = c.id.as_str();
    let forms: [&[&str]; 6] = [
        &["--log", log, "--log-format", "json", "create", "--bundle", bundle, "--pid-file", pid, id],
        &["--log-format=json", &log_is, "create", id, "--bundle", bundle, "--pid-file", pid],
        &["--log", log, "--log-format=text", "create", &bundle_is, &pid_is, id],
        &["--debug", "create", "-b", bundle, id, "--no-new-keyring", "--preserve-fds=0"],
        &[
            "--debug=true",
            "--systemd-cgroup=false",
            "create",
            "-b",
            bundle,
            "--no-pivot=false",
            "--no-new-keyring=true",
            id,
        ],
        &["--rootless", "auto", "create", "-b", bundle, "--preserve-fds", "0", id],
    ];
    for form in forms {
        let _ = fs::remove_file(pid);
        c.call(form).ok();
        if form.iter().any(|word| word.contains("pid-file")) {
            assert_eq!(fs::read_to_string(pid).unwrap(), c.pid().to_string(), "{form:?}");
        }
        c.call(&["delete", "-f", id]).ok();
        c.assert_nothing_left();
    }
}

#[test]
fn a_flag_may_say_whether_it_is_meant() {
    let c = Fixture::busybox().shell("exec sleep 60");
    c.write();
    let bundle = c.bundle();
    let run = ["run", "--detach=true", "--keep=false", "--bundle", bundle.to_str().unwrap(), &c.id];
    c.call(&run).ok();
    assert_eq!(c.call(&["list", "--quiet=true"]).ok().stdout.trim(), c.id);
    c.call(&["kill", "--all=true", &c.id, "9"]).ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    c.call(&["list", "--quiet=perhaps"]).fails(2).says("invalid value 'perhaps'");
    c.call(&["delete", "--force=false", "nope"]).fails(1).says("does not exist");
    c.call(&["delete", "--force=true", "nope"]).ok();
    // What belongs to the program is not looked at.
    let d = Fixture::busybox().started();
    assert_eq!(d.call(&["exec", "--tty=false", &d.id, "echo", "--tty=false"]).ok().stdout, "--tty=false\n");
}

/// What runc's command line has and has no effect here.
#[test]
fn flags_that_runc_has_for_what_is_gone_are_accepted() {
    let c = Fixture::busybox().started();
    c.call(&["--criu", "/usr/sbin/criu", "list"]).ok();
    let update = c.call(&["update", "--kernel-memory", "64m", "--kernel-memory-tcp=-1", &c.id]).fails(1);
    update.says("nothing to change");
    if is_root() {
        let update = c.call(&["update", "--kernel-memory", "64m", "--pids-limit", "100", &c.id]).ok();
        update.says("--kernel-memory: has no effect");
    }
    c.call(&["run", "--no-subreaper", "--bundle", "/nonexistent", "x"]).fails(125).says("/nonexistent");
}

#[test]
fn a_pidfd_of_the_process_is_given_to_the_socket_that_asks_for_it() {
    use std::os::fd::AsRawFd;
    let c = Fixture::busybox().shell("exec sleep 60");
    let path = c.scratch.path().join("watcher");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap();
    let receive = || {
        let (bytes, descriptor) = common::receive_descriptor(&listener.accept().unwrap().0);
        (bytes, descriptor.expect("a descriptor came"))
    };
    let pid_of = |fd: &std::os::fd::OwnedFd| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("it is a pidfd").trim().to_owned()
    };
    c.make(&["create", "--pidfd-socket", path]).ok();
    let (name, init) = receive();
    assert_eq!((&name[..], pid_of(&init)), (&b"pidfd"[..], c.pid().to_string()));
    c.verb("start").ok();
    let pid_file = c.scratch.path().join("exec-pid");
    let exec =
        ["exec", "--detach", "--pidfd-socket", path, "--pid-file", pid_file.to_str().unwrap(), &c.id, "sleep", "60"];
    c.call(&exec).ok();
    let (_, process) = receive();
    assert_eq!(pid_of(&process), fs::read_to_string(&pid_file).unwrap());
    c.call(&["exec", "--pidfd-socket", "/nonexistent/socket", &c.id, "true"])
        .fails(125)
        .says("connect pidfd socket /nonexistent");
    let d = Fixture::busybox();
    d.make(&["create", "--pidfd-socket", "/nonexistent/socket"]).fails(1).says("connect pidfd socket /nonexistent");
    d.assert_nothing_left();
}

#[test]
fn an_exec_that_cannot_say_who_its_process_is_leaves_none() {
    let c = Fixture::busybox().shell("exec sleep 60").started();
    let exec = ["exec", "--detach", "--pid-file", "/nonexistent/pid", &c.id, "sleep", "61"];
    c.call(&exec).fails(125).says("write pid file /nonexistent/pid");
    let left = c.call(&["ps", &c.id]).ok();
    assert!(left.stdout.contains("sleep 60") && !left.stdout.contains("sleep 61"), "{}", left.stdout);
}

#[test]
fn a_flag_that_is_given_twice_counts_as_given_last() {
    let c = Fixture::busybox();
    c.write();
    let bundle = c.bundle();
    let root = c.root();
    let output = c.call(&["--root", "/nonexistent", "--root", root.to_str().unwrap(), "list", "-q"]);
    output.ok();
    c.call(&["create", "--bundle", "/nonexistent", "--bundle", bundle.to_str().unwrap(), &c.id]).ok();
    assert_eq!(c.status(), "created");
}

#[test]
fn the_bundle_is_the_working_directory_when_none_is_named() {
    let c = Fixture::busybox().shell("exit 3");
    c.write();
    let mut command = c.command(&["run", &c.id]);
    command.current_dir(c.bundle());
    finish(command, &c.scratch).fails(3);
}

#[test]
fn a_pid_file_is_relative_to_the_caller() {
    let c = Fixture::busybox();
    c.write();
    let bundle = c.bundle();
    let mut command = c.command(&["create", "--pid-file", "init.pid", "--bundle", bundle.to_str().unwrap(), &c.id]);
    command.current_dir(c.scratch.path());
    finish(command, &c.scratch).ok();
    let written = fs::read_to_string(c.scratch.path().join("init.pid")).unwrap();
    assert_eq!(written, c.pid().to_string());
    assert!(!c.bundle().join("init.pid").exists());
}

#[test]
fn the_root_may_be_relative() {
    let c = Fixture::busybox();
    c.write();
    fs::create_dir_all(c.root()).unwrap();
    let bundle = c.bundle();
    let mut command = Command::new(bookend());
    command.args(["--root", "root", "create", "--bundle", bundle.to_str().unwrap(), &c.id]);
    command.current_dir(c.scratch.path());
    finish(command, &c.scratch).ok();
    assert_eq!(c.status(), "created");
    c.verb("start").ok();
}

#[test]
fn bad_flags_end_with_2() {
    let c = Fixture::busybox();
    let lines: [&[&str]; 12] = [
        &["--nonsense"],
        &["nonsense"],
        &[],
        &["state"],
        &["state", "a", "b"],
        &["create", "--nonsense", "a"],
        &["create", "--preserve-fds", "-1", "a"],
        &["create", "--preserve-fds", "x", "a"],
        &["list", "--format", "xml"],
        &["--log-format", "xml", "list"],
        &["--rootless", "perhaps", "list"],
        &["exec", "--user", "nobody", &c.id, "true"],
    ];
    for line in lines {
        let output = c.call(line);
        if line.first() == Some(&"exec") {
            continue; // there is no such container, which is told first
        }
        assert_eq!(output.code, 2, "{line:?}: {}", output.stderr);
        assert!(!output.stderr.is_empty(), "{line:?}");
    }
}

#[test]
fn help_and_version_go_to_standard_output_and_end_with_0() {
    let c = Fixture::busybox();
    for line in [&["--help"][..], &["-h"], &["help"], &["create", "--help"], &["state", "-h"], &["help", "run"]] {
        let output = c.call(line).ok();
        assert!(output.stdout.contains("Usage: "), "{line:?}: {}", output.stdout);
        assert_eq!(output.stderr, "", "{line:?}");
    }
    for flag in ["--version", "-v"] {
        let version = c.call(&[flag]).ok().stdout;
        let mut lines = version.lines();
        assert_eq!(lines.next().unwrap(), format!("bookend version {}", env!("CARGO_PKG_VERSION")));
        assert!(lines.next().unwrap().starts_with("commit: "), "{version}");
        assert!(lines.next().unwrap().starts_with("spec: 1."), "{version}");
        assert_eq!(lines.next(), None, "{version}");
    }
}

#[test]
fn verbs_that_are_not_there_say_so() {
    let c = Fixture::busybox();
    for verb in ["checkpoint", "restore"] {
        c.call(&[verb, "x"]).fails(1).says(&format!("bookend: {verb}: ")).says("is not offered");
    }
}

// ── messages, and where they go ──

#[test]
fn a_warning_goes_to_the_log_and_not_into_the_containers_output() {
    let c = Fixture::busybox().shell("echo mine; echo mine >&2").with(|config| {
        let capabilities = &mut config["process"]["capabilities"];
        capabilities["bounding"].as_array_mut().unwrap().push("CAP_OF_ANOTHER_TIME".into());
        capabilities["inheritable"] = serde_json::json!([]);
        capabilities["ambient"] = serde_json::json!(["CAP_KILL"]);
    });
    c.write();
    let (bundle, log) = (c.bundle(), c.scratch.path().join("log"));
    let run = ["run", "--bundle", bundle.to_str().unwrap(), &c.id];
    let output = c.call(&[&["--log", log.to_str().unwrap()], &run[..]].concat()).ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("mine\n", "mine\n"));
    let told = fs::read_to_string(&log).unwrap();
    assert!(told.contains("CAP_OF_ANOTHER_TIME") && told.contains("CAP_KILL cannot be ambient"), "{told}");
    // Without a log, stderr has what other runtimes warn of too.
    let output = c.call(&run).ok().stderr;
    assert!(output.contains("CAP_OF_ANOTHER_TIME") && !output.contains("ambient"), "{output}");
    c.call(&[&["--debug"], &run[..]].concat()).ok().says("CAP_KILL cannot be ambient");
}

/// runc's decoder does not mind letters, so that such a configuration has its protections there. They hold for `exec` and for the
/// hooks after the end too.
#[test]
fn keys_in_other_letters_are_taken_for_what_they_mean_with_a_warning() {
    let c = Fixture::busybox().shell("touch /made; exec sleep 60").with(|config| {
        let process = config["process"].as_object_mut().unwrap();
        process.remove("noNewPrivileges");
        process.insert("nonewprivileges".to_owned(), json!(true));
        config["root"] = json!({"Path": config["root"]["path"], "readOnly": true});
        config["Hooks"] = json!({"PostStop": [{"path": "/bin/touch", "args": ["touch", "ROOTFS/stopped"]}]});
    });
    let place = c.rootfs().to_str().unwrap().to_owned();
    let c = c.with(|config| config["Hooks"]["PostStop"][0]["args"][1] = json!(format!("{place}/stopped")));
    c.create().ok().says("root.readOnly: taken as readonly").says("process.nonewprivileges: taken as noNewPrivileges");
    c.verb("start").ok();
    let exec = c.exec("grep NoNewPrivs /proc/self/status; touch /x").fails(1);
    assert!(exec.stdout.ends_with("1\n") && exec.stderr.contains("Read-only file system"), "{exec:?}");
    c.call(&["delete", "--force", &c.id]).ok();
    assert!(c.rootfs().join("stopped").exists());
    let bad = Fixture::busybox().with(|config| config["process"]["nonewprivileges"] = json!(true));
    let bad =
        bad.with(|config| config["process"].as_object_mut().unwrap().remove("noNewPrivileges").map(drop).unwrap());
    bad.with(|config| config["hostname"] = json!(5)).create().fails(1).says("config.json: hostname: invalid type");
    let twice = Fixture::busybox().with(|config| config["root"]["readOnly"] = json!(true));
    let twice = twice.with(|config| config["root"]["readonly"] = json!(false));
    twice.create().fails(1).says("root.readOnly: the same as readonly, which is given too");
}

#[test]
fn the_last_error_line_of_a_json_log_tells_the_story() {
    let c = Fixture::busybox().entrypoint(["/nonexistent"]);
    c.write();
    let (bundle, log) = (c.bundle(), c.scratch.path().join("log.json"));
    let line = ["--log", log.to_str().unwrap(), "--log-format", "json", "create", "--bundle", bundle.to_str().unwrap()];
    let output = c.call(&[&line[..], &[&c.id]].concat()).fails(1);
    let text = fs::read_to_string(&log).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error");
    assert!(
        last["msg"].as_str().unwrap().contains("exec: \"/nonexistent\": stat /nonexistent: no such file or directory"),
        "{last}"
    );
    assert!(last["time"].as_str().unwrap().ends_with('Z'), "{last}");
    assert!(output.stderr.contains("/nonexistent: no such file"), "stderr is the story too: {}", output.stderr);
    c.assert_nothing_left();
}

#[test]
fn a_line_of_a_text_log_has_its_time_and_its_level() {
    let c = Fixture::busybox();
    let log = c.scratch.path().join("log");
    for _ in 0..2 {
        let output = c.call(&["--log", log.to_str().unwrap(), "state", "nope"]).fails(1);
        assert_eq!(output.stderr, "bookend: container \"nope\" does not exist\n");
    }
    let text = fs::read_to_string(&log).unwrap();
    for line in text.lines() {
        assert!(line.starts_with("time=\"20"), "{line}");
        assert!(line.ends_with("Z\" level=error msg=\"container \\\"nope\\\" does not exist\""), "{line}");
    }
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn a_bad_command_line_reaches_the_log_as_well() {
    let c = Fixture::busybox();
    let log = c.scratch.path().join("log.json");
    let log_is = format!("--log={}", log.display());
    c.call(&[&log_is, "--log-format=json", "create", "--nonsense", "x"]).fails(2);
    let last: Value = serde_json::from_str(fs::read_to_string(&log).unwrap().lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error");
    assert!(last["msg"].as_str().unwrap().contains("--nonsense"), "{last}");
}

#[test]
fn without_a_log_file_json_goes_to_standard_error() {
    let c = Fixture::busybox();
    let output = c.call(&["--log-format", "json", "state", "nope"]).fails(1);
    let line: Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!(line["msg"], "container \"nope\" does not exist");
}

/// The text that containerd's shim looks for (callers.md 1.4).
#[test]
fn the_phrases_that_callers_match_are_there() {
    let c = Fixture::busybox();
    for verb in ["state", "start", "kill", "delete", "pause", "resume", "ps"] {
        c.call(&[verb, "nope"]).fails(1).says("container \"nope\" does not exist");
    }
    c.call(&["exec", "nope", "true"]).fails(125).says("does not exist");
    c.run_detached().ok();
    c.verb("kill").ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    c.verb("kill").fails(1).says("container not running");
    c.call(&["kill", &c.id, "0"]).fails(1).says("container not running");
    // containerd's shim, when the init of a container in another's pid namespace has exited (callers.md 1.2).
    c.call(&["kill", "--all", &c.id, "9"]).ok();
    c.call(&["exec", &c.id, "true"]).fails(125).says(&format!("exec in {}: cannot exec in a stopped container", c.id));
    c.verb("pause").fails(1).says("stopped");
}

/// What containerd's shim, dockerd and podman show of an error, and decide by, is the last entry of the log (callers.md 1.4 and 3).
#[test]
fn the_json_log_of_every_verb_ends_with_the_phrases_that_callers_match() {
    let c = Fixture::busybox().shell("exec sleep 60");
    let log = c.scratch.path().join("log.json");
    let flags = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let last = |args: &[&str]| {
        assert_ne!(c.call(&[&flags[..], args].concat()).code, 0, "{args:?}");
        let text = fs::read_to_string(&log).unwrap();
        let entry: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(entry["level"], "error", "{entry}");
        entry["msg"].as_str().unwrap().to_owned()
    };
    let programs = [
        ("nosuch", "executable file not found in $PATH"),
        ("/nonexistent", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ];
    c.run_detached().ok();
    for (program, phrase) in programs {
        let said = last(&["exec", &c.id, program]);
        assert!(said.contains(phrase), "{said}");
    }
    for (program, phrase) in programs {
        let d = Fixture::busybox().entrypoint([program]);
        d.write();
        let said = last(&["create", "--bundle", d.bundle().to_str().unwrap(), &d.id]);
        assert!(said.contains(phrase), "{said}");
    }
    c.call(&["kill", &c.id, "KILL"]).ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    for (args, phrase) in [
        (&["kill", &c.id, "15"][..], "container not running"),
        (&["kill", "nosuch", "15"], "does not exist"),
        (&["delete", "nosuch"], "does not exist"),
        (&["state", "nosuch"], "does not exist"),
        (&["start", "nosuch"], "does not exist"),
    ] {
        let said = last(args);
        assert!(said.contains(phrase), "{args:?}: {said}");
    }
}

#[test]
fn words_of_a_program_that_is_missing_or_cannot_be_executed_give_127_and_126() {
    let c = Fixture::busybox().entrypoint(["/nonexistent"]);
    c.run().fails(127).says("exec: \"/nonexistent\": stat /nonexistent: no such file or directory");
    c.assert_nothing_left();
    c.run_detached().fails(127);
    c.create().fails(1);
    let c = Fixture::busybox().hook("preStop", "true").entrypoint(["/nonexistent"]);
    c.run_detached().fails(127);
    c.run().fails(127);
    let c = Fixture::busybox().entrypoint(["nonexistent"]);
    c.run().fails(127).says("executable file not found in $PATH");
    c.assert_nothing_left();
    for (program, words) in [("/etc/passwd", "permission denied"), ("/etc", "permission denied: is a directory")] {
        let c = Fixture::busybox().entrypoint([program]);
        c.run().fails(126).says(&format!("exec: \"{program}\": ")).says(words);
        c.assert_nothing_left();
    }
}

// ── ids ──

#[test]
fn s_16_ids_that_are_no_single_safe_name_are_refused_by_every_verb() {
    let c = Fixture::busybox();
    c.write();
    let bundle = c.bundle();
    let bundle = bundle.to_str().unwrap();
    let long = "a".repeat(256);
    let bad = ["", ".", "..", "a/b", "/a", "../a", "a b", "a\nb", "a\tb", "a:b", "a*", "é", "a\\b", "a%b", &long];
    for id in bad {
        for (line, code) in [
            (&["create", "--bundle", bundle, id][..], 1),
            (&["run", "--bundle", bundle, id], 125),
            (&["state", id], 1),
            (&["delete", "--force", id], 1),
            (&["exec", id, "true"], 125),
            (&["kill", id, "KILL"], 1),
        ] {
            let output = c.call(line);
            assert_eq!(output.code, code, "{line:?}: {}", output.stderr);
            assert!(output.stderr.contains("invalid container id"), "{line:?}: {}", output.stderr);
        }
    }
    assert!(fs::read_dir(c.root()).map_or(0, Iterator::count) == 0, "nothing was made");
}

#[test]
fn unusual_but_safe_ids_are_taken() {
    let c = Fixture::busybox().shell("true");
    c.write();
    let bundle = c.bundle();
    for id in [format!("{}_A+.-0", c.id), format!("_{}", c.id), format!("+{}", c.id)] {
        c.call(&["run", "--bundle", bundle.to_str().unwrap(), &id]).ok();
    }
    // Nothing of bookend's own in the root is in the way of a container.
    for id in ["history", "roots"] {
        c.call(&["create", "--bundle", bundle.to_str().unwrap(), id]).ok();
        c.call(&["delete", "--force", id]).ok();
    }
}

#[test]
fn an_id_that_is_in_use_is_refused_and_its_container_unharmed() {
    let c = Fixture::busybox().started();
    let pid = c.pid();
    c.create().fails(1).says(&format!("already exists: \"{}\"", c.id)).says("delete");
    c.run().fails(125).says("already exists");
    assert_eq!((c.status().as_str(), c.pid()), ("running", pid));
}

// ── kill ──

#[test]
fn kill_takes_numbers_and_names_with_and_without_sig() {
    let c =
        Fixture::busybox().shell("trap 'echo got >> /got' USR1; echo > /ready; while :; do sleep 0.05; done").started();
    c.wait_for("ready", |c| c.read("/ready") == "\n");
    for (count, signal) in ["10", "USR1", "SIGUSR1", "usr1", "sigusr1"].iter().enumerate() {
        c.call(&["kill", &c.id, signal]).ok();
        c.wait_for("the signal", |c| c.read("/got").lines().count() == count + 1);
    }
    c.call(&["kill", &c.id, "SIGNONSENSE"]).fails(1).says("unknown signal \"SIGNONSENSE\"");
    for bad in ["65", "-1", "1x", "SIG", "SIG9", ""] {
        c.call(&["kill", &c.id, bad]).fails(1).says("signal");
    }
    assert_eq!(c.status(), "running");
    c.call(&["kill", "--all", &c.id, "9"]).ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    // containerd sends this after init has died.
    c.call(&["kill", "--all", &c.id, "9"]).ok();
    c.call(&["kill", "-a", &c.id, "KILL"]).ok();
}

#[test]
fn kill_all_reaches_every_process_where_the_pid_namespace_is_not_the_containers_own() {
    if !needs_root("kill_all_reaches_every_process_where_the_pid_namespace_is_not_the_containers_own") {
        return;
    }
    let c =
        Fixture::busybox().without_namespace("pid").shell("sleep 1000 & sleep 1000 & echo > /ready; wait").started();
    c.wait_for("ready", |c| c.read("/ready") == "\n");
    c.wait_for("three processes", |c| processes(c).len() == 3);
    let pids = processes(&c);
    c.call(&["kill", "--all", &c.id, "KILL"]).ok();
    c.wait_for("their end", |_| pids.iter().all(|pid| is_gone(*pid)));
    c.verb("delete").ok();
}

#[test]
fn delete_force_ends_what_init_left_behind_in_a_shared_pid_namespace() {
    if !needs_root("delete_force_ends_what_init_left_behind_in_a_shared_pid_namespace") {
        return;
    }
    let c = Fixture::busybox().without_namespace("pid").shell("sleep 1000 & echo $! > /left; exit 0").started();
    c.wait_for("stopped", |c| c.status() == "stopped");
    let left: i32 = c.read("/left").trim().parse().unwrap();
    assert!(!is_gone(left), "init left a process behind");
    c.call(&["delete", "--force", &c.id]).ok();
    c.wait_for("its end", |_| is_gone(left)); // a process that is ending is in no control group
    c.assert_nothing_left();
}

fn is_gone(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

fn processes(c: &Fixture) -> Vec<i32> {
    serde_json::from_value(c.call(&["ps", "--format", "json", &c.id]).ok().json()).unwrap()
}

// ── delete ──

#[test]
fn delete_by_force_kills_and_forgives_what_is_gone() {
    let c = Fixture::busybox().started();
    c.call(&["delete", "-f", &c.id]).ok();
    c.assert_nothing_left();
    c.call(&["delete", "--force", &c.id]).ok();
    c.call(&["delete", &c.id, "--force"]).ok();
    c.verb("delete").fails(1).says("does not exist");
}

// ── list and ps ──

#[test]
fn a_root_that_cannot_be_read_is_an_error_of_list_and_one_that_is_not_there_is_empty() {
    let c = Fixture::busybox();
    let list = |root: &str| c.call(&["--root", root, "list", "--quiet"]);
    assert_eq!(list("/nonexistent/root").ok().stdout, "");
    list("/etc/passwd").fails(1).says("/etc/passwd").says("Not a directory");
}

#[test]
fn list_shows_containers_as_a_table_as_json_and_by_id() {
    let c = Fixture::busybox();
    assert_eq!(c.call(&["list", "-q"]).ok().stdout, "");
    assert_eq!(c.call(&["list", "--format", "json"]).ok().json(), json!([]));
    c.run_detached().ok();
    assert_eq!(c.call(&["list", "--quiet"]).ok().stdout, format!("{}\n", c.id));
    let list = c.call(&["list", "-f", "json"]).ok().json();
    let entry = &list[0];
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(entry["id"], c.id.as_str());
    assert_eq!(entry["pid"], c.pid());
    assert_eq!(entry["status"], "running");
    assert_eq!(entry["bundle"], c.bundle().to_str().unwrap());
    assert_eq!(entry["rootfs"], c.rootfs().to_str().unwrap());
    assert!(entry["created"].as_str().unwrap().ends_with('Z'));
    assert!(!entry["owner"].as_str().unwrap().is_empty());
    let table = c.call(&["list"]).ok().stdout;
    let mut lines = table.lines();
    // Columns as wide as runc's: 12 characters at least, three of them blank.
    let (line, width) = (lines.next().unwrap(), 12.max(c.id.len() + 3));
    assert!(line[width..].starts_with("PID         STATUS      BUNDLE "), "{line}");
    let title: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(title, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row[..3], [c.id.as_str(), &c.pid().to_string(), "running"]);
    c.verb("kill").ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    assert_eq!(c.call(&["list", "-f", "json"]).ok().json()[0]["pid"], 0);
}

#[test]
fn ps_lists_the_processes_as_the_caller_sees_them() {
    let c = Fixture::busybox().started();
    let pids = processes(&c);
    assert!(pids.contains(&c.pid()), "{pids:?}");
    let forms: [&[&str]; 3] =
        [&["ps", "-f", "json", &c.id], &["ps", "--format=json", &c.id], &["ps", &c.id, "--format", "json"]];
    for form in &forms[..2] {
        let found: Vec<i32> = serde_json::from_value(c.call(form).ok().json()).unwrap();
        assert!(found.contains(&c.pid()), "{form:?}");
    }
    let table = c.verb("ps").ok().stdout;
    assert!(table.lines().next().unwrap().contains("PID"), "{table}");
    assert!(table.contains("entrypoint"), "{table}");
    let chosen = c.call(&["ps", &c.id, "-o", "pid,comm"]).ok().stdout;
    assert!(chosen.lines().any(|line| line.split_whitespace().next() == Some(&c.pid().to_string())), "{chosen}");
    assert!(!chosen.contains("UID"), "{chosen}");
}

// ── spec ──

#[test]
fn spec_writes_a_bundle_that_runs_and_never_overwrites_one() {
    let c = Fixture::busybox();
    let dir = c.scratch.path().join("new");
    fs::create_dir(&dir).unwrap();
    let path = dir.to_str().unwrap();
    c.call(&["spec", "--bundle", path]).ok();
    let spec: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    assert_eq!(spec["process"]["args"], json!(["sh"]));
    assert_eq!(spec["process"]["terminal"], true);
    assert_eq!(spec["root"]["path"], "rootfs");
    c.call(&["spec", "-b", path]).fails(1).says("never overwritten");
    fs::remove_file(dir.join("config.json")).unwrap();
    let mut here = Command::new(bookend());
    here.args(["spec", "--rootless"]).current_dir(&dir);
    finish(here, &c.scratch).ok();
    let spec: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    let kinds: Vec<&str> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().map(|kind| kind["type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"user") && !kinds.contains(&"network"), "{kinds:?}");
    assert_eq!(spec["linux"]["uidMappings"].as_array().unwrap().len(), 1);
}

// ── run ──

#[test]
fn run_ends_with_128_and_the_signal_that_ended_the_entrypoint() {
    // Without a pid namespace: as its first process it could not kill itself.
    if !needs_root("run_ends_with_128_and_the_signal_that_ended_the_entrypoint") {
        return;
    }
    let c = Fixture::busybox().without_namespace("pid").shell("kill -9 $$");
    c.run().fails(137);
    c.assert_nothing_left();
}

#[test]
fn run_passes_standard_input_on() {
    let c = Fixture::busybox().shell("read a; read b; echo \"$b $a\"");
    c.write();
    let script = "printf 'one\\ntwo\\n' | \"$@\"";
    assert_eq!(through_shell(&c, script, &["run"]).ok().stdout, "two one\n");
}

/// `sh -c SCRIPT sh bookend --root … VERB --bundle … ID`: for what only a shell can arrange.
fn through_shell(c: &Fixture, script: &str, verb: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(bookend()).arg("--root").arg(c.root()).args(verb);
    command.arg("--bundle").arg(c.bundle()).arg(&c.id);
    command.env("XDG_RUNTIME_DIR", c.scratch.path().join("run"));
    finish(command, &c.scratch)
}

#[test]
fn run_passes_signals_on_to_the_entrypoint() {
    use nix::sys::signal::Signal;
    let c = Fixture::busybox()
        .shell("trap 'echo hup >> /got' HUP; trap 'exit 5' USR2; echo > /ready; while :; do sleep 0.05; done");
    let run = c.spawn_run();
    c.wait_for("ready", |c| c.read("/ready") == "\n");
    run.signal(Signal::SIGHUP);
    c.wait_for("the signal", |c| c.read("/got") == "hup\n");
    run.signal(Signal::SIGUSR2);
    run.wait().fails(5);
    c.assert_nothing_left();
}

#[test]
fn run_detached_leaves_init_to_whoever_reaps_orphans() {
    let c = Fixture::busybox().started();
    let stat = fs::read_to_string(format!("/proc/{}/stat", c.pid())).unwrap();
    let parent: i32 = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let name = fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
    assert!(!name.contains("bookend"), "init's parent is {parent} {name}");
}

#[test]
fn run_with_keep_leaves_the_stopped_container() {
    let c = Fixture::busybox().shell("exit 4").flag("--keep");
    c.run().fails(4);
    assert_eq!(c.status(), "stopped");
    c.verb("delete").ok();
}

#[test]
fn wait_prints_and_returns_the_code() {
    let c = Fixture::busybox()
        .hook("postStart", "while [ ! -e /up ]; do sleep 0.05; done")
        .shell("trap 'exit 9' TERM; touch /up; while :; do sleep 0.05; done")
        .started();
    c.verb("kill").ok();
    c.verb("wait").fails(9).says("9");
}

#[test]
fn r15_closed_standard_streams_give_their_numbers_to_nothing() {
    let c = Fixture::busybox().shell("ls -l /proc/self/fd > /fds; exit 3");
    c.write();
    for closed in ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-", "> /dev/full 2> /dev/full"]
    {
        let output = through_shell(&c, &format!("\"$@\" {closed}"), &["run"]);
        assert_eq!(output.code, 3, "{closed}: {}", output.stderr);
        let fds = c.read("/fds");
        let of = |number: &str| fds.lines().find(|line| line.contains(&format!(" {number} -> "))).unwrap_or_default();
        for (number, form) in [("0", "<&-"), ("1", ">&-")] {
            if closed.split(' ').any(|part| part == form) && number != "1" {
                assert!(of(number).ends_with("/dev/null") || of(number).is_empty(), "{closed}: {fds}");
            }
        }
        assert!(!fds.contains(c.root().to_str().unwrap()), "{closed}: {fds}");
    }
    // An error is told in the log, wherever the streams lead.
    let log = c.scratch.path().join("log");
    for closed in ["<&- >&- 2>&-", "> /dev/full 2>&1"] {
        let script = format!("\"$@\" {closed}");
        let verb = ["--log", log.to_str().unwrap(), "state", "nope"];
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(bookend()).arg("--root").arg(c.root()).args(verb);
        finish(command, &c.scratch).fails(1);
        assert!(fs::read_to_string(&log).unwrap().contains("does not exist"));
        fs::remove_file(&log).unwrap();
    }
}

#[test]
fn r22_few_or_many_descriptors_are_enough() {
    let c = Fixture::busybox().shell("exit 3").with(|config| config["process"]["rlimits"] = json!([]));
    c.write();
    let hard = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap().1;
    for limit in [if common::is_root() { 24 } else { 48 }, hard.min(1 << 20)] {
        through_shell(&c, &format!("ulimit -n {limit}; exec \"$@\""), &["run"]).fails(3);
    }
    let output = through_shell(&c, "ulimit -n 8; exec \"$@\"", &["run"]);
    assert_ne!(output.code, 0);
    assert!(output.code == 3 || output.stderr.contains("Too many open files"), "{}", output.stderr);
    c.assert_nothing_left();
}

// ── exec ──

#[test]
fn exec_is_changed_by_its_flags() {
    let c = Fixture::busybox().started();
    let exec = |args: &[&str]| c.call(&[&["exec"], args].concat());
    let sh = |flags: &[&str], script: &str| {
        c.call(&[&["exec"], flags, &[&c.id, "/bin/sh", "-c", script]].concat()).ok().stdout
    };
    assert_eq!(sh(&[], "pwd; echo $TERM $HOME"), "/\nxterm /root\n");
    exec(&["--cwd", "/nosuch", &c.id, "true"]).fails(125).says("chdir to cwd /nosuch: no such file or directory");
    assert_eq!(sh(&["--cwd", "/tmp", "-e", "A=1", "--env", "TERM=vt100"], "pwd; echo $A $TERM"), "/tmp\n1 vt100\n");
    assert_eq!(sh(&["--no-new-privs"], "grep NoNewPrivs /proc/self/status"), "NoNewPrivs:\t1\n");
    let capabilities = sh(&["--cap", "CAP_NET_ADMIN"], "grep -E 'Cap(Inh|Amb|Bnd)' /proc/self/status");
    let of = |name: &str| {
        let line = capabilities.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
    };
    assert_eq!((of("CapInh"), of("CapAmb")), (0, 0), "S10");
    assert_ne!(of("CapBnd") & (1 << 12), 0, "{capabilities}");
    for (script, code) in [("exit 3", 3), ("kill -9 $$", 137), ("exit 126", 126)] {
        exec(&[&c.id, "/bin/sh", "-c", script]).fails(code);
    }
    let all = sh(&[], "for n in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done");
    let init = |n: &str| fs::read_link(format!("/proc/{}/ns/{n}", c.pid())).unwrap();
    let expected: Vec<_> = ["mnt", "pid", "net", "ipc", "uts", "cgroup"].map(init).into();
    assert_eq!(all.lines().map(Into::into).collect::<Vec<std::path::PathBuf>>(), expected);
}

#[test]
fn exec_as_another_user_has_that_users_groups() {
    if !needs_root("exec_as_another_user_has_that_users_groups") {
        return;
    }
    let c = Fixture::busybox().started();
    let id = |flags: &[&str]| {
        let out = c.call(&[&["exec"], flags, &[&c.id, "/bin/sh", "-c", "id -u; id -g; id -G; echo $HOME"]].concat());
        out.ok().stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(id(&["--user", "1000:1001"]), ["1000", "1001", "1001", "/home/app"]);
    assert_eq!(id(&["-u", "1000"])[..2], ["1000", "0"]);
    let groups = id(&["--user", "1000:1001", "--additional-gids", "7", "-g", "8"]);
    assert_eq!(groups[2], "1001 7 8");
}

#[test]
fn exec_takes_its_process_from_a_file() {
    let c = Fixture::busybox().started();
    let path = c.scratch.path().join("process.json");
    let process = json!({
        "terminal": false, "cwd": "/var", "args": ["/bin/sh", "-c", "pwd; env; exit 4"], "env": ["ONLY=this", "PATH=/bin"],
        "user": {"uid": 0, "gid": 0},
    });
    fs::write(&path, process.to_string()).unwrap();
    let output = c.call(&["exec", "--process", path.to_str().unwrap(), &c.id]).fails(4);
    assert!(output.stdout.starts_with("/var\n") && output.stdout.contains("ONLY=this"), "{}", output.stdout);
    assert!(!output.stdout.contains("TERM="), "{}", output.stdout);
    // As the shim and conmon call.
    let pid = c.scratch.path().join("exec.pid");
    let (process_is, pid) = (format!("--process={}", path.display()), pid.to_str().unwrap());
    for form in [
        &["exec", "--process", path.to_str().unwrap(), "--detach", "--pid-file", pid, &c.id][..],
        &["exec", "--pid-file", pid, &process_is, "-d", &c.id],
    ] {
        let _ = fs::remove_file(pid);
        c.call(form).ok();
        assert!(fs::read_to_string(pid).unwrap().parse::<i32>().unwrap() > 0);
    }
    fs::write(&path, "{\"cwd\": \"/\",\n \"args\": [\"true\", 5]}").unwrap();
    let output = c.call(&["exec", "--process", path.to_str().unwrap(), &c.id]).fails(125);
    output.says("process.json: line 2 column 19: process.args[1]: invalid type");
}

#[test]
fn exec_detached_returns_and_leaves_the_process() {
    let c = Fixture::busybox().started();
    let pid = c.scratch.path().join("pid");
    c.call(&["exec", "-d", "--pid-file", pid.to_str().unwrap(), &c.id, "/bin/sleep", "1000"]).ok();
    let pid: i32 = fs::read_to_string(&pid).unwrap().parse().unwrap();
    assert!(!is_gone(pid));
    if common::is_root() {
        assert!(processes(&c).contains(&pid), "{:?}", processes(&c));
    }
    c.call(&["delete", "-f", &c.id]).ok();
    c.wait_for("its end", |_| is_gone(pid));
}

#[test]
fn exec_in_a_created_container_works() {
    let c = Fixture::busybox();
    c.create().ok();
    assert_eq!(c.exec("echo in").ok().stdout, "in\n");
}

#[test]
fn features_says_what_is_true() {
    let c = Fixture::busybox();
    let features = c.call(&["features"]).ok().json();
    assert_eq!(features["ociVersionMax"], "1.3.0");
    let names = |value: &Value| {
        value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(names(&features["hooks"]).contains(&"createContainer".to_owned()));
    assert!(names(&features["linux"]["seccomp"]["archs"]).contains(&"SCMP_ARCH_X86_64".to_owned()));
    assert!(names(&features["linux"]["seccomp"]["supportedFlags"]).contains(&"SECCOMP_FILTER_FLAG_TSYNC".to_owned()));
    let unsafe_annotations = names(&features["potentiallyUnsafeConfigAnnotations"]);
    for name in ["bookend/pre-stop", "org.systemd.property."] {
        assert!(unsafe_annotations.contains(&name.to_owned()), "{name}");
    }
    // Every mount option that it lists is one that a container can have, on the mount that fits it.
    let options = names(&features["mountOptions"]);
    assert!(options.contains(&"rro".to_owned()) && options.len() > 40, "{options:?}");
    // bookend has labels, whether or not this host has; a label that it has not is refused by name.
    assert_eq!(features["linux"]["selinux"]["enabled"], true);
    let labelled = Fixture::busybox().with(|config| config["linux"]["mountLabel"] = json!("x"));
    labelled.create().fails(1).says("linux.mountLabel");
}

/// What a file of the container's control group says, wherever its controller is.
fn cgroup_file(c: &Fixture, file: &str) -> Option<String> {
    let dirs = common::cgroups_named(&c.id);
    dirs.iter().find_map(|dir| std::fs::read_to_string(dir.join(file)).ok()).map(|text| text.trim().to_owned())
}

#[test]
fn update_changes_limits_by_flags_and_by_json() {
    if !needs_root("update_changes_limits_by_flags_and_by_json") {
        return;
    }
    let c = Fixture::busybox().started();
    c.call(&["update", "--pids-limit", "77", "--memory", "64m", &c.id]).ok();
    let memory =
        |c: &Fixture| cgroup_file(c, "memory.limit_in_bytes").or_else(|| cgroup_file(c, "memory.max")).unwrap();
    assert_eq!((cgroup_file(&c, "pids.max").unwrap(), memory(&c)), ("77".to_owned(), (64 << 20).to_string()));

    // As containerd and docker do it, with what they send along.
    let given =
        json!({"pids": {"limit": 78}, "memory": {}, "devices": [{"allow": false, "access": "rwm"}], "unknown": 1});
    for flags in [&["--resources", "-"][..], &["--resources=-"], &["-r", "-"]] {
        let mut command = c.command(&["update"]);
        let mut child = command.args(flags).arg(&c.id).stdin(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), given.to_string().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{flags:?}");
        assert_eq!(cgroup_file(&c, "pids.max").unwrap(), "78");
    }
    // Flags win over the file; a frozen container can be changed too.
    let file = c.scratch.path().join("limits.json");
    std::fs::write(&file, r#"{"pids": {"limit": 5}}"#).unwrap();
    c.verb("pause").ok();
    c.call(&["update", "--resources", file.to_str().unwrap(), "--pids-limit", "-1", &c.id]).ok();
    assert_eq!(cgroup_file(&c, "pids.max").unwrap(), "max");
    c.verb("resume").ok();
    assert_eq!(memory(&c), (64 << 20).to_string());
}

#[test]
fn update_refuses_what_is_no_limit_and_who_is_not_there() {
    let c = Fixture::busybox().started();
    let file = c.scratch.path().join("limits.json");
    let path = file.to_str().unwrap();
    c.verb("update").fails(1).says("nothing to change");
    c.call(&["update", "--memory", "much", &c.id]).fails(2).says("is no size");
    c.call(&["update", "--resources", "/nonexistent", &c.id]).fails(1).says("read resources from /nonexistent");
    for (text, words) in [
        ("{", "parse the resources"),
        ("[]", "must be an object"),
        (
            "{\n \"pids\": {\"limit\": \"many\"}}",
            "limits.json: line 2 column 25: linux.resources.pids.limit: invalid type",
        ),
        (r#"{"blockIO": {"weight": 5}}"#, "linux.resources.blockIO.weight: 5 is not within 10 to 1000"),
    ] {
        std::fs::write(&file, text).unwrap();
        c.call(&["update", "--resources", path, &c.id]).fails(1).says(words);
    }
    c.call(&["update", "--pids-limit", "9", "nosuch"]).fails(1).says("does not exist");
    c.call(&["kill", &c.id, "KILL"]).ok();
    c.wait_for("the end", |c| c.status() == "stopped");
    c.call(&["update", "--pids-limit", "9", &c.id]).fails(1).says("container not running: it is stopped");
    for verb in ["pause", "update --pids-limit 9"] {
        let words: Vec<&str> = verb.split(' ').collect();
        c.call(&[&words[..], &[&c.id]].concat()).fails(1).says("container not running: it is stopped");
    }
    c.verb("resume").fails(1).says("container not paused: it is stopped");
    c.verb("start").fails(1).says("cannot start a container that has stopped");
}

#[test]
fn keys_in_other_letters_are_corrected_before_the_flags_of_update_count() {
    if !needs_root("keys_in_other_letters_are_corrected_before_the_flags_of_update_count") {
        return; // a user's container may have no control group
    }
    let c = Fixture::busybox().started();
    let file = c.scratch.path().join("limits.json");
    std::fs::write(&file, r#"{"Memory": {"limit": 1000000000}}"#).unwrap();
    let args = ["update", "--resources", file.to_str().unwrap(), "--memory", "512m", &c.id];
    c.call(&args).ok().says("Memory: taken as memory");
}

#[test]
fn update_has_every_flag_of_runcs_and_leaves_a_paused_container_paused() {
    if !needs_root("update_has_every_flag_of_runcs_and_leaves_a_paused_container_paused") {
        return;
    }
    let c = Fixture::busybox().started();
    c.verb("pause").ok();
    let update = |flags: &[&str]| {
        let mut args = vec!["update"];
        args.extend(flags);
        args.push(&c.id);
        c.call(&args)
    };
    let is = |files: &[&str], value: &str| {
        if let Some(found) = files.iter().find_map(|file| cgroup_file(&c, file)) {
            assert_eq!(found, value, "{files:?}");
        }
    };
    update(&["--cpu-period", "50000", "--cpu-quota", "20000", "--cpu-burst", "1000", "--cpu-share", "2048"]).ok();
    is(&["cpu.cfs_period_us"], "50000");
    is(&["cpu.cfs_burst_us", "cpu.max.burst"], "1000");
    is(&["cpu.shares"], "2048");
    // Half of the pair, in both directions.
    update(&["--cpu-period", "100000"]).ok();
    is(&["cpu.cfs_quota_us"], "20000");
    is(&["cpu.max"], "20000 100000");
    update(&["--cpu-quota", "-1"]).ok();
    is(&["cpu.cfs_quota_us"], "-1");
    is(&["cpu.max"], "max 100000");
    update(&["--cpuset-cpus", "0", "--cpuset-mems", "0"]).ok();
    is(&["cpuset.cpus"], "0");
    update(&["--memory", "64m", "--memory-swap", "128m", "--memory-reservation", "32m"]).ok();
    is(&["memory.soft_limit_in_bytes", "memory.low"], "33554432");
    is(&["memory.memsw.limit_in_bytes"], "134217728");
    // No limit of memory is none of memory and swap.
    update(&["--memory", "-1"]).ok();
    is(&["memory.swap.max", "memory.max"], "max");
    update(&["--cpu-idle", "1"]).ok();
    is(&["cpu.idle"], "1");
    update(&["--cpu-idle", "0", "--pids-limit", "40"]).ok();
    is(&["pids.max"], "40");
    if cgroup_file(&c, "cpu.rt_runtime_us").is_some() {
        update(&["--cpu-rt-period", "900000", "--cpu-rt-runtime", "1000"]).ok();
        is(&["cpu.rt_runtime_us"], "1000");
    }
    if cgroup_file(&c, "blkio.bfq.weight").is_some() {
        update(&["--blkio-weight", "500"]).ok();
        is(&["blkio.bfq.weight"], "500");
    }
    update(&["--cpu-idle", "2"]).fails(1).says("linux.resources.cpu.idle: 2 is neither 0 nor 1");
    update(&["--blkio-weight", "9"]).fails(1).says("9 is not within 10 to 1000");
    update(&["--cpuset-cpus", "4000"]).fails(1).says("linux.resources.cpu.cpus: set cpuset.cpus to 4000");
    // As runc: this machine's kernel has no such limit any more.
    let file = c.scratch.path().join("limits.json");
    std::fs::write(&file, r#"{"memory": {"kernel": 4194304}, "pids": {}}"#).unwrap();
    update(&["--resources", file.to_str().unwrap()]).ok().says("linux.resources.memory.kernel: not set");
    // A caller that has nothing to change says so.
    std::fs::write(&file, "{}").unwrap();
    update(&["--resources", file.to_str().unwrap()]).ok();
    update(&["--l3-cache-schema", "L3:0=1"]).fails(1).says("intelRdt");
    assert_eq!(c.status(), "paused");
    c.verb("resume").ok();
}

#[test]
fn update_that_fails_leaves_the_limits_as_they_were() {
    if !needs_root("update_that_fails_leaves_the_limits_as_they_were") {
        return;
    }
    let c = Fixture::busybox().started();
    c.call(&["update", "--pids-limit", "77", "--memory", "64m", "--cpu-quota", "50000", &c.id]).ok();
    let files = ["pids.max", "memory.limit_in_bytes", "memory.max", "cpu.max", "cpu.cfs_quota_us", "cpuset.cpus"];
    let limits = || files.map(|file| cgroup_file(&c, file));
    let before = limits();
    assert!(before.contains(&Some("77".to_owned())), "{before:?}");
    // The processors are refused by the kernel after it has taken the rest.
    let flags = ["--pids-limit", "33", "--memory", "96m", "--cpu-quota", "-1", "--cpuset-cpus", "4000"];
    c.call(&[&["update"][..], &flags, &[&c.id]].concat()).fails(1).says("linux.resources.cpu.cpus");
    assert_eq!(limits(), before);
}

#[test]
fn update_changes_what_devices_may_be_used() {
    if !needs_root("update_changes_what_devices_may_be_used") {
        return;
    }
    let c = Fixture::busybox().with(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_MKNOD"));
        }
    });
    let c = c.started();
    let file = c.scratch.path().join("rules.json");
    let tried = |rules: Value| {
        std::fs::write(&file, json!({ "devices": rules }).to_string()).unwrap();
        c.call(&["update", "--resources", file.to_str().unwrap(), &c.id]).ok();
        c.exec("[ -e /dev/km ] || mknod /dev/km c 1 11; (: > /dev/km) 2>&1; echo x > /dev/null && echo null")
            .ok()
            .stdout
    };
    let deny = json!({"allow": false, "access": "rwm"});
    let allow = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"});
    assert_eq!(tried(json!([deny, allow])), "null\n");
    let denied = tried(json!([deny]));
    assert!(denied.contains("Operation not permitted") && denied.ends_with("null\n"), "{denied}");
    assert_eq!(tried(json!([{"allow": true, "access": "rwm"}])), "null\n");
}

// ── events ──

#[test]
fn events_stats_is_one_line_in_runcs_words() {
    if !needs_root("events_stats_is_one_line_in_runcs_words") {
        return;
    }
    let c = Fixture::busybox().own_network().started();
    let output = c.call(&["events", "--stats", &c.id]).ok();
    assert_eq!(output.stdout.lines().count(), 1);
    let event = output.json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)));
    let data = &event["data"];
    let names: Vec<&str> = data.as_object().unwrap().keys().map(String::as_str).collect();
    let of_runc = ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"];
    assert_eq!(names, of_runc);
    assert!(data["pids"]["current"].as_u64().unwrap() >= 1, "{data}");
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0, "{data}");
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{data}");
    assert_eq!(data["network_interfaces"][0]["Name"], "lo");
    // Paused it still counts; stopped it does not.
    c.verb("pause").ok();
    c.call(&["events", "--stats", &c.id]).ok();
    c.verb("resume").ok();
    c.call(&["events", "--interval", "0", &c.id]).fails(2).says("must be more than 0");
    c.call(&["kill", &c.id, "KILL"]).ok();
    c.wait_for("the end", |c| c.status() == "stopped");
    c.call(&["events", "--stats", &c.id]).fails(1).says(&format!("container with id {} is not running", c.id));
    c.call(&["events", "nosuch"]).fails(1).says("does not exist");
}

#[test]
fn events_come_at_their_interval_and_end_with_the_container() {
    if !needs_root("events_come_at_their_interval_and_end_with_the_container") {
        return;
    }
    let c = Fixture::busybox().started();
    let running = c.spawn(&["events", "--interval", "50ms", &c.id]);
    c.wait_for("three events", |_| running.printed().lines().count() >= 3);
    c.call(&["kill", &c.id, "KILL"]).ok();
    let output = running.wait().ok();
    assert!(output.stdout.lines().all(|line| line.starts_with(r#"{"type":"stats","id":""#)), "{}", output.stdout);
}

#[test]
fn events_tell_that_memory_ran_out() {
    if !needs_root("events_tell_that_memory_ran_out") {
        return;
    }
    let limit = 16 << 20;
    let c = Fixture::busybox().with(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": limit, "swap": limit});
    });
    let c = c.shell("while ! [ -e /go ]; do sleep 0.05; done; tail -n 1 /dev/zero; exec sleep 1000").started();
    let running = c.spawn(&["events", "--interval", "1m", &c.id]);
    c.wait_for("the first event", |_| running.printed().contains("stats"));
    std::fs::write(c.rootfs().join("go"), "").unwrap();
    let oom = format!(r#"{{"type":"oom","id":"{}"}}"#, c.id);
    c.wait_for("the oom event", |_| running.printed().lines().any(|line| line == oom));
    c.call(&["kill", &c.id, "KILL"]).ok();
    running.wait().ok();
}

// ── exec --cgroup, and killing without a pid namespace ──

#[test]
fn exec_joins_the_cgroup_that_it_is_told() {
    if !needs_root("exec_joins_the_cgroup_that_it_is_told") {
        return;
    }
    let c = Fixture::busybox().without_namespace("cgroup").started();
    let dirs = common::cgroups_named(&c.id);
    // Cpusets have to be filled before they take anyone.
    for dir in dirs.iter().filter(|dir| !dir.join("cpuset.mems").exists() || dir.join("cgroup.controllers").exists()) {
        std::fs::create_dir_all(dir.join("sub/deeper")).unwrap();
    }
    let cgroup_of = |flags: &[&str]| {
        let mut args = vec!["exec"];
        args.extend(flags);
        args.extend([c.id.as_str(), "cat", "/proc/self/cgroup"]);
        c.call(&args)
    };
    let alone = dirs.len() == 1;
    if alone {
        let out = cgroup_of(&["--cgroup", "/sub/deeper"]).ok().stdout;
        assert!(out.trim().ends_with("/sub/deeper"), "{out}");
        cgroup_of(&["--cgroup", "memory:sub"]).fails(125).says("give the path alone");
    } else {
        let out = cgroup_of(&["--cgroup", "pids,freezer:sub/deeper", "--cgroup", "memory:/sub"]).ok().stdout;
        let place = |controller: &str| out.lines().find(|line| line.contains(&format!(":{controller}:"))).unwrap();
        assert!(place("pids").ends_with("/sub/deeper") && place("freezer").ends_with("/sub/deeper"), "{out}");
        assert!(place("memory").ends_with("/sub") && place("cpu").ends_with(&c.id), "{out}");
        cgroup_of(&["--cgroup", "nosuch:sub"]).fails(125).says("unknown controller \"nosuch\"").says("pids");
        cgroup_of(&["--cgroup", "pids:sub", "--cgroup", "pids:/"]).fails(2).says("pids is given twice");
        cgroup_of(&["--cgroup", "pids:sub", "--cgroup", "sub"]).fails(2).says("say of which controller");
    }
    let out = cgroup_of(&["--cgroup", "/"]).ok().stdout;
    assert!(out.lines().filter(|line| line.ends_with(&c.id)).count() == dirs.len(), "{out}");
    cgroup_of(&["--cgroup", ".."]).fails(125).says(".. is not a sub cgroup path");
    cgroup_of(&["--cgroup", "sub/../../x"]).fails(125).says("is not a sub cgroup path");
    cgroup_of(&["--cgroup", "absent"]).fails(125).says("No such file or directory");
}

#[test]
fn kill_with_kill_ends_a_container_without_a_pid_namespace_whole_also_after_its_init() {
    if !needs_root("kill_with_kill_ends_a_container_without_a_pid_namespace_whole_also_after_its_init") {
        return;
    }
    let c = Fixture::busybox().without_namespace("pid").shell("sleep 1000 & sleep 1000 & wait").started();
    c.wait_for("its children", |c| processes(c).len() == 3);
    let all = processes(&c);
    c.call(&["kill", &c.id, "KILL"]).ok();
    c.wait_for("their end", |_| all.iter().all(|pid| is_gone(*pid)));

    let c = Fixture::busybox().without_namespace("pid").shell("sleep 1000 & exit 0");
    let c = c.started();
    c.wait_for("the end of init", |c| c.status() == "stopped");
    let left = processes(&c);
    assert_eq!(left.len(), 1);
    c.call(&["kill", &c.id, "TERM"]).fails(1).says("container not running");
    assert!(!is_gone(left[0]));
    c.call(&["kill", &c.id, "9"]).ok();
    c.wait_for("its end", |_| is_gone(left[0]));
    c.call(&["kill", "--all", &c.id, "9"]).ok();
    c.verb("delete").ok();
    c.assert_nothing_left();
}
