//! The picture in a terminal.

use super::super::time::Instant;
use super::axis::Axis;
use super::letters::columns;
use super::{Glyph, Lane, Life, Shape, Tone, offset};
use crate::foreign::legible;

/// The letters that lanes are drawn with.
pub struct Pen {
    left: char,
    right: char,
    line: char,
    /// Of what lasted beyond the grace period.
    late: char,
    /// Time was cut short here.
    cut: char,
    incoming: char,
    outgoing: char,
    nothing: char,
    band_edge: char,
    band: char,
}

pub const UNICODE: Pen = Pen {
    left: '├',
    right: '┤',
    line: '─',
    late: '━',
    cut: '╱',
    incoming: '▼',
    outgoing: '▲',
    nothing: '╳',
    band_edge: '┊',
    band: '┈',
};

pub const ASCII: Pen = Pen {
    left: '|',
    right: '|',
    line: '-',
    late: '=',
    cut: '/',
    incoming: 'v',
    outgoing: '^',
    nothing: 'x',
    band_edge: ':',
    band: '.',
};

/// The plot is never narrower than this, however long the words are.
const LEAST_PLOT: usize = 16;
/// A container's name that is longer has a line of its own.
const LONGEST_NAME: usize = 24;
/// Words that are longer are cut.
const LONGEST_WORDS: usize = 64;

pub fn draw(life: &Life, width: usize, color: bool, pen: &Pen) -> String {
    let name = legible(&life.container);
    // An id of 64 letters would leave no room for the picture.
    let own_line = columns(&name) > LONGEST_NAME;
    let name_width = if own_line { 0 } else { columns(&name) };
    let label_width = life.lanes.iter().map(label_width).max().unwrap_or(0);
    let start_of = |lane: &Lane| offset(lane.start - life.origin);
    let start_width = life.lanes.iter().map(|lane| start_of(lane).len() + 1).max().unwrap_or(0).max("0.000s ".len());
    let left = name_width + 3 + label_width + 1 + start_width;
    // The widest plot whose words still fit.
    let plot = (LEAST_PLOT..=width.saturating_sub(left).max(LEAST_PLOT))
        .rev()
        .find(|plot| {
            let axis = axis(life, *plot);
            life.lanes.iter().all(|lane| left + line(life, lane, &axis, pen).1 <= width)
        })
        .unwrap_or(LEAST_PLOT);
    let axis = axis(life, plot);

    let mut picture = if own_line { format!("{name}\n") } else { String::new() };
    for (at, lane) in life.lanes.iter().enumerate() {
        let name = if at == 0 && !own_line { name.as_str() } else { "" };
        let blanks = " ".repeat(name_width - columns(name));
        let start = start_of(lane) + if at == 0 { "s" } else { "" };
        let drawn = paint(lane, line(life, lane, &axis, pen).0, color);
        let text = format!("{name}{blanks}   {:label_width$} {start:start_width$}{drawn}", label(lane));
        picture += text.trim_end();
        picture.push('\n');
    }
    picture
}

/// The columns `0..plot`.
fn axis(life: &Life, plot: usize) -> Axis {
    Axis::new(std::slice::from_ref(life), plot.saturating_sub(1) as f64, 6.0)
}

/// The longest hook name and handler are `postStart exec` and `postStop[0] http`; handlers stand in a column of their own.
fn label(lane: &Lane) -> String {
    match short_handler(lane) {
        "" => legible(&lane.label),
        handler => format!("{:9} {}", lane.label, legible(handler)),
    }
}

fn label_width(lane: &Lane) -> usize {
    label(lane).chars().count()
}

fn short_handler(lane: &Lane) -> &str {
    match lane.handler.as_str() {
        "httpGet" => "http",
        "tcpSocket" => "tcp",
        other => other,
    }
}

/// A lane's drawing with its words, and how many columns they take together.
fn line(life: &Life, lane: &Lane, axis: &Axis, pen: &Pen) -> (String, usize) {
    let mut cells = Cells(Vec::new());
    match &lane.shape {
        Shape::Point => {}
        Shape::Nothing => cells.put(axis.column(lane.start), pen.nothing),
        Shape::Marks { glyph, at } => {
            for moment in at {
                let glyph = if *glyph == Glyph::Incoming { pen.incoming } else { pen.outgoing };
                cells.put(axis.column(*moment), glyph);
            }
        }
        Shape::Spans { spans } => {
            for span in spans {
                draw_span(&mut cells, life, axis, pen, span.start, span.end);
            }
        }
        Shape::Grace { end } => {
            let (from, to) = (axis.column(lane.start), axis.column(*end));
            let to = to.max(from + 1);
            cells.fill(from, to, pen.band);
            cells.cut(axis, from, to, pen);
            cells.put(from, pen.band_edge);
            cells.put(to, pen.band_edge);
        }
    }
    let mut text: String = cells.0.into_iter().collect();
    let words = legible(&lane.text());
    if !words.is_empty() {
        text.push(' ');
        text.extend(words.chars().take(LONGEST_WORDS));
        if words.chars().count() > LONGEST_WORDS {
            text.push('…');
        }
    }
    let columns = columns(&text);
    (text, columns)
}

fn draw_span(cells: &mut Cells, life: &Life, axis: &Axis, pen: &Pen, start: Instant, end: Option<Instant>) {
    let from = cells.0.len().max(axis.column(start));
    let to = axis.column(end.unwrap_or(life.end)).max(from + 1);
    cells.fill(from, to, pen.line);
    if let Some(deadline) = life.deadline() {
        let late = axis.column(deadline);
        if end.unwrap_or(life.end) > deadline && start < deadline && late < to {
            cells.fill(late.max(from), to, pen.late);
        }
    }
    cells.cut(axis, from, to, pen);
    cells.put(from, pen.left);
    if end.is_some() {
        cells.put(to, pen.right);
    }
}

/// One line of columns, as long as what was put in it.
struct Cells(Vec<char>);

impl Cells {
    fn put(&mut self, column: usize, letter: char) {
        if self.0.len() <= column {
            self.0.resize(column + 1, ' ');
        }
        self.0[column] = letter;
    }

    fn fill(&mut self, from: usize, to: usize, letter: char) {
        for column in from..=to {
            self.put(column, letter);
        }
    }

    /// Two strokes where the axis was cut inside of a line.
    fn cut(&mut self, axis: &Axis, from: usize, to: usize, pen: &Pen) {
        for at in axis.breaks().filter(|at| *at > from + 1 && *at + 1 < to) {
            self.put(at, pen.cut);
            self.put(at + 1, pen.cut);
        }
    }
}

fn paint(lane: &Lane, text: String, color: bool) -> String {
    let code = match (&lane.shape, lane.tone) {
        _ if !color => return text,
        (_, Tone::Good) => "32",
        (_, Tone::Warning) => "33",
        (_, Tone::Bad) => "31",
        (Shape::Marks { .. }, _) => "36",
        (Shape::Grace { .. }, _) => "2",
        _ => return text,
    };
    // The blanks before the drawing have no colour.
    let (blanks, drawn) = text.split_at(text.len() - text.trim_start().len());
    format!("{blanks}\x1b[{code}m{drawn}\x1b[0m")
}
