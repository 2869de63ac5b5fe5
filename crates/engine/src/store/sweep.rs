//! Removal of sagas that ended long ago: journals first, rows later. Row numbers ascend by start,
//! so the oldest come first without an index.
//!
//! **Invariant:** a saga's row outlives the barrier rows of its steps. Otherwise its business key
//! could start a second saga, whose steps would get the answers of the first.

use std::collections::HashMap;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_database::port::Dialect;
use sagamore_database::{Statement, Tx, given_row};

use super::Store;
use super::load::SagaKey;
use crate::error::Error;

/// Maximum difference between the clocks of orchestrators.
const DIFFERENCE_MAX: Duration = Duration::from_secs(3600);

given_row! {
    /// A saga by the number of its row.
    struct SagaSeq {
        seq: i64,
    }
}

given_row! {
    /// An idempotency key without a saga, as it was read.
    struct OrphanedKey {
        key: String,
        saga: String,
        stored_at: i64,
    }
}

/// Removes a key only as it was read: a start may be taking it over.
static REMOVE_ORPHAN: Statement<OrphanedKey> = Statement::new(
    "DELETE FROM idempotency USING given
     WHERE idempotency.key = given.key AND idempotency.saga = given.saga
        AND idempotency.stored_at = given.stored_at
        AND NOT EXISTS (SELECT 1 FROM saga s WHERE s.id = idempotency.saga)",
);

static REMOVE_JOURNAL: Statement<SagaSeq> =
    Statement::new("DELETE FROM journal USING given WHERE journal.seq = given.seq");

static REMOVE_KEYS: Statement<SagaKey<'_>> =
    Statement::new("DELETE FROM idempotency USING given WHERE idempotency.saga = given.saga");

static REMOVE_ROW: Statement<SagaSeq> = Statement::new(
    "DELETE FROM saga USING given WHERE saga.seq = given.seq AND saga.ended_at IS NOT NULL",
);

/// Selects a saga unless another session has locked its row.
static FREE: Statement<SagaSeq> = Statement::new(
    "SELECT saga.seq FROM given, saga WHERE saga.seq = given.seq
     {FOR UPDATE OF saga SKIP LOCKED}",
);

/// The target of a sweep.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SweepTarget<'a> {
    /// The journal and the idempotency keys.
    Journal,
    /// The row, with its journal and keys if they still exist, of sagas that ended before the
    /// moment of their definition's contents, by hash. Rows of other contents stay.
    Row(&'a HashMap<String, Timestamp>),
}

impl SweepTarget<'_> {
    fn includes(self, hash: &str, ended_at: i64) -> bool {
        match self {
            SweepTarget::Journal => true,
            SweepTarget::Row(before) => before.get(hash).is_some_and(|before| ended_at < before.0),
        }
    }

    fn is_row(self) -> bool {
        matches!(self, SweepTarget::Row(_))
    }
}

/// The result of one page of a sweep.
pub(crate) struct Page {
    /// The number of sagas that lost rows.
    pub removed: u64,
    /// The last saga of the page that is old enough. `None`: all are too young, and so are those
    /// after them.
    pub last: Option<i64>,
}

impl Store {
    /// Checks the next `limit` idempotency keys after `after`, and removes those without a saga.
    /// Older programs left such keys for refused starts. Returns the last key, if there may be
    /// more.
    pub async fn sweep_keys(&self, after: &str, limit: u32) -> Result<Option<String>, Error> {
        let next = "SELECT i.key, i.saga, i.stored_at, s.seq FROM idempotency i
            LEFT JOIN saga s ON s.id = i.saga WHERE i.key > $1 ORDER BY i.key LIMIT $2";
        let rows = self.database.query(next, (after, limit)).await?;
        let mut orphans = Vec::new();
        for row in &rows {
            if row.get::<Option<i64>>("seq")?.is_none() {
                let (key, saga) = (row.get("key")?, row.get("saga")?);
                orphans.push(OrphanedKey { key, saga, stored_at: row.get("stored_at")? });
            }
        }
        if !orphans.is_empty() {
            let open = self.begin().await?;
            open.tx().execute_rows(&REMOVE_ORPHAN, orphans).await?;
            open.commit().await?;
        }
        let last = rows.last().filter(|_| rows.len() == limit as usize);
        Ok(last.map(|row| row.get("key")).transpose()?)
    }

    /// Corrects open sagas that were stamped by a clock that was ahead. No horizon would name them,
    /// and their barrier rows would be removed. Returns false if a row is locked by another session
    /// and left uncorrected.
    pub async fn correct_starts(&self, now: Timestamp) -> Result<bool, Error> {
        let open = self.begin().await?;
        let latest = now.plus(DIFFERENCE_MAX).0;
        let correct = open.tx().dialect().text(
            "UPDATE saga SET started_at = $1 WHERE seq IN (
                SELECT s.seq FROM saga s WHERE s.ended_at IS NULL AND s.started_at > $2
                {FOR UPDATE SKIP LOCKED})",
        );
        open.tx().execute(&correct, (now.0, latest)).await?;
        let left = "SELECT 1 FROM saga WHERE ended_at IS NULL AND started_at > $1 LIMIT 1";
        let left = open.tx().query(left, (latest,)).await?;
        open.commit().await?;
        Ok(left.is_empty())
    }

    /// Checks the next `limit` sagas, and removes `target` of those that ended before this moment.
    pub async fn sweep(
        &self,
        target: SweepTarget<'_>,
        before: Timestamp,
        after: i64,
        limit: u32,
    ) -> Result<Page, Error> {
        let next = "SELECT seq, id, hash, started_at, ended_at FROM saga
            WHERE seq > $1 ORDER BY seq LIMIT $2";
        let rows = self.database.query(next, (after, limit)).await?;
        let (mut old, mut last) = (Vec::new(), None);
        for row in &rows {
            let (seq, id, hash): (i64, String, String) =
                (row.get("seq")?, row.get("id")?, row.get("hash")?);
            let (started_at, ended_at): (i64, Option<i64>) =
                (row.get("started_at")?, row.get("ended_at")?);
            if started_at < before.0 {
                // a younger saga with a lower number has a start time of a clock that was ahead, so
                // the search continues after it
                last = Some(seq);
            }
            let is_old = |ended_at| ended_at < before.0 && target.includes(&hash, ended_at);
            if ended_at.is_some_and(is_old) {
                old.push((seq, id));
            }
        }
        let mut removed = 0;
        if !old.is_empty() {
            let open = self.begin().await?;
            let tx = open.tx();
            let old = if target.is_row() { free(&tx, old).await? } else { old };
            let seqs = || old.iter().map(|(seq, _)| SagaSeq { seq: *seq });
            let mut each = tx.execute_row_by_row(&REMOVE_JOURNAL, seqs()).await?;
            tx.execute_rows(&REMOVE_KEYS, old.iter().map(|(_, saga)| SagaKey { saga })).await?;
            if target.is_row() {
                each = tx.execute_row_by_row(&REMOVE_ROW, seqs()).await?;
            }
            open.commit().await?;
            removed = each.into_iter().filter(|rows| *rows > 0).count() as u64;
        }
        Ok(Page { removed, last })
    }
}

/// Returns those of these sagas whose rows no other session has locked. A later round removes the
/// others, so that a row locked for hours does not block any.
async fn free(tx: &Tx, sagas: Vec<(i64, String)>) -> Result<Vec<(i64, String)>, Error> {
    if tx.dialect() == Dialect::Sqlite {
        return Ok(sagas);
    }
    let seqs = sagas.iter().map(|(seq, _)| SagaSeq { seq: *seq });
    let rows = tx.query_row_by_row(&FREE, seqs).await?;
    Ok(sagas
        .into_iter()
        .zip(rows)
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(saga, _)| saga)
        .collect())
}
