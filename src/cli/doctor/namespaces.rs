//! Rights, namespaces and mounts: each is made in a child.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::{Finding, in_child, read};
use crate::container::capabilities;
use crate::linux::procfs::Procfs;

/// Mount points in a child's own mount namespace, where nobody else sees what is put over them.
const PROC: &str = "/proc";
const SCRATCH: &str = "/tmp";

/// Up to so many capabilities that are missing are named; of more, those that containers most often need.
const NAMED_CAPABILITIES: usize = 5;
const WEIGHTY: [&str; 5] = ["CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_MKNOD", "CAP_SYS_RESOURCE"];

pub fn look() -> Vec<Finding> {
    let mut findings = Vec::new();
    let root = geteuid().is_root();
    if root {
        findings.push(rights());
    }
    let whole = if root { in_child(make_namespaces) } else { Err(anyhow::anyhow!("not root")) };
    let user = in_child(make_user_namespace);
    findings.push(namespaces(root, &whole, &user));
    let enter = || if whole.is_ok() { Ok(()) } else { make_user_namespace() };
    if whole.is_err() && user.is_err() {
        return findings;
    }
    if whole.is_err() {
        // Where a security module hollows it out, a user namespace can be made and nothing done in it.
        if let Err(error) = in_child(|| enter().and_then(|()| make_namespaces())) {
            findings.push(Finding::fail("in it", format!("{error:#}"), cure_of_user_namespaces()));
            return findings;
        }
    }
    findings.push(proc(in_child(|| enter().and_then(|()| mount_proc()))));
    findings.push(overlay(in_child(|| enter().and_then(|()| mount_overlay()))));
    findings
}

fn rights() -> Finding {
    match capabilities::missing() {
        Ok(missing) => rights_without(&missing),
        Err(error) => Finding::fail("rights", format!("{error:#}"), "mount /proc"),
    }
}

fn rights_without(missing: &str) -> Finding {
    let names: Vec<&str> = missing.split(", ").filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Finding::ok("rights", "root with every capability");
    }
    let cure = "containers get no more either; for CAP_SYS_RESOURCE, raising limits fails, for instance podman's own: \
                --ulimit nofile=1024:1024 --ulimit nproc=1024:1024";
    if names.len() <= NAMED_CAPABILITIES {
        return Finding::warn("rights", format!("root without {missing}"), cure);
    }
    let weighty: Vec<&str> = WEIGHTY.iter().copied().filter(|name| names.contains(name)).collect();
    let among = if weighty.is_empty() { String::new() } else { format!(", among them {}", weighty.join(", ")) };
    Finding::warn("rights", format!("root without {} capabilities{among}", names.len()), cure)
}

fn namespaces(root: bool, whole: &Result<()>, user: &Result<()>) -> Finding {
    match (whole, user) {
        (Ok(()), Ok(())) => Finding::ok("namespaces", "all can be made, user namespaces too"),
        (Ok(()), Err(error)) => {
            Finding::warn("namespaces", format!("all but user namespaces: {error:#}"), cure_of_user_namespaces())
        }
        (Err(_), Ok(())) if !root => Finding::ok("namespaces", "user namespaces can be made by this user"),
        (Err(error), Ok(())) => {
            let cure = "give the outer container CAP_SYS_ADMIN, or use rootless bundles: bookend spec --rootless";
            Finding::warn("namespaces", format!("user namespaces only: {error:#}"), cure)
        }
        (Err(_), Err(error)) => Finding::fail("namespaces", format!("{error:#}"), cure_of_user_namespaces()),
    }
}

/// What this kernel's settings say about it.
fn cure_of_user_namespaces() -> String {
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text == value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return "sysctl user.max_user_namespaces=15000 (it is 0)".to_owned();
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return "sysctl kernel.unprivileged_userns_clone=1 (it is 0)".to_owned();
    }
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return "sysctl kernel.apparmor_restrict_unprivileged_userns=0 (it is 1), or an AppArmor profile for bookend with \
                `userns,`"
            .to_owned();
    }
    if read("/proc/self/status").is_some_and(|status| status.contains("Seccomp:\t2")) {
        return "a seccomp filter is on this process: run the outer container with seccomp=unconfined".to_owned();
    }
    if geteuid().is_root() {
        return "give the outer container CAP_SYS_ADMIN (--privileged), or run bookend as another user in it"
            .to_owned();
    }
    "run bookend as root; or allow it: user.max_user_namespaces, and on some distributions \
     kernel.unprivileged_userns_clone"
        .to_owned()
}

fn proc(tried: Result<()>) -> Finding {
    match tried {
        Ok(()) => Finding::ok("proc", "can be mounted in a pid namespace"),
        Err(error) => {
            let cure = "the outer container hides parts of its /proc: run it with --security-opt systempaths=unconfined \
                        (docker), --security-opt unmask=ALL (podman) or procMount: Unmasked (Kubernetes)";
            Finding::fail("proc", format!("{error:#}"), cure)
        }
    }
}

fn overlay(tried: Result<()>) -> Finding {
    match tried {
        Ok(()) => Finding::ok("overlay", "can be mounted"),
        Err(error) => {
            let cure = "modprobe overlay; without it `bookend test` copies root file systems, which takes longer";
            Finding::warn("overlay", format!("{error:#}"), cure)
        }
    }
}

/// A user namespace in which our own id is root's.
fn make_user_namespace() -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).context("make a user namespace")?;
    let proc = Procfs::open().context("open /proc")?;
    let write = |file: &str, text: String| {
        proc.write_own(file, text.as_bytes()).with_context(|| format!("write {file} of a new user namespace"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))
}

/// All that a container has, and a mount that shows that they can be used.
fn make_namespaces() -> Result<()> {
    for (flag, name) in [
        (CloneFlags::CLONE_NEWNS, "mount"),
        (CloneFlags::CLONE_NEWPID, "pid"),
        (CloneFlags::CLONE_NEWNET, "network"),
        (CloneFlags::CLONE_NEWIPC, "ipc"),
        (CloneFlags::CLONE_NEWUTS, "uts"),
        (CloneFlags::CLONE_NEWCGROUP, "cgroup"),
    ] {
        unshare(flag).with_context(|| format!("make a {name} namespace"))?;
    }
    make_private()?;
    mount_over("tmpfs", SCRATCH, None)
}

/// Nothing that is mounted from now on is seen by anybody else.
fn make_private() -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("make the mounts of a namespace private")
}

fn mount_over(kind: &str, place: &str, options: Option<&str>) -> Result<()> {
    mount(Some(kind), place, Some(kind), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, options)
        .with_context(|| format!("mount {kind}"))
}

fn mount_proc() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).context("make a pid namespace")?;
    make_private()?;
    // Only our next child is in the new pid namespace.
    in_child(|| mount_over("proc", PROC, None))
}

fn mount_overlay() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    make_private()?;
    mount_over("tmpfs", SCRATCH, None)?;
    for dir in ["lower", "upper", "work", "merged"] {
        fs::create_dir(Path::new(SCRATCH).join(dir)).with_context(|| format!("make a directory {dir}"))?;
    }
    std::env::set_current_dir(SCRATCH).context("enter a tmpfs")?;
    mount_over("overlay", "merged", Some("lowerdir=lower,upperdir=upper,workdir=work"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_missing_rights_are_named_and_of_many_those_that_weigh() {
        let text = |missing| rights_without(missing).text;
        assert_eq!(text(""), "root with every capability");
        assert_eq!(text("CAP_SYS_RESOURCE"), "root without CAP_SYS_RESOURCE");
        let many = "CAP_A, CAP_B, CAP_C, CAP_D, CAP_E, CAP_SYS_ADMIN";
        assert_eq!(text(many), "root without 6 capabilities, among them CAP_SYS_ADMIN");
        assert_eq!(text(&many.replace("SYS_ADMIN", "F")), "root without 6 capabilities");
    }
}
