//! Which ids of a new user namespace are which ids outside of it (user_namespaces(7)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sched::CloneFlags;
use nix::unistd::{Pid, getegid, geteuid};
use oci_spec::runtime::LinuxIdMapping;

use crate::linux::clone::{Cloned, clone};
use crate::linux::process::{NoReturn, exit_now};
use crate::linux::procfs::{self, Procfs};
use crate::linux::{capability, fork, reap};

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;

/// The lines of a `uid_map` or `gid_map`.
fn lines(mappings: &[LinuxIdMapping]) -> String {
    let line = |map: &LinuxIdMapping| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size());
    mappings.iter().map(line).collect()
}

/// How a map can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By ourselves, with the capability for it.
    Directly,
    /// By ourselves: anyone may map their own id. For groups `setgroups` must be given up.
    OwnId,
    /// By newuidmap and newgidmap, which grant what /etc/subuid and /etc/subgid say.
    Helper,
}

fn way(mappings: &[LinuxIdMapping], own: u32, capable: bool) -> Way {
    match mappings {
        _ if capable => Way::Directly,
        [map] if map.host_id() == own && map.size() == 1 => Way::OwnId,
        _ => Way::Helper,
    }
}

/// Writes both maps of a process that is the first of a new user namespace.
pub fn write(proc_dir: BorrowedFd<'_>, pid: Pid, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<()> {
    let capable = |capability| capability::has(capability).context("capget");
    let uid_way = way(uids, geteuid().as_raw(), capable(CAP_SETUID)?);
    let gid_way = way(gids, getegid().as_raw(), capable(CAP_SETGID)?);
    write_one(proc_dir, pid, "uid", uids, uid_way)?;
    write_one(proc_dir, pid, "gid", gids, gid_way)
}

fn write_one(proc_dir: BorrowedFd<'_>, pid: Pid, kind: &str, mappings: &[LinuxIdMapping], way: Way) -> Result<()> {
    if way == Way::Helper {
        return by_helper(pid, kind, mappings);
    }
    if way == Way::OwnId && kind == "gid" {
        procfs::write_below(proc_dir, "setgroups", b"deny").with_context(|| format!("write /proc/{pid}/setgroups"))?;
    }
    let map = lines(mappings);
    procfs::write_below(proc_dir, &format!("{kind}_map"), map.as_bytes())
        .with_context(|| format!("write {:?} to /proc/{pid}/{kind}_map", map.trim_end()))
}

fn by_helper(pid: Pid, kind: &str, mappings: &[LinuxIdMapping]) -> Result<()> {
    let helper = format!("new{kind}map");
    let mut command = Command::new(&helper);
    command.arg(pid.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    for map in mappings {
        command.args([map.container_id(), map.host_id(), map.size()].map(|number| number.to_string()));
    }
    let cure = format!("give this user a range in /etc/sub{kind}, or map its own id alone");
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "{helper} is not installed, and an unprivileged user cannot map {kind}s without it: install uidmap, or map the user's own id alone"
            )
        }
        output => output.with_context(|| format!("run {helper}"))?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches(&helper).trim_start_matches(": ");
        bail!("map {kind}s with {helper}: {said} ({}); {cure}", output.status);
    }
    Ok(())
}

/// Makes a user namespace with these ids, in which a process waits, and calls `look` with that process's directory in /proc. The
/// namespace goes with the process, unless `look` has taken a descriptor of it. The caller must be single-threaded.
pub fn with_namespace<T>(
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
    look: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    let (reader, writer) = fork::pipe().context("make a pipe")?;
    match clone(CloneFlags::CLONE_NEWUSER, None).context("make a user namespace")? {
        Cloned::Child => {
            let _stay = NoReturn;
            drop(writer);
            let _ = nix::unistd::read(&reader, &mut [0]); // the end of the file, when our parent is done or gone
            exit_now(0)
        }
        Cloned::Parent { pid, pidfd, .. } => {
            let dir = Procfs::open().and_then(|proc| proc.process(pid));
            let looked = dir.context("open the process of a new user namespace").and_then(|dir| {
                write(dir.as_fd(), pid, uids, gids)?;
                look(dir.as_fd())
            });
            drop(writer);
            reap::wait(pidfd.as_fd()).context("wait for a child")?;
            looked
        }
    }
}

/// A user namespace with these ids and nobody in it: what an id-mapped mount takes its ids from.
pub fn namespace(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd> {
    with_namespace(uids, gids, |dir| procfs::open_namespace(dir, "user").context("open a new user namespace"))
}

/// A uid of the user namespace of a process, as we see it; None where it is not mapped.
pub fn outside(proc_dir: BorrowedFd<'_>, uid: u32) -> Option<u32> {
    procfs::outside(&procfs::read_below(proc_dir, "uid_map").ok()?, uid)
}

/// A uid of a user namespace that is yet to be made.
pub fn host_id(mappings: &[LinuxIdMapping], id: u32) -> Option<u32> {
    procfs::outside(&lines(mappings), id)
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxIdMappingBuilder;

    use super::*;

    fn map(container: u32, host: u32, size: u32) -> LinuxIdMapping {
        LinuxIdMappingBuilder::default().container_id(container).host_id(host).size(size).build().unwrap()
    }

    #[test]
    fn a_map_is_written_in_the_order_of_the_kernel() {
        assert_eq!(lines(&[map(0, 1000, 1), map(1, 100_000, 65_536)]), "0 1000 1\n1 100000 65536\n");
    }

    #[test]
    fn only_ones_own_single_id_can_be_mapped_without_rights() {
        assert_eq!(way(&[map(0, 1000, 1)], 1000, false), Way::OwnId);
        assert_eq!(way(&[map(7, 1000, 1)], 1000, false), Way::OwnId);
        assert_eq!(way(&[map(0, 1000, 2)], 1000, false), Way::Helper);
        assert_eq!(way(&[map(0, 1001, 1)], 1000, false), Way::Helper);
        assert_eq!(way(&[map(0, 1000, 1), map(1, 100_000, 1)], 1000, false), Way::Helper);
        assert_eq!(way(&[map(0, 1001, 65_536)], 1000, true), Way::Directly);
    }
}
