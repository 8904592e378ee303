//! Printing that cannot panic (threats.md R15): in this module tree these stand in place of std's macros, which do when the
//! output is full or its reader has gone.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

macro_rules! print {
    ($($text:tt)*) => { $crate::cli::print::out(format_args!($($text)*)) };
}

macro_rules! println {
    () => { $crate::cli::print::out(format_args!("\n")) };
    ($($text:tt)*) => { $crate::cli::print::out(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! eprintln {
    ($($text:tt)*) => { $crate::cli::print::error(format_args!($($text)*)) };
}

/// Prints on stdout. A verb whose words arrive nowhere has nothing more to do: it ends, with 0 where the reader has gone, as
/// a `head` that has seen enough does, and with 1 otherwise.
pub fn out(text: Arguments) {
    let mut stdout = io::stdout().lock();
    match stdout.write_fmt(text).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            self::error(format_args!("bookend: write to stdout: {error}"));
            std::process::exit(1)
        }
    }
}

/// Prints a line on stderr; where that fails there is nobody left to tell.
pub fn error(text: Arguments) {
    let _ = io::stderr().write_fmt(format_args!("{text}\n"));
}
