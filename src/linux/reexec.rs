//! Runs the program from a place that a container cannot write to (S1).
//!
//! A process in a container that finds us in its /proc could open our `/proc/PID/exe` and, as root, overwrite the binary on
//! the host. So before we go near a container we execute ourselves again, from a read-only mount of the binary that
//! nobody else has, or from a sealed copy in memory.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use rustix::fs::{CWD, MemfdFlags};
use rustix::mount::OpenTreeFlags;

use super::mount::{MountAttributes, mount_setattr};

/// Says to the second execution that it is the second.
const MARK: &str = "_BOOKEND_PROTECTED";

/// Begins the command line of another process of ours, which runs the same protected copy. It inherits no variable but the one
/// that decides where state is kept.
pub fn command() -> std::process::Command {
    let mut command = std::process::Command::new("/proc/self/exe");
    // What ps shows.
    std::os::unix::process::CommandExt::arg0(&mut command, "bookend");
    command.env_clear().envs(std::env::var_os("XDG_RUNTIME_DIR").map(|dir| ("XDG_RUNTIME_DIR", dir)));
    command
}

/// Re-executes this process, unless it is protected already. To be called first in main, while there is one thread.
pub fn protect() -> Result<()> {
    let exe = File::open("/proc/self/exe").context("open /proc/self/exe")?;
    let is_second = std::env::var_os(MARK).is_some();
    if is_protected(&exe) {
        if is_second {
            // SAFETY: main has just begun: no other thread reads the environment.
            unsafe { std::env::remove_var(MARK) };
            // After an execution by descriptor our name would be its number.
            let _ = rustix::thread::set_name(c"bookend"); // for people who look at ps
        }
        return Ok(());
    }
    if is_second {
        // Going on would be without protection, and once more would be for ever.
        bail!(
            "/proc/self/exe is not the read-only copy that was executed: is {MARK} set, or does an emulator run bookend?"
        );
    }
    let safe = read_only_mount().or_else(|_| sealed_copy(exe)).context("make a read-only copy of bookend itself")?;
    let error = execute(safe.as_fd());
    Err(error).context("execute a read-only copy of bookend itself")
}

/// Whether no process whatever can open this for writing: what a supervisor finds that was started as /proc/self/exe.
fn is_protected(exe: &File) -> bool {
    let sealed = fcntl(exe, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE));
    sealed || fstatvfs(exe).is_ok_and(|mount| mount.flags().contains(FsFlags::ST_RDONLY))
}

/// A mount of the binary alone, attached nowhere. Takes CAP_SYS_ADMIN.
fn read_only_mount() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, "/proc/self/exe", flags)?;
    mount_setattr(&tree, false, &MountAttributes::new(libc::MOUNT_ATTR_RDONLY, 0))?;
    Ok(tree)
}

fn sealed_copy(mut exe: File) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Before Linux 6.3 every memfd can be executed, and the kernel does not know the flag.
    let copy = rustix::fs::memfd_create(c"bookend", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create(c"bookend", flags))?;
    let mut copy = File::from(copy);
    io::copy(&mut exe, &mut copy)?;
    seal(&copy)?;
    Ok(copy.into())
}

/// Nobody may change the file from here on. What the kernel itself does with its memory meanwhile (compaction, for one) counts as a
/// use: each attempt waits some 150 ms for it to end, and says EBUSY where that was too short (fcntl(2), mm/memfd.c).
fn seal(copy: &File) -> io::Result<()> {
    const ATTEMPTS: usize = 20;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    let busy = |outcome: &nix::Result<_>| *outcome == Err(nix::Error::EBUSY);
    let mut outcomes = std::iter::repeat_with(|| fcntl(copy, FcntlArg::F_ADD_SEALS(seals))).take(ATTEMPTS);
    outcomes.find(|outcome| !busy(outcome)).unwrap_or(Err(nix::Error::EBUSY))?;
    Ok(())
}

fn execute(binary: BorrowedFd<'_>) -> io::Error {
    let string = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::other);
    let arguments = std::env::args_os().map(|argument| string(&argument)).collect::<io::Result<Vec<_>>>();
    let variable = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        string(&name)
    };
    let mark = (OsString::from(MARK), OsString::from("1"));
    let environment = std::env::vars_os().chain([mark]).map(variable).collect::<io::Result<Vec<_>>>();
    match (arguments, environment) {
        (Ok(arguments), Ok(environment)) => {
            match nix::unistd::execveat(binary, c"", &arguments, &environment, nix::fcntl::AtFlags::AT_EMPTY_PATH) {
                Ok(never) => match never {},
                Err(errno) => errno.into(),
            }
        }
        (Err(error), _) | (_, Err(error)) => error,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn s1_memory_that_is_in_use_for_a_moment_is_sealed_when_it_is_free() {
        let mut copy =
            File::from(rustix::fs::memfd_create(c"busy", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap());
        io::Write::write_all(&mut copy, &[1; 4096]).unwrap();
        // A page in a pipe is in use.
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let flags = rustix::pipe::SpliceFlags::empty();
        assert_eq!(rustix::pipe::splice(&copy, Some(&mut 0), &writer, None, 4096, flags).unwrap(), 4096);
        assert_eq!(fcntl(&copy, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)), Err(nix::Error::EBUSY));
        std::thread::scope(|scope| {
            let sealing = scope.spawn(|| seal(&copy));
            std::thread::sleep(std::time::Duration::from_millis(400)); // longer than one attempt
            drop((reader, writer));
            sealing.join().unwrap().unwrap();
        });
        assert!(is_protected(&copy));
    }

    #[test]
    fn s1_a_copy_of_the_binary_cannot_be_opened_for_writing() {
        let exe = || File::open("/proc/self/exe").unwrap();
        assert!(!is_protected(&exe()), "the tests themselves run from an ordinary file");
        let sealed = File::from(sealed_copy(exe()).unwrap());
        assert!(is_protected(&sealed));
        assert_eq!(sealed.metadata().unwrap().len(), exe().metadata().unwrap().len());
        let again = format!("/proc/self/fd/{}", sealed.as_raw_fd());
        let mut file = std::fs::OpenOptions::new().write(true).open(again).unwrap();
        assert!(io::Write::write(&mut file, b"x").is_err());
        if let Ok(mount) = read_only_mount() {
            let again = format!("/proc/self/fd/{}", mount.as_raw_fd());
            let error = std::fs::OpenOptions::new().write(true).open(&again).unwrap_err();
            // Of a binary that runs just now the kernel may say ETXTBSY first; is_protected asks the mount itself.
            assert!([Some(libc::EROFS), Some(libc::ETXTBSY)].contains(&error.raw_os_error()), "{error}");
            assert!(is_protected(&File::open(again).unwrap()));
        }
    }
}
