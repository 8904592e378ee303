//! The URLs of httpGet handlers and of redirects, read and written as the kubelet's own library does it, surprises included
//! (rows X-H12, X-H18).
//!
//! Everything here is text: nothing is resolved and no connection is made.

use std::fmt;

/// A parsed URL or URL reference. The fragment is never kept, as it is never sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Lower case; empty in a relative reference.
    pub scheme: String,
    /// `host`, `host:port`, `[v6]:port` as written, without user and password; None in a relative reference.
    pub host: Option<String>,
    /// What follows the scheme of a URL without slashes (`mailto:x`); such a URL leads nowhere.
    pub opaque: bool,
    /// As it goes on the wire: percent-encoded where it has to be.
    pub path: String,
    pub query: Option<String>,
}

/// Why a text is no URL; for messages.
pub type Invalid = &'static str;

impl Url {
    pub fn parse(text: &str) -> Result<Url, Invalid> {
        let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
        if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err("invalid control character in URL");
        }
        unescape(fragment)?;
        let (scheme, rest) = split_scheme(text)?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(blanks_escaped(query))),
            None => (rest, None),
        };
        let mut url =
            Url { scheme: scheme.to_ascii_lowercase(), host: None, opaque: false, path: String::new(), query };
        if !rest.starts_with('/') {
            if !scheme.is_empty() {
                return Ok(Url { opaque: true, ..url });
            }
            if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
                return Err("first path segment in URL cannot contain colon");
            }
        }
        // `///x` without a scheme is a path; `//x` is a host.
        let has_authority = rest.starts_with("//") && (!scheme.is_empty() || !rest.starts_with("///"));
        let path = if has_authority {
            let rest = &rest[2..];
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            url.host = Some(parse_authority(authority)?);
            path
        } else {
            rest
        };
        url.path = wire_path(path)?;
        Ok(url)
    }

    /// Resolves what a Location header says against the URL that was asked for (RFC 3986 section 5.2).
    pub fn join(&self, reference: &str) -> Result<Url, Invalid> {
        let mut url = Url::parse(reference)?;
        let has_scheme = !url.scheme.is_empty();
        if !has_scheme {
            url.scheme.clone_from(&self.scheme);
        }
        if url.opaque {
            return Ok(url);
        }
        if has_scheme || url.host.is_some() {
            url.path = without_dots(&url.path);
            return Ok(url);
        }
        if url.path.is_empty() && url.query.is_none() {
            url.query.clone_from(&self.query);
        }
        url.host.clone_from(&self.host);
        url.path = without_dots(&match url.path.as_str() {
            "" => self.path.clone(),
            path if path.starts_with('/') => path.to_owned(),
            path => format!("{}{path}", &self.path[..self.path.rfind('/').map_or(0, |slash| slash + 1)]),
        });
        Ok(url)
    }

    /// The host name or address alone: no port, no brackets.
    pub fn host_name(&self) -> &str {
        let (name, _) = split_port(self.host.as_deref().unwrap_or(""));
        name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
    }

    /// The port as written, or the scheme's own. None when it is no port number.
    pub fn port(&self) -> Option<u16> {
        match split_port(self.host.as_deref().unwrap_or("")) {
            (_, Some("") | None) => Some(if self.scheme == "https" { 443 } else { 80 }),
            (_, Some(port)) => port.parse().ok(),
        }
    }

    /// What a request line asks for: path and query.
    pub fn target(&self) -> String {
        let path = if self.path.starts_with('/') { "" } else { "/" }.to_owned() + &self.path;
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.host.as_deref().unwrap_or_default(), self.target())
    }
}

/// The path and query that a handler's `path` asks for (X-H12).
pub fn request_target(path: &str) -> Result<String, Invalid> {
    match Url::parse(path) {
        Ok(url) if url.opaque => Err("no host in request URL"),
        Ok(url) => Ok(url.target()),
        // Kubernetes sends what it cannot parse, with everything in it taken for the path.
        Err(_) => {
            let slash = if path.starts_with('/') { "" } else { "/" };
            Ok(format!("{slash}{}", escape(path.as_bytes())))
        }
    }
}

fn split_scheme(text: &str) -> Result<(&str, &str), Invalid> {
    let Some(end) = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))) else {
        return Ok(("", text));
    };
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic());
    match text.as_bytes()[end] {
        b':' if end == 0 => Err("missing protocol scheme"),
        b':' if begins_well => Ok((&text[..end], &text[end + 1..])),
        _ => Ok(("", text)),
    }
}

/// Host and port, without user and password, which are never used.
fn parse_authority(authority: &str) -> Result<String, Invalid> {
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if !user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte)) {
        return Err("invalid userinfo");
    }
    unescape(user)?;
    if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        if !is_optional_port(&host[end + 1..]) {
            return Err("invalid port after host");
        }
    } else if let Some(colon) = host.rfind(':')
        && !is_optional_port(&host[colon..])
    {
        return Err("invalid port after host");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte);
    if !host.bytes().all(allowed) {
        return Err("invalid character in host name");
    }
    String::from_utf8(unescape(host)?).map_err(|_| "invalid character in host name")
}

fn is_optional_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rfind(':') {
        Some(colon) if is_optional_port(&host[colon..]) => (&host[..colon], Some(&host[colon + 1..])),
        _ => (host, None),
    }
}

/// The path as it is written where that is valid, else encoded anew.
fn wire_path(path: &str) -> Result<String, Invalid> {
    let decoded = unescape(path)?;
    let valid = path.bytes().all(|byte| !must_escape(byte) || b"!'()*[]%".contains(&byte));
    Ok(if valid { path.to_owned() } else { escape(&decoded) })
}

fn must_escape(byte: u8) -> bool {
    !(byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte))
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match must_escape(*byte) {
            true => text.push_str(&format!("%{byte:02X}")),
            false => text.push(char::from(*byte)),
        }
    }
    text
}

fn unescape(text: &str) -> Result<Vec<u8>, Invalid> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err("invalid URL escape") };
        bytes.push((high * 16 + low) as u8);
    }
    Ok(bytes)
}

/// A query is kept as written, but a blank in it would end the request line's target.
fn blanks_escaped(query: &str) -> String {
    query.replace(' ', "%20")
}

/// Removes `.` and `..` segments; the result begins with one slash, unless there is nothing at all.
fn without_dots(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let mut kept: Vec<&str> = Vec::new();
    let segments = path.strip_prefix('/').unwrap_or(path);
    for segment in segments.split('/') {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let is_directory = matches!(segments.rsplit('/').next(), Some("." | ".."));
    let slash = if is_directory && !kept.is_empty() { "/" } else { "" };
    format!("/{}{slash}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x_h12_a_path_becomes_the_request_target() {
        for (path, target) in [
            ("", "/"),
            ("/", "/"),
            ("healthz", "/healthz"),
            ("/a/b", "/a/b"),
            ("/a//b/../c/.", "/a//b/../c/."),
            ("/a?x=1&y=%20", "/a?x=1&y=%20"),
            ("/a?", "/a?"),
            ("/a??", "/a??"),
            ("?x=1", "/?x=1"),
            ("/a?x y", "/a?x%20y"),
            ("/a#part", "/a"),
            ("/a?x#part?y", "/a?x"),
            ("/%zz", "/%25zz"),
            ("%zz", "/%25zz"),
            ("/%", "/%25"),
            ("/%4", "/%254"),
            ("/%zz?x=1#y", "/%25zz%3Fx=1%23y"),
            ("/a%2fb", "/a%2fb"),
            ("/a b", "/a%20b"),
            ("/a b%2f", "/a%20b/"),
            ("/é", "/%C3%A9"),
            ("/a\nHost: evil", "/a%0AHost:%20evil"),
            ("/a\r\n", "/a%0D%0A"),
            ("/a?x\ry", "/a%3Fx%0Dy"),
            ("/a\0", "/a%00"),
            ("/\"<>\\^`{|}", "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
            ("/!$&'()*+,;=:@[]~", "/!$&'()*+,;=:@[]~"),
            ("*", "/*"),
            ("1:2", "/1:2"),
            (":x", "/:x"),
            ("a_b:c/d", "/a_b:c/d"),
            ("http://other:1234/x?y=1#z", "/x?y=1"),
            ("https://user:secret@other", "/"),
            ("ftp://other/x", "/x"),
            ("http:/x", "/x"),
            ("//other/x", "/x"),
            ("///other/x", "///other/x"),
            ("http://other:port/x", "/http://other:port/x"),
            ("http://[::1/x", "/http://%5B::1/x"),
            ("http://a b/x", "/http://a%20b/x"),
            ("/x#%zz", "/x%23%25zz"),
        ] {
            assert_eq!(request_target(path).as_deref(), Ok(target), "{path:?}");
        }
        assert_eq!(request_target("mailto:someone"), Err("no host in request URL"));
    }

    #[test]
    fn x_h18_a_location_is_resolved_against_the_url_that_was_asked_for() {
        let base = Url::parse("http://h:80/a/b/c?q=1").unwrap();
        for (location, host, target) in [
            ("/x", "h:80", "/x"),
            ("x", "h:80", "/a/b/x"),
            ("./x", "h:80", "/a/b/x"),
            ("../x", "h:80", "/a/x"),
            ("../../../../x", "h:80", "/x"),
            ("..", "h:80", "/a/"),
            (".", "h:80", "/a/b/"),
            ("../..", "h:80", "/"),
            ("?y", "h:80", "/a/b/c?y"),
            ("#z", "h:80", "/a/b/c?q=1"),
            ("//other/x", "other", "/x"),
            ("http://h:81/x?y#z", "h:81", "/x?y"),
            ("http://h", "h", "/"),
            ("HTTP://h:/x", "h:", "/x"),
        ] {
            let url = base.join(location).unwrap();
            assert_eq!((url.host.as_deref(), url.target().as_str()), (Some(host), target), "{location:?}");
            assert_eq!(url.scheme, "http", "{location:?}");
        }
        for location in ["http://h:port/", "%zz", "/\u{1}", "http://[::1/", ":"] {
            assert!(base.join(location).is_err(), "{location:?}");
        }
    }

    #[test]
    fn x_h18_the_host_name_has_no_port_no_brackets_and_no_user() {
        for (text, name, port) in [
            ("http://h/", "h", Some(80)),
            ("http://h:/", "h", Some(80)),
            ("http://h:8080/", "h", Some(8080)),
            ("https://h/", "h", Some(443)),
            ("http://u:p@h:1/", "h", Some(1)),
            ("http://h:1@other:2/", "other", Some(2)),
            ("http://[::1]:8080/", "::1", Some(8080)),
            ("http://[::1]/", "::1", Some(80)),
            ("http://[fe80::1%25eth0]/", "fe80::1%eth0", Some(80)),
            ("http://h:99999/", "h", None),
            ("http:///x", "", Some(80)),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host_name(), url.port()), (name, port), "{text}");
        }
    }
}
