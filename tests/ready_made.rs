//! The lifecycles of hooks/ do what they say, each on a real container. (nginx.yaml: tests/nginx.rs.)

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::{Fixture, needs_root, repository};
use serde_json::json;

/// The fixture with a lifecycle of hooks/, in which some text is replaced: a port, a number of seconds.
fn ready_made(c: Fixture, file: &str, changes: &[(&str, &str)]) -> Fixture {
    let mut text = fs::read_to_string(repository().join("hooks").join(file)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{file} has no {from:?}");
        text = text.replace(from, to);
    }
    let path = c.scratch.path().join("ready-made.yaml");
    fs::write(&path, text).unwrap();
    c.flag("--lifecycle").flag(path.to_str().unwrap())
}

/// A container that shares the network of the host, where the test's servers are.
fn on_host() -> Fixture {
    Fixture::busybox().without_namespace("network")
}

fn env(c: Fixture, variables: &[(&str, &str)]) -> Fixture {
    c.with(|config| {
        let list = config["process"]["env"].as_array_mut().unwrap();
        list.extend(variables.iter().map(|(name, value)| json!(format!("{name}={value}"))));
    })
}

/// A server on the host's loopback, which the container shares: its port, and the requests that came (line, body).
fn server(answer: &'static str) -> (u16, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let mut length = 0;
            loop {
                let mut header = String::new();
                if reader.read_line(&mut header).unwrap() == 0 || header == "\r\n" {
                    break;
                }
                if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let _ = write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if send.send((line.trim().to_owned(), body)).is_err() {
                return;
            }
        }
    });
    (port, receive)
}

/// A port that nothing listens on (until someone takes it).
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn wait_for_port_is_running_when_something_listens() {
    let port = free_port().to_string();
    let c = Fixture::busybox().shell(&format!("sleep 2; exec nc -ll -p {port} -e true"));
    let c = ready_made(c, "wait-for-port.yaml", &[("8080", &port)]).started();
    let took = c.event("HookSucceeded")["durationMs"].as_u64().unwrap();
    assert!(took >= 700, "running after {took} ms, before anything listened");
    c.verb("state").ok().says("running");
    c.call(&["kill", &c.id, "KILL"]).ok();
}

#[test]
fn wait_for_database_executes_the_entrypoint_when_the_port_is_open() {
    let port = free_port();
    let changes = [("5432", port.to_string())];
    let changes: Vec<(&str, &str)> = changes.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let c = ready_made(on_host(), "wait-for-database.yaml", &changes);
    c.create().ok();
    let start = c.spawn(&["start", &c.id]);
    c.wait_for_event("HookRetrying");
    assert!(!c.reasons().contains(&"EntrypointExecuted".to_owned()));
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    start.wait().ok();
    c.event("EntrypointExecuted");
}

#[test]
fn warm_cache_is_running_when_the_cache_answers_well() {
    let (port, requests) = server("503 Cold");
    let c = ready_made(on_host(), "warm-cache.yaml", &[("8080", &port.to_string()), ("retries: 60", "retries: 2")]);
    c.create().ok();
    c.verb("start").fails(1).says("HTTP status 503");
    assert_eq!(requests.iter().take(3).filter(|(line, _)| line == "GET /warm HTTP/1.1").count(), 3);

    let (port, requests) = server("200 Warm");
    let c = ready_made(on_host(), "warm-cache.yaml", &[("8080", &port.to_string())]).started();
    assert_eq!(requests.recv_timeout(PATIENCE).unwrap().0, "GET /warm HTTP/1.1");
    assert_eq!(c.status(), "running");
}

#[test]
fn sleep_before_stop_gives_five_seconds() {
    let c = ready_made(Fixture::busybox(), "sleep-before-stop.yaml", &[("seconds: 5", "seconds: 1")]).started();
    c.stop().ok().says("exit code 0");
    assert!((1.0..4.0).contains(&c.between("Killing", "SignalSent")));
}

#[test]
fn deregister_tells_the_registry_before_the_stop_signal() {
    let (port, requests) = server("200 OK");
    let registry = format!("127.0.0.1:{port}");
    let c = env(on_host(), &[("REGISTRY", &registry), ("SERVICE_ID", "web-1"), ("LINGER", "0")]);
    let c = ready_made(c, "deregister.yaml", &[]).started();
    c.stop().ok().says("exit code 0");
    let (line, _) = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(line, "PUT /v1/agent/service/deregister/web-1 HTTP/1.0");
    assert_eq!(c.state()["hooks"]["preStop"]["state"], "Succeeded");
    c.verb("logs").ok().says("is out of 127.0.0.1");
}

#[test]
fn deregister_that_is_refused_says_why_and_stops_all_the_same() {
    let (port, _requests) = server("500 No");
    let registry = format!("127.0.0.1:{port}");
    let c = env(on_host(), &[("REGISTRY", &registry)]);
    let c = ready_made(c, "deregister.yaml", &[]).started();
    c.stop().ok().says("exit code 0");
    assert_eq!(c.state()["hooks"]["preStop"]["state"], "Failed");
    c.verb("logs").ok().says("500 No");
}

#[test]
fn refuse_new_work_waits_for_what_is_in_flight() {
    let c = ready_made(Fixture::busybox(), "refuse-new-work.yaml", &[]).started();
    fs::write(c.rootfs().join("tmp/in-flight"), "2\n").unwrap();
    let stop = c.spawn(&["stop", &c.id]);
    c.wait_for("the drain file", |c| c.rootfs().join("tmp/draining").exists());
    assert!(!c.reasons().contains(&"SignalSent".to_owned()));
    fs::write(c.rootfs().join("tmp/in-flight"), "0\n").unwrap();
    stop.wait().ok().says("exit code 0");
    assert_eq!(c.state()["hooks"]["preStop"]["state"], "Succeeded");
}

#[test]
fn upload_on_stop_flushes_before_the_signal_and_uploads_after_the_exit() {
    let (port, requests) = server("201 Created");
    let to = format!("127.0.0.1:{port}");
    let c = on_host().shell(
        "mkdir -p /var/spool/app
         trap 'echo flushed >> /var/spool/app/data; touch /tmp/flushed' USR1
         trap 'echo last >> /var/spool/app/data; exit 0' TERM
         touch /tmp/up
         while :; do sleep 0.05; done",
    );
    let c = ready_made(env(c, &[("UPLOAD_TO", &to)]), "upload-on-stop.yaml", &[]).started();
    c.wait_for("its traps", |c| c.rootfs().join("tmp/up").exists());
    c.stop().ok().says("exit code 0");
    let (line, body) = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(line, format!("PUT /{}.tar HTTP/1.0", c.id));
    let mut archive = tar::Archive::new(body.as_slice());
    let data = archive.entries().unwrap().map(Result::unwrap).find_map(|mut entry| {
        let mut text = String::new();
        entry.path().unwrap().ends_with("data").then(|| entry.read_to_string(&mut text).map(|_| text).unwrap())
    });
    assert_eq!(data.as_deref(), Some("flushed\nlast\n"));
    assert_eq!(c.state()["hooks"]["postStop"][0]["state"], "Succeeded");
}

#[test]
fn keep_dump_keeps_the_dump_of_a_crash_and_nothing_else() {
    for (by_signal, reason) in [(false, None), (true, Some("Error, exit code 137, SIGKILL\n"))] {
        let c = Fixture::busybox().shell("echo core > /tmp/core.7; while [ ! -e /go ]; do sleep 0.05; done; exit 3");
        let c = ready_made(c, "keep-dump.yaml", &[]).started();
        c.wait_for("the dump", |c| c.rootfs().join("tmp/core.7").exists());
        match by_signal {
            true => drop(c.call(&["kill", &c.id, "KILL"]).ok()),
            false => fs::write(c.rootfs().join("go"), "").unwrap(),
        }
        c.verb("wait").fails(if by_signal { 137 } else { 3 });
        let dumps = c.rootfs().join("dumps").join(&c.id);
        assert_eq!(dumps.join("core.7").exists(), by_signal, "{:?}", c.state());
        assert_eq!(fs::read_to_string(dumps.join("reason")).ok().as_deref(), reason);
    }
}

#[test]
fn keep_dump_keeps_the_heap_dump_of_an_oom_kill() {
    if !needs_root("keep_dump_keeps_the_heap_dump_of_an_oom_kill") {
        return;
    }
    let c = Fixture::busybox()
        .shell("echo heap > /tmp/1.hprof; while [ ! -e /go ]; do sleep 0.05; done; exec tail /dev/zero");
    let c = c.with(|config| config["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20, "swap": 16 << 20 }));
    let c = ready_made(c, "keep-dump.yaml", &[]).started();
    fs::write(c.rootfs().join("go"), "").unwrap();
    c.verb("wait").fails(137);
    let dumps = c.rootfs().join("dumps").join(&c.id);
    assert_eq!(fs::read_to_string(dumps.join("1.hprof")).unwrap(), "heap\n");
    assert!(fs::read_to_string(dumps.join("reason")).unwrap().starts_with("OOMKilled"));
}
