//! The terminal of a foreground container: what is typed goes in, what it writes comes out, its size follows ours.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// Carries bytes between our own standard streams and the master of the container's terminal.
pub struct Relay {
    master: OwnedFd,
    /// Our terminal's settings, given back when the relay ends.
    ours: Option<Termios>,
    input_open: bool,
    output_open: bool,
}

impl Relay {
    /// Begins; our terminal, if we have one, becomes raw.
    pub fn begin(master: OwnedFd) -> io::Result<Relay> {
        rustix::io::ioctl_fionbio(&master, true)?;
        let ours = tcgetattr(io::stdin()).ok();
        if let Some(ours) = &ours {
            let mut raw = ours.clone();
            cfmakeraw(&mut raw);
            tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        }
        let relay = Relay { master, ours, input_open: true, output_open: true };
        relay.resize();
        Ok(relay)
    }

    /// Our terminal's size becomes the container's.
    pub fn resize(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(io::stdin()) {
            // The master may have lost its other side.
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    pub fn descriptors(&self) -> Vec<PollFd<'_>> {
        let input = self.input_open.then(|| PollFd::new(stdin(), PollFlags::POLLIN));
        let output = self.output_open.then(|| PollFd::new(self.master.as_fd(), PollFlags::POLLIN));
        input.into_iter().chain(output).collect()
    }

    /// Carries what there is.
    pub fn serve(&mut self) {
        self.serve_output();
        // Our stdin is shared with others, so it must not be made non-blocking: ask first.
        if self.input_open && is_readable(stdin()) {
            let mut buffer = [0; 4096];
            match nix::unistd::read(stdin(), &mut buffer) {
                Ok(0) => self.end_input(),
                Ok(length) => self.input_open = write_all(self.master.as_fd(), &buffer[..length]),
                Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
                Err(_) => self.end_input(),
            }
        }
    }

    /// Ours has no more to give: the container reads an end of file, as from a typed ^D.
    fn end_input(&mut self) {
        self.input_open = false;
        write_all(self.master.as_fd(), b"\x04");
    }

    fn serve_output(&mut self) {
        let mut buffer = [0; 4096];
        while self.output_open {
            match nix::unistd::read(&self.master, &mut buffer) {
                Ok(0) => self.output_open = false,
                Ok(length) => self.output_open = write_all(io::stdout().as_fd(), &buffer[..length]),
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => return,
                // EIO: no process has the terminal open any more.
                Err(_) => self.output_open = false,
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serve_output();
        if let Some(ours) = &self.ours {
            // The terminal may be gone; there is nobody to tell.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, ours);
        }
    }
}

fn stdin() -> BorrowedFd<'static> {
    crate::linux::fd::stdio()[0]
}

fn is_readable(fd: BorrowedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Whether the other side still takes bytes. Waits for room: a terminal that is stopped stops its container too.
fn write_all(fd: BorrowedFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match nix::unistd::write(fd, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::EAGAIN) => {
                let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
                if poll(&mut fds, PollTimeout::NONE).is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}
