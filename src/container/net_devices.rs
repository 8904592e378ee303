//! `linux.netDevices`: devices of the host that are moved to the container's network namespace (config-linux.md, "Network Devices").

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, anyhow, bail};
use oci_spec::runtime::Spec;

use super::namespaces::Namespaces;
use crate::linux::netlink::{Address, Link, Netlink, Route};

/// It is there in every network namespace.
const LOOPBACK: &str = "lo";

/// What a device is called, here and in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    host: String,
    container: String,
}

fn wanted(config: &Spec) -> Vec<Names> {
    let devices = config.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    let names = devices.into_iter().flatten().map(|(host, device)| {
        let name = device.name().as_ref().filter(|name| !name.is_empty());
        Names { host: host.clone(), container: name.unwrap_or(host).clone() }
    });
    let mut names: Vec<Names> = names.collect();
    names.sort_by(|one, other| one.host.cmp(&other.host));
    names
}

/// Whether all devices are there and may be moved, before anything is made.
pub fn check(config: &Spec, namespaces: &Namespaces, rootless: bool) -> Result<()> {
    let wanted = wanted(config);
    if wanted.is_empty() {
        return Ok(());
    }
    if rootless {
        bail!("linux.netDevices: a rootless container cannot be given devices of the host; remove them");
    }
    if !namespaces.is_own(oci_spec::runtime::LinuxNamespaceType::Network) {
        bail!("linux.netDevices: the network namespace is the host's own; give the container another one");
    }
    let mut netlink = Netlink::open().context("open a netlink socket")?;
    for names in wanted {
        if names.host == LOOPBACK {
            bail!(
                "linux.netDevices.lo: the loopback device cannot be moved, and every network namespace has its own; remove it"
            );
        }
        netlink.link(&names.host).map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => anyhow!("linux.netDevices.{}: the host has no such device", names.host),
            _ => anyhow!(error).context(format!("linux.netDevices.{}", names.host)),
        })?;
    }
    Ok(())
}

/// A device of the host as it was.
struct Device {
    names: Names,
    link: Link,
    addresses: Vec<Address>,
    routes: Vec<Route>,
}

impl Device {
    fn read(netlink: &mut Netlink, names: Names) -> Result<Device> {
        let link = netlink.link(&names.host).context("look it up")?;
        let addresses = netlink.addresses(link.index).context("read its addresses")?;
        let routes = netlink.routes(link.index).context("read its routes")?;
        Ok(Device { names, link, addresses, routes })
    }

    /// Makes it again what it was, as far as it can be; it has lost most of that when it was set down.
    fn restore(&self, netlink: &mut Netlink) {
        let Ok(Link { index, .. }) = netlink.link(&self.names.host) else { return };
        let _ = self.link.master.map(|master| netlink.set_master(index, master));
        let _ = netlink.set_up(index, self.link.up);
        for address in &self.addresses {
            let _ = netlink.add_address(index, address);
        }
        for route in &self.routes {
            let _ = netlink.add_route(index, route);
        }
    }
}

/// Devices that are in the container now. Unless they are kept, dropping this brings them back as they were.
pub struct Moved {
    ours: OwnedFd,
    here: Netlink,
    there: Netlink,
    devices: Vec<Device>,
}

impl Moved {
    /// Moves all devices to the network namespace that `open` opens: addresses and all, and up.
    pub fn into(config: &Spec, open: impl FnOnce() -> Result<OwnedFd>) -> Result<Option<Moved>> {
        let wanted = wanted(config);
        if wanted.is_empty() {
            return Ok(None);
        }
        let namespace = open()?;
        let namespace = namespace.as_fd();
        let ours: OwnedFd = File::open("/proc/self/ns/net").context("open our network namespace")?.into();
        let here = Netlink::open().context("open a netlink socket")?;
        let there = Netlink::open_in(namespace, ours.as_fd()).context("open a netlink socket in the container")?;
        let mut moved = Moved { ours, here, there, devices: Vec::new() };
        for names in wanted {
            let field = format!("linux.netDevices.{}", names.host);
            moved.take(names, namespace).context(field)?;
        }
        Ok(Some(moved))
    }

    fn take(&mut self, names: Names, namespace: BorrowedFd<'_>) -> Result<()> {
        if self.there.link(&names.container).is_ok() {
            bail!("the container's network namespace has a device {} already; choose another name", names.container);
        }
        let device = Device::read(&mut self.here, names)?;
        let (index, name) = (device.link.index, device.names.container.clone());
        let addresses: Vec<Address> = device.addresses.iter().filter_map(Address::elsewhere).collect();
        // From here on it is not as it was. A name can only be changed of a device that is down, on kernels before 6.3.
        self.devices.push(device);
        self.here.set_up(index, false).context("set it down")?;
        self.here.move_to(index, namespace, &name).map_err(|error| {
            let cause = match error.raw_os_error() {
                Some(libc::EINVAL) => {
                    " (a bridge, or another device that belongs to the host's network, cannot be moved)"
                }
                _ => "",
            };
            anyhow!(error).context(format!("move it to the container as {name}{cause}"))
        })?;
        let index = self.there.link(&name).context("find it in the container")?.index;
        self.there.set_up(index, true).context("set it up in the container")?;
        let given = addresses.iter().try_for_each(|address| self.there.add_address(index, address));
        given.context("give it its addresses in the container")
    }

    /// From now on the devices are the container's.
    pub fn keep(mut self) {
        self.devices.clear();
    }
}

impl Drop for Moved {
    // Each on its own: one that cannot come back must not keep the others away. The error that brought us here is the one to tell.
    fn drop(&mut self) {
        for device in self.devices.drain(..).rev() {
            // One that could not be moved is still here.
            if let Ok(link) = self.there.link(&device.names.container) {
                let _ = self.there.set_up(link.index, false);
                let _ = self.there.move_to(link.index, self.ours.as_fd(), &device.names.host);
            }
            device.restore(&mut self.here);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_device_keeps_its_name_unless_it_is_given_another() {
        let linux = json!({"netDevices": {"eth1": {"name": "web0"}, "eth0": {}, "eth2": {"name": ""}}});
        let config = serde_json::from_value(json!({"ociVersion": "1.3.0", "linux": linux})).unwrap();
        let names = wanted(&config).into_iter().map(|names| (names.host, names.container));
        let pairs: Vec<(String, String)> = names.collect();
        let expected = [("eth0", "eth0"), ("eth1", "web0"), ("eth2", "eth2")];
        assert_eq!(pairs, expected.map(|(host, name)| (host.to_owned(), name.to_owned())));
    }
}
