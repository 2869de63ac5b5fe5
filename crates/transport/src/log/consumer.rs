//! A consumer of a group: its positions, its reads and its wake-ups.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::error::Error;
use crate::log::disk::File;
use crate::log::frame;
use crate::log::index::{Place, Slot};
use crate::log::seat::Seat;
use crate::log::segment::Segment;
use crate::log::state::{Seating, State};
use crate::log::sync::Handle;
use crate::port::{BoxFuture, Consumer, Reach};
use crate::record::{Delivery, Mark, Record};

/// Maximum gap between records on disk that are read in one call.
const GAP_BYTES_MAX: u64 = 16 << 10;
/// Maximum bytes of one read.
const READ_BYTES_MAX: u64 = 1 << 20;

/// The consumer behind the port.
pub(super) struct LogConsumer {
    handle: Arc<Handle>,
    seat: Arc<Seat>,
    /// The partitions, each with the next offset to take.
    positions: Vec<(Slot, u64)>,
    /// The partition that is polled first, in rotation.
    turn: usize,
}

/// A record to deliver, in memory or in a file.
struct Planned {
    topic: Arc<str>,
    partition: u32,
    offset: u64,
    from: From,
}

enum From {
    Memory(Record),
    Disk(Arc<dyn File>, Place),
}

impl LogConsumer {
    /// Starts at the group's committed offsets.
    pub fn new(handle: Arc<Handle>, seated: Seating) -> LogConsumer {
        let positions = seated.slots.iter().map(|slot| (*slot, 0)).collect();
        let mut consumer = LogConsumer { handle, seat: seated.seat, positions, turn: 0 };
        let handle = consumer.handle.clone();
        consumer.go_back(&handle.state());
        consumer
    }

    fn go_back(&mut self, state: &State) {
        for (slot, position) in &mut self.positions {
            *position = state
                .groups
                .mark(self.seat.group, *slot)
                .unwrap_or(0)
                .max(state.index.partitions[*slot].first);
        }
    }

    fn marks_in(&self, state: &State) -> Vec<Mark> {
        let mark = |(slot, _): &(Slot, u64)| {
            let partition = &state.index.partitions[*slot];
            let next = state.groups.mark(self.seat.group, *slot).unwrap_or(0).max(partition.first);
            Mark {
                topic: state.index.topic_of(*slot).name.clone(),
                partition: partition.number,
                next,
            }
        };
        self.positions.iter().map(mark).collect()
    }

    /// Takes records synchronously: a future that is dropped before its first poll has taken none.
    fn take(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let mut positions = self.positions.clone();
        let planned = {
            let mut state = self.handle.state();
            state.fenced(&self.seat)?;
            plan(&mut state, &mut positions, self.turn, max)?
        };
        let taken = read(planned)?;
        self.positions = positions;
        self.turn = self.turn.wrapping_add(1);
        Ok(taken)
    }

    fn anything(&self) -> bool {
        let state = self.handle.state();
        let more =
            |(slot, position): &(Slot, u64)| *position < state.index.partitions[*slot].next();
        self.seat.fenced.load(Ordering::Acquire) || self.positions.iter().any(more)
    }
}

impl Consumer for LogConsumer {
    fn poll(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        Box::pin(async move { self.take(max) })
    }

    fn ready(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            while !self.anything() {
                self.seat.notify.notified().await;
            }
        })
    }

    fn commit(&mut self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.handle.state().commit(&self.seat, &marks)?;
            self.handle.request_sync();
            Ok(())
        })
    }

    fn rewind(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let handle = self.handle.clone();
            let state = handle.state();
            state.fenced(&self.seat)?;
            self.go_back(&state);
            Ok(())
        })
    }

    fn lag(&self) -> u64 {
        let state = self.handle.state();
        let behind = |(slot, _): &(Slot, u64)| {
            let mark = state.groups.mark(self.seat.group, *slot).unwrap_or(0);
            state.index.partitions[*slot].next().saturating_sub(mark)
        };
        self.positions.iter().map(behind).sum()
    }

    fn reaches(&mut self) -> BoxFuture<'_, Result<Option<Vec<Reach>>, Error>> {
        Box::pin(async move {
            let state = self.handle.state();
            let end = |slot: &Slot| state.index.partitions[*slot].next();
            let reach = |((slot, _), mark): (&(Slot, u64), Mark)| {
                let Mark { topic, partition, next } = mark;
                Reach { topic, partition, mark: next, end: end(slot) }
            };
            Ok(Some(self.positions.iter().zip(self.marks_in(&state)).map(reach).collect()))
        })
    }

    fn marks(&self) -> Vec<Mark> {
        self.marks_in(&self.handle.state())
    }
}

impl Drop for LogConsumer {
    fn drop(&mut self) {
        let slots: Vec<Slot> = self.positions.iter().map(|(slot, _)| *slot).collect();
        self.handle.state().unseat(&self.seat, &slots);
    }
}

/// Selects the next records, up to `max` and a bound of bytes, and advances the positions.
fn plan(
    state: &mut State,
    positions: &mut [(Slot, u64)],
    turn: usize,
    max: usize,
) -> Result<Vec<Planned>, Error> {
    let mut planned = Vec::new();
    let mut bytes = 0;
    let count = positions.len();
    for step in 0..count {
        let (slot, position) = &mut positions[(turn.wrapping_add(step)) % count];
        let topic = state.index.topic_of(*slot).name.clone();
        let partition = &mut state.index.partitions[*slot];
        *position = (*position).max(partition.first);
        while planned.len() < max
            && bytes < state.options.poll_bytes_max
            && let Some(place) = partition.place(*position)
        {
            let from = match partition.hand_out(*position) {
                Some(record) => From::Memory(record),
                None => From::Disk(file(&state.segments, place)?, place),
            };
            planned.push(Planned {
                topic: topic.clone(),
                partition: partition.number,
                offset: *position,
                from,
            });
            bytes += place.length as usize;
            *position += 1;
        }
    }
    Ok(planned)
}

fn file(segments: &VecDeque<Segment>, place: Place) -> Result<Arc<dyn File>, Error> {
    let found = segments.iter().find(|segment| segment.number == place.segment);
    let found =
        found.ok_or_else(|| Error::Damaged(format!("segment {} is missing", place.segment)))?;
    Ok(found.file.clone())
}

/// Reads the records that are not in memory, adjacent ones in one call.
fn read(planned: Vec<Planned>) -> Result<Vec<Delivery>, Error> {
    let mut taken = Vec::with_capacity(planned.len());
    let mut block: Option<(u32, u64, Bytes)> = None;
    let mut rest = planned.into_iter();
    while let Some(Planned { topic, partition, offset, from }) = rest.next() {
        let record = match from {
            From::Memory(record) => record,
            From::Disk(file, place) => {
                let (start, bytes) = match block.take() {
                    Some((segment, start, bytes)) if holds(segment, start, bytes.len(), place) => {
                        (start, bytes)
                    }
                    Some(_) | None => {
                        let start = u64::from(place.position);
                        let length = run(place, rest.as_slice());
                        let bytes = file
                            .read(start, length)
                            .map_err(|error| unreadable(place, &error.to_string()))?;
                        (start, Bytes::from(bytes))
                    }
                };
                let at = usize::try_from(u64::from(place.position) - start)
                    .expect("a block is far below 4 GiB");
                let record = frame::record(&bytes, at..at + place.length as usize, &topic);
                block = Some((place.segment, start, bytes));
                record.ok_or_else(|| unreadable(place, "its checksum is wrong"))?
            }
        };
        taken.push(Delivery { record, partition, offset, unreadable: None });
    }
    Ok(taken)
}

fn holds(segment: u32, start: u64, length: usize, place: Place) -> bool {
    let position = u64::from(place.position);
    segment == place.segment
        && start <= position
        && position + u64::from(place.length) <= start + length as u64
}

/// Returns the bytes to read for this record and the adjacent ones after it.
fn run(first: Place, rest: &[Planned]) -> usize {
    let start = u64::from(first.position);
    let mut end = start + u64::from(first.length);
    for planned in rest {
        let From::Disk(_, place) = &planned.from else { break };
        let position = u64::from(place.position);
        let near =
            place.segment == first.segment && position >= end && position <= end + GAP_BYTES_MAX;
        if !near || position + u64::from(place.length) > start + READ_BYTES_MAX {
            break;
        }
        end = position + u64::from(place.length);
    }
    usize::try_from(end - start).expect("a block is far below 4 GiB")
}

fn unreadable(place: Place, why: &str) -> Error {
    Error::Damaged(format!("read segment {} at byte {}: {why}", place.segment, place.position))
}
