//! The OCI container: bundle, state, birth (create, init), exec and deletion. Knows nothing of Kubernetes.

pub mod id;
