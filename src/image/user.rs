//! The user of an image: by name it is looked up in the image's own files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{FileType, fstat};

use crate::container::rootfs::path::{Root, link_to};

/// No honest file of users comes near this.
const FILE_LIMIT: u64 = 4 << 20;

/// Who a container's process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    pub uid: u32,
    pub gid: u32,
    /// The groups of /etc/group that name the user.
    pub groups: Vec<u32>,
}

/// The files of a root file system that know users.
pub struct Users {
    passwd: String,
    group: String,
}

impl Users {
    /// Reads those of the root file system in `root`, through its links and never out of it.
    pub fn of(root: &Path) -> Result<Users> {
        let opened = File::open(root).with_context(|| format!("open {}", root.display()))?;
        let root = Root::new(opened.into());
        Ok(Users { passwd: read(&root, "/etc/passwd")?, group: read(&root, "/etc/group")? })
    }

    /// Who `USER[:GROUP]` is (image-spec, config.md "User"). A number needs no entry, a name does.
    pub fn find(&self, user: &str) -> Result<Ids> {
        let (name, group) = match user.split_once(':') {
            None => (user, None),
            Some((name, group)) => (name, Some(group)),
        };
        let mut ids = match number(name) {
            Some(uid) => self.of_uid(uid),
            None => {
                let entry = entries(&self.passwd, 4).find(|fields| fields[0] == name);
                let entry = entry.with_context(|| format!("there is no user {name:?} in its /etc/passwd"))?;
                self.of_entry(&entry).with_context(|| format!("the ids of user {name:?} in its /etc/passwd"))?
            }
        };
        if let Some(group) = group {
            ids.groups.clear();
            ids.gid = match number(group) {
                Some(gid) => gid,
                None => {
                    let entry = entries(&self.group, 3).find(|fields| fields[0] == group);
                    let entry = entry.with_context(|| format!("there is no group {group:?} in its /etc/group"))?;
                    number(entry[2]).with_context(|| format!("the id of group {group:?} in its /etc/group"))?
                }
            };
        }
        Ok(ids)
    }

    /// A user by number, with the groups of its entry if it has one; else group 0, as Kubernetes does.
    pub fn of_uid(&self, uid: u32) -> Ids {
        let entry = entries(&self.passwd, 4).find(|fields| number(fields[2]) == Some(uid));
        entry.and_then(|entry| self.of_entry(&entry)).unwrap_or(Ids { uid, ..Ids::default() })
    }

    fn of_entry(&self, fields: &[&str]) -> Option<Ids> {
        let (uid, gid) = (number(fields[2])?, number(fields[3])?);
        let has = |members: &str| members.split(',').any(|member| member == fields[0]);
        let mut groups: Vec<u32> = entries(&self.group, 4)
            .filter(|group| has(group[3]))
            .filter_map(|group| number(group[2]))
            .filter(|group| *group != gid)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        // What the kernel takes (setgroups(2), NGROUPS_MAX).
        groups.truncate(65_536);
        Some(Ids { uid, gid, groups })
    }
}

fn entries(text: &str, at_least: usize) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(move |fields| fields.len() >= at_least)
}

fn number(text: &str) -> Option<u32> {
    let whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // 4294967295 is -1: setresuid takes it for "leave it as it is".
    text.parse().ok().filter(|id| whole && *id != u32::MAX)
}

fn read(root: &Root, path: &str) -> Result<String> {
    let reading = || format!("read its {path}");
    let Some(found) = root.find(Path::new(path)).with_context(reading)? else { return Ok(String::new()) };
    if FileType::from_raw_mode(fstat(&found).with_context(reading)?.st_mode) != FileType::RegularFile {
        bail!("its {path} is no file");
    }
    let mut text = Vec::new();
    File::open(link_to(&found)).with_context(reading)?.take(FILE_LIMIT).read_to_end(&mut text).with_context(reading)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users {
            passwd: "root:x:0:0:root:/root:/bin/sh\nshort\nweb:x:33:34::/:/bin/false\nbad:x:-1:0::/:\n123:x:5:6::/:\n"
                .into(),
            group: "root:x:0:\nweb:x:34:web\nlogs:x:7:other,web\ntty:x:5:webby\nmail:x:8:web\nodd:x:x:web\n".into(),
        }
    }

    #[test]
    fn a_user_is_a_name_or_a_number_and_has_the_groups_of_its_entry() {
        let ids = |uid, gid, groups: &[u32]| Ids { uid, gid, groups: groups.to_vec() };
        let find = |user: &str| users().find(user).unwrap();
        assert_eq!(find("web"), ids(33, 34, &[7, 8]));
        assert_eq!(find("33"), ids(33, 34, &[7, 8]));
        assert_eq!(find("99"), ids(99, 0, &[]));
        assert_eq!(find("web:tty"), ids(33, 5, &[]));
        assert_eq!(find("99:98"), ids(99, 98, &[]));
        // Digits are a number, whatever there is of that name.
        assert_eq!(find("123"), ids(123, 0, &[]));
    }

    #[test]
    fn s11_a_user_that_is_not_there_is_an_error_and_never_root() {
        for user in ["nobody", "web:nothing", "bad", "", ":", ":0", "web:", "-1", "4294967295", "+0", "0x0"] {
            assert!(users().find(user).is_err(), "{user:?}");
        }
    }
}
