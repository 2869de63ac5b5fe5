//! Reads of databases at once, beside everything that is simulated.

use futures_util::FutureExt;
use sagamore_database::{Database, Row};

/// Whose database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The engine's.
    Engine,
    /// The service's with this number.
    Service(usize),
    /// The observer's.
    Observer,
}

/// Reads from a database in memory that nobody writes to at the moment.
pub fn look(database: &Database, sql: &str) -> Vec<Row> {
    database
        .query(sql, ())
        .now_or_never()
        .expect("nobody is writing")
        .expect("read for the checker")
}
