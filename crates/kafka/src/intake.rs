//! What a consumer has taken from the brokers and nobody has asked for yet, and where each partition stands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sagamore_transport::{Delivered, Error, Mark};
use tokio::sync::Notify;

/// How much one poll gives, about; but always one record.
const POLL_BYTES_MAX: usize = 4 << 20;

/// Between the thread that takes records and the task that asks for them.
#[derive(Default)]
pub(crate) struct Shared {
    intake: Mutex<Intake>,
    pub ready: Notify,
}

/// A topic, by its name here, and a partition of it.
pub(crate) type Key = (Arc<str>, u32);

#[derive(Default)]
pub(crate) struct Intake {
    records: VecDeque<Delivered>,
    bytes: usize,
    places: BTreeMap<Key, Place>,
    /// The partitions that are ours, and of which the brokers have not told yet how far they go. None: the group has not
    /// said which are ours.
    untold: Option<BTreeSet<Key>>,
    /// The partitions that the group has given us. None: we have named them, and what is told of any is told of one of ours.
    given: Option<BTreeSet<Key>>,
    /// Others are ours than when the thread looked last.
    pub regrouped: bool,
    /// The consumer is of no use any more.
    pub dead: Option<Error>,
}

/// Where the group stands in one partition that is ours.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Where the group stood when the partition came to us: the first record that was taken since, once one was.
    base: u64,
    taken: bool,
    /// Everything before it is done with.
    mark: Option<u64>,
    /// Behind the last record there is, as far as it is known.
    high: u64,
    /// The brokers do not know the mark yet.
    unsent: bool,
}

impl Shared {
    pub fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intake {
    /// Takes what came from the brokers.
    pub fn push(&mut self, delivered: Delivered) {
        let key = (delivered.record.topic.clone(), delivered.partition);
        let offset = delivered.offset;
        let place = self.places.entry(key).or_default();
        if !place.taken || place.mark.is_some_and(|mark| offset < mark) || offset < place.base {
            // the first one; or the topic was removed and made anew, or the brokers never heard of the mark
            *place =
                Place { base: offset, taken: true, high: if place.taken { 0 } else { place.high }, ..Place::default() };
        }
        place.high = place.high.max(offset + 1);
        self.bytes += weight(&delivered);
        self.records.push_back(delivered);
    }

    /// Gives what is there, in order.
    pub fn take(&mut self, max: usize) -> Vec<Delivered> {
        let (mut taken, mut bytes) = (Vec::with_capacity(max.min(self.records.len())), 0);
        while taken.len() < max && (bytes < POLL_BYTES_MAX || taken.is_empty()) {
            let Some(delivered) = self.records.pop_front() else { break };
            bytes += weight(&delivered);
            taken.push(delivered);
        }
        self.bytes -= bytes;
        taken
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What is held, in bytes, with something for each record itself.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Raises marks; those of partitions that are not ours any more are somebody else's affair. Gives how many were.
    pub fn mark(&mut self, marks: Vec<Mark>) -> usize {
        let mut strange = 0;
        for Mark { topic, partition, next } in marks {
            match self.places.get_mut(&(topic, partition)) {
                Some(place) if place.mark.is_none_or(|mark| mark < next) => {
                    (place.mark, place.unsent) = (Some(next), true);
                }
                Some(_) => {}
                None => strange += 1,
            }
        }
        strange
    }

    /// The marks that the brokers do not know yet, for them to be told.
    pub fn take_unsent(&mut self) -> Vec<(Key, u64)> {
        let mut unsent = Vec::new();
        for (key, place) in &mut self.places {
            if let (true, Some(mark)) = (std::mem::take(&mut place.unsent), place.mark) {
                unsent.push((key.clone(), mark));
            }
        }
        unsent
    }

    /// The brokers did not take them: they are told again.
    pub fn unsent_again(&mut self, marks: &[(Key, u64)]) {
        for (key, _) in marks {
            if let Some(place) = self.places.get_mut(key) {
                place.unsent = true;
            }
        }
    }

    /// Drops what was not asked for; gives where each partition begins again.
    pub fn rewind(&mut self) -> Vec<(Key, u64)> {
        self.records.clear();
        self.bytes = 0;
        let taken = self.places.iter().filter(|(_, place)| place.taken);
        taken.map(|(key, place)| (key.clone(), place.mark.unwrap_or(place.base))).collect()
    }

    /// The group will say which partitions are ours.
    pub fn is_member(&mut self) {
        self.given = Some(BTreeSet::new());
    }

    /// These partitions are ours from now on.
    pub fn assign(&mut self, keys: Vec<Key>) {
        self.regrouped = true;
        if let Some(given) = &mut self.given {
            given.extend(keys.iter().cloned());
        }
        self.untold.get_or_insert_default().extend(keys);
    }

    /// These partitions are another consumer's from now on.
    pub fn revoke(&mut self, keys: &[Key]) {
        self.regrouped = true;
        self.untold.get_or_insert_default().retain(|key| !keys.contains(key));
        if let Some(given) = &mut self.given {
            given.retain(|key| !keys.contains(key));
        }
        self.places.retain(|key, _| !keys.contains(key));
        let theirs = |delivered: &Delivered| {
            keys.iter().any(|(topic, partition)| *topic == delivered.record.topic && *partition == delivered.partition)
        };
        self.records.retain(|delivered| !theirs(delivered));
        self.bytes = self.records.iter().map(weight).sum();
    }

    /// What the brokers say of a partition: where the group stands there, and how far it goes.
    pub fn observe(&mut self, key: Key, stands: u64, high: u64) {
        if self.given.as_ref().is_some_and(|given| !given.contains(&key)) {
            return; // it has just been taken from us
        }
        if let Some(untold) = &mut self.untold {
            untold.remove(&key);
        }
        let place = self.places.entry(key).or_insert(Place { base: stands, ..Place::default() });
        if !place.taken {
            place.base = place.base.max(stands);
        }
        place.high = place.high.max(high);
    }

    /// Our partitions, once the group has said which they are.
    pub fn ours(&self) -> Option<Vec<Key>> {
        self.untold.as_ref()?;
        Some(match &self.given {
            Some(given) => given.iter().cloned().collect(),
            None => self.places.keys().cloned().collect(),
        })
    }

    /// How far the group has come in our partitions, as far as it is known.
    pub fn marks(&self) -> Vec<Mark> {
        let mark = |((topic, partition), place): (&Key, &Place)| {
            let next = place.mark.unwrap_or(place.base);
            Mark { topic: topic.clone(), partition: *partition, next }
        };
        self.places.iter().map(mark).collect()
    }

    /// What lay before `first` is gone. Nothing that was taken may be unfinished.
    pub fn trim(&mut self, key: &Key, first: u64) {
        let held = |delivered: &Delivered| {
            (&delivered.record.topic, delivered.partition) == (&key.0, key.1) && delivered.offset < first
        };
        if self.records.iter().any(held) {
            return;
        }
        if let Some(place) = self.places.get_mut(key)
            && place.taken
            && place.mark.unwrap_or(place.base) < first
        {
            (place.mark, place.unsent) = (Some(first), true);
        }
    }

    /// How many records are there that are not done with; at least one for each partition of which that is not known.
    pub fn lag(&self) -> u64 {
        let known: u64 =
            self.places.values().map(|place| place.high.saturating_sub(place.mark.unwrap_or(place.base))).sum();
        known + self.untold.as_ref().map_or(1, |untold| untold.len() as u64)
    }
}

fn weight(delivered: &Delivered) -> usize {
    let headers: usize = delivered.record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    delivered.record.key.len() + delivered.record.body.len() + headers + size_of::<Delivered>()
}
