//! Whether an orchestrator can consume the replies of its partitions.
//!
//! An orchestrator that cannot is no member, because its sagas would make no progress. It then owns
//! no partition, so that only time can show whether it could consume again.

use std::time::Duration;

use sagamore_core::Timestamp;

/// Maximum doublings of the time for which a failure counts.
const DOUBLINGS_MAX: u32 = 7;

/// The failures to subscribe to reply partitions or to poll them.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    failed_at: Option<Timestamp>,
    /// The number of spells of failures, each of which counts for twice as long as the one before.
    spells: u32,
}

impl Reads {
    /// Records that a subscription or a poll failed.
    pub fn failed(&mut self, now: Timestamp, lease: Duration) {
        if !self.fail(now, lease) {
            self.spells += 1;
        }
        self.failed_at = Some(now);
    }

    /// Records a poll without error. An empty poll proves little, because a client library reports
    /// a missing permission late. The failures are therefore cleared two leases after the last one.
    pub fn succeeded(&mut self, has_records: bool, now: Timestamp, lease: Duration) {
        if has_records || self.failed_at.is_none_or(|at| now.since(at) > lease * 2) {
            *self = Reads::default();
        }
    }

    /// Returns whether replies cannot be consumed, as far as known. The first failures count for
    /// half a lease only: after an outage of the brokers, the last member to recover is not
    /// evicted.
    pub fn fail(&self, now: Timestamp, lease: Duration) -> bool {
        let doublings = self.spells.saturating_sub(1).min(DOUBLINGS_MAX);
        self.failed_at.is_some_and(|at| now.since(at) < lease / 2 * 2_u32.pow(doublings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(4);

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000)
    }

    #[test]
    fn each_spell_of_failures_counts_twice_as_long_until_replies_are_read() {
        let mut reads = Reads::default();
        assert!(!reads.fail(at(0), LEASE));
        reads.failed(at(0), LEASE);
        reads.failed(at(1), LEASE);
        assert!(reads.fail(at(2), LEASE) && !reads.fail(at(3), LEASE));
        reads.failed(at(10), LEASE);
        assert!(reads.fail(at(13), LEASE) && !reads.fail(at(14), LEASE));
        reads.succeeded(false, at(17), LEASE);
        reads.failed(at(20), LEASE);
        assert!(reads.fail(at(27), LEASE), "an empty poll soon after a failure proves nothing");
        reads.succeeded(true, at(27), LEASE);
        assert!(!reads.fail(at(27), LEASE));
        reads.failed(at(30), LEASE);
        reads.succeeded(false, at(39), LEASE);
        reads.failed(at(40), LEASE);
        assert!(!reads.fail(at(42), LEASE), "two leases without a failure");
        for spell in 0..20 {
            reads.failed(at(10_000 * spell), LEASE);
        }
        assert!(!reads.fail(at(190_000 + 256), LEASE), "bounded");
    }
}
