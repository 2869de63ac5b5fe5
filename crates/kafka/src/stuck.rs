//! Partitions from which the client library fetches nothing although the brokers have records. The
//! library does not recover from some states.
//!
//! A recreated partition has a lower leader epoch than the library remembers, and it ignores such
//! leaders. A new consumer has no such memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::names::Key;

/// The interval between comparisons with the brokers.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// Number of consecutive comparisons without a fetch after which a partition is stuck.
const COMPARISONS: u32 = 2;

/// The partitions without a fetch since the last comparison.
pub(crate) struct Stuck {
    compared: Instant,
    /// The last fetch offset of each partition, and the number of comparisons in which it lagged
    /// there.
    known: HashMap<Key, (Option<u64>, u32)>,
}

impl Stuck {
    pub fn new(now: Instant) -> Stuck {
        Stuck { compared: now, known: HashMap::new() }
    }

    /// Returns whether a comparison is due.
    pub fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.compared) >= COMPARE_EVERY
    }

    /// Forgets all partitions, because another cause explains the missing fetches.
    pub fn reset(&mut self, now: Instant) {
        self.compared = now;
        self.known.clear();
    }

    /// Records the next fetch offsets. Returns the partitions to compare with the brokers.
    pub fn idle(&mut self, fetches: &HashMap<Key, Option<u64>>, now: Instant) -> Vec<Key> {
        self.compared = now;
        self.known.retain(|key, (at, _)| fetches.get(key) == Some(at));
        let idle: Vec<Key> =
            fetches.keys().filter(|key| self.known.contains_key(*key)).cloned().collect();
        for (key, at) in fetches {
            self.known.entry(key.clone()).or_insert((*at, 0));
        }
        idle
    }

    /// Compares an idle partition with its first and last offset on the brokers. Returns whether it
    /// is stuck.
    pub fn compare(&mut self, key: &Key, first: u64, end: u64) -> bool {
        let Some((at, behind)) = self.known.get_mut(key) else { return false };
        // records before the first offset were removed, and an offset beyond the end belongs to a
        // deleted topic
        *behind = if at.unwrap_or(first).max(first) == end { 0 } else { *behind + 1 };
        *behind >= COMPARISONS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        stuck: Stuck,
        now: Instant,
    }

    impl Rig {
        fn new() -> Rig {
            let now = Instant::now();
            Rig { stuck: Stuck::new(now), now }
        }

        /// Runs one comparison with a partition of `end` records. Returns whether it is stuck.
        fn compare(&mut self, at: Option<u64>, end: u64) -> bool {
            self.now += COMPARE_EVERY;
            let key: Key = ("payment.commands".into(), 0);
            let idle = self.stuck.idle(&HashMap::from([(key, at)]), self.now);
            idle.iter().any(|key| self.stuck.compare(key, 0, end))
        }
    }

    #[test]
    fn a_partition_that_fetches_no_available_record_is_stuck() {
        for at in [None, Some(4), Some(20)] {
            let mut rig = Rig::new();
            assert_eq!([(); 4].map(|()| rig.compare(at, 9)), [false, false, true, true], "{at:?}");
        }
    }

    #[test]
    fn a_partition_that_advances_or_has_nothing_to_fetch_is_not_stuck() {
        let mut rig = Rig::new();
        assert!((0..10).all(|at| !rig.compare(Some(at), 100)), "it advances");
        assert!((0..10).all(|_| !rig.compare(Some(100), 100)), "it is at the end");
        assert!((0..10).all(|_| !rig.compare(None, 0)), "there is nothing");
        assert_eq!([rig.compare(Some(0), 5), rig.compare(Some(0), 5)], [false; 2]);
        rig.stuck.reset(rig.now);
        assert!((0..2).all(|_| !rig.compare(Some(0), 5)), "the earlier comparisons are forgotten");
    }
}
