//! The owner's marks in rows that it cannot read: each sets one saga aside, and shows it to every
//! program.

use sagamore_database::Value;
use sagamore_database::port::Dialect;

use super::Store;
use crate::error::Error;

/// A change of a row's mark.
pub(crate) struct Mark {
    pub seq: i64,
    /// The epoch under which the saga's partition is owned, so that a former owner marks nothing.
    pub epoch: i64,
    /// The reason. `None` once the saga is readable again.
    pub why: Option<String>,
}

impl Store {
    /// Marks rows as set aside or as readable again. A row whose partition has changed owners is
    /// left as it is.
    pub async fn mark(&self, marks: &[Mark]) -> Result<(), Error> {
        let open = self.begin().await?;
        // a row locked by another session is marked when it is read again
        let free = match open.tx().dialect() {
            Dialect::Sqlite => "$1",
            Dialect::Postgres => {
                "(SELECT s.seq FROM saga s WHERE s.seq = $1 FOR UPDATE SKIP LOCKED)"
            }
        };
        let sql = format!(
            "UPDATE saga SET unreadable = $2 WHERE seq = {free} AND EXISTS
            (SELECT 1 FROM ownership o
             WHERE o.reply_partition = saga.reply_partition AND o.epoch = $3)"
        );
        let set = |mark: &Mark| {
            vec![Value::Int(mark.seq), Value::from(mark.why.clone()), Value::Int(mark.epoch)]
        };
        open.tx().execute_each(&sql, marks.iter().map(set).collect()).await?;
        Ok(open.commit().await?)
    }

    /// Counts the sagas that are set aside.
    pub async fn count_unreadable(&self) -> Result<i64, Error> {
        let sql = "SELECT count(*) FROM saga WHERE unreadable IS NOT NULL";
        let rows = self.database.query(sql, ()).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.get(0))?)
    }
}
