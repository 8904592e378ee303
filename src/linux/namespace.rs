//! What a namespace is and to whom it belongs (ioctl_ns(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

const NS_GET_USERNS: libc::Ioctl = 0xb701;
const NS_GET_PARENT: libc::Ioctl = 0xb702;
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;

/// The `CLONE_NEW*` flag of a namespace.
pub fn kind(namespace: impl AsFd) -> io::Result<i32> {
    ask(namespace, NS_GET_NSTYPE)
}

/// The user namespace that a namespace of another kind belongs to.
///
/// # Errors
/// EPERM where that is neither ours nor one below it.
pub fn owner(namespace: impl AsFd) -> io::Result<OwnedFd> {
    ask_for_descriptor(namespace, NS_GET_USERNS)
}

/// The user namespace that a user namespace was made in.
///
/// # Errors
/// EPERM where that is neither ours nor one below it.
pub fn parent(user_namespace: impl AsFd) -> io::Result<OwnedFd> {
    ask_for_descriptor(user_namespace, NS_GET_PARENT)
}

/// The user who made a user namespace.
pub fn owner_uid(user_namespace: impl AsFd) -> io::Result<u32> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: NS_GET_OWNER_UID fills a uid_t that lives here.
    let done = unsafe { libc::ioctl(user_namespace.as_fd().as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(uid) }
}

fn ask_for_descriptor(namespace: impl AsFd, question: libc::Ioctl) -> io::Result<OwnedFd> {
    let fd = ask(namespace, question)?;
    // SAFETY: the kernel just made this descriptor for us, close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn ask(namespace: impl AsFd, question: libc::Ioctl) -> io::Result<i32> {
    // SAFETY: the questions that come here take no argument.
    let answer = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), question) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn our_network_belongs_to_a_user_namespace_and_what_is_none_to_nobody() {
        let network = File::open("/proc/self/ns/net").unwrap();
        assert_eq!(kind(&network).unwrap(), libc::CLONE_NEWNET);
        // In a user namespace without a network of its own it is another's, and not ours to know.
        if let Ok(owner) = owner(&network) {
            let owner = File::from(owner);
            assert_eq!(kind(&owner).unwrap(), libc::CLONE_NEWUSER);
            assert_eq!(
                owner.metadata().unwrap().ino(),
                File::open("/proc/self/ns/user").unwrap().metadata().unwrap().ino()
            );
        }
        let ours = File::open("/proc/self/ns/user").unwrap();
        assert_eq!(parent(&ours).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(kind(File::open("/dev/null").unwrap()).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
