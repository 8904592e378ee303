//! TLS for httpGet handlers (X-H09, X-H10): the server's certificate is not looked at.
//!
//! As the kubelet's client of lifecycle hooks: TLS 1.2 or later, no ALPN, a server name unless the host is an address, and
//! one connection for one request.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, InvalidMessage, SignatureScheme, StreamOwned};

/// What a server says first that speaks HTTP and no TLS.
const PLAIN: &[u8; 5] = b"HTTP/";

/// A connection whose handshake is done.
pub struct Tls(StreamOwned<ClientConnection, Wire>);

/// Why there is none.
#[derive(Debug)]
pub enum NoHandshake {
    /// The server answered in plain HTTP (X-H10).
    PlainHttp,
    /// It did not answer, or not to the end.
    Broken(io::Error),
    /// It answered with something that is no TLS, or that both sides cannot agree on.
    Refused(rustls::Error),
}

impl fmt::Display for NoHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoHandshake::PlainHttp => f.write_str("the server answered in plain HTTP to a TLS handshake"),
            NoHandshake::Broken(error) if error.kind() == ErrorKind::UnexpectedEof => {
                f.write_str("TLS handshake: the connection was closed")
            }
            NoHandshake::Broken(error) => write!(f, "TLS handshake: {error}"),
            NoHandshake::Refused(error) => write!(f, "TLS handshake: {}", in_words(error)),
        }
    }
}

/// The library's words are for its own users where somebody sends anything but TLS.
fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            "the server does not speak TLS".into()
        }
        rustls::Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => {
            "the server's part is longer than 64 KiB".into()
        }
        error => error.to_string(),
    }
}

impl Tls {
    /// Shakes hands on a new connection.
    ///
    /// `host`: the name or address of the URL, without brackets; a name is told to the server.
    pub fn begin(stream: TcpStream, host: &str) -> Result<Tls, NoHandshake> {
        let connection = ClientConnection::new(Arc::new(config()), server_name(host)).map_err(NoHandshake::Refused)?;
        let mut tls = StreamOwned::new(connection, Wire { stream, first: Vec::with_capacity(PLAIN.len()) });
        while tls.conn.is_handshaking() {
            if let Err(error) = tls.conn.complete_io(&mut tls.sock) {
                return Err(match (tls.sock.is_plain_http(), error.downcast::<rustls::Error>()) {
                    (true, _) => NoHandshake::PlainHttp,
                    (false, Ok(error)) => NoHandshake::Refused(error),
                    (false, Err(error)) => NoHandshake::Broken(error),
                });
            }
        }
        Ok(Tls(tls))
    }
}

impl Read for Tls {
    /// An end that TLS was not told of is an end: how a response ends is for HTTP to say (X-H20).
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The TCP connection below, of which the first bytes are remembered: they tell plain HTTP from other nonsense.
struct Wire {
    stream: TcpStream,
    first: Vec<u8>,
}

impl Wire {
    /// Whether the server's first words are HTTP's. The library needs one byte to refuse them; the others may be on the way.
    fn is_plain_http(&mut self) -> bool {
        while self.first.len() < PLAIN.len() && PLAIN.starts_with(&self.first) {
            let missing = PLAIN.len() - self.first.len();
            if !matches!(self.read(&mut [0; PLAIN.len()][..missing]), Ok(1..)) {
                return false;
            }
        }
        self.first == PLAIN
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        let missing = PLAIN.len() - self.first.len();
        self.first.extend_from_slice(&buffer[..read.min(missing)]);
        Ok(read)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn config() -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites of both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

/// A host that is an address, or no name that DNS could hold, is not told to the server.
fn server_name(host: &str) -> ServerName<'static> {
    let host = host.split_once('%').map_or(host, |(address, _)| address);
    let host = host.strip_suffix('.').unwrap_or(host);
    let nameless = || ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
    ServerName::try_from(host.to_owned()).unwrap_or_else(|_| nameless())
}

/// Accepts every server (X-H09). That is meant: a hook's server is the container itself, with a certificate that nobody
/// else knows, and Kubernetes does not verify it either. Nothing secret is kept from who can answer in its place.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // A signature by a key that anybody may have made proves nothing, and to check it the certificate would have to be one
    // that our library can read: those of version 1 are not.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    /// All that a kubelet offers.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::RSA_PKCS1_SHA1,
            SignatureScheme::ECDSA_SHA1_Legacy,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x_h09_a_name_is_told_to_the_server_and_an_address_is_not() {
        for (host, told) in [
            ("example.com", Some("example.com")),
            ("example.com.", Some("example.com")),
            ("my_service", Some("my_service")),
            ("127.0.0.1", None),
            ("::1", None),
            ("fe80::1%eth0", None),
            ("a..b", None),
            ("-", None),
            ("", None),
            (&"x".repeat(300), None),
        ] {
            let name = server_name(host);
            let name = if let ServerName::DnsName(name) = &name { Some(name.as_ref()) } else { None };
            assert_eq!(name, told, "{host}");
        }
    }
}
