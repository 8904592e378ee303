//! The handlers that talk to a container over the network: httpGet and tcpSocket (lifecycle.md 4.2 and 4.3).
//!
//! Runs in a short-lived, single-threaded child of its own. Nothing in here has a time limit: the parent kills the child at
//! the attempt's deadline. Proxy variables are ignored (threats S23).

use std::net::SocketAddr;

use anyhow::Result;

use super::address::{self, connect};
use super::http::{self, Request, Response};
use super::url::{self, Url};
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
        Handler::HttpGet(get) => {
            http_get(get, success, hook, &agent, || reach(get.host.as_deref(), own_network, join, &mut notices))
                .map_err(|problem| problem.of_http(hook, &get.path, container))
        }
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
}

impl Problem {
    fn connection(error: impl ToString) -> Problem {
        Problem { class: CONNECTION_FAILED.into(), error: error.to_string(), too_early: true }
    }

    /// A failure that a program which listens earlier would not have changed; of L-07's classes the nearest.
    fn refused(error: impl ToString) -> Problem {
        Problem { too_early: false, ..Problem::connection(error) }
    }

    fn invalid(error: impl ToString) -> Problem {
        Problem { class: INVALID_HANDLER.into(), error: error.to_string(), too_early: false }
    }

    /// X-H21, X-H23.
    fn of_http(self, hook: Hook, path: &str, container: &str) -> Failure {
        let path: String = path.chars().map(shown).collect();
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

fn shown(character: char) -> String {
    if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
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

fn http_get(
    get: &HttpGet,
    success: SuccessStatus,
    hook: Hook,
    agent: &str,
    reach: impl FnOnce() -> Result<Reached, Problem>,
) -> Result<Success, Problem> {
    if get.scheme == Scheme::Https {
        return Err(Problem::invalid("scheme HTTPS is not supported by this version of bookend"));
    }
    let target = url::request_target(&get.path).map_err(Problem::invalid)?;
    let reached = reach()?;
    let response = follow(get, &target, agent, &reached)?;
    judge(response.status, success, hook)
}

/// Sends the request, and follows redirects as long as they stay at the same host name (X-H18, X-H19).
fn follow(get: &HttpGet, target: &str, agent: &str, reached: &Reached) -> Result<Response, Problem> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let mut url = Url {
        scheme: "http".into(),
        host: Some(host_line(&reached.host, get.port)),
        opaque: false,
        path: path.to_owned(),
        query,
    };
    let first_name = url.host_name().to_owned();
    let mut referer: Option<String> = None;
    let mut own_host = true;
    let mut credentials = true;
    for _ in 0..MAX_REQUESTS {
        if url.scheme != "http" {
            return Err(Problem::refused(format!(
                "redirect to {}, which is not supported by this version",
                url.scheme
            )));
        }
        let port = url.port().ok_or_else(|| Problem::refused("redirect to an invalid port"))?;
        // Another port may be another server, which is no reason to give it what is meant for the first (S23). Once dropped,
        // they stay dropped, as they would otherwise come back with the next redirect (CVE-2024-45336).
        credentials &= port == get.port;

        let request = Request {
            target: &url.target(),
            host: url.host.as_deref().unwrap_or_default(),
            own_host,
            user_agent: agent,
            headers: &get.headers,
            credentials,
            referer: referer.as_deref(),
        };
        let request = request.bytes().map_err(Problem::invalid)?;
        let mut stream =
            connect(&reached.addresses, port).map_err(|error| Problem::connection(format!("{error:#}")))?;
        let body_limit = |response: &Response| match redirect_of(response) {
            Some(_) => REDIRECT_BODY_BYTES,
            None => BODY_BYTES,
        };
        let response = http::exchange(&mut stream, &request, body_limit).map_err(Problem::connection)?;
        drop(stream);

        let Some(location) = redirect_of(&response) else { return Ok(response) };
        let next =
            url.join(location).map_err(|why| Problem::refused(format!("redirect with an invalid Location: {why}")))?;
        if next.host_name() != first_name {
            return Ok(response);
        }
        // A redirect that names a host means that host; a relative one stays with the handler's own Host line.
        own_host &= Url::parse(location).is_ok_and(|location| location.scheme.is_empty());
        referer = Some(format!("http://{}{}", url.host.as_deref().unwrap_or_default(), url.target()));
        url = next;
    }
    Err(Problem::refused(format!("stopped after {MAX_REQUESTS} redirects")))
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
        return Err(Problem { class: text.clone(), error: text, too_early: false });
    }
    let notice =
        Notice::warning("LifecycleHTTPStatus", format!("{hook} got HTTP {status}; Kubernetes counts this as success"));
    let notices = if status >= 400 { vec![Notice { hook: Some(hook), ..notice }] } else { Vec::new() };
    Ok(Success { detail: Some(status.to_string()), notices, ..Success::default() })
}

#[cfg(test)]
mod tests;
