//! HTTPS (X-H08 to X-H11) against servers of the same library, and against some that are none (threats H11).

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use super::*;
use crate::lifecycle::notice::Kind;

/// What a server has to show: certificates, with the key of the first.
#[derive(Clone, Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn shown(names: &[&str], change: impl FnOnce(&mut CertificateParams), more: Vec<CertificateDer<'static>>) -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    change(&mut params);
    let mut chain = vec![params.self_signed(&key).unwrap().der().clone()];
    chain.extend(more);
    certified(chain, &key)
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Shown {
    let key = ring::sign::any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap();
    Shown(Arc::new(CertifiedKey::new(chain, key)))
}

fn valid() -> Shown {
    shown(&["localhost", "127.0.0.1"], |_| {}, vec![])
}

/// What a server heard on one connection.
struct Heard {
    request: String,
    server_name: Option<String>,
    alpn: bool,
    version: rustls::ProtocolVersion,
}

struct TlsServer {
    port: u16,
    thread: JoinHandle<Vec<Heard>>,
}

impl TlsServer {
    fn on(
        listener: TcpListener,
        shown: Shown,
        versions: &[&'static SupportedProtocolVersion],
        answers: &[String],
    ) -> TlsServer {
        let port = listener.local_addr().unwrap().port();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        let (config, answers) = (Arc::new(config), answers.to_vec());
        let serve = move |answer: String| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, listener.accept().unwrap().0);
            let request = read_request(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            Heard {
                request,
                server_name: stream.conn.server_name().map(str::to_owned),
                alpn: stream.conn.alpn_protocol().is_some(),
                version: stream.conn.protocol_version().unwrap(),
            }
        };
        TlsServer { port, thread: thread::spawn(move || answers.into_iter().map(serve).collect()) }
    }

    fn new(shown: Shown, answers: &[String]) -> TlsServer {
        TlsServer::on(TcpListener::bind("127.0.0.1:0").unwrap(), shown, &[&TLS12, &TLS13], answers)
    }

    fn heard(self) -> Vec<Heard> {
        self.thread.join().unwrap()
    }
}

/// A server that reads what there is, once a connection, and gives it with what it then does.
fn other(behaviours: Vec<Behaviour>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let serve = |behaviour: Behaviour| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = vec![0; 64 * 1024];
            let read = stream.read(&mut bytes).unwrap();
            behaviour(&mut stream);
            String::from_utf8_lossy(&bytes[..read]).into_owned()
        };
        behaviours.into_iter().map(serve).collect()
    });
    Server { port, thread }
}

fn byte_by_byte(text: &'static str) -> Behaviour {
    Box::new(|stream| {
        stream.set_nodelay(true).unwrap();
        for byte in text.bytes() {
            drop(stream.write_all(&[byte]));
            thread::sleep(Duration::from_millis(1)); // or the kernel makes one segment of them
        }
    })
}

fn https(port: u16) -> HttpGet {
    HttpGet { scheme: Scheme::Https, ..get(port) }
}

fn with_secrets(get: HttpGet) -> HttpGet {
    let headers = [("Authorization", "secret"), ("Cookie", "biscuit"), ("X-A", "1")];
    HttpGet { headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), ..get }
}

#[test]
fn x_h08_x_h09_a_request_by_https_is_the_same_and_no_certificate_is_verified() {
    let key = KeyPair::generate().unwrap();
    for (what, shown) in [
        ("a fitting one", valid()),
        ("another name", shown(&["elsewhere.example"], |_| {}, vec![])),
        ("expired", shown(&["localhost"], |params| params.not_after = date_time_ymd(1999, 1, 1), vec![])),
        ("not valid yet", shown(&["localhost"], |params| params.not_before = date_time_ymd(4000, 1, 1), vec![])),
        ("no certificate at all", certified(vec![CertificateDer::from(b"garbage".to_vec())], &key)),
        ("a long chain", shown(&["localhost"], |_| {}, vec![CertificateDer::from(vec![7; 1000]); 50])),
    ] {
        let server = TlsServer::new(shown, &[status(404)]);
        let port = server.port;
        assert_eq!(probe_get(HttpGet { path: "/a?b".into(), ..https(port) }), succeeded(404), "{what}");
        let heard = server.heard();
        let begin = format!("GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: kube-lifecycle/");
        assert!(heard[0].request.starts_with(&begin), "{}", heard[0].request);
    }
}

#[test]
fn x_h09_tls_1_2_and_1_3_are_spoken_without_alpn_and_a_name_is_told() {
    for (version, name) in [(&TLS12, rustls::ProtocolVersion::TLSv1_2), (&TLS13, rustls::ProtocolVersion::TLSv1_3)] {
        for (host, told) in [("localhost", Some("localhost")), ("127.0.0.1", None)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let server = TlsServer::on(listener, valid(), &[version], &[status(200)]);
            assert_eq!(probe_get(HttpGet { host: Some(host.into()), ..https(server.port) }), succeeded(200));
            let heard = server.heard();
            assert_eq!((heard[0].version, heard[0].server_name.as_deref()), (name, told));
            assert!(!heard[0].alpn);
        }
    }
}

#[test]
fn x_h10_a_server_that_answers_in_plain_http_is_asked_by_http_without_authorization() {
    for (answer, code) in [(status(200), 200), (status(404), 404)] {
        // However it is cut into segments.
        let server = other(vec![byte_by_byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), says(answer)]);
        let port = server.port;
        let success = probe_get(HttpGet { path: "/x".into(), ..with_secrets(https(port)) }).unwrap();
        assert_eq!(success.detail, Some(code.to_string()));
        let notice = &success.notices[0];
        assert_eq!((notice.kind, notice.reason.as_str()), (Kind::Warning, "LifecycleHTTPFallback"));
        assert_eq!(
            notice.message,
            format!("request to HTTPS lifecycle hook 127.0.0.1:{port} got HTTP response, retry with HTTP succeeded")
        );
        let requests = server.requests();
        assert!(!requests[0].contains("GET"), "the first is a handshake");
        assert!(requests[1].starts_with("GET /x HTTP/1.1\r\n"), "{}", requests[1]);
        assert!(requests[1].contains("Cookie: biscuit") && !requests[1].contains("Authorization"), "{}", requests[1]);
    }
}

#[test]
fn x_h10_a_fallback_without_an_answer_fails_with_the_first_error() {
    let server = other(vec![says("HTTP/1.1 400 Bad Request\r\n\r\n"), says("")]);
    assert_eq!(probe_get(https(server.port)), failed("the server answered in plain HTTP to a TLS handshake"));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn x_h10_x_h17_the_answer_to_a_fallback_is_judged_like_any_other() {
    let server = other(vec![says("HTTP/1.1 400 Bad Request\r\n\r\n"), says(status(500))]);
    let handler = Handler::HttpGet(https(server.port));
    let failure = run(&handler, SuccessStatus::Below400, Hook::PreStop, "web", "1.34", false, || Ok(())).unwrap_err();
    assert_eq!(failure.class, "HTTP status 500");
    assert_eq!(failure.notices.iter().map(|notice| &*notice.reason).collect::<Vec<_>>(), ["LifecycleHTTPFallback"]);
}

#[test]
fn x_h18_a_redirect_between_http_and_https_of_the_same_host_is_followed_without_credentials() {
    let tls = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls_port = tls.local_addr().unwrap().port();
    let plain = Server::answering(&[&redirect(302, &format!("https://127.0.0.1:{tls_port}/in")), &status(204)]);
    let plain_port = plain.port;
    let back = [redirect(307, "/more"), redirect(308, &format!("http://127.0.0.1:{plain_port}/out"))];
    let tls = TlsServer::on(tls, valid(), &[&TLS13], &back);

    assert_eq!(probe_get(with_secrets(get(plain_port))), succeeded(204));
    let (plain, tls) = (plain.requests(), tls.heard());
    assert!(plain[0].contains("secret") && plain[0].contains("biscuit"));
    let lines = |request: &str| request.lines().next().unwrap().to_owned();
    assert_eq!(
        [lines(&tls[0].request), lines(&tls[1].request), lines(&plain[1])],
        ["GET /in HTTP/1.1", "GET /more HTTP/1.1", "GET /out HTTP/1.1"]
    );
    for request in [&tls[0].request, &tls[1].request, &plain[1]] {
        assert!(!request.contains("secret") && !request.contains("biscuit") && request.contains("X-A: 1"), "{request}");
    }
    assert!(tls[0].request.contains(&format!("Referer: http://127.0.0.1:{plain_port}/\r\n")));
    assert!(tls[1].request.contains(&format!("Referer: https://127.0.0.1:{tls_port}/in\r\n")));
    assert!(!plain[1].contains("Referer"), "{}", plain[1]);
}

#[test]
fn x_h18_x_h19_h23_within_https_the_rules_of_redirects_are_the_same() {
    let round = vec![redirect(302, "/again"); 10];
    let server = TlsServer::new(valid(), &round);
    assert_eq!(probe_get(with_secrets(https(server.port))), failed("stopped after 10 redirects"));
    let heard = server.heard();
    assert!(heard.iter().all(|heard| heard.request.contains("secret")), "the server is still the same");

    let server = TlsServer::new(valid(), &[redirect(302, "https://localhost:1/")]);
    assert_eq!(probe_get(https(server.port)), succeeded(302));
}

#[test]
fn h11_what_is_no_tls_is_a_failure_that_says_so() {
    let huge = shown(&["localhost"], |_| {}, vec![CertificateDer::from(vec![7; 1000]); 70]);
    let server = TlsServer::new(huge, &[status(200)]);
    let failure = probe_get(https(server.port)).unwrap_err();
    assert!(failure.error.ends_with("error: TLS handshake: the server's part is longer than 64 KiB"), "{failure:?}");
    drop(server); // its thread fails with the handshake

    let record = |kind: u8, payload: &[u8]| [&[kind, 3, 3, 0, payload.len() as u8], payload].concat();
    for (behaviour, why) in [
        (says("SSH-2.0-OpenSSH\r\n"), "TLS handshake: the server does not speak TLS"),
        (says(vec![0; 1 << 20]), "TLS handshake: the server does not speak TLS"),
        (says(record(21, &[2, 40])), "TLS handshake: received fatal alert: HandshakeFailure"),
        (says(record(21, &[2, 70])), "TLS handshake: received fatal alert: ProtocolVersion"),
        (says(record(22, &[2, 255, 255, 255])), "TLS handshake: the server's part is longer than 64 KiB"),
        (says(""), "TLS handshake: the connection was closed"),
        (says("HT"), "TLS handshake: the server does not speak TLS"),
        (Box::new(resets) as Behaviour, "TLS handshake: Connection reset by peer (os error 104)"),
    ] {
        let server = other(vec![behaviour]);
        assert_eq!(probe_get(https(server.port)), failed(why));
        server.requests();
    }
}

#[test]
fn h11_a_server_that_ends_without_saying_so_has_answered_all_the_same() {
    // A response without a length ends with the connection; many servers spare the alert.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(valid()));
    let config = Arc::new(config);
    let server = thread::spawn(move || {
        for answer in ["HTTP/1.0 200 OK\r\n\r\nbody", "", "HTTP/1.1 200 OK\r\nX"] {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, listener.accept().unwrap().0);
            read_request(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
            stream.flush().unwrap();
        }
    });
    assert_eq!(probe_get(https(port)), succeeded(200));
    assert_eq!(probe_get(https(port)), failed("the connection was closed without a response"));
    assert_eq!(probe_get(https(port)), failed("malformed HTTP response: the connection was closed within its headers"));
    server.join().unwrap();
}

#[test]
fn x_h21_only_what_a_listening_entrypoint_would_mend_has_the_hint() {
    let hint = "the ENTRYPOINT may not be listening yet";
    for (behaviour, hinted) in [(says(""), true), (says("SSH-2.0-OpenSSH\r\n"), false)] {
        let handler = Handler::HttpGet(https(other(vec![behaviour]).port));
        let failure = run(&handler, SuccessStatus::Any, Hook::PostStart, "web", "1.34", false, || Ok(())).unwrap_err();
        assert_eq!(failure.error.contains(hint), hinted, "{failure:?}");
    }
}
