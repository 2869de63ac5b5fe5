//! The sagas in memory, and a small header of every saga that has not ended. All of it can be read
//! again from the database.
//!
//! **Invariant:** the sagas in memory are bounded in number and bytes. An evicted saga is read
//! again for its next arrival or timer, which its header retains.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use sagamore_core::id::SagaId;
use sagamore_core::message::Command;
use sagamore_core::saga::{Saga, Status, StepState};
use sagamore_core::{Timers, Timestamp};
use tokio::sync::oneshot;

use crate::error::VerbError;
use crate::request::Summary;

/// Estimated size of a saga in bytes, without its texts.
const SAGA_BYTES: usize = 512;

/// A caller that waits until a saga is at rest.
pub(crate) type Waiter = oneshot::Sender<Result<Summary, VerbError>>;

/// A saga as its row and journal were last read or written.
pub(crate) struct StoredSaga {
    pub seq: i64,
    pub saga: Saga,
}

/// The memory limits of sagas.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryLimits {
    pub sagas: usize,
    pub bytes: usize,
}

/// All sagas of this orchestrator that have not ended.
pub(crate) struct LiveSagas {
    limits: MemoryLimits,
    sagas: HashMap<SagaId, CachedSaga>,
    /// The sagas in memory, in the order in which they were last put there.
    by_age: BTreeMap<u64, SagaId>,
    puts: u64,
    bytes: usize,
    /// Every saga that has not ended, whether or not in memory.
    unended: HashMap<SagaId, LiveHeader>,
    due: BTreeSet<(Timestamp, SagaId)>,
    /// Sagas by the start of their longest wait for a reply.
    waiting: BTreeSet<(Timestamp, SagaId)>,
    waiters: BTreeMap<SagaId, Vec<Waiter>>,
    stuck: usize,
    compensating: usize,
}

/// A saga in memory.
struct CachedSaga {
    known: StoredSaga,
    age: u64,
    bytes: usize,
}

struct LiveHeader {
    partition: u32,
    /// Timers of a saga that is not in memory.
    timers: Option<Timers>,
    due: Option<Timestamp>,
    since: Option<Timestamp>,
    status: Status,
    /// The size of the saga while in memory.
    bytes: usize,
}

impl LiveSagas {
    pub fn new(limits: MemoryLimits) -> LiveSagas {
        LiveSagas {
            limits,
            sagas: HashMap::new(),
            by_age: BTreeMap::new(),
            puts: 0,
            bytes: 0,
            unended: HashMap::new(),
            due: BTreeSet::new(),
            waiting: BTreeSet::new(),
            waiters: BTreeMap::new(),
            stuck: 0,
            compensating: 0,
        }
    }

    /// Takes a saga out of memory to decide on it. [`LiveSagas::put`] returns it. Its timers
    /// remain, in case the decision is not stored and the saga is read again.
    pub fn take(&mut self, id: &SagaId) -> Option<StoredSaga> {
        let known = self.remove(id)?;
        if let Some(unended) = self.unended.get_mut(id) {
            unended.timers = Some(known.saga.timers());
        }
        Some(known)
    }

    fn remove(&mut self, id: &SagaId) -> Option<StoredSaga> {
        let held = self.sagas.remove(id)?;
        self.by_age.remove(&held.age);
        self.bytes -= held.bytes;
        Some(held.known)
    }

    /// Returns whether the saga is unfinished and known here, in memory or evicted.
    pub fn knows(&self, id: &SagaId) -> bool {
        self.unended.contains_key(id)
    }

    /// Stores a saga that was just read or committed. A saga that has ended is removed instead.
    pub fn put(&mut self, known: StoredSaga) {
        let id = known.saga.id.clone();
        let status = known.saga.status;
        self.remove(&id);
        self.remove_header(&id);
        if status.has_ended() {
            return;
        }
        let (due, since) = (known.saga.next_due(), known.saga.waiting_since());
        self.due.extend(due.map(|due| (due, id.clone())));
        self.waiting.extend(since.map(|since| (since, id.clone())));
        self.count(status, 1);
        let (partition, bytes) = (known.saga.reply_to.partition, bytes_of(&known.saga));
        self.unended
            .insert(id.clone(), LiveHeader { partition, timers: None, due, since, status, bytes });
        self.puts += 1;
        self.by_age.insert(self.puts, id.clone());
        self.sagas.insert(id, CachedSaga { known, age: self.puts, bytes });
        self.bytes += bytes;
        self.evict();
    }

    /// Evicts the oldest sagas until the others fit.
    fn evict(&mut self) {
        while self.sagas.len() > self.limits.sagas || self.bytes > self.limits.bytes {
            let Some((_, id)) = self.by_age.first_key_value() else { return };
            let id = id.clone();
            self.take(&id);
            metrics::counter!("sagamore_live_evicted_total").increment(1);
        }
    }

    /// Restores the timers of a saga that was not in memory and is read again.
    pub fn restore_timers(&self, saga: &mut Saga, now: Timestamp) {
        let unended = self.unended.get(&saga.id);
        saga.set_timers(unended.and_then(|unended| unended.timers.as_ref()), now);
    }

    /// Starts the reply deadline of a command that the transport acknowledged at `now`.
    pub fn acknowledge(
        &mut self,
        command: &Command,
        step: usize,
        now: Timestamp,
        timeout: Duration,
    ) {
        let id = &command.key.saga;
        let Some(unended) = self.unended.get_mut(id) else { return };
        let due = now.plus(timeout);
        let armed = match self.sagas.get_mut(id) {
            Some(held) => held.known.saga.acknowledge(&command.key, command.attempt, now),
            None => unended
                .timers
                .as_mut()
                .is_some_and(|timers| timers.acknowledge(step, command.attempt, due)),
        };
        if armed && unended.due.is_none_or(|earlier| due < earlier) {
            unended.due.map(|earlier| self.due.remove(&(earlier, id.clone())));
            unended.due = Some(due);
            self.due.insert((due, id.clone()));
        }
    }

    /// Returns the number of sagas in memory, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.sagas.len(), self.bytes)
    }

    /// Returns the size of an unfinished saga while in memory. `None` if it is unknown here.
    pub fn bytes_of(&self, id: &SagaId) -> Option<usize> {
        self.unended.get(id).map(|unended| unended.bytes)
    }

    /// Recomputes implausibly late times after the clock was set back to `now`. An evicted saga
    /// becomes due at once, and is corrected when it is read.
    pub fn redraw(&mut self, now: Timestamp) {
        let ahead = |moments: &BTreeSet<(Timestamp, SagaId)>| {
            let later = moments.iter().rev().take_while(|(moment, _)| *moment > now);
            later.map(|(_, id)| id.clone()).collect::<Vec<_>>()
        };
        let ids: BTreeSet<SagaId> =
            ahead(&self.due).into_iter().chain(ahead(&self.waiting)).collect();
        for id in ids {
            match self.remove(&id) {
                Some(mut known) => {
                    known.saga.redraw(now);
                    self.put(known);
                }
                None => self.is_due_at(&id, now),
            }
        }
    }

    fn is_due_at(&mut self, id: &SagaId, now: Timestamp) {
        let Some(unended) = self.unended.get_mut(id) else { return };
        if let Some(due) = unended.due.replace(now) {
            self.due.remove(&(due, id.clone()));
        }
        self.due.insert((now, id.clone()));
    }

    /// Removes the saga's timers until it is put again. The next read of the saga starts the
    /// deadlines of all outstanding commands, even of a rejected one that is no longer in flight.
    pub fn unschedule(&mut self, id: &SagaId) {
        self.remove(id);
        let Some(unended) = self.unended.get_mut(id) else { return };
        unended.timers = None;
        if let Some(due) = unended.due.take() {
            self.due.remove(&(due, id.clone()));
        }
    }

    /// Removes a saga's header and times. Its waiters remain.
    fn remove_header(&mut self, id: &SagaId) {
        if let Some(before) = self.unended.remove(id) {
            self.count(before.status, -1);
            before.due.map(|due| self.due.remove(&(due, id.clone())));
            before.since.map(|since| self.waiting.remove(&(since, id.clone())));
        }
    }

    /// Removes the sagas of partitions that this orchestrator lost.
    pub fn forget_partitions(&mut self, lost: &[u32]) {
        let theirs = self.unended.iter().filter(|(_, unended)| lost.contains(&unended.partition));
        let theirs: Vec<SagaId> = theirs.map(|(id, _)| id.clone()).collect();
        for id in theirs {
            self.remove(&id);
            self.remove_header(&id);
        }
    }

    /// Returns at most `max` sagas that have local waiters and are driven by another orchestrator.
    pub fn remote_waits(&mut self, max: usize) -> Vec<SagaId> {
        self.waiters.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
        self.waiters
            .keys()
            .filter(|id| !self.unended.contains_key(*id))
            .take(max)
            .cloned()
            .collect()
    }

    fn count(&mut self, status: Status, by: isize) {
        match status {
            Status::Stuck => self.stuck = self.stuck.saturating_add_signed(by),
            Status::Compensating => self.compensating = self.compensating.saturating_add_signed(by),
            Status::Running | Status::Completed | Status::Compensated => {}
        }
    }

    /// Returns sagas that are due at `now`, the longest overdue first: at most `max`, and within
    /// `bytes_max` in memory, but at least one.
    pub fn due(&self, now: Timestamp, max: usize, bytes_max: usize) -> Vec<SagaId> {
        let mut bytes = 0;
        let mut fits = |id: &SagaId| {
            let is_first = bytes == 0;
            bytes += self.bytes_of(id).unwrap_or(SAGA_BYTES);
            is_first || bytes <= bytes_max
        };
        let due = self.due.iter().take_while(|(due, _)| *due <= now).take(max).map(|(_, id)| id);
        due.take_while(|id| fits(id)).cloned().collect()
    }

    /// Whether the saga's timer was due before `now`.
    pub fn is_overdue(&self, id: &SagaId, now: Timestamp) -> bool {
        self.unended.get(id).and_then(|unended| unended.due).is_some_and(|due| due < now)
    }

    /// Returns the next due time of any saga.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Returns the start of the longest wait for a reply.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(since, _)| *since)
    }

    /// Returns the number of sagas that are neither ended nor stuck.
    pub fn in_flight(&self) -> usize {
        self.unended.len() - self.stuck
    }

    /// Returns the numbers of running, compensating and stuck sagas.
    pub fn by_status(&self) -> (usize, usize, usize) {
        (self.unended.len() - self.stuck - self.compensating, self.compensating, self.stuck)
    }

    /// Adds a waiter, and drops closed ones.
    pub fn wait(&mut self, id: &SagaId, waiter: Waiter) {
        let waiters = self.waiters.entry(id.clone()).or_default();
        waiters.retain(|waiter| !waiter.is_closed());
        waiters.push(waiter);
    }

    /// Answers all waiters of a saga that is at rest.
    pub fn wake(&mut self, summary: Summary) {
        if let Some(waiters) = self.waiters.remove(&summary.id) {
            for waiter in waiters {
                // the caller may have dropped its receiver
                let _ = waiter.send(Ok(summary.clone()));
            }
        }
    }

    /// Removes all sagas. Returns the waiters, which must be queued again, because their sagas may
    /// have changed unseen.
    pub fn forget(&mut self) -> Vec<(SagaId, Waiter)> {
        let waiters = std::mem::take(&mut self.waiters);
        *self = LiveSagas::new(self.limits);
        let each = waiters
            .into_iter()
            .flat_map(|(id, all)| all.into_iter().map(move |waiter| (id.clone(), waiter)));
        each.filter(|(_, waiter)| !waiter.is_closed()).collect()
    }
}

/// Estimates a saga's size in memory.
fn bytes_of(saga: &Saga) -> usize {
    let of_step = |step: &StepState| {
        let output = step.output.as_ref().map_or(0, |output| output.as_str().len());
        let refusal =
            step.refusal.as_ref().map_or(0, |refusal| refusal.code.len() + refusal.message.len());
        output + refusal + step.fault.as_ref().map_or(0, String::len)
    };
    let steps: usize = saga.steps.iter().map(of_step).sum();
    SAGA_BYTES + size_of::<StepState>() * saga.steps.len() + saga.input.as_str().len() + steps
}
