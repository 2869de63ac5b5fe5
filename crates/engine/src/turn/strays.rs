//! Replies to missing sagas, as after a restored backup: retried for a short time, then dead
//! letters. Until then they hold back the partition's committed offset, so that a crash redelivers
//! them.

use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::message::Reply;
use sagamore_transport::{Delivery, Record};

use super::letters::{RejectReason, reject};

/// The time limit of the retries.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause between retries.
const PAUSE: Duration = Duration::from_millis(200);
/// Maximum held replies. Further ones become dead letters at once.
const STRAYS_MAX: usize = 1_000;
/// Maximum bytes of held replies.
const STRAYS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A reply as delivered, with the time of its first delivery.
#[derive(Clone)]
pub(crate) struct Stray {
    pub reply: Reply,
    pub delivery: Delivery,
    pub first_seen: Timestamp,
    /// Whether the record is a dead letter already, and the reply stands for a fault of the step.
    pub is_dead: bool,
}

/// The replies that wait for their saga.
#[derive(Default)]
pub(crate) struct Strays {
    waiting: Vec<(Timestamp, Stray)>,
}

impl Strays {
    /// Holds the reply for a retry, or returns its dead letter.
    pub fn hold(&mut self, stray: Stray, now: Timestamp) -> Option<Record> {
        let bytes: usize =
            self.waiting.iter().map(|(_, stray)| stray.delivery.record.bytes()).sum();
        let is_full = self.waiting.len() >= STRAYS_MAX
            || bytes + stray.delivery.record.bytes() > STRAYS_BYTES_MAX;
        if now >= stray.first_seen.plus(PATIENCE) || is_full {
            let reason = format!("saga {} does not exist", stray.reply.key.saga);
            return (!stray.is_dead)
                .then(|| reject(&stray.delivery, RejectReason::NoSaga, &reason));
        }
        self.waiting.push((now.plus(PAUSE), stray));
        None
    }

    /// Takes the replies whose retry is due.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Stray> {
        let (due, waiting) = self.waiting.drain(..).partition(|(at, _)| *at <= now);
        self.waiting = waiting;
        let due: Vec<(Timestamp, Stray)> = due;
        due.into_iter().map(|(_, stray)| stray).collect()
    }

    /// Shortens pauses and time limits after the clock was set back to `now`.
    pub fn redraw(&mut self, now: Timestamp) {
        for (at, stray) in &mut self.waiting {
            *at = (*at).min(now.plus(PAUSE));
            stray.first_seen = stray.first_seen.min(now);
        }
    }

    /// Returns when the next retry is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|(at, _)| *at).min()
    }

    /// Returns the lowest offset of this partition's held replies.
    pub fn lowest(&self, partition: u32) -> Option<u64> {
        let of_partition =
            self.waiting.iter().filter(|(_, stray)| stray.delivery.partition == partition);
        of_partition.map(|(_, stray)| stray.delivery.offset).min()
    }

    /// Drops all replies, which are redelivered.
    pub fn forget(&mut self) {
        self.waiting.clear();
    }
}
