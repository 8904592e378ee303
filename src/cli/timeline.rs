//! `bookend timeline ID`: the container's life as a picture, drawn from the journal.

use crate::lifecycle::journal::Record;
use crate::lifecycle::time::Instant;
use crate::lifecycle::timeline;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// How the picture is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub format: Format,
    /// Columns of the terminal.
    pub width: usize,
    pub color: bool,
    pub unicode: bool,
    /// While the container lives: what has no end is drawn up to now.
    pub now: Option<Instant>,
}

pub fn render(records: &[Record], options: &Options) -> String {
    let Options { format, width, color, unicode, now } = *options;
    match format {
        Format::Json => format!("{:#}\n", timeline::json(records, now)),
        Format::Text if unicode => timeline::text(records, width, color, now),
        Format::Text => timeline::ascii(records, width, color, now),
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
