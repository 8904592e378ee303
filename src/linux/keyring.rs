//! Session keyrings (keyrings(7)).

use std::ffi::CStr;
use std::io;

/// What its possessor may do by default, and its user, who may also search it: that is how `exec` finds it again by its name.
const PERMISSIONS: u32 = 0x3f1b_0000;

/// Joins the session keyring of that name, a new one where there is none, so that the container does not see its caller's keys.
///
/// Where there are no keyrings, or a filter forbids even to look at one, there is nothing to see.
pub fn join_session(name: &CStr) -> io::Result<()> {
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING reads the string, which outlives the call.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if joined >= 0 {
        // SAFETY: KEYCTL_SETPERM takes integers only. Where it is refused `exec` gets a keyring of its own.
        unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, joined, PERMISSIONS) };
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS) => Ok(()),
        Some(libc::EPERM) if !can_look() => Ok(()),
        _ => Err(error),
    }
}

fn can_look() -> bool {
    let (get, session) = (libc::KEYCTL_GET_KEYRING_ID, libc::KEY_SPEC_SESSION_KEYRING);
    // SAFETY: KEYCTL_GET_KEYRING_ID takes integers only.
    unsafe { libc::syscall(libc::SYS_keyctl, get, session, 0) >= 0 }
}
