//! The queue of writers whose transactions share a commit, and the loss of such a commit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use sagamore_database::Error;

use super::{OpenTransaction, Store};
use crate::faults::Fault;

/// Tables whose deferred constraint makes a commit fail.
const DOOMED: &str = "CREATE TABLE sim_nothing (id INTEGER PRIMARY KEY);
    CREATE TABLE sim_doom (id INTEGER REFERENCES sim_nothing (id) DEFERRABLE INITIALLY DEFERRED)";
const DOOM: &str = "INSERT INTO sim_doom (id) VALUES (1)";

/// A process that waits for the database. Dropping it may pass the right to write to another
/// process, and thus end a shared commit.
struct PendingCall<'a, T> {
    store: &'a Store,
    who: &'a Arc<str>,
    future: Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>,
}

impl<T> Drop for PendingCall<'_, T> {
    fn drop(&mut self) {
        self.future = None;
        self.store.notice(self.who);
    }
}

impl Store {
    /// Returns the store with transactions that join the current writer and share its commit.
    pub fn joined(self) -> Store {
        self.prepare(DOOMED);
        Store { joins: true, ..self }
    }

    /// Whether transactions share commits.
    pub fn joins(&self) -> bool {
        self.joins
    }

    /// Waits for the database, which never blocks unless others are queued.
    pub(super) async fn in_line<'a, T>(
        &'a self,
        who: &'a Arc<str>,
        future: impl Future<Output = T> + Send + 'a,
    ) -> T {
        let mut waiting = PendingCall { store: self, who, future: Some(Box::pin(future)) };
        loop {
            let polled = std::future::poll_fn(|context| {
                let future = waiting.future.as_mut().expect("the future exists until the drop");
                Poll::Ready(future.as_mut().poll(context))
            });
            let polled = polled.await;
            self.notice(who);
            match polled {
                Poll::Ready(value) => return value,
                Poll::Pending => self.world.sleep(1).await,
            }
        }
    }

    /// Reports new commits to the checker before any process continues.
    pub(super) fn notice(&self, who: &str) {
        let commits = self.inner.stats().commits;
        if self.seen.swap(commits, Ordering::Relaxed) != commits {
            self.world.log(|| format!("{who} commits to {:?}", self.owner));
            self.world.checker().committed(&self.world, self.owner, &self.inner, who);
        }
    }

    /// Maps the failure of a shared commit to the error of a full disk or a crash during the sync.
    pub(super) fn lost(&self, error: Error) -> Error {
        match error {
            Error::Constraint(_) | Error::Conflict(_) if self.joins => {
                self.world.count("joined transactions lost");
                let why = "the outer transaction is lost".to_owned();
                if self.world.percent(50) {
                    Error::CommitUnknown(why)
                } else {
                    Error::Unavailable(why)
                }
            }
            other => other,
        }
    }
}

impl OpenTransaction {
    /// Makes the shared commit fail, by chance.
    pub(super) async fn doom(&self) -> Result<(), Error> {
        if self.store.joins && self.store.world.strikes(Fault::OuterLost) {
            self.tx.execute(DOOM, ()).await?;
        }
        Ok(())
    }
}
