//! The places of all records by partition, and the youngest records themselves, up to a bound.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::log::frame::TopicState;
use crate::log::seat::Seat;
use crate::record::Record;

/// The number of a partition among the partitions of all topics.
pub(super) type Slot = usize;

/// The place of a record's frame in a segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub segment: u32,
    pub position: u32,
    pub length: u32,
}

/// The place of a record whose segment was removed. Used only while opening.
const NOWHERE: Place = Place { segment: u32::MAX, position: 0, length: 0 };

/// All topics with their partitions.
#[derive(Default)]
pub(super) struct Index {
    pub topics: Vec<Topic>,
    pub partitions: Vec<Partition>,
    by_name: HashMap<Arc<str>, u32>,
    /// The order in which records leave memory, with the bytes that each frees.
    recent: VecDeque<(Slot, usize)>,
    recent_bytes: usize,
}

/// A topic, whose partitions have adjacent slots.
pub(super) struct Topic {
    pub name: Arc<str>,
    pub slots: Range<Slot>,
}

/// One partition: the records from `first` on, without a gap.
#[derive(Default)]
pub(super) struct Partition {
    pub topic: u32,
    pub number: u32,
    pub first: u64,
    places: VecDeque<Place>,
    bytes: u64,
    /// The youngest records up to the end; `None` for those already delivered.
    recent: VecDeque<Option<Record>>,
    /// The current consumers, at most one per group.
    pub seats: Vec<Arc<Seat>>,
}

impl Index {
    /// Returns the topic's number.
    pub fn topic(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// Returns the slot of a partition, if topic and partition exist.
    pub fn slot(&self, topic: u32, partition: u32) -> Option<Slot> {
        let slots = &self.topics.get(topic as usize)?.slots;
        let slot = slots.start + partition as usize;
        slots.contains(&slot).then_some(slot)
    }

    /// Returns a partition's topic.
    pub fn topic_of(&self, slot: Slot) -> &Topic {
        &self.topics[self.partitions[slot].topic as usize]
    }

    /// Adds a topic or updates its offsets. An existing topic keeps its number of partitions.
    pub fn learn(&mut self, state: &TopicState) {
        let topic = self
            .topic(&state.name)
            .unwrap_or_else(|| self.add(&state.name, state.partitions.len()));
        for (slot, (first, next)) in
            self.topics[topic as usize].slots.clone().zip(&state.partitions)
        {
            self.partitions[slot].drop_before(*first);
            self.partitions[slot].extend_to(*next);
        }
    }

    fn add(&mut self, name: &Arc<str>, partitions: usize) -> u32 {
        let topic = u32::try_from(self.topics.len()).expect("far fewer topics than 4 billion");
        let start = self.partitions.len();
        self.topics.push(Topic { name: name.clone(), slots: start..start + partitions });
        self.by_name.insert(name.clone(), topic);
        let numbers = 0..u32::try_from(partitions).expect("partitions are counted in 32 bits");
        self.partitions.extend(numbers.map(|number| Partition {
            topic,
            number,
            ..Partition::default()
        }));
        topic
    }

    /// Returns all topics for a snapshot.
    pub fn states(&self) -> Vec<TopicState> {
        let state = |topic: &Topic| TopicState {
            name: topic.name.clone(),
            partitions: self.partitions[topic.slots.clone()]
                .iter()
                .map(|of| (of.first, of.next()))
                .collect(),
        };
        self.topics.iter().map(state).collect()
    }

    /// Stores a partition's youngest record in memory, and evicts the oldest ones beyond the bound.
    pub fn keep_recent(&mut self, slot: Slot, record: Record, bytes_max: usize) {
        let bytes = memory_bytes(&record);
        self.partitions[slot].recent.push_back(Some(record));
        self.recent.push_back((slot, bytes));
        self.recent_bytes += bytes;
        while self.recent_bytes > bytes_max
            && let Some((slot, bytes)) = self.recent.pop_front()
        {
            self.recent_bytes -= bytes;
            self.partitions[slot].recent.pop_front();
        }
    }
}

impl Partition {
    /// Returns the offset of the next record.
    pub fn next(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    /// Returns the place of a record, unless it was removed or never existed.
    pub fn place(&self, offset: u64) -> Option<Place> {
        let index = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        self.places.get(index).copied()
    }

    /// Returns the record if it is still in memory. It stays in memory only if other consumers may
    /// need it. Otherwise a repeated read is from disk.
    pub fn hand_out(&mut self, offset: u64) -> Option<Record> {
        let first = self.next() - self.recent.len() as u64;
        let record = self.recent.get_mut(usize::try_from(offset.checked_sub(first)?).ok()?)?;
        if self.seats.len() > 1 { record.clone() } else { record.take() }
    }

    /// Returns the approximate bytes on disk of the records from `offset` on.
    pub fn bytes_from(&self, offset: u64) -> u64 {
        let waiting = self.next().saturating_sub(offset.max(self.first));
        if self.places.is_empty() {
            0
        } else {
            (self.bytes / self.places.len() as u64).saturating_mul(waiting)
        }
    }

    /// Returns the first offset of the youngest records that take at most `bytes_max` together.
    pub fn last_bytes(&self, bytes_max: u64) -> u64 {
        let mut bytes = self.bytes;
        let mut first = self.first;
        let mut places = self.places.iter();
        while bytes > bytes_max
            && let Some(place) = places.next()
        {
            bytes -= u64::from(place.length);
            first += 1;
        }
        first
    }

    /// Appends a record.
    pub fn push(&mut self, place: Place) {
        self.bytes += u64::from(place.length);
        self.places.push_back(place);
    }

    /// Reverts the last `push`.
    pub fn pop(&mut self) {
        if let Some(place) = self.places.pop_back() {
            self.bytes -= u64::from(place.length);
        }
    }

    /// Sets the place of a record. It may leave gaps only while opening.
    pub fn put(&mut self, offset: u64, place: Place) {
        self.extend_to(offset + 1);
        while self.first > offset {
            self.first -= 1;
            self.places.push_front(NOWHERE);
        }
        let index = usize::try_from(offset - self.first)
            .expect("places are in memory, so their number fits");
        self.bytes += u64::from(place.length);
        self.bytes -= u64::from(self.places[index].length);
        self.places[index] = place;
    }

    /// Removes the offsets before `first`.
    pub fn drop_before(&mut self, first: u64) {
        while self.first < first
            && let Some(place) = self.places.pop_front()
        {
            self.bytes -= u64::from(place.length);
            self.first += 1;
        }
        self.first = self.first.max(first);
    }

    /// Marks the offsets before `next` as used.
    pub fn extend_to(&mut self, next: u64) {
        if self.places.is_empty() {
            self.first = self.first.max(next);
        }
        while self.next() < next {
            self.places.push_back(NOWHERE);
        }
    }

    /// Removes everything up to the last gap, where segments were removed. Returns the first offset
    /// without a gap.
    pub fn close_gaps(&mut self) -> u64 {
        if let Some(gap) = self.places.iter().rposition(|place| *place == NOWHERE) {
            self.drop_before(self.first + gap as u64 + 1);
        }
        self.first
    }
}

fn memory_bytes(record: &Record) -> usize {
    let header = size_of::<(std::borrow::Cow<'static, str>, bytes::Bytes)>();
    let headers: usize = record.headers.iter().map(|(_, value)| header + value.len()).sum();
    size_of::<Record>() + record.key.len() + headers + record.body.len()
}
