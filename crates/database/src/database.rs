//! What the rest of the system holds: a `Database`, the `Tx` that handlers get, the `Open` transaction that commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::port::{Backend, Dialect, Stats};
use crate::scope::Scope;
use crate::value::{Params, Row, Value};

/// A database of one service, or of the engine. Clones share it.
#[derive(Clone)]
pub struct Database {
    backend: Arc<dyn Backend>,
}

/// A handle on an open transaction, cheap to clone: it reads and writes, and cannot commit.
///
/// A statement that fails aborts the transaction, on every backend: from then on each statement fails with
/// [`Error::Aborted`], until a rollback to the savepoint before it.
#[derive(Clone)]
pub struct Tx {
    scope: Arc<Scope>,
    dialect: Dialect,
    /// What was written through this handle and its clones; none for those that count with the transaction.
    own: Option<Arc<AtomicU64>>,
}

/// An open transaction in the hands of who opened it. Dropped without a commit it is rolled back, whoever has a [`Tx`];
/// then nothing says whether what it has read was committed.
#[must_use = "a transaction that is not committed is rolled back"]
pub struct Open {
    tx: Tx,
    ended: bool,
}

impl Database {
    /// A database behind the port.
    pub fn new(backend: Arc<dyn Backend>) -> Database {
        Database { backend }
    }

    /// Which SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        self.backend.dialect()
    }

    /// How long a transaction may be without a statement until the server ends it; none: for ever.
    pub fn idle_limit(&self) -> Option<std::time::Duration> {
        self.backend.idle_limit()
    }

    /// Opens a transaction for writing.
    pub async fn begin(&self) -> Result<Open, Error> {
        let transaction = self.backend.begin().await?;
        let scope = Arc::new(Scope::new(transaction));
        Ok(Open { tx: Tx { scope, dialect: self.dialect(), own: None }, ended: false })
    }

    /// What it has done since it was opened.
    pub fn stats(&self) -> Stats {
        self.backend.stats()
    }

    /// Reads what is committed.
    pub async fn query(&self, sql: &str, params: impl Params) -> Result<Vec<Row>, Error> {
        self.backend.read(sql, params.into_values()).await
    }
}

impl Open {
    /// The handle to work with.
    pub fn tx(&self) -> Tx {
        self.tx.clone()
    }

    /// Makes everything durable. After `Ok` it survives any crash; [`Error::CommitUnknown`] means that nobody knows.
    /// An aborted transaction is rolled back, and fails with the error of the statement that aborted it.
    pub async fn commit(mut self) -> Result<(), Error> {
        let committed = self.tx.scope.commit().await;
        self.ended = true;
        committed
    }

    /// Undoes everything. Whoever answers from what was read ends the transaction with this or a commit, and answers after
    /// `Ok`: what a joined transaction has read may not be committed before, and is void after an error.
    pub async fn rollback(mut self) -> Result<(), Error> {
        let undone = self.tx.scope.transaction().rollback().await;
        self.ended = true;
        undone
    }

    /// Opens a savepoint; they nest.
    pub async fn savepoint(&self) -> Result<(), Error> {
        self.tx.scope.run(|transaction| transaction.savepoint()).await
    }

    /// Forgets the innermost savepoint; what was done since stays. When a statement has failed since, fails with its error:
    /// then only [`Open::rollback_to`] helps.
    pub async fn release(&self) -> Result<(), Error> {
        self.tx.scope.release().await
    }

    /// Undoes everything since the innermost savepoint, and forgets it.
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
    /// Which SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The same transaction behind a handle that counts for itself what is written through it, for one of several that
    /// work in it at the same time.
    pub fn counting(&self) -> Tx {
        Tx { own: Some(Arc::default()), ..self.clone() }
    }

    /// Runs one statement; gives the number of rows it changed.
    pub async fn execute(&self, sql: &str, params: impl Params) -> Result<u64, Error> {
        let changed = self.scope.run(|transaction| transaction.execute(sql, params.into_values())).await?;
        self.count(changed);
        Ok(changed)
    }

    /// Runs one statement; gives its rows.
    pub async fn query(&self, sql: &str, params: impl Params) -> Result<Vec<Row>, Error> {
        self.count(may_write(sql));
        self.scope.run(|transaction| transaction.query(sql, params.into_values())).await
    }

    /// Runs one statement once for each set of parameters, in one round trip; gives the rows of each run.
    pub async fn query_each(&self, sql: &str, sets: Vec<Vec<Value>>) -> Result<Vec<Vec<Row>>, Error> {
        self.count(may_write(sql));
        self.scope.run(|transaction| transaction.query_each(sql, sets)).await
    }

    /// Runs one statement once for each set of parameters, in one round trip; gives the rows changed by each run.
    pub async fn execute_each(&self, sql: &str, sets: Vec<Vec<Value>>) -> Result<Vec<u64>, Error> {
        let changed = self.scope.run(|transaction| transaction.execute_each(sql, sets)).await?;
        self.count(changed.iter().sum());
        Ok(changed)
    }

    /// Runs several statements, separated by semicolons, without parameters: for schemas.
    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.count(1);
        self.scope.run(|transaction| transaction.batch(sql)).await
    }

    /// Reads the clock of the database's server, in milliseconds since 1970, at the moment of the call. None where there is
    /// no server.
    pub async fn server_time(&self) -> Result<Option<i64>, Error> {
        self.scope.run(|transaction| transaction.server_time()).await
    }

    /// How many rows were changed through this transaction so far, undone ones included; through this handle, if it is
    /// one of [`Tx::counting`], and then what may have been written counts as well.
    pub fn rows_written(&self) -> u64 {
        let all = || self.scope.transaction().rows_written();
        self.own.as_ref().map_or_else(all, |own| own.load(Ordering::Relaxed))
    }

    /// The error of the statement that aborted the transaction, unless that was rolled back since.
    pub fn aborted(&self) -> Option<Error> {
        self.scope.aborted()
    }

    fn count(&self, written: u64) {
        if let Some(own) = &self.own {
            own.fetch_add(written, Ordering::Relaxed);
        }
    }
}

/// 1 for a statement that may write although it gives rows.
fn may_write(sql: &str) -> u64 {
    let reads = sql.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"));
    u64::from(!reads)
}
