//! Which partitions do not advance, though there is something to read and the consumer is polled.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::intake::Key;

/// A partition that does not advance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The group that reads it.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset of the first record that is not done with.
    pub position: u64,
    /// The offset behind the last record.
    pub end: u64,
    /// How long the position has been the same.
    pub lasts: Duration,
}

impl Stall {
    /// Whether both are of one partition.
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
            "{topic}[{partition}] has not advanced for {seconds} s: group {group} is at {position} of {end}"
        )
    }
}

/// Since when each partition that lags has stood where it stands.
#[derive(Debug)]
pub(crate) struct Standing {
    /// From here on a partition is stalled.
    limit: Duration,
    since: HashMap<Key, (u64, Instant)>,
}

/// Where a group stands in one partition, and how far that goes.
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

    /// Takes note of where the partitions stand now. Returns those that are stalled.
    pub fn look(&mut self, group: &str, places: Vec<Place>, now: Instant) -> Vec<Stall> {
        let mut since = HashMap::with_capacity(places.len());
        let mut stalled = Vec::new();
        for Place { key, position, end } in places.into_iter().filter(|place| place.position < place.end) {
            let begun = self.since.get(&key).filter(|(known, _)| *known == position).map_or(now, |(_, begun)| *begun);
            let lasts = now.saturating_duration_since(begun);
            if lasts >= self.limit {
                let (topic, partition) = (key.0.to_string(), key.1);
                stalled.push(Stall { group: group.to_owned(), topic, partition, position, end, lasts });
            }
            since.insert(key, (position, begun));
        }
        self.since = since;
        stalled
    }

    /// Nothing is expected to advance: the consumer is not polled.
    pub fn reset(&mut self) {
        self.since.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn a_partition_that_lags_and_stands_is_stalled_after_a_while() {
        let (begun, mut standing) = (Instant::now(), Standing::new(LIMIT));
        let mut look = |seconds, position, end| {
            let place = Place { key: ("payment.commands".into(), 3), position, end };
            let now = begun + Duration::from_secs(seconds);
            standing.look("payment", vec![place], now).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let none: [String; 0] = [];
        assert_eq!(look(0, 7, 7), none, "there is nothing to read");
        assert_eq!(look(100, 7, 9), none, "that there is something to read is new");
        assert_eq!(look(125, 8, 9), none, "it has advanced");
        assert_eq!(look(154, 8, 12), none, "not for long enough");
        let told = "payment.commands[3] has not advanced for 31 s: group payment is at 8 of 12";
        assert_eq!(look(156, 8, 12), [told]);
        assert_eq!(look(157, 9, 12), none, "it goes on");
    }

    #[test]
    fn a_partition_that_went_to_another_consumer_and_came_back_begins_again() {
        let (begun, mut standing) = (Instant::now(), Standing::new(LIMIT));
        let place = || vec![Place { key: ("payment.commands".into(), 3), position: 8, end: 9 }];
        let late = begun + LIMIT;
        assert!(standing.look("payment", place(), begun).is_empty());
        assert!(standing.look("payment", Vec::new(), begun).is_empty());
        assert!(standing.look("payment", place(), late).is_empty());
        assert_eq!(standing.look("payment", place(), late + LIMIT).len(), 1);
        standing.reset();
        assert!(standing.look("payment", place(), late + LIMIT).is_empty());
    }
}
