//! containerd, through its own shim for runc, which is given bookend as the binary to call. docker.rs has its dockerd call
//! this one, too.

use std::fs;
use std::path::PathBuf;

use crate::common::{Output, Running, block, bookend, needs_root, needs_tool};
use crate::home::{Home, ends_with, every_hierarchy_is_mounted, page, parent_of, tree_below, wait_for};

const IMAGE: &str = "localhost/busybox:latest";

/// A containerd of this test's own.
pub struct Containerd {
    pub home: Home,
    daemon: Option<Running>,
}

impl Containerd {
    pub fn new() -> Containerd {
        let mut home = Home::new();
        let dir = home.dir().display().to_string();
        // Version 2 unpacks images by a service of its own, which has a list of snapshotters.
        // Nothing of Kubernetes or of the file systems that this machine may not have; and /opt stays as it is.
        let disabled = ["grpc.v1.cri", "internal.v1.opt", "snapshotter.v1.aufs", "snapshotter.v1.btrfs"];
        let disabled = disabled.map(|plugin| format!("\"io.containerd.{plugin}\"")).join(", ");
        let config = format!(
            "version = 2\nroot = \"{dir}/root\"\nstate = \"{dir}/state\"\ndisabled_plugins = [{disabled}]\n\
             [grpc]\naddress = \"{dir}/c.sock\"\n\
             [[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\n\
             platform = \"linux\"\nsnapshotter = \"native\"\n"
        );
        home.write("containerd.toml", &config);
        home.set("CONTAINERD_ADDRESS", format!("{dir}/c.sock"));
        home.set("CONTAINERD_SNAPSHOTTER", "native");
        let mut containerd = Containerd { home, daemon: None };
        containerd.start();
        containerd
    }

    /// With the image.
    fn with_image() -> Containerd {
        let containerd = Containerd::new();
        let image = containerd.home.image();
        containerd.ctr(&["images", "import", image.to_str().unwrap()]).ok();
        containerd
    }

    fn start(&mut self) {
        self.daemon = Some(self.home.spawn("containerd", "containerd", &["--config", "containerd.toml"]));
        wait_for("containerd", || (self.ctr(&["version"]).code == 0).then_some(()));
    }

    pub fn socket(&self) -> PathBuf {
        self.home.dir().join("c.sock")
    }

    fn ctr(&self, args: &[&str]) -> Output {
        self.home.call("ctr", args)
    }

    /// `ctr run` of the image.
    fn run(&self, flags: &[&str], id: &str, command: &[&str]) -> Output {
        self.ctr(&self.run_args(flags, id, command).iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn run_args(&self, flags: &[&str], id: &str, command: &[&str]) -> Vec<String> {
        let binary = bookend();
        let bookend = ["--runc-binary", binary.to_str().unwrap()];
        let words = [&["run"], &bookend[..], flags, &[IMAGE, id], command].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    fn exec(&self, id: &str, script: &str) -> Output {
        self.ctr(&["task", "exec", "--exec-id", "e", id, "sh", "-c", script])
    }

    /// What a command in the task prints. ctr ends at its exit and may lose that, so it is called until there is something.
    fn printed(&self, id: &str, script: &str) -> String {
        wait_for("output", || Some(self.exec(id, script).ok().stdout).filter(|output| !output.is_empty()))
    }

    /// The state and the process of a task.
    fn task(&self, id: &str) -> Option<(String, i64)> {
        let tasks = self.ctr(&["task", "ls"]).ok().stdout;
        let line = tasks.lines().find(|line| line.split_whitespace().next() == Some(id))?.to_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((words[2].to_owned(), words[1].parse().unwrap()))
    }

    fn wait_until_stopped(&self, id: &str) {
        wait_for("the task to stop", || (self.task(id)?.0 == "STOPPED").then_some(()));
    }

    /// Ends what is below one namespace of containerd's.
    pub fn remove_all(&self, namespace: &str) {
        let ctr = |args: &[&str]| self.ctr(&[&["--namespace", namespace], args].concat());
        for id in ctr(&["task", "ls", "--quiet"]).stdout.lines() {
            ctr(&["task", "rm", "--force", id]);
        }
        for id in ctr(&["containers", "ls", "--quiet"]).stdout.lines() {
            ctr(&["containers", "rm", id]);
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.remove_all("default");
        let socket = self.socket().display().to_string();
        self.daemon = None;
        // A shim ends with its last container. One that does not is ended here, so that nothing outlives the test.
        let begun = std::time::Instant::now();
        while !processes_that_name(&socket).is_empty() && begun.elapsed().as_secs() < 10 {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let left = processes_that_name(&socket);
        for pid in &left {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::Signal::SIGKILL);
        }
        unmount_below(&self.home.dir());
        if !std::thread::panicking() {
            assert!(left.is_empty(), "shims are left: {left:?}");
        }
    }
}

fn processes_that_name(text: &str) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|word| word == text)
    })
    .collect()
}

fn unmount_below(dir: &std::path::Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<&str> = points.filter(|point| std::path::Path::new(point).starts_with(dir)).collect();
    points.sort_unstable();
    for point in points.into_iter().rev() {
        let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH); // the directory stays then, and is seen
    }
}

pub fn may_run(test: &str) -> bool {
    needs_root(test) && needs_tool(test, "containerd") && needs_tool(test, "runc")
}

#[test]
fn a_task_is_run_entered_paused_measured_and_ended() {
    if !may_run("a_task_is_run_entered_paused_measured_and_ended") {
        return;
    }
    let containerd = Containerd::with_image();
    containerd.run(&["--detach", "--seccomp", "--memory-limit=67108864"], "ca-web", &[]).ok();
    assert_eq!(containerd.task("ca-web").unwrap().0, "RUNNING");
    containerd.exec("ca-web", "exit 7").fails(7);
    assert_eq!(containerd.printed("ca-web", "grep Seccomp: /proc/1/status"), "Seccomp:\t2\n");
    assert_eq!(containerd.printed("ca-web", "ls /proc/self/fd"), "0\n1\n2\n3\n");
    let (_, pid) = containerd.task("ca-web").unwrap();
    containerd.ctr(&["task", "ps", "ca-web"]).ok().says(&pid.to_string());
    let metrics = containerd.ctr(&["task", "metrics", "ca-web"]);
    if every_hierarchy_is_mounted() {
        metrics.ok().says("67108864");
    }
    containerd.ctr(&["task", "pause", "ca-web"]).ok();
    assert_eq!(containerd.task("ca-web").unwrap().0, "PAUSED");
    containerd.ctr(&["task", "resume", "ca-web"]).ok();
    assert_eq!(containerd.printed("ca-web", "echo awake"), "awake\n");
    containerd.ctr(&["task", "kill", "--signal=SIGTERM", "ca-web"]).ok();
    containerd.wait_until_stopped("ca-web");
    containerd.ctr(&["task", "rm", "ca-web"]).ok();
    containerd.run(&["--rm"], "ca-code", &["sh", "-c", "exit 42"]).fails(42);
    let words = containerd.run_args(&["--rm", "--tty"], "ca-tty", &["tty"]).join(" ");
    let line = format!("ctr {words}");
    wait_for("the name of the terminal", || {
        containerd.home.on_terminal(&line).ok().stdout.contains("/dev/pts/0").then_some(())
    });
}

#[test]
fn without_hooks_the_shim_has_the_processes_that_it_has_with_runc() {
    if !may_run("without_hooks_the_shim_has_the_processes_that_it_has_with_runc") {
        return;
    }
    let containerd = Containerd::with_image();
    containerd.run(&["--detach"], "ca-plain", &[]).ok();
    containerd.ctr(&["run", "--detach", IMAGE, "ca-other"]).ok();
    let processes = |id: &str| {
        let (_, pid) = containerd.task(id).unwrap();
        wait_for("the child of the ENTRYPOINT", || (tree_below(pid) == ["1 sleep"]).then_some(()));
        tree_below(parent_of(pid))
    };
    assert_eq!(processes("ca-plain"), processes("ca-other"));
    assert_eq!(processes("ca-plain"), ["1 entrypoint", "2 sleep"]);
    let listed = |id: &str| containerd.printed(id, "ps -o user,comm");
    assert_eq!(listed("ca-plain"), listed("ca-other"));
}

#[test]
fn containerd_shows_why_a_task_did_not_start() {
    if !may_run("containerd_shows_why_a_task_did_not_start") {
        return;
    }
    let containerd = Containerd::with_image();
    let create = "OCI runtime create failed: create ca-bad: unable to start container process: exec: ";
    let failed = containerd.run(&[], "ca-bad", &["/nonexistent"]).fails(1);
    ends_with(&failed, &format!("{create}\"/nonexistent\": stat /nonexistent: no such file or directory"));
    containerd.ctr(&["containers", "rm", "ca-bad"]).ok();
    ends_with(
        &containerd.run(&["--rm"], "ca-bad", &["nonexistent"]).fails(1),
        &format!("{create}\"nonexistent\": executable file not found in $PATH"),
    );
    ends_with(
        &containerd.run(&["--rm"], "ca-bad", &["/etc/passwd"]).fails(1),
        &format!("{create}\"/etc/passwd\": permission denied"),
    );
    let hook = "--annotation=bookend/post-start.shell=echo no database >&2; exit 3";
    ends_with(
        &containerd.run(&["--rm", hook], "ca-bad", &[]).fails(1),
        "OCI runtime start failed: start ca-bad: PostStartHook failed: exit code 3: no database",
    );
    containerd.run(&["--detach"], "ca-good", &[]).ok();
    let exec = |program| containerd.ctr(&["task", "exec", "--exec-id=e", "ca-good", program]).fails(1);
    exec("/nonexistent")
        .says("OCI runtime exec failed: exec in ca-good: unable to start container process: exec: \"/nonexistent\"");
    ends_with(&exec("/etc/passwd"), "permission denied");
}

#[test]
fn ctr_task_kill_begins_the_stop_and_what_hooks_did_is_seen_afterwards() {
    if !may_run("ctr_task_kill_begins_the_stop_and_what_hooks_did_is_seen_afterwards") {
        return;
    }
    let containerd = Containerd::with_image();
    let hooks = [
        "--annotation=bookend/post-start.shell=echo up > /var/tmp/up",
        "--annotation=bookend/pre-stop.shell=echo draining; sleep 1",
    ];
    let id = format!("ca-hooks-{}", std::process::id());
    containerd.run(&["--detach", hooks[0], hooks[1]], &id, &[]).ok();
    assert_eq!(containerd.printed(&id, "cat /var/tmp/up"), "up\n");
    containerd.ctr(&["task", "kill", "--signal=SIGTERM", &id]).ok();
    containerd.wait_until_stopped(&id);
    containerd.ctr(&["task", "rm", &id]).ok();
    containerd.ctr(&["containers", "rm", &id]).ok();
    containerd.home.wait_for_logs(&id, "draining");
    containerd.home.bookend(&["timeline", &id]).ok().says("preStop").says("SIGTERM").says("exit 0");
}

#[test]
fn bookend_stop_ends_a_post_start_that_ctr_run_hangs_in() {
    if !may_run("bookend_stop_ends_a_post_start_that_ctr_run_hangs_in") {
        return;
    }
    let containerd = Containerd::with_image();
    let id = format!("ca-hung-{}", std::process::id());
    let words = containerd.run_args(&["--detach", "--annotation=bookend/post-start=sleep 1000"], &id, &[]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let hanging = containerd.home.spawn("hanging", "ctr", &words);
    wait_for("the hook", || {
        let hooks = containerd.home.bookend(&["hooks", &id]);
        (hooks.code == 0 && hooks.stdout.contains("Running")).then_some(())
    });
    // The root is the shim's, and found without --root.
    containerd.home.bookend(&["stop", &id]).ok().says("exit code");
    ends_with(&hanging.wait().fails(1), "stopped before postStart completed");
}

#[test]
fn a_containerd_that_comes_again_finds_its_tasks() {
    if !may_run("a_containerd_that_comes_again_finds_its_tasks") {
        return;
    }
    let mut containerd = Containerd::with_image();
    let id = format!("ca-again-{}", std::process::id());
    containerd.run(&["--detach", "--annotation=bookend/pre-stop.shell=echo closing"], &id, &[]).ok();
    let before = containerd.task(&id).unwrap();
    containerd.daemon = None;
    containerd.start();
    assert_eq!(containerd.task(&id).unwrap(), before);
    assert_eq!(containerd.printed(&id, "echo here"), "here\n");
    containerd.ctr(&["task", "kill", &id]).ok();
    containerd.wait_until_stopped(&id);
    containerd.ctr(&["task", "rm", &id]).ok();
    containerd.home.wait_for_logs(&id, "closing");
}

#[test]
fn the_page_on_containerd_does_what_it_says() {
    if !may_run("the_page_on_containerd_does_what_it_says") {
        return;
    }
    let containerd = Containerd::with_image();
    let name = format!("ca-page-{}", std::process::id());
    let page = page("containerd.md").replace("IMAGE", IMAGE).replace("web", &name);
    let lines = block(&page, "## A container with hooks", "sh");
    containerd.home.follow(lines).ok().says("draining").says("SIGTERM");
}
