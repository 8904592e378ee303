//! Into the new root, and the host's out of sight.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountPropagationFlags as Propagation, UnmountFlags, mount_change, mount_move, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use super::path::O_PATH;
use super::tree::Tree;

/// Makes `root`, which is a mount of our namespace, the root, and takes the old one away with all that is below.
pub(super) fn pivot(root: impl AsFd) -> Result<()> {
    let old = openat(CWD, "/", O_PATH | OFlags::DIRECTORY, Mode::empty())?;
    fchdir(root)?;
    // The old root is put on top of the new one, so that no directory in the image is needed (pivot_root(2)).
    pivot_root(".", ".")
        .map_err(io::Error::from)
        .context("pivot_root (on an initramfs it cannot be: try --no-pivot)")?;
    fchdir(&old)?;
    // That unmounting must not reach the host.
    mount_change(".", Propagation::DOWNSTREAM | Propagation::REC)?;
    unmount(".", UnmountFlags::DETACH).map_err(io::Error::from).context("unmount the host's root")?;
    chdir("/")?;
    Ok(())
}

/// Does it without pivot_root. The host's mounts stay below our root, out of reach of paths. A process that may mount
/// could still reach them, so procfs and sysfs, which would show it the host unmasked, go first.
pub(super) fn move_root(root: OwnedFd, name: &Path) -> Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    fchdir(&root)?;
    for place in pseudo_mounts(&table, name).into_iter().rev() {
        hide(&place).with_context(|| format!("hide the host's {place}"))?;
    }
    mount_move(".", "/").map_err(io::Error::from).context("move the root")?;
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

fn hide(place: &str) -> Result<()> {
    mount_change(place, Propagation::DOWNSTREAM | Propagation::REC)?;
    match unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        // Not ours to unmount in a user namespace.
        Err(_) => {
            let over = openat(CWD, place, O_PATH | OFlags::NOFOLLOW, Mode::empty())?;
            Ok(Tree::empty()?.attach(&over)?)
        }
    }
}

/// The mount points of procfs and sysfs that are not below `root`, as proc_pid_mountinfo(5) has them.
fn pseudo_mounts(table: &str, root: &Path) -> Vec<String> {
    let mut places = Vec::new();
    for line in table.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let Some(place) = mount.split(' ').nth(4) else { continue };
        let place = unescape(place);
        let kind = filesystem.split(' ').next().unwrap_or("");
        if ["proc", "sysfs"].contains(&kind) && !Path::new(&place).starts_with(root) {
            places.push(place);
        }
    }
    places
}

/// Spaces, tabs, newlines and backslashes are octal there.
fn unescape(place: &str) -> String {
    place.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_and_sysfs_outside_the_root_are_found() {
        let table = "22 1 0:20 / /proc rw - proc proc rw\n23 1 0:21 / /my\\040sys rw shared:1 - sysfs sysfs rw\n\
                     24 1 0:22 / /b/rootfs/proc rw - proc proc rw\n25 1 0:23 / /tmp rw - tmpfs tmpfs rw\n";
        assert_eq!(pseudo_mounts(table, Path::new("/b/rootfs")), ["/proc", "/my sys"]);
    }
}
