//! The HTTP/1.1 client of httpGet handlers: one request of exact bytes, one bounded response.
//!
//! It is our own because what is sent is promised byte by byte (X-H13, X-H14), and because any response at all is a success
//! (X-H15). It works on any stream and makes no connection. Header values are secrets (threats S22): none is in any error.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};

/// Most bytes of all headers of an exchange together, informational responses included (threats H10).
const HEAD_BYTES: usize = 64 * 1024;
/// Most header lines of an exchange together (threats H10).
const HEAD_LINES: usize = 128;
/// Most bytes of a line between the chunks of a body.
const CHUNK_LINE_BYTES: u64 = 4096;

/// Which of the headers that hold credentials are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// To the server that the handler itself points to.
    All,
    /// To the same by plain HTTP instead of HTTPS (X-H10).
    AllButAuthorization,
    /// To where a redirect points (threats S23).
    None,
}

impl Credentials {
    fn include(self, name: &str) -> bool {
        let known =
            ["Authorization", "Www-Authenticate", "Cookie", "Cookie2", "Proxy-Authorization", "Proxy-Authenticate"];
        match self {
            Credentials::All => true,
            Credentials::AllButAuthorization => name != "Authorization",
            Credentials::None => !known.contains(&name),
        }
    }
}

/// A GET request.
pub struct Request<'a> {
    /// Path and query, already encoded.
    pub target: &'a str,
    /// The Host line's value, unless a header of the handler replaces it.
    pub host: &'a str,
    /// Whether the handler's own Host header counts: not after a redirect that names a host.
    pub own_host: bool,
    pub user_agent: &'a str,
    /// The handler's headers, in its order.
    pub headers: &'a [(String, String)],
    pub credentials: Credentials,
    /// The URL that redirected here.
    pub referer: Option<&'a str>,
}

impl Request<'_> {
    /// The bytes of the request (X-H13, X-H14): Host, User-Agent, the other headers by name, then Accept-Encoding.
    ///
    /// As in Kubernetes the names are written in their canonical form (`X-My-Header`), and the headers that describe a body
    /// are dropped, since there is none.
    ///
    /// # Errors
    ///
    /// A header value or the host with a control character, which would make another request of it (threats H16).
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        let mut headers: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, value) in self.headers {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                return Err(format!("invalid header name {name:?}"));
            }
            if value.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
                return Err(format!("invalid value of header {name}"));
            }
            headers.entry(canonical(name)).or_default().push(value.trim_matches([' ', '\t']));
        }
        let own = |name: &str| headers.get(name).map(|values| values[0]);

        let host = own("Host").filter(|host| self.own_host && !host.is_empty()).unwrap_or(self.host);
        let user_agent = own("User-Agent").unwrap_or(self.user_agent);
        let asks_for_gzip = own("Accept-Encoding").is_none_or(str::is_empty) && own("Range").is_none_or(str::is_empty);
        if own("Accept").is_none() {
            headers.insert("Accept".into(), vec!["*/*"]);
        } else if own("Accept") == Some("") {
            headers.remove("Accept");
        }
        if let Some(referer) = self.referer
            && headers.get("Referer").is_none_or(|values| values[0].is_empty())
        {
            headers.insert("Referer".into(), vec![referer]);
        }

        let mut text = format!("GET {} HTTP/1.1\r\n", self.target);
        let mut line = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\r\n"));
        // RFC 9112 section 3.2: a host that is no valid one is sent as an empty line, as in Kubernetes.
        line("Host", if is_host(host) { host } else { "" });
        if !user_agent.is_empty() {
            line("User-Agent", user_agent);
        }
        for (name, values) in &headers {
            let elsewhere = ["Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer"];
            if !elsewhere.contains(&name.as_str()) && self.credentials.include(name) {
                values.iter().for_each(|value| line(name, value));
            }
        }
        if asks_for_gzip {
            line("Accept-Encoding", "gzip");
        }
        text.push_str("\r\n");
        Ok(text.into_bytes())
    }
}

/// `x-my-HEADER` becomes `X-My-Header`.
fn canonical(name: &str) -> String {
    let parts = name.split('-').map(|part| {
        let mut part = part.to_ascii_lowercase();
        part.get_mut(..1).map(str::make_ascii_uppercase);
        part
    });
    parts.collect::<Vec<_>>().join("-")
}

fn is_host(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!$%&()*+,-.:;=[']_~".contains(&byte))
}

/// What is kept of a response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// The Location header; bytes beyond ASCII are percent-encoded.
    pub location: Option<String>,
    body: Body,
}

/// How long the body of a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Known(u64),
    Chunked,
    UntilClosed,
}

/// Why there is no response. Displayed without any byte of what was received.
#[derive(Debug)]
pub enum NoResponse {
    Write(io::Error),
    Read(io::Error),
    /// The connection was closed before a byte of a response.
    Closed,
    Malformed(String),
}

impl fmt::Display for NoResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoResponse::Write(error) => write!(f, "send the request: {error}"),
            NoResponse::Read(error) => write!(f, "read the response: {error}"),
            NoResponse::Closed => f.write_str("the connection was closed without a response"),
            NoResponse::Malformed(why) => write!(f, "malformed HTTP response: {why}"),
        }
    }
}

fn malformed<T>(why: impl Into<String>) -> Result<T, NoResponse> {
    Err(NoResponse::Malformed(why.into()))
}

/// Sends a request, reads the response's head, and reads and drops the body where it is short (X-H20).
///
/// `body_limit`: the most bytes of the response's body that are read; a body that is known to be longer is not read at all.
pub fn exchange(
    stream: &mut (impl Read + Write),
    request: &[u8],
    body_limit: impl FnOnce(&Response) -> u64,
) -> Result<Response, NoResponse> {
    let sent = stream.write_all(request).and_then(|()| stream.flush());
    // A server may answer and close before it has read everything; its answer counts.
    let (response, rest) = match (read_head(stream), sent) {
        (Ok(head), _) => head,
        (Err(_), Err(error)) => return Err(NoResponse::Write(error)),
        (Err(error), Ok(())) => return Err(error),
    };
    // How the body ends changes nothing.
    let _ = drop_body(response.body, rest.chain(stream), body_limit(&response));
    Ok(response)
}

/// Reads up to the end of the final response's headers; gives what was read beyond them too.
fn read_head(stream: &mut impl Read) -> Result<(Response, io::Cursor<Vec<u8>>), NoResponse> {
    let mut head = Vec::new();
    let mut block = [0; 4096];
    // Where the response begins that is being read: informational ones lie before it.
    let mut start = 0;
    loop {
        let room = block.len().min(HEAD_BYTES - head.len());
        if room == 0 {
            return malformed("its headers are longer than 64 KiB");
        }
        let read = match stream.read(&mut block[..room]) {
            Ok(0) if head.is_empty() => return Err(NoResponse::Closed),
            Ok(0) => return malformed("the connection was closed within its headers"),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(NoResponse::Read(error)),
        };
        head.extend_from_slice(&block[..read]);
        // A TLS alert, which is how many servers answer plain HTTP (X-H11); it has no line that could be waited for.
        if head.starts_with(&[0x15, 0x03]) {
            return malformed("the server speaks TLS");
        }
        // Only a whole line can change what the parser says.
        if !block[..read].contains(&b'\n') {
            continue;
        }
        while let Some((length, response)) = parse(&head[start..])? {
            start += length;
            if !is_informational(response.status) {
                check_lines(&head[..start])?;
                return Ok((response, io::Cursor::new(head.split_off(start))));
            }
        }
        check_lines(&head)?;
    }
}

/// Bounds what the parser does not count: the lines of folded headers and of informational responses.
fn check_lines(head: &[u8]) -> Result<(), NoResponse> {
    let lines = head.iter().filter(|byte| **byte == b'\n').count();
    // A status line and an empty one are around the headers.
    if lines > HEAD_LINES + 2 { malformed(format!("it has more than {HEAD_LINES} header lines")) } else { Ok(()) }
}

/// 101 is a final answer: nothing else follows it.
fn is_informational(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}

/// Parses the head of one response: its length in bytes and what is kept of it, or None when it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Response)>, NoResponse> {
    let mut headers = [httparse::EMPTY_HEADER; HEAD_LINES];
    let mut response = httparse::Response::new(&mut headers);
    let mut config = httparse::ParserConfig::default();
    config.allow_obsolete_multiline_headers_in_responses(true);
    config.allow_spaces_after_header_name_in_responses(true);
    let length = match config.parse_response(&mut response, bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return malformed(format!("it has more than {HEAD_LINES} header lines"));
        }
        Err(error) => return malformed(error.to_string()),
    };
    let status = response.code.expect("a complete response has a status");
    let version = response.version.expect("a complete response has a version");
    let body = body_length(version, status, response.headers)?;
    let location = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("location"));
    let location = location.map(|header| ascii(header.value.trim_ascii())).filter(|location| !location.is_empty());
    Ok(Some((length, Response { status, location, body })))
}

fn ascii(bytes: &[u8]) -> String {
    let one = |byte: &u8| if byte.is_ascii() { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    bytes.iter().map(one).collect()
}

/// RFC 9112 section 6.3. What contradicts itself is refused.
fn body_length(version: u8, status: u16, headers: &[httparse::Header]) -> Result<Body, NoResponse> {
    let all = |name: &'static str| {
        let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii())
    };
    let mut length = None;
    for value in all("content-length") {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse::<i64>().ok());
        let Some(number) = number else { return malformed("bad Content-Length") };
        if length.replace(number).is_some_and(|other| other != number) {
            return malformed("several Content-Length headers that differ");
        }
    }
    let mut codings = all("transfer-encoding");
    // HTTP/1.0 has no transfer codings.
    let coding = if version == 1 { codings.next() } else { None };
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
        || (version == 1 && codings.next().is_some())
    {
        return malformed("unsupported transfer encoding");
    }
    Ok(match (status, coding, length) {
        (100..200 | 204 | 304, _, _) => Body::Known(0),
        (_, Some(_), _) => Body::Chunked,
        (_, None, Some(length)) => Body::Known(length.unsigned_abs()),
        (_, None, None) => Body::UntilClosed,
    })
}

/// Reads a body and drops it, undecoded, up to `limit` bytes (X-H20).
fn drop_body(body: Body, stream: impl Read, limit: u64) -> io::Result<()> {
    // However small its chunks are, and whatever lies between them.
    let mut stream = BufReader::with_capacity(4096, stream.take(16 * limit));
    match body {
        Body::Known(length) if length > limit => {}
        Body::Known(length) => drop_bytes(&mut stream, length)?,
        Body::UntilClosed => drop_bytes(&mut stream, limit)?,
        Body::Chunked => {
            let mut left = limit;
            while left > 0 {
                let size = chunk_size(&chunk_line(&mut stream)?)?;
                if size == 0 {
                    break;
                }
                let some = size.min(left);
                drop_bytes(&mut stream, some)?;
                left -= some;
                if left > 0 {
                    chunk_line(&mut stream)?;
                }
            }
        }
    }
    Ok(())
}

fn drop_bytes(stream: &mut impl Read, count: u64) -> io::Result<()> {
    io::copy(&mut stream.take(count), &mut io::sink()).map(drop)
}

fn chunk_line(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.take(CHUNK_LINE_BYTES).read_until(b'\n', &mut line)?;
    match line.last() {
        Some(b'\n') => Ok(line),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let digits = std::str::from_utf8(digits).map_err(|_| io::ErrorKind::InvalidData)?;
    u64::from_str_radix(digits, 16).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn request(headers: &[(String, String)]) -> Request<'_> {
        let (target, host, user_agent) = ("/x?y", "h:80", "agent");
        Request { target, host, own_host: true, user_agent, headers, credentials: Credentials::All, referer: None }
    }

    fn text(list: &[(&str, &str)]) -> String {
        String::from_utf8(request(&headers(list)).bytes().unwrap()).unwrap()
    }

    #[test]
    fn x_h13_a_request_is_exactly_these_lines() {
        assert_eq!(
            text(&[]),
            "GET /x?y HTTP/1.1\r\nHost: h:80\r\nUser-Agent: agent\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n"
        );
    }

    #[test]
    fn x_h14_own_headers_are_added_replace_and_remove() {
        for (given, lines) in [
            (&[("X-A", "1")][..], "Host: h:80|User-Agent: agent|Accept: */*|X-A: 1|Accept-Encoding: gzip"),
            (
                &[("x-b", "2"), ("X-A", "3"), ("X-B", "1")],
                "Host: h:80|User-Agent: agent|Accept: */*|X-A: 3|X-B: 2|X-B: 1|Accept-Encoding: gzip",
            ),
            (&[("host", "other")], "Host: other|User-Agent: agent|Accept: */*|Accept-Encoding: gzip"),
            (&[("Host", "")], "Host: h:80|User-Agent: agent|Accept: */*|Accept-Encoding: gzip"),
            (&[("Host", "a b")], "Host: |User-Agent: agent|Accept: */*|Accept-Encoding: gzip"),
            (&[("User-Agent", "mine")], "Host: h:80|User-Agent: mine|Accept: */*|Accept-Encoding: gzip"),
            (&[("user-agent", "")], "Host: h:80|Accept: */*|Accept-Encoding: gzip"),
            (
                &[("Accept", "a"), ("accept", "b")],
                "Host: h:80|User-Agent: agent|Accept: a|Accept: b|Accept-Encoding: gzip",
            ),
            (&[("Accept", "")], "Host: h:80|User-Agent: agent|Accept-Encoding: gzip"),
            (&[("Accept-Encoding", "br")], "Host: h:80|User-Agent: agent|Accept: */*|Accept-Encoding: br"),
            (&[("Range", "bytes=0-1")], "Host: h:80|User-Agent: agent|Accept: */*|Range: bytes=0-1"),
            (
                &[("Content-Length", "9"), ("transfer-encoding", "chunked"), ("Trailer", "X")],
                "Host: h:80|User-Agent: agent|Accept: */*|Accept-Encoding: gzip",
            ),
            (
                &[("Authorization", "Basic eA=="), ("X-E", ""), ("X-S", " a b\t")],
                "Host: h:80|User-Agent: agent|Accept: */*|Authorization: Basic eA==|X-E: |X-S: a b|Accept-Encoding: gzip",
            ),
        ] {
            let expected = format!("GET /x?y HTTP/1.1\r\n{}\r\n\r\n", lines.replace('|', "\r\n"));
            assert_eq!(text(given), expected, "{given:?}");
        }
    }

    #[test]
    fn h16_a_header_that_would_break_the_request_is_refused_without_its_value() {
        for (name, value) in [
            ("X-A", "secret\r\nX-B: 1"),
            ("X-A", "secret\n"),
            ("X-A", "secret\0"),
            ("X-A", "secret\u{1}"),
            ("X-A", "secret\u{7f}"),
            ("X A", "secret"),
            ("X-A:", "secret"),
            ("", "secret"),
        ] {
            let error = request(&headers(&[(name, value)])).bytes().unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn s22_after_a_redirect_elsewhere_no_credentials_are_sent() {
        let own = headers(&[("Authorization", "secret"), ("cookie", "secret"), ("X-A", "1"), ("Host", "own")]);
        let redirected =
            Request { credentials: Credentials::None, own_host: false, referer: Some("http://h/"), ..request(&own) };
        let text = String::from_utf8(redirected.bytes().unwrap()).unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("\r\nHost: h:80\r\n") && text.contains("\r\nReferer: http://h/\r\nX-A: 1\r\n"), "{text}");
    }

    /// Gives scripted bytes in pieces and counts what was taken.
    struct Script<'a> {
        bytes: &'a [u8],
        piece: usize,
        taken: usize,
    }

    impl Read for Script<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let some = self.piece.min(into.len()).min(self.bytes.len() - self.taken);
            into[..some].copy_from_slice(&self.bytes[self.taken..self.taken + some]);
            self.taken += some;
            Ok(some)
        }
    }

    impl Write for Script<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn answer(bytes: &[u8]) -> (Result<Response, NoResponse>, usize) {
        let mut script = Script { bytes, piece: usize::MAX, taken: 0 };
        let result = exchange(&mut script, b"", |_| 10 * 1024);
        // However the bytes come, the answer is the same.
        let drip = exchange(&mut Script { bytes, piece: 1, taken: 0 }, b"", |_| 10 * 1024);
        assert_eq!(format!("{result:?}"), format!("{drip:?}"));
        (result, script.taken)
    }

    #[test]
    fn h10_a_response_that_is_no_http_or_has_no_bounds_is_malformed() {
        let line = |text: &str| format!("HTTP/1.1 200 OK\r\n{text}\r\n\r\n").into_bytes();
        let long = |count: usize| format!("X: {}", "x".repeat(count));
        for (bytes, why) in [
            (b"hello\r\n\r\n".to_vec(), "invalid HTTP version"),
            (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "invalid HTTP version"),
            (b"<html></html>\n".to_vec(), "invalid HTTP version"),
            (b"\0\0\0\n".to_vec(), "invalid HTTP version"),
            (b"HTTP/2.0 200 OK\r\n\r\n".to_vec(), "invalid HTTP version"),
            (b"HTTP/1.1 20 OK\r\n\r\n".to_vec(), "invalid response status"),
            (b"HTTP/1.1 2000 OK\r\n\r\n".to_vec(), "invalid response status"),
            (b"HTTP/1.1 -20 OK\r\n\r\n".to_vec(), "invalid response status"),
            (b"HTTP/1.1 abc OK\r\n\r\n".to_vec(), "invalid response status"),
            (b"HTTP/1.1 200 O\0K\r\n\r\n".to_vec(), "invalid response status"),
            (b"\x15\x03\x01\x00\x02\x02\x16".to_vec(), "the server speaks TLS"),
            (b"HTTP/1.1 200".to_vec(), "the connection was closed within its headers"),
            (b"HTTP/1.1 200 OK\r\n".to_vec(), "the connection was closed within its headers"),
            (b"HTTP/1.1 200 OK\r\nX: 1\r\n".to_vec(), "the connection was closed within its headers"),
            (b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), "the connection was closed within its headers"),
            (b"H".repeat(100), "the connection was closed within its headers"),
            (b"H".repeat(1 << 20), "its headers are longer than 64 KiB"),
            (
                b"HTTP/1.1 200 ".iter().copied().chain(b"x".repeat(1 << 20)).collect(),
                "its headers are longer than 64 KiB",
            ),
            (line(&long(1 << 20)), "its headers are longer than 64 KiB"),
            (line(&vec!["X: 1"; 129].join("\r\n")), "it has more than 128 header lines"),
            (line(&vec!["X: 1"; 1_000_000].join("\r\n")), "it has more than 128 header lines"),
            (line(&format!("X: 1{}", "\r\n x".repeat(1000))), "it has more than 128 header lines"),
            (b"HTTP/1.1 102 Processing\r\n\r\n".repeat(100_000), "it has more than 128 header lines"),
            (line("no colon"), "invalid header name"),
            (line(": 1"), "invalid header name"),
            (line("X\0: 1"), "invalid header name"),
            (line("X: a\0b"), "invalid header value"),
            (line("Content-Length: -1"), "bad Content-Length"),
            (line("Content-Length: +1"), "bad Content-Length"),
            (line("Content-Length: x"), "bad Content-Length"),
            (line("Content-Length:"), "bad Content-Length"),
            (line("Content-Length: 99999999999999999999999"), "bad Content-Length"),
            (line("Content-Length: 9223372036854775808"), "bad Content-Length"),
            (line("Content-Length: 1\r\nContent-Length: 2"), "several Content-Length headers that differ"),
            (line("Transfer-Encoding: gzip"), "unsupported transfer encoding"),
            (line("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), "unsupported transfer encoding"),
        ] {
            let (result, taken) = answer(&bytes);
            let start = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            let error = result.map_err(|error| error.to_string());
            assert_eq!(error, Err(format!("malformed HTTP response: {why}")), "{start:?}");
            assert!(taken <= HEAD_BYTES, "{taken} bytes of {start:?} were read");
        }
        assert!(matches!(answer(b"").0, Err(NoResponse::Closed)));
    }

    #[test]
    fn x_h15_a_response_at_the_bounds_and_an_untidy_one_are_responses() {
        let head = |text: &str| format!("HTTP/1.1 200 OK\r\n{text}\r\n\r\n").into_bytes();
        for bytes in [
            b"HTTP/1.1 200\r\n\r\n".to_vec(),
            b"HTTP/1.0 200 OK\n\n".to_vec(),
            head("X: 1\r\n folded"),
            head("X : 1"),
            head("X:"),
            head(&vec!["X: 1"; 128].join("\r\n")),
            head(&format!("X: {}", "x".repeat(65_000))),
            head("Content-Length: 3\r\nContent-Length: 3"),
            head("Content-Length: 9223372036854775807"),
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".to_vec(),
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".to_vec(),
        ] {
            let (result, _) = answer(&bytes);
            assert_eq!(result.map(|response| response.status).ok(), Some(200), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn x_h20_a_body_is_read_only_up_to_10_kib_and_its_end_changes_nothing() {
        const LIMIT: usize = 10 * 1024;
        let long = "x".repeat(100_000);
        // How many bytes of a body may be taken: our own read-ahead is a block of 4 KiB.
        for (head, body, at_least, at_most) in [
            ("Content-Length: 5", "12345", 5, 5),
            ("Content-Length: 5", "12", 2, 2),
            ("Content-Length: 10240", long.as_str(), LIMIT, LIMIT + 8192),
            ("Content-Length: 10241", &long, 0, 4096),
            ("X: unknown", &long, LIMIT, LIMIT + 8192),
            ("X: unknown", "12", 2, 2),
            ("Transfer-Encoding: chunked", "5\r\n12345\r\n0\r\n\r\n", 13, 15),
            ("Transfer-Encoding: chunked", "5;ext=1\r\n12", 11, 11),
            ("Transfer-Encoding: chunked", "ffffffffffffffffff\r\n", 20, 20),
            ("Transfer-Encoding: chunked", "-1\r\n", 4, 4),
            ("Transfer-Encoding: chunked", "\u{e9}\r\n", 4, 4),
            ("Transfer-Encoding: chunked", &long, 4096, 8192),
            ("Transfer-Encoding: chunked", &"1\r\nx\r\n".repeat(20_000), 6 * LIMIT - 2, 6 * LIMIT + 8192),
            ("Content-Encoding: gzip", "no gzip at all", 14, 14),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
            let (result, taken) = answer(format!("{head}{body}").as_bytes());
            assert_eq!(result.unwrap().status, 200);
            let taken = taken - head.len();
            assert!((at_least..=at_most).contains(&taken), "{head}{:.20}: {taken}", body);
        }
    }

    #[test]
    fn x_h20_a_response_without_a_body_is_not_waited_for() {
        for status in [204, 304, 101] {
            let (result, _) = answer(format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes());
            assert_eq!(result.unwrap().body, Body::Known(0));
        }
    }

    proptest! {
        #[test]
        fn h10_no_bytes_make_the_parser_panic_or_read_without_bounds(
            begin in prop_oneof![
                Just(&b""[..]),
                Just(&b"HTTP/1.1 200 OK\r\n"[..]),
                Just(&b"HTTP/1.1 100 OK\r\n\r\nHTTP/1.0 3"[..]),
                Just(&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..]),
            ],
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\r\n: ;0fF".to_vec())], 0..2000),
            repeat in 1usize..100,
            piece in 1usize..5000,
        ) {
            let bytes = [begin, &bytes.repeat(repeat)].concat();
            let mut script = Script { bytes: &bytes, piece, taken: 0 };
            let _ = exchange(&mut script, b"", |_| 10 * 1024);
            prop_assert!(script.taken <= HEAD_BYTES + 16 * 10 * 1024);
            let mut script = Script { bytes: &bytes, piece, taken: 0 };
            if let Ok((response, _)) = read_head(&mut script) {
                prop_assert!(response.status < 1000);
            }
            prop_assert!(script.taken <= HEAD_BYTES);
        }
    }
}
