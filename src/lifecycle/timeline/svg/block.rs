//! One life in the picture: its name and verdict, then its lanes from the top down.

use super::super::super::model::Hook;
use super::super::super::time::Instant;
use super::super::letters::{LABEL, NAME, SMALL, WORDS, fit, width};
use super::super::{Ending, Glyph, Lane, Life, Shape, Span, Tone, moment, offset, seconds};
use super::canvas::{Anchor, Canvas};
use super::{MARGIN, Plot, WIDTH};
use crate::foreign::legible;

const BAR: f64 = 20.0;
/// A lane with two lines of text beside it.
const LANE: f64 = 36.0;
const MARKS: f64 = 22.0;
/// An icon and the space behind it.
const ICON: f64 = 17.0;
/// Attempts that are nearer to each other than this are drawn as one.
const LEAST_GAP: f64 = 1.5;
const LEAST_BAR: f64 = 3.0;

/// What stands below a lane's name: what the handler does, or at least what it is.
pub fn subtitle(lane: &Lane) -> &str {
    if lane.summary.is_empty() { &lane.handler } else { &lane.summary }
}

pub fn draw(canvas: &mut Canvas, life: &Life, plot: &Plot) {
    header(canvas, life);
    let top = canvas.y;
    let grace = life.lanes.iter().find(|lane| matches!(lane.shape, Shape::Grace { .. }));
    if let Some(lane) = grace {
        grace_row(canvas, life, lane, plot);
    }
    let marks_at = canvas.y;
    let guides = marks(canvas, life, plot);
    for lane in &life.lanes {
        match &lane.shape {
            Shape::Spans { spans } => span_lane(canvas, life, lane, spans, plot),
            Shape::Nothing => nothing_lane(canvas, life, lane, plot),
            Shape::Point | Shape::Marks { .. } | Shape::Grace { .. } => {}
        }
    }
    canvas.skip(6.0);
    let bottom = canvas.y;
    if let Some(lane) = grace
        && let Shape::Grace { end } = lane.shape
    {
        band(canvas, life, lane, end, top, plot);
    }
    for tick in &plot.ticks {
        canvas.guide("grid", plot.left + tick.place, top, bottom);
    }
    for x in guides {
        canvas.guide("guide", x, marks_at + MARKS / 2.0, bottom);
    }
}

fn header(canvas: &mut Canvas, life: &Life) {
    let lasted = format!("{} · {}", began(life), seconds(life.end - life.origin));
    let right = WIDTH - MARGIN;
    let room = right - MARGIN - width(&lasted, SMALL) - 24.0;
    let (tone, verdict) = life.verdict();
    canvas.open(&format!("{}\n{verdict}", life.container));
    let y = canvas.y;
    canvas.text(MARGIN, y + 14.0, Anchor::Start, NAME, "", &fit(&legible(&life.container), NAME, room));
    canvas.text(right, y + 14.0, Anchor::End, SMALL, "muted", &lasted);
    let ending = match (tone, life.alive) {
        (Tone::Plain, true) => Ending::Open,
        (Tone::Good, _) => Ending::Succeeded,
        _ => Ending::Failed,
    };
    canvas.icon(tone, ending, MARGIN + 6.0, y + 32.0);
    let room = right - MARGIN - ICON;
    canvas.text(MARGIN + ICON, y + 36.5, Anchor::Start, WORDS, "", &fit(&legible(&verdict), WORDS, room));
    canvas.close();
    canvas.skip(54.0);
}

/// `2026-01-01 00:00:00 UTC`
fn began(life: &Life) -> String {
    let time = life.began.get(..19).unwrap_or("").replace('T', " ");
    format!("{} UTC", legible(&time))
}

/// The grace period's line, with when it ends.
fn grace_row(canvas: &mut Canvas, life: &Life, lane: &Lane, plot: &Plot) {
    let Shape::Grace { end } = lane.shape else { return };
    let middle = canvas.y + MARKS / 2.0;
    let (from, to) = (plot.x(lane.start), plot.x(end));
    canvas.open(&tooltip(life, lane));
    label(canvas, lane, middle + 4.5, plot);
    let words = grace_words(life, lane, end);
    let place = words_place(&words, 0.0, &[(from, to)], true, plot);
    canvas.bracket(if place.inside { place.x + place.room + 8.0 } else { from }, to, middle);
    put_words(canvas, lane, &words, &place, middle, false);
    canvas.close();
    canvas.skip(if place.below { MARKS * 2.0 } else { MARKS });
}

fn grace_words(life: &Life, lane: &Lane, end: Instant) -> String {
    let over = lane.words.split_once(", ").map(|(_, over)| format!(", {over}")).unwrap_or_default();
    let left = if life.alive && life.end < end { format!(", {} left", seconds(end - life.end)) } else { String::new() };
    format!("ends at {}{over}{left}", moment(end - life.origin))
}

/// The grace period behind the lanes, and what lasted longer.
fn band(canvas: &mut Canvas, life: &Life, lane: &Lane, end: Instant, top: f64, plot: &Plot) {
    let (from, to, height) = (plot.x(lane.start), plot.x(end), canvas.y - top);
    canvas.band("band", from, top, to - from, height);
    if lane.tone == Tone::Bad {
        canvas.band("late", to, top, plot.x(overrun_end(life)) - to, height);
    }
    canvas.guide("edge", from, top, top + height);
    canvas.guide("edge", to, top, top + height);
}

/// The end of the grace period, if it was not kept.
fn overrun_from(life: &Life) -> Option<Instant> {
    life.deadline()
        .filter(|_| life.lanes.iter().any(|lane| lane.tone == Tone::Bad && matches!(lane.shape, Shape::Grace { .. })))
}

/// The end of the ENTRYPOINT, up to which an overrun counts.
fn overrun_end(life: &Life) -> Instant {
    let entrypoint = life.lanes.iter().filter(|lane| lane.hook.is_none()).find_map(|lane| match &lane.shape {
        Shape::Spans { spans } => spans.last().and_then(|span| span.end),
        _ => None,
    });
    entrypoint.unwrap_or(life.end)
}

/// Stop requests and signals, in as many rows as their words need. Returns where their lines fall down.
fn marks(canvas: &mut Canvas, life: &Life, plot: &Plot) -> Vec<f64> {
    let mut rows: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut guides: Vec<f64> = Vec::new();
    let top = canvas.y;
    let mut named = false;
    for lane in &life.lanes {
        let Shape::Marks { glyph, at } = &lane.shape else { continue };
        if !named {
            let name = if *glyph == Glyph::Incoming { "stop" } else { "signals" };
            canvas.text(MARGIN, top + 14.0, Anchor::Start, LABEL, "", name);
            named = true;
        }
        let mut places: Vec<f64> = at.iter().map(|moment| plot.x(*moment)).collect();
        places.dedup_by(|one, other| (*one - *other).abs() < 4.0);
        canvas.open(&mark_tooltip(life, lane, at));
        for (number, x) in places.iter().enumerate() {
            let words = if number == 0 { mark_words(lane, *glyph) } else { String::new() };
            let words = fit(&words, WORDS, (plot.right - plot.left) * 0.6);
            let length = width(&words, WORDS);
            let to_right = x + 9.0 + length <= plot.right + 8.0;
            let taken = if to_right { (x - 8.0, x + 14.0 + length) } else { (x - 14.0 - length, x + 8.0) };
            let free = |row: &Vec<(f64, f64)>| row.iter().all(|(from, to)| taken.1 < *from || *to < taken.0);
            let row = rows.iter().position(free).unwrap_or_else(|| {
                rows.push(Vec::new());
                rows.len() - 1
            });
            rows[row].push(taken);
            let y = top + row as f64 * MARKS + MARKS / 2.0;
            canvas.glyph(*glyph, lane.label == "SIGKILL", *x, y);
            match to_right {
                _ if words.is_empty() => {}
                true => canvas.text(x + 9.0, y + 4.5, Anchor::Start, WORDS, "halo", &words),
                false => canvas.text(x - 9.0, y + 4.5, Anchor::End, WORDS, "halo", &words),
            }
            guides.push(*x);
        }
        canvas.close();
    }
    canvas.skip(if rows.is_empty() { 2.0 } else { rows.len() as f64 * MARKS + 4.0 });
    guides
}

/// `stop requested: SIGTERM`, `SIGTERM sent 2 times`
fn mark_words(lane: &Lane, glyph: Glyph) -> String {
    let words = legible(&lane.words);
    match glyph {
        Glyph::Incoming if words.is_empty() => legible(&lane.label),
        Glyph::Incoming => format!("{}: {words}", legible(&lane.label)),
        Glyph::Outgoing => format!("{} sent {words}", legible(&lane.label)).trim_end().to_owned(),
    }
}

fn mark_tooltip(life: &Life, lane: &Lane, at: &[Instant]) -> String {
    const MOST: usize = 20;
    let mut times: Vec<String> = at.iter().take(MOST).map(|moment| offset(*moment - life.origin)).collect();
    if at.len() > MOST {
        times.push("…".to_owned());
    }
    format!("{} {}\nat {}", lane.label, lane.words, times.join(", "))
}

/// A lane's name, and what its handler does.
fn label(canvas: &mut Canvas, lane: &Lane, y: f64, plot: &Plot) {
    canvas.text(MARGIN, y, Anchor::Start, LABEL, "", &fit(&legible(&lane.label), LABEL, plot.labels));
    let below = legible(subtitle(lane));
    if !below.is_empty() {
        canvas.text(MARGIN, y + 14.0, Anchor::Start, SMALL, "muted", &fit(&below, SMALL, plot.labels));
    }
}

fn height(lane: &Lane) -> f64 {
    if subtitle(lane).is_empty() { LANE - 6.0 } else { LANE }
}

fn label_baseline(lane: &Lane, middle: f64) -> f64 {
    if subtitle(lane).is_empty() { middle + 4.5 } else { middle - 2.5 }
}

fn span_lane(canvas: &mut Canvas, life: &Life, lane: &Lane, spans: &[Span], plot: &Plot) {
    let middle = canvas.y + height(lane) / 2.0;
    let top = middle - BAR / 2.0;
    canvas.open(&tooltip(life, lane));
    label(canvas, lane, label_baseline(lane, middle), plot);
    let bars = bars(life, spans, plot);
    for pair in bars.windows(2) {
        canvas.pause(lane.tone, pair[0].to, pair[1].from, middle);
    }
    for (number, bar) in bars.iter().enumerate() {
        let last = number + 1 == bars.len();
        draw_bar(canvas, life, lane, if last { bar.as_ended(lane) } else { *bar }, top, plot);
        let number = (number + 1).to_string();
        if bars.len() > 1 && bars.len() == spans.len() && bar.to - bar.from > width(&number, SMALL) + 14.0 {
            let x = f64::midpoint(bar.from, bar.to);
            canvas.text(x, middle + 4.0, Anchor::Middle, SMALL, "", &number);
        }
    }
    let taken: Vec<(f64, f64)> = bars.iter().map(|bar| (bar.from, bar.to)).collect();
    let words = legible(&lane.text());
    let place = words_place(&words, ICON, &taken, bars.len() == 1, plot);
    put_words(canvas, lane, &words, &place, middle, true);
    canvas.close();
    canvas.skip(height(lane) + if place.below { 20.0 } else { 0.0 });
}

fn draw_bar(canvas: &mut Canvas, life: &Life, lane: &Lane, bar: Bar, top: f64, plot: &Plot) {
    canvas.bar(bar.tone, bar.ending, bar.from, top, bar.to - bar.from, BAR);
    let after_the_stop = lane.hook.is_some_and(|(hook, _)| hook == Hook::PostStop);
    if let (Some(deadline), false) = (overrun_from(life), after_the_stop) {
        let from = plot.x(deadline).max(bar.from);
        if from < bar.to - 0.5 {
            canvas.hatch(from, top, bar.to - from, BAR);
        }
    }
    for x in plot.cuts() {
        if bar.from + 6.0 < x && x < bar.to - 6.0 {
            canvas.cut(x, top - 3.0, top + BAR + 3.0);
        }
    }
    if lane.hook.is_some() && bar.to - bar.from > 10.0 {
        canvas.wall(bar.tone, bar.ending, bar.to, top, BAR);
    }
}

#[derive(Clone, Copy)]
struct Bar {
    from: f64,
    to: f64,
    ending: Ending,
    tone: Tone,
}

impl Bar {
    /// The last attempt looks as what came of the hook.
    fn as_ended(self, lane: &Lane) -> Bar {
        let jagged = self.ending == Ending::Interrupted && lane.ending == Ending::TimedOut;
        Bar { ending: if jagged { self.ending } else { lane.ending }, tone: lane.tone, ..self }
    }
}

/// Spans in pixels; those that cannot be told apart are one.
fn bars(life: &Life, spans: &[Span], plot: &Plot) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    for span in spans {
        let from = plot.x(span.start).min(plot.right - LEAST_BAR);
        let to = plot.x(span.end.unwrap_or(life.end)).max(from + LEAST_BAR);
        let tone = match span.ending {
            Ending::Succeeded => Tone::Good,
            Ending::Failed | Ending::TimedOut => Tone::Bad,
            Ending::Open => Tone::Plain,
            Ending::Interrupted | Ending::Skipped | Ending::Unknown => Tone::Warning,
        };
        match bars.last_mut() {
            Some(last) if from - last.to < LEAST_GAP => last.to = last.to.max(to),
            _ => bars.push(Bar { from, to, ending: span.ending, tone }),
        }
    }
    bars
}

fn nothing_lane(canvas: &mut Canvas, life: &Life, lane: &Lane, plot: &Plot) {
    let middle = canvas.y + height(lane) / 2.0;
    canvas.open(&tooltip(life, lane));
    label(canvas, lane, label_baseline(lane, middle), plot);
    let x = plot.x(lane.start);
    let words = legible(&lane.words);
    let place = words_place(&words, ICON, &[(x, x)], false, plot);
    put_words(canvas, lane, &words, &place, middle, true);
    canvas.close();
    canvas.skip(height(lane) + if place.below { 20.0 } else { 0.0 });
}

/// Where a lane's words stand.
struct Place {
    x: f64,
    anchor: Anchor,
    room: f64,
    /// On a bar, so without a halo.
    inside: bool,
    /// Under the bars, where nothing else is.
    below: bool,
}

/// In the bar if they fit, else to its right, to its left, or below it.
fn words_place(words: &str, before: f64, bars: &[(f64, f64)], may_be_inside: bool, plot: &Plot) -> Place {
    let needed = before + width(words, WORDS);
    let (Some(first), Some(last)) = (bars.first(), bars.last()) else {
        return Place {
            x: plot.left,
            anchor: Anchor::Start,
            room: plot.right - plot.left,
            inside: false,
            below: false,
        };
    };
    let place = |x, anchor, room, inside, below| Place { x, anchor, room, inside, below };
    if may_be_inside {
        for (from, to) in uncut(first.0, first.1, plot) {
            if to - from - 16.0 >= needed {
                return place(from + 8.0, Anchor::Start, needed, true, false);
            }
        }
    }
    if last.1 + 8.0 + needed <= plot.right {
        place(last.1 + 8.0, Anchor::Start, needed, false, false)
    } else if first.0 - 8.0 - needed >= plot.left {
        place(first.0 - 8.0 - needed, Anchor::Start, needed, false, false)
    } else {
        let room = plot.right - plot.left;
        let x = first.0.min(plot.right - needed).max(plot.left);
        place(x, Anchor::Start, room.min(needed), false, true)
    }
}

/// The parts of a bar between the cuts of the axis.
fn uncut(from: f64, to: f64, plot: &Plot) -> Vec<(f64, f64)> {
    let mut parts = Vec::new();
    let mut left = from;
    for x in plot.cuts() {
        if left < x && x < to {
            parts.push((left, x - 4.0));
            left = x + 4.0;
        }
    }
    parts.push((left, to));
    parts
}

fn put_words(canvas: &mut Canvas, lane: &Lane, words: &str, place: &Place, middle: f64, icon: bool) {
    let y = if place.below { middle + 19.0 } else { middle };
    let before = if icon { ICON } else { 0.0 };
    if icon {
        canvas.icon(lane.tone, lane.ending, place.x + 5.5, y);
    }
    let class = if place.inside { "" } else { "halo" };
    let text = fit(words, WORDS, place.room - before + 0.1);
    canvas.text(place.x + before, y + 4.5, place.anchor, WORDS, class, &text);
}

/// All that is known about a lane.
fn tooltip(life: &Life, lane: &Lane) -> String {
    let mut lines = vec![format!("{} {}", lane.label, subtitle(lane))];
    lines.push(format!("at {}: {}", offset(lane.start - life.origin), lane.text()));
    if let (Shape::Spans { spans }, true) = (&lane.shape, lane.hook.is_some()) {
        const MOST: usize = 20;
        if spans.len() > 1 {
            for (number, span) in spans.iter().take(MOST).enumerate() {
                let end = span.end.unwrap_or(life.end);
                let (at, took) = (offset(span.start - life.origin), seconds(end - span.start));
                lines.push(format!("attempt {} at {at}: {took} {}", number + 1, span.detail));
            }
        }
        if spans.len() > MOST {
            lines.push("…".to_owned());
        }
    }
    lines.join("\n")
}
