//! bookend called by the tools that people call: podman, containerd, dockerd and buildah, the real ones of this machine, each
//! with storage, state and daemons of its own.

mod common;
#[path = "callers/home.rs"]
mod home;

#[path = "callers/buildah.rs"]
mod buildah;
#[path = "callers/containerd.rs"]
mod containerd;
#[path = "callers/docker.rs"]
mod docker;
#[path = "callers/podman.rs"]
mod podman;
