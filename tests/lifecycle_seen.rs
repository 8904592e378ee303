//! What is seen of a container's life (lifecycle.md section 8: logs, events, status, exit codes), and what its supervisor
//! costs and keeps, on real containers.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::Fixture;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const WAIT_FOR_GO: &str = "while [ ! -e /go ]; do sleep 0.05; done";

fn go(c: &Fixture) {
    fs::write(c.rootfs().join("go"), "").unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// /proc of the process that supervises a container which is not in the foreground.
fn supervisor(c: &Fixture) -> PathBuf {
    let root = c.root().to_str().unwrap().to_owned();
    let is_it = |line: &str| line.contains("supervise") && line.contains(&root);
    let mut found = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let line = String::from_utf8_lossy(&fs::read(path.join("cmdline")).ok()?).replace('\0', " ");
        is_it(&line).then_some(path)
    });
    found.next().expect("a supervisor")
}

/// User and system time of a process so far, in clock ticks (proc_pid_stat(5)).
fn ticks(process: &Path) -> u64 {
    let stat = fs::read_to_string(process.join("stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Memory of its own that a process has.
fn resident_kib(process: &Path) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

// ── logs ──

#[test]
fn l_01_output_is_kept_a_file_for_each_attempt_with_time_and_stream() {
    let c = Fixture::busybox().hook("postStart", "echo out; echo err >&2; printf 'no end'").started();
    let path = c.state_dir().join("hooks/postStart-1.log");
    c.wait_for("the log", |_| fs::read_to_string(&path).unwrap_or_default().contains("no end"));
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let text = fs::read_to_string(&path).unwrap();
    let mut words: Vec<(&str, &str)> = Vec::new();
    for line in text.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() == "2026-01-02T03:04:05.000000006Z".len() && time.ends_with('Z'), "{line}");
        words.push(rest.split_once(' ').unwrap());
    }
    words.sort();
    assert_eq!(words, [("stderr", "err"), ("stdout", "no end"), ("stdout", "out")]);
    assert_eq!(c.state()["hooks"]["postStart"]["logPath"], path.to_str().unwrap());
    // It survives a killed container until `delete`.
    c.call(&["kill", &c.id, "KILL"]).ok();
    c.verb("wait").fails(137);
    assert!(path.exists());
}

#[test]
fn l_02_inherited_output_goes_to_the_stderr_of_run_with_the_hooks_name_and_is_not_kept() {
    let c = Fixture::busybox().shell("echo own; while [ ! -e /go ]; do sleep 0.05; done");
    let c = c.hook("postStart", "echo out; echo err >&2; touch /go").policy("postStart", "log", json!("inherit"));
    let output = c.flag("--keep").run().ok();
    assert_eq!(output.stdout, "own\n");
    assert!(output.stderr.contains("[postStart] out\n") && output.stderr.contains("[postStart] err\n"), "{output:?}");
}

#[test]
fn l_02_the_containers_own_streams_get_output_only_if_that_is_asked_for() {
    let c = Fixture::busybox().shell("echo own; while [ ! -e /go ]; do sleep 0.05; done");
    let c =
        c.annotation("bookend/hook-logs", "container").annotation("bookend/post-start.shell", "echo out; touch /go");
    let output = c.run().ok();
    assert!(output.stdout.contains("[postStart] out\n") && output.stdout.contains("own\n"), "{output:?}");
}

#[test]
fn l_03_the_error_of_start_has_the_last_line_of_stderr_cut_and_escaped() {
    let script = "echo first >&2; printf 'bad \\033[31m%0400d\\n\\n' 7 >&2; exit 3";
    let c = Fixture::busybox().hook("postStart", script);
    c.create().ok();
    let error = c.verb("start").fails(1).stderr;
    assert!(error.contains("PostStartHook failed: exit code 3: bad ") && !error.contains("first"), "{error}");
    // On a slow machine there are lines about the wait before it.
    assert!(!error.contains('\u{1b}') && error.lines().last().unwrap().len() < 450, "{error:?}");
    let journal = fs::read_to_string(c.state_dir().join("journal.jsonl")).unwrap();
    assert!(!journal.contains("bad ") && !journal.contains("0000000000000000000000000"), "{journal}");

    let c = Fixture::busybox().hook("postStart", "echo secret >&2; exit 3").policy("postStart", "log", json!("none"));
    c.create().ok();
    let error = c.verb("start").fails(1).stderr;
    assert!(error.trim_end().ends_with("PostStartHook failed: exit code 3"), "{error}");
    assert!(!c.state_dir().join("hooks/postStart-1.log").exists());
}

#[test]
fn logs_f_follows_what_hooks_print_until_the_container_is_deleted() {
    let c = Fixture::busybox().hook("postStart", "echo up");
    let c = c.hook("preStop", &format!("echo draining; {WAIT_FOR_GO}; echo drained; sleep 100")).started();
    let all = c.spawn(&["logs", "-f", &c.id]);
    c.verb("kill").ok();
    c.wait_for("the first line", |_| all.printed().contains("draining"));
    go(&c);
    c.wait_for("the second line", |_| all.printed().contains("drained"));
    c.call(&["delete", "--force", &c.id]).ok();
    let text = all.wait().ok().stdout;
    let words: Vec<&str> = text.lines().map(|line| line.rsplit("stdout ").next().unwrap()).collect();
    let expected = ["==> postStart attempt 1 <==", "up", "", "==> preStop attempt 1 <==", "draining", "drained"];
    assert_eq!(words, expected);
    // Afterwards there is nothing to wait for.
    assert!(c.call(&["logs", "-f", &c.id]).ok().stdout.contains("drained"));
}

#[test]
fn logs_whose_reader_has_gone_end_without_a_word_and_a_full_disk_is_told() {
    let c = Fixture::busybox().hook("postStart", "seq 100").started();
    let logs = |flags: &[&str], stdout: std::process::Stdio| {
        let output = c.command(&[&["logs"], flags, &[&c.id]].concat()).stdout(stdout).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for flags in [&["-f"][..], &[]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(logs(flags, writer.into()), (Some(0), String::new()), "{flags:?}");
        let (code, error) = logs(flags, fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
        assert!(code == Some(1) && error.contains("No space left"), "{flags:?}: {error}");
    }
}

#[test]
fn logs_f_ends_with_the_supervisor_that_was_killed() {
    let c = Fixture::busybox().hook("postStart", "echo up").hook("preStop", "true").started();
    let follow = c.spawn(&["logs", "-f", &c.id]);
    c.wait_for("the line", |_| follow.printed().contains("up"));
    let kill = |pid: i32| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let init = c.pid();
    kill(supervisor(&c).file_name().unwrap().to_str().unwrap().parse().unwrap());
    follow.wait().ok();
    let picture = || c.verb("timeline").ok().stdout;
    assert!(picture().contains("running"));
    // Nobody sees the end, and the picture does not go on for ever.
    kill(init);
    c.wait_for("the end", |_| picture().contains("end not recorded"));
    c.call(&["delete", "--force", &c.id]).ok();
    assert!(!picture().contains("running"));
}

#[test]
fn what_a_container_may_name_and_print_is_no_command_to_a_terminal() {
    let evil = "evil\u{1b}]0;x\u{7}\u{1b}[2J";
    let c = Fixture::busybox().annotation("io.kubernetes.cri.container-name", evil);
    let c = c.annotation("bookend/post-start.shell", "printf 'a\\033[31mred\\n'; exit 3");
    let c = c.annotation("bookend/post-start.on-failure", "ignore").started();
    for verb in [&["hooks"] as &[&str], &["timeline"], &["timeline", "-f", "svg"], &["timeline", "-f", "html"]] {
        let text = c.call(&[verb, &[&c.id]].concat()).ok().stdout;
        let odd = text.chars().find(|letter| letter.is_control() && *letter != '\n');
        assert_eq!(odd, None, "{verb:?}: {text}");
    }
    // Whoever reads a pipe gets what was printed.
    assert!(c.verb("logs").ok().stdout.contains("a\u{1b}[31mred\n"));
    assert_eq!(c.call(&["timeline", "-f", "json", &c.id]).ok().json()["container"], evil);
}

#[test]
fn what_cannot_be_shown_is_said_with_what_there_is() {
    let c = Fixture::busybox().hook("postStart", "true").started();
    c.call(&["logs", &c.id]).ok().says("no hook of");
    c.call(&["logs", "--hook", "preStop", "--attempt", "2", &c.id]).ok().says("no preStop of").says("in attempt 2");
    c.call(&["logs", "--hook", "prestop", &c.id]).fails(2).says("preStart, postStart, preStop or postStop");
    c.call(&["timeline", "-f", "png", &c.id]).fails(2).says("text, json, svg, html");
    c.call(&["timeline", "nobody"]).fails(1).says("does not exist").says("ids are whole");
    c.call(&["timeline", "-p", &c.id]).fails(1).says("1 known");
}

// ── timeline ──

#[test]
fn a_timeline_is_drawn_while_the_container_lives_and_after_its_end_in_every_format() {
    let c = Fixture::busybox().hook("postStart", "echo warm").hook("preStop", "echo '<drain>'; exit 3").grace(20);
    let c = c.started();
    let picture = |format: &str| c.call(&["timeline", "--format", format, &c.id]).ok().stdout;
    let live = picture("svg");
    assert!(live.contains("now: ") && live.contains("running"), "{live}");
    assert!(picture("text").contains("running"));
    c.stop().ok();
    let stopped = picture("svg");
    c.call(&["delete", &c.id]).ok();
    for svg in [&stopped, &picture("svg")] {
        assert!(svg.starts_with("<svg ") && !svg.contains("now: ") && svg.contains("failed: exit code 3"), "{svg}");
        assert!(svg.contains("exec /bin/sh -c"), "what the handler does: {svg}");
    }
    let page = picture("html");
    for text in ["<!doctype html>", "<svg ", "FailedPreStopHook", "&lt;drain&gt;", "exit code 3", "Deleted container"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let json: Value = serde_json::from_str(&picture("json")).unwrap();
    assert_eq!(json["lanes"][0]["lane"], "create");
}

#[test]
fn earlier_lives_of_an_id_are_reached_one_by_one() {
    let c = Fixture::busybox().hook("postStart", "cat /life");
    c.write();
    for life in ["first", "second", "third"] {
        fs::write(c.rootfs().join("life"), format!("the {life}\n")).unwrap();
        c.run_detached().ok();
        if life != "third" {
            c.call(&["delete", "--force", &c.id]).ok();
        }
    }
    let logs = |flags: &[&str]| c.call(&[&["logs"], flags, &[&c.id]].concat()).ok().stdout;
    assert!(logs(&[]).ends_with("the third\n"));
    assert!(logs(&["-p"]).ends_with("the second\n"));
    assert!(logs(&["-pp"]).ends_with("the first\n") && logs(&["--previous", "--previous"]).ends_with("the first\n"));
    c.call(&["logs", "-ppp", &c.id]).fails(1).says("3 known");
    for verb in ["hooks", "timeline"] {
        c.call(&[verb, "-p", &c.id]).ok().says("postStart");
    }
    c.call(&["delete", "--force", &c.id]).ok();
    assert!(logs(&[]).ends_with("the third\n") && logs(&["-p"]).ends_with("the second\n"));
}

// ── events and status ──

#[test]
fn l_04_every_event_has_its_times_type_reason_and_message_in_order() {
    let c = Fixture::busybox().hook("postStart", "true").hook("preStop", "exit 2").started();
    c.stop().ok();
    c.call(&["delete", "--force", &c.id]).ok();
    let journal = c.journal();
    let mut last = 0;
    for record in &journal {
        for field in ["time", "type", "reason", "container", "bootId"] {
            assert!(record[field].is_string(), "{field} of {record}");
        }
        assert!(record["message"].is_string(), "{record}");
        let at = record["monotonicNs"].as_u64().unwrap();
        assert!(at >= last, "{record}");
        last = at;
    }
    let failed = c.event("FailedPreStopHook");
    assert_eq!((&failed["hook"], &failed["attempt"], &failed["exitCode"]), (&json!("preStop"), &json!(1), &json!(2)));
    assert!(failed["durationMs"].is_u64() && failed["logPath"].is_string(), "{failed}");
    let expected = [
        "Created",
        "EntrypointExecuted",
        "HookStarted",
        "HookSucceeded",
        "Started",
        "StopRequested",
        "Killing",
        "HookStarted",
        "FailedPreStopHook",
        "SignalSent",
        "Exited",
        "Deleted",
    ];
    // X-E18 is told where there is no control group.
    let reasons: Vec<String> = c.reasons().into_iter().filter(|reason| reason != "HookOutsideCgroup").collect();
    assert_eq!(reasons, expected);
}

#[test]
fn l_05_l_06_l_07_events_have_the_words_of_kubernetes() {
    let c = Fixture::busybox().hook("postStart", "true").started();
    c.call(&["stop", &c.id, "--grace", "5"]).ok();
    let message = |reason: &str| c.event(reason)["message"].as_str().unwrap().to_owned();
    assert_eq!(message("Created"), format!("Created container: {}", c.id));
    assert_eq!(message("Started"), format!("Started container {}", c.id));
    assert_eq!(message("Killing"), format!("Stopping container {}", c.id));
    let asked = c.event("StopRequested");
    assert_eq!(
        (&asked["by"], &asked["signal"], &asked["graceSeconds"]),
        (&json!("stop"), &json!("SIGTERM"), &json!(5))
    );
    assert_eq!(c.event("SignalSent")["signal"], "SIGTERM");
    assert_eq!(c.event("Exited")["code"], 0);
}

#[test]
fn l_08_the_status_of_each_hook_has_the_same_shape_in_state_hooks_and_file() {
    let c = Fixture::busybox().hook("preStart", "true").hook("preStart", "true").hook("postStart", "true");
    let c = c.hook("preStop", "exit 7").hook("postStop", "true").started();
    let before = c.state();
    assert_eq!(before["hooks"]["preStop"], json!({"state": "Pending", "handler": "exec", "attempts": 0}));
    c.stop().ok();
    let state = c.state();
    let hooks = &state["hooks"];
    assert_eq!(hooks["preStart"].as_array().unwrap().len(), 2);
    assert_eq!(hooks["postStop"].as_array().unwrap().len(), 1);
    let pre_stop = hooks["preStop"].as_object().unwrap();
    assert_eq!(
        (&pre_stop["state"], &pre_stop["attempts"], &pre_stop["exitCode"]),
        (&json!("Failed"), &json!(1), &json!(7))
    );
    for field in ["startedAt", "finishedAt", "error", "logPath"] {
        assert!(pre_stop[field].is_string(), "{field} of {hooks:#}");
    }
    assert!(hooks["postStart"].get("error").is_none(), "what there is none of is absent");
    let shown = c.call(&["hooks", &c.id, "--format", "json"]).ok().json();
    assert_eq!(&shown["hooks"], hooks);
    let written: Value = serde_json::from_slice(&fs::read(c.state_dir().join("status.json")).unwrap()).unwrap();
    assert_eq!(&written["hooks"], hooks);
    for name in ["status.json", "journal.jsonl", "plan.json", "state.json", "config.json"] {
        assert_eq!(mode(&c.state_dir().join(name)), 0o600, "{name}");
    }
}

#[test]
fn the_oci_state_of_a_plain_container_has_nothing_of_ours() {
    let c = Fixture::busybox().started();
    let state = c.state();
    for field in ["phase", "hooks", "exit"] {
        assert!(state.get(field).is_none(), "{state:#}");
    }
    assert!(!c.state_dir().join("journal.jsonl").exists());
    c.call(&["delete", "--force", &c.id]).ok();
    assert!(c.history().is_err());
}

// ── exit codes ──

#[test]
fn x_01_x_02_the_code_is_the_entrypoints_own_or_128_and_its_signal() {
    for hooks in [true, false] {
        let c = Fixture::busybox().shell("exit 42");
        let c = if hooks { c.hook("postStop", "true") } else { c };
        c.run().fails(42);
        let c = Fixture::busybox().entrypoint(["/bin/sleep", "1000"]).flag("--keep");
        let c = if hooks { c.hook("postStop", "true") } else { c };
        let run = c.spawn_run();
        c.wait_for("running", |c| c.status() == "running");
        c.call(&["kill", &c.id, "KILL"]).ok();
        run.wait().fails(137);
    }
}

#[test]
fn x_03_x_04_a_failed_hook_that_counts_makes_of_0_a_125() {
    for (hook, code, expected) in [("preStop", 0, 125), ("postStop", 0, 125), ("postStop", 6, 6)] {
        let c = Fixture::busybox().shell(&format!("trap 'exit {code}' TERM; touch /up; while :; do sleep 0.05; done"));
        let c = c.hook(hook, "exit 1").policy(hook, "onFailure", json!("fail")).flag("--keep");
        let run = c.spawn_run();
        c.wait_for("running", |c| c.phase() == "Running" && c.rootfs().join("up").exists());
        c.stop().ok();
        run.wait().fails(expected);
        c.verb("wait").fails(expected).says(&expected.to_string());
    }
}

#[test]
fn x_05_an_invalid_lifecycle_is_125_for_run_and_1_for_create_and_creates_nothing() {
    let c = Fixture::busybox().handler("postStart", json!({}));
    for (verb, code) in [(&["run"] as &[&str], 125), (&["run", "--detach"], 125), (&["create"], 1)] {
        c.make(verb).fails(code).says("lifecycle.postStart: Required value: must specify a handler type");
        c.assert_nothing_left();
    }
}

#[test]
fn x_06_wait_knows_the_code_also_of_a_container_that_was_created_by_a_caller() {
    let c = Fixture::busybox().shell(&format!("{WAIT_FOR_GO}; exit 21")).hook("postStop", "true");
    c.create().ok();
    c.verb("start").ok();
    let wait = c.spawn(&["wait", &c.id]);
    go(&c);
    // Whoever inherited init has reaped it, or not yet; before Linux 6.15 only the latter tells.
    let output = wait.wait();
    assert!(output.code == 21 || output.stdout.contains("cannot be known"), "{output:?}");
}

// ── the supervisor ──

#[test]
fn the_supervisor_keeps_nothing_of_its_caller() {
    use std::os::unix::process::CommandExt;
    for verb in [&["create"] as &[&str], &["run", "--detach"]] {
        let c = Fixture::busybox().hook("preStop", "true").hook("postStop", "true");
        c.write();
        let mut command = c.command(&[verb, &["--bundle", c.bundle().to_str().unwrap(), &c.id]].concat());
        let (reader, writer) = std::io::pipe().unwrap();
        command
            .stdin(std::process::Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer.try_clone().unwrap());
        command.current_dir(c.scratch.path()).env("SECRET", "of the caller").process_group(0);
        let mut child = command.spawn().unwrap();
        assert!(child.wait().unwrap().success());
        let process = supervisor(&c);
        assert_eq!(fs::read_link(process.join("cwd")).unwrap(), Path::new("/"));
        for fd in ["0", "1", "2"] {
            assert_eq!(fs::read_link(process.join("fd").join(fd)).unwrap(), Path::new("/dev/null"), "{fd}");
        }
        let environment = String::from_utf8_lossy(&fs::read(process.join("environ")).unwrap()).into_owned();
        assert!(!environment.contains("SECRET"), "{environment}");
        let status = fs::read_to_string(process.join("status")).unwrap();
        assert!(status.contains("Umask:\t0077\n"), "{status}");
        let stat = fs::read_to_string(process.join("stat")).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        let pid = process.file_name().unwrap().to_str().unwrap();
        assert_eq!(fields[3], pid, "a session of its own: {stat}");
        // A pipe of the caller's that stays open would hold it up for ever.
        let pipe = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader))).unwrap();
        for entry in fs::read_dir(process.join("fd")).unwrap() {
            assert_ne!(fs::read_link(entry.unwrap().path()).unwrap_or_default(), pipe, "{verb:?}");
        }
    }
}

mod alone {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_supervisor_that_waits_uses_no_cpu_whatever_its_peers_do() {
        let hook = "exec > /dev/null 2>&1; while [ ! -e /go ]; do sleep 0.05; done";
        let c = Fixture::busybox().hook("postStart", hook).handler("preStop", json!({"sleep": {"seconds": 30}}));
        c.create().ok();
        let start = c.spawn(&["start", &c.id]);
        c.wait_for_phase("Starting");
        let process = supervisor(&c);
        // The hook has closed its output; a verb that waits is killed; another never says a word.
        let killed = c.spawn(&["wait", &c.id]);
        killed.signal(Signal::SIGKILL);
        drop(killed);
        let silent = silent_client(&c);
        let rest = |what: &str| {
            let before = ticks(&process);
            std::thread::sleep(Duration::from_millis(700));
            let used = ticks(&process) - before;
            assert!(used <= 5, "{used} ticks {what}");
        };
        rest("while a hook runs");
        go(&c);
        start.wait().ok();
        rest("while the container runs");
        c.verb("kill").ok();
        c.wait_for_phase("Stopping");
        rest("while it is stopped");
        drop(silent);
        c.call(&["kill", &c.id, "KILL"]).ok();
        c.verb("wait").fails(137);
    }

    #[test]
    fn x_e14_a_flood_costs_the_supervisor_no_memory_and_blocks_nobody() {
        // The first flood takes what one of any size needs.
        let c = Fixture::busybox()
            .hook("postStart", "dd if=/dev/zero bs=1M count=4")
            .hook("preStop", "dd if=/dev/zero bs=1M count=48 && touch /written")
            .grace(300);
        let c = c.started();
        let process = supervisor(&c);
        let before = resident_kib(&process).unwrap();
        c.verb("kill").ok();
        let mut most = 0;
        c.wait_for("the end of preStop", |c| {
            // None once it has ended.
            most = most.max(resident_kib(&process).unwrap_or(0));
            c.phase() == "Stopped"
        });
        assert!(c.rootfs().join("written").exists());
        println!("{before} KiB before, {most} at most");
        assert!(most < before + 256, "{before} KiB before, {most} at most");
    }
}

/// A connection to the supervisor on which nothing is said.
fn silent_client(c: &Fixture) -> std::os::fd::OwnedFd {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let path = c.state_dir().join("control.sock");
    connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &UnixAddr::new(&path).unwrap()).unwrap();
    fd
}

#[test]
fn nonsense_on_the_control_socket_is_answered_and_harms_nobody() {
    let c = Fixture::busybox().hook("preStop", "true").started();
    let silent = silent_client(&c);
    let loud = silent_client(&c);
    let raw = std::os::fd::AsRawFd::as_raw_fd(&loud);
    nix::sys::socket::send(raw, b"open the pod bay doors", nix::sys::socket::MsgFlags::empty()).unwrap();
    let mut answer = [0; 256];
    let length = nix::sys::socket::recv(raw, &mut answer, nix::sys::socket::MsgFlags::empty()).unwrap();
    assert!(answer[..length].starts_with(b"error unknown request"), "{}", String::from_utf8_lossy(&answer[..length]));
    // One who asks and does not wait for the answer.
    let hasty = silent_client(&c);
    let raw = std::os::fd::AsRawFd::as_raw_fd(&hasty);
    nix::sys::socket::send(raw, b"wait", nix::sys::socket::MsgFlags::empty()).unwrap();
    drop(hasty);
    c.stop().ok();
    drop(silent);
}

#[test]
fn r16_two_starts_at_once_execute_the_program_once() {
    let c = Fixture::busybox().shell("echo run >> /log; exec /bin/entrypoint").hook("postStart", "echo post >> /log");
    c.create().ok();
    let mut starts: Vec<_> =
        (0..3).map(|_| c.command(&["start", &c.id]).stderr(std::process::Stdio::null()).spawn().unwrap()).collect();
    let succeeded = starts.iter_mut().filter_map(|start| start.wait().unwrap().success().then_some(())).count();
    assert_eq!(succeeded, 1);
    c.wait_for("both lines", |c| c.read("/log").lines().count() >= 2);
    assert_eq!(c.read("/log").matches("run").count(), 1);
}
