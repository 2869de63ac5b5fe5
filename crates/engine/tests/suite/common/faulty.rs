//! A database with faults that a test controls.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sagamore_database::database::Open;
use sagamore_database::port::{Backend, BoxFuture, Dialect, Stats, Transaction};
use sagamore_database::{Database, Error, Row, Value};
use tokio::sync::oneshot;

/// A database that rejects texts with `poison` in them, as PostgreSQL rejects a NUL. Its [`Knobs`]
/// cause other failures.
pub struct Faulty {
    inner: Database,
    knobs: Arc<Knobs>,
}

/// The faults.
#[derive(Default)]
pub struct Knobs {
    /// Whether every transaction fails to begin.
    pub down: AtomicBool,
    /// The number of commits that are executed with an unknown outcome.
    pub commits_unknown: AtomicUsize,
    /// The most bytes of text that any call has written or read so far, summed over its rows.
    pub written_max: AtomicUsize,
    pub read_max: AtomicUsize,
    /// Bytes above which a writing call fails as if it had timed out; 0 for none.
    pub statement_max: AtomicUsize,
    /// The beginning of the next statement to fail, as if the server were gone.
    pub fails_once: Mutex<Option<&'static str>>,
    /// The number of transactions to pass, and the gate that the next one waits for.
    pub gate: Mutex<Option<(usize, oneshot::Receiver<()>)>>,
}

impl Knobs {
    /// Whether this statement must fail.
    fn fails(&self, sql: &str) -> bool {
        let mut fails = self.fails_once.lock().expect("no panic");
        fails.take_if(|begins| sql.trim_start().starts_with(&**begins)).is_some()
    }

    /// Returns the gate if this transaction must wait for it.
    fn gate_to_wait_for(&self) -> Option<oneshot::Receiver<()>> {
        let mut gate = self.gate.lock().expect("no panic");
        match gate.as_mut() {
            Some((before, _)) if *before > 0 => {
                *before -= 1;
                None
            }
            Some(_) | None => gate.take().map(|(_, opened)| opened),
        }
    }
}

struct FaultyTransaction {
    tx: sagamore_database::Tx,
    open: Mutex<Option<Open>>,
    knobs: Arc<Knobs>,
}

/// Creates a database in memory, with its knobs.
pub fn faulty() -> (Database, Arc<Knobs>) {
    let knobs = Arc::new(Knobs::default());
    let faulty = Faulty { inner: Database::memory(), knobs: knobs.clone() };
    (Database::new(Arc::new(faulty)), knobs)
}

impl Backend for Faulty {
    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    fn begin(&self) -> BoxFuture<'_, Result<Arc<dyn Transaction>, Error>> {
        Box::pin(async {
            if self.knobs.down.load(Ordering::Relaxed) {
                return Err(Error::Unavailable("simulated failure".into()));
            }
            if let Some(opened) = self.knobs.gate_to_wait_for() {
                opened.await.expect("the gate is opened");
            }
            let open = self.inner.begin().await?;
            let tx = open.tx();
            let faulty =
                FaultyTransaction { tx, open: Mutex::new(Some(open)), knobs: self.knobs.clone() };
            Ok(Arc::new(faulty) as Arc<dyn Transaction>)
        })
    }

    fn read<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(self.inner.query(sql, params))
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }
}

fn text_bytes<'a>(values: impl Iterator<Item = &'a Value>) -> usize {
    let bytes = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
    values.map(bytes).sum()
}

impl FaultyTransaction {
    fn open(&self) -> Result<Open, Error> {
        self.open.lock().expect("no panic").take().ok_or(Error::Over)
    }
}

impl Transaction for FaultyTransaction {
    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            if self.knobs.fails(sql) {
                return Err(Error::Unavailable("simulated failure".into()));
            }
            self.tx.execute(sql, params).await
        })
    }

    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(self.tx.query(sql, params))
    }

    fn query_each<'a>(
        &'a self,
        sql: &'a str,
        sets: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<Vec<Row>>, Error>> {
        Box::pin(async move {
            let rows = self.tx.query_each(sql, sets).await?;
            let texts =
                rows.iter().flatten().filter_map(|row| row.get::<String>(0).ok()).map(Value::Text);
            let texts: Vec<Value> = texts.collect();
            self.knobs.read_max.fetch_max(text_bytes(texts.iter()), Ordering::Relaxed);
            Ok(rows)
        })
    }

    fn execute_each<'a>(
        &'a self,
        sql: &'a str,
        sets: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<u64>, Error>> {
        Box::pin(async move {
            let poison =
                |value: &Value| matches!(value, Value::Text(text) if text.contains("poison"));
            if sets.iter().flatten().any(poison) {
                return Err(Error::Constraint("this text cannot be stored".into()));
            }
            let bytes = text_bytes(sets.iter().flatten());
            self.knobs.written_max.fetch_max(bytes, Ordering::Relaxed);
            let most = self.knobs.statement_max.load(Ordering::Relaxed);
            if most > 0 && bytes > most {
                return Err(Error::Conflict("the statement timed out, simulated".into()));
            }
            if self.knobs.fails(sql) {
                return Err(Error::Unavailable("simulated failure".into()));
            }
            self.tx.execute_each(sql, sets).await
        })
    }

    fn batch<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.tx.batch(sql))
    }

    fn savepoint(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) }) // the engine uses none
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn rollback_to(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn commit(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.open()?.commit().await?;
            let left = &self.knobs.commits_unknown;
            match left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            {
                Ok(_) => Err(Error::CommitUnknown("simulated failure".into())),
                Err(_) => Ok(()),
            }
        })
    }

    fn rollback(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { self.open()?.rollback().await })
    }

    fn rows_written(&self) -> u64 {
        self.tx.rows_written()
    }
}
