//! The binary: which of bookend's programs this process is.

use std::ffi::OsString;
use std::process::ExitCode;

use bookend::{cli, linux, supervisor};

fn main() -> ExitCode {
    // Closed standard streams would give their numbers to files (threats.md R15).
    if let Err(error) = linux::fd::ensure_stdio() {
        eprintln!("bookend: open /dev/null in place of a closed standard stream: {error}");
        return ExitCode::from(125);
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let code = match arguments.get(1).and_then(|verb| verb.to_str()) {
        // The resident process never runs the code of the command line: what ran stays in memory.
        Some("supervise") => match supervisor::boot::supervise(&arguments[2..]) {
            Ok(()) => 0,
            Err(_) => 1, // told through the ready pipe
        },
        Some("act") => cli::test::actor::run(),
        Some("handle") => cli::handle::run(&arguments[2..]),
        _ => cli::main(arguments),
    };
    ExitCode::from(code)
}
