//! The observer's progress in each partition: its position, the moment up to which everything is
//! read, and gaps where records expired unread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_database::{Tx, Value};
use sagamore_transport::{Delivered, Reach};

use super::rows::bad;
use super::statements::PLACE;
use super::store::Store;
use crate::error::Error;

/// The interval at which an observer records its partitions as read.
pub(super) const SEEN_INTERVAL: Duration = Duration::from_secs(60);
/// The age after which a partition's record is ignored: its topic was recreated with fewer
/// partitions.
pub(super) const UNSEEN_MAX: Duration = Duration::from_secs(3600);

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
    pub fn of(taken: &[Delivered]) -> Vec<ReadRange> {
        let mut read: BTreeMap<(&Arc<str>, u32), ReadRange> = BTreeMap::new();
        for Delivered { record, partition, offset, unreadable } in taken {
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
    let row = |ReadRange { topic, partition, first, next }| {
        Ok(vec![
            Value::from(&*topic),
            partition.into(),
            whole(first)?,
            whole(next)?,
            Value::Int(0),
            now.0.into(),
        ])
    };
    let rows = read.into_iter().map(row).collect::<Result<Vec<_>, Error>>()?;
    Ok(tx.execute_many(&PLACE, rows).await?)
}

impl Store {
    /// Records these partitions as read up to their marks. Returns whether other observers read
    /// further partitions.
    pub async fn record_reading(&self, reaches: &[Reach], now: Timestamp) -> Result<bool, Error> {
        let open = self.database.begin().await?;
        open.tx().execute_many(&PLACE, rows(reaches, Timestamp(0), now)?).await?;
        let seen = "SELECT count(*) FROM reading WHERE seen_at >= $1";
        let seen = open.tx().query(seen, (now.minus(SEEN_INTERVAL * 2).0,)).await?;
        open.commit().await?;
        let seen: i64 = seen.first().map_or(Ok(0), |row| row.get(0))?;
        Ok(seen > i64::try_from(reaches.len()).unwrap_or(i64::MAX))
    }

    /// Records that everything published before `at` in these partitions is stored. Returns the
    /// earliest such moment over all partitions, except those not recorded since `unseen`.
    pub async fn record_read_until(
        &self,
        reaches: &[Reach],
        at: Timestamp,
        unseen: Timestamp,
        now: Timestamp,
    ) -> Result<Timestamp, Error> {
        let open = self.database.begin().await?;
        open.tx().execute_many(&PLACE, rows(reaches, at, now)?).await?;
        let least = "SELECT topic, min(read_until) FROM reading WHERE seen_at >= $1 GROUP BY topic";
        let all = open.tx().query(least, (unseen.0,)).await?;
        open.commit().await?;
        let topics = self.topics();
        let mut read_until = at;
        for row in &all {
            let topic: String = row.get(0)?;
            if topics.iter().any(|known| **known == *topic) {
                read_until = read_until.min(Timestamp(row.get(1)?));
            }
        }
        Ok(read_until)
    }

    /// Returns the moment since which the observer has read everything. Chains that started earlier
    /// may have ended unseen.
    pub async fn known_since(&self, now: Timestamp) -> Result<Timestamp, Error> {
        let open = self.database.begin().await?;
        let first = "INSERT INTO observing (id, since) VALUES (1, $1)
            ON CONFLICT (id) DO UPDATE SET adopts = 0";
        open.tx().execute(first, (now.0,)).await?;
        let rows = open.tx().query("SELECT since FROM observing WHERE id = 1", ()).await?;
        let gap = open.tx().query("SELECT max(gap_at) FROM reading", ()).await?;
        open.commit().await?;
        let row = rows.first().ok_or_else(|| bad("observing", "its row is missing"))?;
        let gap: Option<i64> = gap.first().map(|row| row.get(0)).transpose()?.flatten();
        Ok(Timestamp(row.get::<i64>(0)?.max(gap.unwrap_or(i64::MIN))))
    }
}

fn rows(
    reaches: &[Reach],
    read_until: Timestamp,
    now: Timestamp,
) -> Result<Vec<Vec<Value>>, Error> {
    let row = |Reach { topic, partition, mark, .. }: &Reach| {
        let mark = whole(*mark)?;
        Ok(vec![
            Value::from(&**topic),
            (*partition).into(),
            mark.clone(),
            mark,
            read_until.0.into(),
            now.0.into(),
        ])
    };
    reaches.iter().map(row).collect()
}

fn whole(offset: u64) -> Result<Value, Error> {
    i64::try_from(offset).map(Value::Int).map_err(|why| bad("an offset", why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sagamore_transport::Record;

    #[test]
    fn a_range_starts_after_the_last_hole() {
        let check = |offsets: &[u64], first, next| {
            let topic: Arc<str> = "bell.rung".into();
            let record = || Record {
                topic: topic.clone(),
                partition: None,
                key: "k".into(),
                headers: Vec::new(),
                body: "{}".into(),
            };
            let of = |offset: &u64| Delivered {
                record: record(),
                partition: 3,
                offset: *offset,
                unreadable: None,
            };
            let taken: Vec<Delivered> = offsets.iter().map(of).collect();
            assert_eq!(
                ReadRange::of(&taken),
                [ReadRange { topic: topic.clone(), partition: 3, first, next }],
                "{offsets:?}"
            );
        };
        check(&[7], 7, 8);
        check(&[7, 8, 9], 7, 10);
        check(&[7, 8, 11, 12], 11, 13);
        check(&[0, 5, 9], 9, 10);
    }

    #[test]
    fn an_unreadable_record_is_a_hole() {
        let check = |unreadable: u64, first, next| {
            let topic: Arc<str> = "bell.rung".into();
            let record = || Record {
                topic: topic.clone(),
                partition: None,
                key: "k".into(),
                headers: Vec::new(),
                body: "{}".into(),
            };
            let of = |offset: u64| Delivered {
                record: record(),
                partition: 3,
                offset,
                unreadable: (offset == unreadable).then(|| "torn".into()),
            };
            let taken: Vec<Delivered> = (5..8).map(of).collect();
            assert_eq!(
                ReadRange::of(&taken),
                [ReadRange { topic: topic.clone(), partition: 3, first, next }],
                "{unreadable}"
            );
        };
        check(4, 5, 8);
        check(5, 6, 8);
        check(6, 7, 8);
        check(7, 8, 8);
    }
}
