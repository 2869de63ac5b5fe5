//! The sagas in memory, and a small header of every saga that has not ended. Nothing here is the truth: it can all be read
//! again.
//!
//! **Invariant:** the sagas in memory are bounded in number and in bytes. One that does not fit leaves memory, and is read
//! again when something arrives for it or is due: its header knows when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use sagamore_core::id::SagaId;
use sagamore_core::message::Command;
use sagamore_core::saga::{Saga, Status, StepState};
use sagamore_core::{Timers, Timestamp};
use tokio::sync::oneshot;

use crate::error::VerbError;
use crate::handle::Summary;

/// What a saga takes beside its texts, in bytes, roughly.
const SAGA_BYTES: usize = 512;

/// Whoever waits for a saga to come to rest.
pub(crate) type Waiter = oneshot::Sender<Result<Summary, VerbError>>;

/// A saga as its row and journal had it when they were last read or written.
pub(crate) struct Known {
    pub seq: i64,
    pub saga: Saga,
}

/// How much memory sagas may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub sagas: usize,
    pub bytes: usize,
}

/// All sagas of this orchestrator that have not ended.
pub(crate) struct Live {
    room: Room,
    sagas: HashMap<SagaId, Held>,
    /// The sagas in memory, the one that was put longest ago first.
    by_age: BTreeMap<u64, SagaId>,
    puts: u64,
    bytes: usize,
    /// Every saga that has not ended, in memory or not, with its next due moment and whether it is stuck.
    unended: HashMap<SagaId, Unended>,
    due: BTreeSet<(Timestamp, SagaId)>,
    /// Since when the longest unanswered question of each saga is waited for.
    waiting: BTreeSet<(Timestamp, SagaId)>,
    waiters: BTreeMap<SagaId, Vec<Waiter>>,
    stuck: usize,
    compensating: usize,
}

/// A saga in memory.
struct Held {
    known: Known,
    age: u64,
    bytes: usize,
}

struct Unended {
    partition: u32,
    /// Of a saga that left memory.
    timers: Option<Timers>,
    due: Option<Timestamp>,
    since: Option<Timestamp>,
    status: Status,
    /// What the saga takes while it is in memory.
    bytes: usize,
}

impl Live {
    pub fn new(room: Room) -> Live {
        Live {
            room,
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

    /// Takes the saga out of memory, to decide about it; it comes back by [`Live::put`].
    pub fn take(&mut self, id: &SagaId) -> Option<Known> {
        let held = self.sagas.remove(id)?;
        self.by_age.remove(&held.age);
        self.bytes -= held.bytes;
        Some(held.known)
    }

    /// Whether this unfinished saga was put here, and not forgotten since; it may have been dropped from memory.
    pub fn knows(&self, id: &SagaId) -> bool {
        self.unended.contains_key(id)
    }

    /// Remembers a saga as it was just read or committed; one that has ended is forgotten.
    pub fn put(&mut self, known: Known) {
        let id = known.saga.id.clone();
        let status = known.saga.status;
        self.take(&id);
        self.let_go(&id);
        if status.has_ended() {
            return;
        }
        let (due, since) = (known.saga.next_due(), known.saga.waiting_since());
        self.due.extend(due.map(|due| (due, id.clone())));
        self.waiting.extend(since.map(|since| (since, id.clone())));
        self.count(status, 1);
        let (partition, bytes) = (known.saga.reply_to.partition, bytes_of(&known.saga));
        self.unended
            .insert(id.clone(), Unended { partition, timers: None, due, since, status, bytes });
        self.puts += 1;
        self.by_age.insert(self.puts, id.clone());
        self.sagas.insert(id, Held { known, age: self.puts, bytes });
        self.bytes += bytes;
        self.make_room();
    }

    /// The sagas that were put longest ago leave memory until the others fit.
    fn make_room(&mut self) {
        while self.sagas.len() > self.room.sagas || self.bytes > self.room.bytes {
            let Some((_, id)) = self.by_age.first_key_value() else { return };
            let id = id.clone();
            let evicted = self.take(&id);
            if let (Some(known), Some(unended)) = (evicted, self.unended.get_mut(&id)) {
                unended.timers = Some(known.saga.timers());
            }
            metrics::counter!("sagamore_live_evicted_total").increment(1);
        }
    }

    /// Sets the timers of a saga that was not in memory and is read again.
    pub fn wind_up(&self, saga: &mut Saga, now: Timestamp) {
        let unended = self.unended.get(&saga.id);
        saga.set_timers(unended.and_then(|unended| unended.timers.as_ref()), now);
    }

    /// The transport has acknowledged a command at `now`: its answer is due one `timeout` later.
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

    /// How many sagas are in memory, and how many bytes they take.
    pub fn held(&self) -> (usize, usize) {
        (self.sagas.len(), self.bytes)
    }

    /// How many bytes an unfinished saga takes while it is in memory. None: it is not known here.
    pub fn bytes_of(&self, id: &SagaId) -> Option<usize> {
        self.unended.get(id).map(|unended| unended.bytes)
    }

    /// The clock was set back to `now`: what lies further ahead than any pause is drawn again. A saga that is not in memory is due
    /// at once, and corrected when it is read.
    pub fn redraw(&mut self, now: Timestamp) {
        let ahead = |moments: &BTreeSet<(Timestamp, SagaId)>| {
            let later = moments.iter().rev().take_while(|(moment, _)| *moment > now);
            later.map(|(_, id)| id.clone()).collect::<Vec<_>>()
        };
        let ids: BTreeSet<SagaId> =
            ahead(&self.due).into_iter().chain(ahead(&self.waiting)).collect();
        for id in ids {
            match self.take(&id) {
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

    /// Nothing is due of this saga until it is put here again.
    pub fn unschedule(&mut self, id: &SagaId) {
        self.take(id);
        if let Some(due) = self.unended.get_mut(id).and_then(|unended| unended.due.take()) {
            self.due.remove(&(due, id.clone()));
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
            self.take(&id);
            self.let_go(&id);
        }
    }

    /// At most `max` sagas that somebody waits for here, and that another orchestrator drives.
    pub fn waited_for_abroad(&mut self, max: usize) -> Vec<SagaId> {
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

    /// Sagas that have something due at `now`, the longest overdue first: at most `max`, and no more than take `bytes_max` in
    /// memory, but one.
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

    /// Whether something of this saga was due before `now`, by what is remembered of it.
    pub fn is_overdue(&self, id: &SagaId, now: Timestamp) -> bool {
        self.unended.get(id).and_then(|unended| unended.due).is_some_and(|due| due < now)
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
        *self = Live::new(self.room);
        let each = waiters
            .into_iter()
            .flat_map(|(id, all)| all.into_iter().map(move |waiter| (id.clone(), waiter)));
        each.filter(|(_, waiter)| !waiter.is_closed()).collect()
    }
}

/// What a saga takes in memory: its texts, and something for the rest.
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
