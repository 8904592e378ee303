//! Where errors and warnings are told: stderr, and the file that a caller names (callers.md 1.4).

use std::io::Write;
use std::path::PathBuf;

use super::args::{Global, LogFormat};
use crate::lifecycle::wall;
use crate::linux::clock;

pub struct Log {
    file: Option<PathBuf>,
    format: LogFormat,
}

impl Log {
    pub fn new(global: &Global) -> Log {
        Log { file: global.log.clone(), format: global.log_format }
    }

    /// Tells an error once, the whole chain of it; the last `error` line of a JSON log is the whole story.
    pub fn error(&self, error: &anyhow::Error) {
        self.tell("error", &format!("{error:#}"));
    }

    pub fn warn(&self, text: &str) {
        self.tell("warning", text);
    }

    fn tell(&self, level: &str, text: &str) {
        let json = || {
            let time = wall::rfc3339(clock::wall());
            serde_json::json!({ "level": level, "msg": text, "time": time }).to_string() + "\n"
        };
        let plain = match level {
            "error" => format!("bookend: {text}\n"),
            level => format!("bookend: {level}: {text}\n"),
        };
        let to_stderr = match (self.format, &self.file) {
            (LogFormat::Json, None) => json(),
            _ => plain.clone(),
        };
        // With stderr closed or full there is nobody left to tell.
        let _ = std::io::stderr().write_all(to_stderr.as_bytes());
        if let Some(path) = &self.file {
            let line = if self.format == LogFormat::Json { json() } else { plain };
            let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
            let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
            if let Err(error) = written {
                let _ = writeln!(std::io::stderr(), "bookend: write {}: {error}", path.display());
            }
        }
    }
}
