//! Replies whose saga is not there (a backup may have been restored): tried again for a short time, then dead letters.
//! Until then the partition's mark stays before them, so that a crash delivers them again.

use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::message::Reply;
use sagamore_transport::{Delivered, Record};

use super::{Rejected, reject};

/// How long a reply without a saga is tried again.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// How many are kept; more go to the dead letters at once.
const STRAYS_MAX: usize = 1_000;
/// How many bytes they take, likewise.
const STRAYS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A reply as it came in, and when it came first.
#[derive(Clone)]
pub(crate) struct Stray {
    pub reply: Reply,
    pub delivered: Delivered,
    pub first_seen: Timestamp,
    /// Its record is a dead letter already: the reply stands for a fault of the step.
    pub is_dead: bool,
}

/// The replies that wait for their saga.
#[derive(Default)]
pub(crate) struct Strays {
    waiting: Vec<(Timestamp, Stray)>,
}

impl Strays {
    /// Keeps the reply for another try, or gives the dead letter that it becomes.
    pub fn keep(&mut self, stray: Stray, now: Timestamp) -> Option<Record> {
        let bytes: usize =
            self.waiting.iter().map(|(_, stray)| stray.delivered.record.bytes()).sum();
        let is_full = self.waiting.len() >= STRAYS_MAX
            || bytes + stray.delivered.record.bytes() > STRAYS_BYTES_MAX;
        if now >= stray.first_seen.plus(PATIENCE) || is_full {
            let reason = format!("there is no saga {}", stray.reply.key.saga);
            return (!stray.is_dead).then(|| reject(&stray.delivered, Rejected::NoSaga, &reason));
        }
        self.waiting.push((now.plus(PAUSE), stray));
        None
    }

    /// Takes those that are to be tried again.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Stray> {
        let (due, waiting) = self.waiting.drain(..).partition(|(at, _)| *at <= now);
        self.waiting = waiting;
        let due: Vec<(Timestamp, Stray)> = due;
        due.into_iter().map(|(_, stray)| stray).collect()
    }

    /// The clock was set back to `now`: no pause and no patience is longer for that.
    pub fn redraw(&mut self, now: Timestamp) {
        for (at, stray) in &mut self.waiting {
            *at = (*at).min(now.plus(PAUSE));
            stray.first_seen = stray.first_seen.min(now);
        }
    }

    /// When the next one is to be tried again.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|(at, _)| *at).min()
    }

    /// The lowest offset of this partition that is not done with.
    pub fn lowest(&self, partition: u32) -> Option<u64> {
        let of_partition =
            self.waiting.iter().filter(|(_, stray)| stray.delivered.partition == partition);
        of_partition.map(|(_, stray)| stray.delivered.offset).min()
    }

    /// Forgets all of them: they are delivered again.
    pub fn forget(&mut self) {
        self.waiting.clear();
    }
}
