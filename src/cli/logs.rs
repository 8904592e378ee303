//! `bookend logs ID`: the kept output of hooks.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::args::{Global, Logs};
use super::{lookup, with_code};
use crate::handler::log::parse_file_name;
use crate::lifecycle::journal::open_regular;
use crate::lifecycle::model::Hook;
use crate::lifecycle::status::Status;

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
    let dir = lookup::records(global, &args.id)?;
    let mut out = io::stdout().lock();
    if args.follow && dir == global.root()?.container(&args.id) {
        let over = || Status::load(&dir).map_or(true, |status| status.phase == "Stopped");
        follow(&dir, hook, args.attempt, &mut out, over)?;
        return Ok(0);
    }
    let files = select(&dir.join("hooks"), hook, args.attempt)?;
    if files.is_empty() {
        eprintln!("bookend: no hook of {} has left any output yet (`bookend hooks {}` shows them)", args.id, args.id);
    }
    print(&files, &mut out)?;
    Ok(0)
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
        let mut log = open_regular(&file.path).with_context(|| format!("read {}", file.path.display()))?;
        io::copy(&mut log, out).with_context(|| format!("print {}", file.path.display()))?;
    }
    Ok(())
}

/// Prints what the logs of a living container hold and what comes, until `done` says that no more will (`-f`). `done` is
/// asked again whenever the status or a log changes, or the state directory `dir` goes away.
///
/// What is written to a log after its hook's end replaces nothing, so each file is read on from where it was left.
pub fn follow(
    dir: &Path,
    hook: Option<Hook>,
    attempt: Option<u32>,
    out: &mut impl Write,
    mut done: impl FnMut() -> bool,
) -> Result<()> {
    let hooks = dir.join("hooks");
    let watch = inotify::init(CreateFlags::CLOEXEC).context("watch for changes")?;
    let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF;
    inotify::add_watch(&watch, dir, changes).with_context(|| format!("watch {}", dir.display()))?;
    let mut open: Vec<(LogFile, File)> = Vec::new();
    let mut shown: Option<usize> = None;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    loop {
        // The directory may be made at any time, and watching it twice is once.
        let _ = inotify::add_watch(&watch, &hooks, changes);
        // Asked before the files are read, so that nothing that came before the end is missed.
        let end = done();
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
            if !fresh.is_empty() && shown != Some(at) && shown.replace(at).is_some() {
                writeln!(out)?;
                writeln!(out, "{}", header(log))?;
            }
            out.write_all(&fresh)?;
        }
        out.flush()?;
        if end {
            return Ok(());
        }
        if let Err(error) = events.next()
            && error != rustix::io::Errno::INTR
        {
            return Err(error).context("watch for changes");
        }
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

    #[test]
    fn a_living_containers_logs_are_followed_to_their_end() {
        let dir = tempfile::tempdir().unwrap();
        let hooks = dir.path().join("hooks");
        let (mut printed, mut turn) = (Vec::new(), 0);
        let log = |name: &str, text: &str| {
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(hooks.join(name))
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
        };
        // Each turn changes something before it says that it goes on, so that `follow` has something to wait for.
        follow(dir.path(), None, None, &mut printed, || {
            match turn {
                0 => std::fs::create_dir(&hooks).unwrap(),
                1 => log("preStop-1.log", "one\n"),
                2 => log("preStop-1.log", "two\n"),
                3 => log("postStop-0-1.log", "three\n"),
                _ => {}
            }
            turn += 1;
            // The state directory's status is replaced at each change.
            std::fs::write(dir.path().join("status.json"), "{}").unwrap();
            turn > 4
        })
        .unwrap();
        assert_eq!(String::from_utf8(printed).unwrap(), "one\ntwo\n\n==> postStop[0] attempt 1 <==\nthree\n");
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
