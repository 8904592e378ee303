//! The terminal of a foreground container: what is typed goes in, what it writes comes out, its size follows ours.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use rustix::fs::{FileType, Mode, OFlags};

/// What is carried at once: PIPE_BUF, so that a pipe which polls as writable takes it whole (pipe(7)).
const CHUNK: usize = 4096;

/// How many milliseconds the end waits for a reader that takes nothing.
const STALLED: u16 = 2000;

/// What the end carries at most: more than a terminal holds, so that who still floods it does not hold us up.
const LAST_READS: usize = 64;

/// Carries bytes between our own standard streams and the master of the container's terminal.
///
/// It never waits for anyone but at its end: whoever stops reading stops only the direction that leads to them.
pub struct Relay {
    /// Closed once nobody can see the output any more: the kernel then hangs the container's terminal up.
    master: Option<OwnedFd>,
    /// Our terminal's settings, given back when the relay ends.
    ours: Option<Termios>,
    /// Our stdout as a descriptor that does not block, where it can be had.
    stdout: Option<OwnedFd>,
    input_open: bool,
    output_open: bool,
    /// Read from our stdin, and not yet taken by the container's terminal.
    input: Pending,
    /// Written by the container, and not yet taken by our stdout.
    output: Pending,
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
        let relay = Relay {
            master: Some(master),
            ours,
            stdout: reopen_stdout(),
            input_open: true,
            output_open: true,
            input: Pending::default(),
            output: Pending::default(),
        };
        relay.resize();
        Ok(relay)
    }

    /// Our terminal's size becomes the container's.
    pub fn resize(&self) {
        if let (Some(master), Ok(size)) = (&self.master, rustix::termios::tcgetwinsize(io::stdin())) {
            // The master may have lost its other side.
            let _ = rustix::termios::tcsetwinsize(master, size);
        }
    }

    /// What the next turn waits for. A descriptor that we want nothing of is left out: its POLLHUP would not rest.
    pub fn descriptors(&self) -> Vec<PollFd<'_>> {
        let mut fds = Vec::new();
        if self.input_open && self.input.is_empty() {
            fds.push(PollFd::new(stdin(), PollFlags::POLLIN));
        }
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::POLLIN, self.output_open && self.output.is_empty());
        wanted.set(PollFlags::POLLOUT, !self.input.is_empty());
        fds.extend(self.master.iter().filter(|_| !wanted.is_empty()).map(|fd| PollFd::new(fd.as_fd(), wanted)));
        if !self.output.is_empty() {
            fds.push(PollFd::new(self.stdout(), PollFlags::POLLOUT));
        }
        fds
    }

    /// Carries what there is and what there is room for, at most a chunk each way; the next turn goes on.
    pub fn serve(&mut self) {
        self.read_output();
        self.write_output();
        self.read_input();
        self.write_input();
    }

    fn read_output(&mut self) {
        let Some(master) = self.master.as_ref().filter(|_| self.output_open && self.output.is_empty()) else { return };
        match self.output.fill(master.as_fd()) {
            Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            // EIO: no process has the terminal open any more.
            Ok(0) | Err(_) => self.output_open = false,
        }
    }

    fn write_output(&mut self) {
        if self.output.is_empty() || !is_ready(self.stdout(), PollFlags::POLLOUT, PollTimeout::ZERO) {
            return;
        }
        // Not by `stdout()`, which would borrow all of us.
        let stdout = self.stdout.as_ref().map_or(stdio()[1], AsFd::as_fd);
        if self.output.drain(stdout).is_err() {
            self.hang_up();
        }
    }

    /// Nobody will see what the container writes: it hears of it as from a terminal that was closed.
    fn hang_up(&mut self) {
        self.master = None;
        self.input_open = false;
        self.output_open = false;
        self.input = Pending::default();
        self.output = Pending::default();
    }

    fn read_input(&mut self) {
        // Our stdin is shared with others, so it must not be made non-blocking: ask first.
        let wanted = self.input_open && self.input.is_empty();
        if !wanted || !is_ready(stdin(), PollFlags::POLLIN, PollTimeout::ZERO) {
            return;
        }
        match self.input.fill(stdin()) {
            Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(0) | Err(_) => {
                self.input_open = false;
                // Ours has no more to give: the container reads an end of file, as from a typed ^D.
                self.input = Pending { bytes: vec![0x04], taken: 0 };
            }
        }
    }

    fn write_input(&mut self) {
        let Some(master) = self.master.as_ref().filter(|_| !self.input.is_empty()) else { return };
        if self.input.drain(master.as_fd()).is_err() {
            self.input_open = false;
            self.input = Pending::default();
        }
    }

    /// What was written before the end is shown, for as long as someone reads it.
    fn finish_output(&mut self) {
        for _ in 0..LAST_READS {
            self.read_output();
            if self.output.is_empty() {
                return;
            }
            while !self.output.is_empty() {
                if !is_ready(self.stdout(), PollFlags::POLLOUT, PollTimeout::from(STALLED)) {
                    return;
                }
                self.write_output();
            }
        }
    }

    fn stdout(&self) -> BorrowedFd<'_> {
        self.stdout.as_ref().map_or(stdio()[1], AsFd::as_fd)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.finish_output();
        if let Some(ours) = &self.ours {
            // The terminal may be gone; there is nobody to tell.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, ours);
        }
    }
}

/// Bytes on their way; more are read only when all of them were taken.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    taken: usize,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    /// One read; gives its length.
    fn fill(&mut self, from: BorrowedFd) -> nix::Result<usize> {
        let mut buffer = [0; CHUNK];
        let length = nix::unistd::read(from, &mut buffer)?;
        *self = Pending { bytes: buffer[..length].to_vec(), taken: 0 };
        Ok(length)
    }

    /// One write. An error means that nothing will ever be taken.
    fn drain(&mut self, to: BorrowedFd) -> nix::Result<()> {
        match nix::unistd::write(to, &self.bytes[self.taken..]) {
            Ok(length) => self.taken += length,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A second opening of our stdout: a terminal that polls as writable may have room for a single byte and block on the
/// next, and the flags of the one we were given are shared with others. Of a file it would begin at the start, and of
/// the multiplexer of terminals it would be another terminal.
fn reopen_stdout() -> Option<OwnedFd> {
    let status = rustix::fs::fstat(stdio()[1]).ok()?;
    let is_terminal = rustix::termios::isatty(stdio()[1]) && status.st_rdev != rustix::fs::makedev(5, 2);
    if !is_terminal && FileType::from_raw_mode(status.st_mode) != FileType::Fifo {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open("/proc/self/fd/1", flags, Mode::empty()).ok()
}

fn stdio() -> [BorrowedFd<'static>; 3] {
    crate::linux::fd::stdio()
}

fn stdin() -> BorrowedFd<'static> {
    stdio()[0]
}

/// Whether a read or a write would do something at once, be it to fail.
fn is_ready(fd: BorrowedFd, wanted: PollFlags, limit: PollTimeout) -> bool {
    let mut fds = [PollFd::new(fd, wanted)];
    poll(&mut fds, limit).is_ok_and(|ready| ready > 0)
}
