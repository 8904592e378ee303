//! Terminals: with a console socket, and attached to the caller's own (issue "First light", item 4).

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::json;

use common::{Fixture, Output, Running, bookend, needs_root};

const LIMIT: Duration = Duration::from_secs(30);

/// Whoever holds the master of a container's terminal, as conmon and the shim do.
struct Console {
    path: PathBuf,
    master: mpsc::Receiver<OwnedFd>,
}

impl Console {
    fn listen(c: &Fixture) -> Console {
        let path = c.scratch.path().join("console.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, master) = mpsc::channel();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (_, descriptor) = common::receive_descriptor(&connection.unwrap());
                let Some(descriptor) = descriptor else { continue };
                if sender.send(descriptor).is_err() {
                    return;
                }
            }
        });
        Console { path, master }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn terminal(&self) -> Terminal {
        Terminal::new(self.master.recv_timeout(LIMIT).unwrap())
    }
}

/// The master of a terminal, and all that was written to its other side so far.
struct Terminal {
    master: fs::File,
    said: mpsc::Receiver<Vec<u8>>,
    text: String,
}

impl Terminal {
    fn new(master: OwnedFd) -> Terminal {
        let master = fs::File::from(master);
        let mut reader = master.try_clone().unwrap();
        let (sender, said) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // EIO: nobody has the other side open any more.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { master, said, text: String::new() }
    }

    fn type_in(&self, text: &str) {
        (&self.master).write_all(text.as_bytes()).unwrap();
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// Waits until a text has been shown since the last one that was waited for.
    #[track_caller]
    fn expect(&mut self, wanted: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.text.find(wanted) {
                self.text.drain(..at + wanted.len());
                return;
            }
            match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{error}; expected {wanted:?} in {:?}", self.text),
            }
        }
    }
}

fn with_terminal(c: Fixture) -> Fixture {
    c.with(|config| config["process"]["terminal"] = json!(true))
}

// ── with a console socket ──

#[test]
fn the_master_is_sent_to_the_console_socket() {
    let c = with_terminal(Fixture::busybox())
        .shell("tty; ls -l /dev/console | cut -c1; stat -Lc %t:%T /dev/console /proc/self/fd/0; stty size; read line; echo \"got $line\"; read rest")
        .with(|config| config["process"]["consoleSize"] = json!({"height": 30, "width": 90}));
    let console = Console::listen(&c);
    let c = c.flag("--console-socket").flag(console.path());
    c.create().ok();
    let mut terminal = console.terminal();
    c.verb("start").ok();
    terminal.expect("/dev/pts/0\r\n");
    terminal.expect("c\r\n");
    terminal.expect("88:0\r\n");
    terminal.expect("88:0\r\n");
    terminal.expect("30 90\r\n");
    terminal.type_in("hello\n");
    terminal.expect("got hello\r\n");
    // End of file, as typed.
    terminal.type_in("\u{4}");
    c.wait_for("stopped", |c| c.status() == "stopped");
    c.verb("delete").ok();
}

#[test]
fn run_detached_and_exec_use_a_console_socket() {
    let c = with_terminal(Fixture::busybox()).shell("echo from init; read line");
    let console = Console::listen(&c);
    let c = c.flag("--console-socket").flag(console.path());
    c.run_detached().ok();
    let mut terminal = console.terminal();
    terminal.expect("from init\r\n");
    let pid_file = c.scratch.path().join("exec.pid");
    let exec =
        ["exec", "--tty", "--detach", "--console-socket", console.path(), "--pid-file", pid_file.to_str().unwrap()];
    c.call(&[&exec[..], &[&c.id, "/bin/sh", "-c", "tty; read line; echo \"exec got $line\""]].concat()).ok();
    let mut of_exec = console.terminal();
    of_exec.expect("/dev/pts/1\r\n");
    of_exec.type_in("hi\n");
    of_exec.expect("exec got hi\r\n");
    assert!(fs::read_to_string(&pid_file).unwrap().parse::<i32>().unwrap() > 0);
}

#[test]
fn a_terminal_in_the_background_needs_a_console_socket() {
    let c = with_terminal(Fixture::busybox());
    c.create().fails(1).says("--console-socket");
    c.assert_nothing_left();
    c.run_detached().fails(125).says("--console-socket");
    c.assert_nothing_left();
}

#[test]
fn a_console_socket_without_a_terminal_is_refused() {
    let c = Fixture::busybox();
    let console = Console::listen(&c);
    let c = c.flag("--console-socket").flag(console.path());
    c.create().fails(1).says("process.terminal");
    c.assert_nothing_left();
}

/// threats.md R14.
#[test]
fn r14_a_console_socket_that_is_missing_closed_or_no_socket_fails_create() {
    let c = with_terminal(Fixture::busybox());
    let at = |name: &str| c.scratch.path().join(name).to_str().unwrap().to_owned();
    drop(UnixListener::bind(at("closed")).unwrap());
    fs::write(at("file"), "").unwrap();
    for (name, words) in [("missing", "No such file"), ("closed", "Connection refused"), ("file", "Connection refused")]
    {
        let path = at(name);
        c.make(&["create", "--console-socket", &path]).fails(1).says(&path).says(words);
        c.assert_nothing_left();
    }
}

#[test]
fn r14_a_terminal_that_nobody_reads_holds_neither_kill_nor_delete_up() {
    let c = with_terminal(Fixture::busybox()).shell("yes");
    let console = Console::listen(&c);
    let c = c.flag("--console-socket").flag(console.path());
    c.run_detached().ok();
    let master = console.master.recv_timeout(LIMIT).unwrap();
    c.call(&["kill", &c.id, "KILL"]).ok();
    c.wait_for("stopped", |c| c.status() == "stopped");
    c.verb("delete").ok();
    drop(master);
}

// ── attached ──

/// bookend with a terminal of ours as its controlling one.
struct Attached {
    terminal: Terminal,
    peer: OwnedFd,
    child: Child,
}

fn attach(c: &Fixture, args: &[&str]) -> Attached {
    let pty = nix::pty::openpty(None, None).unwrap();
    let terminal = Terminal::new(pty.master);
    terminal.resize(25, 81);
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(bookend()).arg("--root").arg(c.root()).args(args);
    command.env("XDG_RUNTIME_DIR", c.scratch.path().join("run")).env("TERM", "xterm");
    let side = || pty.slave.try_clone().unwrap();
    command.stdin(side()).stdout(side()).stderr(side());
    let child = command.spawn().unwrap();
    drop(command);
    Attached { terminal, peer: pty.slave, child }
}

fn attach_run(c: &Fixture) -> Attached {
    c.write();
    let bundle = c.bundle();
    attach(c, &["run", "--bundle", bundle.to_str().unwrap(), &c.id])
}

impl Attached {
    fn is_raw(&self) -> bool {
        !tcgetattr(&self.peer).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    #[track_caller]
    fn wait(mut self) -> i32 {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(!self.is_raw(), "the caller's terminal is as it was");
                return status.code().unwrap();
            }
            assert!(Instant::now() < deadline, "bookend does not end; shown: {:?}", self.terminal.text);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_typed_arrives_and_what_is_said_is_shown() {
    // Where devpts has ptmxmode=000 no other user can open a terminal.
    if !needs_root("what_is_typed_arrives_and_what_is_said_is_shown") {
        return;
    }
    let c = with_terminal(Fixture::busybox()).shell("tty; stty size; read line; echo \"got $line\"; exit 6");
    let mut attached = attach_run(&c);
    attached.terminal.expect("/dev/pts/0\r\n");
    attached.terminal.expect("25 81\r\n");
    assert!(attached.is_raw());
    attached.terminal.type_in("hello\r");
    attached.terminal.expect("got hello\r\n");
    assert_eq!(attached.wait(), 6);
    c.assert_nothing_left();
}

#[test]
fn control_c_interrupts_the_process_in_the_container() {
    // Where devpts has ptmxmode=000 no other user can open a terminal.
    if !needs_root("control_c_interrupts_the_process_in_the_container") {
        return;
    }
    let c = with_terminal(Fixture::busybox())
        .shell("trap 'echo interrupted; exit 8' INT; echo ready; while :; do sleep 0.05; done");
    let mut attached = attach_run(&c);
    attached.terminal.expect("ready");
    attached.terminal.type_in("\u{3}");
    attached.terminal.expect("interrupted");
    assert_eq!(attached.wait(), 8);
    c.assert_nothing_left();
}

#[test]
fn a_new_size_reaches_the_container() {
    // Where devpts has ptmxmode=000 no other user can open a terminal.
    if !needs_root("a_new_size_reaches_the_container") {
        return;
    }
    let c = with_terminal(Fixture::busybox())
        .shell("trap 'stty size' WINCH; echo ready; until [ -e /end ]; do sleep 0.05; done");
    let mut attached = attach_run(&c);
    attached.terminal.expect("ready");
    attached.terminal.resize(40, 120);
    attached.terminal.expect("40 120\r\n");
    fs::write(c.rootfs().join("end"), "").unwrap();
    assert_eq!(attached.wait(), 0);
}

#[test]
fn exec_with_a_terminal_is_attached() {
    // Where devpts has ptmxmode=000 no other user can open a terminal.
    if !needs_root("exec_with_a_terminal_is_attached") {
        return;
    }
    let c = Fixture::busybox().started();
    let mut attached =
        attach(&c, &["exec", "-t", &c.id, "/bin/sh", "-c", "tty; read line; echo \"got $line\"; exit 3"]);
    attached.terminal.expect("/dev/pts/0\r\n");
    assert!(attached.is_raw());
    attached.terminal.type_in("hi\r");
    attached.terminal.expect("got hi\r\n");
    assert_eq!(attached.wait(), 3);
}

#[test]
fn with_hooks_the_terminal_is_attached_all_the_same() {
    // Where devpts has ptmxmode=000 no other user can open a terminal.
    if !needs_root("with_hooks_the_terminal_is_attached_all_the_same") {
        return;
    }
    let c = with_terminal(Fixture::busybox())
        .hook("postStart", "echo > /post")
        .shell("read line; echo \"got $line\"; exit 6");
    let mut attached = attach_run(&c);
    c.wait_for("postStart", |c| c.read("/post") == "\n");
    attached.terminal.type_in("hello\r");
    attached.terminal.expect("got hello\r\n");
    assert_eq!(attached.wait(), 6);
    c.assert_nothing_left();
}

#[test]
fn a_terminal_without_one_of_the_callers_still_shows_what_is_said() {
    let c = with_terminal(Fixture::busybox()).shell("tty; echo done");
    let output: Output = c.run().ok();
    assert!(output.stdout.contains("/dev/pts/0") && output.stdout.contains("done"), "{}", output.stdout);
}

// ── a reader or a writer that does not keep up ──

/// bookend between two pipes of one page.
struct Piped {
    running: Running,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

fn pipe_through(c: &Fixture, args: &[&str]) -> Piped {
    let out = c.scratch.path().join("errors");
    let mut command = c.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(fs::File::create(&out).unwrap());
    let mut child = command.spawn().unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    rustix::pipe::fcntl_setpipe_size(&stdin, 4096).unwrap();
    rustix::pipe::fcntl_setpipe_size(&stdout, 4096).unwrap();
    Piped { running: Running { child, out }, stdin, stdout }
}

fn pipe_through_run(c: &Fixture) -> Piped {
    c.write();
    let bundle = c.bundle();
    pipe_through(c, &["run", "--bundle", bundle.to_str().unwrap(), &c.id])
}

#[test]
fn a_reader_that_stops_holds_the_supervisor_of_a_flood_up_in_nothing() {
    // With a hook all verbs are answered by the supervisor.
    let c = with_terminal(Fixture::busybox()).hook("postStart", "true").shell("yes");
    let piped = pipe_through_run(&c);
    c.wait_for("running", |c| c.status() == "running");
    c.wait_for("a full pipe", |_| rustix::io::ioctl_fionread(&piped.stdout).unwrap() > 0);
    c.call(&["kill", &c.id, "KILL"]).ok();
    piped.running.wait().fails(137);
    drop(piped.stdout);
    c.assert_nothing_left();
}

#[test]
fn a_program_that_does_not_read_holds_the_supervisor_of_a_typed_flood_up_in_nothing() {
    let c = with_terminal(Fixture::busybox()).hook("postStart", "true").grace(1).shell("sleep 1000");
    let mut piped = pipe_through_run(&c);
    c.wait_for("running", |c| c.status() == "running");
    let typed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&typed);
    let typist = thread::spawn(move || {
        // Many times what a terminal holds: it does not end before the container does.
        (0..1024).try_for_each(|_| {
            count.fetch_add(1024, Ordering::Relaxed);
            piped.stdin.write_all(&b"y\n".repeat(512))
        })
    });
    let (sender, shown) = mpsc::channel();
    thread::spawn(move || sender.send(std::io::copy(&mut piped.stdout, &mut std::io::sink())));
    c.wait_for("much to be typed", |_| typed.load(Ordering::Relaxed) > 8 * 1024);
    c.stop().ok();
    piped.running.wait().fails(137);
    assert!(typist.join().unwrap().is_err(), "what the terminal has no room for is not taken");
    shown.recv_timeout(LIMIT).unwrap().unwrap();
    c.assert_nothing_left();
}

#[test]
fn a_reader_that_is_gone_hangs_the_terminal_up() {
    let c = Fixture::busybox().started();
    let mut piped = pipe_through(&c, &["exec", "-t", &c.id, "yes"]);
    piped.stdout.read_exact(&mut [0; 3]).unwrap();
    drop(piped.stdout);
    // SIGHUP, or 1 where the write was the first to hear of it.
    let code = piped.running.wait().code;
    assert!([129, 1].contains(&code), "{code}");
}

#[test]
fn all_that_a_short_lived_container_says_is_shown() {
    let c = with_terminal(Fixture::busybox()).shell("seq 1 5000");
    let mut piped = pipe_through_run(&c);
    let mut shown = String::new();
    piped.stdout.read_to_string(&mut shown).unwrap();
    piped.running.wait().ok();
    let wanted: String = (1..=5000).map(|number| format!("{number}\r\n")).collect();
    assert!(shown == wanted, "{} of {} bytes", shown.len(), wanted.len());
}

// ── what a long wait waits for ──

/// A container whose stop takes its time: preStop until /go is there.
fn slow_to_stop() -> Fixture {
    Fixture::busybox().hook("preStop", "while [ ! -e /go ]; do sleep 0.05; done").grace(600)
}

fn go(c: &Fixture) {
    fs::write(c.rootfs().join("go"), "").unwrap();
}

#[test]
fn on_a_terminal_a_long_wait_is_one_line_that_is_redrawn_and_then_gone() {
    // Where devpts has ptmxmode=000 no other user can open a terminal.
    if !needs_root("on_a_terminal_a_long_wait_is_one_line_that_is_redrawn_and_then_gone") {
        return;
    }
    let c = slow_to_stop().started();
    let mut stop = attach(&c, &["stop", &c.id]);
    for _ in 0..2 {
        stop.terminal.expect("\rpreStop exec /bin/sh ");
        stop.terminal.expect("s of 600s [");
        stop.terminal.expect("]\u{1b}[K");
    }
    go(&c);
    stop.terminal.expect("\r\u{1b}[K");
    stop.terminal.expect(": stopped after ");
    assert!(stop.child.wait().unwrap().success());
}

#[test]
fn without_a_terminal_a_long_wait_has_a_line_at_its_start_and_one_at_its_end() {
    let c = slow_to_stop().started();
    let stop = c.spawn(&["stop", &c.id]);
    let begin = format!("bookend: {}: waiting for preStop exec /bin/sh, 600s at most\n", c.id);
    c.wait_for("the first line", |_| stop.printed() == begin);
    go(&c);
    let printed = stop.wait().ok().stdout;
    let rest = printed.strip_prefix(&begin).unwrap();
    assert!(rest.starts_with(&format!("bookend: {}: preStop exec /bin/sh: over after ", c.id)), "{printed}");
    assert_eq!(printed.lines().count(), 3, "{printed}");
}

#[test]
fn a_start_that_waits_for_post_start_says_so_unless_it_is_not_to() {
    let logs = ["--log", "LOG", "--log-format", "json"];
    for (flags, speaks) in [(&[][..], true), (&["--quiet"], false), (&logs[..2], false), (&logs, false)] {
        let c = Fixture::busybox().hook("postStart", "sleep 4");
        c.create().ok();
        let log = c.scratch.path().join("log");
        let flags = flags.iter().map(|flag| if *flag == "LOG" { log.to_str().unwrap() } else { flag });
        let output = c.call(&flags.chain(["start", &c.id]).collect::<Vec<_>>()).ok();
        assert_eq!(output.stderr.contains("waiting for postStart exec /bin/sh\n"), speaks, "{output:?}");
        assert!(speaks || output.stderr.is_empty(), "{output:?}");
        assert_eq!(fs::read_to_string(&log).unwrap_or_default(), "", "callers read that as messages");
    }
}

#[test]
fn a_short_wait_says_nothing() {
    let c = Fixture::busybox().hook("postStart", "true").hook("preStop", "true");
    assert_eq!(c.create().ok().stderr, "");
    let begun = Instant::now();
    let said = c.verb("start").ok().stderr;
    // On a loaded machine it is not short.
    assert!(said.is_empty() || begun.elapsed() > Duration::from_secs(1), "{said}");
}
