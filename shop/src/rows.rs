//! The rows of the shop's databases: bulk inserts and errors.

use sagamore::database::Value;
use sagamore::sdk::Database;
use sagamore::server::problem::{Problem, Transience};

/// Maximum rows that are inserted in one transaction.
const ROWS_MAX: usize = 1_000;

/// An error while reading or loading the shop's data.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sagamore::database::Error),
    /// A stored row has a value that this program never writes.
    #[error("read {row}: {reason}")]
    Stored {
        /// The row, for example `order 10248`.
        row: String,
        /// The invalid value and the reason.
        reason: String,
    },
}

impl Error {
    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Database(error) => error.is_transient(),
            Error::Stored { .. } => false,
        }
    }
}

impl Transience for Error {
    fn is_transient(&self) -> bool {
        Error::is_transient(self)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::broke(&error, "read the shop's data")
    }
}

/// Runs an insert with `ON CONFLICT DO NOTHING` once per row, and returns the number of new rows.
/// An error or a crash may leave a part of the rows inserted. Repeating the call is safe.
pub(crate) async fn insert(
    database: &Database,
    sql: &str,
    rows: Vec<Vec<Value>>,
) -> Result<u64, Error> {
    let mut new = 0;
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let open = database.begin().await?;
        let inserted = open.tx().execute_each(sql, rows.by_ref().take(ROWS_MAX).collect()).await?;
        open.commit().await?;
        new += inserted.iter().sum::<u64>();
    }
    Ok(new)
}
