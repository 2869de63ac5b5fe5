//! Rows that call a record sent, or that go because of it, wait here until the transport has synced that record: the
//! database survives the death of the machine, and must not be ahead of a log that does not yet.

use std::collections::{HashSet, VecDeque};

use futures_util::FutureExt;
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Name, StepKey, Timestamp};
use sagamore_database::{Database, Error as DatabaseError};
use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Error, Transport};

use crate::emitted::Unreadable;
use crate::inbox::{self, Due, Over};

/// So many rows wait at most, each a few hundred bytes; then nothing is taken out of the inbox and the outbox.
const ROWS_MAX: usize = 10_000;

/// What becomes true with a sync.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Events of the outbox that are sent.
    pub sent: Vec<StepKey>,
    /// What waits in the inbox no more.
    pub over: Vec<Over>,
}

/// Rows whose records are published, the oldest first. In memory only: after a crash the events are sent again, under
/// the same ids.
#[derive(Default)]
pub(crate) struct Unsynced {
    batches: VecDeque<Batch>,
    rows: usize,
    /// Events that the relay has leased, and has neither sent nor put off: a turn was given up in the middle.
    pub leased: Vec<StepKey>,
    pub alarms: Alarms,
}

/// Rows that this process has logged as unreadable: each is logged once.
#[derive(Default)]
pub(crate) struct Alarms(HashSet<Vec<String>>);

impl Alarms {
    /// More rows are logged each time that they are read.
    const ROWS_MAX: usize = 1_000;

    /// Logs those that are new, and counts all.
    pub fn of_rows(&mut self, service: &Name, table: &'static str, rows: &[Unreadable]) {
        for Unreadable { place, why } in rows {
            let key = place.join("/");
            if !self.0.contains(place) {
                tracing::error!(%service, table, key, %why, "this row cannot be read: it is set aside");
            }
            if self.0.len() < Alarms::ROWS_MAX {
                self.0.insert(place.clone());
            }
        }
        if !rows.is_empty() {
            let labels = [("service", service.to_string()), ("table", table.to_owned())];
            metrics::counter!("sagamore_unreadable_rows_total", &labels).increment(rows.len() as u64);
        }
    }
}

struct Batch {
    synced: BoxFuture<'static, Result<(), Error>>,
    settled: Settled,
}

impl Settled {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.sent.len() + self.over.len()
    }
}

impl Unsynced {
    /// These rows follow what the transport has acknowledged so far.
    pub fn follow(&mut self, transport: &dyn Transport, settled: Settled) {
        if !settled.is_empty() {
            self.rows += settled.len();
            self.batches.push_back(Batch { synced: transport.synced(), settled });
        }
    }

    /// Whether so many rows wait that no more records are to be published on behalf of such.
    pub fn is_full(&self) -> bool {
        self.rows >= ROWS_MAX
    }

    /// What is due in the inbox, at most so much, but for what has come out already.
    pub async fn due(
        &mut self,
        service: &Name,
        inbox: &Database,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, DatabaseError> {
        if self.is_full() {
            return Ok(Vec::new());
        }
        let (mut due, unreadable) = inbox::due(inbox, now, limit.saturating_add(self.rows)).await?;
        self.alarms.of_rows(service, "inbox", &unreadable);
        let over = self.batches.iter().flat_map(|batch| &batch.settled.over);
        let out: HashSet<&StepKey> = over.map(|over| &over.key).collect();
        due.retain(|due| !out.contains(&due.key));
        due.truncate(limit);
        Ok(due)
    }

    /// Waits for the sync of all that was published, and returns its rows.
    pub async fn finish(&mut self) -> Settled {
        let mut all = Settled::default();
        while let Some(Batch { synced, settled }) = self.batches.pop_front() {
            self.rows -= settled.len();
            if synced.await.is_ok() {
                all.sent.extend(settled.sent);
                all.over.extend(settled.over);
            }
        }
        all
    }

    /// The rows whose records are synced by now. It waits for nothing. Rows whose sync failed stay as they are in the
    /// database: what they stand for is published again.
    pub fn take(&mut self) -> Settled {
        let mut all = Settled::default();
        while let Some(Batch { synced, .. }) = self.batches.front_mut() {
            let synced = match synced.now_or_never() {
                None if planted(Bug::SentBeforeSynced) => true,
                None => break,
                Some(Ok(())) => true,
                Some(Err(error)) => {
                    tracing::warn!(%error, "the log was not synced: what was published is published again");
                    planted(Bug::FailedSyncIgnored)
                }
            };
            let Some(Batch { settled, .. }) = self.batches.pop_front() else { break };
            self.rows -= settled.len();
            if synced {
                all.sent.extend(settled.sent);
                all.over.extend(settled.over);
            }
        }
        all
    }
}
