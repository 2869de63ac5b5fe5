//! The records that a gateway has taken: which are finished, and up to where offsets may be
//! committed.
//!
//! **Invariant:** a mark never passes an unfinished record. Calls end in any order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sagamore_transport::{Delivery, Mark};

/// The place of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub topic: Arc<str>,
    pub partition: u32,
    pub offset: u64,
}

/// The taken records that are not committed.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Per partition, the offsets and the number of results that each record waits for.
    partitions: HashMap<(Arc<str>, u32), BTreeMap<u64, u32>>,
    len: usize,
}

impl Place {
    pub fn of(delivery: &Delivery) -> Place {
        let Delivery { record, partition, offset, .. } = delivery;
        Place { topic: record.topic.clone(), partition: *partition, offset: *offset }
    }
}

impl Ledger {
    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds a record. Returns false if the ledger already has it: another subscription has
    /// redelivered it, and the first delivery will finish it.
    pub fn take(&mut self, place: &Place) -> bool {
        let offsets = self.partitions.entry((place.topic.clone(), place.partition)).or_default();
        if offsets.contains_key(&place.offset) {
            return false;
        }
        offsets.insert(place.offset, 1);
        self.len += 1;
        true
    }

    /// Adds a result that the record waits for, such as a dead letter beside the reply.
    pub fn expect_another(&mut self, place: &Place) {
        if let Some(open) = self.open(place) {
            *open += 1;
        }
    }

    /// Marks one result of a record as finished.
    pub fn finish(&mut self, place: &Place) {
        if let Some(open) = self.open(place) {
            *open = open.saturating_sub(1);
        }
    }

    fn open(&mut self, place: &Place) -> Option<&mut u32> {
        let offsets = self.partitions.get_mut(&(place.topic.clone(), place.partition))?;
        offsets.get_mut(&place.offset)
    }

    /// Returns the marks to commit: in each partition, the end of the leading finished records.
    pub fn marks(&self) -> Vec<Mark> {
        let partitions = self.partitions.iter();
        let marks = partitions.filter_map(|((topic, partition), offsets)| {
            let last = offsets.iter().take_while(|(_, open)| **open == 0).last();
            let (offset, _) = last?;
            let next = offset.saturating_add(1);
            Some(Mark { topic: topic.clone(), partition: *partition, next })
        });
        marks.collect()
    }

    /// Removes the records before these marks, which are committed.
    pub fn commit(&mut self, marks: &[Mark]) {
        for Mark { topic, partition, next } in marks {
            if let Some(offsets) = self.partitions.get_mut(&(topic.clone(), *partition)) {
                let before = offsets.len();
                *offsets = offsets.split_off(next);
                self.len -= before - offsets.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: u32, offset: u64) -> Place {
        Place { topic: "t".into(), partition, offset }
    }

    fn marks(ledger: &Ledger) -> Vec<(u32, u64)> {
        let mut marks: Vec<_> =
            ledger.marks().iter().map(|mark| (mark.partition, mark.next)).collect();
        marks.sort_unstable();
        marks
    }

    #[test]
    fn a_mark_stops_before_the_first_unfinished_record() {
        let mut ledger = Ledger::default();
        for place in [place(0, 5), place(0, 6), place(0, 9), place(1, 0)] {
            assert!(ledger.take(&place));
        }
        assert_eq!(marks(&ledger), []);
        ledger.finish(&place(0, 6));
        assert_eq!(marks(&ledger), []);
        ledger.finish(&place(0, 5));
        ledger.finish(&place(1, 0));
        assert_eq!(marks(&ledger), [(0, 7), (1, 1)]);
        let committed = ledger.marks();
        ledger.commit(&committed);
        assert_eq!((marks(&ledger), ledger.len()), (vec![], 1));
        ledger.expect_another(&place(0, 9));
        ledger.finish(&place(0, 9));
        assert_eq!(marks(&ledger), []);
        ledger.finish(&place(0, 9));
        assert_eq!(marks(&ledger), [(0, 10)]);
    }

    #[test]
    fn a_redelivered_record_is_not_taken_twice_until_it_is_committed() {
        let mut ledger = Ledger::default();
        assert!(ledger.take(&place(0, 5)));
        assert!(!ledger.take(&place(0, 5)));
        ledger.finish(&place(0, 5));
        assert!(!ledger.take(&place(0, 5)));
        let committed = ledger.marks();
        ledger.commit(&committed);
        assert!(ledger.take(&place(0, 5)));
        assert_eq!(ledger.len(), 1);
    }
}
