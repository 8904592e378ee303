//! Whether namespaces can be joined, as far as the kernel tells before anything is made: setns(2) would say EPERM, and not why.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::sched::CloneFlags;
use nix::unistd::geteuid;
use oci_spec::runtime::LinuxNamespaceType as Kind;

use super::{Join, is_own, same};
use crate::linux::capability::{self, CAP_SYS_ADMIN};
use crate::linux::namespace;

/// The kernel nests no deeper (user_namespaces(7)).
const DEPTH: usize = 33;

const OUTSIDE: &str = "it belongs to a user namespace outside of ours, in which nobody here has rights: join one that was made in \
                       ours, or call bookend from there";

pub(super) fn check(joins: &[Join]) -> Result<()> {
    let capable = capability::has(CAP_SYS_ADMIN).context("capget")?;
    let user = joins.iter().find(|join| join.kind == CloneFlags::CLONE_NEWUSER);
    for join in joins {
        let why_not = match join.kind {
            CloneFlags::CLONE_NEWUSER => why_not_user(join, capable)?,
            _ => why_not(join, user, capable)?,
        };
        if let Some(why_not) = why_not {
            bail!("linux.namespaces: cannot join {}: {why_not}", join.name);
        }
    }
    Ok(())
}

/// Rights in a user namespace have those who made it, from the one above, and those who have them there.
fn why_not_user(join: &Join, capable: bool) -> Result<Option<String>> {
    let above = match namespace::parent(&join.namespace) {
        Err(error) if is_outside(&error) => return Ok(Some(OUTSIDE.to_owned())),
        Err(_) => return Ok(None), // then setns tells
        Ok(above) => above,
    };
    if capable || !is_own(Kind::User, &above)? {
        return Ok(None);
    }
    let owner = namespace::owner_uid(&join.namespace).context("read the owner of a user namespace")?;
    let belongs = format!("it was made by user {owner}, and only that user and root may join it");
    Ok((owner != geteuid().as_raw()).then_some(belongs))
}

/// Joining takes rights where the namespace belongs and, until another is joined, in our own user namespace.
fn why_not(join: &Join, user: Option<&Join>, capable: bool) -> Result<Option<String>> {
    let owner = match namespace::owner(&join.namespace) {
        Err(error) if is_outside(&error) => return Ok(Some(OUTSIDE.to_owned())),
        Err(_) => return Ok(None), // then setns tells
        Ok(owner) => owner,
    };
    Ok(match user {
        _ if capable => None,
        None => Some(
            "that needs CAP_SYS_ADMIN: join the user namespace that it belongs to as well, or leave the path out for a new one"
                .to_owned(),
        ),
        Some(user) if is_below(owner, user)? => None,
        Some(user) => Some(format!("it does not belong to {}: join the one that it belongs to", user.name)),
    })
}

/// Whether a user namespace is that one or one below it.
fn is_below(owner: OwnedFd, user: &Join) -> Result<bool> {
    let mut next = owner;
    for _ in 0..DEPTH {
        if same(next.as_fd(), user.namespace.as_fd())? {
            return Ok(true);
        }
        let Ok(above) = namespace::parent(&next) else { return Ok(false) };
        next = above;
    }
    Ok(false)
}

fn is_outside(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPERM)
}
