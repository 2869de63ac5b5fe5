//! The sagas that cannot be stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sagamore_core::id::SagaId;
use sagamore_core::saga::StorageFault;
use sagamore_core::{Saga, Timestamp};

use crate::turn::strays::Stray;

/// The first pause before a saga that could not be stored is tried again; doubled by each failure.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Maximum replies held for sagas that cannot be stored. Further ones are dropped: their commands
/// are resent.
const REPLIES_MAX: usize = 1_000;
/// Maximum bytes of those replies.
const REPLIES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The sagas whose last attempt to be stored failed.
#[derive(Default)]
pub(crate) struct BlockedSagas {
    pub sagas: BTreeMap<SagaId, BlockedSaga>,
    replies: usize,
    reply_bytes: usize,
    /// Sagas whose row in `blocked` is out of date.
    pub unwritten: BTreeSet<SagaId>,
}

pub(crate) struct BlockedSaga {
    pub fault: StorageFault,
    /// The time of the next attempt. `None` after an attempt with nothing to store: the next
    /// arrival then triggers an attempt.
    pub retry_at: Option<Timestamp>,
    pub replies: Vec<Stray>,
}

impl BlockedSagas {
    /// Shows the fault of a saga that is about to be decided.
    pub fn show(&self, saga: &mut Saga) {
        saga.unstored = self.sagas.get(&saga.id).map(|block| Box::new(block.fault.clone()));
    }

    /// Returns the lowest offset of this partition's held replies.
    pub fn lowest(&self, partition: u32) -> Option<u64> {
        let replies = self.sagas.values().flat_map(|block| &block.replies);
        let of_partition = replies.filter(|stray| stray.delivery.partition == partition);
        of_partition.map(|stray| stray.delivery.offset).min()
    }

    /// Whether no reply is held.
    pub fn holds_no_reply(&self) -> bool {
        self.replies == 0
    }

    /// Drops the replies, which are redelivered.
    pub fn forget_replies(&mut self) {
        self.sagas.values_mut().for_each(|block| block.replies.clear());
        (self.replies, self.reply_bytes) = (0, 0);
    }

    /// Returns when the next attempt is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.sagas.values().filter_map(|block| block.retry_at).min()
    }

    /// Shortens pauses after the clock was set back to `now`.
    pub fn redraw(&mut self, now: Timestamp) {
        for block in self.sagas.values_mut() {
            block.retry_at = block.retry_at.map(|at| at.min(now.plus(PAUSE_MAX)));
            block.fault.since = block.fault.since.min(now);
        }
    }

    /// Drops sagas that this orchestrator no longer knows. Their stored faults remain.
    pub fn retain(&mut self, is_known: impl Fn(&SagaId) -> bool) {
        let gone: Vec<SagaId> = self.sagas.keys().filter(|id| !is_known(id)).cloned().collect();
        for id in gone {
            self.unwritten.remove(&id);
            self.remove(&id);
        }
    }

    /// Removes a saga that was stored, or that has another owner.
    pub fn remove(&mut self, id: &SagaId) -> Option<BlockedSaga> {
        let block = self.sagas.remove(id)?;
        self.uncount(&block.replies);
        Some(block)
    }

    fn uncount(&mut self, replies: &[Stray]) {
        self.replies -= replies.len();
        self.reply_bytes -=
            replies.iter().map(|stray| stray.delivery.record.bytes()).sum::<usize>();
    }

    pub fn hold(&mut self, id: &SagaId, reply: Stray) {
        let bytes = self.reply_bytes + reply.delivery.record.bytes();
        let Some(block) = self.sagas.get_mut(id) else { return };
        if self.replies >= REPLIES_MAX || bytes > REPLIES_BYTES_MAX {
            // its command is resent
            metrics::counter!("sagamore_dropped_replies_total").increment(1);
            return;
        }
        block.replies.push(reply);
        (self.replies, self.reply_bytes) = (self.replies + 1, bytes);
    }

    pub fn take_replies(&mut self, id: &SagaId) -> Vec<Stray> {
        let replies = self
            .sagas
            .get_mut(id)
            .map(|block| std::mem::take(&mut block.replies))
            .unwrap_or_default();
        self.uncount(&replies);
        replies
    }

    pub fn fails(&mut self, id: &SagaId, text: String, now: Timestamp) {
        let fault = StorageFault { text: String::new(), count: 0, since: now };
        let block = self.sagas.entry(id.clone()).or_insert(BlockedSaga {
            fault,
            retry_at: None,
            replies: Vec::new(),
        });
        block.fault.text = text;
        block.fault.count = block.fault.count.saturating_add(1);
        let doublings = (block.fault.count - 1).min(16);
        block.retry_at = Some(now.plus((PAUSE_MIN * (1 << doublings)).min(PAUSE_MAX)));
        self.unwritten.insert(id.clone());
    }
}
