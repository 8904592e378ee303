//! `mount_setattr`, the one call of the file-descriptor mount API that no library wraps.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Changes of a mount's attributes: `MOUNT_ATTR_*` bits, and one of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`,
/// `MS_UNBINDABLE` or 0 (mount_setattr(2)). What is in neither `set` nor `clear` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MountAttributes {
    pub set: u64,
    pub clear: u64,
    pub propagation: u64,
    /// For id-mapped mounts, which bookend does not make yet.
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
