//! The OCI container: bundle, state, birth (create, init), exec and deletion. Knows nothing of Kubernetes.

pub mod bundle;
pub mod config;
pub mod id;
pub mod rootfs;
pub mod spec;
