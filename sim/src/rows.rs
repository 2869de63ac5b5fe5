//! Direct reads of databases, without faults and without time.

use futures_util::FutureExt;
use sagamore_database::{Database, Row};

/// The owner of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The engine.
    Engine,
    /// The service with this number.
    Service(usize),
    /// The observer.
    Observer,
}

/// Reads from a database in memory, in which no transaction may be writing.
pub fn read_rows(database: &Database, sql: &str) -> Vec<Row> {
    database
        .query(sql, ())
        .now_or_never()
        .expect("no transaction is writing")
        .expect("the checker's query succeeds")
}

/// Reads a column that must exist.
pub fn get<T: sagamore_database::value::FromValue>(row: &Row, column: usize) -> T {
    row.get(column).expect("the checker reads its own columns")
}
