//! An open transaction on PostgreSQL, which holds a connection until its end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::convert;
use super::pipeline::in_order;
use super::session::{Answer, Session};
use super::text::{self, Effect};
use crate::clock::SERVER_TIME;
use crate::error::Error;
use crate::port::{BoxFuture, Transaction};
use crate::value::{Row, Value};

/// A transaction, open or ended.
pub(super) struct PostgresTransaction {
    state: Mutex<State>,
    rows_written: AtomicU64,
    /// The database's count of committed transactions.
    committed: Arc<AtomicU64>,
}

struct State {
    /// `None` after the end.
    session: Option<Arc<Session>>,
    /// The number of open savepoints.
    savepoints: u32,
}

impl PostgresTransaction {
    /// Creates a transaction without sending a request.
    pub(super) fn new(session: Session, committed: Arc<AtomicU64>) -> PostgresTransaction {
        let state = State { session: Some(Arc::new(session)), savepoints: 0 };
        PostgresTransaction { state: Mutex::new(state), rows_written: AtomicU64::new(0), committed }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connection after sending BEGIN.
    fn session(&self) -> Result<Arc<Session>, Error> {
        self.state().ready()
    }

    async fn run(&self, sql: &str, params: Vec<Value>) -> Result<Executed, Error> {
        let effect = text::effect(sql)?;
        let session = self.session()?;
        let statement = session.prepare(sql).await?;
        let params = convert::bind(&statement, params)?;
        let answer = session.run(&statement, params).await?;
        Ok(self.count(effect, answer))
    }

    async fn run_each(&self, sql: &str, sets: Vec<Vec<Value>>) -> Result<Vec<Executed>, Error> {
        let effect = text::effect(sql)?;
        let session = self.session()?;
        if sets.is_empty() {
            return Ok(Vec::new());
        }
        let statement = session.prepare(sql).await?;
        let bound = sets.into_iter().map(|params| convert::bind(&statement, params));
        let bound = bound.collect::<Result<Vec<_>, _>>()?;
        let answers =
            in_order(bound.into_iter().map(|params| session.run(&statement, params))).await;
        answers.into_iter().map(|answer| Ok(self.count(effect, answer?))).collect()
    }

    fn count(&self, effect: Effect, Answer { rows, count }: Answer) -> Executed {
        let (changed, written) = match effect {
            Effect::Reads => (0, 0),
            Effect::Writes => (count, count),
            Effect::Both => (count, count.max(1)),
        };
        self.rows_written.fetch_add(written, Ordering::Relaxed);
        Executed { rows, changed }
    }

    /// Ends the transaction.
    fn end(&self) -> Result<Arc<Session>, Error> {
        self.state().session.take().ok_or(Error::Over)
    }
}

/// The result of a statement.
struct Executed {
    rows: Vec<Row>,
    changed: u64,
}

impl State {
    fn ready(&mut self) -> Result<Arc<Session>, Error> {
        let session = self.session.as_ref().ok_or(Error::Over)?;
        session.begin();
        Ok(Arc::clone(session))
    }

    /// Returns the name of the innermost savepoint.
    fn innermost(&self) -> Result<String, Error> {
        match self.savepoints {
            0 => Err(Error::Statement("no savepoint is open".into())),
            open => Ok(format!("s{open}")),
        }
    }

    fn savepoint(&mut self) -> Result<(), Error> {
        let session = self.ready()?;
        self.savepoints += 1;
        session.send(&format!("SAVEPOINT s{}", self.savepoints));
        Ok(())
    }

    fn rollback_to(&mut self) -> Result<(), Error> {
        let session = self.session.as_ref().ok_or(Error::Over)?;
        let name = self.innermost()?;
        session.send(&format!("ROLLBACK TO {name}; RELEASE {name}"));
        self.savepoints -= 1;
        Ok(())
    }
}

impl Transaction for PostgresTransaction {
    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move { Ok(self.run(sql, params).await?.changed) })
    }

    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move { Ok(self.run(sql, params).await?.rows) })
    }

    fn query_each<'a>(
        &'a self,
        sql: &'a str,
        sets: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<Vec<Row>>, Error>> {
        Box::pin(async move {
            Ok(self.run_each(sql, sets).await?.into_iter().map(|ran| ran.rows).collect())
        })
    }

    fn execute_each<'a>(
        &'a self,
        sql: &'a str,
        sets: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<u64>, Error>> {
        Box::pin(async move {
            Ok(self.run_each(sql, sets).await?.into_iter().map(|ran| ran.changed).collect())
        })
    }

    fn batch<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let effects = text::effects(sql)?;
            let session = self.session()?;
            let counts = session.batch(sql).await?;
            for (effect, count) in effects.into_iter().zip(counts) {
                self.count(effect, Answer { rows: Vec::new(), count });
            }
            Ok(())
        })
    }

    fn server_time(&self) -> BoxFuture<'_, Result<Option<i64>, Error>> {
        Box::pin(async {
            self.run(SERVER_TIME, Vec::new()).await?.rows.first().map(|row| row.get(0)).transpose()
        })
    }

    fn savepoint(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { self.state().savepoint() })
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let (session, name) = {
                let mut state = self.state();
                (state.ready()?, state.innermost()?)
            };
            session.settle(&format!("RELEASE {name}")).await?;
            self.state().savepoints -= 1;
            Ok(())
        })
    }

    fn rollback_to(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { self.state().rollback_to() })
    }

    fn rows_written(&self) -> u64 {
        self.rows_written.load(Ordering::Relaxed)
    }

    fn commit(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let session = self.end()?;
            if session.is_open() {
                session.commit().await?;
            }
            self.committed.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }

    fn abandon(&self) {
        let session = self.state().session.take();
        if let Some(session) = session.and_then(Arc::into_inner)
            && session.is_open()
        {
            session.abandon();
        }
    }

    fn rollback(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let session = self.end()?;
            if session.is_open() {
                session.rollback().await;
            }
            Ok(())
        })
    }
}

impl Drop for PostgresTransaction {
    fn drop(&mut self) {
        self.abandon();
    }
}
