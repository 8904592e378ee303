//! Attributes of this process that prctl(2) sets.

use std::io;

fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the options below take integers only.
    let done = unsafe { libc::prctl(option, value, 0 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes orphans below this process its children.
pub fn set_child_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Whether processes of a container may look into this one (S1, S24). execve makes a process dumpable again.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into())
}

pub fn set_no_new_privs() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Whether permitted capabilities survive the next change from uid 0 to others.
pub fn keep_capabilities(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into())
}

/// The signal that this process gets when its parent's thread ends; 0 is none.
pub fn set_parent_death_signal(signal: i32) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong)
}

/// Sets the execution domain, which execve keeps (personality(2)).
pub fn set_personality(domain: u32) -> io::Result<()> {
    // SAFETY: personality takes an integer.
    if unsafe { libc::personality(domain.into()) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends the process at once: no destructor, no exit handler, no flush. For children made by `clone`.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Ends the process when it is dropped: while this lives, a panic cannot unwind into the code of the process that was cloned.
pub struct NoReturn;

impl Drop for NoReturn {
    fn drop(&mut self) {
        exit_now(125)
    }
}
