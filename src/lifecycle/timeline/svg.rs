//! The picture as SVG. It stands alone: no script, nothing fetched, no font but the reader's own.
//!
//! A text gets the room that it needs by `letters::width`, which errs on the wide side, or is cut; so nothing collides and
//! nothing leaves the picture. What was cut is whole in the tooltip.

mod block;
mod canvas;
mod style;
mod ticks;

use std::borrow::Cow;

use super::super::time::Instant;
use super::axis::Axis;
use super::letters::{LABEL, SMALL, escape, fit, width};
use super::{Life, Shape, Span, moment};
use crate::foreign::legible;
use canvas::{Anchor, Canvas};
use ticks::Tick;

/// The picture's width; its height follows from what is in it.
const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
/// The column with the names of the lanes.
const LABELS: std::ops::RangeInclusive<f64> = 110.0..=250.0;

/// Where the lanes are drawn, and on which axis.
pub(super) struct Plot {
    axis: Axis,
    ticks: Vec<Tick>,
    left: f64,
    right: f64,
    /// How wide a lane's name may be.
    labels: f64,
}

impl Plot {
    fn new(lives: &[Life]) -> Plot {
        let lanes = lives.iter().flat_map(|life| &life.lanes);
        let needed =
            lanes.map(|lane| width(&legible(&lane.label), LABEL).max(width(&legible(block::subtitle(lane)), SMALL)));
        let labels = needed.fold(*LABELS.start(), f64::max).min(*LABELS.end());
        let left = MARGIN + labels + 16.0;
        let right = WIDTH - MARGIN;
        let axis = Axis::new(lives, right - left, 70.0);
        let last = |life: &Life| life.deadline().map_or(life.end, |deadline| deadline.max(life.end));
        let end = lives.iter().map(last).max().unwrap_or(Instant(0));
        let ticks = ticks::ticks(&axis, origin(lives), end, 64.0);
        Plot { axis, ticks, left, right, labels }
    }

    /// The middles of the places where time was cut short.
    fn cuts(&self) -> impl Iterator<Item = f64> {
        self.axis.cuts.iter().map(|(from, to)| self.left + f64::midpoint(*from, *to))
    }

    fn x(&self, moment: Instant) -> f64 {
        (self.left + self.axis.place(moment)).clamp(self.left, self.right)
    }
}

pub fn draw(lives: &[Life]) -> String {
    let lives = align(lives);
    let plot = Plot::new(&lives);
    let mut canvas = Canvas::new(MARGIN);
    for (at, life) in lives.iter().enumerate() {
        if at > 0 {
            canvas.skip(10.0);
            canvas.divide(MARGIN, WIDTH - MARGIN);
            canvas.skip(14.0);
        }
        block::draw(&mut canvas, life, &plot);
    }
    axis(&mut canvas, &plot, &lives, origin(&lives));
    canvas.skip(MARGIN - 8.0);
    page(&lives, canvas)
}

fn origin(lives: &[Life]) -> Instant {
    lives.iter().map(|life| life.origin).min().unwrap_or(Instant(0))
}

/// Lives of one boot have one clock; of several boots each begins at the left.
fn align(lives: &[Life]) -> Cow<'_, [Life]> {
    if lives.windows(2).all(|pair| pair[0].boot_id == pair[1].boot_id) {
        return Cow::Borrowed(lives);
    }
    Cow::Owned(lives.iter().map(to_zero).collect())
}

fn to_zero(life: &Life) -> Life {
    let moved = |moment: Instant| Instant(moment.0.saturating_sub(life.origin.0));
    let mut life_moved = Life { origin: Instant(0), end: moved(life.end), ..life.clone() };
    for lane in &mut life_moved.lanes {
        lane.start = moved(lane.start);
        match &mut lane.shape {
            Shape::Point | Shape::Nothing => {}
            Shape::Marks { at, .. } => at.iter_mut().for_each(|moment| *moment = moved(*moment)),
            Shape::Spans { spans } => spans.iter_mut().for_each(|span: &mut Span| {
                span.start = moved(span.start);
                span.end = span.end.map(moved);
            }),
            Shape::Grace { end } => *end = moved(*end),
        }
    }
    life_moved
}

/// The axis with its numbers.
fn axis(canvas: &mut Canvas, plot: &Plot, lives: &[Life], origin: Instant) {
    canvas.skip(6.0);
    let y = canvas.y;
    canvas.rule(plot.left, plot.right, y);
    let caption = fit("since create", SMALL, plot.labels);
    canvas.text(MARGIN, y + 17.0, Anchor::Start, SMALL, "muted", &caption);
    let now = lives.iter().filter(|life| life.alive).map(|life| life.end).max();
    let now = now.map(|now| (plot.x(now), format!("now: {}", moment(now - origin))));
    let numbers = plot.ticks.iter().map(|tick| (plot.left + tick.place, tick.words.clone()));
    let mut taken: Vec<(f64, f64)> = Vec::new();
    for (x, words) in now.into_iter().chain(numbers) {
        let half = width(&words, SMALL) / 2.0;
        let middle = x.min(plot.right - half);
        if taken.iter().all(|(from, to)| middle + half + 8.0 < *from || *to + 8.0 < middle - half) {
            canvas.text(middle, y + 17.0, Anchor::Middle, SMALL, "muted", &words);
            taken.push((middle - half, middle + half));
        }
    }
    for x in plot.cuts() {
        canvas.cut(x, y - 5.0, y + 5.0);
    }
    canvas.skip(22.0);
}

fn page(lives: &[Life], canvas: Canvas) -> String {
    let height = canvas.y.ceil();
    let names: Vec<String> = lives.iter().map(|life| legible(&life.container)).collect();
    let title = match lives {
        [life] => format!("{}: {}", legible(&life.container), legible(&life.verdict().1)),
        _ => names.join(", "),
    };
    let desc: Vec<String> = lives.iter().map(|life| legible_lines(&life.told())).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"bookend-life\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>{}</title>\n<desc>{}</desc>\n<style>\n{}</style>\n\
         <defs><pattern id=\"bookend-hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><path class=\"hatch\" d=\"M0 0V6\"/></pattern></defs>\n\
         <rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n{}</svg>\n",
        escape(&title),
        escape(&desc.join("\n")),
        style::sheet(),
        WIDTH - 1.0,
        height - 1.0,
        canvas.finish(),
    )
}

fn legible_lines(text: &str) -> String {
    text.lines().map(legible).collect::<Vec<_>>().join("\n")
}
