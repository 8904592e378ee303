//! `bookend logs ID`: the kept output of hooks.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::args::{Global, Logs};
use super::{lookup, with_code};
use crate::foreign::legible;
use crate::handler::log::parse_file_name;
use crate::lifecycle::journal::open_regular;
use crate::lifecycle::model::Hook;
use crate::supervisor::control::{self, Request};

/// One attempt's output. They sort in the order of a life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogFile {
    pub hook: Hook,
    pub entry: Option<usize>,
    pub attempt: u32,
    pub path: PathBuf,
}

pub fn run(global: &Global, args: &Logs) -> Result<u8> {
    let known = |name: &String| {
        let hook = Hook::ALL.into_iter().find(|hook| hook.name() == name);
        hook.ok_or_else(|| with_code(2, anyhow!("--hook {name:?}: write preStart, postStart, preStop or postStop")))
    };
    let hook = args.hook.as_ref().map(known).transpose()?;
    let dir = lookup::records(global, &args.id, args.previous)?;
    let mut out = Shown { out: io::stdout().lock(), on_terminal: io::stdout().is_terminal() };
    if args.follow
        && let Some(supervisor) = control::connect(&dir)?
    {
        // Answered when all is over, postStop included.
        control::send_request(&supervisor, Request::Wait)?;
        return enough(follow(&dir, hook, args.attempt, &mut out, supervisor.as_fd()));
    }
    let mut files = select(&dir.join("hooks"), hook, args.attempt)?;
    // One that cannot be looked at is for `print` to complain of.
    files.retain(|log| log.path.symlink_metadata().map_or(true, |file| file.len() > 0));
    if files.is_empty() {
        let which = hook.map_or("no hook".to_owned(), |hook| format!("no {hook}"));
        let attempt = args.attempt.map(|attempt| format!(" in attempt {attempt}")).unwrap_or_default();
        eprintln!(
            "bookend: {which} of {id} has printed anything{attempt} (`bookend hooks {id}` shows them)",
            id = args.id
        );
    }
    enough(print(&files, &mut out))
}

/// A reader that has gone has seen enough (threats.md R15).
fn enough(printed: Result<()>) -> Result<u8> {
    let kind = |error: &anyhow::Error| error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind);
    match printed {
        Err(error) if kind(&error) != Some(io::ErrorKind::BrokenPipe) => Err(error),
        _ => Ok(0),
    }
}

/// Output of hooks is hostile: a terminal gets no control characters of theirs. A file or a pipe gets what they wrote.
struct Shown<W> {
    out: W,
    on_terminal: bool,
}

impl<W: Write> Write for Shown<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.on_terminal {
            return self.out.write(bytes);
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, end) = line.strip_suffix(b"\n").map_or((line, ""), |text| (text, "\n"));
            let parts: Vec<String> = String::from_utf8_lossy(text).split('\t').map(legible).collect();
            write!(self.out, "{}{end}", parts.join("\t"))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The logs in a container's `hooks` directory, all or those of one hook or attempt. No directory: none.
pub fn select(hooks: &Path, hook: Option<Hook>, attempt: Option<u32>) -> Result<Vec<LogFile>> {
    let entries = match std::fs::read_dir(hooks) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("read {}", hooks.display()))?,
    };
    let mut files = Vec::new();
    for file in entries {
        let file = file.with_context(|| format!("read {}", hooks.display()))?;
        let Some((of, entry, number)) = file.file_name().to_str().and_then(parse_file_name) else { continue };
        if hook.is_none_or(|hook| hook == of) && attempt.is_none_or(|attempt| attempt == number) {
            files.push(LogFile { hook: of, entry, attempt: number, path: file.path() });
        }
    }
    files.sort();
    Ok(files)
}

/// Prints logs one after the other; where there are several, each under a line that names it.
pub fn print(files: &[LogFile], out: &mut impl Write) -> Result<()> {
    for (at, file) in files.iter().enumerate() {
        if files.len() > 1 {
            let blank = if at > 0 { "\n" } else { "" };
            writeln!(out, "{blank}{}", header(file))?;
        }
        let log = open_regular(&file.path).with_context(|| format!("read {}", file.path.display()))?;
        copy(log, out).with_context(|| format!("print {}", file.path.display()))?;
    }
    Ok(())
}

/// Line by line, so that no letter is torn. Lines are bounded when they are kept; here they are once more.
fn copy(log: File, out: &mut impl Write) -> io::Result<()> {
    const LONGEST: u64 = 1 << 20;
    let (mut log, mut line) = (BufReader::new(log), Vec::new());
    while log.by_ref().take(LONGEST).read_until(b'\n', &mut line)? > 0 {
        out.write_all(&line)?;
        line.clear();
    }
    out.flush()
}

/// Prints what the logs of a living container hold and what comes (`-f`), until its supervisor answers or ends.
///
/// What is written to a log after its hook's end replaces nothing, so each file is read on from where it was left.
pub fn follow(
    dir: &Path,
    hook: Option<Hook>,
    attempt: Option<u32>,
    out: &mut impl Write,
    supervisor: BorrowedFd,
) -> Result<()> {
    let hooks = dir.join("hooks");
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context("watch for changes")?;
    let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF;
    // A directory that has just gone is found to be so below.
    let _ = inotify::add_watch(&watch, dir, changes);
    let mut open: Vec<(LogFile, File)> = Vec::new();
    // Of one hook the first log needs no name.
    let mut shown: Option<usize> = hook.map(|_| 0);
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    let mut first = true;
    loop {
        // The directory may be made at any time, and watching it twice is once.
        let _ = inotify::add_watch(&watch, &hooks, changes);
        // Asked before the files are read, so that nothing that came before the end is missed.
        let end = is_ready(supervisor)?;
        for log in select(&hooks, hook, attempt)? {
            if !open.iter().any(|(known, _)| *known == log) {
                match open_regular(&log.path) {
                    // It moved to the history, or made room, in this moment.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    file => open.push((log.clone(), file.with_context(|| format!("read {}", log.path.display()))?)),
                }
            }
        }
        for (at, (log, file)) in open.iter_mut().enumerate() {
            let mut fresh = Vec::new();
            file.read_to_end(&mut fresh).with_context(|| format!("read {}", log.path.display()))?;
            if !fresh.is_empty() {
                if shown.replace(at) != Some(at) {
                    let blank = if first { "" } else { "\n" };
                    writeln!(out, "{blank}{}", header(log)).context("write to stdout")?;
                }
                first = false;
            }
            out.write_all(&fresh).context("write to stdout")?;
        }
        out.flush().context("write to stdout")?;
        if end {
            return Ok(());
        }
        wait(watch.as_fd(), supervisor)?;
        // Only that something changed is of interest.
        while events.next().is_ok() {}
    }
}

/// Whether the supervisor has answered, or is gone.
fn is_ready(supervisor: BorrowedFd) -> Result<bool> {
    let mut fds = [PollFd::new(supervisor, PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO).context("poll")? > 0)
}

fn wait(watch: BorrowedFd, supervisor: BorrowedFd) -> Result<()> {
    let mut fds = [watch, supervisor].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error).context("poll"),
    }
}

impl LogFile {
    /// `postStop[0] attempt 1`
    pub fn name(&self) -> String {
        let entry = self.entry.map(|entry| format!("[{entry}]")).unwrap_or_default();
        format!("{}{entry} attempt {}", self.hook, self.attempt)
    }
}

fn header(log: &LogFile) -> String {
    format!("==> {} <==", log.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what was printed, and does the next thing to a container each time that something was.
    struct Script<F: FnMut(usize)> {
        printed: Vec<u8>,
        turn: usize,
        next: F,
    }

    impl<F: FnMut(usize)> Write for Script<F> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.printed.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            (self.next)(self.turn);
            self.turn += 1;
            Ok(())
        }
    }

    fn followed(hook: Option<Hook>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let hooks = dir.path().join("hooks");
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut supervisor = Some(theirs);
        let log = |name: &str, text: &str| {
            let path = hooks.join(name);
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            file.unwrap().write_all(text.as_bytes()).unwrap();
        };
        let next = |turn| match turn {
            0 => std::fs::create_dir(&hooks).unwrap(),
            1 => log("preStop-1.log", "one\n"),
            2 => log("preStop-1.log", "two\n"),
            3 => log("postStop-0-1.log", "three\n"),
            _ => {
                // What comes with the end is seen too, and the directory may be gone by then.
                if let Some(theirs) = supervisor.take() {
                    log("preStop-2.log", "four\n");
                    drop(theirs);
                }
            }
        };
        let mut script = Script { printed: Vec::new(), turn: 0, next };
        follow(dir.path(), hook, None, &mut script, ours.as_fd()).unwrap();
        String::from_utf8(script.printed).unwrap()
    }

    #[test]
    fn a_living_containers_logs_are_followed_to_their_end() {
        let expected = "\
==> preStop attempt 1 <==
one
two

==> postStop[0] attempt 1 <==
three

==> preStop attempt 2 <==
four
";
        assert_eq!(followed(None), expected);
        assert_eq!(followed(Some(Hook::PreStop)), "one\ntwo\n\n==> preStop attempt 2 <==\nfour\n");
    }

    #[test]
    fn a_terminal_gets_no_control_characters_and_a_pipe_gets_everything() {
        let hostile = b"a\tb \x1b[31m\r\xff \xe2\x80\xae\xc2\x9b2J\n";
        let shown = |on_terminal| {
            let mut shown = Shown { out: Vec::new(), on_terminal };
            shown.write_all(hostile).unwrap();
            shown.out
        };
        assert_eq!(shown(false), hostile);
        let expected = "a\tb \\u{1b}[31m\\u{d}\u{fffd} \\u{202e}\\u{9b}2J\n";
        assert_eq!(String::from_utf8(shown(true)).unwrap(), expected);
    }

    fn hooks() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["postStop-0-1", "preStop-1", "preStop-2", "preStart-10-1", "preStart-2-1", "other"] {
            std::fs::write(dir.path().join(format!("{name}.log")), format!("text of {name}\n")).unwrap();
        }
        dir
    }

    fn printed(hook: Option<Hook>, attempt: Option<u32>) -> String {
        let dir = hooks();
        let mut out = Vec::new();
        print(&select(dir.path(), hook, attempt).unwrap(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn all_logs_are_printed_in_the_order_of_a_life_under_their_names() {
        let expected = "\
==> preStart[2] attempt 1 <==
text of preStart-2-1

==> preStart[10] attempt 1 <==
text of preStart-10-1

==> preStop attempt 1 <==
text of preStop-1

==> preStop attempt 2 <==
text of preStop-2

==> postStop[0] attempt 1 <==
text of postStop-0-1
";
        assert_eq!(printed(None, None), expected);
    }

    #[test]
    fn a_single_log_is_printed_as_it_is() {
        assert_eq!(printed(Some(Hook::PreStop), Some(2)), "text of preStop-2\n");
        assert_eq!(printed(Some(Hook::PostStart), None), "");
    }

    #[test]
    fn no_directory_is_no_logs() {
        assert_eq!(select(Path::new("/nonexistent/hooks"), None, None).unwrap(), []);
    }
}
