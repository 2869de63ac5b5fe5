//! A database with injected faults: every call is an await, and every commit is reported to the
//! checker at once.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::FutureExt;
use sagamore_database::database::Open;
use sagamore_database::port::{Backend, BoxFuture, Dialect, Stats, Transaction};
use sagamore_database::{Database, Error, Row, Tx, Value};

use crate::clocks::ProcessClock;
use crate::faults::Fault;
use crate::rows::{Owner, read_rows};
use crate::watched::Shared;
use crate::wire::outage::holds;
use crate::world::LATE_MS_MAX;
use slot::{Slot, WriteGuard};

mod idle;
mod line;
mod slot;

/// The character that the engine's database rejects sometimes.
pub const FOREIGN: char = '\u{2620}';

/// A database and the queue of its writers. Clones share it.
#[derive(Clone)]
pub struct Store {
    /// The database itself, without faults.
    pub inner: Database,
    owner: Owner,
    /// The number of writers, including waiting ones.
    writers: Arc<AtomicUsize>,
    /// Whether transactions that wait for the writer share its commit, as in an SQLite file.
    joins: bool,
    /// The open transaction, if the server ends idle ones.
    limited: Option<Arc<Mutex<Weak<Slot>>>>,
    /// The number of commits that the checker has seen.
    seen: Arc<AtomicU64>,
    /// The time until which every handler fails. `None` if handlers fail on their own.
    broken_until: Option<Arc<AtomicI64>>,
    /// The clock of the database's server, if there is one.
    server: Option<ProcessClock>,
    world: Shared,
}

/// Words that only the shop's own statements contain.
const SHOP: [&str; 7] =
    ["orders", "account", "charge", "stock", "reservation", "destination", "shipment"];

/// The store, as used by one process.
struct Wrapper {
    store: Store,
    /// The time until which the process cannot reach the database.
    cut_until: Mutex<i64>,
    /// The process's name.
    who: Arc<str>,
}

/// An open transaction.
struct OpenTransaction {
    store: Store,
    who: Arc<str>,
    tx: Tx,
    slot: Arc<Slot>,
}

impl Store {
    /// Creates a database in memory.
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

    /// Lets the shop's statements fail from time to time, for a while each.
    pub fn with_broken_handlers(self) -> Store {
        Store { broken_until: Some(Arc::default()), ..self }
    }

    /// Puts the database into a server with this clock.
    pub fn in_server(self, clock: ProcessClock) -> Store {
        Store { server: Some(clock), ..self }
    }

    /// Returns the database for a process.
    pub fn for_process(&self, who: &Arc<str>) -> Database {
        Database::new(Arc::new(Wrapper {
            store: self.clone(),
            cut_until: Mutex::default(),
            who: who.clone(),
        }))
    }

    /// Reads at once. No transaction may be writing.
    pub fn read_rows(&self, sql: &str) -> Vec<Row> {
        read_rows(&self.inner, sql)
    }

    /// Runs a statement at once, before any process runs.
    pub fn prepare(&self, sql: &str) {
        let done = async {
            let open = self.inner.begin().await?;
            open.tx().batch(sql).await?;
            open.commit().await
        };
        done.now_or_never().expect("no process writes yet").expect("prepare a database");
        self.skip();
    }

    /// Hides all commits so far from the checker.
    pub fn skip(&self) {
        self.seen.store(self.inner.stats().commits, Ordering::Relaxed);
    }

    async fn guard(&self) -> WriteGuard {
        if !self.joins {
            self.quiet().await;
        }
        self.writers.fetch_add(1, Ordering::Relaxed);
        WriteGuard(self.writers.clone())
    }

    /// Waits until no transaction writes.
    async fn quiet(&self) {
        while self.writers.load(Ordering::Relaxed) > 0 {
            self.end_idle_transaction();
            self.world.sleep(1).await;
        }
    }

    async fn before(&self) -> Result<(), Error> {
        self.world.pause().await;
        if self.world.strikes(Fault::StoreDown) {
            return Err(Error::Unavailable("injected by the simulator".into()));
        }
        if self.world.strikes(Fault::StoreConflict) {
            return Err(Error::Conflict("injected by the simulator".into()));
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
            // a handler runs few statements
            if !(0..4).any(|_| self.world.strikes(Fault::HandlerFault)) {
                return Ok(());
            }
            broken_until.store(now + self.world.between(1, 10_000), Ordering::Relaxed);
        }
        Err(Error::Statement("injected by the simulator".into()))
    }
}

impl Wrapper {
    /// Injects the faults of a process that starts to use the database.
    async fn before(&self) -> Result<(), Error> {
        self.store.before().await?;
        let mut until = self.cut_until.lock().unwrap_or_else(PoisonError::into_inner);
        match holds(&self.store.world, Fault::CutFromDatabase, &mut until) {
            true => Err(Error::Unavailable("injected by the simulator".into())),
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
            let guard = self.store.guard().await;
            let open = self.store.in_line(&self.who, self.store.inner.begin()).await?;
            let held = OpenTransaction {
                store: self.store.clone(),
                who: self.who.clone(),
                tx: open.tx(),
                slot: self.store.slot(open, guard),
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

impl OpenTransaction {
    /// Runs an operation on the open transaction, which never blocks in memory.
    fn with(&self, act: impl FnOnce(&Open) -> Option<Result<(), Error>>) -> Result<(), Error> {
        self.slot.with(|open| act(open).expect("databases in memory never block"))
    }

    fn end(&self) -> Result<(Open, WriteGuard), Error> {
        self.slot.end()
    }

    /// Injects the faults of a statement.
    async fn before_statement(&self, sql: &str) -> Result<(), Error> {
        self.store.before_statement(sql).await?;
        self.store.touch(&self.slot)
    }

    /// Injects the faults of another call in the transaction.
    async fn before(&self) -> Result<(), Error> {
        self.store.before().await?;
        self.store.touch(&self.slot)
    }

    async fn finish(&self) -> Result<(), Error> {
        let world = &self.store.world;
        self.before().await?;
        if world.strikes(Fault::CommitUnknownLost) {
            let (open, guard) = self.end()?;
            let _ = self.store.in_line(&self.who, open.rollback()).await; // the result is unknown
            drop(guard);
            world.pause().await;
            return Err(Error::CommitUnknown("injected by the simulator".into()));
        }
        self.doom().await?;
        let (open, guard) = self.end()?;
        let committed = self.store.in_line(&self.who, open.commit()).await;
        drop(guard);
        world.pause().await;
        committed.map_err(|error| self.store.lost(error))?;
        if world.strikes(Fault::CommitUnknownDone) {
            return Err(Error::CommitUnknown("injected by the simulator".into()));
        }
        Ok(())
    }
}

/// The length of the periods in which the engine's database alternates between accepting and
/// rejecting the character.
const STRICT_MS: i64 = 700;

impl OpenTransaction {
    /// Rejects a journal entry with the foreign character in every second period.
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
            return Err(Error::Constraint("injected by the simulator".into()));
        }
        Ok(())
    }
}

impl Transaction for OpenTransaction {
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
                return Err(Error::Unavailable("injected by the simulator".into()));
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
            let (open, guard) = self.end()?;
            let undone = self.store.in_line(&self.who, open.rollback()).await;
            drop(guard);
            undone.map_err(|error| self.store.lost(error))
        })
    }

    fn abandon(&self) {
        drop(self.end()); // nothing happens if the transaction has ended
        self.store.notice(&self.who);
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        Transaction::abandon(self);
    }
}
