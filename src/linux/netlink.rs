//! rtnetlink(7): network devices, their addresses and routes, in the network namespace that the socket was made in.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

mod address;
mod route;

pub use address::Address;
pub use route::Route;

/// The kernel's largest answer is 32 KiB (NLMSG_GOODSIZE and what it grows to in dumps).
const LARGEST: usize = 64 << 10;
const HEADER: usize = 16;
/// Of `struct ifinfomsg`.
const LINK_BODY: usize = 16;

pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// A network device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub up: bool,
    /// The bridge or the like that it is a port of, by its number.
    pub master: Option<u32>,
}

impl Netlink {
    /// In the network namespace of this thread.
    pub fn open() -> io::Result<Netlink> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// In another one, which this thread enters and leaves for it. `ours` is the one to come back to.
    pub fn open_in(namespace: BorrowedFd<'_>, ours: BorrowedFd<'_>) -> io::Result<Netlink> {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        let opened = Netlink::open();
        setns(ours, CloneFlags::CLONE_NEWNET)?;
        opened
    }

    /// The device of that name.
    ///
    /// # Errors
    /// ENODEV where there is none.
    pub fn link(&mut self, name: &str) -> io::Result<Link> {
        let mut request = vec![0; LINK_BODY];
        attribute(&mut request, libc::IFLA_IFNAME, &terminated(name));
        let answers = self.request(libc::RTM_GETLINK, 0, &request)?;
        let body = answers.first().filter(|body| body.len() >= LINK_BODY).ok_or_else(too_short)?;
        let up = number(&body[8..12]) & libc::IFF_UP.unsigned_abs() != 0;
        let master = attributes(&body[LINK_BODY..]).find(|(kind, _)| *kind == libc::IFLA_MASTER);
        Ok(Link { index: number(&body[4..8]), up, master: master.and_then(|(_, value)| to_number(value)) })
    }

    pub fn set_up(&mut self, index: u32, up: bool) -> io::Result<()> {
        let bit = libc::IFF_UP.unsigned_abs();
        self.request(libc::RTM_NEWLINK, 0, &link_body(index, if up { bit } else { 0 }, bit)).map(drop)
    }

    /// Makes it a port of a bridge or the like.
    pub fn set_master(&mut self, index: u32, master: u32) -> io::Result<()> {
        let mut request = link_body(index, 0, 0);
        attribute(&mut request, libc::IFLA_MASTER, &master.to_ne_bytes());
        self.request(libc::RTM_NEWLINK, 0, &request).map(drop)
    }

    /// Moves a device that is down to another network namespace, under that name.
    ///
    /// # Errors
    /// EEXIST where the name is taken there; EINVAL for one that belongs to its namespace, such as `lo` or a bridge.
    pub fn move_to(&mut self, index: u32, namespace: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let mut request = link_body(index, 0, 0);
        attribute(&mut request, libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        attribute(&mut request, libc::IFLA_IFNAME, &terminated(name));
        self.request(libc::RTM_NEWLINK, 0, &request).map(drop)
    }

    /// Sends a request, and gives the bodies of what is answered.
    fn request(&mut self, kind: u16, flags: libc::c_int, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(body);
        send(self.socket.as_fd().as_raw_fd(), &message, MsgFlags::empty())?;
        self.answers()
    }

    fn answers(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut bodies = Vec::new();
        let mut buffer = vec![0; LARGEST];
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
                Err(nix::errno::Errno::EINTR) => continue,
                length => length?,
            };
            let mut rest = buffer.get(..length).ok_or_else(too_short)?;
            while rest.len() >= HEADER {
                let size = number(&rest[..4]) as usize;
                let body = rest.get(HEADER..size).ok_or_else(too_short)?;
                let ours = number(&rest[8..12]) == self.sequence;
                match i32::from(u16::from_ne_bytes([rest[4], rest[5]])) {
                    _ if !ours => {}
                    libc::NLMSG_DONE => return Ok(bodies),
                    libc::NLMSG_ERROR => {
                        return match i32::from_ne_bytes(body.get(..4).ok_or_else(too_short)?.try_into().expect("4")) {
                            0 => Ok(bodies),
                            errno => Err(io::Error::from_raw_os_error(-errno)),
                        };
                    }
                    _ => bodies.push(body.to_vec()),
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

fn too_short() -> io::Error {
    io::Error::other("the kernel's answer is incomplete")
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_ne_bytes(bytes.try_into().expect("the callers give four bytes"))
}

/// A number of four bytes in an attribute; None where it has another length.
fn to_number(value: &[u8]) -> Option<u32> {
    (value.len() == 4).then(|| number(value))
}

fn terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// A `struct ifinfomsg`.
fn link_body(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}

/// Appends a `struct rtattr`.
fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = 4 + value.len() as u16;
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_found_and_a_missing_one_is_not() {
        let mut netlink = Netlink::open().unwrap();
        assert_eq!(netlink.link("lo").unwrap().index, 1);
        let error = netlink.link("no-such-device").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        // Its addresses count on this host only.
        assert!(netlink.addresses(1).unwrap().iter().all(|address| address.elsewhere().is_none()));
    }

    #[test]
    fn attributes_read_back_as_they_were_written_and_half_ones_end_the_list() {
        let mut message = Vec::new();
        attribute(&mut message, 3, b"ab\0");
        attribute(&mut message, 7, &[1, 2, 3, 4]);
        assert_eq!(message.len(), 16);
        let read: Vec<(u16, &[u8])> = attributes(&message).collect();
        assert_eq!(read, [(3, &b"ab\0"[..]), (7, &[1, 2, 3, 4][..])]);
        assert_eq!(attributes(&message[..14]).count(), 1);
        assert_eq!(attributes(&[0, 0, 0, 0]).count(), 0);
    }
}
