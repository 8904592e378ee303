//! Names from a file, fit for a message.

use crate::lifecycle::tree::quote;

/// A name as it stands, or in quotes when that could not be read.
pub fn legible(name: &str) -> String {
    let plain = !name.is_empty() && name.len() <= 253 && name.chars().all(|c| c.is_ascii_graphic());
    if plain { name.to_owned() } else { quote(name) }
}
