//! The bounded log of one attempt of a hook (L-01, L-02, X-E14).
//!
//! A hook may write without end, and this runs in the supervisor. So the head of each stream goes to the log file as it
//! comes, and what follows goes to two scratch files that take turns: when the younger is full, the older is emptied.
//! At the end the last half is copied behind the head, with a line between that says how much is missing. Only the line
//! that has begun is held in memory, at most 16 KiB of it for each stream.
//!
//! No error of a file stops the container (threats.md R26): the first one is told in the summary, and output goes on
//! being taken and counted.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::foreign;
use crate::lifecycle::message::Stderr;
use crate::lifecycle::model::{Hook, HookLog as Policy};
use crate::linux::clock;
use crate::wall;

/// What a file keeps of one stream of one attempt: half of it from the beginning, half from the end.
const MAX_STREAM: u64 = 1 << 20;
/// What all the logs of a container may hold.
const MAX_CONTAINER: u64 = 4 << 20;
/// A line that is longer is cut into several.
const MAX_LINE: usize = 16 << 10;
/// `<time> <stream> `: both streams' names have six letters.
const STAMP: usize = wall::RFC3339_LEN + " stdout ".len();
const STDERR_TAIL: usize = 1024;
const LAST_LINE: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// What is known of an attempt's output at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// The log file, where the policy keeps one and it could be made.
    pub path: Option<PathBuf>,
    /// Bytes of output that the file does not hold; all of them after an error.
    pub dropped_bytes: u64,
    /// The last 1 KiB of stderr, for the status file and the log only (X-E08); empty with `log: none`.
    pub stderr_tail: String,
    /// The last line of stderr that is not blank: at most 256 bytes, control characters escaped; None with `log: none` (L-03).
    pub last_line: Option<String>,
    /// The first error that kept output from a file.
    pub error: Option<String>,
}

/// The log of one attempt while it runs.
pub struct HookLog {
    hook: Hook,
    policy: Policy,
    dir: PathBuf,
    path: Option<PathBuf>,
    /// None where the policy keeps none or it could not be made.
    file: Option<Sink>,
    stdout: Lines,
    stderr: Lines,
    stderr_tail: VecDeque<u8>,
    last_line: Vec<u8>,
    error: Option<io::Error>,
    mirrors: [Option<Mirror>; 2],
}

impl HookLog {
    /// Begins the log `HOOK[-ENTRY]-ATTEMPT.log` in `dir`, which is made (0700) where it is missing. `entry` is the index
    /// in a list of handlers; attempts count from 1.
    ///
    /// Of a hook's attempts the first and the last three are kept (X-E14): an older log is removed here. What the other
    /// logs of the container hold is taken into account, and no attempt gets more than half of what is left of 4 MiB, so
    /// that a chatty postStart leaves room for preStop.
    pub fn create(dir: &Path, hook: Hook, entry: Option<usize>, attempt: u32, policy: Policy) -> HookLog {
        HookLog::begin(dir, (hook, entry, attempt), policy, create_new)
    }

    /// Goes on with the log of an attempt that a predecessor had begun; what was its last half is lost.
    pub fn go_on(dir: &Path, hook: Hook, entry: Option<usize>, attempt: u32, policy: Policy) -> HookLog {
        HookLog::begin(dir, (hook, entry, attempt), policy, open_old)
    }

    fn begin(
        dir: &Path,
        of: (Hook, Option<usize>, u32),
        policy: Policy,
        open_file: impl Fn(&Path) -> io::Result<File>,
    ) -> HookLog {
        let (hook, entry, attempt) = of;
        let mut log = HookLog {
            hook,
            policy,
            dir: dir.to_owned(),
            path: None,
            file: None,
            stdout: Lines::new(Stream::Stdout, 0),
            stderr: Lines::new(Stream::Stderr, 0),
            stderr_tail: VecDeque::new(),
            last_line: Vec::new(),
            error: None,
            mirrors: [None, None],
        };
        if matches!(policy, Policy::File | Policy::Both) {
            match open(dir, hook, entry, attempt, open_file) {
                Ok((path, file, limit)) => {
                    log.stdout = Lines::new(Stream::Stdout, limit);
                    log.stderr = Lines::new(Stream::Stderr, limit);
                    log.file = Some(Sink::new(file));
                    log.path = Some(path);
                }
                Err(error) => log.error = Some(error),
            }
        }
        if matches!(policy, Policy::Inherit | Policy::Both) {
            log.mirrors = [(); 2].map(|()| io::stderr().as_fd().try_clone_to_owned().ok().map(Mirror::new));
        }
        log
    }

    /// With `log: container`: where the container's own stdout and stderr are (L-02).
    pub fn mirror_to(&mut self, stdout: OwnedFd, stderr: OwnedFd) {
        self.mirrors = [Some(Mirror::new(stdout)), Some(Mirror::new(stderr))];
    }

    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The last 1 KiB of stderr so far (X-E08).
    pub fn stderr_tail(&self) -> String {
        let tail: Vec<u8> = self.stderr_tail.iter().copied().collect();
        String::from_utf8_lossy(&tail).into_owned()
    }

    /// The last line of stderr so far that is not blank (L-03).
    pub fn last_line(&self) -> Option<String> {
        (!self.last_line.is_empty()).then(|| last_words(&self.last_line))
    }

    /// Takes what one read(2) gave. Never fails and never blocks for long.
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        if self.policy == Policy::None {
            return;
        }
        if stream == Stream::Stderr {
            let fresh = &bytes[bytes.len().saturating_sub(STDERR_TAIL)..];
            self.stderr_tail.extend(fresh);
            self.stderr_tail.drain(..self.stderr_tail.len().saturating_sub(STDERR_TAIL));
        }
        while !bytes.is_empty() {
            let lines = self.lines(stream);
            if std::mem::take(&mut lines.cut) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let room = MAX_LINE - lines.begun.len();
            let (piece, ended) = match bytes.iter().take(room + 1).position(|byte| *byte == b'\n') {
                Some(end) => (end, true),
                None => (room.min(bytes.len()), false),
            };
            lines.begin(&bytes[..piece]);
            let full = lines.begun.len() == MAX_LINE;
            lines.cut = full && !ended;
            bytes = &bytes[piece + usize::from(ended)..];
            if ended || full {
                self.end_line(stream);
            }
        }
        self.flush();
    }

    fn lines(&mut self, stream: Stream) -> &mut Lines {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Puts the line that has begun where it belongs.
    fn end_line(&mut self, stream: Stream) {
        let text = std::mem::take(&mut self.lines(stream).begun);
        if stream == Stream::Stderr && !text.trim_ascii().is_empty() {
            self.last_line.clear();
            self.last_line.extend_from_slice(&text[..text.len().min(LAST_LINE)]);
        }
        if let Some(mirror) = &mut self.mirrors[stream as usize] {
            mirror.line(self.hook, &text);
        }
        let lines = if stream == Stream::Stdout { &mut self.stdout } else { &mut self.stderr };
        lines.seen += weight(text.len());
        if let (Some(file), None) = (&mut self.file, &self.error) {
            let result = lines.keep(&self.dir, file, &text);
            self.note(result);
        }
        // The buffer is given back, so that a flood allocates nothing.
        let lines = self.lines(stream);
        lines.begun = text;
        lines.begun.clear();
    }

    fn flush(&mut self) {
        let results = [self.file.as_mut().map_or(Ok(()), Sink::flush), self.stdout.flush(), self.stderr.flush()];
        for result in results {
            self.note(result);
        }
    }

    fn note(&mut self, result: io::Result<()>) {
        if let (Err(error), None) = (result, &self.error) {
            self.error = Some(error);
        }
    }

    /// Ends the log: what was begun is written as a line, and the last halves are put in their places.
    pub fn finish(mut self) -> LogSummary {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.lines(stream).begun.is_empty() {
                self.end_line(stream);
            }
        }
        self.flush();
        if let (Some(mut file), None) = (self.file.take(), &self.error) {
            for stream in [Stream::Stdout, Stream::Stderr] {
                let result = self.lines(stream).append_tail(&mut file);
                self.note(result);
            }
        }
        let dropped = match self.error {
            // What the file holds is not known; it is not enough.
            Some(_) => self.stdout.seen + self.stderr.seen,
            None => self.stdout.dropped + self.stderr.dropped,
        };
        let tail: Vec<u8> = self.stderr_tail.into();
        LogSummary {
            dropped_bytes: dropped,
            stderr_tail: String::from_utf8_lossy(&tail).into_owned(),
            last_line: (!self.last_line.is_empty()).then(|| last_words(&self.last_line)),
            error: self.error.map(|error| match &self.path {
                Some(path) => format!("write {}: {error}", path.display()),
                None => format!("make the log of {}: {error}", self.hook),
            }),
            path: self.path,
        }
    }
}

/// What a hook said last, as a terminal shows it and does not obey it.
fn last_words(line: &[u8]) -> String {
    foreign::legible_within(&String::from_utf8_lossy(line.trim_ascii_end()), LAST_LINE)
}

/// The log's name: `preStop-1.log`, `postStop-0-1.log`.
pub fn file_name(hook: Hook, entry: Option<usize>, attempt: u32) -> String {
    match entry {
        Some(entry) => format!("{hook}-{entry}-{attempt}.log"),
        None => format!("{hook}-{attempt}.log"),
    }
}

/// The reverse of `file_name`.
pub fn parse_file_name(name: &str) -> Option<(Hook, Option<usize>, u32)> {
    let mut parts = name.strip_suffix(".log")?.split('-');
    let hook = parts.next()?;
    let hook = Hook::ALL.into_iter().find(|known| known.name() == hook)?;
    let numbers: Vec<u32> = parts.map(|number| number.parse().ok()).collect::<Option<_>>()?;
    match numbers[..] {
        [attempt] => Some((hook, None, attempt)),
        [entry, attempt] => Some((hook, Some(entry as usize), attempt)),
        _ => None,
    }
}

/// Makes the file and finds how much each stream of it may hold.
fn open(
    dir: &Path,
    hook: Hook,
    entry: Option<usize>,
    attempt: u32,
    open_file: impl Fn(&Path) -> io::Result<File>,
) -> io::Result<(PathBuf, File, u64)> {
    use std::os::unix::fs::DirBuilderExt;

    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // The first and the last three, this one included.
    if let Some(old) = attempt.checked_sub(3).filter(|old| *old > 1) {
        // It may never have been there; then there is nothing to remove.
        let _ = std::fs::remove_file(dir.join(file_name(hook, entry, old)));
    }
    let path = dir.join(file_name(hook, entry, attempt));
    let file = open_file(&path)?;
    let mut used = 0;
    for other in std::fs::read_dir(dir)? {
        used += other?.metadata()?.len();
    }
    Ok((path, file, MAX_STREAM.min(MAX_CONTAINER.saturating_sub(used) / 4)))
}

/// Makes a file of our own (0600) where none was; whatever has its name is removed, so it is never a FIFO or a symlink.
fn create_new(path: &Path) -> io::Result<File> {
    let open = || {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
            .open(path)
    };
    match open() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(path)?;
            open()
        }
        other => other,
    }
}

/// Opens a file of a predecessor's for what comes now; it is made where it is missing.
fn open_old(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).append(true).custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK);
    match options.open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        _ => create_new(path),
    }
}

/// One stream of an attempt: the line that has begun, and what became of those before it.
struct Lines {
    stream: Stream,
    begun: Vec<u8>,
    /// The last line was cut at `MAX_LINE`, so a newline right behind it begins no empty line.
    cut: bool,
    /// What the head still takes, in bytes of the file.
    head_left: u64,
    half: u64,
    tail: Option<Tail>,
    /// Bytes of output that came, and that the file does not hold. (The newline behind a line that was cut is not counted.)
    seen: u64,
    dropped: u64,
}

impl Lines {
    fn new(stream: Stream, limit: u64) -> Lines {
        let half = limit / 2;
        Lines { stream, begun: Vec::new(), cut: false, head_left: half, half, tail: None, seen: 0, dropped: 0 }
    }

    /// Adds to the line that has begun. The buffer grows in powers of two, to `MAX_LINE` and never beyond.
    fn begin(&mut self, bytes: &[u8]) {
        let needed = self.begun.len() + bytes.len();
        if needed > self.begun.capacity() {
            self.begun.reserve_exact(needed.next_power_of_two() - self.begun.len());
        }
        self.begun.extend_from_slice(bytes);
    }

    /// Writes a line to the head or, once that is full, to the tail.
    fn keep(&mut self, dir: &Path, file: &mut Sink, text: &[u8]) -> io::Result<()> {
        let size = (STAMP + text.len() + 1) as u64;
        let sink = if self.tail.is_none() && size <= self.head_left {
            self.head_left -= size;
            file
        } else {
            let tail = match &mut self.tail {
                Some(tail) => tail,
                none => none.insert(Tail::create(dir, self.half)?),
            };
            match tail.sink_for(size, weight(text.len()))? {
                Some(sink) => sink,
                None => return Ok(()),
            }
        };
        sink.put(format!("{} {} ", wall::rfc3339(clock::wall()), self.stream.name()).as_bytes())?;
        sink.put(text)?;
        sink.put(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tail.as_mut().map_or(Ok(()), |tail| tail.younger.sink.flush())
    }

    /// Copies the last half behind the head, with the gap between.
    fn append_tail(&mut self, file: &mut Sink) -> io::Result<()> {
        let Some(mut tail) = self.tail.take() else { return Ok(()) };
        let skip = (tail.older.size + tail.younger.size).saturating_sub(self.half);
        let mut older = tail.older.read()?;
        let (mut passed, mut line) = (0, Vec::new());
        while passed < skip && older.read_until(b'\n', &mut line)? > 0 {
            passed += line.len() as u64;
            tail.dropped += weight(line.len() - STAMP - 1);
            line.clear();
        }
        self.dropped = tail.dropped;
        let mut younger = tail.younger.read()?;
        if tail.dropped > 0 {
            // The gap has the time of what comes next, so that the lines of a stream stay in order.
            let next = if older.fill_buf()?.is_empty() { younger.fill_buf()? } else { older.fill_buf()? };
            let stamp = next.get(..STAMP).map_or_else(
                || format!("{} {} ", wall::rfc3339(clock::wall()), self.stream.name()),
                |stamp| String::from_utf8_lossy(stamp).into_owned(),
            );
            let gap = format!("{stamp}[bookend: {} bytes of {} are missing here]\n", tail.dropped, self.stream.name());
            file.put(gap.as_bytes())?;
        }
        file.flush()?;
        io::copy(&mut older, &mut file.file)?;
        io::copy(&mut younger, &mut file.file)?;
        Ok(())
    }
}

/// How many bytes of output a line of so many bytes stands for.
fn weight(text: usize) -> u64 {
    (text + usize::from(text < MAX_LINE)) as u64
}

/// The end of a stream, in two files without a name that take turns. Together they hold at least the last half.
struct Tail {
    half: u64,
    older: Segment,
    younger: Segment,
    dropped: u64,
}

impl Tail {
    fn create(dir: &Path, half: u64) -> io::Result<Tail> {
        Ok(Tail { half, older: Segment::create(dir)?, younger: Segment::create(dir)?, dropped: 0 })
    }

    /// Where a line of `size` bytes goes; None when it can never fit.
    fn sink_for(&mut self, size: u64, weight: u64) -> io::Result<Option<&mut Sink>> {
        if size > self.half {
            self.dropped += weight;
            return Ok(None);
        }
        if self.younger.size + size > self.half {
            self.younger.sink.flush()?;
            std::mem::swap(&mut self.older, &mut self.younger);
            self.dropped += self.younger.weight;
            self.younger.empty()?;
        }
        self.younger.size += size;
        self.younger.weight += weight;
        Ok(Some(&mut self.younger.sink))
    }
}

struct Segment {
    sink: Sink,
    size: u64,
    weight: u64,
}

impl Segment {
    fn create(dir: &Path) -> io::Result<Segment> {
        // One supervisor writes here, one call at a time, so one name is enough.
        let path = dir.join(".tail");
        let file = create_new(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Segment { sink: Sink::new(file), size: 0, weight: 0 })
    }

    fn empty(&mut self) -> io::Result<()> {
        (self.size, self.weight) = (0, 0);
        self.sink.file.set_len(0)
    }

    fn read(&mut self) -> io::Result<BufReader<&mut File>> {
        self.sink.flush()?;
        self.sink.file.seek(SeekFrom::Start(0))?;
        Ok(BufReader::new(&mut self.sink.file))
    }
}

/// A file behind a small buffer that is emptied at the end of each `HookLog::write`, so that a line is one write(2) or less.
struct Sink {
    file: File,
    buffer: Vec<u8>,
}

impl Sink {
    const BUFFER: usize = 4 << 10;

    fn new(file: File) -> Sink {
        Sink { file, buffer: Vec::new() }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > Sink::BUFFER {
            self.flush()?;
        }
        if bytes.len() > Sink::BUFFER {
            return self.file.write_all(bytes);
        }
        self.buffer.reserve_exact(Sink::BUFFER - self.buffer.len());
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.file.write_all(&self.buffer);
        self.buffer.clear();
        result
    }
}

/// A descriptor that lines are copied to, whoever reads it and however slowly (L-02).
struct Mirror {
    to: OwnedFd,
    /// The reader did not keep up: lines are dropped until it does, and none is waited for.
    stalled: bool,
}

impl Mirror {
    /// What a pipe takes at once when poll(2) says that it takes anything.
    const PIECE: usize = 4096;
    const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

    fn new(to: OwnedFd) -> Mirror {
        Mirror { to, stalled: false }
    }

    fn line(&mut self, hook: Hook, text: &[u8]) {
        let line = [format!("[{hook}] ").as_bytes(), text, b"\n"].concat();
        for piece in line.chunks(Mirror::PIECE) {
            if !self.is_ready() {
                self.stalled = true;
                return;
            }
            // A reader that has gone is no reason to stop a container.
            let _ = rustix::io::write(&self.to, piece);
        }
        self.stalled = false;
    }

    fn is_ready(&self) -> bool {
        let patience = if self.stalled { Timespec { tv_sec: 0, tv_nsec: 0 } } else { Mirror::PATIENCE };
        let mut fds = [PollFd::new(&self.to, PollFlags::OUT)];
        matches!(poll(&mut fds, Some(&patience)), Ok(1..))
    }
}

/// The last `most` lines of stderr in a log, escaped as `last_line` is, for the message of interface.md section 7.
pub fn last_stderr_lines(log: &Path, most: usize) -> io::Result<Stderr> {
    let file = crate::lifecycle::journal::open_regular(log)?;
    let mut input = BufReader::new(file.take(2 * MAX_CONTAINER));
    let (mut line, mut lines, mut total, mut printed) = (Vec::new(), VecDeque::new(), 0, false);
    while input.read_until(b'\n', &mut line)? > 0 {
        printed = true;
        if let Some(text) = line.get(wall::RFC3339_LEN..).and_then(|rest| rest.strip_prefix(b" stderr ")) {
            total += 1;
            lines.push_back(last_words(text));
            if lines.len() > most {
                lines.pop_front();
            }
        }
        line.clear();
    }
    Ok(Stderr { lines: lines.into(), total, printed })
}

/// Copies a finished log to `DIR/ID/` (`--hook-log-dir`), making the directories (0700) where they are missing.
pub fn keep_copy(log: &Path, dir: &Path, id: &str) -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;

    let dir = dir.join(id);
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&dir)?;
    let copy = dir.join(log.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    let mut from = crate::lifecycle::journal::open_regular(log)?.take(2 * MAX_CONTAINER);
    io::copy(&mut from, &mut create_new(&copy)?)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::wall::parse_rfc3339;

    fn log(dir: &Path, policy: Policy) -> HookLog {
        HookLog::create(dir, Hook::PreStop, None, 1, policy)
    }

    /// The lines of a log without their times, which are checked.
    fn lines(path: &Path) -> Vec<String> {
        let text = std::fs::read(path).unwrap();
        let strip = |line: &[u8]| {
            let (time, rest) = line.split_at(wall::RFC3339_LEN);
            assert!(parse_rfc3339(std::str::from_utf8(time).unwrap()).is_some());
            String::from_utf8_lossy(&rest[1..]).into_owned()
        };
        text.split_inclusive(|byte| *byte == b'\n').map(|line| strip(line.strip_suffix(b"\n").unwrap())).collect()
    }

    #[test]
    fn l_01_each_line_has_its_time_and_stream_and_the_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let hooks = dir.path().join("hooks");
        let mut log = HookLog::create(&hooks, Hook::PostStop, Some(2), 3, Policy::File);
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"oh\n");
        log.write(Stream::Stdout, b"o\n\nthree");
        let live = lines(log.path().unwrap());
        assert_eq!(live, ["stdout one", "stderr oh", "stdout two", "stdout "]);
        let summary = log.finish();
        let path = hooks.join("postStop-2-3.log");
        assert_eq!(lines(&path), ["stdout one", "stderr oh", "stdout two", "stdout ", "stdout three"]);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::metadata(&hooks).unwrap().mode() & 0o7777, 0o700);
        let expected = LogSummary {
            path: Some(path),
            stderr_tail: "oh\n".into(),
            last_line: Some("oh".into()),
            ..LogSummary::default()
        };
        assert_eq!(summary, expected);
    }

    #[test]
    fn names_read_back_as_they_were_made() {
        for (hook, entry, attempt) in [(Hook::PreStop, None, 1), (Hook::PostStop, Some(0), 12)] {
            assert_eq!(parse_file_name(&file_name(hook, entry, attempt)), Some((hook, entry, attempt)));
        }
        for name in ["preStop.log", "preStop-1", "prestop-1.log", "preStop-x.log", "preStop-1-2-3.log", ".tail"] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }

    #[test]
    fn x_e14_of_a_flood_the_first_and_the_last_half_are_kept_and_the_gap_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), Policy::File);
        let mut written = 0u64;
        let mut chunk = Vec::new();
        let mut number = 0;
        while written < 10 << 20 {
            chunk.clear();
            while chunk.len() < 32 << 10 {
                chunk.extend_from_slice(format!("line {number} of a hook that talks without end\n").as_bytes());
                number += 1;
            }
            // Cut anywhere, as read(2) does.
            let (a, b) = chunk.split_at(chunk.len() / 3);
            log.write(Stream::Stdout, a);
            log.write(Stream::Stdout, b);
            written += chunk.len() as u64;
        }
        log.write(Stream::Stderr, b"db not reachable\n");
        let held: usize = [&log.stdout, &log.stderr]
            .iter()
            .map(|lines| {
                lines.begun.capacity()
                    + lines
                        .tail
                        .as_ref()
                        .map_or(0, |tail| tail.older.sink.buffer.capacity() + tail.younger.sink.buffer.capacity())
            })
            .sum();
        assert!(held + log.stderr_tail.capacity() < 64 << 10, "holds {held} bytes");

        let summary = log.finish();
        assert_eq!(summary.error, None);
        let path = summary.path.unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size <= MAX_STREAM + 256 && size > MAX_STREAM - 1024, "{size}");
        let lines = lines(&path);
        assert_eq!(lines[0], "stdout line 0 of a hook that talks without end");
        let gap = lines.iter().position(|line| line.contains("missing here")).unwrap();
        assert_eq!(lines[gap], format!("stdout [bookend: {} bytes of stdout are missing here]", summary.dropped_bytes));
        let last = format!("stdout line {} of a hook that talks without end", number - 1);
        assert_eq!(lines[lines.len() - 1], last);
        // stderr came after stdout's head was full: it stands before the gap.
        assert_eq!(lines[gap - 1], "stderr db not reachable");
        let kept: usize = lines.iter().filter_map(|line| line.strip_prefix("stdout line ")).map(|l| l.len() + 6).sum();
        assert_eq!(kept as u64 + summary.dropped_bytes, written);
        // Nothing else is left in the directory.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn x_e14_a_flood_of_empty_lines_does_not_grow_the_file_beyond_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), Policy::File);
        for _ in 0..32 {
            log.write(Stream::Stdout, &[b'\n'; 8192]);
            log.write(Stream::Stderr, &[b'\n'; 8192]);
        }
        let summary = log.finish();
        let path = summary.path.unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() <= 2 * (MAX_STREAM + 256));
        let kept = lines(&path).iter().filter(|line| !line.contains("bookend")).count() as u64;
        assert_eq!(kept + summary.dropped_bytes, 2 * 32 * 8192);
        assert_eq!(summary.last_line, None);
    }

    #[test]
    fn x_e14_output_without_line_ends_is_cut_into_lines_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), Policy::File);
        log.write(Stream::Stdout, &vec![b'x'; 3 * MAX_LINE]);
        log.write(Stream::Stdout, b"\ny\n");
        let summary = log.finish();
        let lengths: Vec<usize> =
            lines(&summary.path.unwrap()).iter().map(|line| line.len() - "stdout ".len()).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, MAX_LINE, 1]);
        assert_eq!(summary.dropped_bytes, 0);
    }

    #[test]
    fn x_e14_of_many_attempts_the_first_and_the_last_three_are_kept_within_4_mib() {
        let dir = tempfile::tempdir().unwrap();
        let flood = [&[b'x'; 1000][..], b"\n"].concat().repeat(16);
        for attempt in 1..=9 {
            let mut log = HookLog::create(dir.path(), Hook::PostStart, None, attempt, Policy::File);
            for _ in 0..100 {
                log.write(Stream::Stdout, &flood);
                log.write(Stream::Stderr, &flood);
            }
            log.finish();
        }
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [1, 7, 8, 9].map(|attempt| format!("postStart-{attempt}.log")));
        let total: u64 =
            std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(total <= MAX_CONTAINER + 4096, "{total}");
        // preStop still has room to be heard.
        let mut log = HookLog::create(dir.path(), Hook::PreStop, None, 1, Policy::File);
        log.write(Stream::Stderr, b"last words\n");
        assert_eq!(lines(&log.finish().path.unwrap()), ["stderr last words"]);
    }

    #[test]
    fn x_e08_the_last_kib_of_stderr_is_in_the_summary() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), Policy::Inherit);
        log.mirrors = [None, None];
        log.write(Stream::Stderr, &[b'a'; 3000]);
        log.write(Stream::Stderr, b"the end");
        let tail = log.finish().stderr_tail;
        assert_eq!(tail.len(), 1024);
        assert!(tail.starts_with('a') && tail.ends_with("the end"));
    }

    #[test]
    fn l_03_the_last_line_is_short_and_obeyed_by_no_terminal() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), Policy::File);
        log.write(Stream::Stderr, "first\n\x1b[2Jgone\t\u{9b}31m \u{e9}\r\n  \n\n".as_bytes());
        assert_eq!(log.finish().last_line.unwrap(), "\\u{1b}[2Jgone \\u{9b}31m \u{e9}");
        let mut log = HookLog::create(dir.path(), Hook::PreStop, None, 2, Policy::File);
        log.write(Stream::Stderr, &[b'\x07'; 5000]);
        let last = log.finish().last_line.unwrap();
        assert!(last.len() <= 256 && last.starts_with("\\u{7}\\u{7}"), "{last}");
    }

    #[test]
    fn l_03_with_log_none_nothing_of_the_output_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), Policy::None);
        log.write(Stream::Stderr, b"secret\n");
        assert_eq!(log.finish(), LogSummary::default());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn l_02_lines_are_copied_with_the_hooks_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), Policy::Container);
        let (out, out_end) = rustix::pipe::pipe().unwrap();
        let (err, err_end) = rustix::pipe::pipe().unwrap();
        log.mirror_to(out_end, err_end);
        log.write(Stream::Stdout, b"one\ntwo");
        log.write(Stream::Stderr, b"bad\n");
        let summary = log.finish();
        let all = |from: OwnedFd| {
            let mut text = String::new();
            File::from(from).read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(all(out), "[preStop] one\n[preStop] two\n");
        assert_eq!(all(err), "[preStop] bad\n");
        assert_eq!((summary.path, summary.last_line.as_deref()), (None, Some("bad")));
    }

    #[test]
    fn l_02_a_reader_that_does_not_read_blocks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), Policy::Container);
        let (_unread, out) = rustix::pipe::pipe().unwrap();
        let (_also_unread, err) = rustix::pipe::pipe().unwrap();
        log.mirror_to(out, err);
        for _ in 0..1000 {
            log.write(Stream::Stdout, &b"nobody reads this\n".repeat(100));
        }
        assert!(log.mirrors[0].as_ref().unwrap().stalled);
        log.finish();
    }

    #[test]
    fn r26_no_error_of_a_file_stops_the_hook_and_the_first_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut full = log(dir.path(), Policy::File);
        full.file = Some(Sink::new(OpenOptions::new().append(true).open("/dev/full").unwrap()));
        full.write(Stream::Stderr, b"last words\n");
        full.write(Stream::Stderr, b"and more\n");
        let summary = full.finish();
        assert!(summary.error.unwrap().contains("No space left"));
        assert_eq!(summary.last_line.as_deref(), Some("and more"));
        assert_eq!(summary.dropped_bytes, 20);

        let nowhere = dir.path().join("missing/hooks");
        let mut log = log(&nowhere, Policy::File);
        log.write(Stream::Stdout, b"lost\n");
        let summary = log.finish();
        assert!(summary.error.unwrap().contains("No such file"));
        assert_eq!((summary.path, summary.dropped_bytes), (None, 5));

        // Deleted while it is written.
        let mut log = HookLog::create(dir.path(), Hook::PreStop, None, 2, Policy::File);
        std::fs::remove_dir_all(dir.path()).unwrap();
        log.write(Stream::Stdout, &b"x\n".repeat(100_000));
        log.finish();
    }

    #[test]
    fn r26_a_fifo_or_symlink_in_the_logs_place_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&dir.path().join("preStop-1.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, dir.path().join("preStop-2.log")).unwrap();
        for attempt in 1..=2 {
            let mut log = HookLog::create(dir.path(), Hook::PreStop, None, attempt, Policy::File);
            log.write(Stream::Stdout, b"here\n");
            assert_eq!(lines(&log.finish().path.unwrap()), ["stdout here"]);
        }
        assert!(!target.exists());
    }

    #[test]
    fn the_end_of_stderr_is_found_in_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), Policy::File);
        log.write(Stream::Stderr, b"one\ntwo\nthree\x07\n");
        log.write(Stream::Stdout, b"not this\n");
        let stderr = last_stderr_lines(&log.finish().path.unwrap(), 2).unwrap();
        assert_eq!(stderr, Stderr { lines: vec!["two".into(), "three\\u{7}".into()], total: 3, printed: true });
    }

    #[test]
    fn a_copy_of_a_log_is_kept_where_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), Policy::File);
        log.write(Stream::Stdout, b"here\n");
        let path = log.finish().path.unwrap();
        let copy = keep_copy(&path, &dir.path().join("logs"), "web").unwrap();
        assert_eq!(copy, dir.path().join("logs/web/preStop-1.log"));
        assert_eq!(std::fs::read(copy).unwrap(), std::fs::read(path).unwrap());
    }
}
