//! Idle transactions that the server ends, as PostgreSQL does. Their writes are rolled back, and
//! others continue.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sagamore_database::Error;
use sagamore_database::database::Open;

use super::{Store, WriteGuard};

/// The maximum time without a statement.
const IDLE_MS_MAX: i64 = 2_500;

/// An open transaction, shared by a process and the server.
pub(super) struct Slot {
    held: Mutex<Option<(Open, WriteGuard)>>,
    /// The time of its last statement.
    last_used_at: AtomicI64,
    /// Whether the server has ended it.
    ended: AtomicBool,
}

impl Slot {
    fn held(&self) -> MutexGuard<'_, Option<(Open, WriteGuard)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the error for a transaction that has ended.
    fn missing_error(&self) -> Error {
        if self.ended.load(Ordering::Relaxed) {
            Error::Unavailable("idle for too long".into())
        } else {
            Error::Over
        }
    }

    /// Runs an operation on the transaction, if it is open.
    pub(super) fn with<T>(&self, act: impl FnOnce(&Open) -> Result<T, Error>) -> Result<T, Error> {
        match &*self.held() {
            Some((open, _)) => act(open),
            None => Err(self.missing_error()),
        }
    }

    /// Removes the transaction to end it.
    pub(super) fn end(&self) -> Result<(Open, WriteGuard), Error> {
        let held = self.held().take();
        held.ok_or_else(|| self.missing_error())
    }

    fn end_if_idle(&self, store: &Store) {
        if self.last_used_at.load(Ordering::Relaxed) + IDLE_MS_MAX < store.world.now()
            && let Some(held) = self.held().take()
        {
            self.ended.store(true, Ordering::Relaxed);
            store.world.count("idle transaction ended");
            drop(held);
        }
    }
}

impl Store {
    /// Returns the store on a server that ends idle transactions.
    pub fn limited(self) -> Store {
        Store { limited: Some(Arc::default()), ..self }
    }

    /// Stores a transaction that has just started.
    pub(super) fn slot(&self, open: Open, guard: WriteGuard) -> Arc<Slot> {
        let last_used_at = AtomicI64::new(self.world.now());
        let slot = Arc::new(Slot {
            held: Mutex::new(Some((open, guard))),
            last_used_at,
            ended: AtomicBool::new(false),
        });
        if let Some(current) = &self.limited {
            *current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&slot);
        }
        slot
    }

    /// Records a statement. Fails if the transaction was idle for too long.
    pub(super) fn touch(&self, slot: &Slot) -> Result<(), Error> {
        if self.limited.is_some() {
            slot.end_if_idle(self);
        }
        slot.last_used_at.store(self.world.now(), Ordering::Relaxed);
        slot.with(|_| Ok(()))
    }

    /// Ends the open transaction if it was idle for too long.
    pub(super) fn end_idle_transaction(&self) {
        let Some(current) = &self.limited else { return };
        let slot = current.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(slot) = slot {
            slot.end_if_idle(self);
        }
    }
}
