//! A connection leased to one transaction or reader. It returns to the pool when dropped, unless it
//! is broken.

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

/// Maximum prepared statements per connection, because texts built at run time must not accumulate.
const STATEMENTS_MAX: usize = 512;

/// A leased connection.
pub(super) struct Session {
    /// `None` once dropped.
    client: Option<Object>,
    answer_within: Duration,
    /// The number of requests whose answers were not read: in flight, or dropped.
    unanswered: AtomicUsize,
    /// Whether the server has an open transaction for which no commit or rollback was sent.
    /// **Invariant:** such a connection never returns to the pool.
    open: AtomicBool,
    /// Whether this session opened a read-only transaction.
    reading: AtomicBool,
    broken: AtomicBool,
}

/// The result of a statement.
pub(super) struct Answer {
    /// The returned rows.
    pub rows: Vec<Row>,
    /// The number of rows read or changed, as reported by the server.
    pub count: u64,
}

impl Session {
    pub(super) fn new(client: Object, answer_within: Duration) -> Session {
        let [open, reading, broken] = [false; 3].map(AtomicBool::new);
        Session {
            client: Some(client),
            answer_within,
            unanswered: AtomicUsize::new(0),
            open,
            reading,
            broken,
        }
    }

    /// Begins a transaction, unless one is open.
    pub(super) fn begin(&self) {
        if !self.open.swap(true, Ordering::Relaxed) {
            self.send("BEGIN");
        }
    }

    /// Returns whether a transaction is open and neither its commit nor its rollback was sent.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Sends a statement that cannot fail by itself, without waiting. The next request reports a
    /// lost connection.
    pub(super) fn send(&self, sql: &str) {
        if let Some(Err(_)) = self.client().batch_execute(sql).now_or_never() {
            self.broken.store(true, Ordering::Relaxed);
        }
    }

    /// Sends a statement that can only fail because an earlier one failed. It waits for the answer
    /// if a dropped request may have failed unread.
    pub(super) async fn settle(&self, sql: &str) -> Result<(), Error> {
        if self.unanswered.load(Ordering::Relaxed) == 0 {
            self.send(sql);
            return Ok(());
        }
        self.answered(self.client().batch_execute(sql)).await
    }

    /// Prepares a statement once per connection.
    pub(super) async fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        let client = self.client();
        if client.statement_cache.size() > STATEMENTS_MAX {
            client.statement_cache.clear();
        }
        self.answered(client.prepare_cached(sql)).await
    }

    /// Runs a prepared statement. The request is sent on the first poll.
    pub(super) async fn run(
        &self,
        statement: &Statement,
        params: Vec<Bound>,
    ) -> Result<Answer, Error> {
        let outcome = self.answered(async {
            let mut stream = pin!(self.client().query_raw(statement, params).await?);
            let (mut rows, mut names) = (Vec::new(), None);
            while let Some(row) = stream.try_next().await? {
                let names = names.get_or_insert_with(|| convert::names(&row));
                rows.push(convert::row(&row, names));
            }
            Ok((rows, stream.rows_affected().unwrap_or(0)))
        });
        let (rows, count) = outcome.await?;
        Ok(Answer { rows: rows.into_iter().collect::<Result<_, _>>()?, count })
    }

    /// Reads committed rows in one read-only round trip. Everything is sent at once, so that the
    /// connection is reusable whenever the future is dropped.
    pub(super) async fn read(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, Error> {
        let statement = self.prepare(sql).await?;
        let params = convert::bind(&statement, params)?;
        let begin = self.answered(self.client().batch_execute("BEGIN READ ONLY"));
        let end = self.answered(self.client().batch_execute("COMMIT"));
        self.reading.store(true, Ordering::Relaxed);
        let (_, answer, _) = join3(begin, self.run(&statement, params), end).await;
        Ok(answer?.rows)
    }

    /// Runs statements without parameters and without a time limit. Returns the rows that each read
    /// or changed.
    pub(super) async fn batch(&self, sql: &str) -> Result<Vec<u64>, Error> {
        let messages =
            self.counted(self.client().simple_query(sql)).await.map_err(|why| self.failed(&why))?;
        let counts = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(count) => Some(*count),
            _ => None, // rows, which are discarded
        });
        Ok(counts.collect())
    }

    /// Commits the open transaction. If the future is dropped, the commit may or may not happen.
    pub(super) async fn commit(&self) -> Result<(), Error> {
        let client = self.client();
        if client.is_closed() {
            self.broken.store(true, Ordering::Relaxed);
            return Err(Error::Unavailable("the connection was lost before the commit".into()));
        }
        let dropped = self.unanswered.load(Ordering::Relaxed) > 0;
        let committed = self.counted(async {
            self.open.store(false, Ordering::Relaxed); // the COMMIT is sent in this same poll
            if !dropped {
                return client.batch_execute("COMMIT").await;
            }
            // a dropped request may have failed: COMMIT alone would then roll back and report
            // success
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

    /// Rolls the open transaction back. If this fails, the connection is lost, which ends the
    /// transaction as well.
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

    /// Rolls the open transaction back without waiting.
    pub(super) fn abandon(self) {
        if self.unanswered.load(Ordering::Relaxed) == 0 {
            self.open.store(false, Ordering::Relaxed);
            self.send("ROLLBACK");
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(async move { self.rollback().await }));
        } // otherwise the connection is closed, and the server rolls back
    }

    /// Cancels a statement whose future was dropped, because it may hold locks or wait for some.
    /// The connection is discarded: a late cancel would hit the next user's statement.
    async fn cancel(&self) {
        self.broken.store(true, Ordering::Relaxed);
        let token = self.client().cancel_token();
        // the statement may have ended already
        let _ = tokio::time::timeout(self.answer_within, token.cancel_query(NoTls)).await;
    }

    /// Waits for an answer, up to the time limit.
    async fn answered<T>(
        &self,
        request: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.answer_within, self.counted(request)).await {
            Ok(outcome) => outcome.map_err(|why| self.failed(&why)),
            Err(_) => {
                self.broken.store(true, Ordering::Relaxed);
                Err(Error::Unavailable(format!("no answer within {:?}", self.answer_within)))
            }
        }
    }

    /// Counts a request as unanswered until its answer is read. A dropped request stays counted.
    async fn counted<T>(&self, request: impl Future<Output = T>) -> T {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        let outcome = request.await;
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    /// Converts an error, and marks this connection as broken if the error breaks it.
    fn failed(&self, why: &tokio_postgres::Error) -> Error {
        let error = match map::error(why) {
            // a write in a read-only transaction is the caller's error, not the server's
            Error::Unavailable(text)
                if self.is_reading()
                    && why.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) =>
            {
                Error::Statement(text)
            }
            error => error,
        };
        match error {
            Error::Unavailable(_) => self.broken.store(true, Ordering::Relaxed),
            Error::Conflict(_) if why.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
                self.client().statement_cache.clear(); // prepared before the table was altered
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
            // removes it from the pool, to which a drop alone would return it
            drop(Object::take(client));
        }
    }
}
