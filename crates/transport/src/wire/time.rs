//! A time in the format of CloudEvents: RFC 3339, in UTC, with milliseconds.

use std::fmt::Write;

use sagamore_core::Timestamp;

const DAY_MS: i64 = 86_400_000;
/// The range of RFC 3339, whose years have four digits: 0001-01-01 to the last millisecond of 9999.
const EARLIEST: i64 = -62_135_596_800_000;
const LATEST: i64 = 253_402_300_799_999;

/// Writes `2026-11-29T20:31:05.125Z`.
pub(super) fn write_time(out: &mut String, Timestamp(ms): Timestamp) {
    let ms = ms.clamp(EARLIEST, LATEST);
    let (days, of_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    let ms = of_day % 1_000;
    let written =
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z");
    written.expect("a String takes all that is written to it");
}

/// Converts days since 1970 into year, month and day, by Hinnant's `civil_from_days`. Its years
/// start in March, so that a leap day is the last day.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let since_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * since_march + 2) / 5 + 1;
    let month = if since_march < 10 { since_march + 3 } else { since_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_rfc_3339() {
        let check = |ms: i64, wanted: &str| {
            let mut text = String::new();
            write_time(&mut text, Timestamp(ms));
            assert_eq!(text, wanted);
        };
        check(0, "1970-01-01T00:00:00.000Z");
        check(-1, "1969-12-31T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_795_984_265_125, "2026-11-29T20:31:05.125Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
        check(i64::MAX, "9999-12-31T23:59:59.999Z");
        check(i64::MIN, "0001-01-01T00:00:00.000Z");
    }
}
