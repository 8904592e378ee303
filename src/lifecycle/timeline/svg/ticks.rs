//! Round numbers on the axis.

use std::time::Duration;

use super::super::super::time::Instant;
use super::super::axis::Axis;

/// A moment with the words that stand below it.
pub struct Tick {
    pub place: f64,
    pub words: String,
}

/// Steps that people count in, in milliseconds.
const STEPS: [u64; 31] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1000,
    2000,
    5000,
    10_000,
    15_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    172_800_000,
    604_800_000,
    1_209_600_000,
    2_419_200_000,
];

/// Every multiple of the smallest step that leaves `apart` pixels between two ticks, from `origin` to `end`. There is none
/// where time was cut.
pub fn ticks(axis: &Axis, origin: Instant, end: Instant, apart: f64) -> Vec<Tick> {
    let step = STEPS.into_iter().find(|step| *step as f64 / 1000.0 * axis.per_second >= apart);
    let Some(step) = step else { return Vec::new() };
    let by_clock = end - origin >= Duration::from_secs(600);
    let mut ticks = Vec::new();
    let mut at = Duration::ZERO;
    while at <= end - origin {
        let place = axis.place(origin + at);
        match axis.cut_after(origin + at) {
            // On past the cut at once: it may be days long.
            Some(until) => {
                let steps = (until - origin).as_millis() as u64 / step;
                at = Duration::from_millis(step * steps).max(at);
            }
            None => ticks.push(Tick { place, words: words(at, step, by_clock) }),
        }
        at += Duration::from_millis(step);
    }
    ticks
}

fn words(at: Duration, step: u64, by_clock: bool) -> String {
    let (millis, secs) = (at.as_millis(), at.as_secs());
    match step {
        _ if at.is_zero() => "0".to_owned(),
        1..100 if millis < 1000 => format!("{millis}ms"),
        1..10 => format!("{:.3}s", at.as_secs_f64()),
        10..100 => format!("{:.2}s", at.as_secs_f64()),
        100..1000 => format!("{:.1}s", at.as_secs_f64()),
        60_000.. if secs < 3600 => format!("{}m", secs / 60),
        60_000.. if secs.is_multiple_of(3600) => format!("{}h", secs / 3600),
        60_000.. => format!("{}h{:02}m", secs / 3600, secs / 60 % 60),
        _ if by_clock => format!("{}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60),
        _ if secs >= 60 => format!("{}:{:02}", secs / 60, secs % 60),
        _ => format!("{secs}s"),
    }
}
