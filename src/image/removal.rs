//! Trees are removed: of a lower layer, and of an image that could not be unpacked.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, fchmod, openat, renameat_with, unlinkat};
use rustix::io::Errno;

/// Removes `name` from `parent`, whatever it is and however deep: nothing there is fine. Links are not followed, and
/// there is no recursion, since whoever made the tree decides how deep it is: what is in the second level of directories
/// is moved to the first until there is none.
pub fn remove_tree(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    if remove_entry(parent.as_fd(), name)? {
        return Ok(());
    }
    let top = open_directory(parent.as_fd(), name)?;
    let mut moved = 0;
    loop {
        let names = entries(&top)?;
        if names.is_empty() {
            break;
        }
        for name in names {
            if !remove_entry(top.as_fd(), &name)? {
                empty(top.as_fd(), &name, &mut moved)?;
            }
        }
    }
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Removes all that is in `directory`, which stays.
pub fn remove_contents(directory: impl AsFd) -> io::Result<()> {
    let directory = openat(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for name in entries(&directory)? {
        remove_tree(&directory, &name)?;
    }
    Ok(())
}

/// Whether it is gone; what is not is a directory.
fn remove_entry(parent: BorrowedFd, name: &OsStr) -> io::Result<bool> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes a directory of `top` after its directories were moved to `top` itself.
fn empty(top: BorrowedFd, name: &OsStr, moved: &mut u64) -> io::Result<()> {
    let directory = open_directory(top, name)?;
    for inner in entries(&directory)? {
        if remove_entry(directory.as_fd(), &inner)? {
            continue;
        }
        // A directory that is moved is written to: `..` changes.
        drop(open_directory(directory.as_fd(), &inner)?);
        loop {
            let free = format!("{moved}");
            *moved += 1;
            match renameat_with(&directory, &inner, top, free, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => break other?,
            }
        }
    }
    Ok(unlinkat(top, name, AtFlags::REMOVEDIR)?)
}

/// A directory that can be read and written to, if it is ours.
fn open_directory(parent: BorrowedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let reached = openat(parent, name, OFlags::PATH | flags, Mode::empty())?;
    if let Ok(directory) = openat(parent, name, OFlags::RDONLY | flags, Mode::empty()) {
        fchmod(&directory, Mode::RWXU)?;
        return Ok(directory);
    }
    rustix::fs::chmod(crate::container::rootfs::path::link_to(&reached), Mode::RWXU)?;
    Ok(openat(parent, name, OFlags::RDONLY | flags, Mode::empty())?)
}

fn entries(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::mkdirat;

    use super::*;

    #[test]
    fn a_tree_is_removed_however_deep_and_whatever_its_modes() {
        let scratch = tempfile::tempdir().unwrap();
        let outside = scratch.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "stays").unwrap();
        let top = scratch.path().join("tree");
        fs::create_dir(&top).unwrap();
        symlink(&outside, top.join("link")).unwrap();
        fs::create_dir(top.join("0")).unwrap();
        fs::write(top.join("0/file"), "").unwrap();
        // Deeper than a path can say, and than there are descriptors.
        let mut here: OwnedFd = File::open(&top).unwrap().into();
        for _ in 0..3000 {
            mkdirat(&here, "directory", Mode::RWXU).unwrap();
            here = openat(&here, "directory", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
            fchmod(&here, Mode::RWXU).unwrap();
        }
        fs::create_dir_all(top.join("shut/inner/more")).unwrap();
        fs::set_permissions(top.join("shut/inner"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(top.join("shut"), fs::Permissions::from_mode(0o000)).unwrap();

        let parent = File::open(scratch.path()).unwrap();
        remove_tree(&parent, OsStr::new("tree")).unwrap();
        assert!(!top.exists());
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "stays");
        remove_tree(&parent, OsStr::new("tree")).unwrap();
    }
}
