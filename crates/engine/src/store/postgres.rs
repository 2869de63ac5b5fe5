//! The batch on PostgreSQL: one statement for all rows of all tables, passed as arrays.
//!
//! Every key comes from an array and is looked up in an index. `(.. IN (SELECT ..)) IS TRUE` plans
//! as a hash table. A bare `IN` becomes a join, which without hash joins compares every pair of
//! rows.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use sagamore_core::planted::{Bug, planted};
use sagamore_database::statement::{arrays, names, unnest};
use sagamore_database::{GivenRow, Tx, given_row};

use super::bad;
use super::ownership::Epochs;
use super::row::{CHANGES, ChangedSaga, JournalRow, NewSaga, Write, WriteOutcome};
use crate::error::Error;

given_row! {
    /// A partition under the epoch of its claim.
    struct OwnedPartition {
        reply_partition: u32,
        epoch: i64,
    }
}

/// Locks the partitions' rows against a successor, inserts new sagas, and updates those at the
/// revision that was read. Adds journal entries for each written saga. Returns the numbers of the
/// written sagas, and in a row without number the count of owned partitions.
static WRITE: LazyLock<String> = LazyLock::new(|| {
    let mut next = 1;
    let partitions = relation::<OwnedPartition>(&mut next);
    let (new, new_columns) = (relation::<NewSaga<'_>>(&mut next), names::<NewSaga<'_>>());
    let changed = relation::<ChangedSaga<'_>>(&mut next);
    let (entries, entry_columns) = (relation::<JournalRow>(&mut next), names::<JournalRow>());
    format!(
        "WITH owned AS (
            SELECT o.reply_partition FROM {partitions}
            JOIN ownership o
                ON o.reply_partition = given.reply_partition AND o.epoch = given.epoch
            FOR SHARE OF o
        ), fresh AS (
            INSERT INTO saga ({new_columns}) SELECT {new_columns} FROM {new}
            WHERE (given.reply_partition IN (SELECT reply_partition FROM owned)) IS TRUE
            ON CONFLICT (id) DO NOTHING RETURNING seq
        ), changed AS (
            UPDATE saga SET {CHANGES} FROM {changed}
            WHERE saga.seq = given.seq AND saga.revision = given.read_revision
                AND (saga.reply_partition IN (SELECT reply_partition FROM owned)) IS TRUE
            RETURNING saga.seq
        ), took AS (
            SELECT seq FROM fresh UNION ALL SELECT seq FROM changed
        ), journaled AS (
            INSERT INTO journal ({entry_columns}) SELECT {entry_columns} FROM {entries}
            WHERE (given.seq IN (SELECT seq FROM took)) IS TRUE
        )
        SELECT seq, 0 AS owned FROM took UNION ALL SELECT NULL, count(*) FROM owned"
    )
});

const RESERVE: &str = "SELECT nextval(pg_get_serial_sequence('saga', 'seq')) AS seq
    FROM generate_series(1, CAST($1 AS INTEGER))";

/// Returns the relation `given` with the next free parameters.
fn relation<R: GivenRow>(next: &mut usize) -> String {
    let first = *next;
    *next += R::COLUMNS.len();
    unnest::<R>("given", first)
}

/// Reserves `count` row numbers.
pub(super) async fn reserve(tx: &Tx, count: usize) -> Result<Vec<i64>, Error> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let rows = tx.query(RESERVE, (count,)).await?;
    Ok(rows.iter().map(|row| row.get("seq")).collect::<Result<_, _>>()?)
}

/// Writes sagas and their journals. Those that changed meanwhile are conflicts. New sagas take the
/// reserved `numbers`.
pub(super) async fn write(
    tx: &Tx,
    epochs: &Epochs,
    writes: &[Write<'_>],
    numbers: Vec<i64>,
) -> Result<Vec<WriteOutcome>, Error> {
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let partitions: BTreeSet<u32> =
        writes.iter().map(|write| write.saga.reply_to.partition).collect();
    let mut numbers = numbers.into_iter();
    let seqs: Vec<i64> = writes
        .iter()
        .map(|write| {
            write
                .seq
                .or_else(|| numbers.next())
                .ok_or_else(|| bad(&write.saga.id, "no row number was reserved"))
        })
        .collect::<Result<_, _>>()?;
    let (mut new, mut changed, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    for (write, seq) in writes.iter().zip(&seqs) {
        match write.seq {
            None => new.push(NewSaga::of(write.saga, Some(*seq))),
            Some(seq) => changed.push(ChangedSaga::of(write, seq)),
        }
        for entry in write.entries {
            entries.push(JournalRow::of(&write.saga.id, *seq, entry)?);
        }
    }
    let owned = partitions.iter().map(|partition| OwnedPartition {
        reply_partition: *partition,
        epoch: epochs.0.get(partition).copied().unwrap_or(-1),
    });
    let params = [arrays(owned), arrays(new), arrays(changed), arrays(entries)].concat();
    let mut took = HashSet::with_capacity(seqs.len());
    for row in tx.query(&WRITE, params).await? {
        match row.get::<Option<i64>>("seq")? {
            Some(seq) => drop(took.insert(seq)),
            None => still_owned(&partitions, row.get("owned")?)?,
        }
    }
    Ok(seqs
        .into_iter()
        .map(
            |seq| if took.contains(&seq) { WriteOutcome::Row(seq) } else { WriteOutcome::Conflict },
        )
        .collect())
}

fn still_owned(partitions: &BTreeSet<u32>, owned: i64) -> Result<(), Error> {
    if usize::try_from(owned) == Ok(partitions.len()) || planted(Bug::IgnoreEpoch) {
        return Ok(());
    }
    let partition = partitions.first().copied().unwrap_or_default();
    Err(Error::OwnershipLost { partition })
}
