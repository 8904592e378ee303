//! What goes on during a rehearsal, on stderr: a line for each container that is redrawn on a terminal, else plain lines.
//! What is printed at the end, on stdout, is the result.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a terminal's lines are redrawn.
pub const REDRAW: Duration = Duration::from_millis(100);

pub enum Progress {
    Quiet,
    Plain,
    Terminal { all: MultiProgress, bars: Vec<Option<ProgressBar>> },
}

impl Progress {
    pub fn new(quiet: bool, containers: usize) -> Progress {
        if quiet {
            return Progress::Quiet;
        }
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if dumb || !std::io::stderr().is_terminal() {
            return Progress::Plain;
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Progress::Terminal { all, bars: vec![None; containers] }
    }

    /// Whether it has to be redrawn now and then.
    pub fn is_moving(&self) -> bool {
        matches!(self, Progress::Terminal { .. })
    }

    pub fn redraw(&self) {
        if let Progress::Terminal { bars, .. } = self {
            bars.iter().flatten().for_each(ProgressBar::tick);
        }
    }

    /// What a container does now, which may take its time.
    pub fn doing(&mut self, at: usize, label: &str, text: &str) {
        match self {
            Progress::Quiet => {}
            Progress::Plain => line(label, text),
            Progress::Terminal { all, bars } => {
                let bar = bars[at].get_or_insert_with(|| {
                    // Without colours; the template is ours, so it is a good one.
                    let style = ProgressStyle::with_template("{spinner} {prefix}: {msg} {elapsed}")
                        .unwrap_or_else(|_| ProgressStyle::default_spinner())
                        .tick_chars("-\\|/ ");
                    all.add(ProgressBar::new_spinner().with_style(style).with_prefix(label.to_owned()))
                });
                bar.reset_elapsed();
                bar.set_message(text.to_owned());
                bar.tick();
            }
        }
    }

    /// What a container does now, where the line of before would be wrong; elsewhere it was said.
    pub fn goes_on(&mut self, at: usize, label: &str, text: &str) {
        if self.is_moving() {
            self.doing(at, label, text);
        }
    }

    /// What has happened. On a terminal it stays, above the lines that are redrawn.
    pub fn said(&self, label: &str, text: &str) {
        match self {
            Progress::Quiet => {}
            Progress::Plain => line(label, text),
            // A terminal that is gone is told by what comes next.
            Progress::Terminal { all, .. } => drop(all.println(format!("{label}: {text}"))),
        }
    }

    /// Nothing more is to be told of a container.
    pub fn over(&mut self, at: usize) {
        if let Progress::Terminal { bars, .. } = self
            && let Some(bar) = bars[at].take()
        {
            bar.finish_and_clear();
        }
    }
}

fn line(label: &str, text: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "{label}: {text}");
}
