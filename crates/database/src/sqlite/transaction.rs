//! An open transaction on SQLite, which holds the writer until its end.

use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::oneshot::Receiver;

use super::queue::WriterGuard;
use super::{statement, writer::Writer};
use crate::error::Error;
use crate::port::{BoxFuture, Transaction};
use crate::value::{Row, Value};

/// A transaction, open or ended.
pub(super) struct SqliteTransaction {
    state: Mutex<State>,
}

struct State {
    /// `None` after the end.
    guard: Option<WriterGuard>,
    /// The connection's count of changed rows at the begin.
    rows_before: u64,
    /// The transaction's own count, after its end.
    rows_written: u64,
}

impl SqliteTransaction {
    /// Opens a transaction.
    pub(super) fn begin(mut guard: WriterGuard) -> Result<SqliteTransaction, Error> {
        guard.writer().begin()?;
        let rows_before = guard.writer().rows_written();
        Ok(SqliteTransaction {
            state: Mutex::new(State { guard: Some(guard), rows_before, rows_written: 0 }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Writer) -> Result<T, Error>) -> Result<T, Error> {
        act(self.state().guard.as_mut().ok_or(Error::Over)?.writer())
    }

    fn run<'a, T: Send + 'a>(
        &self,
        act: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(ready(self.with(|writer| writer.run(act))))
    }

    /// Ends the transaction.
    fn end(&self) -> Result<WriterGuard, Error> {
        let mut state = self.state();
        let mut guard = state.guard.take().ok_or(Error::Over)?;
        state.rows_written = guard.writer().rows_written() - state.rows_before;
        Ok(guard)
    }
}

impl Transaction for SqliteTransaction {
    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        self.run(|connection| statement::execute(connection, sql, &params))
    }

    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        self.run(|connection| statement::query(connection, sql, &params))
    }

    fn query_each<'a>(
        &'a self,
        sql: &'a str,
        sets: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<Vec<Row>>, Error>> {
        self.run(|connection| statement::query_each(connection, sql, &sets))
    }

    fn execute_each<'a>(
        &'a self,
        sql: &'a str,
        sets: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<u64>, Error>> {
        self.run(|connection| statement::execute_each(connection, sql, &sets))
    }

    fn batch<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        self.run(|connection| statement::batch(connection, sql))
    }

    fn savepoint(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(ready(self.with(Writer::savepoint)))
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(ready(self.with(Writer::release)))
    }

    fn rollback_to(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(ready(self.with(Writer::rollback_to)))
    }

    fn rows_written(&self) -> u64 {
        let State { guard, rows_before, rows_written } = &mut *self.state();
        guard.as_mut().map_or(*rows_written, |guard| guard.writer().rows_written() - *rows_before)
    }

    fn commit(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { answered(self.end()?.commit()?).await })
    }

    fn rollback(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { answered(self.end()?.rollback()).await })
    }

    fn abandon(&self) {
        drop(self.end()); // no effect if the transaction has ended
    }
}

/// Returns the outcome of the outer transaction.
async fn answered(mut answer: Receiver<Result<(), Error>>) -> Result<(), Error> {
    match answer.try_recv() {
        Ok(outcome) => outcome, // in memory without waiting transactions, or without an outer one
        Err(_) => answer.await.unwrap_or_else(|_| Err(gone())),
    }
}

fn gone() -> Error {
    Error::CommitUnknown("the committing thread has ended".into())
}
