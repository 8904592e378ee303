//! dockerd and its client, 20.10 and later, over the containerd of containerd.rs.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::{Output, Running, block, bookend, needs_tool};
use crate::containerd::{self, Containerd};
use crate::home::{Home, MEMORY_LIMIT, ends_with, every_hierarchy_is_mounted, page, parent_of, tree_below, wait_for};

const HOOKS: &str = r#"
lifecycle:
  postStart: {exec: {command: ["/bin/sh", "-c", "echo up > /var/tmp/up"]}}
  preStop: {exec: {command: ["/bin/sh", "-c", "echo draining; sleep 0.5"]}}
"#;

/// A dockerd of this test's own, with the image `busybox`.
struct Docker {
    daemon: Running,
    containerd: Containerd,
}

impl Docker {
    fn new() -> Docker {
        Docker::with(|_| json!({}))
    }

    /// With a runtime `hooks` that takes this lifecycle.
    fn with_hooks(lifecycle: &str) -> Docker {
        Docker::with(|home| {
            let file = home.write("lifecycle.yaml", lifecycle);
            json!({"hooks": {"path": bookend(), "runtimeArgs": ["--lifecycle", file]}})
        })
    }

    /// With these runtimes besides `bookend`, which is the default.
    fn with(runtimes: impl FnOnce(&Home) -> Value) -> Docker {
        let mut containerd = Containerd::new();
        let socket = containerd.socket();
        let home = &mut containerd.home;
        let path = |name: &str| home.dir().join(name);
        let host = format!("unix://{}", path("d.sock").display());
        let mut config = json!({
            "data-root": path("data"), "exec-root": path("exec"), "pidfile": path("dockerd.pid"), "hosts": [host],
            "containerd": socket, "bridge": "none", "iptables": false, "ip6tables": false, "storage-driver": "vfs",
            "exec-opts": ["native.cgroupdriver=cgroupfs"], "default-runtime": "bookend", "runtimes": runtimes(home),
        });
        // Older ones take a score by themselves that needs CAP_SYS_RESOURCE.
        if home.call("dockerd", &["--help"]).ok().stdout.contains("--oom-score-adjust") {
            config["oom-score-adjust"] = json!(0);
        }
        config["runtimes"]["bookend"] = json!({"path": bookend()});
        home.write("daemon.json", &config.to_string());
        home.set("DOCKER_HOST", host);
        let daemon = home.spawn("dockerd", "dockerd", &["--config-file", "daemon.json"]);
        let docker = Docker { daemon, containerd };
        wait_for("dockerd", || (docker.call(&["version"]).code == 0).then_some(()));
        let layer = docker.home().layer();
        let change = "CMD [\"/bin/entrypoint\"]";
        docker.call(&["import", "--change", change, layer.to_str().unwrap(), "busybox"]).ok();
        docker
    }

    fn home(&self) -> &Home {
        &self.containerd.home
    }

    fn call(&self, args: &[&str]) -> Output {
        self.home().call("docker", args)
    }

    /// A container that runs until SIGTERM.
    fn start(&self, name: &str, flags: &[&str]) -> String {
        let flags = [&["run", "--detach", "--name", name], flags, &["busybox"]].concat();
        self.call(&flags).ok().stdout.trim().to_owned()
    }

    fn inspect(&self, name: &str, format: &str) -> String {
        self.call(&["inspect", "--format", format, name]).ok().stdout.trim().to_owned()
    }

    fn processes(&self, name: &str) -> Vec<String> {
        let pid = self.inspect(name, "{{.State.Pid}}").parse().unwrap();
        wait_for("the child of the ENTRYPOINT", || (tree_below(pid) == ["1 sleep"]).then_some(()));
        tree_below(parent_of(pid))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let ids = self.call(&["ps", "--all", "--quiet"]).stdout;
        let removed = self.call(&[&["rm", "--force"], &ids.lines().collect::<Vec<_>>()[..]].concat());
        self.daemon.signal(Signal::SIGTERM);
        let begun = Instant::now();
        // It unmounts what it has mounted. One that does not end is killed.
        while !self.daemon.is_over() && begun.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.containerd.remove_all("moby");
        if !std::thread::panicking() && !ids.is_empty() {
            removed.ok();
        }
    }
}

fn may_run(test: &str) -> bool {
    containerd::may_run(test) && needs_tool(test, "dockerd")
}

#[test]
fn a_container_is_run_entered_limited_and_stopped() {
    if !may_run("a_container_is_run_entered_limited_and_stopped") {
        return;
    }
    let docker = Docker::new();
    docker.start("web", &["--memory=64m", "--cpus=0.5", "--pids-limit=30", "--init"]);
    let inside = |script: &str| docker.call(&["exec", "web", "sh", "-c", script]).ok().stdout;
    let names = inside("ps -o comm");
    assert_eq!(names.split_whitespace().take(3).collect::<Vec<_>>(), ["COMMAND", "docker-init", "entrypoint"]);
    assert_eq!(inside("ls /proc/self/fd"), "0\n1\n2\n3\n");
    docker.call(&["top", "web"]).ok().says("docker-init").says("entrypoint");
    assert_eq!(inside(MEMORY_LIMIT), format!("{}\n", 64 << 20));
    docker.call(&["update", "--memory=96m", "--memory-swap=96m", "web"]).ok();
    assert_eq!(inside(MEMORY_LIMIT), format!("{}\n", 96 << 20));
    let stats = docker.call(&["stats", "--no-stream", "--format={{.MemUsage}}", "web"]).ok();
    if every_hierarchy_is_mounted() {
        stats.says("96MiB");
    }
    docker.call(&["pause", "web"]).ok();
    assert_eq!(docker.inspect("web", "{{.State.Status}}"), "paused");
    docker.call(&["unpause", "web"]).ok();
    // Below docker's init, which passes a signal on, the ENTRYPOINT is up once it has a child.
    let up = || {
        wait_for("the ENTRYPOINT", || {
            docker.call(&["exec", "web", "ps", "-o", "comm"]).stdout.contains("sleep").then_some(())
        })
    };
    docker.call(&["restart", "--time=20", "web"]).ok();
    up();
    docker.call(&["stop", "--time=20", "web"]).ok();
    assert_eq!(docker.inspect("web", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
    docker.call(&["start", "web"]).ok();
    up();
    docker.call(&["kill", "--signal=USR1", "web"]).ok();
    assert_eq!(docker.call(&["wait", "web"]).ok().stdout, "138\n");
    docker.call(&["info", "--format={{.DefaultRuntime}} {{.RuncCommit.ID}}"]).ok().says("bookend ");
}

#[test]
fn docker_sets_up_the_process_and_its_root_as_its_flags_say() {
    if !may_run("docker_sets_up_the_process_and_its_root_as_its_flags_say") {
        return;
    }
    let docker = Docker::new();
    let shell = |flags: &[&str], script: &str| {
        docker.call(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
    };
    let status = shell(&["--cap-drop=ALL", "--cap-add=NET_ADMIN"], "cat /proc/self/status").ok().stdout;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    assert_eq!(field("CapEff:"), "0000000000001000");
    // Docker's own profile is installed.
    assert_eq!(field("Seccomp:"), "2");
    let output = shell(&["--read-only", "--tmpfs=/mnt"], "touch /x 2>&1; touch /mnt/x && echo written").ok().stdout;
    assert_eq!(output, "touch: /x: Read-only file system\nwritten\n");
    let output = shell(&["--tty", "--hostname=shop", "--user=7:8"], "tty; hostname; id -u; id -g").ok().stdout;
    assert_eq!(output.replace('\r', ""), "/dev/pts/0\nshop\n7\n8\n");
    shell(&["--device=/dev/zero:/dev/nought"], "test -c /dev/nought && exit 42").fails(42);
    docker.start("web", &["--health-cmd=test -e /tmp/well", "--health-interval=500ms"]);
    docker.call(&["exec", "web", "touch", "/tmp/well"]).ok();
    wait_for("the health check", || (docker.inspect("web", "{{.State.Health.Status}}") == "healthy").then_some(()));
    let shown = docker.home().on_terminal("docker exec --tty --interactive web tty").ok();
    shown.says("/dev/pts/0");
}

#[test]
fn docker_shows_why_a_container_did_not_start() {
    if !may_run("docker_shows_why_a_container_did_not_start") {
        return;
    }
    let docker =
        Docker::with_hooks("lifecycle: {postStart: {exec: {command: [sh, -c, 'echo no database >&2; exit 3']}}}");
    // dockerd makes its exit codes of the words.
    docker.call(&["run", "--rm", "busybox", "nonexistent"]).fails(127).says("executable file not found in $PATH");
    docker.call(&["run", "--rm", "busybox", "/nonexistent"]).fails(127).says("no such file or directory");
    docker.call(&["run", "--rm", "busybox", "/etc/passwd"]).fails(126).says("permission denied");
    let failed = docker.call(&["run", "--runtime=hooks", "--name=web", "busybox"]);
    assert_ne!(failed.code, 0);
    let failed = failed.says("OCI runtime start failed");
    ends_with(&failed, "PostStartHook failed: exit code 3: no database");
}

#[test]
fn without_hooks_the_processes_are_those_of_runc() {
    if !may_run("without_hooks_the_processes_are_those_of_runc") {
        return;
    }
    let docker = Docker::new();
    docker.start("plain", &[]);
    docker.start("other", &["--runtime=runc"]);
    assert_eq!(docker.processes("plain"), docker.processes("other"));
    assert_eq!(docker.processes("plain"), ["1 entrypoint", "2 sleep"]);
    let listed = |name: &str| docker.call(&["exec", name, "ps", "-o", "user,comm"]).ok().stdout;
    assert_eq!(listed("plain"), listed("other"));
    for program in ["/nonexistent", "/etc/passwd"] {
        let codes = ["plain", "other"].map(|name| docker.call(&["exec", name, program]).code);
        assert_eq!(codes[0], codes[1], "{program}");
    }
}

#[test]
fn docker_stop_runs_the_hooks_of_the_runtimes_arguments() {
    if !may_run("docker_stop_runs_the_hooks_of_the_runtimes_arguments") {
        return;
    }
    let docker = Docker::with_hooks(HOOKS);
    let id = docker.start("web", &["--runtime=hooks"]);
    assert_eq!(docker.call(&["exec", "web", "cat", "/var/tmp/up"]).ok().stdout, "up\n");
    docker.call(&["stop", "--time=20", "web"]).ok();
    assert_eq!(docker.inspect("web", "{{.State.ExitCode}}"), "0");
    docker.call(&["start", "web"]).ok();
    docker.call(&["restart", "--time=20", "web"]).ok();
    docker.call(&["rm", "--force", "web"]).ok();
    docker.home().wait_for_logs(&id, "");
    // The third life was killed; the two before it were stopped.
    docker.home().bookend(&["logs", "--previous", &id]).ok().says("draining");
    docker.home().bookend(&["timeline", "-pp", &id]).ok().says("preStop").says("SIGTERM").says("exit 0");
}

#[test]
fn bookend_stop_ends_a_post_start_that_docker_run_hangs_in() {
    if !may_run("bookend_stop_ends_a_post_start_that_docker_run_hangs_in") {
        return;
    }
    let docker = Docker::with_hooks("lifecycle: {postStart: {exec: {command: [sleep, '1000']}}}");
    let run = ["run", "--detach", "--runtime=hooks", "--cidfile=cid", "busybox"];
    let hanging = docker.home().spawn("hanging", "docker", &run);
    let id = wait_for("the hook", || {
        let id = std::fs::read_to_string(docker.home().dir().join("cid")).ok().filter(|id| !id.is_empty())?;
        let hooks = docker.home().bookend(&["hooks", &id]);
        (hooks.code == 0 && hooks.stdout.contains("Running")).then_some(id)
    });
    docker.home().bookend(&["stop", &id]).ok().says("exit code");
    let ended = hanging.wait();
    assert_ne!(ended.code, 0);
    ends_with(&ended, "stopped before postStart completed");
}

#[test]
fn the_page_on_docker_does_what_it_says() {
    if !may_run("the_page_on_docker_does_what_it_says") {
        return;
    }
    let page = page("docker.md");
    let mut config: Value = serde_json::from_str(block(&page, "## Set-up", "json")).unwrap();
    let docker = Docker::with(|home| {
        let file = home.write("web.yaml", block(&page, "/etc/bookend/web.yaml", "yaml"));
        let runtimes = &mut config["runtimes"];
        assert_eq!(runtimes["bookend-web"]["runtimeArgs"], json!(["--lifecycle", "/etc/bookend/web.yaml"]));
        runtimes["bookend-web"] = json!({"path": bookend(), "runtimeArgs": ["--lifecycle", file]});
        runtimes.take()
    });
    docker.home().follow(block(&page, "## A container with hooks", "sh")).ok().says("draining").says("SIGTERM");
}
