//! Readiness: the service manager's socket (sd_notify(3)), passed into a container as runc does.
//!
//! ```text
//!   container                        start, run                      service manager
//!     | -- any datagram ----------->  |
//!     | -- READY=1 --------------->   | (held back until the container is running)
//!     |                               | -- READY=1, MAINPID=PID -------> |
//!     |                               | -- BARRIER=1 ------------------> | (heard before we end)
//! ```
//!
//! What the container sends is at `notify/notify.sock` in the state directory, which it sees below `/run/notify`. Nothing of
//! it is passed on but that one word.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Permissions};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr};
use nix::sys::socket::{bind, recv, sendmsg, sendto, socket};
use nix::unistd::Pid;
use oci_spec::runtime::{MountBuilder, Spec};

use crate::linux::{fd, fork, pidfd};

const VARIABLE: &str = "NOTIFY_SOCKET";
const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify.sock";
/// Where the container finds the directory.
const INSIDE: &str = "/run/notify";
/// How long the service manager may take to hear what was said, in milliseconds, as in systemd-notify(1).
const HEARING: u16 = 5000;

/// Where the service manager that called us listens.
#[derive(Debug)]
pub struct Manager(UnixAddr);

impl Manager {
    /// From the environment; None where nobody wants to know.
    pub fn of_caller() -> Result<Option<Manager>> {
        match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => Manager::named(&name).map(Some),
            _ => Ok(None),
        }
    }

    /// `/path`, or `@name` in the abstract namespace.
    fn named(name: &OsStr) -> Result<Manager> {
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => UnixAddr::new_abstract(rest),
            [b'/', ..] => UnixAddr::new(name),
            _ => bail!("{VARIABLE}: {name:?} is neither a path nor the name of an abstract socket (@name)"),
        };
        Ok(Manager(address.with_context(|| format!("{VARIABLE}: {name:?}"))?))
    }

    /// Tells it that the container is ready.
    pub fn ready(&self) -> Result<()> {
        self.say("READY=1")
    }

    /// Waits until what was said has been heard (sd_notify_barrier(3)): a manager that looks for the sender's unit finds none where
    /// the sender is gone.
    fn barrier(&self) -> Result<()> {
        let (reader, writer) = fork::pipe().context("make a pipe")?;
        let socket = datagram(SockFlag::empty())?;
        let text = [IoSlice::new(b"BARRIER=1")];
        let rights = [ControlMessage::ScmRights(&[writer.as_raw_fd()])];
        sendmsg(socket.as_raw_fd(), &text, &rights, MsgFlags::MSG_NOSIGNAL, Some(&self.0))?;
        drop(writer);
        // Closed at the other end too: it has read as far as this.
        poll(&mut [PollFd::new(reader.as_fd(), PollFlags::empty())], PollTimeout::from(HEARING))?;
        Ok(())
    }

    fn say(&self, text: &str) -> Result<()> {
        let socket = datagram(SockFlag::empty())?;
        sendto(socket.as_raw_fd(), text.as_bytes(), &self.0, MsgFlags::MSG_NOSIGNAL)
            .with_context(|| format!("tell the service manager {text}"))?;
        Ok(())
    }
}

/// Gives the container of a state directory the place of the socket: a mount and a variable, unless its own configuration
/// has a socket already.
pub fn pass_in(dir: &Path, config: &mut Spec) -> Result<()> {
    let Some(process) = config.process_mut() else { return Ok(()) };
    let mut env = process.env().clone().unwrap_or_default();
    if env.iter().any(|variable| variable.starts_with(&format!("{VARIABLE}="))) {
        return Ok(());
    }
    env.push(format!("{VARIABLE}={INSIDE}/{SOCKET}"));
    process.set_env(Some(env));
    let source = dir.join(DIRECTORY);
    DirBuilder::new().mode(0o755).create(&source).with_context(|| format!("create {}", source.display()))?;
    // Whatever our umask: the container's user has to pass.
    fs::set_permissions(&source, Permissions::from_mode(0o755))
        .with_context(|| format!("chmod {}", source.display()))?;
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
    let mount = MountBuilder::default().destination(INSIDE).typ("bind").source(source).options(options).build()?;
    config.mounts_mut().get_or_insert_default().push(mount);
    Ok(())
}

/// The container's socket, at which we listen for its word.
pub struct Notify {
    manager: Manager,
    socket: OwnedFd,
}

impl Notify {
    /// Listens in a container's state directory; None where its `create` passed nothing in, or our caller does not want to
    /// know. Before the container is started, so that no word is lost.
    pub fn listen(dir: &Path) -> Result<Option<Notify>> {
        let Some(manager) = Manager::of_caller()? else { return Ok(None) };
        let Ok(dir) = fd::open_path(&dir.join(DIRECTORY)) else { return Ok(None) };
        // A start that was killed has left its own. The container sees the directory read-only.
        let _ = rustix::fs::unlinkat(&dir, SOCKET, rustix::fs::AtFlags::empty());
        let socket = datagram(SockFlag::SOCK_NONBLOCK)?;
        // Through the descriptor: a long root passes the 108 bytes of an address.
        let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
        bind(socket.as_raw_fd(), &UnixAddr::new(path.as_str())?).context("bind notify.sock")?;
        fs::set_permissions(&path, Permissions::from_mode(0o777)).context("chmod notify.sock")?;
        Ok(Some(Notify { manager, socket }))
    }

    /// Waits for the word of a container that is running, or its end, and passes the word on.
    pub fn relay(&self, pid: Pid, init: BorrowedFd<'_>) -> Result<()> {
        loop {
            if self.hears_ready() {
                self.manager.ready()?;
                // From now on that is who to watch, as we are about to end.
                self.manager.say(&format!("MAINPID={pid}"))?;
                let _ = self.manager.barrier(); // it has been told
                return Ok(());
            }
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN), PollFd::new(init, PollFlags::POLLIN)];
            let polled = match pidfd::can_be_polled(init) {
                true => poll(&mut fds, PollTimeout::NONE),
                false => poll(&mut fds[..1], PollTimeout::from(pidfd::TICK.as_millis() as u16)),
            };
            match polled {
                Ok(_) if fds[0].any() != Some(true) && pidfd::has_ended(init) => return Ok(()), // without its word
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("wait for the container to be ready"),
            }
        }
    }

    /// Passes the word on if it has come; for who waits with a `poll` of his own. True when there is nothing more to do.
    pub fn serve(&self) -> bool {
        // Who has gone does not want to know any more.
        self.hears_ready() && self.manager.ready().is_ok()
    }

    /// Whether `READY=1` is among what has arrived.
    fn hears_ready(&self) -> bool {
        let mut buffer = [0; 4096];
        while let Ok(length) = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            if buffer[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return true;
            }
        }
        false
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn datagram(flags: SockFlag) -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC | flags, None).context("make a socket")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn a_manager_is_reached_by_path_or_in_the_abstract_namespace() {
        use std::os::linux::net::SocketAddrExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let name = format!("bookend-test-{}", std::process::id());
        let abstract_address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        for (manager, given) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), OsString::from(format!("@{name}"))),
        ] {
            Manager::named(&given).unwrap().ready().unwrap();
            let mut buffer = [0; 100];
            let length = manager.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1");
        }
    }

    #[test]
    fn a_barrier_is_passed_when_all_before_it_has_been_heard() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let manager = UnixDatagram::bind(&path).unwrap();
        let barrier = std::thread::spawn(move || Manager::named(path.as_os_str()).unwrap().barrier().unwrap());
        let mut buffer = [0; 100];
        poll(&mut [PollFd::new(manager.as_fd(), PollFlags::POLLIN)], PollTimeout::from(HEARING)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200)); // it would have ended by now
        assert!(!barrier.is_finished());
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"BARRIER=1");
        barrier.join().unwrap();
    }

    #[test]
    fn another_kind_of_address_is_refused() {
        let error = Manager::named(OsStr::new("vsock:2:1")).unwrap_err().to_string();
        assert!(error.starts_with("NOTIFY_SOCKET: \"vsock:2:1\" is neither"), "{error}");
        assert!(Manager::named(OsStr::new(&format!("/{}", "x".repeat(200)))).is_err());
    }

    #[test]
    fn a_container_that_brings_a_socket_of_its_own_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = serde_json::from_value(crate::container::spec::template(false)).unwrap();
        pass_in(dir.path(), &mut config).unwrap();
        let with =
            |config: &Spec| config.mounts().iter().flatten().filter(|m| m.destination() == Path::new(INSIDE)).count();
        assert_eq!(with(&config), 1);
        pass_in(dir.path(), &mut config).unwrap();
        assert_eq!(with(&config), 1);
    }
}
