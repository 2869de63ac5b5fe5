//! The sagas in memory: those under way, and when each has something due. Nothing here is the truth: it can all be
//! read again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sagamore_core::Timestamp;
use sagamore_core::id::SagaId;
use sagamore_core::saga::{Saga, Status};
use tokio::sync::oneshot;

use crate::error::VerbError;
use crate::handle::Summary;

/// Whoever waits for a saga to come to rest.
pub(crate) type Waiter = oneshot::Sender<Result<Summary, VerbError>>;

/// A saga as its row and journal had it when they were last read or written.
pub(crate) struct Known {
    pub seq: i64,
    pub saga: Saga,
}

/// All sagas of this orchestrator that have not ended.
#[derive(Default)]
pub(crate) struct Live {
    /// At most `max` of them; the others are read again when something comes.
    sagas: HashMap<SagaId, Known>,
    /// Every saga that has not ended, in memory or not, with its next due moment and whether it is stuck.
    unended: HashMap<SagaId, Unended>,
    due: BTreeSet<(Timestamp, SagaId)>,
    /// Since when the longest unanswered question of each saga is waited for.
    waiting: BTreeSet<(Timestamp, SagaId)>,
    waiters: BTreeMap<SagaId, Vec<Waiter>>,
    max: usize,
    stuck: usize,
    compensating: usize,
}

struct Unended {
    partition: u32,
    due: Option<Timestamp>,
    since: Option<Timestamp>,
    status: Status,
}

impl Live {
    pub fn new(max: usize) -> Live {
        Live { max, ..Live::default() }
    }

    /// Takes the saga out of memory, to decide about it; it comes back by [`Live::put`].
    pub fn take(&mut self, id: &SagaId) -> Option<Known> {
        self.sagas.remove(id)
    }

    /// Remembers a saga as it was just read or committed; one that has ended is forgotten.
    pub fn put(&mut self, known: Known) {
        let id = known.saga.id.clone();
        let status = known.saga.status;
        self.let_go(&id);
        if status.has_ended() {
            return;
        }
        let (due, since) = (known.saga.next_due(), known.saga.waiting_since());
        self.due.extend(due.map(|due| (due, id.clone())));
        self.waiting.extend(since.map(|since| (since, id.clone())));
        self.count(status, 1);
        let partition = known.saga.reply_to.partition;
        self.unended.insert(id.clone(), Unended { partition, due, since, status });
        if self.sagas.len() < self.max {
            self.sagas.insert(id, known);
        }
    }

    /// Forgets when something is due of a saga; who waits for it goes on waiting.
    fn let_go(&mut self, id: &SagaId) {
        if let Some(before) = self.unended.remove(id) {
            self.count(before.status, -1);
            before.due.map(|due| self.due.remove(&(due, id.clone())));
            before.since.map(|since| self.waiting.remove(&(since, id.clone())));
        }
    }

    /// Forgets the sagas of partitions that are another orchestrator's from now on.
    pub fn forget_partitions(&mut self, lost: &[u32]) {
        let theirs = self.unended.iter().filter(|(_, unended)| lost.contains(&unended.partition));
        let theirs: Vec<SagaId> = theirs.map(|(id, _)| id.clone()).collect();
        for id in theirs {
            self.sagas.remove(&id);
            self.let_go(&id);
        }
    }

    /// At most `max` sagas that somebody waits for here, and that another orchestrator drives.
    pub fn waited_for_abroad(&mut self, max: usize) -> Vec<SagaId> {
        self.waiters.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
        self.waiters.keys().filter(|id| !self.unended.contains_key(*id)).take(max).cloned().collect()
    }

    fn count(&mut self, status: Status, by: isize) {
        match status {
            Status::Stuck => self.stuck = self.stuck.saturating_add_signed(by),
            Status::Compensating => self.compensating = self.compensating.saturating_add_signed(by),
            Status::Running | Status::Completed | Status::Compensated => {}
        }
    }

    /// At most `max` sagas that have something due at `now`, the longest overdue first.
    pub fn due(&self, now: Timestamp, max: usize) -> Vec<SagaId> {
        self.due.iter().take_while(|(due, _)| *due <= now).take(max).map(|(_, id)| id.clone()).collect()
    }

    /// The next moment at which anything is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Since when the longest unanswered question is waited for.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(since, _)| *since)
    }

    /// How many sagas have not come to rest: neither ended nor stuck.
    pub fn in_flight(&self) -> usize {
        self.unended.len() - self.stuck
    }

    /// How many are running, compensating, stuck.
    pub fn by_status(&self) -> (usize, usize, usize) {
        (self.unended.len() - self.stuck - self.compensating, self.compensating, self.stuck)
    }

    /// Remembers who waits; those who have gone are forgotten.
    pub fn wait(&mut self, id: &SagaId, waiter: Waiter) {
        let waiters = self.waiters.entry(id.clone()).or_default();
        waiters.retain(|waiter| !waiter.is_closed());
        waiters.push(waiter);
    }

    /// Tells everybody who waits for a saga that is at rest.
    pub fn wake(&mut self, summary: Summary) {
        if let Some(waiters) = self.waiters.remove(&summary.id) {
            for waiter in waiters {
                let _ = waiter.send(Ok(summary.clone())); // who has gone needs no answer
            }
        }
    }

    /// Forgets all sagas; gives back who waits, to ask again: what they wait for may have happened unseen.
    pub fn forget(&mut self) -> Vec<(SagaId, Waiter)> {
        let waiters = std::mem::take(&mut self.waiters);
        *self = Live::new(self.max);
        let each = waiters.into_iter().flat_map(|(id, all)| all.into_iter().map(move |waiter| (id.clone(), waiter)));
        each.filter(|(_, waiter)| !waiter.is_closed()).collect()
    }
}
