//! Durations such as `30s`, on command lines and in test files.

use std::time::Duration;

/// Maximum duration, which keeps time arithmetic in range.
const DURATION_MAX: Duration = Duration::from_secs(3_650 * 24 * 3_600);

/// Parses `30s`, `500ms`, `2m`, `1h`, `7d`, or a number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let invalid = || format!("'{text}' is not a duration: write 30s, 500ms, 2m, 1h or 7d");
    let number: u64 = number.parse().map_err(|_| invalid())?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" | "" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        "h" => Duration::from_secs(number.saturating_mul(3_600)),
        "d" => Duration::from_secs(number.saturating_mul(24 * 3_600)),
        _ => return Err(invalid()),
    };
    match duration <= DURATION_MAX {
        true => Ok(duration),
        false => Err(format!(
            "'{text}' is too long: use at most {}d",
            DURATION_MAX.as_secs() / (24 * 3_600)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("soon").is_err());
        assert_eq!(duration("3650d"), Ok(DURATION_MAX));
        for text in [
            "3651d",
            "18446744073709551615s",
            "18446744073709551615d",
            "18446744073709551616s",
            "",
            "s",
            "-1s",
            "1.5s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
