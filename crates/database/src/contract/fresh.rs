//! The database of a check, and its short statements.

use crate::{Database, Error};

/// Returns a new, empty database on each call.
pub type Fresh<'a> = &'a dyn Fn() -> Database;

/// The result of a check. A failed assertion panics, and an unexpected error is returned.
pub type Checked = Result<(), Error>;

/// Runs statements in their own transaction, and commits it.
pub(super) async fn committed(db: &Database, statements: &str) -> Checked {
    let open = db.begin().await?;
    open.tx().batch(statements).await?;
    open.commit().await
}

/// Returns the single number of a query.
pub(super) async fn number(db: &Database, sql: &str) -> Result<i64, Error> {
    db.query(sql, ()).await?[0].get(0)
}
