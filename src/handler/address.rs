//! Where a probe connects to: the handler's host, or an address of the container's network namespace (X-H03, X-H04).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, ToSocketAddrs};

use anyhow::{Context, Result, bail};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

/// A handler's host after the host's resolver was asked and before the namespaces are joined.
#[derive(Debug, PartialEq, Eq)]
pub enum Host {
    /// None was given: the container's own address.
    Own,
    Addresses(Vec<IpAddr>),
    /// An IPv6 address with a zone, which is an interface of the namespace that is not joined yet.
    Zoned(Ipv6Addr, String),
}

/// Resolves a handler's host with the host's resolver; must be called before the container's namespaces are joined.
pub fn resolve(host: Option<&str>) -> Result<Host> {
    let Some(host) = host.filter(|host| !host.is_empty()) else { return Ok(Host::Own) };
    if let Ok(address) = host.parse() {
        return Ok(Host::Addresses(vec![address]));
    }
    if let Some((address, zone)) = host.split_once('%')
        && let Ok(address) = address.parse()
    {
        return Ok(Host::Zoned(address, zone.to_owned()));
    }
    let found = (host, 0).to_socket_addrs().with_context(|| format!("resolve {}", host.escape_debug()))?;
    let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    if addresses.is_empty() {
        bail!("resolve {host}: no address");
    }
    Ok(Host::Addresses(addresses))
}

/// The addresses to connect to (ports 0), asked for in the namespace that the connection is made in.
///
/// `own_network`: whether that is not the host's own namespace, where `127.0.0.1` is used. The flag in the result says that
/// loopback had to do because the container has no address.
pub fn addresses(host: Host, own_network: bool) -> Result<(Vec<SocketAddr>, bool)> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let plain = |address| SocketAddr::new(address, 0);
    Ok(match host {
        Host::Addresses(addresses) => (addresses.into_iter().map(plain).collect(), false),
        Host::Zoned(address, zone) => {
            let scope = if_nametoindex(zone.as_str())
                .map_err(io::Error::from)
                .with_context(|| format!("zone {} of {address}", zone.escape_debug()))?;
            (vec![SocketAddrV6::new(address, 0, 0, scope).into()], false)
        }
        Host::Own if !own_network => (vec![plain(loopback)], false),
        Host::Own => match choose(&of_this_namespace()?) {
            Some(address) => (vec![plain(address)], false),
            None => (vec![plain(loopback)], true),
        },
    })
}

/// The first global IPv4 address, else the first global IPv6 address.
fn choose(addresses: &[IpAddr]) -> Option<IpAddr> {
    let global: Vec<IpAddr> = addresses.iter().copied().filter(|address| is_global(*address)).collect();
    global.iter().find(|address| address.is_ipv4()).or(global.first()).copied()
}

/// Neither loopback nor link-local; a private network counts, as a Pod's address usually is one.
fn is_global(address: IpAddr) -> bool {
    let special = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !special && !link_local
}

/// The addresses of the interfaces that are up, in the kernel's order.
fn of_this_namespace() -> Result<Vec<IpAddr>> {
    let interfaces = getifaddrs().map_err(io::Error::from).context("list the addresses of the network namespace")?;
    Ok(interfaces
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect())
}

/// Connects to one address after the other; the first error is the one that is told.
pub fn connect(addresses: &[SocketAddr], port: u16) -> Result<TcpStream> {
    let mut first = None;
    for address in addresses {
        let mut address = *address;
        address.set_port(port);
        match TcpStream::connect(address).and_then(not_to_itself) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                first.get_or_insert(anyhow::Error::new(error).context(format!("connect to {address}")));
            }
        }
    }
    Err(first.expect("resolve gives at least one address"))
}

/// Linux connects a socket to itself when nobody listens and the port it was given for its own end is the one it asks for.
fn not_to_itself(stream: TcpStream) -> io::Result<TcpStream> {
    match stream.local_addr()? == stream.peer_addr()? {
        true => Err(io::Error::from_raw_os_error(libc::ECONNREFUSED)),
        false => Ok(stream),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn ips(addresses: &[&str]) -> Vec<IpAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn x_h03_the_first_global_ipv4_address_is_chosen_else_the_first_global_ipv6() {
        for (given, chosen) in [
            (&[][..], None),
            (&["127.0.0.1", "::1"], None),
            (&["127.0.0.1", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1", "0.0.0.0", "::"], None),
            (&["127.0.0.1", "10.0.0.2"], Some("10.0.0.2")),
            (&["10.0.0.3", "10.0.0.2"], Some("10.0.0.3")),
            (&["fd00::2", "10.0.0.2"], Some("10.0.0.2")),
            (&["::1", "fe80::1", "fd00::2", "2001:db8::1"], Some("fd00::2")),
            (&["169.254.1.1", "2001:db8::1"], Some("2001:db8::1")),
            (&["127.0.0.1", "192.168.1.1", "8.8.8.8"], Some("192.168.1.1")),
        ] {
            assert_eq!(choose(&ips(given)), chosen.map(|address| address.parse().unwrap()), "{given:?}");
        }
    }

    #[test]
    fn x_h03_loopback_is_used_in_the_hosts_own_network_without_a_warning() {
        assert_eq!(addresses(Host::Own, false).unwrap(), (vec!["127.0.0.1:0".parse().unwrap()], false));
    }

    #[test]
    fn x_h03_the_addresses_of_this_namespace_can_be_listed() {
        let (found, is_loopback) = addresses(Host::Own, true).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].ip().is_loopback(), is_loopback);
    }

    #[test]
    fn x_h04_a_host_is_used_as_it_stands() {
        assert_eq!(resolve(None).unwrap(), Host::Own);
        assert_eq!(resolve(Some("")).unwrap(), Host::Own);
        assert_eq!(resolve(Some("10.1.2.3")).unwrap(), Host::Addresses(ips(&["10.1.2.3"])));
        assert_eq!(resolve(Some("fd00::1")).unwrap(), Host::Addresses(ips(&["fd00::1"])));
        assert_eq!(resolve(Some("fe80::1%eth0")).unwrap(), Host::Zoned("fe80::1".parse().unwrap(), "eth0".into()));
        let Host::Addresses(found) = resolve(Some("localhost")).unwrap() else { panic!("localhost is a name") };
        assert!(found.iter().all(|address| address.is_loopback()), "{found:?}");
    }

    #[test]
    fn x_h04_a_zone_is_an_interface_of_the_namespace_that_was_joined() {
        let zoned = |zone: &str| addresses(Host::Zoned("fe80::1".parse().unwrap(), zone.into()), true);
        let (found, _) = zoned("lo").unwrap();
        assert!(matches!(found[0], SocketAddr::V6(address) if address.scope_id() == 1), "{found:?}");
        assert!(zoned("nosuch0").is_err());
    }

    #[test]
    fn x_h04_a_name_without_an_address_is_an_error_that_names_it() {
        let name = format!("{}.invalid", "x".repeat(300));
        let error = format!("{:#}", resolve(Some(&name)).unwrap_err());
        assert!(error.starts_with(&format!("resolve {name}: ")), "{error}");
    }

    #[test]
    fn x_t01_a_socket_that_is_connected_to_itself_has_found_nobody() {
        use std::os::fd::AsRawFd;

        use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, getsockname, socket};
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        connect(socket.as_raw_fd(), &getsockname::<SockaddrIn>(socket.as_raw_fd()).unwrap()).unwrap();
        assert_eq!(not_to_itself(socket.into()).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn x_t01_each_address_of_a_name_is_tried_in_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut many: Vec<SocketAddr> = (2..51).map(|last| SocketAddr::from(([127, 0, 0, last], 0))).collect();
        let error = format!("{:#}", connect(&many, port).unwrap_err());
        assert_eq!(error, format!("connect to 127.0.0.2:{port}: Connection refused (os error 111)"));
        many.push(SocketAddr::from(([127, 0, 0, 1], 0)));
        assert_eq!(connect(&many, port).unwrap().peer_addr().unwrap(), listener.local_addr().unwrap());
    }
}
