//! What a process in a container can do without any program of the image.

use std::io::Write;

use crate::linux::process::exit_now;

/// In the place of a program, in its namespaces, control group and user, and with its standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// Waits for a signal that ends it.
    Hang,
    /// Says so and exits with 1.
    Fail,
    /// Writes until nobody reads.
    Flood,
}

impl StandIn {
    pub fn act(self) -> ! {
        match self {
            StandIn::Hang => loop {
                nix::unistd::pause();
            },
            StandIn::Fail => {
                // Who does not read it sees the exit code.
                let _ = writeln!(std::io::stderr(), "bookend: this handler fails because the rehearsal asked for it");
            }
            StandIn::Flood => {
                let line = b"a flood, because the rehearsal asked for it\n".repeat(64);
                while std::io::stdout().write_all(&line).is_ok() {}
            }
        }
        exit_now(1)
    }
}
