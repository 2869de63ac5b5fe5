//! Rows that depend on a published record wait here until the transport has synced it. The database
//! survives a power loss, so it must not be ahead of a log that is not synced yet.

use std::collections::{HashSet, VecDeque};

use futures_util::FutureExt;
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Name, StepKey, Timestamp};
use sagamore_database::{Database, Error as DatabaseError};
use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Error, Transport};

use crate::inbox::{self, Due, InboxRemoval};
use crate::stored_event::UnreadableRow;

/// Maximum waiting rows, each a few hundred bytes. Beyond it, nothing is taken from the inbox and
/// the outbox.
const ROWS_MAX: usize = 10_000;

/// The row changes that follow a sync.
#[derive(Debug, Default)]
pub(crate) struct SettledRows {
    /// Events of the outbox that were sent.
    pub sent: Vec<StepKey>,
    /// Removals from the inbox.
    pub removals: Vec<InboxRemoval>,
}

/// Row changes of published records, oldest first, in memory. After a crash the events are sent
/// again, under the same ids.
#[derive(Default)]
pub(crate) struct Unsynced {
    batches: VecDeque<Batch>,
    rows: usize,
    /// Events that the relay has leased and neither sent nor postponed, because a turn was dropped.
    pub leased: Vec<StepKey>,
    pub alarms: Alarms,
}

/// Rows that this process has logged as unreadable, so that each is logged once.
#[derive(Default)]
pub(crate) struct Alarms(HashSet<String>);

impl Alarms {
    /// Maximum rows in the set. Further rows are logged on each read.
    const ROWS_MAX: usize = 1_000;

    /// Logs new rows and counts all.
    pub fn of_rows(&mut self, service: &Name, table: &'static str, rows: &[UnreadableRow]) {
        for UnreadableRow { saga, step, direction, event, why } in rows {
            let key = [&**saga, step, direction, event].join("/");
            if !self.0.contains(&key) {
                tracing::error!(
                    %service, table, key, %why, "cannot read a row, which is set aside"
                );
            }
            if self.0.len() < Alarms::ROWS_MAX {
                self.0.insert(key);
            }
        }
        if !rows.is_empty() {
            let labels = [("service", service.to_string()), ("table", table.to_owned())];
            metrics::counter!("sagamore_unreadable_rows_total", &labels)
                .increment(rows.len() as u64);
        }
    }
}

struct Batch {
    synced: BoxFuture<'static, Result<(), Error>>,
    settled: SettledRows,
}

impl SettledRows {
    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.sent.len() + self.removals.len()
    }
}

impl Unsynced {
    /// Adds row changes that follow the sync of all records acknowledged so far.
    pub fn follow(&mut self, transport: &dyn Transport, settled: SettledRows) {
        if !settled.is_empty() {
            self.rows += settled.len();
            self.batches.push_back(Batch { synced: transport.synced(), settled });
        }
    }

    /// Returns whether too many rows wait to publish further records.
    pub fn is_full(&self) -> bool {
        self.rows >= ROWS_MAX
    }

    /// Reads due events of the inbox, up to `limit`, without those already taken.
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
        let removals = self.batches.iter().flat_map(|batch| &batch.settled.removals);
        let out: HashSet<&StepKey> = removals.map(|removal| &removal.key).collect();
        due.retain(|due| !out.contains(&due.key));
        due.truncate(limit);
        Ok(due)
    }

    /// Waits for the sync of all published records, and returns their row changes.
    pub async fn finish(&mut self) -> SettledRows {
        let mut all = SettledRows::default();
        while let Some(Batch { synced, settled }) = self.batches.pop_front() {
            self.rows -= settled.len();
            if synced.await.is_ok() {
                all.sent.extend(settled.sent);
                all.removals.extend(settled.removals);
            }
        }
        all
    }

    /// Returns the row changes whose records are synced, without waiting. Rows whose sync failed
    /// stay unchanged in the database, so their records are published again.
    pub fn take(&mut self) -> SettledRows {
        let mut all = SettledRows::default();
        while let Some(Batch { synced, .. }) = self.batches.front_mut() {
            let synced = match synced.now_or_never() {
                None if planted(Bug::SentBeforeSynced) => true,
                None => break,
                Some(Ok(())) => true,
                Some(Err(error)) => {
                    tracing::warn!(%error, "log sync failed: its records are published again");
                    planted(Bug::FailedSyncIgnored)
                }
            };
            let Some(Batch { settled, .. }) = self.batches.pop_front() else { break };
            self.rows -= settled.len();
            if synced {
                all.sent.extend(settled.sent);
                all.removals.extend(settled.removals);
            }
        }
        all
    }
}
