//! Removing what has ended long ago. Sagas are numbered as they start, so the oldest come first without an index.

use sagamore_core::Timestamp;
use sagamore_database::Value;

use super::Store;
use crate::error::Error;

/// What one page of a sweep did.
pub(crate) struct Swept {
    pub removed: u64,
    /// The last saga looked at; none when there is nothing old behind it.
    pub last: Option<i64>,
}

impl Store {
    /// Looks at the next `limit` sagas that began before `before`, and removes those that have ended before it.
    pub async fn sweep(&self, before: Timestamp, after: i64, limit: u32) -> Result<Swept, Error> {
        let old = "SELECT seq, ended_at FROM saga WHERE seq > $1 AND started_at < $2 ORDER BY seq LIMIT $3";
        let rows = self.database.query(old, (after, before.0, limit)).await?;
        let mut gone = Vec::new();
        for row in &rows {
            let (seq, ended_at): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
            if ended_at.is_some_and(|ended_at| ended_at < before.0) {
                gone.push(vec![Value::Int(seq)]);
            }
        }
        let last = rows.last().map(|row| row.get(0)).transpose()?;
        let open = self.begin().await?;
        let tx = open.tx();
        let removed = gone.len() as u64;
        if !gone.is_empty() {
            tx.execute_each("DELETE FROM journal WHERE seq = $1", gone.clone()).await?;
            tx.execute_each("DELETE FROM saga WHERE seq = $1 AND ended_at IS NOT NULL", gone).await?;
        }
        if last.is_none() {
            tx.execute("DELETE FROM idempotency WHERE stored_at < $1", (before.0,)).await?;
        }
        open.commit().await?;
        Ok(Swept { removed, last })
    }
}
