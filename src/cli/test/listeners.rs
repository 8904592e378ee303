//! Who listens in a container's network, for a hook that asked at the wrong door.

use nix::unistd::Pid;

/// TCP_LISTEN of include/net/tcp_states.h.
const LISTEN: &str = "0A";
/// More would help nobody.
const MOST: usize = 20;

/// The ports that something listens at in the network of this process: `8080`, `9000 (127.0.0.1 only)`.
pub fn of(pid: Pid) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
        found.extend(table.lines().skip(1).filter_map(listener));
    }
    found.sort();
    found.dedup();
    found.truncate(MOST);
    found
        .into_iter()
        .map(|(port, only)| if only { format!("{port} (loopback only)") } else { port.to_string() })
        .collect()
}

/// A line of /proc/net/tcp (proc_net_tcp.rst): the port, and whether it is the loopback device's alone.
fn listener(line: &str) -> Option<(u16, bool)> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    fields.next()?;
    let is_loopback = matches!(address, "0100007F" | "00000000000000000000000001000000");
    (fields.next()? == LISTEN).then_some((u16::from_str_radix(port, 16).ok()?, is_loopback))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_tells_port_and_reach() {
        let line = |address: &str, state: &str| {
            listener(&format!("   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 1 1"))
        };
        assert_eq!(line("0100007F:1F90", "0A"), Some((8080, true)));
        assert_eq!(line("00000000:0050", "0A"), Some((80, false)));
        assert_eq!(line("00000000000000000000000001000000:0050", "0A"), Some((80, true)));
        assert_eq!(line("00000000:0050", "01"), None);
        assert_eq!(listener("garbage"), None);
    }

    #[test]
    fn a_listener_of_our_own_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // More than twenty may listen on this machine: the table is read again, without the bound.
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        assert!(table.lines().filter_map(super::listener).any(|found| found == (port, true)));
    }
}
