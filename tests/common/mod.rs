//! Fixtures of the black-box tests: the real binary on a real bundle, as whoever runs the tests.
//!
//! A [`Fixture`] owns a bundle (a copy of the busybox root file system and a `config.json` from `bookend spec`), a state
//! root of its own and one container id. When it is dropped the container is deleted by force, and nothing may be left
//! of it.
#![allow(dead_code, reason = "each test file uses its own part of the fixtures")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// No call of bookend that a test waits for takes longer, however loaded the machine is.
pub fn limit() -> Duration {
    Duration::from_secs(60) * times_slower()
}

/// How many times as long as elsewhere things may take on this machine, by its own account: one that is emulated has another pace.
pub fn times_slower() -> u32 {
    std::env::var("BOOKEND_TEST_SLOWER").map_or(1, |text| text.parse().unwrap())
}

/// The binary under test. The path of compile time may be unreadable to the user who runs the tests.
pub fn bookend() -> PathBuf {
    std::env::var_os("NEXTEST_BIN_EXE_bookend").map_or_else(|| env!("CARGO_BIN_EXE_bookend").into(), PathBuf::from)
}

/// The repository.
pub fn repository() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether the test may run; it is counted as skipped otherwise. Where root is promised, its absence is a failure.
///
/// ```ignore
/// if !needs_root("s_13_…") { return; }
/// ```
pub fn needs_root(test: &str) -> bool {
    if is_root() {
        return true;
    }
    assert_ne!(std::env::var("BOOKEND_TEST_REQUIRE").as_deref(), Ok("root"), "this run promised root");
    skip(test, "needs root")
}

/// The opposite: what only an unprivileged user can show.
pub fn needs_a_user(test: &str) -> bool {
    if !is_root() {
        return true;
    }
    skip(test, "needs an unprivileged user")
}

/// Whether a program is here that `scripts/test` installs. Where everything is promised, its absence is a failure.
pub fn needs_tool(test: &str, program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join(program).exists()) {
        return true;
    }
    assert_ne!(std::env::var("BOOKEND_TEST_REQUIRE").as_deref(), Ok("root"), "this run promised {program}");
    skip(test, &format!("needs {program}"))
}

/// The first subordinate id of the caller; None where there are none.
pub fn subordinate(file: &str) -> Option<u32> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap()?.name;
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(&format!("{user}:"))?.split(':').next()?.parse().ok())
}

/// Whether systemd runs here, and for a user one of the user's own (a login session).
pub fn needs_systemd(test: &str) -> bool {
    let ours = is_root() || std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some();
    if Path::new("/run/systemd/system").is_dir() && ours {
        return true;
    }
    assert!(std::env::var_os("BOOKEND_TEST_SYSTEMD").is_none(), "this run promised systemd");
    skip(test, "needs systemd")
}

/// Whether the program is a debug build, which alone can be made to fail on demand.
pub fn needs_a_debug_build(test: &str) -> bool {
    std::env::var_os("BOOKEND_TEST_RELEASE").is_none() || skip(test, "needs a debug build")
}

/// Counts a test as skipped; false.
pub fn skip(test: &str, why: &str) -> bool {
    println!("skipped: {test}: {why}");
    if let Some(path) = std::env::var_os("BOOKEND_TEST_SKIPS") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{test}").unwrap();
    }
    false
}

/// What one call of bookend gave.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    #[track_caller]
    pub fn ok(self) -> Output {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn fails(self, code: i32) -> Output {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Output {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(all.contains(text), "expected {text:?} in:\n{all}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in:\n{}{}", self.stdout, self.stderr))
    }
}

/// The text of the first code block of this language after a line that contains `after`.
pub fn block<'a>(text: &'a str, after: &str, language: &str) -> &'a str {
    let from = text.find(after).unwrap_or_else(|| panic!("{after:?} is gone"));
    let open = format!("```{language}\n");
    let begin =
        from + text[from..].find(&open).unwrap_or_else(|| panic!("no {language} block after {after:?}")) + open.len();
    let end = begin + text[begin..].find("```").unwrap();
    &text[begin..end]
}

/// A directory that goes away with the value. Its name is new: one of a run that was killed is still there, and the numbers of
/// processes come again.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Scratch {
        let readable = fs::Permissions::from_mode(0o755);
        Scratch(tempfile::Builder::new().prefix("bookend-test-").permissions(readable).tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = Command::new("chmod").args(["-R", "u+rwX"]).arg(self.path()).stderr(Stdio::null()).status();
    }
}

/// A bundle, a state root, and the one container that a test works with.
pub struct Fixture {
    pub id: String,
    pub scratch: Scratch,
    pub config: Value,
    lifecycle: Value,
    /// More flags for `create` and `run`.
    pub flags: Vec<String>,
    /// Standard input of the container's process.
    leftovers_allowed: bool,
}

/// Whether a process has a handler for a signal, or has ended.
pub fn catches(pid: i32, signal: i32) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim();
    u64::from_str_radix(caught, 16).unwrap() & 1 << (signal - 1) != 0 || text.contains("State:\tZ")
}

impl Fixture {
    /// A container whose ENTRYPOINT runs until SIGTERM and then exits with 0; rootless where the tests are.
    pub fn busybox() -> Fixture {
        Fixture::of("busybox")
    }

    /// The same with Debian's nginx in its root file system.
    pub fn nginx() -> Fixture {
        Fixture::of("nginx")
    }

    fn of(bundle: &str) -> Fixture {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let scratch = Scratch::new();
        let dir = scratch.path().join("bundle");
        fs::create_dir_all(scratch.path().join("run")).unwrap();
        fs::set_permissions(scratch.path().join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::create_dir_all(&dir).unwrap();
        let copied =
            Command::new("cp").arg("-a").arg(bundles().join(bundle).join("rootfs")).arg(&dir).output().unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let mut spec = Command::new(bookend());
        spec.args(["spec", "--bundle"]).arg(&dir).args((!is_root()).then_some("--rootless"));
        assert!(spec.status().unwrap().success());
        let mut config: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/entrypoint"]);
        config["root"]["readonly"] = json!(false);
        // With the time, since the history of root outlives a run, and the numbers of processes come again.
        let time = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() & 0xff_ffff;
        let id = format!("bt-{time:06x}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Fixture { id, scratch, config, lifecycle: json!({}), flags: Vec::new(), leftovers_allowed: false }
    }

    // ── the bundle ──

    /// The ENTRYPOINT, as it stands.
    pub fn entrypoint<const N: usize>(mut self, args: [&str; N]) -> Fixture {
        self.config["process"]["args"] = json!(args.to_vec());
        self
    }

    /// The ENTRYPOINT, by /bin/sh.
    pub fn shell(self, script: &str) -> Fixture {
        self.entrypoint(["/bin/sh", "-c", script])
    }

    /// Changes `config.json` before it is written.
    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Fixture {
        change(&mut self.config);
        self
    }

    pub fn flag(mut self, flag: &str) -> Fixture {
        self.flags.push(flag.to_owned());
        self
    }

    /// No pid namespace of its own.
    pub fn without_namespace(mut self, kind: &str) -> Fixture {
        let list = self.config["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|namespace| namespace["type"] != kind);
        self
    }

    /// A network of its own; `spec --rootless` leaves the host's.
    pub fn own_network(self) -> Fixture {
        let mut c = self.without_namespace("network");
        c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "network" }));
        c
    }

    pub fn annotation(mut self, key: &str, value: &str) -> Fixture {
        self.config["annotations"][key] = json!(value);
        self
    }

    // ── hooks, by a lifecycle file beside config.json ──

    /// postStart or preStop by /bin/sh.
    pub fn hook(self, hook: &str, script: &str) -> Fixture {
        self.handler(hook, json!({ "exec": { "command": ["/bin/sh", "-c", script] } }))
    }

    /// postStart or preStop with any handler; of preStart and postStop one more entry.
    pub fn handler(mut self, hook: &str, handler: Value) -> Fixture {
        match hook {
            "preStart" | "postStop" => {
                let list = &mut self.lifecycle["extensions"][hook];
                if list.is_null() {
                    *list = json!([]);
                }
                list.as_array_mut().unwrap().push(handler);
            }
            _ => self.lifecycle["lifecycle"][hook] = handler,
        }
        self
    }

    pub fn policy(mut self, hook: &str, field: &str, value: Value) -> Fixture {
        self.lifecycle["extensions"]["policy"][hook][field] = value;
        self
    }

    pub fn grace(mut self, seconds: u64) -> Fixture {
        self.lifecycle["terminationGracePeriodSeconds"] = json!(seconds);
        self
    }

    pub fn stop_signal(mut self, name: &str) -> Fixture {
        self.lifecycle["lifecycle"]["stopSignal"] = json!(name);
        self
    }

    // ── paths ──

    pub fn bundle(&self) -> PathBuf {
        self.scratch.path().join("bundle")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    pub fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.root().join(&self.id)
    }

    /// A file of the container, as the host sees it in the root file system; "" where there is none yet.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.rootfs().join(path.trim_start_matches('/'))).unwrap_or_default()
    }

    // ── running bookend ──

    /// Writes the bundle's files as they are wanted now.
    pub fn write(&self) {
        fs::write(self.bundle().join("config.json"), self.config.to_string()).unwrap();
        if self.lifecycle != json!({}) {
            fs::write(self.bundle().join("lifecycle.json"), self.lifecycle.to_string()).unwrap();
        }
    }

    /// A call of bookend with this fixture's root, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(bookend());
        command.arg("--root").arg(self.root()).args(args);
        command.env("XDG_RUNTIME_DIR", self.scratch.path().join("run"));
        command
    }

    /// Calls bookend and waits; with `stop` and a SIGTERM not before the ENTRYPOINT of a bundle handles that. The container's process,
    /// if one is made, has /dev/null and files as its streams.
    pub fn call(&self, args: &[&str]) -> Output {
        let terminates = match args {
            ["stop", ..] => true,
            ["kill", rest @ ..] => rest.iter().all(|word| *word == self.id || word.ends_with("TERM")),
            _ => false,
        };
        if terminates {
            self.wait_for_its_trap();
        }
        finish(self.command(args), &self.scratch)
    }

    /// `call` with the id as the last argument.
    pub fn verb(&self, verb: &str) -> Output {
        self.call(&[verb, &self.id])
    }

    /// The ENTRYPOINT of a bundle is a script that has just begun: a SIGTERM before its `trap` is lost, as it is PID 1.
    pub fn wait_for_its_trap(&self) {
        if self.config["process"]["args"] != json!(["/bin/entrypoint"]) {
            return;
        }
        let state = self.call(&["state", &self.id]);
        if state.code != 0 || state.json()["status"] != "running" {
            return;
        }
        let pid = state.json()["pid"].as_i64().unwrap() as i32;
        self.wait_for("the trap of the ENTRYPOINT", |_| catches(pid, libc::SIGTERM));
    }

    /// `create` or `run` (with `--detach`) of this fixture's container.
    pub fn make(&self, verb: &[&str]) -> Output {
        self.write();
        let bundle = self.bundle();
        let mut args: Vec<&str> = verb.to_vec();
        args.extend(["--bundle", bundle.to_str().unwrap()]);
        args.extend(self.flags.iter().map(String::as_str));
        args.push(&self.id);
        self.call(&args)
    }

    pub fn create(&self) -> Output {
        self.make(&["create"])
    }

    pub fn run(&self) -> Output {
        self.make(&["run"])
    }

    pub fn run_detached(&self) -> Output {
        self.make(&["run", "--detach"])
    }

    /// Started in the background, with what it prints in a file: for `run` in the foreground, or a `start` that blocks.
    pub fn spawn(&self, args: &[&str]) -> Running {
        let out = self.scratch.path().join(format!("out-{}", args[0]));
        let file = fs::File::create(&out).unwrap();
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Running { child: command.spawn().unwrap(), out }
    }

    /// `run` in the foreground, in the background of the test.
    pub fn spawn_run(&self) -> Running {
        self.write();
        let bundle = self.bundle();
        let mut args = vec!["run", "--bundle", bundle.to_str().unwrap()];
        args.extend(self.flags.iter().map(String::as_str));
        args.push(&self.id);
        self.spawn(&args)
    }

    pub fn started(self) -> Fixture {
        self.run_detached().ok();
        self
    }

    pub fn exec(&self, script: &str) -> Output {
        self.call(&["exec", &self.id, "/bin/sh", "-c", script])
    }

    pub fn stop(&self) -> Output {
        self.verb("stop")
    }

    pub fn state(&self) -> Value {
        self.verb("state").ok().json()
    }

    /// `status` of the state; "" while there is no container.
    pub fn status(&self) -> String {
        let output = self.verb("state");
        if output.code != 0 { String::new() } else { output.json()["status"].as_str().unwrap().to_owned() }
    }

    pub fn phase(&self) -> String {
        let output = self.verb("state");
        if output.code != 0 { String::new() } else { output.json()["phase"].as_str().unwrap_or_default().to_owned() }
    }

    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().unwrap() as i32
    }

    /// Every event of the container so far, also after it was deleted.
    pub fn journal(&self) -> Vec<Value> {
        let path = self.state_dir().join("journal.jsonl");
        let text = fs::read_to_string(&path).or_else(|_| fs::read_to_string(self.history()?.join("journal.jsonl")));
        // A line that is being appended may be seen in part.
        let text = text.unwrap_or_default();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The directory of the container's latest life in the history.
    pub fn history(&self) -> std::io::Result<PathBuf> {
        let root = if is_root() { PathBuf::from("/run/bookend") } else { self.scratch.path().join("run/bookend") };
        let lives = root.join("history").join(&self.id);
        let mut found: Vec<PathBuf> = fs::read_dir(lives)?.map(|entry| entry.unwrap().path()).collect();
        found.sort();
        found.pop().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    /// The reasons of all events, in order.
    pub fn reasons(&self) -> Vec<String> {
        self.journal().iter().map(|record| record["reason"].as_str().unwrap().to_owned()).collect()
    }

    /// The event of a reason.
    #[track_caller]
    pub fn event(&self, reason: &str) -> Value {
        let journal = self.journal();
        let found = journal.iter().find(|record| record["reason"] == reason);
        found.unwrap_or_else(|| panic!("no {reason} in {:#?}", self.reasons())).clone()
    }

    /// Seconds between the first events of two reasons, by the monotonic clock.
    #[track_caller]
    pub fn between(&self, first: &str, second: &str) -> f64 {
        let at = |reason: &str| self.event(reason)["monotonicNs"].as_u64().unwrap() as f64 / 1e9;
        at(second) - at(first)
    }

    /// Waits until a condition of the world holds; polls, since tests look from outside.
    #[track_caller]
    pub fn wait_for(&self, what: &str, mut holds: impl FnMut(&Fixture) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < limit(), "waited in vain for {what}; events: {:?}", self.reasons());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub fn wait_for_event(&self, reason: &str) -> Value {
        self.wait_for(reason, |fixture| fixture.reasons().iter().any(|found| found == reason));
        self.event(reason)
    }

    #[track_caller]
    pub fn wait_for_phase(&self, phase: &str) {
        self.wait_for(phase, |fixture| fixture.phase() == phase);
    }

    /// Fails if anything is left of the container: state, control groups, processes, mounts.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert!(!self.state_dir().exists(), "{} is left", self.state_dir().display());
        let cgroups = cgroups_named(&self.id);
        assert!(cgroups.is_empty(), "control groups are left: {cgroups:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let of_ours = mounts.lines().filter(|line| line.contains(self.scratch.path().to_str().unwrap())).count();
        assert_eq!(of_ours, 0, "mounts are left:\n{mounts}");
        let begun = Instant::now();
        // A supervisor that has answered may take a moment to end.
        while let Some(left) = self.processes_left() {
            assert!(begun.elapsed() < Duration::from_secs(10), "processes are left: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Processes whose command line names this fixture's directories.
    fn processes_left(&self) -> Option<Vec<String>> {
        let needle = self.root().to_str().unwrap().to_owned();
        let lines =
            fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
        let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
        let left: Vec<String> = lines.filter(|line| line.contains(&needle)).collect();
        (!left.is_empty()).then_some(left)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let output = self.call(&["delete", "--force", &self.id]);
        if !std::thread::panicking() && !self.leftovers_allowed {
            output.ok();
            self.assert_nothing_left();
        }
    }
}

/// Directories below every control group hierarchy that are named after a container.
pub fn cgroups_named(id: &str) -> Vec<PathBuf> {
    let output = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", id]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()
}

/// A call of bookend in the background.
pub struct Running {
    pub child: Child,
    pub out: PathBuf,
}

impl Running {
    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let code = wait_child(&mut self.child);
        Output { code, stdout: fs::read_to_string(&self.out).unwrap(), stderr: String::new() }
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub fn printed(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end. Its output goes to files, so that a process which keeps them open holds nothing up.
#[track_caller]
pub fn finish(mut command: Command, scratch: &Scratch) -> Output {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = |name: &str| scratch.path().join(format!("{name}-{number}"));
    let (out, err) = (path("stdout"), path("stderr"));
    command.stdin(Stdio::null()).stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
    let mut child = spawn_unless_busy(&mut command);
    let code = wait_child(&mut child);
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    Output { code, stdout: read(&out), stderr: read(&err) }
}

/// An attempt to write to a program counts as a writer until the kernel sees that the mount is read-only, and as long the program
/// cannot be executed (ETXTBSY) unless it runs already: an attacker of tests/threats_escape.rs makes such attempts all the time.
#[track_caller]
fn spawn_unless_busy(command: &mut Command) -> Child {
    let begun = Instant::now();
    loop {
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy && begun.elapsed() < limit() => {}
            spawned => return spawned.unwrap(),
        }
    }
}

#[track_caller]
fn wait_child(child: &mut Child) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
        }
        if begun.elapsed() > limit() {
            let _ = child.kill();
            panic!("it did not end within {:?}", limit());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One message of a connection, and the descriptor that came with it.
pub fn receive_descriptor(stream: &std::os::unix::net::UnixStream) -> (Vec<u8>, Option<std::os::fd::OwnedFd>) {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut bytes = vec![0; 64 * 1024];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
    let length = recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
    bytes.truncate(length);
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    (bytes, descriptor)
}

/// Where the root file systems are that `scripts/test` makes. By hand they are made on first use.
pub fn bundles() -> PathBuf {
    if let Some(dir) = std::env::var_os("BOOKEND_TEST_BUNDLES") {
        return dir.into();
    }
    static MADE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        let dir = repository().join("target/test-bundles");
        fs::create_dir_all(&dir).unwrap();
        let lock = fs::File::create(dir.join(".lock")).unwrap();
        lock.lock().unwrap();
        for kind in ["busybox", "nginx"] {
            if !dir.join(kind).join("config.json").exists() {
                let made = Command::new(repository().join("scripts/mkbundle")).arg(kind).arg(dir.join(kind)).status();
                assert!(made.unwrap().success(), "scripts/mkbundle {kind}");
            }
        }
        dir
    })
    .clone()
}
