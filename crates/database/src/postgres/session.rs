//! A connection in the hands of one transaction or one reader: it goes back to the pool when it is dropped, unless it broke.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::Object;
use futures_util::future::{join, join3};
use futures_util::{FutureExt, TryStreamExt};
use tokio_postgres::error::SqlState;
use tokio_postgres::{NoTls, SimpleQueryMessage, Statement};

use super::convert::Bound;
use super::{convert, map};
use crate::error::Error;
use crate::value::{Row, Value};

/// How many prepared statements a connection keeps; texts that are put together at run time must not add up.
const STATEMENTS_MAX: usize = 512;

/// A leased connection.
pub(super) struct Session {
    /// None once it is dropped.
    client: Option<Object>,
    answer_within: Duration,
    /// Requests that were sent, and whose answer nobody has seen: those that are under way, and those that were given up.
    unanswered: AtomicUsize,
    /// Whether the server has a transaction open here, of which no end was sent. **Invariant:** such a connection never
    /// goes back to the pool.
    open: AtomicBool,
    /// Whether it is read-only by our own will.
    reading: AtomicBool,
    broken: AtomicBool,
}

/// What a statement gave.
pub(super) struct Answer {
    /// Its rows.
    pub rows: Vec<Row>,
    /// How many rows it read or changed, as the server says.
    pub count: u64,
}

impl Session {
    pub(super) fn new(client: Object, answer_within: Duration) -> Session {
        let [open, reading, broken] = [false; 3].map(AtomicBool::new);
        Session { client: Some(client), answer_within, unanswered: AtomicUsize::new(0), open, reading, broken }
    }

    /// Begins a transaction, unless it has begun.
    pub(super) fn begin(&self) {
        if !self.open.swap(true, Ordering::Relaxed) {
            self.send("BEGIN");
        }
    }

    /// Whether a transaction has begun, and no end of it was sent.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Sends what cannot fail by itself, and does not wait: when the connection is gone the next request tells.
    pub(super) fn send(&self, sql: &str) {
        if let Some(Err(_)) = self.client().batch_execute(sql).now_or_never() {
            self.broken.store(true, Ordering::Relaxed);
        }
    }

    /// Sends what fails only after a failed statement. Waits for the answer where a request was given up: nobody has seen
    /// whether that one failed.
    pub(super) async fn settle(&self, sql: &str) -> Result<(), Error> {
        if self.unanswered.load(Ordering::Relaxed) == 0 {
            self.send(sql);
            return Ok(());
        }
        self.answered(self.client().batch_execute(sql)).await
    }

    /// The statement, prepared once on this connection.
    pub(super) async fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        let client = self.client();
        if client.statement_cache.size() > STATEMENTS_MAX {
            client.statement_cache.clear();
        }
        self.answered(client.prepare_cached(sql)).await
    }

    /// Runs a prepared statement. The request is sent when this is polled first.
    pub(super) async fn run(&self, statement: &Statement, params: Vec<Bound>) -> Result<Answer, Error> {
        let outcome = self.answered(async {
            let mut stream = pin!(self.client().query_raw(statement, params).await?);
            let mut rows = Vec::new();
            while let Some(row) = stream.try_next().await? {
                rows.push(convert::row(&row));
            }
            Ok((rows, stream.rows_affected().unwrap_or(0)))
        });
        let (rows, count) = outcome.await?;
        Ok(Answer { rows: rows.into_iter().collect::<Result<_, _>>()?, count })
    }

    /// Reads what is committed, in one round trip, and cannot write. All is sent at once, so that the connection is free
    /// for others whenever this is dropped.
    pub(super) async fn read(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, Error> {
        let statement = self.prepare(sql).await?;
        let params = convert::bind(&statement, params)?;
        let begin = self.answered(self.client().batch_execute("BEGIN READ ONLY"));
        let end = self.answered(self.client().batch_execute("COMMIT"));
        self.reading.store(true, Ordering::Relaxed);
        let (_, answer, _) = join3(begin, self.run(&statement, params), end).await;
        Ok(answer?.rows)
    }

    /// Runs statements without parameters, for as long as they take; gives how many rows each read or changed.
    pub(super) async fn batch(&self, sql: &str) -> Result<Vec<u64>, Error> {
        let messages = self.counted(self.client().simple_query(sql)).await.map_err(|why| self.failed(&why))?;
        let counts = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(count) => Some(*count),
            _ => None, // rows, which nobody wants
        });
        Ok(counts.collect())
    }

    /// Commits the open transaction. Who drops this leaves it open whether that happens.
    pub(super) async fn commit(&self) -> Result<(), Error> {
        let client = self.client();
        if client.is_closed() {
            self.broken.store(true, Ordering::Relaxed);
            return Err(Error::Unavailable("the connection was lost before the commit".into()));
        }
        let given_up = self.unanswered.load(Ordering::Relaxed) > 0;
        let committed = self.counted(async {
            self.open.store(false, Ordering::Relaxed); // what follows is sent in this same poll
            if !given_up {
                return client.batch_execute("COMMIT").await;
            }
            // A request that was given up may have failed: COMMIT alone would then roll back, and say that all is well.
            join(client.batch_execute("SELECT; COMMIT"), client.batch_execute("ROLLBACK")).await.0
        });
        match tokio::time::timeout(self.answer_within, committed).await {
            Ok(outcome) => outcome.map_err(|why| {
                self.failed(&why);
                map::commit_error(&why)
            }),
            Err(_) => {
                self.broken.store(true, Ordering::Relaxed);
                Err(Error::CommitUnknown(format!("no answer within {:?}", self.answer_within)))
            }
        }
    }

    /// Rolls the open transaction back. It is gone also when this fails, since then the connection is.
    pub(super) async fn rollback(&self) {
        if self.unanswered.load(Ordering::Relaxed) > 0 {
            self.cancel().await;
        }
        let rolled_back = self.answered(async {
            self.open.store(false, Ordering::Relaxed);
            self.client().batch_execute("ROLLBACK").await
        });
        let _ = rolled_back.await;
    }

    /// Rolls the open transaction back without anybody who waits for it.
    pub(super) fn abandon(self) {
        if self.unanswered.load(Ordering::Relaxed) == 0 {
            self.open.store(false, Ordering::Relaxed);
            self.send("ROLLBACK");
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(async move { self.rollback().await }));
        } // else the connection is closed, and the server rolls back
    }

    /// Stops a statement that nobody waits for: it may hold locks, or wait for some. The connection goes with it: a cancel
    /// that comes late would hit the next one's statement.
    async fn cancel(&self) {
        self.broken.store(true, Ordering::Relaxed);
        let token = self.client().cancel_token();
        let _ = tokio::time::timeout(self.answer_within, token.cancel_query(NoTls)).await; // it may have ended by itself
    }

    /// Waits for an answer, but not for ever.
    async fn answered<T>(&self, request: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Error> {
        match tokio::time::timeout(self.answer_within, self.counted(request)).await {
            Ok(outcome) => outcome.map_err(|why| self.failed(&why)),
            Err(_) => {
                self.broken.store(true, Ordering::Relaxed);
                Err(Error::Unavailable(format!("no answer within {:?}", self.answer_within)))
            }
        }
    }

    /// Counts a request as unanswered until it is; for ever, when this is dropped before.
    async fn counted<T>(&self, request: impl Future<Output = T>) -> T {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        let outcome = request.await;
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    /// What an error means, for the caller and for this connection.
    fn failed(&self, why: &tokio_postgres::Error) -> Error {
        let error = match map::error(why) {
            // who writes here is wrong, and not the server
            Error::Unavailable(text)
                if self.is_reading() && why.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) =>
            {
                Error::Statement(text)
            }
            error => error,
        };
        match error {
            Error::Unavailable(_) => self.broken.store(true, Ordering::Relaxed),
            Error::Conflict(_) if why.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
                self.client().statement_cache.clear(); // prepared before a table was altered
            }
            _ => {}
        }
        error
    }

    fn is_reading(&self) -> bool {
        self.reading.load(Ordering::Relaxed)
    }

    fn client(&self) -> &Object {
        self.client.as_ref().expect("a session has its connection until it is dropped")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take()
            && (self.broken.load(Ordering::Relaxed) || self.is_open())
        {
            drop(Object::take(client)); // out of the pool; one that is merely dropped goes back into it
        }
    }
}
