//! Subordinate ids: what lets a user's container have more than one.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::Result;
use nix::unistd::{User, getegid, geteuid};
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};

use super::{Finding, find_program};
use crate::container::idmap;

const ONE_ID: &str = "without it a container has the one id of this user";

/// Nothing for root, who can map any ids.
pub fn look() -> Option<Finding> {
    if geteuid().is_root() {
        return None;
    }
    let name = User::from_uid(geteuid()).ok().flatten().map_or_else(|| geteuid().to_string(), |user| user.name);
    Some(helpers().unwrap_or_else(|| ranges(&name)))
}

/// What is wrong with newuidmap and newgidmap.
fn helpers() -> Option<Finding> {
    for helper in ["newuidmap", "newgidmap"] {
        let Some(path) = find_program(helper) else {
            return Some(Finding::warn(
                "sub-ids",
                format!("{helper} is not in PATH"),
                format!("apt install uidmap, or dnf install shadow-utils; {ONE_ID}"),
            ));
        };
        let set_uid = fs::metadata(&path).is_ok_and(|found| found.mode() & 0o4000 != 0 && found.uid() == 0);
        let capable = rustix::fs::getxattr(&path, "security.capability", &mut [0u8; 64]).is_ok_and(|size| size > 0);
        if !set_uid && !capable {
            let text = format!("{} is neither set-uid root nor has file capabilities", path.display());
            return Some(Finding::warn("sub-ids", text, format!("chmod u+s {}; {ONE_ID}", path.display())));
        }
    }
    None
}

fn ranges(name: &str) -> Finding {
    let (uids, gids) = (range("/etc/subuid", name), range("/etc/subgid", name));
    let (Some(uids), Some(gids)) = (uids, gids) else {
        let file = if uids.is_none() { "/etc/subuid" } else { "/etc/subgid" };
        let cure = format!(
            "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}, with a range that nobody has; {ONE_ID}"
        );
        return Finding::warn("sub-ids", format!("no range for {name} in {file}"), cure);
    };
    match map(uids, gids) {
        Ok(()) => Finding::ok("sub-ids", format!("{} uids and {} gids can be mapped", uids.1, gids.1)),
        Err(error) => {
            Finding::warn("sub-ids", format!("{error:#}"), format!("look at /etc/subuid and /etc/subgid; {ONE_ID}"))
        }
    }
}

/// The first range of a user: where it begins, and how many ids it has (subuid(5)).
fn range(file: &str, name: &str) -> Option<(u32, u32)> {
    find_range(&fs::read_to_string(file).ok()?, name, geteuid().as_raw())
}

fn find_range(text: &str, name: &str, uid: u32) -> Option<(u32, u32)> {
    let uid = uid.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let (first, count) = (fields.next()?.trim().parse().ok()?, fields.next()?.trim().parse().ok()?);
        ((owner == name || owner == uid) && count > 0).then_some((first, count))
    })
}

/// Maps them in a user namespace that lives as long as this takes.
fn map(uids: (u32, u32), gids: (u32, u32)) -> Result<()> {
    let ids = |own: u32, range| Ok::<_, anyhow::Error>([mapping(0, own, 1)?, mapping(1, range, 1)?]);
    idmap::with_namespace(&ids(geteuid().as_raw(), uids.0)?, &ids(getegid().as_raw(), gids.0)?, |_| Ok(()))
}

fn mapping(inside: u32, outside: u32, size: u32) -> Result<LinuxIdMapping> {
    Ok(LinuxIdMappingBuilder::default().container_id(inside).host_id(outside).size(size).build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_found_by_name_or_number() {
        let text = "# none\nroot:1:0\nann:100000:65536\n1000:200000:10\n";
        assert_eq!(find_range(text, "ann", 1), Some((100_000, 65_536)));
        assert_eq!(find_range(text, "bob", 1000), Some((200_000, 10)));
        assert_eq!(find_range(text, "root", 0), None);
        assert_eq!(find_range("ann:x:1\nann:1", "ann", 1), None);
    }
}
