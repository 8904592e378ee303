//! The journal: `journal.jsonl` in the container's state directory, one event a line (L-04).
//!
//! Hooks, logs, timeline and the events that callers get are all views of it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::notice::Notice;
use super::time::Instant;
use crate::linux::clock;
use crate::wall;

/// The journal's name in a state directory and in the history.
pub const FILE_NAME: &str = "journal.jsonl";

/// More than this is not read: a life keeps at most 4 MiB (interface.md section 5).
const MAX_READ: u64 = 4 << 20;
/// A record is far smaller; a longer line is not one of ours.
const MAX_LINE: usize = 64 << 10;

/// A notice with the time of what it tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// RFC 3339, UTC, nanoseconds.
    pub time: String,
    pub monotonic_ns: Instant,
    pub boot_id: String,
    /// The container's name in the plan.
    pub container: String,
    #[serde(flatten)]
    pub notice: Notice,
}

/// Stamps a notice with the moment of which it tells, on both clocks: told later under load, it took no longer.
pub fn stamp(notice: Notice, container: &str, at: Instant, boot_id: &str) -> Record {
    Record {
        time: wall::rfc3339(clock::wall_at(at)),
        monotonic_ns: at,
        boot_id: boot_id.to_owned(),
        container: container.to_owned(),
        notice,
    }
}

/// The journal of one container, open for appending.
#[derive(Debug)]
pub struct Journal {
    file: File,
    /// A full disk cut the last line short.
    torn: bool,
}

impl Journal {
    /// Opens the journal of a state directory, or makes it (0600). It is not followed through a symlink and must be a
    /// regular file, so that nothing that is written here can ever block (threats.md R26).
    pub fn create(dir: &Path) -> Result<Journal> {
        let path = dir.join(FILE_NAME);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        if !file.metadata().with_context(|| format!("stat {}", path.display()))?.is_file() {
            bail!("open {}: not a regular file", path.display());
        }
        let torn = !ends_with_a_line(&file).with_context(|| format!("read {}", path.display()))?;
        Ok(Journal { file, torn })
    }

    /// Writes one record as one line by one write(2). An error (a full disk) leaves the journal usable: the next record
    /// begins on a line of its own.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut line = Vec::with_capacity(512);
        if self.torn {
            line.push(b'\n');
        }
        serde_json::to_writer(&mut line, record)?;
        line.push(b'\n');
        let written = loop {
            match self.file.write(&line) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.torn = written < line.len() && (self.torn || written > 0);
        if written < line.len() {
            return Err(io::Error::new(io::ErrorKind::WriteZero, "the disk is full"));
        }
        Ok(())
    }
}

/// A predecessor may have died, or the disk been full, in the middle of a line.
fn ends_with_a_line(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;

    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    Ok(last[0] == b'\n')
}

/// Reads every whole record of a journal file. A line that a crash or a full disk cut short is passed over, and what lies
/// beyond 4 MiB is not read.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let file = open_regular(path).with_context(|| format!("read {}", path.display()))?;
    records(file).with_context(|| format!("read {}", path.display()))
}

fn records(file: impl Read) -> io::Result<Vec<Record>> {
    let mut input = BufReader::new(file.take(MAX_READ));
    let mut records = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(records);
        }
        if line.len() <= MAX_LINE
            && let Ok(record) = serde_json::from_slice(&line)
        {
            records.push(record);
        }
    }
}

/// Opens a file of ours for reading: no symlink, and never the wait for a FIFO's writer.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() || !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    use super::*;
    use crate::lifecycle::model::Hook;

    fn record(reason: &str) -> Record {
        stamp(Notice::normal(reason, "Created container: web"), "web", Instant(12), "boot")
    }

    #[test]
    fn l_04_both_times_are_of_what_is_told_and_not_of_the_telling() {
        let time = |at: Instant| stamp(Notice::normal("Created", ""), "web", at, "boot").time;
        let now = clock::now();
        let [then, now] = [Instant(now.0 - 3_000_000_000), now].map(|at| wall::parse_rfc3339(&time(at)).unwrap());
        assert!((now - then).abs_diff(Duration::from_secs(3)) < Duration::from_millis(500), "{then:?} {now:?}");
    }

    #[test]
    fn l_04_an_event_is_one_json_object_a_line_with_both_times() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path()).unwrap();
        journal.append(&record("Created")).unwrap();
        let mut hook = record("HookSucceeded");
        hook.notice.hook = Some(Hook::PreStop);
        hook.notice.attempt = Some(1);
        hook.notice.duration_ms = Some(1200);
        hook.notice.exit_code = Some(0);
        hook.notice.log_path = Some("/run/x.log".into());
        journal.append(&hook).unwrap();

        let text = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["type"], "Normal");
        assert_eq!(lines[0]["reason"], "Created");
        assert_eq!(lines[0]["message"], "Created container: web");
        assert_eq!(lines[0]["container"], "web");
        assert_eq!(lines[0]["monotonicNs"], 12);
        assert_eq!(lines[0]["bootId"], "boot");
        assert!(wall::parse_rfc3339(lines[0]["time"].as_str().unwrap()).is_some());
        assert_eq!(lines[1]["hook"], "preStop");
        assert_eq!(lines[1]["attempt"], 1);
        assert_eq!(lines[1]["durationMs"], 1200);
        assert_eq!(lines[1]["exitCode"], 0);
        assert_eq!(lines[1]["logPath"], "/run/x.log");
    }

    #[test]
    fn a_journal_is_readable_by_its_owner_only_and_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        Journal::create(dir.path()).unwrap().append(&record("Created")).unwrap();
        Journal::create(dir.path()).unwrap().append(&record("Started")).unwrap();
        let path = dir.path().join(FILE_NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(read(&path).unwrap().len(), 2);
    }

    #[test]
    fn a_line_that_was_cut_short_is_passed_over_and_the_next_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        Journal::create(dir.path()).unwrap().append(&record("Created")).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);

        Journal::create(dir.path()).unwrap().append(&record("Exited")).unwrap();
        let reasons: Vec<String> = read(&path).unwrap().into_iter().map(|record| record.notice.reason).collect();
        assert_eq!(reasons, ["Created", "Exited"]);
    }

    #[test]
    fn r26_a_fifo_or_a_symlink_in_the_journals_place_is_an_error_and_no_hang() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Journal::create(dir.path()).is_err());
        assert!(read(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(Journal::create(dir.path()).is_err());
        assert!(read(&path).is_err());
    }

    #[test]
    fn r26_a_full_disk_is_an_error_of_that_record_only() {
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut journal = Journal { file: full, torn: false };
        assert_eq!(journal.append(&record("Created")).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        let dir = tempfile::tempdir().unwrap();
        journal.file = Journal::create(dir.path()).unwrap().file;
        journal.append(&record("Started")).unwrap();
        assert_eq!(read(&dir.path().join(FILE_NAME)).unwrap().len(), 1);
    }

    #[test]
    fn a_huge_journal_is_read_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        Journal::create(dir.path()).unwrap().append(&record("Created")).unwrap();
        let line = std::fs::read(&path).unwrap();
        std::fs::write(&path, line.repeat(9 * MAX_READ as usize / 8 / line.len())).unwrap();
        assert_eq!(read(&path).unwrap().len(), MAX_READ as usize / line.len());
    }
}
