//! Session keyrings (keyrings(7)).

use std::ffi::CStr;
use std::io;

/// Joins a new session keyring of that name, so that the container does not see its caller's keys.
///
/// Where there are no keyrings, or a filter forbids even to look at one, there is nothing to see.
pub fn join_session(name: &CStr) -> io::Result<()> {
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING reads the string, which outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if done >= 0 {
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
