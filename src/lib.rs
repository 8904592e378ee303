//! bookend: a minimal container runtime shim that executes lifecycle hooks itself.
//!
//! `ARCHITECTURE.md` is the map.
#![deny(unsafe_code)]

pub mod cgroup;
pub mod check;
pub mod cli;
pub mod container;
pub mod foreign;
pub mod handler;
pub mod image;
pub mod lifecycle;
pub mod linux;
pub mod supervisor;
pub mod wall;
