//! The buffer of fetched records that were not polled yet, and the progress of each partition.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sagamore_transport::{Delivery, Error, Mark, Record};
use tokio::sync::Notify;

use crate::names::Key;
use crate::stall::{self, Stall};

/// Approximate maximum bytes of one poll, which returns at least one record.
const POLL_BYTES_MAX: usize = 4 << 20;

/// The state shared by the fetching thread and the polling task.
#[derive(Default)]
pub(crate) struct Shared {
    intake: Mutex<Intake>,
    pub ready: Notify,
}

#[derive(Default)]
pub(crate) struct Intake {
    records: VecDeque<Delivery>,
    bytes: usize,
    places: BTreeMap<Key, Place>,
    /// The assigned partitions whose ends the brokers have not reported yet. `None` until the group
    /// has assigned partitions.
    untold: Option<BTreeSet<Key>>,
    /// The partitions that the group assigned. `None` for a consumer that names its partitions.
    given: Option<BTreeSet<Key>>,
    /// The start offsets of partitions without a record so far.
    starts: BTreeMap<Key, u64>,
    /// The offset that the client library fetches next in each partition, as last reported.
    fetches: BTreeMap<Key, u64>,
    /// Whether the assignment has changed since the thread's last check.
    pub regrouped: bool,
    /// The error that ended the consumer.
    pub dead: Option<Error>,
    /// A missing permission, until records arrive again.
    pub denied: Option<Error>,
    /// The partitions that do not advance, as of the thread's last check.
    pub stalled: Vec<Stall>,
    /// The number of polls, and the number of tasks that wait for a record.
    pub polls: u64,
    pub waiting: usize,
    /// The number of rounds of the fetching thread.
    pub rounds: u64,
}

/// The group's progress in one assigned partition.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The group's offset at the assignment, or the first record taken since.
    base: u64,
    taken: bool,
    /// The offset before which every record is finished.
    mark: Option<u64>,
    /// The offset after the last record that was taken or skipped.
    next: Option<u64>,
    /// The offset after the partition's last record, as far as known.
    high: u64,
    /// Whether the mark is still to be committed.
    unsent: bool,
}

impl Shared {
    /// Ends the consumer: every call fails with this error from now on.
    pub fn end(&self, error: Error) {
        self.intake().dead = Some(error);
        self.ready.notify_one();
    }

    pub fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intake {
    /// Adds a fetched record.
    pub fn push(&mut self, delivery: Delivery) {
        let key = (delivery.record.topic.clone(), delivery.partition);
        if self.given.as_ref().is_some_and(|given| !given.contains(&key)) {
            return; // the partition was revoked while the record was in flight
        }
        let offset = delivery.offset;
        let place = self.places.entry(key).or_default();
        if !place.taken || place.mark.is_some_and(|mark| offset < mark) || offset < place.base {
            // the first record, or the topic was recreated, or the brokers never received the mark
            *place = Place {
                base: offset,
                taken: true,
                high: if place.taken { 0 } else { place.high },
                ..Place::default()
            };
        }
        place.high = place.high.max(offset + 1);
        place.next = Some(offset + 1);
        if self.untold.as_ref().is_some_and(BTreeSet::is_empty) {
            self.denied = None; // the brokers report the ends of all partitions
        }
        self.bytes += weight(&delivery);
        self.records.push_back(delivery);
    }

    /// Adds a placeholder for an unreadable record, which its consumer makes a dead letter.
    pub fn push_unreadable(&mut self, (topic, partition): Key, offset: u64, reason: &str) {
        let record = Record {
            topic,
            partition: Some(partition),
            key: Bytes::new(),
            headers: Vec::new(),
            body: Bytes::new(),
        };
        self.push(Delivery { record, partition, offset, unreadable: Some(reason.into()) });
    }

    /// Returns the offset of a partition's next record; `None` while unknown.
    pub fn position(&self, key: &Key) -> Option<u64> {
        let taken = self.places.get(key).and_then(|place| place.next.or(place.mark));
        taken.or_else(|| self.starts.get(key).copied())
    }

    /// Returns the partitions with outstanding records, and the offset of the next one.
    pub fn awaited(&self) -> Vec<(Key, u64)> {
        let keys: BTreeSet<&Key> = self.places.keys().chain(self.starts.keys()).collect();
        let awaited = keys.into_iter().filter_map(|key| {
            let (position, high) =
                (self.position(key)?, self.places.get(key).map(|place| place.high));
            (high.is_none_or(|high| position < high)).then(|| (key.clone(), position))
        });
        awaited.collect()
    }

    /// Returns the partitions whose start offset is unknown.
    pub fn unbegun(&self) -> Vec<Key> {
        let ours = self.ours().unwrap_or_default();
        ours.into_iter().filter(|key| self.position(key).is_none()).collect()
    }

    /// Records the start offset of a partition.
    pub fn begin(&mut self, key: Key, start: u64) {
        self.starts.insert(key, start);
    }

    /// Returns the group's offset and the end of each partition.
    pub fn standing(&self) -> Vec<stall::Place> {
        let standing = |(key, place): (&Key, &Place)| {
            let position = place.mark.unwrap_or(place.base);
            stall::Place { key: key.clone(), position, end: place.high }
        };
        self.places.iter().map(standing).collect()
    }

    /// Takes buffered records, in order.
    pub fn take(&mut self, max: usize) -> Vec<Delivery> {
        self.polls += 1;
        let (mut taken, mut bytes) = (Vec::with_capacity(max.min(self.records.len())), 0);
        while taken.len() < max && (bytes < POLL_BYTES_MAX || taken.is_empty()) {
            let Some(delivery) = self.records.pop_front() else { break };
            bytes += weight(&delivery);
            taken.push(delivery);
        }
        self.bytes -= bytes;
        taken
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the buffered bytes, including an overhead per record.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Raises marks. Those of revoked partitions are ignored and counted in the result.
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

    /// Takes the marks that the brokers do not know yet, to be committed.
    pub fn take_unsent(&mut self) -> Vec<(Key, u64)> {
        let mut unsent = Vec::new();
        for (key, place) in &mut self.places {
            if let (true, Some(mark)) = (std::mem::take(&mut place.unsent), place.mark) {
                unsent.push((key.clone(), mark));
            }
        }
        unsent
    }

    /// Marks these offsets as uncommitted again, after a failed commit.
    pub fn unsent_again(&mut self, marks: &[(Key, u64)]) {
        for (key, _) in marks {
            if let Some(place) = self.places.get_mut(key) {
                place.unsent = true;
            }
        }
    }

    /// Drops the buffered records. Returns the offset at which each partition continues.
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

    /// Declares the consumer a member, whose partitions the group assigns.
    pub fn is_member(&mut self) {
        self.given = Some(BTreeSet::new());
    }

    /// Adds assigned partitions.
    pub fn assign(&mut self, keys: Vec<Key>) {
        self.regrouped = true;
        if let Some(given) = &mut self.given {
            given.extend(keys.iter().cloned());
        }
        self.untold.get_or_insert_default().extend(keys);
    }

    /// Removes revoked partitions.
    pub fn revoke(&mut self, keys: &[Key]) {
        self.regrouped = true;
        self.untold.get_or_insert_default().retain(|key| !keys.contains(key));
        if let Some(given) = &mut self.given {
            given.retain(|key| !keys.contains(key));
        }
        self.places.retain(|key, _| !keys.contains(key));
        self.starts.retain(|key, _| !keys.contains(key));
        self.fetches.retain(|key, _| !keys.contains(key));
        let theirs = |delivery: &Delivery| {
            keys.iter().any(|(topic, partition)| {
                *topic == delivery.record.topic && *partition == delivery.partition
            })
        };
        self.records.retain(|delivery| !theirs(delivery));
        self.bytes = self.records.iter().map(weight).sum();
    }

    /// Records what the brokers report about a partition: the group's offset and the end.
    pub fn observe(&mut self, key: Key, stands: u64, high: u64) {
        if self.given.as_ref().is_some_and(|given| !given.contains(&key)) {
            return; // it was just revoked
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

    /// Records the next fetch offset that the client library reports; `None` if it fetches nothing.
    pub fn fetches(&mut self, key: Key, next: Option<u64>) {
        match next {
            Some(next) => self.fetches.insert(key, next),
            None => self.fetches.remove(&key),
        };
    }

    /// Returns the next fetch offset of each partition.
    pub fn fetched(&self) -> HashMap<Key, Option<u64>> {
        let keys = match &self.given {
            Some(given) => given.clone(),
            None => self.starts.keys().chain(self.fetches.keys()).cloned().collect(),
        };
        keys.into_iter().map(|key| (key.clone(), self.fetches.get(&key).copied())).collect()
    }

    /// Returns the partitions, once they are assigned.
    pub fn ours(&self) -> Option<Vec<Key>> {
        self.untold.as_ref()?;
        Some(match &self.given {
            Some(given) => given.iter().cloned().collect(),
            None => self.places.keys().cloned().collect(),
        })
    }

    /// Returns the known offsets of the group in these partitions.
    pub fn marks(&self) -> Vec<Mark> {
        let mark = |((topic, partition), place): (&Key, &Place)| {
            let next = place.mark.unwrap_or(place.base);
            Mark { topic: topic.clone(), partition: *partition, next }
        };
        self.places.iter().map(mark).collect()
    }

    /// Raises the mark to `first`, because earlier records were removed. Call it when no taken
    /// record is unfinished.
    pub fn trim(&mut self, key: &Key, first: u64) {
        let held = |delivery: &Delivery| {
            (&delivery.record.topic, delivery.partition) == (&key.0, key.1)
                && delivery.offset < first
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

    /// Returns the number of unfinished records, and at least one per partition whose end is
    /// unknown.
    pub fn lag(&self) -> u64 {
        let known: u64 = self
            .places
            .values()
            .map(|place| place.high.saturating_sub(place.mark.unwrap_or(place.base)))
            .sum();
        known + self.untold.as_ref().map_or(1, |untold| untold.len() as u64)
    }
}

fn weight(delivery: &Delivery) -> usize {
    let headers: usize =
        delivery.record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    delivery.record.key.len() + delivery.record.body.len() + headers + size_of::<Delivery>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(topic: &str, offset: u64) -> Delivery {
        let (partition, body) = (0, Bytes::from_static(b"{}"));
        let record = Record {
            topic: topic.into(),
            partition: Some(0),
            key: Bytes::new(),
            headers: Vec::new(),
            body,
        };
        Delivery { record, partition, offset, unreadable: None }
    }

    fn key(topic: &str) -> Key {
        (topic.into(), 0)
    }

    #[test]
    fn a_record_of_a_revoked_partition_is_dropped() {
        let mut intake = Intake::default();
        intake.is_member();
        intake.assign(vec![key("kept"), key("lost")]);
        for topic in ["kept", "lost"] {
            intake.push(delivery(topic, 4));
        }
        intake.revoke(&[key("lost")]);
        intake.push(delivery("lost", 5)); // it was in flight
        let taken = intake.take(10);
        assert_eq!(taken, [delivery("kept", 4)]);
        assert_eq!(
            (intake.marks().len(), intake.bytes()),
            (1, 0),
            "neither records nor a mark remain"
        );
    }

    #[test]
    fn an_unreadable_record_keeps_its_place_among_the_others() {
        let mut intake = Intake::default();
        intake.begin(key("a"), 3);
        intake.observe(key("a"), 0, 9); // the library does not know the group's offset
        assert_eq!(intake.awaited(), [(key("a"), 3)], "it starts at the group's offset");
        intake.push(delivery("a", 3));
        intake.push_unreadable(key("a"), 4, "no codec");
        assert_eq!((intake.position(&key("a")), intake.position(&key("b"))), (Some(5), None));
        let taken = intake.take(10);
        assert_eq!(taken.iter().map(|one| one.offset).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(taken[1].unreadable.as_deref(), Some("no codec"));
        assert_eq!(intake.standing()[0].position, 3, "nothing is finished");
        assert_eq!(intake.mark(Mark::behind(&taken)), 0);
        assert_eq!(intake.standing()[0].position, 5);
        intake.rewind();
        assert_eq!(intake.position(&key("a")), Some(5), "acknowledged records are not redelivered");
    }
}
