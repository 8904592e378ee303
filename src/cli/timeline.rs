//! `bookend timeline ID`: the container's life as a picture, drawn from the journal.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Result;

use super::args::{Global, PictureFormat, Timeline};
use super::lookup;
use crate::lifecycle::journal::{self, Record};
use crate::lifecycle::status::Status;
use crate::lifecycle::time::Instant;
use crate::lifecycle::timeline;
use crate::linux::clock;

/// How the picture is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub format: PictureFormat,
    /// Columns of the terminal.
    pub width: usize,
    pub color: bool,
    pub unicode: bool,
    /// While the container lives: what has no end is drawn up to now.
    pub now: Option<Instant>,
}

pub fn run(global: &Global, args: &Timeline) -> Result<u8> {
    let dir = lookup::records(global, &args.id)?;
    print!("{}", of(&dir, args.format)?);
    Ok(0)
}

/// The picture of the life whose records are in `dir`, as this terminal can show it.
pub fn of(dir: &Path, format: PictureFormat) -> Result<String> {
    let records = journal::read(&dir.join(journal::FILE_NAME))?;
    let over = Status::load(dir).is_ok_and(|status| status.phase == "Stopped");
    Ok(render(&records, &Options::of_terminal(format, (!over).then(clock::now))))
}

impl Options {
    /// What our standard output can show.
    pub fn of_terminal(format: PictureFormat, now: Option<Instant>) -> Options {
        let terminal = std::io::stdout().is_terminal();
        let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map(|size| usize::from(size.ws_col));
        Options {
            format,
            width: columns.ok().filter(|columns| *columns >= 60).unwrap_or(100).min(160),
            color: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            unicode: is_utf8(|name| std::env::var(name).ok()),
            now,
        }
    }
}

pub fn render(records: &[Record], options: &Options) -> String {
    let Options { format, width, color, unicode, now } = *options;
    match format {
        PictureFormat::Json => format!("{:#}\n", timeline::json(records, now)),
        PictureFormat::Text if unicode => timeline::text(records, width, color, now),
        PictureFormat::Text => timeline::ascii(records, width, color, now),
    }
}

/// Whether a terminal shows more than ASCII, by the locale variables in their order: `LC_ALL`, `LC_CTYPE`, `LANG`. With
/// none set (services, CI) it does.
pub fn is_utf8(lookup: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(lookup).find(|value| !value.is_empty());
    set.is_none_or(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        let locale = |lc_all: &str, lang: &str| {
            let (lc_all, lang) = (lc_all.to_owned(), lang.to_owned());
            is_utf8(move |name| match name {
                "LC_ALL" => Some(lc_all.clone()),
                "LANG" => Some(lang.clone()),
                _ => None,
            })
        };
        assert!(locale("", "en_US.UTF-8") && locale("C.utf8", "C") && locale("", ""));
        assert!(!locale("C", "en_US.UTF-8") && !locale("", "POSIX"));
    }
}
