//! The port: what a database has to promise. Adapters implement it, the simulator wraps it, nobody else sees it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::value::{Row, Value};

/// A boxed future, written out because there is one per batch, not per message.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which SQL a backend speaks, for the few statements that cannot be portable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite 3.
    Sqlite,
    /// PostgreSQL 13 or newer.
    Postgres,
}

/// What a database has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transactions that were committed.
    pub transactions: u64,
    /// Commits that served them, each of them one sync. Fewer than transactions where those share commits.
    pub commits: u64,
}

/// One database.
pub trait Backend: Send + Sync {
    /// Which SQL it speaks.
    fn dialect(&self) -> Dialect;

    /// Opens a transaction for writing. Waits its turn where there is only one writer; the future may be dropped.
    fn begin(&self) -> BoxFuture<'_, Result<Arc<dyn Transaction>, Error>>;

    /// Reads what is committed, outside of any transaction; never waits for a writer on disk.
    fn read<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, Error>>;

    /// What it has done so far.
    fn stats(&self) -> Stats;

    /// How long a transaction may be without a statement until it is ended; none: for ever.
    fn idle_limit(&self) -> Option<Duration> {
        None
    }
}

/// One open transaction. Dropped without a commit it is rolled back. After `commit` or `rollback`: [`Error::Over`].
///
/// What is above the port sends nothing behind a statement that failed, but `rollback_to` and `rollback`: a backend may
/// go on after an error, or not.
pub trait Transaction: Send + Sync {
    /// Runs one statement; gives the number of rows it changed.
    fn execute<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<u64, Error>>;

    /// Runs one statement; gives its rows.
    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, Error>>;

    /// Runs one statement once for each set of parameters, in one round trip; gives the rows of each run.
    fn query_each<'a>(&'a self, sql: &'a str, sets: Vec<Vec<Value>>) -> BoxFuture<'a, Result<Vec<Vec<Row>>, Error>>;

    /// Runs one statement once for each set of parameters, in one round trip; gives the rows changed by each run.
    fn execute_each<'a>(&'a self, sql: &'a str, sets: Vec<Vec<Value>>) -> BoxFuture<'a, Result<Vec<u64>, Error>>;

    /// Runs several statements, separated by semicolons, without parameters: for schemas.
    fn batch<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<(), Error>>;

    /// Reads the clock of the server that stores the database, in milliseconds since 1970, at the moment of the call. None
    /// where there is no server.
    fn server_time(&self) -> BoxFuture<'_, Result<Option<i64>, Error>> {
        Box::pin(async { Ok(None) })
    }

    /// Opens a savepoint inside the transaction; they nest.
    fn savepoint(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Forgets the innermost savepoint; what was done since stays. Fails when a statement whose future was dropped has
    /// failed since; then the savepoint is still there.
    fn release(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Undoes everything since the innermost savepoint, and forgets it.
    fn rollback_to(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// How many rows were changed through this transaction so far. What is undone again, as by
    /// [`Transaction::rollback_to`], still counts: it was written.
    fn rows_written(&self) -> u64;

    /// Makes everything durable. After `Ok` it survives any crash. A crash during it: all or nothing.
    /// When the future is dropped, it may happen or not.
    /// [`Error::CommitUnknown`] means that nobody knows.
    fn commit(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Undoes everything. Where a transaction can read what others have not committed yet, its end, this one too, answers
    /// after their commit, and fails when that fails.
    fn rollback(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Undoes everything without anybody who waits for it, because who opened it has gone: what others hold of it is
    /// [`Error::Over`] from here on. Nothing when it is over already. Unless an adapter says otherwise it happens when
    /// the last handle is dropped.
    fn abandon(&self) {}
}
