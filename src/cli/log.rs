//! Where errors and warnings are told: stderr, and the file that a caller names (callers.md 1.4).

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::WithCode;
use super::args::{Global, LogFormat};
use crate::lifecycle::source::Invalid;
use crate::linux::clock;
use crate::wall;

pub struct Log {
    file: Option<PathBuf>,
    format: LogFormat,
    debug: bool,
}

impl Log {
    pub fn new(global: &Global) -> Log {
        Log { file: global.log.clone(), format: global.log_format, debug: global.debug }
    }

    /// Whether the file can be written to, which has to be known before anything is done. One that cannot is told of nothing more.
    pub fn open(&mut self) -> Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let opened = append_to(path).with_context(|| format!("open the log {} (--log)", path.display()));
        if opened.is_err() {
            self.file = None;
        }
        opened.map(drop)
    }

    /// The same from a command line that is none: its writer reads the log all the same.
    pub fn of_arguments(arguments: &[OsString]) -> Log {
        let value = |flag: &str| {
            let words: Vec<&str> = arguments.iter().skip(1).map(|word| word.to_str().unwrap_or_default()).collect();
            let with_equals = format!("{flag}=");
            let found = words.iter().enumerate().find_map(|(index, word)| match word.strip_prefix(&with_equals) {
                None if *word == flag => words.get(index + 1).map(|value| (*value).to_owned()),
                value => value.map(str::to_owned),
            });
            found.filter(|value| !value.is_empty())
        };
        let format = if value("--log-format").as_deref() == Some("json") { LogFormat::Json } else { LogFormat::Text };
        Log { file: value("--log").map(PathBuf::from), format, debug: false }
    }

    /// Tells the file alone, of what stderr has in another form.
    pub fn file_error(&self, text: &str) {
        self.to_file("error", text);
    }

    /// Tells an error once, the whole chain of it; the last `error` line of a JSON log is the whole story.
    pub fn error(&self, error: &anyhow::Error) {
        match invalid(error) {
            Some((what, invalid)) => self.problems(&what, invalid),
            None => self.tell("error", &format!("{error:#}")),
        }
    }

    /// All problems of a lifecycle, a line each and without a prefix (lifecycle.md section 9); the file has them in one line.
    fn problems(&self, what: &str, invalid: &Invalid) {
        let count = invalid.problems.len();
        let plural = if count == 1 { "problem" } else { "problems" };
        let summary = format!("{what}{count} {plural} in the lifecycle; nothing was created");
        let whole = format!("{what}{}", invalid.problems.join("; "));
        let to_stderr = match (self.format, &self.file) {
            (LogFormat::Json, None) => json("error", &whole),
            _ => format!("{}\n{}", invalid.problems.join("\n"), plain("error", &summary)),
        };
        // With stderr closed or full there is nobody left to tell.
        let _ = std::io::stderr().write_all(to_stderr.as_bytes());
        self.to_file("error", &whole);
    }

    /// Tells a warning to the file, and to stderr where there is none: of `create` and `exec` that is the container's own
    /// output, which callers keep.
    pub fn warn(&self, text: &str) {
        match self.file {
            Some(_) => self.to_file("warning", text),
            None => self.to_stderr("warning", text),
        }
    }

    /// Tells the file alone, or whoever debugs, of what no other runtime speaks of.
    pub fn note(&self, text: &str) {
        if self.file.is_some() || self.debug {
            self.warn(text);
        }
    }

    fn tell(&self, level: &str, text: &str) {
        self.to_stderr(level, text);
        self.to_file(level, text);
    }

    fn to_stderr(&self, level: &str, text: &str) {
        let to_stderr = match (self.format, &self.file) {
            (LogFormat::Json, None) => json(level, text),
            _ => plain(level, text),
        };
        // With stderr closed or full there is nobody left to tell.
        let _ = std::io::stderr().write_all(to_stderr.as_bytes());
    }

    fn to_file(&self, level: &str, text: &str) {
        let Some(path) = &self.file else { return };
        let line = if self.format == LogFormat::Json { json(level, text) } else { keyed(level, text) };
        let written = append_to(path).and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            let _ = writeln!(std::io::stderr(), "bookend: write {}: {error}", path.display());
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn json(level: &str, text: &str) -> String {
    let time = wall::rfc3339(clock::wall());
    serde_json::json!({ "level": level, "msg": text, "time": time }).to_string() + "\n"
}

/// A file is read later, and may be of many calls: with the time, in the form that runc's has.
fn keyed(level: &str, text: &str) -> String {
    let time = wall::rfc3339(clock::wall());
    format!("time=\"{time}\" level={level} msg={}\n", serde_json::Value::from(text))
}

fn plain(level: &str, text: &str) -> String {
    match level {
        "error" => format!("bookend: {text}\n"),
        level => format!("bookend: {level}: {text}\n"),
    }
}

/// The problems of a lifecycle that an error is about, and the operation that they ended.
fn invalid(error: &anyhow::Error) -> Option<(String, &Invalid)> {
    if let Some(invalid) = error.downcast_ref::<Invalid>() {
        let what = if error.chain().len() > 1 { format!("{error}: ") } else { String::new() };
        return Some((what, invalid));
    }
    error.downcast_ref::<WithCode>().and_then(|known| self::invalid(&known.error))
}
