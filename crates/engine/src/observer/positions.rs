//! The offsets that the observer takes from each partition, recorded with the events.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagamore_core::Timestamp;
use sagamore_database::Tx;
use sagamore_transport::Delivery;

use super::rows::bad;
use super::statements::{PLACE, Position};
use crate::error::Error;

/// The offsets taken from one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadRange {
    topic: Arc<str>,
    partition: u32,
    /// The start of the range without holes.
    first: u64,
    /// The offset after the last record.
    next: u64,
}

impl ReadRange {
    /// Builds one range per partition; records of one arrive in order. An unreadable record counts
    /// as a hole.
    pub fn of(taken: &[Delivery]) -> Vec<ReadRange> {
        let mut read: BTreeMap<(&Arc<str>, u32), ReadRange> = BTreeMap::new();
        for Delivery { record, partition, offset, unreadable } in taken {
            let fresh = || ReadRange {
                topic: record.topic.clone(),
                partition: *partition,
                first: *offset,
                next: *offset,
            };
            let read = read.entry((&record.topic, *partition)).or_insert_with(fresh);
            if *offset > read.next {
                read.first = *offset;
            }
            read.next = read.next.max(offset + 1);
            if unreadable.is_some() {
                read.first = read.next;
            }
        }
        read.into_values().collect()
    }
}

/// Records the positions. Must run in the transaction that stores the events.
pub(super) async fn record_positions(
    tx: &Tx,
    read: Vec<ReadRange>,
    now: Timestamp,
) -> Result<(), Error> {
    let mut positions = Vec::with_capacity(read.len());
    for ReadRange { topic, partition, first, next } in &read {
        positions.push(Position {
            topic,
            partition: *partition,
            first: whole(*first)?,
            next: whole(*next)?,
            read_until: 0,
            seen_at: now.0,
        });
    }
    tx.execute_rows(&PLACE, positions).await?;
    Ok(())
}

pub(super) fn whole(offset: u64) -> Result<i64, Error> {
    i64::try_from(offset).map_err(|why| bad("an offset", why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sagamore_transport::Record;

    const TOPIC: &str = "bell.rung";

    fn delivery(offset: u64, is_unreadable: bool) -> Delivery {
        let record = Record {
            topic: TOPIC.into(),
            partition: None,
            key: "k".into(),
            headers: Vec::new(),
            body: "{}".into(),
        };
        let unreadable = is_unreadable.then(|| "torn".into());
        Delivery { record, partition: 3, offset, unreadable }
    }

    fn range(first: u64, next: u64) -> ReadRange {
        ReadRange { topic: TOPIC.into(), partition: 3, first, next }
    }

    #[test]
    fn a_range_starts_after_the_last_hole() {
        let check = |offsets: &[u64], first, next| {
            let taken: Vec<Delivery> =
                offsets.iter().map(|offset| delivery(*offset, false)).collect();
            assert_eq!(ReadRange::of(&taken), [range(first, next)], "{offsets:?}");
        };
        check(&[7], 7, 8);
        check(&[7, 8, 9], 7, 10);
        check(&[7, 8, 11, 12], 11, 13);
        check(&[0, 5, 9], 9, 10);
    }

    #[test]
    fn an_unreadable_record_is_a_hole() {
        let check = |unreadable: u64, first, next| {
            let taken: Vec<Delivery> =
                (5..8).map(|offset| delivery(offset, offset == unreadable)).collect();
            assert_eq!(ReadRange::of(&taken), [range(first, next)], "{unreadable}");
        };
        check(4, 5, 8);
        check(5, 6, 8);
        check(6, 7, 8);
        check(7, 8, 8);
    }
}
