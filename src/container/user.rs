//! Users: changing to one, and what /etc/passwd says.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use oci_spec::runtime::User;

use crate::linux::process;

/// Becomes root of the user namespace that we are in, as far as there is one: a map may leave out 0.
pub fn become_root() -> Result<()> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    match setresgid(gid, gid, gid) {
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(errno).context("setresgid 0 in the user namespace"),
    }
    // The capabilities that the namespace gave us must outlive the change.
    process::keep_capabilities(true).context("keep capabilities")?;
    match setresuid(uid, uid, uid) {
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno).context("setresuid 0 in the user namespace"),
    }
}

/// Becomes the user, with exactly the groups that are configured (S12). Permitted capabilities are kept.
pub fn become_user(user: &User, groups_denied: bool) -> Result<()> {
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    match setgroups(&groups) {
        Ok(()) => {}
        // A namespace that maps one's own id alone cannot even give groups up (user_namespaces(7)).
        Err(Errno::EPERM) if groups_denied && groups.is_empty() => {}
        Err(Errno::EPERM) if groups_denied => bail!(
            "process.user.additionalGids cannot be set: the user namespace maps one group only and denies setgroups; remove them, or map a range of /etc/subgid"
        ),
        Err(Errno::EINVAL) => bail!("process.user.additionalGids: {groups:?} are not all mapped in the user namespace"),
        Err(errno) => return Err(errno).with_context(|| format!("setgroups {groups:?}")),
    }
    process::keep_capabilities(true).context("keep capabilities")?;
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    setresgid(gid, gid, gid).map_err(|errno| unmapped("gid", user.gid(), errno))?;
    setresuid(uid, uid, uid).map_err(|errno| unmapped("uid", user.uid(), errno))?;
    process::keep_capabilities(false).context("keep capabilities")
}

fn unmapped(kind: &str, id: u32, errno: Errno) -> anyhow::Error {
    match errno {
        Errno::EINVAL => anyhow::anyhow!("process.user.{kind} {id} is not mapped in the user namespace"),
        errno => anyhow::Error::new(errno).context(format!("setres{kind} {id}")),
    }
}

/// The home directory of a user, as the first line of its uid in a passwd file says.
pub fn home(passwd: &str, uid: u32) -> Option<String> {
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 6 && fields[2].parse() == Ok(uid))?;
    Some(entry[5].to_owned()).filter(|home| !home.is_empty())
}

/// The name of a user on this host, or its number.
pub fn name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 3 && fields[2].parse() == Ok(uid));
    entry.map_or_else(|| uid.to_string(), |fields| fields[0].to_owned())
}

/// What `--user` says: `UID[:GID]`, numbers only and whole, or an error: never root by accident (S11).
pub fn parse(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |word: &str| -> Result<u32> {
        let whole = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        match word.parse::<u32>() {
            // 4294967295 is -1: setresuid takes it for "leave it as it is".
            Ok(id) if whole && id != u32::MAX => Ok(id),
            _ => bail!("invalid user {text:?}: use UID or UID:GID, numbers from 0 to 4294967294"),
        }
    };
    match text.split_once(':') {
        None => Ok((number(text)?, None)),
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
    }
}

/// The passwd file of the root that we are in; nothing where it cannot be read. Bounded, since the image wrote it.
pub fn read_passwd() -> String {
    let mut text = Vec::new();
    // A FIFO there must not hold us up.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    if let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open("/etc/passwd")
        && file.metadata().is_ok_and(|meta| meta.is_file())
    {
        let _ = file.take(4 << 20).read_to_end(&mut text); // HOME is then `/`, as for a user without an entry
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s11_a_user_string_is_exact_or_an_error() {
        assert_eq!(parse("1").unwrap(), (1, None));
        assert_eq!(parse("0").unwrap(), (0, None));
        assert_eq!(parse("00").unwrap(), (0, None));
        assert_eq!(parse("1:2").unwrap(), (1, Some(2)));
        assert_eq!(parse("4294967294:0").unwrap(), (4_294_967_294, Some(0)));
        let refused = [
            "",
            ":",
            "1:",
            ":1",
            "-1",
            "+1",
            "-0",
            "1:-1",
            "4294967295",
            "4294967296",
            "18446744073709551616",
            "0x1",
            " 1",
            "1 ",
            "1\n",
            "root",
            "1:root",
            "root:1",
            "1:2:3",
            "1.0",
            "1e0",
            "٣",
            "1:4294967295",
            "1_0",
            "\0",
        ];
        for text in refused {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn home_is_that_of_the_first_line_of_the_uid() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbad line\nweb:x:7:7::/srv/web:/bin/sh\nother:x:7:7::/other:\nnone:x:8:8:::\n";
        assert_eq!(home(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(home(passwd, 7).as_deref(), Some("/srv/web"));
        assert_eq!(home(passwd, 8), None);
        assert_eq!(home(passwd, 9), None);
    }
}
