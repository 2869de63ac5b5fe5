//! Detects a fetching thread that hangs inside the client library.

use std::time::{Duration, Instant};

/// Compares the thread's number of rounds over time, as far as its consumer is polled.
pub(crate) struct Watchdog {
    limit: Duration,
    /// The last number of rounds, and when it was seen first.
    rounds: (u64, Instant),
    checked: Instant,
}

impl Watchdog {
    /// Creates a watchdog for a thread that makes a round within `limit`.
    pub fn new(limit: Duration, now: Instant) -> Watchdog {
        Watchdog { limit, rounds: (0, now), checked: now }
    }

    /// Returns whether the thread has made no round for longer than the limit. Checks that are
    /// further apart than half of it prove nothing: the whole process may have been paused.
    pub fn is_hung(&mut self, rounds: u64, now: Instant) -> bool {
        let was_paused = now.duration_since(self.checked) > self.limit / 2;
        self.checked = now;
        if rounds != self.rounds.0 || was_paused {
            self.rounds = (rounds, now);
        }
        now.duration_since(self.rounds.1) > self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_without_a_round_within_the_limit_is_hung_unless_the_process_was_paused() {
        let start = Instant::now();
        let second = |second: u64| start + Duration::from_secs(second);
        let mut watchdog = Watchdog::new(Duration::from_secs(4), start);
        assert!(!watchdog.is_hung(1, second(1)));
        for at in 2..=5 {
            assert!(!watchdog.is_hung(1, second(at)), "second {at}");
        }
        assert!(watchdog.is_hung(1, second(6)));
        assert!(!watchdog.is_hung(2, second(7)), "it has made a round");
        assert!(!watchdog.is_hung(2, second(17)), "the process was paused");
        for at in 18..=21 {
            assert!(!watchdog.is_hung(2, second(at)), "second {at}");
        }
        assert!(watchdog.is_hung(2, second(22)));
    }
}
