//! `mount_setattr`, the one call of the file-descriptor mount API that no library wraps.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Changes of a mount's attributes: `MOUNT_ATTR_*` bits, and one of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`,
/// `MS_UNBINDABLE` or 0 (mount_setattr(2)). What is in neither `set` nor `clear` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MountAttributes {
    pub set: u64,
    pub clear: u64,
    pub propagation: u64,
    /// Of an id-mapped mount: the number of a descriptor. See `map_ids`.
    user_namespace: u64,
}

impl MountAttributes {
    pub fn new(set: u64, clear: u64) -> MountAttributes {
        MountAttributes { set, clear, ..MountAttributes::default() }
    }

    pub fn propagation(propagation: u64) -> MountAttributes {
        MountAttributes { propagation, ..MountAttributes::default() }
    }
}

/// Gives the mount at whose root `mount` is, and with `recursive` all below it, the ids of a user namespace
/// (mount_setattr(2) "ID-mapped mounts"). The mount must not be attached yet. Linux 5.12.
///
/// # Errors
/// EINVAL where the file system has no id-mapped mounts, EPERM without CAP_SYS_ADMIN in the user namespace that the file
/// system belongs to, and for a mount that is id-mapped already.
pub fn map_ids(mount: impl AsFd, recursive: bool, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let user_namespace = namespace.as_raw_fd() as u64;
    mount_setattr(
        mount,
        recursive,
        &MountAttributes { set: libc::MOUNT_ATTR_IDMAP, user_namespace, ..Default::default() },
    )
}

/// Changes the mount at whose root `mount` is, and with `recursive` all mounts below it: all or none of them.
/// Linux 5.12; `ENOSYS` before.
pub fn mount_setattr(mount: impl AsFd, recursive: bool, attributes: &MountAttributes) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let (mount, size) = (mount.as_fd().as_raw_fd(), size_of::<MountAttributes>());
    // SAFETY: the path is a static C string and `attributes` is a struct mount_attr of the size that is passed; the
    // kernel reads both and keeps neither.
    let result = unsafe { libc::syscall(libc::SYS_mount_setattr, mount, c"".as_ptr(), flags, attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
