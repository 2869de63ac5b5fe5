//! The removal of old segments whose records are no longer needed. The few that are still needed
//! move to the current segment.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::log::disk::File;
use crate::log::index::{Place, Slot};
use crate::log::segment::{Segment, fault};
use crate::log::state::State;

/// A needed record and its current place.
type Needed = (Slot, u64, Place);

/// A needed record of a segment that is removed.
struct CarriedRecord {
    slot: Slot,
    offset: u64,
    bytes: Vec<u8>,
}

impl State {
    /// Removes every segment with few or no needed records. The moved records and the offsets that
    /// make the rest obsolete are synced first.
    pub fn retire(&mut self) -> Result<(), Error> {
        self.moved = false;
        let budget = self.options.segment_bytes / 2;
        let mut going = Vec::new();
        let mut carried: Vec<CarriedRecord> = Vec::new();
        let mut carried_bytes = 0;
        for segment in self.segments.iter().take(self.segments.len() - 1) {
            let bytes_max = (segment.length / 2).min(budget - carried_bytes);
            let Some((needed, bytes)) = self.needed(segment, bytes_max) else { continue };
            carried_bytes += bytes;
            for (slot, offset, place) in needed {
                let bytes = read(segment.file.as_ref(), place)
                    .map_err(|error| fault("read", &self.disk.name(segment.number), &error))?;
                carried.push(CarriedRecord { slot, offset, bytes });
            }
            going.push(segment.number);
        }
        if going.is_empty() {
            return Ok(());
        }
        self.carry(&carried)?;
        self.sync()?;
        self.forget(&going)
    }

    /// Returns the needed records of a segment and their total bytes; `None` above `bytes_max`.
    ///
    /// A record is needed if some group has not committed it. Without any group it is needed within
    /// the retention.
    fn needed(&self, segment: &Segment, bytes_max: u64) -> Option<(Vec<Needed>, u64)> {
        let mut needed = Vec::new();
        let mut bytes = 0;
        for (slot, span) in segment.spans() {
            let partition = &self.index.partitions[slot];
            for offset in self.floor(slot).max(*span.start())..=*span.end() {
                if let Some(place) =
                    partition.place(offset).filter(|place| place.segment == segment.number)
                {
                    bytes += u64::from(place.length);
                    if bytes > bytes_max {
                        return None;
                    }
                    needed.push((slot, offset, place));
                }
            }
        }
        Some((needed, bytes))
    }

    /// Returns the offset before which no record is needed.
    fn floor(&self, slot: Slot) -> u64 {
        let partition = &self.index.partitions[slot];
        let retained = || {
            partition.last_bytes(
                self.options.retention_bytes / self.index.topic_of(slot).slots.len() as u64,
            )
        };
        self.groups.floor(slot).unwrap_or_else(retained).max(partition.first)
    }

    fn carry(&mut self, carried: &[CarriedRecord]) -> Result<(), Error> {
        if carried.is_empty() {
            return Ok(());
        }
        self.buffer.clear();
        carried.iter().for_each(|record| self.buffer.extend_from_slice(&record.bytes));
        let segment = self.current().number;
        let mut position = self.current().length;
        self.write()?;
        for CarriedRecord { slot, offset, bytes } in carried {
            let length = u32::try_from(bytes.len()).expect("records are limited far below 4 GiB");
            let place = Place {
                segment,
                position: u32::try_from(position).expect("a segment is below 4 GiB"),
                length,
            };
            self.index.partitions[*slot].put(*offset, place);
            self.current().holds(*slot, *offset);
            position += u64::from(length);
        }
        Ok(())
    }

    fn forget(&mut self, going: &[u32]) -> Result<(), Error> {
        for number in going {
            let Some(at) = self.segments.iter().position(|segment| segment.number == *number)
            else {
                continue;
            };
            let spans: Vec<_> = self.segments[at].spans().collect();
            for (slot, span) in spans {
                let first = self.floor(slot).min(span.end() + 1);
                self.index.partitions[slot].drop_before(first);
            }
            self.segments.remove(at);
            self.disk
                .remove(*number)
                .map_err(|error| fault("remove", &self.disk.name(*number), &error))?;
        }
        Ok(())
    }

    /// Rejects records that add to a backlog once the log is too large. A topic whose groups keep
    /// up is accepted until the log exceeds its limit by a quarter: a lagging group must publish to
    /// catch up.
    pub fn make_room(&mut self, slots: &mut [Result<Slot, Error>]) -> Result<(), Error> {
        let size_max = self.options.size_bytes_max;
        if self.bytes() < size_max {
            return Ok(());
        }
        if self.moved {
            self.retire()?;
        }
        let bytes = self.bytes();
        if bytes < size_max {
            return Ok(());
        }
        let over = bytes >= size_max + size_max / 4;
        let backlog = |slot: Slot| self.index.partitions[slot].bytes_from(self.floor(slot));
        let waiting = |slot: Slot| {
            self.index.topic_of(slot).slots.clone().map(backlog).sum::<u64>() > size_max / 4
        };
        let mut refused: BTreeMap<u32, bool> = BTreeMap::new();
        for outcome in slots {
            let Ok(slot) = *outcome else { continue };
            let topic = self.index.partitions[slot].topic;
            if *refused.entry(topic).or_insert_with(|| over || waiting(slot)) {
                *outcome = Err(self.full(bytes, slot));
            }
        }
        Ok(())
    }

    fn full(&self, bytes: u64, slot: Slot) -> Error {
        let (topic, size_max) = (&self.index.topic_of(slot).name, self.options.size_bytes_max);
        let behind = self.groups.slowest(slot).map_or("no group", |name| &**name);
        Error::Full(format!(
            "{bytes} bytes of at most {size_max}, topic '{topic}' waits for group '{behind}': \
             start its consumer, or raise the limit"
        ))
    }

    /// Returns the bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }
}

fn read(file: &dyn File, place: Place) -> std::io::Result<Vec<u8>> {
    file.read(u64::from(place.position), place.length as usize)
}
