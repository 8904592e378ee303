//! The lifecycle of a container and its hooks: the model, where it is read from, and the rules (lifecycle.md).
//!
//! Nothing in here starts a process or knows a descriptor: `step` knows nothing of the world.

pub mod annotations;
pub mod describe;
pub mod fault;
pub mod file;
pub mod journal;
pub mod life;
pub mod message;
pub mod model;
pub mod notice;
pub mod outcome;
pub mod pod;
pub mod resume;
pub mod rule;
pub mod signal;
pub mod source;
pub mod status;
pub mod step;
pub mod time;
pub mod timeline;
pub mod tree;
pub mod validate;
pub mod waiting;
