//! podman, as root and as an unprivileged user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::common::{Output, block, bookend, is_root, needs_a_user, needs_root, needs_tool, subordinate};
use crate::home::{Home, MEMORY_LIMIT, PATH, page, parent_of, tree_below, wait_for};

/// podman with an image `busybox` in a storage of its own.
struct Podman {
    home: Home,
}

impl Podman {
    /// With the binary under test as its runtime, by its path.
    fn new() -> Podman {
        Podman::with(&format!("[engine]\nruntime = {:?}\n", bookend()))
    }

    /// With this `[engine]` table.
    fn with(engine: &str) -> Podman {
        let mut home = Home::new();
        let dir = home.dir().display().to_string();
        let own = format!(
            "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
             tmp_dir = \"{dir}/t\"\nstatic_dir = \"{dir}/graph/libpod\"\nvolume_path = \"{dir}/graph/volumes\"\n"
        );
        let engine = engine.replacen("[engine]\n", &own, 1);
        // Without CAP_SYS_RESOURCE the limits that podman sets by itself cannot be had.
        let containers =
            "[containers]\nnetns = \"none\"\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
        home.set("CONTAINERS_CONF", home.write("containers.conf", &format!("{containers}\n{engine}")));
        home.set("CONTAINERS_STORAGE_CONF", home.storage());
        let podman = Podman { home };
        let layer = podman.home.layer();
        let (command, path) = ("CMD [\"/bin/entrypoint\"]", format!("ENV PATH={PATH}"));
        podman.call(&["import", "--change", command, "--change", &path, layer.to_str().unwrap(), "busybox"]).ok();
        podman
    }

    fn call(&self, args: &[&str]) -> Output {
        self.home.call("podman", args)
    }

    /// `podman run --rm` of a shell.
    fn shell(&self, flags: &[&str], script: &str) -> Output {
        self.call(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
    }

    /// A container that runs until SIGTERM.
    fn start(&self, name: &str, flags: &[&str]) -> String {
        self.call(&[&["run", "--detach", "--name", name], flags, &["busybox"]].concat()).ok();
        self.id(name)
    }

    fn inspect(&self, container: &str) -> Value {
        self.call(&["inspect", container]).ok().json()[0].take()
    }

    fn id(&self, container: &str) -> String {
        self.inspect(container)["Id"].as_str().unwrap().to_owned()
    }

    /// The container's process, and all that is below its conmon.
    fn processes(&self, container: &str) -> Vec<String> {
        let pid = self.inspect(container)["State"]["Pid"].as_i64().unwrap();
        wait_for("the child of the ENTRYPOINT", || (tree_below(pid) == ["1 sleep"]).then_some(()));
        tree_below(parent_of(pid))
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let removed = self.call(&["rm", "--force", "--all", "--time=0"]);
        if !is_root() {
            // Nothing else ends the process that keeps the user namespace.
            self.call(&["system", "migrate"]);
        }
        if !std::thread::panicking() {
            removed.ok();
        }
    }
}

fn may_run(test: &str) -> bool {
    needs_tool(test, "podman")
}

#[test]
fn podman_stop_runs_the_pre_stop_of_an_annotation_and_its_output_outlives_the_container() {
    if !may_run("podman_stop_runs_the_pre_stop_of_an_annotation_and_its_output_outlives_the_container") {
        return;
    }
    let podman = Podman::new();
    let id = podman.start(
        "web",
        &[
            "--annotation=bookend/post-start.shell=echo up > /var/tmp/up",
            "--annotation=bookend/pre-stop.shell=echo draining; sleep 0.5",
            "--annotation=bookend/post-stop.shell=echo swept",
        ],
    );
    assert_eq!(podman.call(&["exec", "web", "cat", "/var/tmp/up"]).ok().stdout, "up\n");
    assert_eq!(podman.inspect("web")["State"]["Status"], "running");
    podman.call(&["stop", "web"]).ok();
    let state = podman.inspect("web")["State"].take();
    assert_eq!((state["Status"].as_str(), state["ExitCode"].as_i64()), (Some("exited"), Some(0)), "{state}");
    let logs = podman.home.wait_for_logs(&id, "swept");
    assert!(logs.contains("draining"), "{logs}");

    // The same container once more: its second life is another entry of the history.
    podman.call(&["start", "web"]).ok();
    podman.call(&["rm", "--force", "web"]).ok();
    assert!(podman.call(&["ps", "--all", "--quiet"]).ok().stdout.is_empty());
    podman.home.bookend(&["timeline", &id]).ok().says("preStop").says("SIGTERM");
    podman.home.bookend(&["timeline", "--previous", &id]).ok().says("preStop");
}

#[test]
fn podman_shows_why_a_container_did_not_start() {
    if !may_run("podman_shows_why_a_container_did_not_start") {
        return;
    }
    let podman = Podman::new();
    let hook = "--annotation=bookend/post-start.shell=echo no database >&2; exit 3";
    let failed = podman.call(&["run", "--detach", "--name=web", hook, "busybox"]);
    assert_ne!(failed.code, 0);
    failed.says("PostStartHook failed: exit code 3: no database");
    let invalid = podman.call(&["run", "--annotation=bookend/pre-strt=x", "busybox"]);
    assert_ne!(invalid.code, 0);
    invalid.says("did you mean \"bookend/pre-start\"?");
    // podman makes its exit codes of the words.
    podman.call(&["run", "--rm", "busybox", "nonexistent"]).fails(127).says("executable file not found in $PATH");
    podman.call(&["run", "--rm", "busybox", "/nonexistent"]).fails(127).says("no such file or directory");
    podman.call(&["run", "--rm", "busybox", "/etc/passwd"]).fails(126).says("permission denied");
}

#[test]
fn bookend_stop_ends_a_post_start_that_podman_run_hangs_in() {
    if !may_run("bookend_stop_ends_a_post_start_that_podman_run_hangs_in") {
        return;
    }
    let podman = Podman::new();
    let hook = "--annotation=bookend/post-start.shell=echo > /var/tmp/begun; exec sleep 1000";
    let hanging = podman.home.spawn("hanging", "podman", &["run", "--detach", "--cidfile=cid", hook, "busybox"]);
    let id = wait_for("the hook", || {
        let id = fs::read_to_string(podman.home.dir().join("cid")).ok().filter(|id| !id.is_empty())?;
        let hooks = podman.home.bookend(&["hooks", &id]);
        (hooks.code == 0 && hooks.stdout.contains("Running")).then_some(id)
    });
    podman.home.bookend(&["stop", &id]).ok();
    let ended = hanging.wait();
    assert_ne!(ended.code, 0);
    ended.says("stopped before postStart completed");
}

#[test]
fn without_hooks_podman_gets_what_any_runtime_gives() {
    if !may_run("without_hooks_podman_gets_what_any_runtime_gives") || !needs_tool("without_hooks_…", "runc") {
        return;
    }
    let podman = Podman::new();
    podman.start("plain", &[]);
    podman.call(&["--runtime", "runc", "run", "--detach", "--name", "other", "busybox"]).ok();
    assert_eq!(podman.processes("plain"), podman.processes("other"));
    assert_eq!(podman.processes("plain"), ["1 entrypoint", "2 sleep"]);
    let listed = |name: &str| podman.call(&["exec", name, "ps", "-o", "user,comm"]).ok().stdout;
    assert_eq!(listed("plain"), listed("other"));

    podman.call(&["exec", "plain", "sh", "-c", "exit 7"]).fails(7);
    podman.call(&["exec", "plain", "/nonexistent"]).fails(127);
    podman.call(&["exec", "plain", "/etc/passwd"]).fails(126);
    podman.call(&["exec", "--tty", "plain", "tty"]).ok().says("/dev/pts/0");
    podman.call(&["exec", "--user=1:1", "--workdir=/usr", "--env=A=b", "plain", "sh", "-c", "id -u; pwd; echo $A"]);
    podman.call(&["top", "plain", "pid", "comm"]).ok().says("entrypoint");
    podman.call(&["restart", "--time=20", "plain"]).ok();
    podman.call(&["kill", "--signal=KILL", "plain"]).ok();
    assert_eq!(podman.call(&["wait", "plain"]).ok().stdout, "137\n");
}

#[test]
fn podman_sets_up_the_process_and_its_root_as_its_flags_say() {
    if !may_run("podman_sets_up_the_process_and_its_root_as_its_flags_say") {
        return;
    }
    let podman = Podman::new();
    let status = podman.shell(&["--cap-drop=all", "--cap-add=NET_ADMIN,KILL"], "cat /proc/self/status").ok().stdout;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    assert_eq!(field("CapEff:"), "0000000000001020");
    // podman's own profile is installed.
    assert_eq!(field("Seccomp:"), "2");
    let status = podman.shell(&["--security-opt=seccomp=unconfined"], "grep Seccomp: /proc/self/status").ok().stdout;
    assert_eq!(status, "Seccomp:\t0\n");
    if is_root() || subordinate("/etc/subuid").is_some() {
        assert_eq!(podman.shell(&["--user=7:8", "--umask=0077"], "id -u; id -g; umask").ok().stdout, "7\n8\n0077\n");
    }
    // Its own tmpfs, on /tmp among others, and one that begins with what the image has there.
    let words = "touch /x 2>&1; touch /tmp/x /home/x && ls /home";
    let output = podman.shell(&["--read-only", "--tmpfs=/home"], words).ok().stdout;
    assert_eq!(output, "touch: /x: Read-only file system\napp\nx\n");
    let output = podman.shell(&["--tty", "--hostname=shop"], "tty; hostname").ok().stdout;
    assert_eq!(output.replace('\r', ""), "/dev/pts/0\nshop\n");
    let source = podman.home.make_dir("data", 0o755);
    let volume = format!("--volume={}:/data:ro", source.display());
    podman.shell(&[&volume], "touch /data/x").fails(1).says("Read-only file system");
    podman.shell(&["--device=/dev/zero:/dev/nought"], "test -c /dev/nought && exit 42").fails(42);
}

#[test]
fn a_device_or_a_tmpfs_that_podman_gives_is_as_it_says_and_the_hosts_stay_as_they_are() {
    if !may_run("a_device_or_a_tmpfs_that_podman_gives_is_as_it_says_and_the_hosts_stay_as_they_are") {
        return;
    }
    let podman = Podman::new();
    let may_have_users = is_root() || subordinate("/etc/subuid").is_some();
    // The directories of an image's user are writable in a tmpfs over them, too.
    let user: &[&str] = if may_have_users { &["--user=7:8"] } else { &[] };
    let script = "stat -c %a /scratch && touch /scratch/mine && echo written";
    assert_eq!(podman.shell(&[user, &["--tmpfs=/scratch"]].concat(), script).ok().stdout, "1777\nwritten\n");
    let script = "stat -c %a /scratch";
    assert_eq!(podman.shell(&["--tmpfs=/scratch:mode=0750"], script).ok().stdout, "750\n");
    // podman gives a privileged container all devices of its host.
    podman.shell(&["--privileged"], "test -c /dev/null && exit 42").fails(42);
    if !is_root() {
        return;
    }
    podman.shell(&["--pids-limit=-1"], "sh -c 'exit 42' & wait $!").fails(42);
    let node = podman.home.dir().join("node");
    assert!(Command::new("mknod").args(["-m", "600"]).arg(&node).args(["c", "1", "5"]).status().unwrap().success());
    let volume = format!("--volume={}:/dev/nought", node.display());
    let output = podman.shell(&[&volume, "--device=/dev/zero:/dev/nought"], "stat -c %a /dev/nought").ok();
    assert_eq!(output.stdout, "600\n");
    assert_eq!(fs::metadata(&node).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_program_that_waits_for_its_children_is_put_in_front_by_init() {
    let test = "a_program_that_waits_for_its_children_is_put_in_front_by_init";
    if !may_run(test) || !needs_tool(test, "catatonit") {
        return;
    }
    let podman = Podman::new();
    let processes = podman.call(&["run", "--rm", "--init", "busybox", "ps", "-o", "pid,comm"]).ok().stdout;
    let names: Vec<&str> = processes.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(names, ["podman-init", "ps"]);
}

#[test]
fn a_container_gets_the_descriptors_that_are_meant_for_it_and_no_others() {
    if !may_run("a_container_gets_the_descriptors_that_are_meant_for_it_and_no_others") {
        return;
    }
    let podman = Podman::new();
    let run = "exec podman run --rm \"$@\" busybox sh -c 'ls /proc/self/fd; env'";
    let with_more_open = |flags: &[&str], descriptors: &str| {
        let script = format!("exec {descriptors}; {run}");
        podman.home.call("/bin/sh", &[&["-c", &script, "sh"], flags].concat()).ok().stdout
    };
    let shown = with_more_open(&[], "7</etc/passwd");
    // The last one is the directory that `ls` reads.
    assert!(shown.starts_with("0\n1\n2\n3\n") && !shown.lines().any(|line| line == "7"), "{shown}");
    for name in ["_OCI_", "LISTEN_", "NOTIFY_SOCKET", "XDG_RUNTIME_DIR", "_CONTAINERS_"] {
        assert!(!shown.contains(name), "{name} in {shown}");
    }
    podman.home.write("word", "handed down\n");
    let script = "exec 3<word; exec podman run --rm --preserve-fds=1 busybox sh -c 'cat <&3; ls /proc/self/fd'";
    assert_eq!(podman.home.call("/bin/sh", &["-c", script]).ok().stdout, "handed down\n0\n1\n2\n3\n4\n");
}

#[test]
fn a_health_check_is_run_in_the_container() {
    if !may_run("a_health_check_is_run_in_the_container") {
        return;
    }
    let podman = Podman::new();
    podman.start("web", &["--health-cmd=test -e /tmp/well", "--health-interval=disable"]);
    podman.call(&["healthcheck", "run", "web"]).fails(1);
    podman.call(&["exec", "web", "touch", "/tmp/well"]).ok();
    podman.call(&["healthcheck", "run", "web"]).ok();
    assert_eq!(podman.inspect("web")["State"]["Health"]["Status"], "healthy");
}

#[test]
fn the_caller_keeps_its_id_in_a_container() {
    let test = "the_caller_keeps_its_id_in_a_container";
    if !may_run(test) || !needs_a_user(test) || subordinate("/etc/subuid").is_none() {
        return; // The user without subordinate ids cannot have it, whatever the runtime.
    }
    let podman = Podman::new();
    let own = nix::unistd::geteuid().to_string();
    podman.start("kept", &["--userns=keep-id"]);
    assert_eq!(podman.call(&["exec", "kept", "id", "-u"]).ok().stdout.trim(), own);
    let dir = podman.home.make_dir("data", 0o700);
    let volume = format!("--volume={}:/data", dir.display());
    podman.shell(&["--userns=keep-id", &volume], "touch /data/mine").ok();
    let made = fs::metadata(dir.join("mine")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made).to_string(), own);
}

#[test]
fn limits_hold_and_can_be_changed() {
    if !may_run("limits_hold_and_can_be_changed") || !needs_root("limits_hold_and_can_be_changed") {
        return; // podman gives no limits to a user without a delegated version 2 hierarchy.
    }
    let podman = Podman::new();
    podman.start("web", &["--memory=64m", "--cpus=0.5", "--pids-limit=30"]);
    let inside = |script: &str| podman.call(&["exec", "web", "sh", "-c", script]).ok().stdout;
    assert_eq!(inside(MEMORY_LIMIT), format!("{}\n", 64 << 20));
    let cpu = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max";
    assert_eq!(inside(cpu), "50000\n");
    assert_eq!(inside("cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max"), "30\n");
    podman.call(&["update", "--memory=96m", "web"]).ok();
    assert_eq!(inside(MEMORY_LIMIT), format!("{}\n", 96 << 20));
    let stats = podman.call(&["stats", "--no-stream", "--format={{.MemUsage}} {{.PIDs}}", "web"]).ok().stdout;
    assert!(!stats.starts_with("0B") && stats.trim_end().ends_with(" 2"), "{stats}");
    podman.call(&["pause", "web"]).ok();
    assert_eq!(podman.inspect("web")["State"]["Status"], "paused");
    podman.call(&["exec", "web", "true"]).fails(255);
    podman.call(&["unpause", "web"]).ok();
    assert_eq!(inside("echo awake"), "awake\n");
}

#[test]
fn the_containers_of_a_pod_share_what_podman_says() {
    let test = "the_containers_of_a_pod_share_what_podman_says";
    if !may_run(test) || !needs_tool(test, "catatonit") {
        return;
    }
    let podman = Podman::new();
    podman.call(&["pod", "create", "--name=shop", "--share=ipc,uts"]).ok();
    let hook = "--annotation=bookend/pre-stop.shell=echo closing";
    let id = podman.start("web", &["--pod=shop", hook]);
    podman.start("db", &["--pod=shop"]);
    let of = |name: &str| {
        let script = "for kind in ipc uts mnt; do readlink /proc/self/ns/$kind; done";
        let text = podman.call(&["exec", name, "sh", "-c", script]).ok().stdout;
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (web, db) = (of("web"), of("db"));
    assert_eq!(web[..2], db[..2]);
    assert_ne!(web[2], db[2]);
    podman.call(&["pod", "top", "shop", "pid", "comm"]).ok().says("entrypoint").says("catatonit");
    podman.call(&["pod", "stop", "--time=20", "shop"]).ok();
    podman.home.wait_for_logs(&id, "closing");
    podman.call(&["pod", "start", "shop"]).ok();
    podman.call(&["pod", "rm", "--force", "shop"]).ok();
}

const PLAYED: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: shop
  annotations:
    bookend/post-start.shell: echo up > /var/tmp/up
    bookend/pre-stop.shell: echo draining
spec:
  containers:
  - name: web
    image: localhost/busybox
    command: [/bin/entrypoint]
    env: [{name: GREETING, value: hello}]
    RESOURCES
"#;

#[test]
fn kube_play_runs_a_pod_with_hooks() {
    if !may_run("kube_play_runs_a_pod_with_hooks") || !needs_tool("kube_play_runs_a_pod_with_hooks", "catatonit") {
        return;
    }
    let podman = Podman::new();
    let resources = if is_root() { "resources: {limits: {memory: 64Mi}}" } else { "" };
    podman.home.write("pod.yaml", &PLAYED.replace("RESOURCES", resources));
    podman.call(&["kube", "play", "--network=none", "pod.yaml"]).ok();
    let inside = |script: &str| podman.call(&["exec", "shop-web", "/bin/sh", "-c", script]).ok().stdout;
    assert_eq!(inside("echo $GREETING; /bin/cat /var/tmp/up"), "hello\nup\n");
    if is_root() {
        assert_eq!(inside(&format!("PATH={PATH}; {MEMORY_LIMIT}")), format!("{}\n", 64 << 20));
    }
    let id = podman.id("shop-web");
    // `kube down` of this version kills the containers at once.
    podman.call(&["pod", "stop", "--time=20", "shop"]).ok();
    podman.call(&["kube", "down", "pod.yaml"]).ok();
    podman.home.wait_for_logs(&id, "draining");
}

#[test]
fn podman_takes_the_lines_that_config_podman_prints() {
    if !may_run("podman_takes_the_lines_that_config_podman_prints") {
        return;
    }
    let podman = Podman::with(&Home::new().bookend(&["config", "podman"]).ok().stdout);
    podman.call(&["info", "--format={{.Host.OCIRuntime.Name}}"]).ok();
    let runtime = podman.call(&["--runtime=bookend", "info", "--format={{.Host.OCIRuntime.Path}}"]).ok().stdout;
    assert_eq!(runtime.trim(), fs::canonicalize(bookend()).unwrap().to_str().unwrap());
    let hook = "--annotation=bookend/post-start.shell=echo up > /var/tmp/up";
    let script = "while [ ! -e /var/tmp/up ]; do sleep 0.1; done; exit 42";
    podman.call(&["--runtime=bookend", "run", "--rm", hook, "busybox", "sh", "-c", script]).fails(42);
    // With the name among those that write a log, the error is bookend's alone.
    let failed = podman.call(&["--runtime=bookend", "run", "--rm", "busybox", "nonexistent"]).fails(127).stderr;
    assert!(!failed.contains(bookend().to_str().unwrap()), "{failed}");
}

#[test]
fn the_page_on_podman_does_what_it_says() {
    if !may_run("the_page_on_podman_does_what_it_says") {
        return;
    }
    let page = page("podman.md");
    let always = block(&page, "## For every container", "toml");
    let podman = Podman::with(&always.replace("/usr/local/bin/bookend", bookend().to_str().unwrap()));
    podman.call(&["info", "--format={{.Host.OCIRuntime.Name}}"]).ok().says("bookend");
    podman.home.follow(block(&page, "## A container with hooks", "sh")).ok().says("draining").says("SIGTERM");
    podman.home.write("pod.yaml", block(&page, "## A Pod", "yaml"));
    if needs_tool("the_page_on_podman_does_what_it_says", "catatonit") {
        // There is no network to give to it.
        let lines = block(&page, "## A Pod", "sh").replace("kube play", "kube play --network none");
        podman.home.follow(&lines).ok().says("closing");
    }
}
