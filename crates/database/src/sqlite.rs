//! SQLite behind the port: one writing connection that passes from transaction to transaction, and
//! a few for reading.
//!
//! Statements run inline on the calling thread, because they take microseconds. Only a commit's
//! sync has its own thread.

mod commit;
mod connection;
mod map;
mod queue;
mod reader;
mod statement;
mod transaction;
mod writer;

use std::path::Path;
use std::sync::Arc;

use crate::database::Database;
use crate::error::Error;
use crate::port::{Backend, BoxFuture, Dialect, Stats, Transaction};
use crate::value::{Row, Value};

use queue::WriterQueue;
use reader::Readers;
use transaction::SqliteTransaction;

/// One SQLite database.
struct Sqlite {
    /// `None` in memory, where there is only one connection.
    readers: Option<Readers>,
    queue: Arc<WriterQueue>,
}

impl Database {
    /// Opens or creates a database in this file, with its directories. The file `PATH.lock` beside
    /// it excludes other processes.
    ///
    /// Dropping the last handle waits for a running commit.
    pub fn sqlite(path: &Path) -> Result<Database, Error> {
        connection::create_directory(path)?;
        let lock = connection::lock(path)?;
        let writer = connection::open(path)?;
        let readers = Some(Readers::new(path));
        Ok(Database::new(Arc::new(Sqlite { readers, queue: WriterQueue::on_disk(writer, lock)? })))
    }

    /// Creates a database in memory that lives as long as its handles. It has no thread. All work
    /// happens inside polls, so that equal sequences of polls have equal outcomes.
    ///
    /// It has only one connection, so [`Database::query`] waits for the open transaction. A task
    /// that awaits a query while holding a transaction of the same database deadlocks.
    pub fn memory() -> Database {
        let writer = connection::memory().expect("an in-memory database only needs memory");
        Database::new(Arc::new(Sqlite { readers: None, queue: WriterQueue::in_memory(writer) }))
    }
}

impl Backend for Sqlite {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn begin(&self) -> BoxFuture<'_, Result<Arc<dyn Transaction>, Error>> {
        Box::pin(async {
            let guard = self.queue.acquire().await?;
            Ok(Arc::new(SqliteTransaction::begin(guard)?) as Arc<dyn Transaction>)
        })
    }

    fn read<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            match &self.readers {
                Some(readers) => readers.read(sql, &params),
                None => self
                    .queue
                    .acquire()
                    .await?
                    .committed(|connection| statement::read(connection, sql, &params)),
            }
        })
    }

    fn stats(&self) -> Stats {
        self.queue.stats()
    }
}
