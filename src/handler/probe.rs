//! The handlers that talk to a container over the network: httpGet and tcpSocket (lifecycle.md 4.2 and 4.3).
//!
//! Runs in a short-lived, single-threaded child of its own. Nothing in here has a time limit: the parent kills the child at
//! the attempt's deadline. Proxy variables are ignored (threats S23).

use std::net::SocketAddr;

use anyhow::Result;

use super::address::{self, connect};
use super::http::{self, Credentials, Request, Response};
use super::tls::{NoHandshake, Tls};
use super::url::{self, Url};
use crate::foreign::legible;
use crate::lifecycle::model::{Handler, Hook, HttpGet, Scheme, SuccessStatus};
use crate::lifecycle::notice::Notice;
use crate::lifecycle::outcome::{Failure, Success};

/// X-H18: requests of one attempt, the first included.
const MAX_REQUESTS: usize = 10;
/// X-H20.
const BODY_BYTES: u64 = 10 * 1024;
/// As much of a redirect's body as Kubernetes reads before it goes on.
const REDIRECT_BODY_BYTES: u64 = 2 * 1024;

const CONNECTION_FAILED: &str = "connection failed";
const INVALID_HANDLER: &str = "invalid handler";

/// Runs one attempt of an httpGet or tcpSocket handler.
///
/// The handler's host name is resolved first, where the caller is; then `join` is called, which enters the container's user
/// and network namespaces; then the connection is made (X-H02).
///
/// - `container`: the name in messages (X-H23).
/// - `compat`: the Kubernetes version of the User-Agent, such as `1.34` (X-H13).
/// - `own_network`: whether the container's network namespace is not the host's (X-H03).
pub fn run(
    handler: &Handler,
    success: SuccessStatus,
    hook: Hook,
    container: &str,
    compat: &str,
    own_network: bool,
    join: impl FnOnce() -> Result<()>,
) -> Result<Success, Failure> {
    let agent = format!("kube-lifecycle/{compat} bookend/{}", env!("CARGO_PKG_VERSION"));
    let mut notices = Vec::new();
    let outcome = match handler {
        Handler::HttpGet(get) => http_get(get, &agent, |host| reach(host, own_network, join, &mut notices))
            .and_then(|(response, told)| {
                notices.extend(told);
                judge(response.status, success, hook)
            })
            .map_err(|problem| problem.of_http(hook, &get.path, container)),
        Handler::TcpSocket { host, port } => {
            tcp_socket(*port, || reach(host.as_deref(), own_network, join, &mut notices)).map_err(Problem::of_tcp)
        }
        Handler::Exec { .. } | Handler::Sleep { .. } => {
            Err(Problem::invalid(format!("{} is no network handler", handler.name())).of_tcp())
        }
    };
    match outcome {
        Ok(success) => Ok(Success { notices: [notices, success.notices].concat(), ..success }),
        Err(failure) => Err(Failure { notices, ..failure }),
    }
}

/// Why an attempt failed.
#[derive(Debug)]
struct Problem {
    /// A class of row L-07.
    class: String,
    error: String,
    /// Whether a program that listens by now might have made the difference (X-H21).
    too_early: bool,
    /// Whether the server was to speak TLS and answered in plain HTTP (X-H10).
    plain_http: bool,
}

impl Problem {
    fn connection(error: impl ToString) -> Problem {
        Problem { class: CONNECTION_FAILED.into(), error: error.to_string(), too_early: true, plain_http: false }
    }

    /// A failure that a program which listens earlier would not have changed; of L-07's classes the nearest.
    fn refused(error: impl ToString) -> Problem {
        Problem { too_early: false, ..Problem::connection(error) }
    }

    fn invalid(error: impl ToString) -> Problem {
        Problem { class: INVALID_HANDLER.into(), ..Problem::refused(error) }
    }

    fn of_tls(error: NoHandshake) -> Problem {
        match error {
            NoHandshake::Broken(_) => Problem::connection(error),
            NoHandshake::PlainHttp => Problem { plain_http: true, ..Problem::refused(error) },
            NoHandshake::Refused(_) => Problem::refused(error),
        }
    }

    /// X-H21, X-H23.
    fn of_http(self, hook: Hook, path: &str, container: &str) -> Failure {
        let path = legible(path);
        let hint = if self.too_early && hook == Hook::PostStart {
            " (the ENTRYPOINT may not be listening yet; Kubernetes does not retry either)"
        } else {
            ""
        };
        let error =
            format!("HTTP lifecycle hook ({path}) for Container {container:?} failed - error: {}{hint}", self.error);
        Failure { class: self.class, error, ..Failure::default() }
    }

    fn of_tcp(self) -> Failure {
        Failure { class: self.class, error: self.error, ..Failure::default() }
    }
}

/// Where to connect to, from within the container's namespaces.
struct Reached {
    /// Ports are 0.
    addresses: Vec<SocketAddr>,
    /// The host as given, or the address that was chosen for it.
    host: String,
}

fn reach(
    host: Option<&str>,
    own_network: bool,
    join: impl FnOnce() -> Result<()>,
    notices: &mut Vec<Notice>,
) -> Result<Reached, Problem> {
    let resolved = address::resolve(host).map_err(|error| Problem::refused(format!("{error:#}")))?;
    join().map_err(|error| Problem::refused(format!("{error:#}")))?;
    let (addresses, is_last_resort) =
        address::addresses(resolved, own_network).map_err(|error| Problem::refused(format!("{error:#}")))?;
    if is_last_resort {
        notices.push(Notice::warning(
            "LifecycleLoopback",
            "the container has no address; using loopback, which Kubernetes would not do",
        ));
    }
    let host = match host {
        Some(host) if !host.is_empty() => host.to_owned(),
        _ => addresses[0].ip().to_string(),
    };
    Ok(Reached { addresses, host })
}

/// X-T01.
fn tcp_socket(port: u16, reach: impl FnOnce() -> Result<Reached, Problem>) -> Result<Success, Problem> {
    let reached = reach()?;
    connect(&reached.addresses, port).map_err(|error| Problem::connection(format!("{error:#}")))?;
    Ok(Success::default())
}

/// Any answer at all, with what there is to tell of how it was got.
fn http_get(
    get: &HttpGet,
    agent: &str,
    reach: impl FnOnce(Option<&str>) -> Result<Reached, Problem>,
) -> Result<(Response, Option<Notice>), Problem> {
    let target = url::request_target(&get.path).map_err(Problem::invalid)?;
    let reached = reach(get.host.as_deref())?;
    Client { get, target: &target, agent, reached: &reached }.ask()
}

/// The one who asks what a handler wants to have asked.
struct Client<'a> {
    get: &'a HttpGet,
    target: &'a str,
    agent: &'a str,
    reached: &'a Reached,
}

impl Client<'_> {
    /// X-H10: who was to be asked by HTTPS and answers in plain HTTP is asked once more, as it wants to be.
    fn ask(&self) -> Result<(Response, Option<Notice>), Problem> {
        let problem = match self.follow(self.get.scheme, Credentials::All) {
            Err(problem) if self.get.scheme == Scheme::Https && problem.plain_http => problem,
            answer => return answer.map(|response| (response, None)),
        };
        let Ok(response) = self.follow(Scheme::Http, Credentials::AllButAuthorization) else { return Err(problem) };
        let host = host_line(&self.reached.host, self.get.port);
        let text = format!("request to HTTPS lifecycle hook {host} got HTTP response, retry with HTTP succeeded");
        Ok((response, Some(Notice::warning("LifecycleHTTPFallback", text))))
    }

    /// Sends the request, and follows redirects as long as they stay at the same host name, whatever the port and whether by
    /// HTTP or HTTPS (X-H18, X-H19).
    fn follow(&self, scheme: Scheme, mut credentials: Credentials) -> Result<Response, Problem> {
        let first = self.first_url(scheme);
        let mut url = first.clone();
        let mut referer: Option<String> = None;
        let mut own_host = true;
        for _ in 0..MAX_REQUESTS {
            let port = url.port().ok_or_else(|| Problem::refused("redirect to an invalid port"))?;
            // Another port may be another server, and without TLS anybody listens: neither is given what is meant for the
            // first (S23). Once dropped, credentials stay dropped, as they would otherwise come back with the next redirect
            // (CVE-2024-45336).
            if port != self.get.port || url.scheme != first.scheme {
                credentials = Credentials::None;
            }
            let request = Request {
                target: &url.target(),
                host: url.host.as_deref().unwrap_or_default(),
                own_host,
                user_agent: self.agent,
                headers: &self.get.headers,
                credentials,
                referer: referer.as_deref(),
            };
            let response = self.exchange(&url, port, &request.bytes().map_err(Problem::invalid)?)?;

            let Some(location) = redirect_of(&response) else { return Ok(response) };
            let next = url
                .join(location)
                .map_err(|why| Problem::refused(format!("redirect with an invalid Location: {why}")))?;
            if next.host_name() != first.host_name() {
                return Ok(response);
            }
            // A redirect that names a host means that host; a relative one stays with the handler's own Host line.
            own_host &= Url::parse(location).is_ok_and(|location| location.scheme.is_empty());
            // What was asked for by HTTPS is told to nobody else.
            referer = (next.scheme == "https" || url.scheme == "http").then(|| url.to_string());
            url = next;
        }
        Err(Problem::refused(format!("stopped after {MAX_REQUESTS} redirects")))
    }

    fn first_url(&self, scheme: Scheme) -> Url {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (self.target, None),
        };
        let scheme = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let host = Some(host_line(&self.reached.host, self.get.port));
        Url { scheme: scheme.into(), host, opaque: false, path: path.to_owned(), query }
    }

    fn exchange(&self, url: &Url, port: u16, request: &[u8]) -> Result<Response, Problem> {
        if !matches!(url.scheme.as_str(), "http" | "https") {
            return Err(Problem::refused(format!("redirect to {}, which is neither http nor https", url.scheme)));
        }
        let body_limit = |response: &Response| match redirect_of(response) {
            Some(_) => REDIRECT_BODY_BYTES,
            None => BODY_BYTES,
        };
        let mut stream =
            connect(&self.reached.addresses, port).map_err(|error| Problem::connection(format!("{error:#}")))?;
        match url.scheme.as_str() {
            "https" => {
                let mut stream = Tls::begin(stream, url.host_name()).map_err(Problem::of_tls)?;
                http::exchange(&mut stream, request, body_limit)
            }
            _ => http::exchange(&mut stream, request, body_limit),
        }
        .map_err(Problem::connection)
    }
}

/// Where a response redirects to, when it does.
fn redirect_of(response: &Response) -> Option<&str> {
    let is_redirect = matches!(response.status, 301 | 302 | 303 | 307 | 308);
    response.location.as_deref().filter(|_| is_redirect)
}

/// `host:port`, with brackets around an IPv6 address and without its zone (RFC 6874: it has a meaning on this side only).
fn host_line(host: &str, port: u16) -> String {
    match host.split_once('%').map_or(host, |(address, _)| address) {
        address if address.contains(':') => format!("[{address}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

/// What a status means (X-H15 to X-H17).
fn judge(status: u16, success: SuccessStatus, hook: Hook) -> Result<Success, Problem> {
    let text = format!("HTTP status {status:03}");
    if success == SuccessStatus::Below400 && !(200..400).contains(&status) {
        return Err(Problem { class: text.clone(), ..Problem::refused(text) });
    }
    let notice =
        Notice::warning("LifecycleHTTPStatus", format!("{hook} got HTTP {status}; Kubernetes counts this as success"));
    let notices = if status >= 400 { vec![Notice { hook: Some(hook), ..notice }] } else { Vec::new() };
    Ok(Success { detail: Some(status.to_string()), notices, ..Success::default() })
}

#[cfg(test)]
mod tests;
