//! The command line: one file a verb. Each parses, makes one call, and prints.

pub mod hooks;
pub mod logs;
pub mod timeline;
