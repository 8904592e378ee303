//! Names from a file, fit for a message.

use crate::lifecycle::tree::quote;

/// A text on one line, whatever was in it: a parser's words may quote the file.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A name as it stands, or in quotes when that could not be read.
pub fn legible(name: &str) -> String {
    let plain = !name.is_empty() && name.len() <= 253 && name.chars().all(|c| c.is_ascii_graphic());
    if plain { name.to_owned() } else { quote(name) }
}
