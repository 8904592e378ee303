//! Thin safe wrappers over system calls that no library wraps, and the only unsafe code of the crate.
#![allow(unsafe_code)]

pub mod mount;
