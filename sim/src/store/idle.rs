//! Transactions that a server ends because they are idle for too long, as PostgreSQL does: what was written in them is
//! undone, and others go on.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sagamore_database::Error;
use sagamore_database::database::Open;

use super::{Gate, Store};

/// How long a transaction may be without a statement.
const IDLE_MS_MAX: i64 = 2_500;

/// An open transaction, in the hands of a process and of the server.
pub(super) struct Slot {
    held: Mutex<Option<(Open, Gate)>>,
    /// When its last statement came.
    heard_at: AtomicI64,
    /// The server has ended it.
    ended: AtomicBool,
}

impl Slot {
    fn held(&self) -> MutexGuard<'_, Option<(Open, Gate)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it is not there.
    fn gone(&self) -> Error {
        if self.ended.load(Ordering::Relaxed) {
            Error::Unavailable("idle for too long".into())
        } else {
            Error::Over
        }
    }

    /// Works on it, if it is there.
    pub(super) fn with<T>(&self, act: impl FnOnce(&Open) -> Result<T, Error>) -> Result<T, Error> {
        match &*self.held() {
            Some((open, _)) => act(open),
            None => Err(self.gone()),
        }
    }

    /// Takes it out, to end it.
    pub(super) fn end(&self) -> Result<(Open, Gate), Error> {
        let held = self.held().take();
        held.ok_or_else(|| self.gone())
    }

    fn end_if_idle(&self, store: &Store) {
        if self.heard_at.load(Ordering::Relaxed) + IDLE_MS_MAX < store.world.now()
            && let Some(held) = self.held().take()
        {
            self.ended.store(true, Ordering::Relaxed);
            store.world.count("idle transaction ended");
            drop(held);
        }
    }
}

impl Store {
    /// The same, on a server that ends transactions that are idle for too long.
    pub fn limited(self) -> Store {
        Store { limited: Some(Arc::default()), ..self }
    }

    /// Holds a transaction that has just begun.
    pub(super) fn slot(&self, open: Open, gate: Gate) -> Arc<Slot> {
        let heard_at = AtomicI64::new(self.world.now());
        let slot = Arc::new(Slot {
            held: Mutex::new(Some((open, gate))),
            heard_at,
            ended: AtomicBool::new(false),
        });
        if let Some(current) = &self.limited {
            *current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&slot);
        }
        slot
    }

    /// A statement comes; too late, perhaps.
    pub(super) fn heard_of(&self, slot: &Slot) -> Result<(), Error> {
        if self.limited.is_some() {
            slot.end_if_idle(self);
        }
        slot.heard_at.store(self.world.now(), Ordering::Relaxed);
        slot.with(|_| Ok(()))
    }

    /// Ends the open transaction if it is idle for too long.
    pub(super) fn end_what_idles(&self) {
        let Some(current) = &self.limited else { return };
        let slot = current.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(slot) = slot {
            slot.end_if_idle(self);
        }
    }
}
