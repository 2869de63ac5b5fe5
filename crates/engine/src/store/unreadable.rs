//! The owner's marks in rows that it cannot read: each sets one saga aside, and shows it to every
//! program.

use sagamore_database::{Statement, given_row};

use super::Store;
use crate::error::Error;

given_row! {
    /// A saga's row with its new mark, and the epoch of the saga's partition.
    struct MarkedSaga<'a> {
        seq: i64,
        epoch: i64,
        unreadable: Option<&'a str>,
    }
}

/// Marks rows, except one locked by another session, which is marked when it is read again. Runs
/// row by row.
static MARK: Statement<MarkedSaga<'_>> = Statement::new(
    "UPDATE saga SET unreadable = given.unreadable WHERE saga.seq = given.seq
        {AND saga.seq IN (SELECT s.seq FROM saga s WHERE s.seq = given.seq FOR UPDATE SKIP LOCKED)}
        AND EXISTS (SELECT 1 FROM ownership o
            WHERE o.reply_partition = saga.reply_partition AND o.epoch = given.epoch)",
);

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
        let marks = marks.iter().map(|mark| MarkedSaga {
            seq: mark.seq,
            epoch: mark.epoch,
            unreadable: mark.why.as_deref(),
        });
        open.tx().execute_row_by_row(&MARK, marks).await?;
        Ok(open.commit().await?)
    }

    /// Counts the sagas that are set aside.
    pub async fn count_unreadable(&self) -> Result<i64, Error> {
        let sql = "SELECT count(*) FROM saga WHERE unreadable IS NOT NULL";
        let rows = self.database.query(sql, ()).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.get(0))?)
    }
}
