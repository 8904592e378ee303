//! Faults of threats.md that bookend must outlive: it is killed at any moment, its files are cut, its callers race.
//!
//! Loops are short here; BOOKEND_TEST_ROUNDS makes them longer.

mod common;
mod threats;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Fixture, Output, bookend, cgroups_named, finish, is_root, needs_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use threats::{processes_of, rounds};

/// Runs until it is killed, and is found by its id in a list of processes.
fn marked() -> Fixture {
    let fixture = Fixture::busybox();
    let id = fixture.id.clone();
    fixture.entrypoint(["/bin/sh", "-c", "trap 'exit 0' TERM; echo up > /up; while :; do sleep 0.1; done", &id])
}

/// `delete --force` works, nothing is left, and the same id can be used again.
#[track_caller]
fn cleans_up(fixture: &Fixture, what: &str) {
    let output = fixture.call(&["delete", "--force", &fixture.id]);
    assert_eq!(output.code, 0, "{what}: {output:?}");
    fixture.assert_nothing_left();
    let begun = Instant::now();
    while !processes_of(fixture).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: processes are left: {:?}", processes_of(fixture));
        std::thread::sleep(Duration::from_millis(10));
    }
    let entries = fs::read_dir(fixture.root()).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let entries: Vec<_> = entries.collect();
    assert!(entries.is_empty(), "{what}: left in the root: {entries:?}");
}

/// The arguments of a verb that makes a container.
fn making(fixture: &Fixture, verb: &[&str]) -> Vec<String> {
    fixture.write();
    let mut args: Vec<String> = verb.iter().map(|word| (*word).to_owned()).collect();
    args.extend(["--bundle".to_owned(), fixture.bundle().display().to_string(), fixture.id.clone()]);
    args
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// A call of bookend whose every process is killed at its own system call number `at`.
fn killed_at(fixture: &Fixture, args: &[&str], at: usize) -> Output {
    let mut command = Command::new("strace");
    // The tracer is a grandchild (-D): what we wait for is the verb itself, not a container that it leaves running.
    command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=all"]);
    command.args(["-e", &format!("inject=all:signal=KILL:when={at}")]);
    command.arg(bookend()).arg("--root").arg(fixture.root()).args(args);
    command.env("XDG_RUNTIME_DIR", fixture.scratch.path().join("run"));
    finish(command, &fixture.scratch)
}

/// How many system calls the verb makes.
fn calls(fixture: &Fixture, args: &[&str]) -> usize {
    let log = fixture.scratch.path().join("calls");
    let mut command = Command::new("strace");
    command.args(["-qq", "-o"]).arg(&log).arg(bookend()).arg("--root").arg(fixture.root()).args(args);
    command.env("XDG_RUNTIME_DIR", fixture.scratch.path().join("run"));
    finish(command, &fixture.scratch).ok();
    fs::read_to_string(log).unwrap().lines().count()
}

/// Points of a verb's life, evenly spread; which ones differs from run to run.
fn points(calls: usize, count: u32) -> impl Iterator<Item = usize> {
    let step = calls as f64 / f64::from(count);
    let offset = f64::from(std::process::id() % 64) / 64.0;
    (0..count).map(move |i| ((f64::from(i) + offset) * step) as usize + 1)
}

/// Kills the verb at points of its life, and looks each time whether everything can be cleaned up. `before` brings the
/// container to where the verb begins.
fn kill_everywhere(fixture: &Fixture, args: &[&str], usual: u32, before: impl Fn(&Fixture)) {
    before(fixture);
    let calls = calls(fixture, args);
    cleans_up(fixture, "without a kill");
    let mut died = 0;
    for at in points(calls, rounds(usual)) {
        before(fixture);
        died += u32::from(killed_at(fixture, args, at).code == 137);
        // A supervisor that it had begun may be about to make the container: until it has, or is gone.
        let begun = Instant::now();
        while !fixture.state_dir().exists() && !processes_of(fixture).is_empty() && begun.elapsed().as_secs() < 10 {
            std::thread::sleep(Duration::from_millis(10));
        }
        cleans_up(fixture, &format!("killed at call {at} of {calls}"));
    }
    assert!(died > 0, "no kill ever hit");
    // And the id is as good as new.
    fixture.run_detached().ok();
    fixture.wait_for("the container", |fixture| fixture.read("/up") == "up\n");
    cleans_up(fixture, "after all");
}

#[test]
fn r1_a_create_that_is_killed_anywhere_leaves_nothing_that_delete_force_does_not_clear() {
    if !needs_root("r1_a_create_that_is_killed_anywhere_leaves_nothing_that_delete_force_does_not_clear") {
        return;
    }
    let fixture = marked();
    let args = making(&fixture, &["create"]);
    kill_everywhere(&fixture, &words(&args), 20, |_| {});
}

#[test]
fn r1_a_create_with_hooks_that_is_killed_anywhere_leaves_nothing() {
    if !needs_root("r1_a_create_with_hooks_that_is_killed_anywhere_leaves_nothing") {
        return;
    }
    let fixture =
        marked().hook("postStart", "true").handler("postStop", json!({ "exec": { "command": ["/bin/true"] } }));
    let args = making(&fixture, &["create"]);
    kill_everywhere(&fixture, &words(&args), 12, |_| {});
}

#[test]
fn r2_a_run_with_hooks_that_is_killed_anywhere_leaves_nothing() {
    if !needs_root("r2_a_run_with_hooks_that_is_killed_anywhere_leaves_nothing") {
        return;
    }
    let fixture = marked().hook("postStart", "true");
    let args = making(&fixture, &["run", "--detach"]);
    kill_everywhere(&fixture, &words(&args), 12, |_| {});
}

#[test]
fn r2_a_start_that_is_killed_anywhere_leaves_nothing() {
    if !needs_root("r2_a_start_that_is_killed_anywhere_leaves_nothing") {
        return;
    }
    let fixture = marked();
    let id = fixture.id.clone();
    kill_everywhere(&fixture, &["start", &id], 8, |fixture| drop(fixture.create().ok()));
}

#[test]
fn r2_an_exec_that_is_killed_anywhere_leaves_nothing() {
    if !needs_root("r2_an_exec_that_is_killed_anywhere_leaves_nothing") {
        return;
    }
    let fixture = marked();
    let id = fixture.id.clone();
    kill_everywhere(&fixture, &["exec", &id, "/bin/true"], 8, |fixture| drop(fixture.run_detached().ok()));
}

#[test]
fn r2_a_second_delete_finishes_one_that_was_killed_anywhere() {
    if !needs_root("r2_a_second_delete_finishes_one_that_was_killed_anywhere") {
        return;
    }
    let fixture = marked();
    let id = fixture.id.clone();
    kill_everywhere(&fixture, &["delete", "--force", &id], 16, |fixture| drop(fixture.run_detached().ok()));
}

/// The same without strace, for whoever may not trace: killed after a part of the time that a create takes.
#[test]
fn r1_a_create_that_is_killed_after_any_time_leaves_nothing() {
    let fixture = marked();
    let args = making(&fixture, &["create"]);
    let begun = Instant::now();
    fixture.create().ok();
    let whole = begun.elapsed();
    cleans_up(&fixture, "without a kill");
    let count = rounds(8);
    for round in 0..count {
        let mut running = fixture.spawn(&words(&args));
        std::thread::sleep(whole * round / count);
        let _ = running.child.kill(); // it may have ended
        let _ = running.child.wait();
        cleans_up(&fixture, &format!("killed after {round}/{count} of {whole:?}"));
    }
}

#[test]
fn r4_delete_force_ends_a_container_whose_state_is_cut_or_garbage() {
    let fixture = marked();
    fixture.run_detached().ok();
    let whole = fs::read(fixture.state_dir().join("state.json")).unwrap();
    cleans_up(&fixture, "whole");
    let cut = (0..8).map(|part| whole[..whole.len() * part / 8].to_vec());
    let garbage = [b"\0\0\0\0".to_vec(), b"null".to_vec(), b"{}".to_vec(), vec![0xff; 4096], whole[1..].to_vec()];
    for bytes in cut.chain(garbage) {
        let _ = fs::remove_file(fixture.rootfs().join("up"));
        fixture.run_detached().ok();
        fixture.wait_for("the container", |fixture| fixture.read("/up") == "up\n");
        assert!(!processes_of(&fixture).is_empty());
        fs::write(fixture.state_dir().join("state.json"), &bytes).unwrap();
        fixture.verb("state").fails(1).says("is damaged");
        fixture.verb("delete").fails(1).says("is damaged");
        cleans_up(&fixture, &format!("cut to {} bytes", bytes.len()));
    }
}

#[test]
fn r4_a_state_that_is_a_link_or_of_another_user_is_not_believed() {
    let fixture = marked();
    fixture.run_detached().ok();
    let (path, aside) = (fixture.state_dir().join("state.json"), fixture.scratch.path().join("aside"));
    fs::rename(&path, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &path).unwrap();
    fixture.verb("state").fails(1).says("is damaged");
    fs::remove_file(&path).unwrap();
    fs::copy(&aside, &path).unwrap();
    fixture.verb("state").ok();
    if is_root() {
        std::os::unix::fs::chown(&path, Some(1), None).unwrap();
        fixture.verb("state").fails(1).says("belongs to uid 1");
    }
    cleans_up(&fixture, "of another user");
}

#[test]
fn r4_delete_force_ends_a_container_with_hooks_and_its_supervisor_without_a_state() {
    let fixture = marked().hook("preStop", "true").hook("postStart", "true");
    for bytes in ["", "{\"ociVersion\":"] {
        fixture.run_detached().ok();
        assert!(processes_of(&fixture).iter().any(|line| line.contains("supervise")));
        fs::write(fixture.state_dir().join("state.json"), bytes).unwrap();
        cleans_up(&fixture, &format!("{bytes:?}"));
    }
}

#[test]
fn r3_a_full_state_directory_is_one_error_and_leaves_nothing() {
    if !needs_root("r3_a_full_state_directory_is_one_error_and_leaves_nothing") {
        return;
    }
    for (size, hooks) in [(4096, false), (8192, false), (16384, false), (16384, true), (24576, true)] {
        let mut fixture = marked();
        // Larger than what is left: config.json is copied to the state directory.
        fixture.config["annotations"]["padding"] = json!("x".repeat(size));
        if hooks {
            fixture = fixture.hook("postStart", "true");
        }
        fs::create_dir_all(fixture.root()).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"]).arg(fixture.root());
        assert!(mount.status().unwrap().success());
        let log = fixture.scratch.path().join("log");
        let before = ["--log", log.to_str().unwrap(), "--log-format", "json"].map(str::to_owned);
        let args: Vec<String> = before.into_iter().chain(making(&fixture, &["create"])).collect();
        let output = fixture.call(&words(&args));
        let text = fs::read_to_string(&log).unwrap_or_default();
        let left: Vec<_> = fs::read_dir(fixture.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let cgroups = cgroups_named(&fixture.id);
        assert!(Command::new("umount").arg(fixture.root()).status().unwrap().success());
        assert_eq!(output.code, 1, "{size}: {output:?}");
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 1, "{size}: {text}");
        assert_eq!(lines[0]["level"], "error");
        assert!(text.contains("No space left on device"), "{size}: {text}");
        assert!(left.is_empty() && cgroups.is_empty(), "{size}: {left:?} {cgroups:?}");
        assert!(processes_of(&fixture).is_empty());
    }
}

/// Calls bookend several times at once.
fn at_once(fixture: &Fixture, calls: &[Vec<&str>]) -> Vec<Output> {
    std::thread::scope(|scope| {
        let calls: Vec<_> = calls.iter().map(|args| scope.spawn(|| fixture.call(args))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

fn race(fixture: &Fixture) {
    let id = fixture.id.as_str();
    for round in 0..rounds(3) {
        let _ = fs::remove_file(fixture.rootfs().join("up"));
        fixture.create().ok();
        let starts = at_once(fixture, &vec![vec!["start", id]; 4]);
        let won = starts.iter().filter(|output| output.code == 0).count();
        assert_eq!(won, 1, "round {round}: {starts:?}");
        fixture.wait_for("the container", |fixture| fixture.read("/up") == "up\n");
        let mut calls = vec![vec!["kill", id, "KILL"]; 4];
        calls.extend(vec![vec!["delete", "--force", id]; 4]);
        calls.extend(vec![vec!["exec", id, "/bin/true"]; 2]);
        let outputs = at_once(fixture, &calls);
        for output in &outputs[4..8] {
            assert_eq!(output.code, 0, "round {round}: {outputs:?}");
        }
        for output in &outputs {
            assert!(!output.stderr.contains("panicked"), "round {round}: {outputs:?}");
        }
        cleans_up(fixture, &format!("round {round}"));
    }
}

#[test]
fn r7_of_verbs_at_once_one_start_wins_and_every_forced_delete_succeeds() {
    race(&marked());
}

#[test]
fn r7_of_verbs_at_once_on_a_container_with_hooks_every_forced_delete_succeeds() {
    race(&marked().hook("postStart", "true").hook("preStop", "true").grace(1));
}

#[test]
fn r7_a_delete_during_create_ends_with_all_or_nothing() {
    let fixture = marked();
    let args = making(&fixture, &["create"]);
    for round in 0..rounds(4) {
        let running = fixture.spawn(&words(&args));
        std::thread::sleep(Duration::from_millis(u64::from(round) * 7));
        fixture.call(&["delete", "--force", &fixture.id]).ok();
        let created = running.wait();
        assert!([0, 1].contains(&created.code), "{created:?}");
        let status = fixture.status();
        assert_eq!(status, if created.code == 0 && !status.is_empty() { "created" } else { "" }, "{created:?}");
        cleans_up(&fixture, &format!("round {round}"));
    }
}

#[test]
fn r8_an_init_that_is_killed_takes_everything_along_and_is_told_as_137() {
    let fixture = Fixture::busybox().shell("sleep 1000 & sleep 1000 & echo up > /up; wait");
    for round in 0..rounds(8) {
        let _ = fs::remove_file(fixture.rootfs().join("up"));
        let running = fixture.spawn_run();
        fixture.wait_for("the container", |fixture| fixture.read("/up") == "up\n");
        kill(Pid::from_raw(fixture.pid()), Signal::SIGKILL).unwrap();
        let output = running.wait();
        assert_eq!(output.code, 137, "round {round}: {output:?}");
        assert!(!fixture.state_dir().exists());
    }
}

#[test]
fn r8_an_init_that_is_stopped_is_still_killed() {
    let fixture = marked().started();
    kill(Pid::from_raw(fixture.pid()), Signal::SIGSTOP).unwrap();
    fixture.call(&["kill", &fixture.id, "KILL"]).ok();
    fixture.wait_for("the end", |fixture| fixture.status() == "stopped");
    fixture.verb("delete").ok();
}

#[test]
fn r10_a_fork_bomb_under_its_limit_is_killed_whole() {
    if !needs_root("r10_a_fork_bomb_under_its_limit_is_killed_whole") {
        return;
    }
    let fixture = Fixture::busybox()
        .entrypoint(["/bin/attacker", "bomb"])
        .without_namespace("pid")
        .with(|config| config["linux"]["resources"]["pids"]["limit"] = json!(100));
    threats::attacker(&fixture);
    fixture.run_detached().ok();
    let members =
        |fixture: &Fixture| fixture.call(&["ps", "--format", "json", &fixture.id]).stdout.matches(',').count();
    fixture.wait_for("the bomb", |fixture| members(fixture) > 90);
    cleans_up(&fixture, "a fork bomb");
}

#[test]
fn r11_a_frozen_container_is_killed_and_deleted() {
    if !needs_root("r11_a_frozen_container_is_killed_and_deleted") {
        return;
    }
    let fixture = marked();
    for verbs in [vec!["delete"], vec!["kill", "delete"]] {
        fixture.run_detached().ok();
        fixture.verb("pause").ok();
        assert_eq!(fixture.status(), "paused");
        if verbs.contains(&"kill") {
            fixture.call(&["kill", &fixture.id, "KILL"]).ok();
        }
        cleans_up(&fixture, "frozen");
    }
}

#[test]
fn r12_sub_cgroups_that_the_container_made_are_removed() {
    if !needs_root("r12_sub_cgroups_that_the_container_made_are_removed") {
        return;
    }
    let fixture = marked().started();
    let mut made = 0;
    for dir in cgroups_named(&fixture.id) {
        let deep = dir.join("a/b/c/d/e");
        fs::create_dir_all(&deep).unwrap();
        made += 1;
        // A member in the deepest; not in cpuset, whose new groups take none.
        let _ = fs::write(deep.join("cgroup.procs"), fixture.pid().to_string());
    }
    assert!(made > 0);
    cleans_up(&fixture, "five deep");
}

#[test]
fn r14_a_console_socket_that_is_none_or_does_not_answer_is_an_error_in_time() {
    let fixture = marked().with(|config| config["process"]["terminal"] = json!(true));
    let at = |name: &str| fixture.scratch.path().join(name);
    fs::write(at("file"), "").unwrap();
    let _datagram = std::os::unix::net::UnixDatagram::bind(at("datagram")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(at("closed")).unwrap());
    // Nobody accepts, and the queue is full.
    let full = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    );
    let full = full.unwrap();
    let address = nix::sys::socket::UnixAddr::new(&at("full")).unwrap();
    nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&full.as_fd()), &address).unwrap();
    nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _waits = std::os::unix::net::UnixStream::connect(at("full")).unwrap();
    for name in ["missing", "file", "datagram", "closed", "full"] {
        let path = at(name).display().to_string();
        let begun = Instant::now();
        let output = fixture.make(&["create", "--console-socket", &path]);
        assert!(begun.elapsed() < Duration::from_secs(20), "{name}");
        output.fails(1).says("console socket");
        fixture.assert_nothing_left();
    }
}

#[test]
fn r14_a_terminal_that_is_never_read_does_not_keep_the_container_from_being_killed() {
    let fixture = Fixture::busybox()
        .shell("echo up > /up; while :; do echo 0123456789012345678901234567890123456789; done")
        .with(|config| config["process"]["terminal"] = json!(true));
    let path = fixture.scratch.path().join("console");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    fixture.make(&["run", "--detach", "--console-socket", path.to_str().unwrap()]).ok();
    // The master lies in the socket, and is neither taken nor read.
    fixture.wait_for("the container", |fixture| fixture.read("/up") == "up\n");
    fixture.call(&["kill", &fixture.id, "KILL"]).ok();
    fixture.wait_for("the end", |fixture| fixture.status() == "stopped");
    fixture.verb("delete").ok();
    drop(listener);
}

/// Runs bookend under a shell that closes or replaces standard streams.
fn redirected(fixture: &Fixture, redirections: &str, args: &[&str]) -> Output {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("exec \"$@\" {redirections}"), "sh"]).arg(bookend());
    command.arg("--root").arg(fixture.root()).args(args);
    command.env("XDG_RUNTIME_DIR", fixture.scratch.path().join("run"));
    finish(command, &fixture.scratch)
}

#[test]
fn r15_closed_standard_streams_change_no_exit_code_and_become_no_file() {
    let fixture = Fixture::busybox().shell("ls -l /proc/self/fd > /fds; exit 7");
    let args = making(&fixture, &["run"]);
    for closed in ["", "<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        let output = redirected(&fixture, closed, &words(&args));
        assert_eq!(output.code, 7, "{closed:?}: {output:?}");
        // The shell's own redirections apart, nothing but pipes, terminals, /dev/null and the test's files.
        let fds = fixture.read("/fds");
        assert!(!fds.is_empty() && !fds.contains("json") && !fds.contains("sock"), "{closed:?}: {fds}");
        let log = fixture.scratch.path().join("log");
        let told = ["--log", log.to_str().unwrap(), "state", "no-such-container"];
        redirected(&fixture, closed, &told).fails(1);
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.contains("does not exist"), "{closed:?}: {text}");
        fs::remove_file(log).unwrap();
    }
}

#[test]
fn r15_output_that_cannot_be_written_is_no_panic() {
    let fixture = marked().hook("postStart", "true").started();
    let id = fixture.id.as_str();
    let verbs: [&[&str]; 8] = [
        &["state", id],
        &["list"],
        &["list", "--format", "json"],
        &["ps", id],
        &["hooks", id],
        &["timeline", id],
        &["logs", id],
        &["spec", "--help"],
    ];
    for verb in verbs {
        for place in [">/dev/full", ">/dev/full 2>/dev/full"] {
            let output = redirected(&fixture, place, verb);
            assert!([0, 1].contains(&output.code), "{verb:?} {place}: {output:?}");
            assert!(!output.stderr.contains("panicked"), "{verb:?} {place}: {output:?}");
        }
        // A pipe whose reader has gone.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = fixture.command(verb);
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code <= 1) && !text.contains("panicked"), "{verb:?}: {text}");
    }
}

#[test]
fn r19_a_container_of_an_earlier_boot_is_stopped_and_its_pid_is_left_alone() {
    // Somebody else, who has the pid and even the start time of what was init.
    let mut bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    let fixture = marked();
    fixture.run_detached().ok();
    let dir = fixture.state_dir();
    let edit = |file: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let path = dir.join(file);
        let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        fs::write(&path, value.to_string()).unwrap();
    };
    let stat = fs::read_to_string(format!("/proc/{}/stat", bystander.id())).unwrap();
    let start: u64 = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
    let (pid, boot) = (bystander.id(), "00000000-0000-4000-8000-000000000000");
    let real = fixture.pid();
    let of = |value: &mut serde_json::Value| {
        (value["pid"], value["startTime"], value["bootId"]) = (json!(pid), json!(start), json!(boot));
    };
    edit("state.json", &of);
    edit("identity.json", &|value| of(&mut value["init"]));
    assert_eq!(fixture.status(), "stopped");
    // Were it of this boot, the test would be about the bystander indeed.
    fixture.call(&["kill", &fixture.id, "KILL"]).fails(1);
    fixture.call(&["delete", "--force", &fixture.id]).ok();
    assert!(bystander.try_wait().unwrap().is_none(), "the bystander was killed");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    let _ = kill(Pid::from_raw(real), Signal::SIGKILL); // where there is no cgroup to find it by
}

#[test]
fn r22_few_descriptors_are_enough_or_an_error() {
    let without = |config: &mut serde_json::Value| drop(config["process"].as_object_mut().unwrap().remove("rlimits"));
    let fixture = Fixture::busybox().shell("echo up > /up; exit 7").with(without);
    let args = making(&fixture, &["run"]);
    for limit in [3, 6, 10, 14, 20, 24] {
        let _ = fs::remove_file(fixture.rootfs().join("up"));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"]).arg(bookend());
        command.arg("--root").arg(fixture.root()).args(&args);
        command.env("XDG_RUNTIME_DIR", fixture.scratch.path().join("run"));
        let output = finish(command, &fixture.scratch);
        match output.code {
            7 => assert_eq!(fixture.read("/up"), "up\n"),
            // 127: the C library itself could not be loaded.
            1 | 125 | 127 => assert!(output.stderr.contains("oo many open files") || limit < 6, "{limit}: {output:?}"),
            _ => panic!("{limit}: {output:?}"),
        }
        assert!(limit < 20 || output.code == 7 || !is_root(), "{limit}: {output:?}");
        cleans_up(&fixture, &format!("with {limit} descriptors"));
    }
}

#[test]
fn r22_many_descriptors_cost_no_time() {
    let without = |config: &mut serde_json::Value| drop(config["process"].as_object_mut().unwrap().remove("rlimits"));
    let fixture = Fixture::busybox().entrypoint(["/bin/true"]).with(without);
    let args = making(&fixture, &["run"]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n 1000000 2>/dev/null || ulimit -n $(ulimit -Hn); exec \"$@\"", "sh"]).arg(bookend());
    command.arg("--root").arg(fixture.root()).args(&args);
    command.env("XDG_RUNTIME_DIR", fixture.scratch.path().join("run"));
    let begun = Instant::now();
    finish(command, &fixture.scratch).ok();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn s18_other_users_can_neither_list_nor_read_state() {
    if !needs_root("s18_other_users_can_neither_list_nor_read_state") {
        return;
    }
    let fixture = marked().hook("postStart", "echo secret-of-the-hook").started();
    let dir = fixture.state_dir();
    assert_eq!(fs::metadata(fixture.root()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let mut files = 0;
    for entry in walk(&dir) {
        let mode = fs::symlink_metadata(&entry).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", entry.display());
        files += 1;
    }
    assert!(files > 5);
    let as_nobody = |script: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).uid(65534).gid(65534).current_dir("/");
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    };
    assert!(as_nobody("ls /tmp"));
    let (root, dir) = (fixture.root().display().to_string(), dir.display().to_string());
    for script in [format!("ls {root}"), format!("ls {dir}"), format!("cat {dir}/state.json"), format!("cd {dir}")] {
        assert!(!as_nobody(&script), "{script}");
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}
