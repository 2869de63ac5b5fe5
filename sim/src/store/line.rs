//! The line of those who want to write where transactions share a commit, and how the commit that they share is lost.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use sagamore_database::Error;

use super::{Held, Store};
use crate::faults::Fault;

/// No commit succeeds while there is such a row: what it refers to is missing.
const DOOMED: &str = "CREATE TABLE sim_nothing (id INTEGER PRIMARY KEY);
    CREATE TABLE sim_doom (id INTEGER REFERENCES sim_nothing (id) DEFERRABLE INITIALLY DEFERRED)";
const DOOM: &str = "INSERT INTO sim_doom (id) VALUES (1)";

/// A process that waits for the database. Dropping it may pass the right to write on, and so end a shared commit.
struct Waiting<'a, T> {
    store: &'a Store,
    who: &'a Arc<str>,
    wanted: Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>,
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.wanted = None;
        self.store.notice(self.who);
    }
}

impl Store {
    /// The same, where transactions that wait for the writer join the one that has it, and share its commit.
    pub fn joined(self) -> Store {
        self.prepare(DOOMED);
        Store { joins: true, ..self }
    }

    /// Whether transactions share commits.
    pub fn joins(&self) -> bool {
        self.joins
    }

    /// Waits for the database, which answers at once unless others are in line.
    pub(super) async fn in_line<'a, T>(
        &'a self,
        who: &'a Arc<str>,
        wanted: impl Future<Output = T> + Send + 'a,
    ) -> T {
        let mut waiting = Waiting { store: self, who, wanted: Some(Box::pin(wanted)) };
        loop {
            let polled = std::future::poll_fn(|context| {
                let wanted = waiting.wanted.as_mut().expect("it is there until it is dropped");
                Poll::Ready(wanted.as_mut().poll(context))
            });
            let polled = polled.await;
            self.notice(who);
            match polled {
                Poll::Ready(value) => return value,
                Poll::Pending => self.world.sleep(1).await,
            }
        }
    }

    /// Shows the checker what was committed since, before anybody can go on.
    pub(super) fn notice(&self, who: &str) {
        let commits = self.inner.stats().commits;
        if self.seen.swap(commits, Ordering::Relaxed) != commits {
            self.world.tell(|| format!("{who} commits to {:?}", self.owner));
            self.world.checker().committed(&self.world, self.owner, &self.inner, who);
        }
    }

    /// What a shared commit that failed looks like: the disk is full, or the process died during the sync.
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

impl Held {
    /// Sometimes the commit that this transaction shares with others will fail.
    pub(super) async fn doom(&self) -> Result<(), Error> {
        if self.store.joins && self.store.world.strikes(Fault::OuterLost) {
            self.tx.execute(DOOM, ()).await?;
        }
        Ok(())
    }
}
