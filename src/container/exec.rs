//! `exec`: one more process in a container.

use std::fmt;
use std::os::fd::{OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use nix::unistd::Pid;
use oci_spec::runtime::Process;

use super::state::{Init, State};

/// Where the terminal of a process goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Console {
    /// To the caller, as `Child::terminal`; there is one only if the process asks for it (`terminal`).
    #[default]
    Foreground,
    /// To a unix socket.
    Socket(PathBuf),
}

/// What a process in a container is made of.
#[derive(Debug)]
pub struct ExecOptions {
    /// All of it counts: args, env, cwd, user, capabilities, rlimits, terminal...
    pub process: Process,
    pub console: Console,
    /// How many descriptors from 3 on the program gets.
    pub preserve_fds: u32,
    /// Its standard input, output and error; None: the caller's.
    pub stdio: Option<[OwnedFd; 3]>,
    /// A sub-cgroup of the container's with this name, for its whole tree (X-E15); see `Child::in_cgroup`.
    pub cgroup_child: Option<String>,
    /// Also in a paused container, where it does not run before the container is resumed.
    pub ignore_paused: bool,
}

impl ExecOptions {
    pub fn new(process: Process) -> ExecOptions {
        ExecOptions {
            process,
            console: Console::default(),
            preserve_fds: 0,
            stdio: None,
            cgroup_child: None,
            ignore_paused: false,
        }
    }
}

/// A process that runs its program. Its parent is the caller, who reaps it.
#[derive(Debug)]
pub struct Child {
    pub pid: Pid,
    pub pidfd: OwnedFd,
    /// The master of its terminal, unless a console socket was given.
    pub terminal: Option<OwnedFd>,
    /// Whether it is in the cgroup that was asked for; no where there are no rights (X-E18).
    pub in_cgroup: bool,
    pub warnings: Vec<String>,
}

/// Why a process could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecError {
    pub message: String,
    /// 127 where the program was not found, 126 otherwise; 255 where it is bookend's own failure.
    pub code: i32,
}

impl std::error::Error for ExecError {}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Makes a process in a running (or created) container. The caller must be single-threaded.
pub fn spawn(_state: &State, _dir: &Path, _options: &ExecOptions) -> Result<Child, ExecError> {
    todo!()
}

/// The namespaces of a container that a process after its end needs, held open (O-03).
pub fn hold_namespaces(_init: &Init) -> anyhow::Result<Vec<(CloneFlags, OwnedFd)>> {
    todo!()
}

/// Makes a process in a container whose init is gone (O-03): in the namespaces held open, with a new pid namespace and a
/// fresh, masked /proc in a private copy of the mount namespace. The caller must be single-threaded.
pub fn spawn_after(
    _namespaces: &[(CloneFlags, OwnedFd)],
    _dir: &Path,
    _options: &ExecOptions,
) -> Result<Child, ExecError> {
    todo!()
}
