//! The OCI container: bundle, state, birth (create, init), exec and deletion. Knows nothing of Kubernetes.

pub mod bundle;
pub mod capabilities;
pub mod config;
pub mod create;
pub mod delegation;
pub mod delete;
pub mod exec;
pub mod features;
pub mod hooks;
pub mod id;
pub mod idmap;
pub mod init;
pub mod limits;
pub mod link;
pub mod namespaces;
pub mod notify;
pub mod process;
pub mod root;
pub mod rootfs;
pub mod seccomp;
pub mod spec;
pub mod stand_in;
pub mod start;
pub mod state;
pub mod terminal;
pub mod user;
