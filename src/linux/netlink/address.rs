//! Addresses of network devices (rtnetlink(7), RTM_NEWADDR; include/uapi/linux/if_addr.h).

use std::io;

use super::{Netlink, attribute, attributes, number, to_number};

/// Of `struct ifaddrmsg`.
const BODY: usize = 8;
const RT_PRIORITY: u16 = 9;
const PROTO: u16 = 11;
/// Of IFA_PROTO: from here on somebody else than the kernel gave it.
const FIRST_GIVEN: u8 = 4;

/// An address of a device, as the kernel writes it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    flags: u32,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    fn parse(body: &[u8]) -> Address {
        let (mut flags, mut kept) = (u32::from(body[2]), Vec::new());
        for (kind, value) in attributes(&body[BODY..]) {
            if kind == libc::IFA_FLAGS {
                flags = to_number(value).unwrap_or(flags);
            }
            kept.push((kind, value.to_vec()));
        }
        Address { family: body[0], prefix: body[1], scope: body[3], flags, attributes: kept }
    }

    /// Not the kernel's own, which comes by itself when the device is up.
    fn is_given(&self) -> bool {
        let by_kernel = self.attributes.iter().any(|(kind, value)| {
            *kind == PROTO && value.first().is_some_and(|protocol| (1..FIRST_GIVEN).contains(protocol))
        });
        // The bit is another one's in IPv4, where it is that of a second address of one network.
        let temporary = i32::from(self.family) == libc::AF_INET6 && self.flags & libc::IFA_F_TEMPORARY != 0;
        !by_kernel && !temporary
    }

    /// What of it makes sense in another network namespace: one that is permanent and counts everywhere, without a label, which is
    /// made of the device's name, and without what concerns routes, which stay behind.
    pub fn elsewhere(&self) -> Option<Address> {
        if self.scope != libc::RT_SCOPE_UNIVERSE || self.flags & libc::IFA_F_PERMANENT == 0 {
            return None;
        }
        let kept = [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST];
        let attributes = self.attributes.iter().filter(|(kind, _)| kept.contains(kind)).cloned().collect();
        Some(Address { attributes, ..self.clone() })
    }
}

impl Netlink {
    /// The addresses of a device, except those that the kernel gave it.
    pub fn addresses(&mut self, index: u32) -> io::Result<Vec<Address>> {
        let answers = self.request(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; BODY])?;
        let of_device = answers.iter().filter(|body| body.len() >= BODY && number(&body[4..8]) == index);
        Ok(of_device.map(|body| Address::parse(body)).filter(Address::is_given).collect())
    }

    /// Gives a device an address, or changes the one that it has.
    pub fn add_address(&mut self, index: u32, address: &Address) -> io::Result<()> {
        let mut request = vec![address.family, address.prefix, 0, address.scope];
        request.extend(index.to_ne_bytes());
        let kept = [
            libc::IFA_ADDRESS,
            libc::IFA_LOCAL,
            libc::IFA_BROADCAST,
            libc::IFA_LABEL,
            libc::IFA_CACHEINFO,
            libc::IFA_FLAGS,
            RT_PRIORITY,
            PROTO,
        ];
        for (kind, value) in address.attributes.iter().filter(|(kind, _)| kept.contains(kind)) {
            attribute(&mut request, *kind, value);
        }
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        self.request(libc::RTM_NEWADDR, flags, &request).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 192.0.2.7/24 with a label and a metric.
    fn dumped(scope: u8, flags: u32, more: &[(u16, &[u8])]) -> Address {
        let mut body = vec![libc::AF_INET as u8, 24, flags as u8, scope, 2, 0, 0, 0];
        let own: [(u16, &[u8]); 4] = [
            (libc::IFA_LOCAL, &[192, 0, 2, 7]),
            (libc::IFA_LABEL, b"eth0:1\0"),
            (RT_PRIORITY, &[100, 0, 0, 0]),
            (libc::IFA_FLAGS, &flags.to_ne_bytes()),
        ];
        for (kind, value) in own.iter().chain(more) {
            attribute(&mut body, *kind, value);
        }
        Address::parse(&body)
    }

    #[test]
    fn only_what_is_permanent_and_global_goes_elsewhere_and_without_label_and_metric() {
        let permanent = libc::IFA_F_PERMANENT | libc::IFA_F_NOPREFIXROUTE;
        let address = dumped(libc::RT_SCOPE_UNIVERSE, permanent, &[]);
        assert_eq!(address.flags, permanent);
        assert_eq!(address.elsewhere().unwrap().attributes, [(libc::IFA_LOCAL, vec![192, 0, 2, 7])]);
        assert_eq!(dumped(libc::RT_SCOPE_UNIVERSE, 0, &[]).elsewhere(), None);
        assert_eq!(dumped(libc::RT_SCOPE_LINK, permanent, &[]).elsewhere(), None);
    }

    #[test]
    fn what_the_kernel_gave_a_device_is_not_given_back() {
        assert!(dumped(0, 0, &[]).is_given());
        assert!(dumped(0, 0, &[(PROTO, &[FIRST_GIVEN])]).is_given());
        assert!(!dumped(0, 0, &[(PROTO, &[3])]).is_given());
        // Of IPv4 it is a second address.
        assert!(dumped(0, libc::IFA_F_TEMPORARY, &[]).is_given());
    }
}
