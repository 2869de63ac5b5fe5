//! Removal of sagas that ended long ago: journals first, rows later. Row numbers ascend by start,
//! so the oldest come first without an index.
//!
//! **Invariant:** a saga's row outlives the barrier rows of its steps. Otherwise its business key
//! could start a second saga, whose steps would get the answers of the first.

use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_database::port::Dialect;
use sagamore_database::{Tx, Value};

use super::Store;
use crate::error::Error;

/// Maximum difference between the clocks of orchestrators.
const DIFFERENCE_MAX: Duration = Duration::from_secs(3600);

/// The target of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SweepTarget {
    /// The journal and the idempotency keys.
    Journal,
    /// The row, with its journal and keys if they still exist.
    Row,
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
            if row.get::<Option<i64>>(3)?.is_none() {
                let (key, saga, stored_at): (String, String, i64) =
                    (row.get(0)?, row.get(1)?, row.get(2)?);
                orphans.push(vec![Value::Text(key), Value::Text(saga), Value::Int(stored_at)]);
            }
        }
        if !orphans.is_empty() {
            // delete the row only as it was read: a start may be taking the key over
            let remove = "DELETE FROM idempotency WHERE key = $1 AND saga = $2 AND stored_at = $3
                AND NOT EXISTS (SELECT 1 FROM saga s WHERE s.id = idempotency.saga)";
            let open = self.begin().await?;
            open.tx().execute_each(remove, orphans).await?;
            open.commit().await?;
        }
        let last = rows.last().filter(|_| rows.len() == limit as usize);
        Ok(last.map(|row| row.get(0)).transpose()?)
    }

    /// Corrects open sagas that were stamped by a clock that was ahead. No horizon would name them,
    /// and their barrier rows would be removed. Returns false if a row is locked by another session
    /// and left uncorrected.
    pub async fn correct_starts(&self, now: Timestamp) -> Result<bool, Error> {
        let open = self.begin().await?;
        let alone = match open.tx().dialect() {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
        };
        let latest = now.plus(DIFFERENCE_MAX).0;
        let correct = format!(
            "UPDATE saga SET started_at = $1 WHERE seq IN
            (SELECT s.seq FROM saga s WHERE s.ended_at IS NULL AND s.started_at > $2{alone})"
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
        target: SweepTarget,
        before: Timestamp,
        after: i64,
        limit: u32,
    ) -> Result<Page, Error> {
        let next =
            "SELECT seq, id, started_at, ended_at FROM saga WHERE seq > $1 ORDER BY seq LIMIT $2";
        let rows = self.database.query(next, (after, limit)).await?;
        let (mut old, mut last) = (Vec::new(), None);
        for row in &rows {
            let (seq, id, started_at): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if started_at < before.0 {
                // a younger saga with a lower number has a start time of a clock that was ahead, so
                // the search continues after it
                last = Some(seq);
            }
            if row.get::<Option<i64>>(3)?.is_some_and(|ended_at| ended_at < before.0) {
                old.push((seq, id));
            }
        }
        let mut removed = 0;
        if !old.is_empty() {
            let open = self.begin().await?;
            let tx = open.tx();
            let old = if target == SweepTarget::Row { free(&tx, old).await? } else { old };
            let (seqs, ids): (Vec<_>, Vec<_>) = old
                .into_iter()
                .map(|(seq, id)| (vec![Value::Int(seq)], vec![Value::Text(id)]))
                .unzip();
            let mut each =
                tx.execute_each("DELETE FROM journal WHERE seq = $1", seqs.clone()).await?;
            tx.execute_each("DELETE FROM idempotency WHERE saga = $1", ids).await?;
            if target == SweepTarget::Row {
                each = tx
                    .execute_each("DELETE FROM saga WHERE seq = $1 AND ended_at IS NOT NULL", seqs)
                    .await?;
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
    let sql = "SELECT seq FROM saga WHERE seq = $1 FOR UPDATE SKIP LOCKED";
    let rows =
        tx.query_each(sql, sagas.iter().map(|(seq, _)| vec![Value::Int(*seq)]).collect()).await?;
    Ok(sagas
        .into_iter()
        .zip(rows)
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(saga, _)| saga)
        .collect())
}
