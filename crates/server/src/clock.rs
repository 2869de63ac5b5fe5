//! Conversion of timestamps to and from RFC 3339, and the current time.

use sagamore_core::Timestamp;
use sagamore_database::{Clock, Database, Error};

/// Returns this process's time.
pub fn now() -> Timestamp {
    Timestamp(Clock::process().now_ms())
}

/// Returns the current time of a database. For PostgreSQL, that is the server's clock.
pub async fn of(database: &Database) -> Result<Timestamp, Error> {
    let clock = Clock::of(database);
    clock.sample().await?;
    Ok(Timestamp(clock.now_ms()))
}

/// Formats a timestamp as RFC 3339 in UTC: `2026-11-23T20:22:00.123Z`.
pub fn rfc3339(moment: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(moment.0)
        .map_or_else(|_| moment.to_string(), |time| format!("{time:.3}"))
}

/// Parses a timestamp as written by [`rfc3339`].
pub fn from_rfc3339(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|time| Timestamp(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_survives_a_round_trip() {
        let moment = Timestamp(1_700_000_000_120);
        assert_eq!(rfc3339(moment), "2023-11-14T22:13:20.120Z");
        assert_eq!(from_rfc3339(&rfc3339(moment)), Some(moment));
    }
}
