//! Wall time as text: RFC 3339 in UTC with nanoseconds, for journal, status and logs.

use std::time::Duration;

/// How long a time written by `rfc3339` is, up to the year 9999.
pub const RFC3339_LEN: usize = "2026-01-01T00:00:00.000000000Z".len();

/// `2026-01-02T03:04:05.000000006Z`, of a time since 1970-01-01T00:00:00Z.
pub fn rfc3339(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since_epoch.subsec_nanos())
}

/// The reverse of `rfc3339`; None for any other form.
pub fn parse_rfc3339(text: &str) -> Option<Duration> {
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (29, b'Z')];
    if bytes.len() != RFC3339_LEN || !text.is_ascii() || separators.iter().any(|(at, byte)| bytes[*at] != *byte) {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60
    {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Duration::new(seconds, number(20, 29)? as u32))
}

// Both count years from March, so that the leap day is the last of a year; a 400-year era has 146097 days, and
// 719468 days lie between 0000-03-01 and 1970-01-01.

fn civil(days_since_epoch: u64) -> (u64, u64, u64) {
    let days = days_since_epoch + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = if months_since_march < 10 { months_since_march + 3 } else { months_since_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let months_since_march = (month + 9) % 12;
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_nanoseconds() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000007Z"),
            (1_798_761_600, "2027-01-01T00:00:00.000000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000007Z"),
        ] {
            assert_eq!(rfc3339(Duration::new(seconds, 7)), text);
            assert_eq!(parse_rfc3339(text), Some(Duration::new(seconds, 7)));
        }
    }

    #[test]
    fn every_day_of_five_centuries_reads_back_as_it_was_written() {
        for day in 0..182_625 {
            let time = Duration::from_secs(day * 86_400 + 12_345);
            assert_eq!(parse_rfc3339(&rfc3339(time)), Some(time));
        }
    }

    #[test]
    fn other_forms_are_not_read() {
        for text in [
            "",
            "2026-01-01",
            "2026-13-01T00:00:00.000000000Z",
            "2026-01-01T00:00:00.000000000+",
            "aaaa-aa-aaTaa:aa:aa.aaaaaaaaaZ",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
