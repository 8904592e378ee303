//! bookend called by the real podman, as root: by its path, as `podman --runtime PATH` does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

mod common;
use common::{Fixture, Output, bookend, needs_root, needs_tool};

/// An image of the busybox bundle, in a storage of its own.
struct Podman {
    /// A path, or a name from containers.conf.
    runtime: PathBuf,
    /// Owns the directory; no container is made of it.
    fixture: Fixture,
}

impl Podman {
    fn new() -> Podman {
        let podman = Podman { runtime: bookend(), fixture: Fixture::busybox() };
        fs::write(
            podman.dir().join("containers.conf"),
            // Without CAP_SYS_RESOURCE the limits that podman sets by itself cannot be had.
            "[containers]\nnetns = \"none\"\n\
             default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n",
        )
        .unwrap();
        let image = podman.dir().join("image.tar");
        let packed =
            Command::new("tar").arg("-C").arg(podman.fixture.rootfs()).arg("-cf").arg(&image).arg(".").status();
        assert!(packed.unwrap().success());
        let image = image.to_str().unwrap();
        podman.call(&["import", "--change", "CMD [\"/bin/entrypoint\"]", image, "busybox"]).ok();
        podman
    }

    fn dir(&self) -> &Path {
        self.fixture.scratch.path()
    }

    fn call(&self, args: &[&str]) -> Output {
        let mut command = Command::new("podman");
        for (flag, dir) in [("--root", "storage"), ("--runroot", "runroot"), ("--tmpdir", "tmp")] {
            command.arg(flag).arg(self.dir().join(dir));
        }
        command.args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file", "--runtime"]);
        command.arg(&self.runtime).args(args).env("CONTAINERS_CONF", self.dir().join("containers.conf"));
        let output = command.output().unwrap();
        Output {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn inspect(&self, container: &str) -> Value {
        self.call(&["inspect", container]).ok().json()[0].take()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let removed = self.call(&["rm", "--force", "--all", "--time=0"]);
        if !std::thread::panicking() {
            removed.ok();
        }
    }
}

fn may_run(test: &str) -> bool {
    needs_root(test) && needs_tool(test, "podman")
}

/// A view of a container that may be gone: as a user who types `bookend timeline ID`, without podman's flags.
fn bookend_shows(args: &[&str]) -> Output {
    let output = Command::new(bookend()).args(args).output().unwrap();
    Output {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn podman_stop_runs_the_pre_stop_of_an_annotation_and_its_output_outlives_the_container() {
    if !may_run("podman_stop_runs_the_pre_stop_of_an_annotation_and_its_output_outlives_the_container") {
        return;
    }
    let podman = Podman::new();
    podman
        .call(&[
            "run",
            "--detach",
            "--name=web",
            "--annotation=bookend/post-start.shell=echo up > /var/tmp/up",
            "--annotation=bookend/pre-stop.shell=echo draining; sleep 0.5",
            "--annotation=bookend/post-stop.shell=echo swept",
            "busybox",
        ])
        .ok();
    assert_eq!(podman.call(&["exec", "web", "cat", "/var/tmp/up"]).ok().stdout, "up\n");
    let container = podman.inspect("web");
    assert_eq!(container["State"]["Status"], "running");
    let id = container["Id"].as_str().unwrap();

    podman.call(&["stop", "web"]).ok();
    let state = podman.inspect("web")["State"].take();
    assert_eq!((state["Status"].as_str(), state["ExitCode"].as_i64()), (Some("exited"), Some(0)), "{state}");
    let begun = Instant::now();
    let logs = loop {
        let logs = bookend_shows(&["logs", id]).ok().stdout;
        if logs.contains("swept") {
            break logs;
        }
        // podman returns at the exit, which postStop comes after.
        assert!(begun.elapsed() < Duration::from_secs(30), "{logs}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(logs.contains("draining"), "{logs}");
    bookend_shows(&["timeline", id]).ok().says("preStop");

    // The same container once more: its second life is another entry of the history.
    podman.call(&["start", "web"]).ok();
    podman.call(&["rm", "--force", "web"]).ok();
    assert!(podman.call(&["ps", "--all", "--quiet"]).ok().stdout.is_empty());
}

#[test]
fn podman_shows_why_a_post_start_failed() {
    if !may_run("podman_shows_why_a_post_start_failed") {
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
}

#[test]
fn without_hooks_podman_gets_what_any_runtime_gives() {
    if !may_run("without_hooks_podman_gets_what_any_runtime_gives") {
        return;
    }
    let podman = Podman::new();
    podman.call(&["run", "--detach", "--name=plain", "busybox"]).ok();
    let state = podman.inspect("plain")["State"].take();
    let (conmon, pid) = (state["ConmonPid"].as_i64().unwrap(), state["Pid"].as_i64().unwrap());
    let children = fs::read_to_string(format!("/proc/{conmon}/task/{conmon}/children")).unwrap();
    assert_eq!(children.trim(), pid.to_string(), "nothing but the container is below conmon");
    podman.call(&["exec", "plain", "sh", "-c", "exit 7"]).fails(7);
    podman.call(&["exec", "plain", "/nonexistent"]).fails(127);
    podman.call(&["exec", "plain", "/etc/passwd"]).fails(126);
    podman.call(&["exec", "--tty", "plain", "tty"]).ok().says("/dev/pts/0");
    podman.call(&["pause", "plain"]).ok();
    podman.call(&["unpause", "plain"]).ok();
    podman.call(&["restart", "plain"]).ok();
    podman.call(&["kill", "plain"]).ok();
    assert_eq!(podman.call(&["wait", "plain"]).ok().stdout, "137\n");
    podman
        .call(&[
            "run",
            "--rm",
            "--device=/dev/zero:/dev/nought",
            "busybox",
            "sh",
            "-c",
            "test -c /dev/nought && exit 42",
        ])
        .fails(42);
}

#[test]
fn podman_takes_the_lines_that_config_podman_prints() {
    if !may_run("podman_takes_the_lines_that_config_podman_prints") {
        return;
    }
    let mut podman = Podman::new();
    let conf = podman.dir().join("containers.conf");
    let lines = fs::read_to_string(&conf).unwrap() + &bookend_shows(&["config", "podman"]).ok().stdout;
    fs::write(&conf, lines).unwrap();
    podman.runtime = PathBuf::from("bookend");
    let runtime = podman.call(&["info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}"]).ok().stdout;
    assert_eq!(runtime.trim(), format!("bookend {}", fs::canonicalize(bookend()).unwrap().display()));
    let hook = "--annotation=bookend/post-start.shell=echo up > /var/tmp/up";
    let script = "while [ ! -e /var/tmp/up ]; do sleep 0.1; done; exit 42";
    podman.call(&["run", "--rm", hook, "busybox", "sh", "-c", script]).fails(42);
}
