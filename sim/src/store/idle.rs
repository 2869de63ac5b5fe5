//! Idle transactions that the server ends, as PostgreSQL does. Their writes are rolled back, and
//! others continue.

use std::sync::{Arc, PoisonError};

use sagamore_database::Error;
use sagamore_database::database::Open;

use super::Store;
use super::slot::{Slot, WriteGuard};

impl Store {
    /// Returns the store on a server that ends idle transactions.
    pub fn limited(self) -> Store {
        Store { limited: Some(Arc::default()), ..self }
    }

    /// Stores a transaction that has just started.
    pub(super) fn slot(&self, open: Open, guard: WriteGuard) -> Arc<Slot> {
        let slot = Arc::new(Slot::new(open, guard, self.world.now()));
        if let Some(current) = &self.limited {
            *current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&slot);
        }
        slot
    }

    /// Records a statement. Fails if the transaction was idle for too long.
    pub(super) fn touch(&self, slot: &Slot) -> Result<(), Error> {
        if self.limited.is_some() {
            slot.end_if_idle(&self.world);
        }
        slot.touch(self.world.now());
        slot.with(|_| Ok(()))
    }

    /// Ends the open transaction if it was idle for too long.
    pub(super) fn end_idle_transaction(&self) {
        let Some(current) = &self.limited else { return };
        let slot = current.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(slot) = slot {
            slot.end_if_idle(&self.world);
        }
    }
}
