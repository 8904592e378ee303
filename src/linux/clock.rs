//! The clocks, and the boot that the monotonic one belongs to.

use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::lifecycle::time::Instant;

/// The present moment on CLOCK_MONOTONIC. Deadlines are made of this one only (threats.md R20).
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has a monotonic clock");
    Instant(time.tv_sec().unsigned_abs() * 1_000_000_000 + time.tv_nsec().unsigned_abs())
}

/// The present wall time (CLOCK_REALTIME) since 1970-01-01T00:00:00Z. For people to read; nothing is decided by it.
/// Zero where the clock is set before 1970.
pub fn wall() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_REALTIME).expect("every Linux has a wall clock");
    match u64::try_from(time.tv_sec()) {
        Ok(seconds) => Duration::new(seconds, time.tv_nsec().unsigned_abs() as u32),
        Err(_) => Duration::ZERO,
    }
}

/// The wall time of a moment that has passed.
pub fn wall_at(moment: Instant) -> Duration {
    wall().saturating_sub(Duration::from_nanos(now().0.saturating_sub(moment.0)))
}

/// The kernel's random id of this boot, `/proc/sys/kernel/random/boot_id`: 36 characters, no line end.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let before = now();
        assert!(now() >= before);
    }

    #[test]
    fn the_wall_clock_agrees_with_the_standard_library() {
        let std = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(wall().abs_diff(std) < Duration::from_secs(5));
    }

    #[test]
    fn a_boot_has_an_id() {
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
