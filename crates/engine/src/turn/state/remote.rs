//! Callers that wait for other orchestrators.

use std::collections::BTreeMap;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::saga::Status;
use tokio::sync::oneshot;

use crate::error::VerbError;

/// The time limit for the owner's answer to a verb.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Callers that wait for other orchestrators.
#[derive(Default)]
pub(crate) struct RemoteSagas {
    /// Handed verbs by id, with the caller's channel and the deadline.
    pub pending: BTreeMap<String, (oneshot::Sender<Result<Status, VerbError>>, Timestamp)>,
    pub next: Option<Timestamp>,
}

impl RemoteSagas {
    /// Schedules a poll at `now`, unless one is scheduled.
    pub fn poll_soon(&mut self, now: Timestamp) {
        self.next.get_or_insert(now);
    }

    /// Brings deadlines forward after the clock was set back to `now`.
    pub fn redraw(&mut self, now: Timestamp) {
        self.next = self.next.map(|next| next.min(now));
        self.pending.values_mut().for_each(|(_, until)| *until = (*until).min(now.plus(PATIENCE)));
    }

    /// Returns when the next poll is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.next
    }
}
