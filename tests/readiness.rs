//! Readiness for a service manager (lifecycle.md section 1, last paragraph): sd_notify(3).

mod common;

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::Duration;

use common::{Fixture, catches, finish};

const WAIT_FOR_GO: &str = "while [ ! -e /go ]; do sleep 0.05; done";

/// Says READY=1 from inside, with syslog's datagram: the word stands in a line of its own.
const SAY_READY: &str = "while [ ! -S /run/notify/notify.sock ]; do sleep 0.05; done; \
     ln -sf $NOTIFY_SOCKET /dev/log; logger \"$(printf 'x\\nSTATUS=hostile\\nREADY=1\\nx')\"";

/// A service manager that listens for one service.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn at_a_path(c: &Fixture) -> Manager {
        let path = c.scratch.path().join("manager.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        Manager { socket, name: path.to_str().unwrap().to_owned() }
    }

    fn in_the_abstract_namespace(c: &Fixture) -> Manager {
        let address = SocketAddr::from_abstract_name(&c.id).unwrap();
        Manager { socket: UnixDatagram::bind_addr(&address).unwrap(), name: format!("@{}", c.id) }
    }

    /// A call of bookend that knows where we listen.
    fn calls(&self, c: &Fixture, args: &[&str]) -> Command {
        let mut command = c.command(args);
        command.env("NOTIFY_SOCKET", &self.name);
        command
    }

    #[track_caller]
    fn hears(&self, text: &str) {
        self.socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut buffer = [0; 1000];
        let length = self.socket.recv(&mut buffer).unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer[..length]), text);
    }

    #[track_caller]
    fn has_heard_nothing(&self) {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 1000];
        let heard = self.socket.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned());
        assert!(heard.is_err(), "{heard:?}");
        self.socket.set_nonblocking(false).unwrap();
    }
}

fn go(c: &Fixture) {
    fs::write(c.rootfs().join("go"), "").unwrap();
}

fn starts(c: &Fixture, manager: &Manager) -> common::Running {
    let out = c.scratch.path().join("out");
    let file = fs::File::create(&out).unwrap();
    let mut command = manager.calls(c, &["start", &c.id]);
    command.stdin(std::process::Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    common::Running { child: command.spawn().unwrap(), out }
}

fn create(c: &Fixture, manager: &Manager) {
    c.write();
    let bundle = c.bundle();
    finish(manager.calls(c, &["create", "--bundle", bundle.to_str().unwrap(), &c.id]), &c.scratch).ok();
}

#[test]
fn a_foreground_run_with_hooks_is_ready_when_post_start_has_succeeded() {
    for place in [Manager::at_a_path, Manager::in_the_abstract_namespace] {
        let c = Fixture::busybox().hook("postStart", &format!("touch /posting; {WAIT_FOR_GO}"));
        let c = c.shell("env > /env; exec /bin/entrypoint");
        let manager = place(&c);
        c.write();
        let bundle = c.bundle();
        let mut run = manager.calls(&c, &["run", "--bundle", bundle.to_str().unwrap(), &c.id]).spawn().unwrap();
        c.wait_for("postStart", |c| c.rootfs().join("posting").exists());
        manager.has_heard_nothing();
        go(&c);
        manager.hears("READY=1");
        c.wait_for("the ENTRYPOINT's trap", |c| catches(c.pid(), libc::SIGTERM));
        c.stop().ok();
        assert!(run.wait().unwrap().success());
        manager.has_heard_nothing();
        assert!(!c.read("/env").contains("NOTIFY_SOCKET"), "bookend itself says that it is ready");
    }
}

#[test]
fn a_container_that_never_runs_is_never_ready() {
    let c = Fixture::busybox().hook("postStart", "exit 1");
    let manager = Manager::at_a_path(&c);
    c.write();
    let bundle = c.bundle();
    finish(manager.calls(&c, &["run", "--bundle", bundle.to_str().unwrap(), &c.id]), &c.scratch).fails(125);
    manager.has_heard_nothing();
}

#[test]
fn a_word_from_inside_is_held_back_until_post_start_has_succeeded() {
    let c = Fixture::busybox().shell(&format!("{SAY_READY}; touch /said; exec /bin/entrypoint"));
    let c = c.hook("postStart", WAIT_FOR_GO);
    let manager = Manager::at_a_path(&c);
    create(&c, &manager);
    let start = starts(&c, &manager);
    c.wait_for("the container's word", |c| c.rootfs().join("said").exists());
    c.wait_for_phase("Starting");
    manager.has_heard_nothing();
    go(&c);
    manager.hears("READY=1");
    manager.hears(&format!("MAINPID={}", c.pid()));
    manager.hears("BARRIER=1");
    start.wait().ok();
    assert_eq!(c.status(), "running");
}

#[test]
fn start_of_a_container_without_hooks_waits_for_its_word_or_its_end() {
    let c = Fixture::busybox().shell(&format!("{WAIT_FOR_GO}; {SAY_READY}; exec /bin/entrypoint"));
    let manager = Manager::at_a_path(&c);
    create(&c, &manager);
    let mut start = starts(&c, &manager);
    c.wait_for("running", |c| c.status() == "running");
    // Other verbs are not held up.
    c.exec("[ -d /run/notify ] && ! touch /run/notify/x 2> /dev/null").ok();
    assert!(!start.is_over());
    go(&c);
    manager.hears("READY=1");
    manager.hears(&format!("MAINPID={}", c.pid()));
    manager.hears("BARRIER=1");
    start.wait().ok();

    let c = Fixture::busybox().shell("exit 3");
    let manager = Manager::at_a_path(&c);
    create(&c, &manager);
    starts(&c, &manager).wait().ok();
    manager.has_heard_nothing();
}

#[test]
fn a_foreground_run_without_hooks_passes_the_word_on() {
    let c = Fixture::busybox().shell(&format!("{SAY_READY}; {WAIT_FOR_GO}"));
    let manager = Manager::in_the_abstract_namespace(&c);
    c.write();
    let bundle = c.bundle();
    let mut run = manager.calls(&c, &["run", "--bundle", bundle.to_str().unwrap(), &c.id]).spawn().unwrap();
    manager.hears("READY=1");
    go(&c);
    assert!(run.wait().unwrap().success());
}

#[test]
fn run_detach_returns_when_the_container_is_ready() {
    for hooks in [false, true] {
        let c = Fixture::busybox().shell(&format!("{SAY_READY}; exec /bin/entrypoint"));
        let c = if hooks { c.hook("postStart", "true") } else { c };
        let manager = Manager::at_a_path(&c);
        c.write();
        let bundle = c.bundle();
        let args = ["run", "--detach", "--bundle", bundle.to_str().unwrap(), &c.id];
        let mut run = manager.calls(&c, &args).spawn().unwrap();
        manager.hears("READY=1");
        manager.hears(&format!("MAINPID={}", c.pid()));
        // Its unit is known by its pid, while there is one.
        assert!(run.try_wait().unwrap().is_none());
        manager.hears("BARRIER=1");
        assert!(run.wait().unwrap().success());
    }
}

#[test]
fn a_service_manager_that_cannot_be_named_is_an_error_before_anything_is_made() {
    let c = Fixture::busybox();
    c.write();
    let bundle = c.bundle();
    let mut create = c.command(&["create", "--bundle", bundle.to_str().unwrap(), &c.id]);
    create.env("NOTIFY_SOCKET", "vsock:2:1");
    finish(create, &c.scratch).fails(1).says("NOTIFY_SOCKET: \"vsock:2:1\" is neither a path nor");
    assert!(!c.state_dir().exists());
}
