//! Partitions that do not advance although records are available and the consumer is polled.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::names::Key;

/// A partition that does not advance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Stall {
    /// The group that consumes the partition.
    pub group: String,
    pub topic: String,
    pub partition: u32,
    /// The offset of the first unfinished record.
    pub position: u64,
    /// The offset after the last record.
    pub end: u64,
    /// Time since the position last changed.
    pub lasts: Duration,
}

impl Stall {
    /// Returns whether both are of the same partition.
    pub(crate) fn is_of(&self, other: &Stall) -> bool {
        self.partition == other.partition && self.topic == other.topic
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stall { group, topic, partition, position, end, lasts } = self;
        let seconds = lasts.as_secs();
        write!(
            formatter,
            "{topic}[{partition}] has not advanced for {seconds} s: group {group} is at {position} \
             of {end}"
        )
    }
}

/// The positions of lagging partitions, and since when each has not changed.
#[derive(Debug)]
pub(crate) struct Standing {
    /// The time without progress after which a partition is stalled.
    limit: Duration,
    since: HashMap<Key, (u64, Instant)>,
}

/// A group's offset in one partition, and the partition's end.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub key: Key,
    pub position: u64,
    pub end: u64,
}

impl Standing {
    pub fn new(limit: Duration) -> Standing {
        Standing { limit, since: HashMap::new() }
    }

    /// Records the current positions. Returns the stalled partitions.
    pub fn observe(&mut self, group: &str, places: Vec<Place>, now: Instant) -> Vec<Stall> {
        let mut since = HashMap::with_capacity(places.len());
        let mut stalled = Vec::new();
        for Place { key, position, end } in
            places.into_iter().filter(|place| place.position < place.end)
        {
            let begun = self
                .since
                .get(&key)
                .filter(|(known, _)| *known == position)
                .map_or(now, |(_, begun)| *begun);
            let lasts = now.saturating_duration_since(begun);
            if lasts >= self.limit {
                let (topic, partition) = (key.0.to_string(), key.1);
                stalled.push(Stall {
                    group: group.to_owned(),
                    topic,
                    partition,
                    position,
                    end,
                    lasts,
                });
            }
            since.insert(key, (position, begun));
        }
        self.since = since;
        stalled
    }

    /// Forgets all positions, because the consumer is not polled.
    pub fn reset(&mut self) {
        self.since.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn a_lagging_partition_without_progress_is_stalled_after_the_limit() {
        let (begun, mut standing) = (Instant::now(), Standing::new(LIMIT));
        let mut observe = |seconds, position, end| {
            let place = Place { key: ("payment.commands".into(), 3), position, end };
            let now = begun + Duration::from_secs(seconds);
            standing
                .observe("payment", vec![place], now)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let none: [String; 0] = [];
        assert_eq!(observe(0, 7, 7), none, "there is nothing to read");
        assert_eq!(observe(100, 7, 9), none, "the lag is new");
        assert_eq!(observe(125, 8, 9), none, "it has advanced");
        assert_eq!(observe(154, 8, 12), none, "not for long enough");
        let told = "payment.commands[3] has not advanced for 31 s: group payment is at 8 of 12";
        assert_eq!(observe(156, 8, 12), [told]);
        assert_eq!(observe(157, 9, 12), none, "it advances again");
    }

    #[test]
    fn a_partition_that_returns_from_another_consumer_starts_again() {
        let (begun, mut standing) = (Instant::now(), Standing::new(LIMIT));
        let place = || vec![Place { key: ("payment.commands".into(), 3), position: 8, end: 9 }];
        let late = begun + LIMIT;
        assert!(standing.observe("payment", place(), begun).is_empty());
        assert!(standing.observe("payment", Vec::new(), begun).is_empty());
        assert!(standing.observe("payment", place(), late).is_empty());
        assert_eq!(standing.observe("payment", place(), late + LIMIT).len(), 1);
        standing.reset();
        assert!(standing.observe("payment", place(), late + LIMIT).is_empty());
    }
}
