//! The port: the promises of a database. Adapters implement it, and the simulator wraps it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::value::{Row, Value};

/// A boxed future. One allocation per batch is cheap enough.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The SQL dialect of a backend, for the few statements that cannot be portable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite 3.
    Sqlite,
    /// PostgreSQL 13 or newer.
    Postgres,
}

/// Statistics of a database since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Number of committed transactions.
    pub transactions: u64,
    /// Number of commits, each with one sync. Less than `transactions` if transactions share
    /// commits.
    pub commits: u64,
}

/// One database.
pub trait Backend: Send + Sync {
    /// Returns the SQL dialect.
    fn dialect(&self) -> Dialect;

    /// Opens a transaction for writing. With a single writer it waits for its turn. The future may
    /// be dropped.
    fn begin(&self) -> BoxFuture<'_, Result<Arc<dyn Transaction>, Error>>;

    /// Reads committed rows outside of any transaction. On disk it never waits for a writer.
    fn read<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>>;

    /// Returns the statistics so far.
    fn stats(&self) -> Stats;

    /// Opens the same database with connections of its own, for work that must not wait for others.
    /// `None` if nothing of the kind exists.
    fn apart(&self) -> Option<Arc<dyn Backend>> {
        None
    }

    /// Returns how long a transaction may be without a statement before it is ended; `None` for no
    /// limit.
    fn idle_limit(&self) -> Option<Duration> {
        None
    }
}

/// One open transaction. Dropping it without a commit rolls it back. After `commit` or `rollback`
/// it returns [`Error::Over`].
///
/// After a failed statement, the layer above the port calls only `rollback_to` and `rollback`. A
/// backend may or may not be usable otherwise.
pub trait Transaction: Send + Sync {
    /// Runs one statement. Returns the number of changed rows.
    fn execute<'a>(&'a self, sql: &'a str, params: Vec<Value>)
    -> BoxFuture<'a, Result<u64, Error>>;

    /// Runs one statement. Returns its rows.
    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>>;

    /// Runs one statement once per parameter set, in one round trip. Returns the rows of each run.
    fn query_each<'a>(
        &'a self,
        sql: &'a str,
        sets: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<Vec<Row>>, Error>>;

    /// Runs one statement once per parameter set, in one round trip. Returns the changed rows of
    /// each run.
    fn execute_each<'a>(
        &'a self,
        sql: &'a str,
        sets: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<u64>, Error>>;

    /// Runs several statements without parameters, separated by semicolons, for schemas.
    fn batch<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<(), Error>>;

    /// Reads the clock of the database's server, in milliseconds since 1970; `None` without a
    /// server.
    fn server_time(&self) -> BoxFuture<'_, Result<Option<i64>, Error>> {
        Box::pin(async { Ok(None) })
    }

    /// Opens a savepoint. Savepoints nest.
    fn savepoint(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Releases the innermost savepoint and keeps the work since. Fails, and keeps the savepoint,
    /// if a statement whose future was dropped has failed since.
    fn release(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Rolls back to the innermost savepoint and removes it.
    fn rollback_to(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Returns the number of rows changed so far. Rows that are rolled back, as by
    /// [`Transaction::rollback_to`], still count.
    fn rows_written(&self) -> u64;

    /// Commits atomically. After `Ok` the transaction survives any crash.
    ///
    /// If the future is dropped, the commit may or may not happen. [`Error::CommitUnknown`] means
    /// that the outcome is unknown.
    fn commit(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Rolls the transaction back. If it can read uncommitted rows of others, its end waits for
    /// their commit and fails with it.
    fn rollback(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Rolls back without waiting, because the opener was dropped. Other handles return
    /// [`Error::Over`] from then on.
    ///
    /// It does nothing after the end of the transaction. By default the rollback happens when the
    /// last handle is dropped.
    fn abandon(&self) {}
}
