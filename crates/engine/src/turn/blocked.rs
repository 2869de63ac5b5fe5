//! Sagas that cannot be stored, because their row is locked or the statement takes too long. Each
//! is set aside alone with a growing pause, and its fault is stored in a row of its own.
//!
//! **Invariant:** a held reply holds back its partition's committed offset, so that a crash
//! redelivers it. Replies beyond the bound are dropped: their commands are resent.

use sagamore_core::Timestamp;
use sagamore_core::id::SagaId;
use sagamore_core::saga::StorageFault;
use sagamore_database::Error as DatabaseError;

use super::state::BlockedSaga;
use super::{Arrival, Arrivals, Batch, Settlement, poison};
use crate::error::Error;
use crate::orchestrator::{Orchestrator, as_gauge};
use crate::store::LoadResult;

/// Maximum sagas tried again per turn, each in its own transaction.
const TRIES_MAX: usize = 16;

impl Orchestrator {
    /// Holds back arrivals for sagas in a pause, and adds those to try again, at most
    /// [`TRIES_MAX`]. An operator's verb ends the pause.
    pub(crate) fn hold_back(&mut self, batch: &mut Batch, now: Timestamp) {
        let mut blocks: Vec<(Option<Timestamp>, SagaId)> =
            self.blocked.sagas.iter().map(|(id, block)| (block.retry_at, id.clone())).collect();
        blocks.sort(); // the longest waiting first
        let mut tries = 0;
        for (retry_at, id) in blocks {
            let arrivals = batch.arrivals.get(&id);
            let has_verb =
                arrivals.is_some_and(|all| all.iter().any(|one| matches!(one, Arrival::Verb(_))));
            let is_due =
                retry_at.is_some_and(|at| at <= now) || (retry_at.is_none() && arrivals.is_some());
            if has_verb || (is_due && tries < TRIES_MAX) {
                let held = self.blocked.take_replies(&id);
                tries += 1;
                batch.inputs += 1;
                let arrivals = batch.arrivals.entry(id).or_default();
                let later = std::mem::take(arrivals);
                arrivals.extend(held.into_iter().map(|stray| Arrival::Reply(Box::new(stray))));
                arrivals.extend(later);
                arrivals.push(Arrival::Due);
            } else if let Some(arrivals) = batch.arrivals.remove(&id) {
                if let Some(block) = self.blocked.sagas.get_mut(&id) {
                    block.retry_at.get_or_insert(now); // the turn had no tries left
                }
                let left = self.hold_replies(&id, arrivals);
                if !left.is_empty() {
                    batch.arrivals.insert(id, left);
                }
            }
        }
    }

    /// Holds the replies of a saga in a pause, and returns the arrivals that need no write.
    fn hold_replies(&mut self, id: &SagaId, arrivals: Vec<Arrival>) -> Vec<Arrival> {
        self.live.unschedule(id);
        let mut left = Vec::new();
        for arrival in arrivals {
            match arrival {
                Arrival::Reply(stray) | Arrival::Unstorable(stray, _) => {
                    self.blocked.hold(id, *stray)
                }
                // reading the saga starts its deadlines, and a rejected command is then resent
                Arrival::Due | Arrival::Rejected(_) => {}
                Arrival::Start(_) | Arrival::Watch(_) | Arrival::Verb(_) => left.push(arrival),
            }
        }
        left
    }

    /// Removes from a batch the sagas whose last attempt failed, so that each gets its own
    /// transaction. Sagas that are still locked are set aside again without waiting.
    pub(crate) async fn suspects(
        &mut self,
        arrivals: &mut Arrivals,
        now: Timestamp,
        settled: &mut Settlement,
    ) -> Result<Vec<Arrivals>, Error> {
        let is_suspect = |id: &SagaId, all: &[Arrival]| {
            self.blocked.sagas.contains_key(id) && all.iter().any(Arrival::may_write)
        };
        let ids: Vec<SagaId> = arrivals
            .iter()
            .filter(|(id, all)| is_suspect(id, all))
            .map(|(id, _)| id.clone())
            .collect();
        let mut suspects: Arrivals =
            ids.iter().filter_map(|id| arrivals.remove_entry(id)).collect();
        self.set_locked_aside(&mut suspects, now, settled).await?;
        Ok(suspects.into_iter().map(|suspect| Arrivals::from([suspect])).collect())
    }

    /// Sets aside the sagas whose rows another session has locked. Returns their number.
    pub(crate) async fn set_locked_aside(
        &mut self,
        arrivals: &mut Arrivals,
        now: Timestamp,
        settled: &mut Settlement,
    ) -> Result<usize, Error> {
        let ids: Vec<&SagaId> = arrivals.keys().collect();
        let locked = self.store.locked(&ids).await?;
        for id in &locked {
            if let Some(of_saga) = arrivals.remove(id) {
                self.set_unstored_aside(
                    id,
                    of_saga,
                    "another session has locked the saga's row",
                    now,
                    settled,
                );
            }
        }
        Ok(locked.len())
    }

    /// Sets aside a saga that could not be stored. Its callers are answered and its replies are
    /// held.
    pub(crate) fn set_unstored_aside(
        &mut self,
        id: &SagaId,
        arrivals: Vec<Arrival>,
        why: &str,
        now: Timestamp,
        settled: &mut Settlement,
    ) {
        let text = format!("inputs of the saga cannot be stored: {why}");
        if !self.blocked.sagas.contains_key(id) {
            tracing::error!(saga = %id, why, "cannot store this saga: set aside and retried");
        }
        metrics::counter!("sagamore_unstored_total").increment(1);
        self.blocked.fails(id, text.clone(), now);
        for arrival in self.hold_replies(id, arrivals) {
            match arrival {
                Arrival::Watch(waiter) => self.live.wait(id, waiter),
                arrival => poison::refuse(arrival, &text, settled),
            }
        }
    }

    /// Records that a saga was stored, or that another orchestrator owns it.
    pub(crate) fn note_stored(&mut self, id: &SagaId, is_ours: bool) {
        if self.blocked.sagas.is_empty() {
            return;
        }
        if self.blocked.remove(id).is_some() && is_ours {
            self.blocked.unwritten.insert(id.clone());
        }
    }

    /// Records that an attempt had nothing to store.
    pub(crate) fn note_tried(&mut self, id: &SagaId) {
        if let Some(block) = self.blocked.sagas.get_mut(id) {
            block.retry_at = None;
        }
    }

    /// Takes over a fault that the previous owner of a saga stored.
    pub(crate) fn note_fault(&mut self, reading: &LoadResult, owns: impl Fn(u32) -> bool) {
        let Ok(loaded) = reading else { return };
        let Some(fault) =
            loaded.saga.unstored.as_deref().filter(|_| owns(loaded.saga.reply_to.partition))
        else {
            return;
        };
        let block = BlockedSaga { fault: fault.clone(), retry_at: None, replies: Vec::new() };
        self.blocked.sagas.entry(loaded.saga.id.clone()).or_insert(block);
    }

    /// Stores the faults for readers. A failure does not fail the turn: the next turn retries.
    pub(crate) async fn write_faults(&mut self) {
        if self.blocked.unwritten.is_empty() {
            return;
        }
        let blocked = &self.blocked;
        let fault = |id| (id, blocked.sagas.get(id).map(|block| &block.fault));
        let faults: Vec<(&SagaId, Option<&StorageFault>)> =
            blocked.unwritten.iter().map(fault).collect();
        match self.store.write_faults(&faults).await {
            Ok(()) => self.blocked.unwritten.clear(),
            Err(error) => tracing::warn!(%error, "cannot store the faults of sagas, retrying"),
        }
        metrics::gauge!("sagamore_unstored_sagas").set(as_gauge(self.blocked.sagas.len()));
    }
}

/// The attempts to store one batch, which shrinks to the sagas that cannot be stored.
pub(crate) struct BatchBisection {
    sagas: usize,
    failures: usize,
    is_any_stored: bool,
    /// Sagas that failed alone, with the error. They are at fault if others can be stored.
    failed_alone: Vec<(Arrivals, DatabaseError)>,
}

impl BatchBisection {
    /// Maximum failed transactions of a batch before the turn fails: enough to find one saga among
    /// a thousand.
    const FAILURES_MAX: usize = 16;

    pub fn of(sagas: usize) -> BatchBisection {
        BatchBisection { sagas, failures: 0, is_any_stored: false, failed_alone: Vec::new() }
    }

    pub fn succeeded(&mut self) {
        self.is_any_stored = true;
    }

    /// Halves sagas that could not be stored together. The first half is last, because groups are
    /// popped.
    pub fn halve(
        &mut self,
        mut arrivals: Arrivals,
        why: DatabaseError,
    ) -> Result<Vec<Arrivals>, Error> {
        self.failures += 1;
        if self.failures > BatchBisection::FAILURES_MAX {
            return Err(why.into());
        }
        let middle = arrivals.keys().nth(arrivals.len() / 2).cloned();
        match middle.filter(|_| arrivals.len() > 1) {
            Some(middle) => {
                let upper = arrivals.split_off(&middle);
                Ok(vec![upper, arrivals])
            }
            None => {
                self.failed_alone.push((arrivals, why));
                Ok(Vec::new())
            }
        }
    }

    /// Returns whether all sagas could be stored, but not together, so that later turns must be
    /// smaller.
    pub fn was_too_much(&self) -> bool {
        self.failures > 0 && self.failed_alone.is_empty()
    }

    /// Returns the sagas that failed alone.
    ///
    /// # Errors
    /// The first of their errors if none of several sagas was stored: then no saga is at fault.
    pub fn end(self) -> Result<Vec<(Arrivals, DatabaseError)>, Error> {
        match self.failed_alone.first() {
            Some((_, why)) if self.sagas > 1 && !self.is_any_stored => Err(why.clone().into()),
            Some(_) | None => Ok(self.failed_alone),
        }
    }
}
