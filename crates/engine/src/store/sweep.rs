//! Removing what has ended long ago: journals first, rows later. Sagas are numbered as they start: the oldest come first,
//! without an index.
//!
//! **Invariant:** a saga's row outlives the barrier rows of its steps: its business key must never begin a second saga
//! whose steps would meet the answers of the first.

use sagamore_core::Timestamp;
use sagamore_database::Value;

use super::Store;
use crate::error::Error;

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
    pub removed: u64,
    /// The last saga looked at; none when everything behind it is too young.
    pub last: Option<i64>,
}

impl Store {
    /// Looks at the next `limit` sagas, up to the first that began after `before`, and removes what goes of those that have
    /// ended before it.
    pub async fn sweep(&self, goes: Goes, before: Timestamp, after: i64, limit: u32) -> Result<Page, Error> {
        let next = "SELECT seq, id, started_at, ended_at FROM saga WHERE seq > $1 ORDER BY seq LIMIT $2";
        let rows = self.database.query(next, (after, limit)).await?;
        let (mut seqs, mut ids, mut last) = (Vec::new(), Vec::new(), None);
        for row in &rows {
            let (seq, id, started_at): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if started_at >= before.0 {
                last = None;
                break;
            }
            last = Some(seq);
            if row.get::<Option<i64>>(3)?.is_some_and(|ended_at| ended_at < before.0) {
                seqs.push(vec![Value::Int(seq)]);
                ids.push(vec![Value::Text(id)]);
            }
        }
        let removed = seqs.len() as u64; // those whose journal went in an earlier round among them
        if removed > 0 {
            let open = self.begin().await?;
            let tx = open.tx();
            tx.execute_each("DELETE FROM journal WHERE seq = $1", seqs.clone()).await?;
            tx.execute_each("DELETE FROM idempotency WHERE saga = $1", ids).await?;
            if goes == Goes::Row {
                tx.execute_each("DELETE FROM saga WHERE seq = $1 AND ended_at IS NOT NULL", seqs).await?;
            }
            open.commit().await?;
        }
        Ok(Page { removed, last })
    }
}
