//! From time to a place in the picture: a straight line, except that a long pause in which no hook ran is cut short.

use super::super::time::Instant;
use super::{Lane, Life, Shape};

/// Where each moment of a life, or of several that are drawn together, has its place.
pub struct Axis {
    /// The moments at which something begins or ends, with their places; both ascend.
    stops: Vec<(Instant, f64)>,
    /// Where time was cut short: from and to.
    pub cuts: Vec<(f64, f64)>,
    cut_times: Vec<(Instant, Instant)>,
    /// How far apart two moments a second apart are, where time was not cut.
    pub per_second: f64,
}

/// A pause that is this many times as long as all the rest is cut.
const TOO_LONG: u128 = 4;

impl Axis {
    /// From 0 to `length`; what is left of a grace period after the end of the life gets `tail`, if it is too long.
    pub fn new(lives: &[Life], length: f64, tail: f64) -> Axis {
        let times = moments(lives);
        let end = lives.iter().map(|life| life.end).max().unwrap_or(Instant(0));
        let gaps: Vec<u128> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_nanos()).collect();
        let idle: Vec<bool> = times.windows(2).map(|pair| is_idle(lives, pair[0], pair[1])).collect();
        let cut = choose_cuts(lives, &times, &gaps, &idle);
        // A cut pause in a life takes a quarter of the line, what is left of the grace period after it a little.
        let width_of = |at: usize| if times[at] >= end { tail } else { length / 4.0 };
        let cut_width: f64 = (0..gaps.len()).filter(|at| cut[*at]).map(width_of).sum();
        let straight: u128 = (0..gaps.len()).filter(|at| !cut[*at]).map(|at| gaps[at]).sum();
        let scale = if straight == 0 { 0.0 } else { (length - cut_width).max(0.0) / straight as f64 };

        let mut place = 0.0;
        let mut axis = Axis { stops: Vec::new(), cuts: Vec::new(), cut_times: Vec::new(), per_second: scale * 1e9 };
        axis.stops.extend(times.first().map(|first| (*first, 0.0)));
        for (at, gap) in gaps.iter().enumerate() {
            let width = if cut[at] { width_of(at) } else { *gap as f64 * scale };
            if cut[at] {
                axis.cuts.push((place, place + width));
                axis.cut_times.push((times[at], times[at + 1]));
            }
            place += width;
            axis.stops.push((times[at + 1], place));
        }
        axis
    }

    /// Where a moment is.
    pub fn place(&self, moment: Instant) -> f64 {
        let after = self.stops.partition_point(|(time, _)| *time < moment);
        match (after.checked_sub(1).map(|before| self.stops[before]), self.stops.get(after)) {
            (_, Some((time, place))) if *time == moment => *place,
            (Some((from, left)), Some((to, right))) => {
                let part = (moment - from).as_secs_f64() / (*to - from).as_secs_f64();
                left + part * (right - left)
            }
            (Some((_, place)), None) => place,
            (None, _) => 0.0,
        }
    }

    /// The end of the pause that was cut short, if the moment lies inside of one.
    pub fn cut_after(&self, moment: Instant) -> Option<Instant> {
        self.cut_times.iter().find(|(from, to)| *from < moment && moment < *to).map(|(_, to)| *to)
    }

    /// The column of a moment in a terminal.
    pub fn column(&self, moment: Instant) -> usize {
        self.place(moment).round() as usize
    }

    /// Columns at which time was cut short.
    pub fn breaks(&self) -> impl Iterator<Item = usize> {
        self.cuts.iter().map(|(from, to)| f64::midpoint(*from, *to) as usize)
    }
}

/// Every moment at which something in the picture begins or ends, once each, ascending.
fn moments(lives: &[Life]) -> Vec<Instant> {
    let mut times: Vec<Instant> = lives.iter().flat_map(|life| [life.origin, life.end]).collect();
    for lane in lives.iter().flat_map(|life| &life.lanes) {
        times.push(lane.start);
        match &lane.shape {
            Shape::Point | Shape::Nothing => {}
            Shape::Marks { at, .. } => times.extend(at),
            Shape::Spans { spans } => {
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
fn is_idle(lives: &[Life], from: Instant, to: Instant) -> bool {
    let ran = |life: &Life, lane: &Lane| match &lane.shape {
        Shape::Spans { spans } if lane.hook.is_some() => {
            spans.iter().any(|span| span.start <= from && span.end.unwrap_or(life.end) >= to)
        }
        _ => false,
    };
    !lives.iter().any(|life| life.lanes.iter().any(|lane| ran(life, lane)))
}

/// At most two pauses of the life, longest first, and what the grace period has left after it.
fn choose_cuts(lives: &[Life], times: &[Instant], gaps: &[u128], idle: &[bool]) -> Vec<bool> {
    let mut cut = vec![false; gaps.len()];
    let end = lives.iter().map(|life| life.end).max().unwrap_or(Instant(0));
    let mut lanes = lives.iter().flat_map(|life| &life.lanes);
    let hooked = lanes.any(|lane| lane.hook.is_some() && matches!(lane.shape, Shape::Spans { .. }));
    let in_life: Vec<usize> = (0..gaps.len()).filter(|at| times[*at] < end).collect();
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
        if times[at] >= end && gaps[at] * 6 > left {
            cut[at] = true;
        }
    }
    cut
}
