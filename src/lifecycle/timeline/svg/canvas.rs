//! The few things that a picture is made of, as SVG.

use std::fmt::Write;

use super::super::letters::{Font, escape};
use super::super::{Ending, Glyph, Tone};
use crate::foreign::legible;

/// What is drawn, from the top down.
pub struct Canvas {
    /// Bands and lines behind everything.
    under: String,
    over: String,
    /// Where the next thing goes.
    pub y: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Pixels to a tenth.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

impl Canvas {
    pub fn new(top: f64) -> Canvas {
        Canvas { under: String::new(), over: String::new(), y: top }
    }

    pub fn skip(&mut self, height: f64) {
        self.y += height;
    }

    pub fn finish(self) -> String {
        self.under + &self.over
    }

    /// Everything up to `close` has this tooltip.
    pub fn open(&mut self, tooltip: &str) {
        let lines: Vec<String> = tooltip.lines().map(|line| escape(&legible(line))).collect();
        let _ = writeln!(self.over, "<g><title>{}</title>", lines.join("\n"));
    }

    pub fn close(&mut self) {
        self.over += "</g>\n";
    }

    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, font: Font, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let space = if class.is_empty() { "" } else { " " };
        let (x, y, text) = (px(x), px(y), escape(text));
        let class = format!("{}{space}{class}", font.class);
        let _ = writeln!(self.over, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\"{anchor}>{text}</text>");
    }

    /// What lasted: its right end says how it ended.
    pub fn bar(&mut self, tone: Tone, ending: Ending, x: f64, y: f64, width: f64, height: f64) {
        let (left, right, bottom) = (px(x), px(x + width), px(y + height));
        let point = (width / 2.0).min(7.0);
        let class = bar_class(tone, ending);
        let path = match ending {
            Ending::Open => {
                let (neck, middle) = (px(x + width - point), px(y + height / 2.0));
                format!("M{left} {} H{neck} L{right} {middle} L{neck} {bottom} H{left}Z", px(y))
            }
            Ending::Interrupted => {
                let tooth = point.min(4.0);
                let teeth: String = (0..4)
                    .map(|at| {
                        let out = if at % 2 == 0 { x + width } else { x + width - tooth };
                        format!(" L{} {}", px(out), px(y + height * (at as f64 + 0.5) / 4.0))
                    })
                    .collect();
                let neck = px(x + width - tooth);
                format!("M{left} {} H{neck}{teeth} L{neck} {bottom} H{left}Z", px(y))
            }
            _ => {
                let (y, width, height) = (px(y), px(width), px(height));
                let dash = if ending == Ending::Unknown { " stroke-dasharray=\"3 3\"" } else { "" };
                let _ = writeln!(
                    self.over,
                    "<rect class=\"bar {class}\" x=\"{left}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"2\"{dash}/>"
                );
                return;
            }
        };
        let _ = writeln!(self.over, "<path class=\"bar {class}\" d=\"{path}\"/>");
    }

    /// The wall that a failed attempt ran into; one that ran out of time has two.
    pub fn wall(&mut self, tone: Tone, ending: Ending, x: f64, y: f64, height: f64) {
        let walls = match ending {
            Ending::Failed => 1,
            Ending::TimedOut => 2,
            _ => 0,
        };
        for number in 0..walls {
            let (x, y, bottom) = (px(x - 1.0 - f64::from(number) * 4.5), px(y), px(y + height));
            let class = bar_class(tone, ending);
            let _ = writeln!(self.over, "<path class=\"wall {class}\" d=\"M{x} {y}V{bottom}\"/>");
        }
    }

    /// The part of a bar that lies beyond the grace period.
    pub fn hatch(&mut self, x: f64, y: f64, width: f64, height: f64) {
        let (x, y, width, height) = (px(x), px(y), px(width), px(height));
        let _ = writeln!(
            self.over,
            "<rect fill=\"url(#bookend-hatch)\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
        );
    }

    pub fn pause(&mut self, tone: Tone, from: f64, to: f64, y: f64) {
        let class = bar_class(tone, Ending::Unknown);
        let _ = writeln!(self.over, "<path class=\"pause {class}\" d=\"M{} {y}H{}\"/>", px(from), px(to), y = px(y));
    }

    /// A sign for how something ended, about 11 pixels wide.
    pub fn icon(&mut self, tone: Tone, ending: Ending, x: f64, y: f64) {
        let path = match ending {
            Ending::Succeeded => "m-4.5.5 3 3 6-7",
            Ending::Failed if tone == Tone::Warning => "m0-5v6m0 3.5v.1",
            Ending::Failed => "m-4-4 8 8m0-8-8 8",
            Ending::TimedOut => "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0m5-2.8v2.8l2 1.4",
            Ending::Interrupted => "m1-5.5-4 6h6l-4 5",
            Ending::Skipped => "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0m1.5 3.5 7-7",
            Ending::Open => "m-5 0h10m-3.5-3.5 3.5 3.5-3.5 3.5",
            Ending::Unknown => "m-2.8-2.4a2.8 2.8 0 1 1 4.2 2.4q-1.4.8-1.4 2m0 2.6v.1",
        };
        let class = bar_class(tone, ending);
        let _ = writeln!(
            self.over,
            "<path class=\"icon {class}\" transform=\"translate({} {})\" d=\"M0 0{path}\"/>",
            px(x),
            px(y)
        );
    }

    pub fn glyph(&mut self, glyph: Glyph, deadly: bool, x: f64, y: f64) {
        let class = if deadly { "kill" } else { "mark" };
        let path = match glyph {
            Glyph::Incoming => "m-5-5h10l-5 9z",
            Glyph::Outgoing => "m-5 4h10l-5-9z",
        };
        let _ = writeln!(self.over, "<path class=\"{class}\" d=\"M{} {}{path}\"/>", px(x), px(y));
    }

    /// A vertical line behind everything.
    pub fn guide(&mut self, class: &str, x: f64, from: f64, to: f64) {
        let _ = writeln!(self.under, "<path class=\"{class}\" d=\"M{} {}V{}\"/>", px(x), px(from), px(to));
    }

    pub fn band(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64) {
        let (x, y, width, height) = (px(x), px(y), px(width), px(height));
        let _ =
            writeln!(self.under, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>");
    }

    /// A line with an end.
    pub fn bracket(&mut self, from: f64, to: f64, y: f64) {
        let (left, right, top, bottom) = (px(from), px(to), px(y - 5.0), px(y + 5.0));
        let y = px(y);
        let _ = writeln!(
            self.over,
            "<path class=\"bracket\" d=\"M{left} {top}V{bottom}M{right} {top}V{bottom}M{left} {y}H{right}\"/>"
        );
    }

    pub fn rule(&mut self, from: f64, to: f64, y: f64) {
        let _ = writeln!(self.over, "<path class=\"rule\" d=\"M{} {}H{}\"/>", px(from), px(y), px(to));
    }

    /// A line between two lives.
    pub fn divide(&mut self, from: f64, to: f64) {
        let y = self.y;
        self.rule(from, to, y);
    }

    /// Time was cut short here.
    pub fn cut(&mut self, x: f64, from: f64, to: f64) {
        let stroke = |x: f64| format!("M{} {}L{} {}", px(x - 2.5), px(to), px(x + 2.5), px(from));
        let (gap, left, right) = (stroke(x), stroke(x - 2.5), stroke(x + 2.5));
        let _ = writeln!(self.over, "<path class=\"halo\" d=\"{gap}\"/><path class=\"slash\" d=\"{left}{right}\"/>");
    }
}

fn bar_class(tone: Tone, ending: Ending) -> &'static str {
    match (tone, ending) {
        (Tone::Good, _) => "good",
        (Tone::Warning, _) => "warning",
        (Tone::Bad, _) => "bad",
        (Tone::Plain, Ending::Open) => "open",
        (Tone::Plain, _) => "plain",
    }
}
