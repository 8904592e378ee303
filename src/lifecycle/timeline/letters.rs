//! How wide letters are, and which of them may stand in a picture.

/// Advances of the letters from space to `~` in thousandths of the font's size: the wider of DejaVu Sans and Liberation Sans
/// (Arial), so that with any usual sans-serif font a text is no wider than this.
const PLAIN: [u16; 95] = [
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636, 636, 636,
    636, 636, 636, 337, 337, 838, 838, 838, 556, 1015, 684, 686, 722, 770, 667, 611, 778, 752, 295, 500, 667, 557, 863,
    748, 787, 667, 787, 722, 667, 611, 732, 684, 989, 685, 667, 685, 390, 337, 390, 838, 556, 500, 613, 635, 550, 635,
    615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636,
    337, 636, 838,
];
/// A bold letter is at most this much wider.
const BOLD: f64 = 1.27;

/// A font's size in pixels, and its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Font {
    pub size: f64,
    pub bold: bool,
    /// Its name in the style sheet.
    pub class: &'static str,
}

pub const NAME: Font = Font { size: 17.0, bold: true, class: "name" };
pub const LABEL: Font = Font { size: 13.0, bold: true, class: "label" };
pub const WORDS: Font = Font { size: 12.5, bold: false, class: "words" };
pub const SMALL: Font = Font { size: 11.0, bold: false, class: "small" };

/// How wide a text is at most, in pixels. Of letters beyond Latin, Greek and Cyrillic only a generous guess is possible.
pub fn width(text: &str, font: Font) -> f64 {
    let thousandths: f64 = text.chars().map(|letter| advance(letter, font.bold)).sum();
    thousandths * font.size / 1000.0
}

fn advance(letter: char, bold: bool) -> f64 {
    let plain = match letter {
        ' '..='~' => f64::from(PLAIN[letter as usize - 32]),
        '…' | '—' => 1000.0,
        '·' => 330.0,
        '\u{a1}'..='\u{52f}' => 860.0,
        '\u{530}'..='\u{2e7f}' => 1100.0,
        _ => 1400.0,
    };
    if bold { plain * BOLD } else { plain }
}

/// The text, cut with an ellipsis where it is wider than `room`.
pub fn fit(text: &str, font: Font, room: f64) -> String {
    if width(text, font) <= room {
        return text.to_owned();
    }
    let mut left = room - width("…", font);
    let short: String = text
        .chars()
        .take_while(|letter| {
            left -= advance(*letter, font.bold) * font.size / 1000.0;
            left >= 0.0
        })
        .collect();
    short.trim_end().to_owned() + "…"
}

/// How many columns of a terminal a text takes.
pub fn columns(text: &str) -> usize {
    let columns = |letter: char| match letter {
        '\u{300}'..='\u{36f}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    };
    text.chars().map(columns).sum()
}

/// For XML and HTML, as text and in attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            letter => escaped.push(letter),
        }
    }
    escaped
}
