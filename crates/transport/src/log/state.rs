//! The log's state behind its lock: publishing, committing and subscribing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::error::{Error, Unknown};
use crate::log::disk::Disk;
use crate::log::frame::{self, GroupMarks, Located, TopicState};
use crate::log::groups::{Groups, on_disk};
use crate::log::index::{Index, Place, Slot};
use crate::log::options::{Options, Stats};
use crate::log::seat::Seat;
use crate::log::segment::{Segment, fault};
use crate::log::synced::{Position, SyncProgress};
use crate::port::Subscription;
use crate::record::{Mark, Record};

/// Approximate bytes of one write. Only a very large batch takes several writes.
const WRITE_BYTES: usize = 8 << 20;
/// Maximum capacity of the write buffer between batches.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

pub(super) struct State {
    pub options: Options,
    pub disk: Arc<dyn Disk>,
    /// The segments; the last one is written.
    pub segments: VecDeque<Segment>,
    pub index: Index,
    pub groups: Groups,
    /// Whether an offset has advanced since segments were last removed.
    pub moved: bool,
    /// The reason of a failed sync. The disk's content is then unknown until the log is opened
    /// again.
    pub broken: Option<String>,
    /// Notifies callers that wait for a sync.
    pub synced: SyncProgress,
    pub stats: Stats,
    pub buffer: Vec<u8>,
}

/// The registration of a new consumer.
pub(super) struct Seating {
    pub seat: Arc<Seat>,
    pub slots: Vec<Slot>,
}

impl State {
    /// Returns whether a topic exists.
    pub fn has_topic(&self, name: &str) -> bool {
        self.index.topic(name).is_some()
    }

    /// Creates a topic unless it exists. Returns whether it is new.
    pub fn create_topic(&mut self, name: &str, partitions: u32) -> Result<bool, Error> {
        if self.index.topic(name).is_some() {
            return Ok(false);
        }
        let topic =
            TopicState { name: name.into(), partitions: vec![(0, 0); partitions.max(1) as usize] };
        self.buffer.clear();
        frame::put_topic(&mut self.buffer, &topic);
        self.write()?;
        self.index.learn(&topic);
        Ok(true)
    }

    /// Publishes a batch. Returns an outcome per record, and adds the consumers to wake to `woken`.
    pub fn publish(
        &mut self,
        records: Vec<Record>,
        woken: &mut Vec<Arc<Seat>>,
    ) -> Vec<Result<(), Error>> {
        let mut slots: Vec<Result<Slot, Error>> =
            records.iter().map(|record| self.slot_for(record)).collect();
        if let Err(error) = self.make_room(&mut slots) {
            return vec![Err(error); records.len()];
        }
        let mut touched: Vec<Slot> = slots.iter().flatten().copied().collect();
        let accepted = records
            .into_iter()
            .zip(&slots)
            .filter_map(|(record, slot)| Some((record, *slot.as_ref().ok()?)));
        let mut rest = accepted.collect::<Vec<_>>().into_iter().peekable();
        let (mut written, mut failed) = (0, None);
        while failed.is_none() && rest.peek().is_some() {
            match self.publish_piece(&mut rest) {
                Ok(count) => written += count,
                Err(error) => failed = Some(error),
            }
        }
        self.stats.batches += u64::from(failed.is_none());
        touched.sort_unstable();
        touched.dedup();
        woken.extend(
            touched.into_iter().flat_map(|slot| self.index.partitions[slot].seats.iter().cloned()),
        );
        let outcome = |slot: Result<Slot, Error>| match (slot, &failed) {
            (Err(error), _) => Err(error),
            (Ok(_), Some(error)) if written == 0 => Err(error.clone()),
            (Ok(_), _) => {
                written = written.saturating_sub(1); // the pieces before the failed one
                Ok(())
            }
        };
        slots.into_iter().map(outcome).collect()
    }

    /// Writes the next records in one write. Returns their number.
    fn publish_piece(
        &mut self,
        rest: &mut impl Iterator<Item = (Record, Slot)>,
    ) -> Result<usize, Error> {
        self.roll_if_due()?;
        self.buffer.clear();
        let mut written: Vec<(Record, Slot)> = Vec::with_capacity(rest.size_hint().0);
        let current = self.current();
        let (segment, base) = (current.number, current.length);
        for (mut record, slot) in rest {
            let start = self.buffer.len();
            let partition = &mut self.index.partitions[slot];
            let at = Located {
                topic: partition.topic,
                partition: partition.number,
                offset: partition.next(),
            };
            frame::put_record(&mut self.buffer, &at, &record);
            partition.push(place(segment, base, start, self.buffer.len()));
            record.partition = Some(partition.number);
            written.push((record, slot));
            if self.buffer.len() >= WRITE_BYTES {
                break;
            }
        }
        if let Err(error) = self.write() {
            written.iter().for_each(|(_, slot)| self.index.partitions[*slot].pop());
            return Err(error);
        }
        self.stats.records += written.len() as u64;
        self.note_spans(&written);
        let count = written.len();
        for (record, slot) in written {
            self.index.keep_recent(slot, record, self.options.recent_bytes_max);
        }
        Ok(count)
    }

    /// Records the new offsets in the segment. They are the last ones of their partitions.
    fn note_spans(&mut self, written: &[(Record, Slot)]) {
        let segment = self.segments.back_mut().expect("there is always a segment that is written");
        let mut counts = std::collections::BTreeMap::new();
        written.iter().for_each(|(_, slot)| *counts.entry(*slot).or_insert(0) += 1);
        for (slot, count) in counts {
            let next = self.index.partitions[slot].next();
            segment.holds(slot, next - count);
            segment.holds(slot, next - 1);
        }
    }

    pub fn check_size(&self, record: &Record) -> Result<(), Error> {
        let (bytes, bytes_max) = (frame::record_bytes(record), self.options.record_bytes_max);
        let topic = || record.topic.to_string();
        if bytes <= bytes_max {
            Ok(())
        } else {
            Err(Error::TooLarge { topic: topic(), bytes, bytes_max })
        }
    }

    fn slot_for(&self, record: &Record) -> Result<Slot, Error> {
        self.check_size(record)?;
        let topic = self.index.topic(&record.topic);
        let topic = topic.ok_or_else(|| Error::no_topic(&record.topic))?;
        let partitions = self.index.topics[topic as usize].slots.len();
        let partition = match record.partition {
            Some(partition) => partition,
            None => {
                crc32fast::hash(&record.key)
                    % u32::try_from(partitions).expect("partitions are counted in 32 bits")
            }
        };
        let unknown = || {
            let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
            Error::UnknownTopic(Unknown::Partition {
                topic: record.topic.to_string(),
                partition,
                partitions,
            })
        };
        self.index.slot(topic, partition).ok_or_else(unknown)
    }

    /// Appends a group's offsets after all earlier records, so that no crash keeps the offsets
    /// without the records.
    pub fn commit(&mut self, seat: &Seat, marks: &[Mark]) -> Result<(), Error> {
        self.fenced(seat)?;
        let mut moved = Vec::new();
        for mark in marks {
            let topic = self.index.topic(&mark.topic);
            let slot = topic.and_then(|topic| self.index.slot(topic, mark.partition));
            let slot = slot.ok_or_else(|| Error::no_topic(&mark.topic))?;
            let next = mark.next.min(self.index.partitions[slot].next());
            if self.groups.mark(seat.group, slot).is_none_or(|mark| mark < next) {
                moved.push((slot, next));
            }
        }
        self.write_marks(seat.group, &moved)
    }

    fn write_marks(&mut self, group: usize, moved: &[(Slot, u64)]) -> Result<(), Error> {
        if moved.is_empty() {
            return Ok(());
        }
        let marks = moved.iter().map(|(slot, next)| on_disk(&self.index, *slot, *next)).collect();
        self.buffer.clear();
        frame::put_offsets(
            &mut self.buffer,
            &GroupMarks { group: self.groups.name(group).clone(), marks },
        );
        self.write()?;
        for (slot, next) in moved {
            self.groups.advance(group, *slot, *next);
        }
        self.moved = true;
        Ok(())
    }

    /// Registers a consumer and its group. An older consumer of the group on any of these
    /// partitions loses all of its partitions.
    pub fn subscribe(&mut self, subscription: &Subscription) -> Result<Seating, Error> {
        let mut slots = Vec::new();
        for topic in &subscription.topics {
            let number = self.index.topic(topic).ok_or_else(|| Error::no_topic(topic))?;
            let all = self.index.topics[number as usize].slots.clone();
            match &subscription.partitions {
                None => slots.extend(all),
                Some(wanted) => slots.extend(
                    wanted.iter().filter_map(|partition| self.index.slot(number, *partition)),
                ),
            }
        }
        slots.sort_unstable();
        slots.dedup();
        let group = self.groups.number(&subscription.group);
        let fresh = slots.iter().filter(|slot| self.groups.mark(group, **slot).is_none());
        let fresh: Vec<(Slot, u64)> =
            fresh.map(|slot| (*slot, self.index.partitions[*slot].first)).collect();
        self.write_marks(group, &fresh)?;
        let seat = Arc::new(Seat { group, notify: Notify::new(), fenced: AtomicBool::new(false) });
        for slot in &slots {
            let seats = &self.index.partitions[*slot].seats;
            for older in seats.iter().filter(|older| older.group == group) {
                older.fenced.store(true, Ordering::Release);
                older.notify.notify_one();
            }
        }
        for partition in &mut self.index.partitions {
            partition.seats.retain(|older| !older.fenced.load(Ordering::Acquire));
        }
        slots.iter().for_each(|slot| self.index.partitions[*slot].seats.push(seat.clone()));
        Ok(Seating { seat, slots })
    }

    /// Removes a consumer.
    pub fn unseat(&mut self, seat: &Arc<Seat>, slots: &[Slot]) {
        for slot in slots {
            self.index.partitions[*slot].seats.retain(|other| !Arc::ptr_eq(other, seat));
        }
    }

    /// Returns an error if another consumer of the group has taken over.
    pub fn fenced(&self, seat: &Seat) -> Result<(), Error> {
        if seat.fenced.load(Ordering::Acquire) {
            let group = self.groups.name(seat.group);
            return Err(Error::Fenced(group.to_string()));
        }
        Ok(())
    }

    /// Returns the segment that is written.
    pub fn current(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("there is always a segment that is written")
    }

    /// Returns the position after everything written so far.
    pub fn end(&mut self) -> Position {
        let current = self.current();
        Position { segment: current.number, length: current.length }
    }

    /// Appends the buffer to the current segment in one write, completely or not at all.
    pub fn write(&mut self) -> Result<(), Error> {
        self.working()?;
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.current().append(&buffer);
        self.buffer = buffer;
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        let number = self.current().number;
        written.map_err(|error| fault("write", &self.disk.name(number), &error))
    }

    /// Starts a new segment when the current one is long enough. The finished one is synced first,
    /// so that only the last one can be torn.
    pub fn roll_if_due(&mut self) -> Result<(), Error> {
        if self.current().length < self.options.segment_bytes {
            return Ok(());
        }
        self.sync()?;
        let number = self.current().number + 1;
        let mut segment = Segment::create(self.disk.as_ref(), number)?;
        let mut snapshot = Vec::new();
        frame::put_snapshot(&mut snapshot, &self.index.states(), &self.groups.states(&self.index));
        if let Err(error) = segment.append(&snapshot) {
            let name = self.disk.name(number);
            let removed = self.disk.remove(number).map_err(|error| fault("remove", &name, &error));
            return removed.and(Err(fault("write", &name, &error)));
        }
        self.segments.push_back(segment);
        self.retire()
    }

    /// Syncs the log: everything written so far survives a power loss.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.working()?;
        let number = self.current().number;
        if let Err(error) = self.current().sync() {
            let name = self.disk.name(number);
            self.sync_failed(number, &error);
            return Err(fault("sync", &name, &error));
        }
        self.stats.syncs += 1;
        let end = self.end();
        self.synced.reaches(end);
        Ok(())
    }

    /// Syncs unless everything before the position is synced already.
    pub fn sync_until(&mut self, position: Position) -> Result<(), Error> {
        self.working()?;
        let current = self.current();
        let synced = Position { segment: current.number, length: current.synced };
        if synced < position { self.sync() } else { Ok(()) }
    }

    /// Stops the log: from now on every operation fails.
    pub fn sync_failed(&mut self, number: u32, error: &std::io::Error) {
        let name = self.disk.name(number);
        let reason = format!("sync {name}: {error}; stop, check the disk, and start again");
        self.synced.breaks(&reason);
        self.broken = Some(reason);
    }

    /// Returns an error if the log was stopped.
    fn working(&self) -> Result<(), Error> {
        self.broken.as_ref().map_or(Ok(()), |reason| Err(Error::Unavailable(reason.clone())))
    }
}

fn place(segment: u32, base: u64, start: usize, end: usize) -> Place {
    let position =
        u32::try_from(base + start as u64).expect("segments are limited far below 4 GiB");
    let length = u32::try_from(end - start).expect("records are limited far below 4 GiB");
    Place { segment, position, length }
}
