//! What a consumer has taken from the brokers and nobody has asked for yet, and where each partition stands.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sagamore_transport::{Delivered, Error, Mark, Record};
use tokio::sync::Notify;

use crate::stall::{self, Stall};

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
    /// Where we began in partitions of which nothing has come.
    starts: BTreeMap<Key, u64>,
    /// The offset that the client library fetches next in each partition, as it last reported.
    fetches: BTreeMap<Key, u64>,
    /// Others are ours than when the thread looked last.
    pub regrouped: bool,
    /// The consumer is of no use any more.
    pub dead: Option<Error>,
    /// A right that is missing, until records come again.
    pub denied: Option<Error>,
    /// Partitions that do not advance, as of the thread's last look.
    pub stalled: Vec<Stall>,
    /// How often the consumer was polled, and how many tasks wait for a record now.
    pub polls: u64,
    pub waiting: usize,
}

/// Where the group stands in one partition that is ours.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Where the group stood when the partition came to us: the first record that was taken since, once one was.
    base: u64,
    taken: bool,
    /// Everything before it is done with.
    mark: Option<u64>,
    /// Behind the last record that was taken, or passed over.
    next: Option<u64>,
    /// Behind the last record there is, as far as it is known.
    high: u64,
    /// The brokers do not know the mark yet.
    unsent: bool,
}

impl Shared {
    /// The consumer is of no use from now on: every call fails with this.
    pub fn is_dead(&self, error: Error) {
        self.intake().dead = Some(error);
        self.ready.notify_one();
    }

    pub fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intake {
    /// Takes what came from the brokers.
    pub fn push(&mut self, delivered: Delivered) {
        let key = (delivered.record.topic.clone(), delivered.partition);
        if self.given.as_ref().is_some_and(|given| !given.contains(&key)) {
            return; // the partition was revoked while the record was on its way
        }
        let offset = delivered.offset;
        let place = self.places.entry(key).or_default();
        if !place.taken || place.mark.is_some_and(|mark| offset < mark) || offset < place.base {
            // the first one; or the topic was removed and made anew, or the brokers never heard of the mark
            *place =
                Place { base: offset, taken: true, high: if place.taken { 0 } else { place.high }, ..Place::default() };
        }
        place.high = place.high.max(offset + 1);
        place.next = Some(offset + 1);
        if self.untold.as_ref().is_some_and(BTreeSet::is_empty) {
            self.denied = None; // the brokers say of all partitions how far they go
        }
        self.bytes += weight(&delivered);
        self.records.push_back(delivered);
    }

    /// Takes the place of a record that cannot be read, for its consumer to set it aside.
    pub fn push_unreadable(&mut self, (topic, partition): Key, offset: u64, reason: &str) {
        let record =
            Record { topic, partition: Some(partition), key: Bytes::new(), headers: Vec::new(), body: Bytes::new() };
        self.push(Delivered { record, partition, offset, unreadable: Some(reason.into()) });
    }

    /// Where the next record of a partition is to come from; none while that is not known.
    pub fn position(&self, key: &Key) -> Option<u64> {
        let taken = self.places.get(key).and_then(|place| place.next.or(place.mark));
        taken.or_else(|| self.starts.get(key).copied())
    }

    /// Partitions with records that have not come, and the offset of the next one.
    pub fn awaited(&self) -> Vec<(Key, u64)> {
        let keys: BTreeSet<&Key> = self.places.keys().chain(self.starts.keys()).collect();
        let awaited = keys.into_iter().filter_map(|key| {
            let (position, high) = (self.position(key)?, self.places.get(key).map(|place| place.high));
            (high.is_none_or(|high| position < high)).then(|| (key.clone(), position))
        });
        awaited.collect()
    }

    /// Partitions of which it is not known where we began in them.
    pub fn unbegun(&self) -> Vec<Key> {
        let ours = self.ours().unwrap_or_default();
        ours.into_iter().filter(|key| self.position(key).is_none()).collect()
    }

    /// We have begun to take a partition from there on.
    pub fn begin(&mut self, key: Key, start: u64) {
        self.starts.insert(key, start);
    }

    /// Where the group stands in each partition, and how far that goes.
    pub fn standing(&self) -> Vec<stall::Place> {
        let standing = |(key, place): (&Key, &Place)| {
            let position = place.mark.unwrap_or(place.base);
            stall::Place { key: key.clone(), position, end: place.high }
        };
        self.places.iter().map(standing).collect()
    }

    /// Gives what is there, in order.
    pub fn take(&mut self, max: usize) -> Vec<Delivered> {
        self.polls += 1;
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
        let taken = self.places.iter_mut().filter(|(_, place)| place.taken);
        let start = |(key, place): (&Key, &mut Place)| {
            let start = place.mark.unwrap_or(place.base);
            place.next = Some(start);
            (key.clone(), start)
        };
        taken.map(start).collect()
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
        self.starts.retain(|key, _| !keys.contains(key));
        self.fetches.retain(|key, _| !keys.contains(key));
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

    /// What the client library reports of its fetches from a partition; none: it knows no offset to fetch.
    pub fn fetches(&mut self, key: Key, next: Option<u64>) {
        match next {
            Some(next) => self.fetches.insert(key, next),
            None => self.fetches.remove(&key),
        };
    }

    /// The offset that is fetched next in each of our partitions.
    pub fn fetched(&self) -> HashMap<Key, Option<u64>> {
        let keys = match &self.given {
            Some(given) => given.clone(),
            None => self.starts.keys().chain(self.fetches.keys()).cloned().collect(), // by their names here
        };
        keys.into_iter().map(|key| (key.clone(), self.fetches.get(&key).copied())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(topic: &str, offset: u64) -> Delivered {
        let (partition, body) = (0, Bytes::from_static(b"{}"));
        let record = Record { topic: topic.into(), partition: Some(0), key: Bytes::new(), headers: Vec::new(), body };
        Delivered { record, partition, offset, unreadable: None }
    }

    fn key(topic: &str) -> Key {
        (topic.into(), 0)
    }

    #[test]
    fn a_record_of_a_partition_that_was_revoked_is_not_handed_on() {
        let mut intake = Intake::default();
        intake.is_member();
        intake.assign(vec![key("kept"), key("lost")]);
        for topic in ["kept", "lost"] {
            intake.push(delivered(topic, 4));
        }
        intake.revoke(&[key("lost")]);
        intake.push(delivered("lost", 5)); // it was on its way
        let taken = intake.take(10);
        assert_eq!(taken, [delivered("kept", 4)]);
        assert_eq!((intake.marks().len(), intake.bytes()), (1, 0), "nothing is held of it, and no mark");
    }

    #[test]
    fn an_unreadable_record_holds_its_place_among_the_others() {
        let mut intake = Intake::default();
        intake.begin(key("a"), 3);
        intake.observe(key("a"), 0, 9); // the library does not know where the group stands
        assert_eq!(intake.awaited(), [(key("a"), 3)], "it begins where the group stands");
        intake.push(delivered("a", 3));
        intake.push_unreadable(key("a"), 4, "no codec");
        assert_eq!((intake.position(&key("a")), intake.position(&key("b"))), (Some(5), None));
        let taken = intake.take(10);
        assert_eq!(taken.iter().map(|one| one.offset).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(taken[1].unreadable.as_deref(), Some("no codec"));
        assert_eq!(intake.standing()[0].position, 3, "nothing is done with");
        assert_eq!(intake.mark(Mark::behind(&taken)), 0);
        assert_eq!(intake.standing()[0].position, 5);
        intake.rewind();
        assert_eq!(intake.position(&key("a")), Some(5), "what is acknowledged does not come again");
    }
}
