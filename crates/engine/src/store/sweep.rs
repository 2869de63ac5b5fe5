//! Removing what has ended long ago: journals first, rows later. Sagas are numbered as they start: the oldest come first,
//! without an index.
//!
//! **Invariant:** a saga's row outlives the barrier rows of its steps: its business key must never begin a second saga
//! whose steps would meet the answers of the first.

use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_database::port::Dialect;
use sagamore_database::{Tx, Value};

use super::Store;
use crate::error::Error;

/// The clocks of orchestrators may differ by so much.
const DIFFERENCE_MAX: Duration = Duration::from_secs(3600);

/// What goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goes {
    /// The journal and the idempotency keys.
    Journal,
    /// Those, if they are still there, and the row.
    Row,
}

/// What one page of a sweep did.
pub(crate) struct Page {
    /// Of how many sagas something went that was still there.
    pub removed: u64,
    /// The last saga that is old enough; none when all that were looked at are too young, and so what is behind them.
    pub last: Option<i64>,
}

impl Store {
    /// Looks at the next `limit` idempotency keys behind `after`, and removes those without a saga, which older programs
    /// left for starts that were refused. Returns the last key, if there may be more.
    pub async fn sweep_keys(&self, after: &str, limit: u32) -> Result<Option<String>, Error> {
        let next = "SELECT i.key, i.saga, i.stored_at, s.seq FROM idempotency i LEFT JOIN saga s ON s.id = i.saga
            WHERE i.key > $1 ORDER BY i.key LIMIT $2";
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
            // only as it was read: a start may just be taking the key over
            let remove = "DELETE FROM idempotency WHERE key = $1 AND saga = $2 AND stored_at = $3
                AND NOT EXISTS (SELECT 1 FROM saga s WHERE s.id = idempotency.saga)";
            let open = self.begin().await?;
            open.tx().execute_each(remove, orphans).await?;
            open.commit().await?;
        }
        let last = rows.last().filter(|_| rows.len() == limit as usize);
        Ok(last.map(|row| row.get(0)).transpose()?)
    }

    /// Corrects open sagas that began under a clock that was ahead. Otherwise no horizon would name them for as long, and their
    /// barriers would be forgotten. Returns false when another session holds the row of one of them: it is left as it is.
    pub async fn begin_no_later_than(&self, now: Timestamp) -> Result<bool, Error> {
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

    /// Looks at the next `limit` sagas, and removes what goes of those that have ended before this moment.
    pub async fn sweep(
        &self,
        goes: Goes,
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
                last = Some(seq); // a younger one before it had a clock that was ahead: it ends nothing
            }
            if row.get::<Option<i64>>(3)?.is_some_and(|ended_at| ended_at < before.0) {
                old.push((seq, id));
            }
        }
        let mut removed = 0;
        if !old.is_empty() {
            let open = self.begin().await?;
            let tx = open.tx();
            let old = if goes == Goes::Row { free(&tx, old).await? } else { old };
            let (seqs, ids): (Vec<_>, Vec<_>) = old
                .into_iter()
                .map(|(seq, id)| (vec![Value::Int(seq)], vec![Value::Text(id)]))
                .unzip();
            let mut each =
                tx.execute_each("DELETE FROM journal WHERE seq = $1", seqs.clone()).await?;
            tx.execute_each("DELETE FROM idempotency WHERE saga = $1", ids).await?;
            if goes == Goes::Row {
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

/// Returns those of these sagas whose rows no other session holds. The others go with a later round: one that is held for
/// hours holds up no other.
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
