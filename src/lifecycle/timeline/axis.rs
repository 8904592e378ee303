//! From time to columns: a straight line, except that a long pause in which no hook ran is cut short.

use super::super::time::Instant;
use super::{Life, Shape};

/// Where each moment of a life is drawn.
pub struct Axis {
    /// The moments at which something begins or ends, with their columns; both ascend.
    stops: Vec<(Instant, f64)>,
    /// Columns at which time was cut short.
    pub breaks: Vec<usize>,
}

/// A pause that is this many times as long as all the rest is cut.
const TOO_LONG: u128 = 4;

impl Axis {
    pub fn new(life: &Life, columns: usize) -> Axis {
        let times = moments(life);
        let gaps: Vec<u128> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_nanos()).collect();
        let idle: Vec<bool> = times.windows(2).map(|pair| is_idle(life, pair[0], pair[1])).collect();
        let cut = choose_cuts(life, &times, &gaps, &idle);
        let last = columns.saturating_sub(1) as f64;
        // A cut pause in a life takes a quarter of the line, what is left of the grace period after it a little.
        let width_of = |at: usize| if times[at] >= life.end { 6.0 } else { last / 4.0 };
        let cut_width: f64 = (0..gaps.len()).filter(|at| cut[*at]).map(width_of).sum();
        let straight: u128 = (0..gaps.len()).filter(|at| !cut[*at]).map(|at| gaps[at]).sum();
        let scale = if straight == 0 { 0.0 } else { (last - cut_width).max(0.0) / straight as f64 };

        let mut column = 0.0;
        let mut axis = Axis { stops: Vec::new(), breaks: Vec::new() };
        axis.stops.extend(times.first().map(|first| (*first, 0.0)));
        for (at, gap) in gaps.iter().enumerate() {
            let width = if cut[at] { width_of(at) } else { *gap as f64 * scale };
            if cut[at] {
                axis.breaks.push((column + width / 2.0) as usize);
            }
            column += width;
            axis.stops.push((times[at + 1], column));
        }
        axis
    }

    /// The column of a moment.
    pub fn column(&self, moment: Instant) -> usize {
        let after = self.stops.partition_point(|(time, _)| *time < moment);
        match (after.checked_sub(1).map(|before| self.stops[before]), self.stops.get(after)) {
            (_, Some((time, column))) if *time == moment => column.round() as usize,
            (Some((from, left)), Some((to, right))) => {
                let part = (moment - from).as_secs_f64() / (*to - from).as_secs_f64();
                (left + part * (right - left)).round() as usize
            }
            (Some((_, column)), None) => column.round() as usize,
            (None, _) => 0,
        }
    }
}

/// Every moment at which something in the picture begins or ends, once each, ascending.
fn moments(life: &Life) -> Vec<Instant> {
    let mut times = vec![life.origin, life.end];
    for lane in &life.lanes {
        times.push(lane.start);
        match &lane.shape {
            Shape::Point | Shape::Nothing => {}
            Shape::Marks { at, .. } => times.extend(at),
            Shape::Spans { spans, .. } => {
                times.extend(spans.iter().flat_map(|span| [Some(span.start), span.end]).flatten())
            }
            Shape::Grace { end } => times.push(*end),
        }
    }
    times.sort_unstable();
    times.dedup();
    times
}

/// Whether no hook ran in a gap between two neighbouring moments.
fn is_idle(life: &Life, from: Instant, to: Instant) -> bool {
    !life.lanes.iter().any(|lane| match &lane.shape {
        Shape::Spans { spans, hook: Some(_) } => {
            spans.iter().any(|span| span.start <= from && span.end.unwrap_or(life.end) >= to)
        }
        _ => false,
    })
}

/// At most two pauses of the life, longest first, and what the grace period has left after it.
fn choose_cuts(life: &Life, times: &[Instant], gaps: &[u128], idle: &[bool]) -> Vec<bool> {
    let mut cut = vec![false; gaps.len()];
    let hooked = life.lanes.iter().any(|lane| matches!(lane.shape, Shape::Spans { hook: Some(_), .. }));
    let in_life: Vec<usize> = (0..gaps.len()).filter(|at| times[*at] < life.end).collect();
    let lived: u128 = in_life.iter().map(|at| gaps[*at]).sum();
    let mut left = lived;
    // Without a hook there is nothing to make room for.
    for _ in 0..if hooked { 2 } else { 0 } {
        let longest = in_life.iter().copied().filter(|at| idle[*at] && !cut[*at]).max_by_key(|at| gaps[*at]);
        match longest {
            Some(at) if gaps[at] > TOO_LONG * (left - gaps[at]) && left > gaps[at] => {
                cut[at] = true;
                left -= gaps[at];
            }
            _ => break,
        }
    }
    for at in 0..gaps.len() {
        if times[at] >= life.end && gaps[at] * 6 > left {
            cut[at] = true;
        }
    }
    cut
}
