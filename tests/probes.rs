//! httpGet and tcpSocket from the container's own network (lifecycle.md 4.2 and 4.3).

mod common;

use std::process::Command;

use common::{Fixture, is_root, needs_root};
use serde_json::{Value, json};

/// A container with a network of its own in which busybox's httpd listens on an address and port, or on a port of all addresses.
fn server(address: &str) -> Fixture {
    Fixture::busybox().own_network().entrypoint(["/bin/busybox", "httpd", "-f", "-v", "-p", address, "-h", "/tmp"])
}

/// postStart by httpGet, asked again until the server listens.
fn warm(c: Fixture, get: Value) -> Fixture {
    patient(c.handler("postStart", json!({ "httpGet": get })))
}

fn patient(c: Fixture) -> Fixture {
    c.policy("postStart", "retries", json!(100)).policy("postStart", "retryDelaySeconds", json!(0.1))
}

/// Ends a container that ignores the stop signal, as httpd does when it is PID 1.
fn end(c: &Fixture) {
    c.verb("kill").ok();
    c.call(&["kill", &c.id, "KILL"]).ok();
    c.wait_for_phase("Stopped");
}

#[test]
fn x_h01_an_image_without_any_http_client_is_asked_by_bookend_itself() {
    let c = warm(server("8080"), json!({"path": "/", "port": 8080}));
    // Nothing but the server: no shell, no wget.
    for dir in ["bin", "sbin", "usr/bin", "usr/sbin"] {
        for entry in std::fs::read_dir(c.rootfs().join(dir)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "busybox" {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    }
    let c = c.started();
    assert_eq!(c.status(), "running");
    end(&c);
}

#[test]
fn x_h02_the_request_is_made_in_the_containers_network() {
    // The same port of the host is another server's, or nobody's.
    let c = warm(server("127.0.0.1:8080"), json!({"path": "/", "port": 8080, "host": "127.0.0.1"}))
        .shell("echo here > /tmp/index.html; exec busybox httpd -f -v -p 127.0.0.1:8080 -h /tmp > /tmp/log 2>&1")
        .started();
    c.wait_for("the request in the server's log", |c| c.read("/tmp/log").contains("response:200"));
    end(&c);
}

#[test]
fn x_h03_without_an_address_loopback_is_asked_and_a_warning_is_told() {
    let c = warm(server("8080"), json!({"path": "/", "port": 8080})).started();
    let event = c.event("LifecycleLoopback");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["message"], "the container has no address; using loopback, which Kubernetes would not do");
    end(&c);
}

/// Runs ip(8) of busybox in the network of a container, from the host.
fn ip(c: &Fixture, words: &str) {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", c.pid())).args(["busybox", "ip"]).args(words.split(' '));
    let done = command.output().unwrap();
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Gives a created container an address, which it has from then on.
fn with_address(c: &Fixture, address: &str) {
    c.create().ok();
    let host = |words: &str| {
        let done = Command::new("ip").args(words.split(' ')).output().unwrap();
        assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
    };
    // Both ends in the container's network: nothing is left on the host.
    let name = format!("p{}", c.pid());
    host(&format!("link add {name}a netns {} type veth peer name {name}b netns {}", c.pid(), c.pid()));
    ip(c, &format!("link set {name}a up"));
    ip(c, &format!("link set {name}b up"));
    ip(c, &format!("addr add {address} dev {name}a"));
}

#[test]
fn x_h03_the_address_of_the_container_is_asked_so_that_a_server_on_loopback_alone_is_found_out() {
    if !needs_root("x_h03_the_address_of_the_container_is_asked_so_that_a_server_on_loopback_alone_is_found_out") {
        return;
    }
    let c = server("127.0.0.1:8080")
        .handler("postStart", json!({"httpGet": {"path": "/", "port": 8080}}))
        .policy("postStart", "retries", json!(5))
        .policy("postStart", "retryDelaySeconds", json!(0.1))
        .grace(0);
    with_address(&c, "10.77.0.2/24");
    c.verb("start").fails(1).says("PostStartHook failed: connection failed");
    assert_eq!(c.event("FailedPostStartHook")["message"], "PostStartHook failed: connection failed");
    assert!(!c.reasons().contains(&"LifecycleLoopback".to_owned()));

    let c = warm(server("8080"), json!({"path": "/", "port": 8080}));
    with_address(&c, "10.77.0.2/24");
    c.verb("start").ok();
    assert!(!c.reasons().contains(&"LifecycleLoopback".to_owned()));
    end(&c);
}

#[test]
fn x_h04_a_host_is_used_as_it_stands_by_name_or_ipv6_address() {
    for (listen, host) in [("127.0.0.1:8080", "localhost"), ("[::1]:8080", "::1")] {
        let c = warm(server(listen), json!({"path": "/", "port": 8080, "host": host})).started();
        assert!(!c.reasons().contains(&"LifecycleLoopback".to_owned()));
        end(&c);
    }
}

#[test]
fn x_h05_loopback_is_up_in_a_new_network_namespace() {
    let c = Fixture::busybox().own_network().shell("ip link show lo; ping -c 1 -W 5 127.0.0.1 > /dev/null && echo up");
    c.run().says("LOOPBACK,UP");
}

#[test]
fn x_h07_a_named_port_of_a_pod_is_its_container_port() {
    let c = server("8080");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "annotations": {
            "bookend/post-start.retries": "100", "bookend/post-start.retry-delay": "0.1"
        }},
        "spec": {"containers": [{
            "name": "web", "image": "x", "ports": [{"name": "http", "containerPort": 8080}],
            "lifecycle": {"postStart": {"httpGet": {"path": "/", "port": "http"}}}
        }]}
    });
    let file = c.scratch.path().join("pod.json");
    std::fs::write(&file, pod.to_string()).unwrap();
    let c = c.flag("--pod").flag(file.to_str().unwrap()).started();
    assert_eq!(c.state()["hooks"]["postStart"]["state"], "Succeeded");
    end(&c);
}

#[test]
fn x_h15_to_h17_any_response_succeeds_unless_the_policy_is_stricter() {
    let c = warm(server("8080"), json!({"path": "/missing", "port": 8080})).started();
    let event = c.event("LifecycleHTTPStatus");
    assert_eq!(event["message"], "postStart got HTTP 404; Kubernetes counts this as success");
    assert_eq!(c.state()["hooks"]["postStart"]["state"], "Succeeded");
    end(&c);

    let c = server("8080")
        .handler("postStart", json!({"httpGet": {"path": "/missing", "port": 8080}}))
        .policy("postStart", "successStatus", json!("2xx-3xx"))
        .policy("postStart", "onFailure", json!("ignore"));
    let c = c.policy("postStart", "retries", json!(10)).policy("postStart", "retryDelaySeconds", json!(0.5)).started();
    assert_eq!(c.event("FailedPostStartHook")["message"], "PostStartHook failed: HTTP status 404 (ignored)");
    end(&c);
}

#[test]
fn x_h21_a_refused_connection_is_told_with_a_hint() {
    let c = Fixture::busybox().own_network().handler("postStart", json!({"httpGet": {"path": "/warm", "port": 8081}}));
    c.run_detached().fails(125);
    let c = c.policy("postStart", "onFailure", json!("ignore")).started();
    let error = c.state()["hooks"]["postStart"]["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("HTTP lifecycle hook (/warm) for Container "), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
    assert!(error.ends_with("(the ENTRYPOINT may not be listening yet; Kubernetes does not retry either)"), "{error}");
    assert_eq!(c.event("FailedPostStartHook")["message"], "PostStartHook failed: connection failed (ignored)");
}

#[test]
fn x_h22_a_server_that_never_answers_takes_pre_stop_to_the_end_of_its_budget() {
    let c = Fixture::busybox()
        .own_network()
        .shell("trap 'exit 0' TERM; sleep 3600 | nc -l -p 8080 > /tmp/request & while :; do sleep 0.1; done")
        .handler("preStop", json!({"httpGet": {"path": "/drain", "port": 8080}}))
        .grace(2)
        .started();
    c.wait_for("the server", |c| c.exec("netstat -ltn").stdout.contains(":8080"));
    c.stop().ok();
    assert!(c.read("/tmp/request").starts_with("GET /drain HTTP/1.1"), "{}", c.read("/tmp/request"));
    c.event("PreStopHookTimedOut");
    let waited = c.between("StopRequested", "SignalSent");
    assert!((2.0..6.0).contains(&waited), "{waited}");
}

#[test]
fn h11_x_h22_a_tls_handshake_that_is_never_answered_ends_at_the_hooks_deadline() {
    let c = Fixture::busybox()
        .own_network()
        .shell("trap 'exit 0' TERM; sleep 3600 | nc -l -p 8443 > /tmp/request & while :; do sleep 0.1; done")
        .handler("preStop", json!({"httpGet": {"port": 8443, "scheme": "HTTPS"}}))
        .policy("preStop", "timeoutSeconds", json!(3))
        .started();
    c.wait_for("the server", |c| c.exec("netstat -ltn").stdout.contains(":8443"));
    c.stop().ok();
    assert_eq!(c.state()["hooks"]["preStop"]["state"], "TimedOut");
    assert_eq!(c.event("FailedPreStopHook")["message"], "PreStopHook failed: timed out after 3s");
    let waited = c.between("StopRequested", "FailedPreStopHook");
    assert!((3.0..7.0).contains(&waited), "{waited}");
    let request = std::fs::read(c.rootfs().join("tmp/request")).unwrap();
    assert_eq!(request[..2], [22, 3], "a TLS handshake");
}

#[test]
fn x_t01_a_tcp_socket_hook_succeeds_when_the_connection_is_made() {
    let c = patient(server("8080").handler("postStart", json!({"tcpSocket": {"port": 8080}})));
    let output = c.run_detached().ok();
    // X-T02
    output.says("tcpSocket hooks are accepted by the Kubernetes API but always fail at run time");
    assert_eq!(c.state()["hooks"]["postStart"]["handler"], "tcpSocket");
    end(&c);

    let c = Fixture::busybox()
        .own_network()
        .handler("postStart", json!({"tcpSocket": {"port": 8081}}))
        .policy("postStart", "onFailure", json!("ignore"))
        .started();
    let error = c.state()["hooks"]["postStart"]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("Connection refused"), "{error}");
}

#[test]
fn the_hosts_network_is_asked_on_loopback() {
    // X-H03, last sentence. Rootless has no network of its own by default.
    let c = if is_root() { Fixture::busybox().without_namespace("network") } else { Fixture::busybox() };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let c = c.entrypoint(["/bin/busybox", "httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h", "/tmp"]);
    let c = warm(c, json!({"path": "/", "port": port})).started();
    assert!(!c.reasons().contains(&"LifecycleLoopback".to_owned()));
    end(&c);
}
