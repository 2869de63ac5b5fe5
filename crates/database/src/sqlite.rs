//! SQLite behind the port: one writing connection that goes from transaction to transaction, and a few for reading.
//!
//! Statements run inline, on the thread that calls: they take microseconds. Only a commit's sync has a thread of its own.

mod commit;
mod connection;
mod map;
mod reader;
mod statement;
mod transaction;
mod turn;
mod writer;

use std::path::Path;
use std::sync::Arc;

use crate::database::Database;
use crate::error::Error;
use crate::port::{Backend, BoxFuture, Dialect, Stats, Transaction};
use crate::value::{Row, Value};

use reader::Readers;
use transaction::Held;
use turn::Shared;

/// One SQLite database.
struct Sqlite {
    /// None in memory, where there is one connection.
    readers: Option<Readers>,
    shared: Arc<Shared>,
}

impl Database {
    /// A database in this file; it and its directories are created when they are not there. Only one process at a time
    /// may have it open: that is what the file `PATH.lock` beside it is for.
    ///
    /// When the last handle goes, a commit that is under way is waited for.
    pub fn sqlite(path: &Path) -> Result<Database, Error> {
        connection::create_directory(path)?;
        let lock = connection::lock(path)?;
        let writer = connection::open(path)?;
        let readers = Some(Readers::new(path));
        Ok(Database::new(Arc::new(Sqlite { readers, shared: Shared::on_disk(writer, lock)? })))
    }

    /// A database in memory that goes with its last handle. It has no thread: everything happens inside of polls, so
    /// that the same polls always lead to the same outcome.
    ///
    /// There is one connection, so that [`Database::query`] waits its turn behind the open transaction: who awaits it
    /// while holding a transaction of the same database waits for ever.
    pub fn memory() -> Database {
        let writer = connection::memory().expect("SQLite needs nothing but memory for this");
        Database::new(Arc::new(Sqlite { readers: None, shared: Shared::in_memory(writer) }))
    }
}

impl Backend for Sqlite {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn begin(&self) -> BoxFuture<'_, Result<Arc<dyn Transaction>, Error>> {
        Box::pin(async {
            let turn = self.shared.turn().await?;
            Ok(Arc::new(Held::begin(turn)?) as Arc<dyn Transaction>)
        })
    }

    fn read<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            match &self.readers {
                Some(readers) => readers.read(sql, &params),
                None => self.shared.turn().await?.committed(|connection| statement::read(connection, sql, &params)),
            }
        })
    }

    fn stats(&self) -> Stats {
        self.shared.stats()
    }
}
