//! The supervisor: one for a container with hooks. It waits on descriptors, turns what it sees into events for
//! `lifecycle::step`, and carries the actions out.

pub mod history;
