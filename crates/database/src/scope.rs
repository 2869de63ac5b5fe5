//! The rule for failed statements on every backend. As on PostgreSQL, an error aborts the
//! transaction until a rollback to an earlier savepoint.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sagamore_core::planted::{Bug, planted};

use crate::error::Error;
use crate::port::{BoxFuture, Transaction};

/// An open transaction, with the error that aborted it.
pub(crate) struct Scope {
    transaction: Arc<dyn Transaction>,
    aborted: Mutex<Option<Error>>,
}

impl Scope {
    pub fn new(transaction: Arc<dyn Transaction>) -> Scope {
        Scope { transaction, aborted: Mutex::default() }
    }

    /// Returns the backend's transaction, for operations that are allowed after a failed statement.
    pub fn transaction(&self) -> &dyn Transaction {
        self.transaction.as_ref()
    }

    /// Runs a statement, unless the transaction is aborted. Its error aborts the transaction.
    pub async fn run<'a, T>(
        &'a self,
        statement: impl FnOnce(&'a dyn Transaction) -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Error> {
        if let Some(cause) = self.aborted() {
            return Err(Error::Aborted(Box::new(cause)));
        }
        match statement(self.transaction()).await {
            // another task may have read the failure first, and recorded the cause
            Err(Error::Aborted(unseen)) => {
                Err(Error::Aborted(self.aborted().map_or(unseen, Box::new)))
            }
            outcome => outcome.inspect_err(|error| self.abort(error)),
        }
    }

    /// Releases the innermost savepoint.
    ///
    /// # Errors
    /// Returns the error that aborted the transaction since the savepoint.
    pub async fn release(&self) -> Result<(), Error> {
        match self.aborted() {
            Some(cause) => Err(cause),
            None => self.transaction.release().await.inspect_err(|error| self.abort(error)),
        }
    }

    /// Rolls back to the innermost savepoint, after which the transaction is not aborted any more.
    pub async fn rollback_to(&self) -> Result<(), Error> {
        self.transaction.rollback_to().await?;
        *self.state() = None;
        Ok(())
    }

    /// Commits, or rolls an aborted transaction back and returns its error.
    pub async fn commit(&self) -> Result<(), Error> {
        let Some(cause) = self.aborted() else { return self.transaction.commit().await };
        // the original error is more useful than that of a lost connection
        let _ = self.transaction.rollback().await;
        Err(cause)
    }

    /// Returns the first error since the innermost savepoint.
    pub fn aborted(&self) -> Option<Error> {
        self.state().clone()
    }

    fn abort(&self, error: &Error) {
        if *error != Error::Over && !planted(Bug::SwallowedError) {
            self.state().get_or_insert_with(|| error.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, Option<Error>> {
        self.aborted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
