//! A database and a transport that yield before and after each call, and fail on demand.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use sagamore_database::port::{Backend, BoxFuture, Dialect, Stats, Transaction};
use sagamore_database::{Database, Error as DatabaseError, Open, Row, Tx, Value};
use sagamore_transport::{Consumer, Delivery, Error, Mark, Reach, Record, Subscription, Transport};

/// The call that fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Call {
    Begin,
    Execute,
    Commit,
    Publish,
    Acknowledge,
}

/// Whether the call fails before or after it took effect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    Before,
    After,
}

#[derive(Clone, Default)]
pub struct Trouble {
    stops: Arc<AtomicBool>,
    trips: Arc<AtomicUsize>,
    failures: Arc<Mutex<VecDeque<(Call, When, DatabaseError)>>>,
    judge: Arc<Mutex<Option<Box<Judge>>>>,
}

/// Decides whether a statement with these parameters fails.
type Judge = dyn Fn(&str, &[Vec<Value>]) -> Result<(), DatabaseError> + Send;

impl Trouble {
    /// Checks each writing statement with `judge` from now on.
    pub fn judge(
        &self,
        judge: impl Fn(&str, &[Vec<Value>]) -> Result<(), DatabaseError> + Send + 'static,
    ) {
        *self.judge.lock().expect("no panic") = Some(Box::new(judge));
    }

    fn judged(&self, sql: &str, sets: &[Vec<Value>]) -> Result<(), DatabaseError> {
        self.judge.lock().expect("no panic").as_ref().map_or(Ok(()), |judge| judge(sql, sets))
    }

    /// Makes each call yield twice from now on.
    pub fn stops(&self, stops: bool) {
        self.stops.store(stops, Ordering::Relaxed);
    }

    /// Returns the number of database calls, without single statements, which are the handlers'.
    pub fn round_trips(&self) -> usize {
        self.trips.load(Ordering::Relaxed)
    }

    /// Makes the next such call fail once. For the transport only the error's text counts.
    pub fn fail(&self, call: Call, when: When, error: DatabaseError) {
        self.failures.lock().expect("no panic").push_back((call, when, error));
    }

    /// Wraps a database.
    pub fn database(&self, database: Database) -> Database {
        Database::new(Arc::new(Behind { inner: database, trouble: self.clone() }))
    }

    /// Wraps a transport.
    pub fn transport(&self, transport: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(Behind { inner: transport, trouble: self.clone() })
    }

    async fn stop(&self) {
        let mut stopped = !self.stops.load(Ordering::Relaxed);
        poll_fn(|context| match std::mem::replace(&mut stopped, true) {
            true => Poll::Ready(()),
            false => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
    }

    async fn around<T>(
        &self,
        call: Option<Call>,
        inner: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        self.stop().await;
        self.trips.fetch_add(usize::from(call != Some(Call::Execute)), Ordering::Relaxed);
        self.may_fail(call, When::Before)?;
        let result = inner.await;
        self.stop().await;
        self.may_fail(call, When::After)?;
        result
    }

    async fn around_transport<T>(
        &self,
        call: Option<Call>,
        inner: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let unavailable = |error: DatabaseError| Error::Unavailable(error.to_string());
        self.stop().await;
        self.may_fail(call, When::Before).map_err(unavailable)?;
        let result = inner.await;
        self.stop().await;
        self.may_fail(call, When::After).map_err(unavailable)?;
        result
    }

    fn may_fail(&self, call: Option<Call>, when: When) -> Result<(), DatabaseError> {
        let mut failures = self.failures.lock().expect("no panic");
        let index =
            failures.iter().position(|(failing, at, _)| Some(*failing) == call && *at == when);
        match index.and_then(|index| failures.remove(index)) {
            Some((_, _, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// Polls until the future has yielded `stops` times or has ended. Dropping it then simulates a
/// crash at its n-th await.
pub fn advance<T>(future: impl Future<Output = T>, stops: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..stops {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
    }
    None
}

struct Behind<I> {
    inner: I,
    trouble: Trouble,
}

struct BehindTx {
    open: tokio::sync::Mutex<Option<Open>>,
    tx: Tx,
    trouble: Trouble,
}

impl Backend for Behind<Database> {
    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    fn begin(&self) -> BoxFuture<'_, Result<Arc<dyn Transaction>, DatabaseError>> {
        Box::pin(async {
            let open = self.trouble.around(Some(Call::Begin), self.inner.begin()).await?;
            let (tx, trouble) = (open.tx(), self.trouble.clone());
            Ok(Arc::new(BehindTx { open: Some(open).into(), tx, trouble }) as Arc<dyn Transaction>)
        })
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    fn read<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, DatabaseError>> {
        Box::pin(self.inner.query(sql, params))
    }
}

impl Transaction for BehindTx {
    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<u64, DatabaseError>> {
        Box::pin(self.trouble.around(Some(Call::Execute), async move {
            let sets = [params];
            self.trouble.judged(sql, &sets)?;
            let [params] = sets;
            self.tx.execute(sql, params).await
        }))
    }

    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, DatabaseError>> {
        Box::pin(self.trouble.around(None, self.tx.query(sql, params)))
    }

    fn query_each<'a>(
        &'a self,
        sql: &'a str,
        sets: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<Vec<Row>>, DatabaseError>> {
        Box::pin(self.trouble.around(None, self.tx.query_each(sql, sets)))
    }

    fn execute_each<'a>(
        &'a self,
        sql: &'a str,
        sets: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<Vec<u64>, DatabaseError>> {
        Box::pin(self.trouble.around(None, async move {
            self.trouble.judged(sql, &sets)?;
            self.tx.execute_each(sql, sets).await
        }))
    }

    fn batch<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<(), DatabaseError>> {
        Box::pin(self.trouble.around(None, self.tx.batch(sql)))
    }

    fn rows_written(&self) -> u64 {
        self.tx.rows_written()
    }

    fn savepoint(&self) -> BoxFuture<'_, Result<(), DatabaseError>> {
        Box::pin(self.trouble.around(None, async {
            self.open.lock().await.as_ref().expect("open").savepoint().await
        }))
    }

    fn release(&self) -> BoxFuture<'_, Result<(), DatabaseError>> {
        Box::pin(
            self.trouble.around(None, async {
                self.open.lock().await.as_ref().expect("open").release().await
            }),
        )
    }

    fn rollback_to(&self) -> BoxFuture<'_, Result<(), DatabaseError>> {
        Box::pin(self.trouble.around(None, async {
            self.open.lock().await.as_ref().expect("open").rollback_to().await
        }))
    }

    fn commit(&self) -> BoxFuture<'_, Result<(), DatabaseError>> {
        let commit = async { self.open.lock().await.take().expect("open").commit().await };
        Box::pin(self.trouble.around(Some(Call::Commit), commit))
    }

    fn rollback(&self) -> BoxFuture<'_, Result<(), DatabaseError>> {
        Box::pin(
            self.trouble.around(None, async {
                self.open.lock().await.take().expect("open").rollback().await
            }),
        )
    }

    fn abandon(&self) {
        let open = self.open.try_lock().ok().and_then(|mut open| open.take());
        drop(open);
    }
}

type TransportFuture<'a, T> = sagamore_transport::port::BoxFuture<'a, Result<T, Error>>;

impl Transport for Behind<Arc<dyn Transport>> {
    fn create_topic<'a>(&'a self, topic: &'a str, partitions: u32) -> TransportFuture<'a, ()> {
        Box::pin(self.trouble.around_transport(None, self.inner.create_topic(topic, partitions)))
    }

    fn publish_each(
        &self,
        records: Vec<Record>,
    ) -> sagamore_transport::port::BoxFuture<'_, Vec<Result<(), Error>>> {
        Box::pin(async move {
            let count = records.len();
            let inner = async { Ok(self.inner.publish_each(records).await) };
            let published = self.trouble.around_transport(Some(Call::Publish), inner).await;
            published.unwrap_or_else(|error| vec![Err(error); count])
        })
    }

    fn synced(&self) -> TransportFuture<'static, ()> {
        self.inner.synced()
    }

    fn subscribe(&self, subscription: Subscription) -> TransportFuture<'_, Box<dyn Consumer>> {
        Box::pin(async {
            let inner =
                self.trouble.around_transport(None, self.inner.subscribe(subscription)).await?;
            Ok(Box::new(Behind { inner, trouble: self.trouble.clone() }) as Box<dyn Consumer>)
        })
    }
}

impl Consumer for Behind<Box<dyn Consumer>> {
    fn poll(&mut self, max: usize) -> TransportFuture<'_, Vec<Delivery>> {
        Box::pin(self.trouble.around_transport(None, self.inner.poll(max)))
    }

    fn ready(&mut self) -> sagamore_transport::port::BoxFuture<'_, ()> {
        self.inner.ready()
    }

    fn commit(&mut self, marks: Vec<Mark>) -> TransportFuture<'_, ()> {
        Box::pin(self.trouble.around_transport(Some(Call::Acknowledge), self.inner.commit(marks)))
    }

    fn rewind(&mut self) -> TransportFuture<'_, ()> {
        Box::pin(self.trouble.around_transport(None, self.inner.rewind()))
    }

    fn lag(&self) -> u64 {
        self.inner.lag()
    }

    fn reaches(&mut self) -> TransportFuture<'_, Option<Vec<Reach>>> {
        self.inner.reaches()
    }

    fn marks(&self) -> Vec<Mark> {
        self.inner.marks()
    }
}
