//! Session keyrings (keyrings(7)).

use std::ffi::CStr;
use std::io;

/// What its possessor may do by default, and its user, who may also search it: that is how `exec` finds it again by its name.
const PERMISSIONS: u32 = 0x3f1b_0000;

/// The right to be found by name, of the user, the group and everybody.
const SEARCH: u32 = 0x0008_0808;

/// The longest name of a key (keyctl(2)), and what stands before it in a description.
const DESCRIPTION: usize = 4096 + 64;

/// Gives this process a new session keyring with that name, so that the container does not see its caller's keys.
///
/// The kernel joins whatever has the name and lets itself be found, also what another user has made to read along. Where there is
/// such a one the new keyring has no name. Where there are no keyrings, or a filter forbids even to look at one, there is nothing
/// to see.
pub fn make_session(name: &CStr) -> io::Result<()> {
    let user = nix::unistd::geteuid().as_raw();
    join_if(name, |found| is_new(found, user))
}

/// Whether it is the one that was just made. Another user may take the right to be found away as soon as it was.
fn is_new(found: &Keyring, user: u32) -> bool {
    found.owner == user && found.permissions & SEARCH == 0
}

/// Joins the session keyring that a process of this user has made by that name, else a new one.
pub fn join_session(name: &CStr) -> io::Result<()> {
    let user = nix::unistd::geteuid().as_raw();
    join_if(name, |found| found.owner == user)
}

fn join_if(name: &CStr, is_right: impl FnOnce(&Keyring) -> bool) -> io::Result<()> {
    let Some(joined) = join(Some(name))? else { return Ok(()) };
    if !describe(joined).is_some_and(|found| is_right(&found)) {
        return join(None).map(drop);
    }
    // SAFETY: KEYCTL_SETPERM takes integers only. Where it is refused `exec` gets a keyring of its own.
    unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, joined, PERMISSIONS) };
    Ok(())
}

/// Joins a session keyring, a new one without a name. None where there are no keyrings.
fn join(name: Option<&CStr>) -> io::Result<Option<libc::c_long>> {
    let text = name.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING reads a string that outlives the call, or nothing.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, text) };
    if joined >= 0 {
        return Ok(Some(joined));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS) => Ok(None),
        Some(libc::EPERM) if !can_look() => Ok(None),
        _ => Err(error),
    }
}

/// What the kernel says of a keyring.
struct Keyring {
    owner: u32,
    permissions: u32,
}

fn describe(keyring: libc::c_long) -> Option<Keyring> {
    let mut text = [0u8; DESCRIPTION];
    let (number, size) = (libc::KEYCTL_DESCRIBE, text.len());
    // SAFETY: KEYCTL_DESCRIBE writes at most `size` bytes into `text`.
    let length = unsafe { libc::syscall(libc::SYS_keyctl, number, keyring, text.as_mut_ptr(), size) };
    // The kernel writes nothing where it needs more.
    let told = text.get(..usize::try_from(length).ok()?)?;
    let told = String::from_utf8_lossy(told);
    let mut fields = told.split(';').skip(1);
    let owner = fields.next()?.parse().ok()?;
    let permissions = u32::from_str_radix(fields.nth(1)?, 16).ok()?;
    Some(Keyring { owner, permissions })
}

fn can_look() -> bool {
    let (get, session) = (libc::KEYCTL_GET_KEYRING_ID, libc::KEY_SPEC_SESSION_KEYRING);
    // SAFETY: KEYCTL_GET_KEYRING_ID takes integers only.
    unsafe { libc::syscall(libc::SYS_keyctl, get, session, 0) >= 0 }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// The session keyring of this thread; None where a filter does not let us look.
    fn ours() -> Option<libc::c_long> {
        let (get, session) = (libc::KEYCTL_GET_KEYRING_ID, libc::KEY_SPEC_SESSION_KEYRING);
        // SAFETY: KEYCTL_GET_KEYRING_ID takes integers only.
        let id = unsafe { libc::syscall(libc::SYS_keyctl, get, session, 0) };
        (id >= 0).then_some(id)
    }

    /// Runs `first` in a thread whose session keyring stays while `then` runs here, in another thread; keyrings are a thread's.
    fn while_there<T: Send>(first: impl FnOnce() + Send, then: impl FnOnce(Option<libc::c_long>) -> T + Send) -> T {
        let ((tell, told), (end, ended)) = (mpsc::channel(), mpsc::channel::<()>());
        thread::scope(|scope| {
            scope.spawn(move || {
                first();
                tell.send(ours()).unwrap();
                let _ = ended.recv();
            });
            let there = told.recv().unwrap();
            let answer = scope.spawn(move || then(there)).join().unwrap();
            drop(end);
            answer
        })
    }

    fn name(of: &str) -> CString {
        CString::new(format!("_ses.test-{of}-{}", std::process::id())).unwrap()
    }

    #[test]
    fn a_container_makes_its_keyring_and_exec_finds_it() {
        let name = name("own");
        while_there(
            || make_session(&name).unwrap(),
            |there| {
                join_session(&name).unwrap();
                assert_eq!(ours(), there);
                make_session(&name).unwrap();
                assert!(there.is_none() || ours() != there, "a second container has the keys of the first");
            },
        );
    }

    #[test]
    fn a_keyring_is_found_however_long_its_name_is() {
        let name = name(&"long".repeat(500));
        while_there(
            || make_session(&name).unwrap(),
            |there| {
                join_session(&name).unwrap();
                assert_eq!(ours(), there);
            },
        );
    }

    #[test]
    fn one_that_another_user_hides_after_it_was_found_is_not_taken_for_a_new_one() {
        let hidden = |owner| Keyring { owner, permissions: 0x3f03_0000 };
        assert!(is_new(&hidden(7), 7) && !is_new(&hidden(4711), 7));
        assert!(!is_new(&Keyring { owner: 7, permissions: PERMISSIONS }, 7));
    }

    #[test]
    fn what_another_user_has_made_by_that_name_is_not_joined() {
        if !nix::unistd::geteuid().is_root() {
            return; // it takes two users
        }
        let name = name("foreign");
        let lure = || {
            // SAFETY: setresuid takes integers; as a system call it is of this thread alone.
            assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 4711, 4711, 4711) }, 0);
            make_session(&name).unwrap();
            // Everything is allowed to everybody.
            // SAFETY: KEYCTL_SETPERM takes integers only.
            unsafe {
                libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, libc::KEY_SPEC_SESSION_KEYRING, 0x3f3f_3f3f)
            };
        };
        while_there(lure, |there| {
            // SAFETY: KEYCTL_JOIN_SESSION_KEYRING reads a string that outlives the call.
            let found = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
            assert!(there.is_none() || Some(found) == there, "the kernel finds it, or this tests nothing");
            for join in [make_session, join_session] {
                join(&name).unwrap();
                assert!(there.is_none() || ours() != there);
            }
        });
    }
}
