//! What a long wait waits for (interface.md 2.3), on stderr: on a terminal one line that is redrawn, else a line at the
//! start, one every 10 s and one at the end.
//!
//! A wait that is short says nothing, and neither does one of a caller that reads our log: podman and containerd give
//! `--log` and `--log-format json`, and show a person what is on stderr as an error.

use std::io::{IsTerminal, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::args::{Global, LogFormat};
use crate::foreign::legible;
use crate::lifecycle::journal;
use crate::lifecycle::time::Instant;
use crate::lifecycle::waiting::{Waiting, waiting};
use crate::linux::clock;
use crate::supervisor::settings::Settings;

/// What is over by then needs no words.
const SHORT: Duration = Duration::from_secs(1);
/// How often a terminal's line is redrawn, and how often the journal is looked at where there is none.
const REDRAW: Duration = Duration::from_millis(250);
const LOOK: Duration = Duration::from_secs(1);
/// How often a plain line says that the wait goes on.
const PATIENCE: Duration = Duration::from_secs(10);
const BAR: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Quiet,
    Plain,
    Redrawn,
}

impl Progress {
    pub fn new(global: &Global) -> Progress {
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        match (global.quiet || global.log_format == LogFormat::Json, terminal) {
            (true, _) => Progress::Quiet,
            (false, true) => Progress::Redrawn,
            // Whoever wants the messages in a file does not look here.
            (false, false) if global.log.is_some() => Progress::Quiet,
            (false, false) => Progress::Plain,
        }
    }

    /// Returns when something is to be read from `answer`; shows until then what the container of a state directory waits
    /// for.
    pub fn wait(self, answer: BorrowedFd, dir: &Path, name: &str) {
        if self == Progress::Quiet {
            return;
        }
        let Ok(plan) = Settings::load(dir).map(|settings| settings.plan) else { return };
        let mut line = Line { style: self, name, shown: None };
        let mut pause = SHORT;
        while !is_readable_within(answer, pause) {
            let records = journal::read(&dir.join(journal::FILE_NAME)).unwrap_or_default();
            line.show(waiting(&records, &plan), clock::now());
            pause = if self == Progress::Redrawn { REDRAW } else { LOOK };
        }
        line.show(None, clock::now());
    }
}

/// False when the time is up; an error is for who reads to find.
fn is_readable_within(fd: BorrowedFd, limit: Duration) -> bool {
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], limit) {
        Ok(0) | Err(Errno::EINTR) => false,
        Ok(_) | Err(_) => true,
    }
}

struct Line<'a> {
    style: Progress,
    name: &'a str,
    /// What is shown, and when it last was.
    shown: Option<(Waiting, Instant)>,
}

impl Line<'_> {
    fn show(&mut self, now_waiting: Option<Waiting>, now: Instant) {
        match self.style {
            Progress::Quiet => {}
            Progress::Redrawn => self.redraw(now_waiting, now),
            Progress::Plain => self.tell(now_waiting, now),
        }
    }

    fn redraw(&mut self, now_waiting: Option<Waiting>, now: Instant) {
        let text = match (&now_waiting, &self.shown) {
            (Some(waiting), _) => redrawn(waiting, now, width()),
            (None, Some(_)) => String::new(),
            (None, None) => return,
        };
        self.shown = now_waiting.map(|waiting| (waiting, now));
        // With stderr gone there is nobody left to show it to.
        let _ = write!(std::io::stderr(), "\r{text}\x1b[K");
    }

    fn tell(&mut self, now_waiting: Option<Waiting>, now: Instant) {
        let changed = self.shown.as_ref().map(|(shown, _)| (&shown.what, shown.since))
            != now_waiting.as_ref().map(|waiting| (&waiting.what, waiting.since));
        if let (true, Some((shown, _))) = (changed, self.shown.take_if(|_| changed)) {
            self.say(&format!("{}: over after {}s", legible(&shown.what), (now - shown.since).as_secs()));
        }
        let Some(waiting) = now_waiting else { return };
        match &mut self.shown {
            None => {
                let most = waiting
                    .until
                    .map_or(String::new(), |until| format!(", {}s at most", (until - waiting.since).as_secs()));
                self.say(&format!("waiting for {}{most}", legible(&waiting.what)));
                self.shown = Some((waiting, now));
            }
            Some((shown, last)) if now - *last >= PATIENCE => {
                (*shown, *last) = (waiting, now);
                let text = spent(shown, now);
                self.say(&text);
            }
            Some(_) => {}
        }
    }

    fn say(&self, text: &str) {
        eprintln!("bookend: {}: {text}", self.name);
    }
}

/// `preStop exec /bin/drain 12s of 30s`
fn spent(waiting: &Waiting, now: Instant) -> String {
    let spent = (now - waiting.since).as_secs();
    let of = waiting.until.map_or(String::new(), |until| format!(" of {}s", (until - waiting.since).as_secs()));
    format!("{} {spent}s{of}", legible(&waiting.what))
}

/// The same with a bar, where there is room for it. Without colours, as `NO_COLOR` asks.
fn redrawn(waiting: &Waiting, now: Instant, width: usize) -> String {
    let mut text = spent(waiting, now);
    if let Some(until) = waiting.until {
        let (spent, whole) = ((now - waiting.since).as_secs_f64(), (until - waiting.since).as_secs_f64());
        let full = if whole > 0.0 { ((spent / whole).min(1.0) * BAR as f64) as usize } else { BAR };
        let bar = format!(" [{}{}]", "#".repeat(full), "…".repeat(BAR - full));
        if text.chars().count() + bar.chars().count() < width {
            text.push_str(&bar);
        }
    }
    // A line that wraps cannot be redrawn.
    text.chars().take(width.saturating_sub(1)).collect()
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).map(|size| size.ws_col);
    size.ok().filter(|columns| *columns > 0).map_or(80, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: f64) -> Instant {
        Instant(0) + Duration::from_secs_f64(seconds)
    }

    fn drain(until: Option<f64>) -> Waiting {
        Waiting { what: "preStop exec /bin/drain".into(), since: second(100.0), until: until.map(second) }
    }

    #[test]
    fn a_redrawn_line_has_a_bar_where_there_is_a_limit_and_room() {
        let at = second(112.4);
        let bar = format!("[{}{}]", "#".repeat(8), "…".repeat(12));
        assert_eq!(redrawn(&drain(Some(130.0)), at, 80), format!("preStop exec /bin/drain 12s of 30s {bar}"));
        assert_eq!(redrawn(&drain(None), at, 80), "preStop exec /bin/drain 12s");
        assert_eq!(redrawn(&drain(Some(130.0)), at, 50), "preStop exec /bin/drain 12s of 30s");
        assert_eq!(redrawn(&drain(Some(130.0)), at, 10), "preStop e");
        // Past its end, as at a deadline that is about to be kept.
        assert!(redrawn(&drain(Some(110.0)), at, 80).ends_with(&format!("[{}]", "#".repeat(BAR))));
        assert!(redrawn(&drain(Some(100.0)), at, 80).ends_with(&format!("[{}]", "#".repeat(BAR))));
    }

    #[test]
    fn what_a_container_is_called_cannot_move_the_cursor() {
        let waiting = Waiting { what: "exec /bin/\x1b[2J\n".into(), ..drain(None) };
        let line = redrawn(&waiting, second(101.0), 80);
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    }
}
