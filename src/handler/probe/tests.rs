use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::*;

mod https;

/// What a server does on one connection, after it has read the request's head.
type Behaviour = Box<dyn FnOnce(&mut TcpStream) + Send>;

/// A listener that takes one connection for each behaviour, one after the other.
struct Server {
    port: u16,
    thread: JoinHandle<Vec<String>>,
}

impl Server {
    fn new(behaviours: Vec<Behaviour>) -> Server {
        Server::on(TcpListener::bind("127.0.0.1:0").unwrap(), behaviours)
    }

    fn on(listener: TcpListener, behaviours: Vec<Behaviour>) -> Server {
        let port = listener.local_addr().unwrap().port();
        let thread = thread::spawn(move || {
            let serve = |behaviour: Behaviour| {
                let (mut stream, _) = listener.accept().unwrap();
                let request = read_request(&mut stream);
                behaviour(&mut stream);
                request
            };
            behaviours.into_iter().map(serve).collect()
        });
        Server { port, thread }
    }

    fn answering(answers: &[&str]) -> Server {
        Server::new(answers.iter().map(|answer| says(*answer)).collect())
    }

    /// The heads of all requests.
    fn requests(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn read_request(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

fn says(bytes: impl Into<Vec<u8>>) -> Behaviour {
    let bytes = bytes.into();
    // A client that has seen enough closes the connection.
    Box::new(move |stream| drop(stream.write_all(&bytes)))
}

fn resets(stream: &mut TcpStream) {
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&*stream, sockopt::Linger, &at_once).unwrap();
}

fn status(status: u16) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")
}

fn redirect(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

fn get(port: u16) -> HttpGet {
    HttpGet { scheme: Scheme::Http, host: Some("127.0.0.1".into()), port, path: "/".into(), headers: Vec::new() }
}

fn probe(handler: Handler) -> Result<Success, Failure> {
    run(&handler, SuccessStatus::Any, Hook::PreStop, "web", "1.34", false, || Ok(()))
}

fn probe_get(get: HttpGet) -> Result<Success, Failure> {
    probe(Handler::HttpGet(get))
}

fn failed(error: &str) -> Result<Success, Failure> {
    let error = format!("HTTP lifecycle hook (/) for Container \"web\" failed - error: {error}");
    Err(Failure { class: "connection failed".into(), error, ..Failure::default() })
}

fn succeeded(status: u16) -> Result<Success, Failure> {
    judge(status, SuccessStatus::Any, Hook::PreStop).map_err(Problem::of_tcp)
}

/// A port of 127.0.0.1 at which nobody listens, held by a bound socket so that no other test gets it.
fn closed_port() -> (impl Drop, u16) {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    use std::os::fd::AsRawFd;
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let port = getsockname::<SockaddrIn>(socket.as_raw_fd()).unwrap().port();
    (socket, port)
}

#[test]
fn x_h01_x_h13_bookend_itself_sends_exactly_this_request() {
    let server = Server::answering(&[&status(200)]);
    let port = server.port;
    let path = "healthz?full".into();
    assert_eq!(probe_get(HttpGet { path, ..get(port) }), succeeded(200));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        server.requests(),
        [format!(
            "GET /healthz?full HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: kube-lifecycle/1.34 bookend/{version}\r\n\
             Accept: */*\r\nAccept-Encoding: gzip\r\n\r\n"
        )]
    );
}

#[test]
fn x_h02_the_namespaces_are_joined_after_the_resolver_and_before_the_connection() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let port = server.local_addr().unwrap().port();
    let tcp = |host: &str| Handler::TcpSocket { host: Some(host.into()), port };
    let mut joined = false;
    let handler = tcp("localhost");
    let result = run(&handler, SuccessStatus::Any, Hook::PreStop, "web", "1.34", true, || {
        joined = true;
        assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        Ok(())
    });
    assert_eq!(result, Ok(Success::default()));
    assert!(joined);
    server.accept().unwrap();

    let nowhere = tcp(&"x".repeat(300));
    let result =
        run(&nowhere, SuccessStatus::Any, Hook::PreStop, "web", "1.34", true, || panic!("joined for an unknown name"));
    assert!(result.unwrap_err().error.starts_with("resolve xxx"));
}

#[test]
fn x_h02_an_attempt_that_cannot_join_connects_nowhere() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let handler = Handler::HttpGet(get(server.local_addr().unwrap().port()));
    let result =
        run(&handler, SuccessStatus::Any, Hook::PreStop, "web", "1.34", true, || anyhow::bail!("setns: not permitted"));
    assert_eq!(result, failed("setns: not permitted"));
    assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn x_h03_without_a_host_the_hosts_network_means_loopback() {
    let server = Server::answering(&[&status(200)]);
    let port = server.port;
    assert_eq!(probe_get(HttpGet { host: None, ..get(port) }), succeeded(200));
    assert!(server.requests()[0].contains(&format!("\r\nHost: 127.0.0.1:{port}\r\n")));
}

#[test]
fn x_h04_x_h06_the_host_line_names_host_and_port_as_given() {
    assert_eq!(host_line("example.com", 80), "example.com:80");
    assert_eq!(host_line("::1", 8080), "[::1]:8080");
    assert_eq!(host_line("fe80::1%eth0", 80), "[fe80::1]:80");
    let server = Server::answering(&[&status(200)]);
    let port = server.port;
    assert_eq!(probe_get(HttpGet { host: Some("localhost".into()), ..get(port) }), succeeded(200));
    assert!(server.requests()[0].contains(&format!("\r\nHost: localhost:{port}\r\n")));
}

#[test]
fn x_h04_an_ipv6_literal_is_written_without_brackets() {
    // Not every machine has IPv6; the error tells which address was meant.
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        let error = probe_get(HttpGet { host: Some("::1".into()), ..get(9) }).unwrap_err().error;
        return assert!(error.contains("error: connect to [::1]:9: "), "{error}");
    };
    let server = Server::on(listener, vec![says(status(200))]);
    let port = server.port;
    assert_eq!(probe_get(HttpGet { host: Some("::1".into()), ..get(port) }), succeeded(200));
    assert!(server.requests()[0].contains(&format!("\r\nHost: [::1]:{port}\r\n")));
}

#[test]
fn x_h11_a_server_that_speaks_tls_is_a_failure_unless_it_answers_in_http() {
    let server = Server::new(vec![says(&b"\x15\x03\x01\x00\x02\x02\x16"[..])]);
    assert_eq!(probe_get(get(server.port)), failed("malformed HTTP response: the server speaks TLS"));
    let server =
        Server::answering(&["HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"]);
    assert_eq!(probe_get(get(server.port)), succeeded(400));
}

#[test]
fn x_h12_a_path_that_leads_nowhere_is_an_invalid_handler() {
    let failure = probe_get(HttpGet { path: "mailto:x\r\n".into(), ..get(1) });
    assert!(failure.is_err());
    let failure = probe_get(HttpGet { path: "mailto:x".into(), ..get(1) }).unwrap_err();
    assert_eq!(failure.class, "invalid handler");
}

#[test]
fn x_h14_a_host_header_replaces_the_line_and_never_the_address() {
    let server = Server::answering(&[&status(200)]);
    let headers = vec![("Host".into(), "elsewhere.example".into()), ("X-A".into(), "1".into())];
    assert_eq!(probe_get(HttpGet { headers, ..get(server.port) }), succeeded(200));
    let requests = server.requests();
    assert!(requests[0].starts_with("GET / HTTP/1.1\r\nHost: elsewhere.example\r\nUser-Agent: "), "{requests:?}");
    assert_eq!(requests[0].matches("Host:").count(), 1);
}

#[test]
fn s22_a_header_value_is_in_no_error() {
    let headers = vec![("X-Token".into(), "secret\r\nX-B: 1".into())];
    let failure = probe_get(HttpGet { headers, ..get(1) }).unwrap_err();
    assert_eq!(failure.class, "invalid handler");
    assert!(!failure.error.contains("secret") && failure.error.contains("X-Token"), "{failure:?}");
}

#[test]
fn x_h15_x_h16_x_h17_h12_what_each_status_means() {
    let ok = |status: u16| succeeded(status);
    for code in
        [200, 201, 204, 206, 299, 300, 301, 304, 305, 307, 399, 400, 401, 404, 429, 499, 500, 503, 599, 999, 101]
    {
        let server = Server::answering(&[&status(code), &status(code)]);
        let handler = Handler::HttpGet(get(server.port));
        let any = probe(handler.clone());
        assert_eq!(any, ok(code));
        let any = any.unwrap();
        assert_eq!(any.detail, Some(code.to_string()));
        let messages: Vec<_> = any.notices.iter().map(|notice| (&*notice.reason, &*notice.message)).collect();
        let message = format!("preStop got HTTP {code}; Kubernetes counts this as success");
        let expected = if code >= 400 { vec![("LifecycleHTTPStatus", &*message)] } else { vec![] };
        assert_eq!(messages, expected);

        let strict = run(&handler, SuccessStatus::Below400, Hook::PostStart, "web", "1.34", false, || Ok(()));
        if (200..400).contains(&code) {
            assert_eq!(strict, ok(code));
        } else {
            let failure = strict.unwrap_err();
            assert_eq!(failure.class, format!("HTTP status {code}"));
            let text = "HTTP lifecycle hook (/) for Container \"web\" failed - error: HTTP status";
            assert_eq!(failure.error, format!("{text} {code}"));
        }
        server.requests();
    }
}

#[test]
fn h12_informational_responses_before_the_answer_are_skipped() {
    let answer = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{}", status(500));
    assert_eq!(probe_get(get(Server::answering(&[&answer]).port)), succeeded(500));
}

#[test]
fn x_h18_a_redirect_to_the_same_host_name_is_followed() {
    for code in [301, 302, 303, 307, 308] {
        let server = Server::answering(&[&redirect(code, "b?x=1#part"), &redirect(code, "/c"), &status(404)]);
        let port = server.port;
        assert_eq!(probe_get(HttpGet { path: "/a/a".into(), ..get(port) }), succeeded(404));
        let requests = server.requests();
        let lines: Vec<_> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
        assert_eq!(lines, ["GET /a/a HTTP/1.1", "GET /a/b?x=1 HTTP/1.1", "GET /c HTTP/1.1"]);
        assert!(!requests[0].contains("Referer"));
        assert!(requests[1].contains(&format!("\r\nReferer: http://127.0.0.1:{port}/a/a\r\n")));
        assert!(requests[2].contains(&format!("\r\nReferer: http://127.0.0.1:{port}/a/b?x=1\r\n")));
    }
}

#[test]
fn x_h18_a_redirect_may_name_another_port_which_gets_no_credentials() {
    let headers: Vec<_> = [("Authorization", "secret"), ("Cookie", "secret"), ("X-A", "1"), ("Host", "own")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let first_port = listener.local_addr().unwrap().port();
    // Back to the first port: what was dropped stays dropped.
    let second = Server::answering(&[&redirect(302, &format!("http://127.0.0.1:{first_port}/back"))]);
    let second_port = second.port;
    let away = redirect(302, &format!("http://127.0.0.1:{second_port}/away"));
    let first = Server::on(listener, vec![says(redirect(302, "/same")), says(away), says(status(200))]);
    assert_eq!(probe_get(HttpGet { headers, ..get(first_port) }), succeeded(200));
    let (first, second) = (first.requests(), second.requests());
    for with in [&first[0], &first[1]] {
        assert_eq!(with.matches("secret").count(), 2, "{with}");
        assert!(with.contains("\r\nHost: own\r\n"), "{with}");
    }
    for (without, port) in [(&second[0], second_port), (&first[2], first_port)] {
        assert!(!without.contains("secret") && without.contains("\r\nX-A: 1\r\n"), "{without}");
        assert!(without.contains(&format!("\r\nHost: 127.0.0.1:{port}\r\n")), "{without}");
    }
}

#[test]
fn x_h18_the_eleventh_request_is_not_made() {
    let round = redirect(302, "/again");
    let server = Server::answering(&[&*round; 10]);
    assert_eq!(probe_get(get(server.port)), failed("stopped after 10 redirects"));
    assert_eq!(server.requests().len(), 10);

    let mut answers = vec![&*round; 9];
    let last = status(200);
    answers.push(&last);
    assert_eq!(probe_get(get(Server::answering(&answers).port)), succeeded(200));
}

#[test]
fn x_h19_s23_a_redirect_elsewhere_or_nowhere_is_a_success_and_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    for answer in [
        redirect(302, &format!("http://localhost:{port}/")),
        redirect(307, &format!("//127.0.0.2:{port}/")),
        redirect(301, &format!("http://127.0.0.1@127.0.0.2:{port}/")),
        redirect(301, &format!("https://127.0.0.2:{port}/")),
        redirect(301, "mailto:x"),
        redirect(301, "http:///x"),
        redirect(301, ""),
        status(301),
        redirect(300, &format!("http://127.0.0.1:{port}/")),
        redirect(304, &format!("http://127.0.0.1:{port}/")),
        redirect(305, &format!("http://127.0.0.1:{port}/")),
    ] {
        let server = Server::answering(&[&answer]);
        let result = probe_get(get(server.port));
        let code = answer[9..12].parse().unwrap();
        assert_eq!(result, succeeded(code), "{answer}");
        assert_eq!(server.requests().len(), 1);
    }
    assert_eq!(elsewhere.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn s23_a_redirect_that_cannot_be_followed_is_a_failure() {
    for (location, why) in [
        ("ftp://127.0.0.1/", "redirect to ftp, which is neither http nor https"),
        ("http://127.0.0.1:99999/", "redirect to an invalid port"),
        ("http://127.0.0.1:x/", "redirect with an invalid Location: invalid port after host"),
        ("/%zz", "redirect with an invalid Location: invalid URL escape"),
    ] {
        assert_eq!(probe_get(get(Server::answering(&[&redirect(302, location)]).port)), failed(why));
    }
}

#[test]
fn x_h20_a_body_is_waited_for_and_its_cut_off_is_no_failure() {
    let (go, goes) = mpsc::channel();
    let server = Server::new(vec![Box::new(move |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345").unwrap();
        goes.recv().unwrap();
        resets(stream);
    })]);
    let (done, is_done) = mpsc::channel();
    let port = server.port;
    let probe = thread::spawn(move || done.send(probe_get(get(port))));
    assert!(is_done.recv_timeout(Duration::from_millis(200)).is_err(), "the rest of the body was not waited for");
    go.send(()).unwrap();
    assert_eq!(is_done.recv().unwrap(), succeeded(200));
    probe.join().unwrap().unwrap();
}

#[test]
fn x_h20_a_body_known_to_be_long_is_not_waited_for() {
    let (go, goes) = mpsc::channel();
    let server = Server::new(vec![Box::new(move |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10241\r\n\r\n").unwrap();
        goes.recv().unwrap();
    })]);
    assert_eq!(probe_get(get(server.port)), succeeded(200));
    go.send(()).unwrap();
    server.requests();
}

#[test]
fn x_h21_x_h23_a_refused_connection_fails_with_the_systems_text() {
    let (_held, port) = closed_port();
    let refused = format!("connect to 127.0.0.1:{port}: Connection refused (os error 111)");
    assert_eq!(probe_get(get(port)), failed(&refused));
    let handler = Handler::HttpGet(HttpGet { path: "/a\n?x".into(), ..get(port) });
    let failure = run(&handler, SuccessStatus::Any, Hook::PostStart, "web", "1.34", false, || Ok(())).unwrap_err();
    assert_eq!(
        failure.error,
        format!(
            "HTTP lifecycle hook (/a ?x) for Container \"web\" failed - error: {refused} \
             (the ENTRYPOINT may not be listening yet; Kubernetes does not retry either)"
        )
    );
    assert_eq!(failure.class, "connection failed");
}

#[test]
fn x_h21_h9_h10_bad_servers_are_failures() {
    let cases: Vec<(Behaviour, &str)> = vec![
        (says(""), "the connection was closed without a response"),
        (Box::new(resets), "read the response: Connection reset by peer (os error 104)"),
        (says("HTTP/1.1 200 OK\r\nX"), "malformed HTTP response: the connection was closed within its headers"),
        (says("garbage\r\n"), "malformed HTTP response: invalid HTTP version"),
        (says("\0".repeat(1 << 20)), "malformed HTTP response: its headers are longer than 64 KiB"),
        (
            says(format!("HTTP/1.1 200 {}", "x".repeat(1 << 20))),
            "malformed HTTP response: its headers are longer than 64 KiB",
        ),
        (
            says(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: 1\r\n".repeat(1_000_000))),
            "malformed HTTP response: it has more than 128 header lines",
        ),
        (says("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), "malformed HTTP response: bad Content-Length"),
    ];
    for (behaviour, why) in cases {
        assert_eq!(probe_get(get(Server::new(vec![behaviour]).port)), failed(why));
    }
}

#[test]
fn h9_a_response_that_comes_byte_by_byte_is_a_response() {
    let server = Server::new(vec![Box::new(|stream| {
        stream.set_nodelay(true).unwrap();
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\nfffffffffffffffff\r\n";
        bytes.chunks(1).for_each(|byte| drop(stream.write_all(byte)));
    })]);
    assert_eq!(probe_get(get(server.port)), succeeded(200));
}

#[test]
fn x_h22_a_server_that_never_answers_is_waited_for() {
    let (go, goes) = mpsc::channel::<()>();
    let server = Server::new(vec![Box::new(move |_| assert!(goes.recv().is_err()))]);
    let (done, is_done) = mpsc::channel();
    let port = server.port;
    let probe = thread::spawn(move || done.send(probe_get(get(port))));
    assert!(is_done.recv_timeout(Duration::from_millis(200)).is_err());
    drop(go);
    assert_eq!(is_done.recv().unwrap(), failed("the connection was closed without a response"));
    probe.join().unwrap().unwrap();
}

#[test]
fn x_t01_a_tcp_connection_is_opened_and_closed_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(probe(Handler::TcpSocket { host: None, port }), Ok(Success::default()));
    let (mut stream, _) = listener.accept().unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);

    let (_held, port) = closed_port();
    let failure = probe(Handler::TcpSocket { host: Some("127.0.0.1".into()), port }).unwrap_err();
    assert_eq!(failure.class, "connection failed");
    assert_eq!(failure.error, format!("connect to 127.0.0.1:{port}: Connection refused (os error 111)"));
}

#[test]
fn other_handlers_are_none_of_the_probes() {
    let failure = probe(Handler::Sleep { seconds: 1 }).unwrap_err();
    assert_eq!((failure.class.as_str(), failure.error.as_str()), ("invalid handler", "sleep is no network handler"));
}
