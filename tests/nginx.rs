//! A real program: Debian's nginx, started by an httpGet hook, drained by `nginx -s quit`, stopped by SIGQUIT.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::{Fixture, Scratch, catches, is_root, repository};
use serde_json::{Value, json};

/// The fixture with the configuration that scripts/mkbundle gives to its nginx bundle, as root or rootless.
fn nginx() -> Fixture {
    let scratch = Scratch::new();
    let dir = scratch.path().join("config");
    let mut make = std::process::Command::new(repository().join("scripts/mkbundle"));
    make.args(["nginx", dir.to_str().unwrap(), "--config-only"]).args((!is_root()).then_some("--rootless"));
    fs::create_dir(&dir).unwrap();
    let made = make.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let config: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    Fixture::nginx().with(|own| *own = config)
}

fn ready_made(c: Fixture, file: &str) -> Fixture {
    let path = repository().join("hooks").join(file);
    c.flag("--lifecycle").flag(path.to_str().unwrap())
}

/// What the container's nginx answers to a request for `/`.
fn ask(c: &Fixture) -> String {
    c.exec("wget -q -O - http://127.0.0.1:8080/").ok().stdout
}

#[test]
fn the_ready_made_lifecycle_starts_and_drains_nginx() {
    let c = ready_made(nginx(), "nginx.yaml").started();
    assert_eq!(c.status(), "running");
    assert!(ask(&c).contains("Hello from nginx"), "{}", ask(&c));
    c.stop().ok().says("exit code 0");
    // The master ends within `nginx -s quit` or right after it.
    let hooks = c.state()["hooks"].clone();
    assert_eq!(hooks["postStart"]["state"], "Succeeded");
    let pre_stop = hooks["preStop"]["state"].as_str().unwrap();
    assert!(["Succeeded", "Interrupted"].contains(&pre_stop), "{hooks}");
    assert!(!c.reasons().contains(&"SigkillSent".to_owned()), "{:?}", c.reasons());
}

#[test]
fn sigquit_is_the_stop_signal_that_the_image_names() {
    let c =
        nginx().handler("postStart", json!({"tcpSocket": {"port": 8080}})).policy("postStart", "retries", json!(50));
    let c = c.policy("postStart", "retryDelaySeconds", json!(0.1)).started();
    // Its handlers come after its socket, and its worker after them.
    let pid = c.pid();
    let children = || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    c.wait_for("its worker", |_| catches(pid, libc::SIGQUIT) && !children().is_empty());
    c.stop().ok().says("exit code 0");
    assert_eq!(c.event("SignalSent")["signal"], "SIGQUIT");
}

#[test]
fn a_request_in_flight_is_finished_by_the_drain() {
    let c = ready_made(nginx(), "nginx.yaml");
    let port = 18_000 + (std::process::id() % 1000) as u16;
    // Reached from the host through a network that is the host's: no address has to be made for it.
    let c = c.without_namespace("network");
    let conf = c.rootfs().join("etc/nginx/nginx.conf");
    let text = fs::read_to_string(&conf).unwrap().replace("listen 8080;", &format!("listen {port}; limit_rate 400k;"));
    fs::write(&conf, text).unwrap();
    let body = vec![b'x'; 1_000_000];
    fs::write(c.rootfs().join("var/www/html/big"), &body).unwrap();
    fs::set_permissions(c.rootfs().join("var/www/html/big"), fs::Permissions::from_mode(0o644)).unwrap();
    let lifecycle = fs::read_to_string(repository().join("hooks/nginx.yaml")).unwrap();
    let lifecycle = lifecycle.replace("containerPort: 8080", &format!("containerPort: {port}"));
    let own = c.scratch.path().join("nginx.yaml");
    fs::write(&own, lifecycle).unwrap();
    let mut c = c;
    c.flags = vec!["--lifecycle".into(), own.to_str().unwrap().into()];
    // A sysfs and the devices of the host's network need no network namespace only where it is bound.
    c.config["mounts"].as_array_mut().unwrap().iter_mut().filter(|mount| mount["destination"] == "/sys").for_each(|mount| {
        *mount = json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
    });
    let c = c.started();
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    connection.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut begun = [0; 1000];
    connection.read_exact(&mut begun).unwrap();
    let stop = c.spawn(&["stop", &c.id]);
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).unwrap();
    let whole = begun.len() + rest.len();
    assert!(whole > body.len(), "{whole} bytes of {} arrived", body.len());
    assert_eq!(stop.wait().code, 0);
    assert_eq!(c.state()["exit"]["code"], 0);
    // While it was being drained nobody was let in any more.
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn the_ready_made_wait_for_port_holds_running_back_until_something_listens() {
    let c = ready_made(Fixture::busybox(), "wait-for-port.yaml")
        .shell("sleep 1; date +%s.%N > /listens; exec busybox httpd -f -p 127.0.0.1:8080");
    // The host's port 8080 may be somebody else's.
    let c = if is_root() {
        c
    } else {
        c.with(|config| config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "network"})))
    };
    let c = c.started();
    assert!(!c.read("/listens").is_empty(), "running before anything listened");
    c.call(&["stop", "--grace", "0", &c.id]).ok();
}

#[test]
fn the_ready_made_sleep_before_stop_waits_before_the_signal() {
    let c = ready_made(Fixture::busybox(), "sleep-before-stop.yaml").started();
    c.stop().ok().says("exit code 0");
    let waited = c.between("StopRequested", "SignalSent");
    assert!((5.0..20.0).contains(&waited), "{waited}");
}

#[test]
fn x_h08_to_h10_https_hooks_by_annotation_are_answered_with_a_certificate_that_nobody_verifies() {
    let c = nginx();
    let certificate = rcgen::generate_simple_self_signed(vec!["elsewhere.example".to_owned()]).unwrap();
    let etc = c.rootfs().join("etc/nginx");
    fs::write(etc.join("cert.pem"), certificate.cert.pem()).unwrap();
    fs::write(etc.join("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
    let conf = fs::read_to_string(etc.join("nginx.conf")).unwrap();
    let tls = "listen 8443 ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem; \
               access_log /var/tmp/access.log; listen 8080;";
    fs::write(etc.join("nginx.conf"), conf.replace("listen 8080;", tls)).unwrap();
    let c = c.annotation("bookend/post-start.http", "https://:8443/warm");
    let c = c.annotation("bookend/post-start.retries", "100").annotation("bookend/post-start.retry-delay", "0.1");
    // The other port speaks no TLS: nginx says so in plain HTTP, and is asked again.
    let c = c.annotation("bookend/pre-stop.http", "https://:8080/drain").started();
    assert_eq!(c.state()["hooks"]["postStart"]["state"], "Succeeded");
    c.stop().ok();
    assert_eq!(c.state()["hooks"]["preStop"]["state"], "Succeeded");
    let event = c.event("LifecycleHTTPFallback");
    let message = event["message"].as_str().unwrap();
    assert!(message.ends_with(":8080 got HTTP response, retry with HTTP succeeded"), "{message}");
    let log = c.read("/var/tmp/access.log");
    let asked = |path: &str| log.lines().any(|line| line.contains(&format!("\"GET {path} HTTP/1.1\"")));
    assert!(asked("/warm") && asked("/drain"), "{log}");
}
