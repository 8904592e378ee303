//! Texts that others wrote, made fit to be shown: on one line, and with nothing in them that a terminal, an editor or a
//! reader of XML obeys (threats.md S15).

/// In double quotes, for a message; what is long is cut off.
pub fn quote(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut quoted = String::from("\"");
    for (index, letter) in text.chars().enumerate() {
        if index == SHOWN {
            quoted.push_str("...");
            break;
        }
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            letter if letter.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", letter as u32)),
            letter if is_obeyed(letter) => quoted.push_str(&format!("\\u{:04x}", letter as u32)),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// A name as it stands, or in quotes where that could not be read.
pub fn name(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_graphic() && letter != '"';
    if !name.is_empty() && name.len() <= 253 && name.chars().all(plain) { name.to_owned() } else { quote(name) }
}

/// A text as it stands, ends of lines and tabs as spaces, and what is obeyed as numbers.
pub fn legible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|letter| push(&mut shown, letter));
    shown
}

/// As `legible`, cut off before it has more than `most` bytes.
pub fn legible_within(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        let before = shown.len();
        push(&mut shown, letter);
        if shown.len() > most {
            shown.truncate(before);
            break;
        }
    }
    shown
}

fn push(shown: &mut String, letter: char) {
    match letter {
        '\n' | '\t' => shown.push(' '),
        letter if is_obeyed(letter) => *shown += &letter.escape_unicode().to_string(),
        letter => shown.push(letter),
    }
}

/// Controls, what turns or hides text, what XML cannot say, and what is much wider than it should be.
fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fdfd}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{12000}'..='\u{1254f}' | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[31m\u{9b}b\u{202e}c\r\u{200b}d\u{7f}";

    #[test]
    fn s15_nothing_that_is_shown_is_obeyed() {
        for shown in [quote(HOSTILE), name(HOSTILE), legible(HOSTILE), legible_within(HOSTILE, 1000)] {
            assert!(!shown.chars().any(is_obeyed), "{shown:?}");
        }
        assert_eq!(quote("a\"b\\\n\r\t\0\u{1b}\u{202e}"), r#""a\"b\\\n\r\t\x00\x1b\u202e""#);
        assert!(quote(&"x".repeat(100_000)).len() < 100);
        assert_eq!(legible("a\tb\nc\u{1b}"), "a b c\\u{1b}");
    }

    #[test]
    fn a_name_stands_as_it_is_only_where_that_can_be_read() {
        assert_eq!(name("preStop"), "preStop");
        assert_eq!(name(""), "\"\"");
        assert_eq!(name("a b"), "\"a b\"");
        assert_eq!(name(&"x".repeat(300)).len(), 85);
    }

    #[test]
    fn a_bound_never_cuts_an_escape_in_two() {
        assert_eq!(legible_within("ab\u{1b}", 7), "ab");
        assert_eq!(legible_within("ab\u{1b}", 8), "ab\\u{1b}");
        assert_eq!(legible_within("é", 1), "");
    }
}
