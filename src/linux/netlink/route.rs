//! Routes over a network device, so that they can be given back to it (rtnetlink(7), RTM_NEWROUTE; include/uapi/linux/rtnetlink.h).

use std::io;

use super::{Netlink, attribute, attributes, number};

/// Of `struct rtmsg`, and of `struct rtnexthop`, a list of which is in RTA_MULTIPATH.
const BODY: usize = 12;
const HOP: usize = 8;
const NH_ID: u16 = 30;
const RTPROT_RA: u8 = 9;
/// Of the flags those that may be given; the others say how it goes (RTNH_F_DEAD, RTNH_F_LINKDOWN, ...).
const GIVEN_FLAGS: u8 = 2 | 4; // RTNH_F_PERVASIVE, RTNH_F_ONLINK

/// A route that somebody made, as the kernel writes it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The device that it goes over, by its number at the time.
    device: u32,
    body: Vec<u8>,
}

impl Route {
    fn parse(body: &[u8], device: u32) -> Option<Route> {
        let family = i32::from(body[0]);
        // What the kernel makes by itself, or learns, comes with the addresses.
        let by_kernel = [libc::RTPROT_KERNEL, libc::RTPROT_REDIRECT, RTPROT_RA].contains(&body[5]);
        let is_cached = number(&body[8..12]) & libc::RTM_F_CLONED != 0;
        if ![libc::AF_INET, libc::AF_INET6].contains(&family) || by_kernel || is_cached {
            return None;
        }
        let leads_there = attributes(&body[BODY..]).any(|(kind, value)| match kind {
            libc::RTA_OIF => value == device.to_ne_bytes(),
            libc::RTA_MULTIPATH => hops(value).any(|hop| hop[4..8] == device.to_ne_bytes()),
            _ => false,
        });
        leads_there.then(|| Route { device, body: body.to_vec() })
    }

    /// What of it is needed to make it again, over the device that is called `index` now.
    fn request(&self, index: u32) -> Vec<u8> {
        let mut request = self.body[..8].to_vec();
        let flags = number(&self.body[8..BODY]) & u32::from(GIVEN_FLAGS);
        request.extend(flags.to_ne_bytes());
        let renamed = |bytes: &[u8]| if bytes == self.device.to_ne_bytes() { index } else { number(bytes) };
        for (kind, value) in attributes(&self.body[BODY..]) {
            match kind {
                // The object that is a next hop went with the device; the route tells what it was.
                libc::RTA_CACHEINFO | NH_ID => {}
                libc::RTA_OIF if value.len() == 4 => attribute(&mut request, kind, &renamed(value).to_ne_bytes()),
                libc::RTA_MULTIPATH => {
                    let mut given = Vec::new();
                    for hop in hops(value) {
                        given.extend([&hop[..2], &[hop[2] & GIVEN_FLAGS, hop[3]]].concat());
                        given.extend(renamed(&hop[4..8]).to_ne_bytes());
                        given.extend(&hop[HOP..]);
                        given.resize(given.len().next_multiple_of(4), 0);
                    }
                    attribute(&mut request, kind, &given);
                }
                _ => attribute(&mut request, kind, value),
            }
        }
        request
    }

    /// Whether the way to its next hop is another route.
    fn has_gateway(&self) -> bool {
        let by_way = [libc::RTA_GATEWAY, libc::RTA_VIA, libc::RTA_MULTIPATH];
        attributes(&self.body[BODY..]).any(|(kind, _)| by_way.contains(&kind))
    }
}

/// Each `struct rtnexthop` with what belongs to it.
fn hops(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let hop = bytes.get(..length).filter(|hop| hop.len() >= HOP)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(hop)
    })
}

impl Netlink {
    /// The routes over a device that somebody made, of all tables, in an order in which they can be made again.
    pub fn routes(&mut self, device: u32) -> io::Result<Vec<Route>> {
        let answers = self.request(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &[0; BODY])?;
        let whole = answers.iter().filter(|body| body.len() >= BODY);
        let mut routes: Vec<Route> = whole.filter_map(|body| Route::parse(body, device)).collect();
        routes.sort_by_key(Route::has_gateway);
        Ok(routes)
    }

    /// Makes a route again, over the device that is called `index` now.
    pub fn add_route(&mut self, index: u32, route: &Route) -> io::Result<()> {
        match self.request(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &route.request(index)) {
            // It survived, as one of several hops does, or came back by itself.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            made => made.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(family: libc::c_int, protocol: u8, flags: u32, given: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![family as u8, 24, 0, 0, libc::RT_TABLE_MAIN, protocol, 0, 1];
        body.extend(flags.to_ne_bytes());
        for (kind, value) in given {
            attribute(&mut body, *kind, value);
        }
        body
    }

    #[test]
    fn a_route_is_made_again_over_the_number_that_the_device_has_now() {
        let (old, other) = (7u32.to_ne_bytes(), 9u32.to_ne_bytes());
        let hop = |flags: u8, device: [u8; 4]| [&[8, 0, flags, 0][..], &device].concat();
        let paths = [hop(16, old), hop(4, other)].concat();
        let text =
            body(libc::AF_INET, 4, 16, &[(libc::RTA_DST, &[192, 0, 2, 0]), (libc::RTA_OIF, &old), (NH_ID, &old)]);
        let request = Route::parse(&text, 7).unwrap().request(8);
        let expected = [(libc::RTA_DST, &[192, 0, 2, 0][..]), (libc::RTA_OIF, &8u32.to_ne_bytes()[..])];
        assert_eq!(request, body(libc::AF_INET, 4, 0, &expected));
        let several = Route::parse(&body(libc::AF_INET6, 4, 0, &[(libc::RTA_MULTIPATH, &paths)]), 7).unwrap();
        let expected = [hop(0, 8u32.to_ne_bytes()), hop(4, other)].concat();
        assert_eq!(several.request(8), body(libc::AF_INET6, 4, 0, &[(libc::RTA_MULTIPATH, &expected)]));
        assert!(several.has_gateway());
    }

    #[test]
    fn routes_of_the_kernel_of_other_families_and_over_other_devices_are_left_alone() {
        let over = [(libc::RTA_OIF, &7u32.to_ne_bytes()[..])];
        assert!(Route::parse(&body(libc::AF_INET, 3, 0, &over), 7).is_some());
        assert_eq!(Route::parse(&body(libc::AF_INET, 3, 0, &over), 8), None);
        assert_eq!(Route::parse(&body(libc::AF_INET, libc::RTPROT_KERNEL, 0, &over), 7), None);
        assert_eq!(Route::parse(&body(libc::AF_INET, 3, libc::RTM_F_CLONED, &over), 7), None);
        assert_eq!(Route::parse(&body(libc::AF_MPLS, 3, 0, &over), 7), None);
        assert_eq!(Route::parse(&body(libc::AF_INET, 3, 0, &[(libc::RTA_MULTIPATH, &[1, 0, 0])]), 7), None);
    }
}
