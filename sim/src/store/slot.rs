//! An open transaction, which the server may end.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sagamore_database::Error;
use sagamore_database::database::Open;

use crate::world::World;

/// The maximum time without a statement.
const IDLE_MS_MAX: i64 = 2_500;

/// An open transaction, shared by a process and the server.
pub struct Slot {
    held: Mutex<Option<(Open, WriteGuard)>>,
    /// The time of its last statement.
    last_used_at: AtomicI64,
    /// Whether the server has ended it.
    ended: AtomicBool,
}

impl Slot {
    /// Stores a transaction that has just started.
    pub fn new(open: Open, guard: WriteGuard, now: i64) -> Slot {
        let (held, last_used_at) = (Mutex::new(Some((open, guard))), AtomicI64::new(now));
        Slot { held, last_used_at, ended: AtomicBool::new(false) }
    }

    /// Records a statement.
    pub fn touch(&self, now: i64) {
        self.last_used_at.store(now, Ordering::Relaxed);
    }

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
    pub fn with<T>(&self, act: impl FnOnce(&Open) -> Result<T, Error>) -> Result<T, Error> {
        match &*self.held() {
            Some((open, _)) => act(open),
            None => Err(self.missing_error()),
        }
    }

    /// Removes the transaction to end it.
    pub fn end(&self) -> Result<(Open, WriteGuard), Error> {
        let held = self.held().take();
        held.ok_or_else(|| self.missing_error())
    }

    /// Ends the transaction if it was idle for too long.
    pub fn end_if_idle(&self, world: &World) {
        if self.last_used_at.load(Ordering::Relaxed) + IDLE_MS_MAX < world.now()
            && let Some(held) = self.held().take()
        {
            self.ended.store(true, Ordering::Relaxed);
            world.count("idle transaction ended");
            drop(held);
        }
    }
}

/// The right to write, released on drop.
pub struct WriteGuard(pub Arc<AtomicUsize>);

impl Drop for WriteGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
