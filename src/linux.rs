//! Thin safe wrappers over system calls that no library wraps, and the only unsafe code of the crate.
#![allow(unsafe_code)]

pub mod bits;
pub mod bpf;
pub mod capability;
pub mod clock;
pub mod clone;
pub mod exit;
pub mod fd;
pub mod fork;
pub mod inherit;
pub mod keyring;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod netlink;
pub mod numa;
pub mod pidfd;
pub mod probe;
pub mod process;
pub mod procfs;
pub mod reap;
pub mod reexec;
pub mod sched;
pub mod seccomp;
pub mod signals;
pub mod spawn;
pub mod tty;
