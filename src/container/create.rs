//! `create`: makes a container up to the point where its program could be executed.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::Result;

use super::bundle::Bundle;
use super::id::ContainerId;
use super::root::Root;
use super::state::State;
use super::state::Lock;

/// What the caller of `create` may ask for.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// The unix socket that is given the master of the terminal.
    pub console_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the program gets.
    pub preserve_fds: u32,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub rootless: bool,
    /// Whether a program that cannot be found is an error already now (P-01); no when a preStart hook may install it.
    pub lookup_program: bool,
}

impl Default for CreateOptions {
    fn default() -> CreateOptions {
        CreateOptions {
            console_socket: None,
            pid_file: None,
            preserve_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            rootless: !nix::unistd::geteuid().is_root(),
            lookup_program: true,
        }
    }
}

/// A container in the state `created`. Unless it is kept, dropping it undoes everything.
pub struct Created {
    pub state: State,
    pub dir: PathBuf,
    /// Of init, whose parent is the caller.
    pub pidfd: OwnedFd,
    /// `/proc/PID` of init, O_PATH.
    pub proc_dir: OwnedFd,
    /// The master of its terminal, when there is no console socket.
    pub terminal: Option<OwnedFd>,
    /// What is to be told, but does not stop the container.
    pub warnings: Vec<String>,
    /// No other verb changes the container while this lives.
    pub lock: Option<Lock>,
    kept: bool,
}

impl Created {
    /// From now on the container outlives this value.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

/// Creates a container. The caller becomes init's parent, and must be single-threaded.
pub fn create(_root: &Root, _id: &ContainerId, _bundle: &Bundle, _options: &CreateOptions, _has_hooks: bool) -> Result<Created> {
    todo!()
}
