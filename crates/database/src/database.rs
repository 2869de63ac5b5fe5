//! The public types: `Database`, the `Tx` of handlers, and the `Open` transaction that commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::port::{Backend, Dialect, Stats};
use crate::scope::Scope;
use crate::value::{Params, Row, Value};

/// The database of one service or of the engine. Clones share it.
#[derive(Clone)]
pub struct Database {
    backend: Arc<dyn Backend>,
}

/// A handle on an open transaction, cheap to clone. It reads and writes, but cannot commit.
///
/// A failed statement aborts the transaction on every backend. Every later statement fails with
/// [`Error::Aborted`], until a rollback to the savepoint before it.
#[derive(Clone)]
pub struct Tx {
    scope: Arc<Scope>,
    dialect: Dialect,
    /// The rows written through this handle and its clones. `None` for a handle that uses the
    /// transaction's own count.
    own: Option<Arc<AtomicU64>>,
}

/// An open transaction, owned by its opener. Dropping it without a commit rolls it back, even if a
/// [`Tx`] is alive. A caller that drops it does not learn whether the rows that it read were
/// committed.
#[must_use = "a transaction that is not committed is rolled back"]
pub struct Open {
    tx: Tx,
    ended: bool,
}

impl Database {
    /// Creates a database on a backend.
    pub fn new(backend: Arc<dyn Backend>) -> Database {
        Database { backend }
    }

    /// Returns the SQL dialect.
    pub fn dialect(&self) -> Dialect {
        self.backend.dialect()
    }

    /// Returns the same database with two connections of its own, so that its work never waits for
    /// a connection that others hold. On SQLite it is the database itself.
    pub fn apart(&self) -> Database {
        self.backend.apart().map_or_else(|| self.clone(), Database::new)
    }

    /// Returns how long a transaction may be without a statement before the server ends it; `None`
    /// for no limit.
    pub fn idle_limit(&self) -> Option<std::time::Duration> {
        self.backend.idle_limit()
    }

    /// Opens a transaction for writing.
    pub async fn begin(&self) -> Result<Open, Error> {
        let transaction = self.backend.begin().await?;
        let scope = Arc::new(Scope::new(transaction));
        Ok(Open { tx: Tx { scope, dialect: self.dialect(), own: None }, ended: false })
    }

    /// Returns the statistics since the database was opened.
    pub fn stats(&self) -> Stats {
        self.backend.stats()
    }

    /// Reads committed rows.
    pub async fn query(&self, sql: &str, params: impl Params) -> Result<Vec<Row>, Error> {
        self.backend.read(sql, params.into_values()).await
    }
}

impl Open {
    /// Returns a handle on the transaction.
    pub fn tx(&self) -> Tx {
        self.tx.clone()
    }

    /// Commits the transaction. After `Ok` it survives any crash.
    ///
    /// # Errors
    /// [`Error::CommitUnknown`] if the outcome is unknown. An aborted transaction is rolled back
    /// and fails with the error of the statement that aborted it.
    pub async fn commit(mut self) -> Result<(), Error> {
        let committed = self.tx.scope.commit().await;
        self.ended = true;
        committed
    }

    /// Rolls the transaction back.
    ///
    /// A joined transaction may read rows that are not committed yet. A caller that answers from
    /// such reads must first end the transaction, by this function or a commit, and answer only
    /// after `Ok`.
    pub async fn rollback(mut self) -> Result<(), Error> {
        let undone = self.tx.scope.transaction().rollback().await;
        self.ended = true;
        undone
    }

    /// Opens a savepoint. Savepoints nest.
    pub async fn savepoint(&self) -> Result<(), Error> {
        self.tx.scope.run(|transaction| transaction.savepoint()).await
    }

    /// Releases the innermost savepoint and keeps the work since.
    ///
    /// # Errors
    /// Returns the error of a statement that failed since the savepoint. Only [`Open::rollback_to`]
    /// is possible then.
    pub async fn release(&self) -> Result<(), Error> {
        self.tx.scope.release().await
    }

    /// Rolls back to the innermost savepoint and removes it.
    pub async fn rollback_to(&self) -> Result<(), Error> {
        self.tx.scope.rollback_to().await
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            self.tx.scope.transaction().abandon();
        }
    }
}

impl Tx {
    /// Returns the SQL dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Returns a handle on the same transaction with its own count of written rows, for one of
    /// several concurrent users.
    pub fn counting(&self) -> Tx {
        Tx { own: Some(Arc::default()), ..self.clone() }
    }

    /// Runs one statement. Returns the number of changed rows.
    pub async fn execute(&self, sql: &str, params: impl Params) -> Result<u64, Error> {
        let changed =
            self.scope.run(|transaction| transaction.execute(sql, params.into_values())).await?;
        self.count(changed);
        Ok(changed)
    }

    /// Runs one statement. Returns its rows.
    pub async fn query(&self, sql: &str, params: impl Params) -> Result<Vec<Row>, Error> {
        self.count(may_write(sql));
        self.scope.run(|transaction| transaction.query(sql, params.into_values())).await
    }

    /// Runs one statement once per parameter set, in one round trip. Returns the rows of each run.
    pub async fn query_each(
        &self,
        sql: &str,
        sets: Vec<Vec<Value>>,
    ) -> Result<Vec<Vec<Row>>, Error> {
        self.count(may_write(sql));
        self.scope.run(|transaction| transaction.query_each(sql, sets)).await
    }

    /// Runs one statement once per parameter set, in one round trip. Returns the changed rows of
    /// each run.
    pub async fn execute_each(&self, sql: &str, sets: Vec<Vec<Value>>) -> Result<Vec<u64>, Error> {
        let changed = self.scope.run(|transaction| transaction.execute_each(sql, sets)).await?;
        self.count(changed.iter().sum());
        Ok(changed)
    }

    /// Runs several statements without parameters, separated by semicolons, for schemas.
    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.count(1);
        self.scope.run(|transaction| transaction.batch(sql)).await
    }

    /// Reads the clock of the database's server, in milliseconds since 1970; `None` without a
    /// server.
    pub async fn server_time(&self) -> Result<Option<i64>, Error> {
        self.scope.run(|transaction| transaction.server_time()).await
    }

    /// Returns the number of rows changed through this transaction, including rows that were rolled
    /// back. A [`Tx::counting`] handle counts only its own rows, and a query that may write as one
    /// row.
    pub fn rows_written(&self) -> u64 {
        let all = || self.scope.transaction().rows_written();
        self.own.as_ref().map_or_else(all, |own| own.load(Ordering::Relaxed))
    }

    /// Returns the error that aborted the transaction, unless it was rolled back since.
    pub fn aborted(&self) -> Option<Error> {
        self.scope.aborted()
    }

    fn count(&self, written: u64) {
        if let Some(own) = &self.own {
            own.fetch_add(written, Ordering::Relaxed);
        }
    }
}

/// Returns 1 for a statement that returns rows and may write.
fn may_write(sql: &str) -> u64 {
    let reads = sql.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"));
    u64::from(!reads)
}
