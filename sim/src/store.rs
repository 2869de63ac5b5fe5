//! A database that fails on purpose: every call is an await, and what was committed is shown to the checker at once.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use sagamore_database::database::Open;
use sagamore_database::port::{Backend, BoxFuture, Dialect, Stats, Transaction};
use sagamore_database::{Database, Error, Row, Tx, Value};

use crate::faults::Fault;
use crate::world::{LATE_MS_MAX, Shared};

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

/// One database, and the line of those who want to write. Clones share it.
#[derive(Clone)]
pub struct Store {
    /// The database itself, where nothing fails.
    pub inner: Database,
    owner: Owner,
    busy: Arc<AtomicBool>,
    /// Until when every handler that works on it breaks; none where handlers break by themselves.
    broken_until: Option<Arc<AtomicI64>>,
    world: Shared,
}

/// Words that only the shop's own statements have.
const SHOP: [&str; 7] = ["orders", "account", "charge", "stock", "reservation", "destination", "shipment"];

/// The store as one process sees it.
struct Wrapper {
    store: Store,
    /// Who that process is.
    who: Arc<str>,
}

/// An open transaction.
struct Held {
    store: Store,
    who: Arc<str>,
    tx: Tx,
    open: Mutex<Option<Open>>,
    gate: Mutex<Option<Gate>>,
}

/// The right to write; dropped, it is given back.
struct Gate(Arc<AtomicBool>);

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Store {
    /// A new database in memory.
    pub fn new(world: &Shared, owner: Owner) -> Store {
        let busy = Arc::new(AtomicBool::new(false));
        Store { inner: Database::memory(), owner, busy, broken_until: None, world: world.clone() }
    }

    /// The same, where the shop's statements fail now and then, and then for a while.
    pub fn with_broken_handlers(self) -> Store {
        Store { broken_until: Some(Arc::default()), ..self }
    }

    /// The same database in the hands of a process.
    pub fn for_process(&self, who: &Arc<str>) -> Database {
        Database::new(Arc::new(Wrapper { store: self.clone(), who: who.clone() }))
    }

    /// Reads at once: nobody may be writing.
    pub fn look(&self, sql: &str) -> Vec<Row> {
        look(&self.inner, sql)
    }

    /// Changes at once, before anything runs.
    pub fn prepare(&self, sql: &str) {
        let done = async {
            let open = self.inner.begin().await?;
            open.tx().batch(sql).await?;
            open.commit().await
        };
        done.now_or_never().expect("nobody writes yet").expect("prepare a database");
    }

    async fn gate(&self) -> Gate {
        while self.busy.swap(true, Ordering::Relaxed) {
            self.world.sleep(1).await;
        }
        Gate(self.busy.clone())
    }

    async fn before(&self) -> Result<(), Error> {
        self.world.pause().await;
        if self.world.strikes(Fault::StoreDown) {
            return Err(Error::Unavailable("as the simulator wants it".into()));
        }
        if self.world.strikes(Fault::StoreConflict) {
            return Err(Error::Conflict("as the simulator wants it".into()));
        }
        Ok(())
    }

    async fn before_statement(&self, sql: &str) -> Result<(), Error> {
        self.before().await?;
        let Some(broken_until) = &self.broken_until else { return Ok(()) };
        if !SHOP.iter().any(|word| sql.contains(word)) {
            return Ok(());
        }
        let now = self.world.now();
        if now >= broken_until.load(Ordering::Relaxed) {
            // a handler has few statements
            if !(0..4).any(|_| self.world.strikes(Fault::HandlerFault)) {
                return Ok(());
            }
            broken_until.store(now + self.world.between(1, 10_000), Ordering::Relaxed);
        }
        Err(Error::Statement("as the simulator wants it".into()))
    }
}

/// Reads from a database in memory that nobody writes to at the moment.
pub fn look(database: &Database, sql: &str) -> Vec<Row> {
    database.query(sql, ()).now_or_never().expect("nobody is writing").expect("read for the checker")
}

impl Backend for Wrapper {
    fn dialect(&self) -> Dialect {
        self.store.inner.dialect()
    }

    fn begin(&self) -> BoxFuture<'_, Result<Arc<dyn Transaction>, Error>> {
        Box::pin(async {
            self.store.before().await?;
            if self.store.owner == Owner::Engine && self.store.world.strikes(Fault::LateBegin) {
                self.store.world.sleep(self.store.world.between(1, LATE_MS_MAX)).await;
            }
            let gate = self.store.gate().await;
            let open = self.store.inner.begin().await?;
            let held = Held {
                store: self.store.clone(),
                who: self.who.clone(),
                tx: open.tx(),
                open: Mutex::new(Some(open)),
                gate: Mutex::new(Some(gate)),
            };
            Ok(Arc::new(held) as Arc<dyn Transaction>)
        })
    }

    fn read<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            self.store.before().await?;
            let gate = self.store.gate().await;
            let rows = self.store.inner.query(sql, params).await;
            drop(gate);
            self.store.world.pause().await;
            rows
        })
    }

    fn stats(&self) -> Stats {
        self.store.inner.stats()
    }
}

impl Held {
    /// Savepoints are there or not at once, in memory.
    fn with(&self, act: impl FnOnce(&Open) -> Option<Result<(), Error>>) -> Result<(), Error> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        act(open.as_ref().ok_or(Error::Over)?).expect("a database in memory answers at once")
    }

    fn end(&self) -> Result<(Open, Option<Gate>), Error> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(Error::Over)?;
        Ok((open, self.gate.lock().unwrap_or_else(PoisonError::into_inner).take()))
    }

    async fn finish(&self) -> Result<(), Error> {
        let world = &self.store.world;
        self.store.before().await?;
        if world.strikes(Fault::CommitUnknownLost) {
            let (open, gate) = self.end()?;
            open.rollback().await?;
            drop(gate);
            world.pause().await;
            return Err(Error::CommitUnknown("as the simulator wants it".into()));
        }
        let (open, gate) = self.end()?;
        let committed = open.commit().await;
        if committed.is_ok() {
            world.tell(|| format!("{} commits to {:?}", self.who, self.store.owner));
            world.checker().committed(world, self.store.owner, &self.store.inner, &self.who);
        }
        drop(gate);
        world.pause().await;
        committed?;
        if world.strikes(Fault::CommitUnknownDone) {
            return Err(Error::CommitUnknown("as the simulator wants it".into()));
        }
        Ok(())
    }
}

impl Transaction for Held {
    fn execute<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            self.store.before_statement(sql).await?;
            self.tx.execute(sql, params).await
        })
    }

    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            self.store.before_statement(sql).await?;
            self.tx.query(sql, params).await
        })
    }

    fn query_each<'a>(&'a self, sql: &'a str, sets: Vec<Vec<Value>>) -> BoxFuture<'a, Result<Vec<Vec<Row>>, Error>> {
        Box::pin(async move {
            self.store.before_statement(sql).await?;
            self.tx.query_each(sql, sets).await
        })
    }

    fn execute_each<'a>(&'a self, sql: &'a str, sets: Vec<Vec<Value>>) -> BoxFuture<'a, Result<Vec<u64>, Error>> {
        Box::pin(async move {
            self.store.before_statement(sql).await?;
            self.tx.execute_each(sql, sets).await
        })
    }

    fn batch<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.store.before().await?;
            self.tx.batch(sql).await
        })
    }

    fn savepoint(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.store.before().await?;
            self.with(|open| open.savepoint().now_or_never())
        })
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.store.before().await?;
            self.with(|open| open.release().now_or_never())
        })
    }

    fn rollback_to(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.store.before().await?;
            self.with(|open| open.rollback_to().now_or_never())
        })
    }

    fn rows_written(&self) -> u64 {
        self.tx.rows_written()
    }

    fn commit(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.finish())
    }

    fn rollback(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.store.world.pause().await;
            let (open, gate) = self.end()?;
            let undone = open.rollback().await;
            drop(gate);
            undone
        })
    }
}
