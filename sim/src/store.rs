//! A database that fails on purpose: every call is an await, and what was committed is shown to the checker at once.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::FutureExt;
use sagamore_database::database::Open;
use sagamore_database::port::{Backend, BoxFuture, Dialect, Stats, Transaction};
use sagamore_database::{Database, Error, Row, Tx, Value};

use crate::clocks::ProcessClock;
use crate::faults::Fault;
use crate::feast::FOREIGN;
use crate::wire::outage::holds;
use crate::world::{LATE_MS_MAX, Shared};
use idle::Slot;

mod idle;
mod line;

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
    /// How many write, or wait for that.
    writers: Arc<AtomicUsize>,
    /// Whether transactions that wait for the writer share its commit, as they do in a file of SQLite's.
    joins: bool,
    /// The open transaction, where it is ended when it is idle for too long.
    limited: Option<Arc<Mutex<Weak<Slot>>>>,
    /// How many commits the checker has seen.
    seen: Arc<AtomicU64>,
    /// Until when every handler that works on it breaks; none where handlers break by themselves.
    broken_until: Option<Arc<AtomicI64>>,
    /// The clock of its server, where it has one.
    server: Option<ProcessClock>,
    world: Shared,
}

/// Words that only the shop's own statements have.
const SHOP: [&str; 7] =
    ["orders", "account", "charge", "stock", "reservation", "destination", "shipment"];

/// The store as one process sees it.
struct Wrapper {
    store: Store,
    /// Until when the process does not reach it.
    cut_until: Mutex<i64>,
    /// Who that process is.
    who: Arc<str>,
}

/// An open transaction.
struct Held {
    store: Store,
    who: Arc<str>,
    tx: Tx,
    slot: Arc<Slot>,
}

/// The right to write; dropped, it is given back.
struct Gate(Arc<AtomicUsize>);

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Store {
    /// A new database in memory.
    pub fn new(world: &Shared, owner: Owner) -> Store {
        let (inner, world) = (Database::memory(), world.clone());
        Store {
            inner,
            owner,
            writers: Arc::default(),
            joins: false,
            limited: None,
            seen: Arc::default(),
            broken_until: None,
            server: None,
            world,
        }
    }

    /// The same, where the shop's statements fail now and then, and then for a while.
    pub fn with_broken_handlers(self) -> Store {
        Store { broken_until: Some(Arc::default()), ..self }
    }

    /// The same, in a server with this clock.
    pub fn in_server(self, clock: ProcessClock) -> Store {
        Store { server: Some(clock), ..self }
    }

    /// The same database in the hands of a process.
    pub fn for_process(&self, who: &Arc<str>) -> Database {
        Database::new(Arc::new(Wrapper {
            store: self.clone(),
            cut_until: Mutex::default(),
            who: who.clone(),
        }))
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
        self.skip();
    }

    /// Hides all commits so far from the checker.
    pub fn skip(&self) {
        self.seen.store(self.inner.stats().commits, Ordering::Relaxed);
    }

    async fn gate(&self) -> Gate {
        if !self.joins {
            self.quiet().await;
        }
        self.writers.fetch_add(1, Ordering::Relaxed);
        Gate(self.writers.clone())
    }

    /// Waits until nobody writes.
    async fn quiet(&self) {
        while self.writers.load(Ordering::Relaxed) > 0 {
            self.end_what_idles();
            self.world.sleep(1).await;
        }
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
    database
        .query(sql, ())
        .now_or_never()
        .expect("nobody is writing")
        .expect("read for the checker")
}

impl Wrapper {
    /// Before the process begins to use the database.
    async fn before(&self) -> Result<(), Error> {
        self.store.before().await?;
        let mut until = self.cut_until.lock().unwrap_or_else(PoisonError::into_inner);
        match holds(&self.store.world, Fault::CutFromDatabase, &mut until) {
            true => Err(Error::Unavailable("as the simulator wants it".into())),
            false => Ok(()),
        }
    }
}

impl Backend for Wrapper {
    fn dialect(&self) -> Dialect {
        self.store.inner.dialect()
    }

    fn begin(&self) -> BoxFuture<'_, Result<Arc<dyn Transaction>, Error>> {
        Box::pin(async {
            self.before().await?;
            if self.store.owner == Owner::Engine && self.store.world.strikes(Fault::LateBegin) {
                self.store.world.sleep(self.store.world.between(1, LATE_MS_MAX)).await;
            }
            let gate = self.store.gate().await;
            let open = self.store.in_line(&self.who, self.store.inner.begin()).await?;
            let held = Held {
                store: self.store.clone(),
                who: self.who.clone(),
                tx: open.tx(),
                slot: self.store.slot(open, gate),
            };
            Ok(Arc::new(held) as Arc<dyn Transaction>)
        })
    }

    fn read<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            self.before().await?;
            self.store.quiet().await;
            let rows = self.store.in_line(&self.who, self.store.inner.query(sql, params)).await;
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
        self.slot.with(|open| act(open).expect("a database in memory answers at once"))
    }

    fn end(&self) -> Result<(Open, Gate), Error> {
        self.slot.end()
    }

    /// Before a statement.
    async fn before_statement(&self, sql: &str) -> Result<(), Error> {
        self.store.before_statement(sql).await?;
        self.store.heard_of(&self.slot)
    }

    /// Before anything else in the transaction.
    async fn before(&self) -> Result<(), Error> {
        self.store.before().await?;
        self.store.heard_of(&self.slot)
    }

    async fn finish(&self) -> Result<(), Error> {
        let world = &self.store.world;
        self.before().await?;
        if world.strikes(Fault::CommitUnknownLost) {
            let (open, gate) = self.end()?;
            let _ = self.store.in_line(&self.who, open.rollback()).await; // whatever it comes to is not known
            drop(gate);
            world.pause().await;
            return Err(Error::CommitUnknown("as the simulator wants it".into()));
        }
        self.doom().await?;
        let (open, gate) = self.end()?;
        let committed = self.store.in_line(&self.who, open.commit()).await;
        drop(gate);
        world.pause().await;
        committed.map_err(|error| self.store.lost(error))?;
        if world.strikes(Fault::CommitUnknownDone) {
            return Err(Error::CommitUnknown("as the simulator wants it".into()));
        }
        Ok(())
    }
}

/// How long the engine's database takes every text, or refuses some.
const STRICT_MS: i64 = 700;

impl Held {
    /// The engine's database refuses a journal's entry with a character that it cannot store, at times.
    fn check(&self, sql: &str, sets: &[Vec<Value>]) -> Result<(), Error> {
        let Store { world, owner, .. } = &self.store;
        let is_strict = !world.is_healed() && (world.now() / STRICT_MS) % 2 == 0;
        if *owner != Owner::Engine || !is_strict || !sql.contains("journal") {
            return Ok(());
        }
        let is_foreign =
            |value: &Value| matches!(value, Value::Text(text) if text.contains(FOREIGN));
        if sets.iter().flatten().any(is_foreign) {
            world.count("engine's database refuses a text");
            return Err(Error::Constraint("as the simulator wants it".into()));
        }
        Ok(())
    }
}

impl Transaction for Held {
    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            self.before_statement(sql).await?;
            self.tx.execute(sql, params).await
        })
    }

    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            self.before_statement(sql).await?;
            self.tx.query(sql, params).await
        })
    }

    fn query_each<'a>(
        &'a self,
        sql: &'a str,
        sets: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<Vec<Row>>, Error>> {
        Box::pin(async move {
            self.before_statement(sql).await?;
            self.tx.query_each(sql, sets).await
        })
    }

    fn execute_each<'a>(
        &'a self,
        sql: &'a str,
        sets: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<u64>, Error>> {
        Box::pin(async move {
            self.before_statement(sql).await?;
            self.check(sql, &sets)?;
            if sql.starts_with("UPDATE handed")
                && !sets.is_empty()
                && self.store.world.strikes(Fault::AnswerLost)
            {
                return Err(Error::Unavailable("as the simulator wants it".into()));
            }
            self.tx.execute_each(sql, sets).await
        })
    }

    fn batch<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.before().await?;
            self.tx.batch(sql).await
        })
    }

    fn server_time(&self) -> BoxFuture<'_, Result<Option<i64>, Error>> {
        Box::pin(async {
            self.before().await?;
            Ok(self.store.server.as_ref().map(|clock| clock.now().0))
        })
    }

    fn savepoint(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.before().await?;
            self.with(|open| open.savepoint().now_or_never())
        })
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.before().await?;
            self.with(|open| open.release().now_or_never())
        })
    }

    fn rollback_to(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.before().await?;
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
            let undone = self.store.in_line(&self.who, open.rollback()).await;
            drop(gate);
            undone.map_err(|error| self.store.lost(error))
        })
    }

    fn abandon(&self) {
        drop(self.end()); // nothing when it is over
        self.store.notice(&self.who);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        Transaction::abandon(self);
    }
}
