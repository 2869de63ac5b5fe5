//! The batch on PostgreSQL: one statement for all rows of all tables, passed as arrays.
//!
//! Every key comes from an array and is looked up in an index. `(.. IN (SELECT ..)) IS TRUE` plans
//! as a hash table. A bare `IN` becomes a join, which without hash joins compares every pair of
//! rows.

use std::collections::{BTreeSet, HashMap, HashSet};

use sagamore_core::id::{Name, SagaId};
use sagamore_core::planted::{Bug, planted};
use sagamore_database::postgres::array;
use sagamore_database::{Row, Tx, Value};

use super::bad;
use super::header::{BYTES, HEADER};
use super::ownership::Epochs;
use super::row::{Write, WriteOutcome, ended_at, failed_at, fault_shown_from, integer};
use crate::error::Error;

/// Locks the partitions' rows against a successor, inserts new sagas, and updates those at the
/// revision that was read. Adds journal entries for each written saga. Returns the numbers of the
/// written sagas, and in a row without number the count of owned partitions.
const WRITE: &str = "
WITH owned AS (
    SELECT o.reply_partition
    FROM UNNEST(CAST($1 AS BIGINT[]), CAST($2 AS BIGINT[])) AS e(reply_partition, epoch)
    JOIN ownership o ON o.reply_partition = e.reply_partition AND o.epoch = e.epoch FOR SHARE OF o
), fresh AS (
    INSERT INTO saga (seq, id, version, hash, reply_partition, status, revision, started_at,
        changed_at, ended_at, failed_at, fault_shown_from)
    SELECT *
    FROM UNNEST(CAST($3 AS BIGINT[]), CAST($4 AS TEXT[]), CAST($5 AS BIGINT[]), CAST($6 AS TEXT[]),
        CAST($7 AS BIGINT[]), CAST($8 AS TEXT[]), CAST($9 AS BIGINT[]), CAST($10 AS BIGINT[]),
        CAST($11 AS BIGINT[]), CAST($12 AS BIGINT[]), CAST($13 AS TEXT[]), CAST($14 AS BIGINT[]))
        AS n(seq, id, version, hash, reply_partition, status, revision, started_at, changed_at,
            ended_at, failed_at, fault_shown_from)
    WHERE (n.reply_partition IN (SELECT reply_partition FROM owned)) IS TRUE
    ON CONFLICT (id) DO NOTHING RETURNING seq
), changed AS (
    UPDATE saga s
    SET status = u.status, revision = u.revision, changed_at = u.changed_at, ended_at = u.ended_at,
        failed_at = u.failed_at, fault_shown_from = u.fault_shown_from
    FROM UNNEST(CAST($15 AS BIGINT[]), CAST($16 AS BIGINT[]), CAST($17 AS TEXT[]),
        CAST($18 AS BIGINT[]), CAST($19 AS BIGINT[]), CAST($20 AS BIGINT[]), CAST($21 AS TEXT[]),
        CAST($22 AS BIGINT[]))
        AS u(seq, read_revision, status, revision, changed_at, ended_at, failed_at,
            fault_shown_from)
    WHERE s.seq = u.seq AND s.revision = u.read_revision
        AND (s.reply_partition IN (SELECT reply_partition FROM owned)) IS TRUE
    RETURNING s.seq
), took AS (
    SELECT seq FROM fresh UNION ALL SELECT seq FROM changed
), journaled AS (
    INSERT INTO journal (seq, revision, entry)
    SELECT * FROM UNNEST(CAST($23 AS BIGINT[]), CAST($24 AS BIGINT[]), CAST($25 AS TEXT[]))
        AS j(seq, revision, entry)
    WHERE (j.seq IN (SELECT seq FROM took)) IS TRUE
)
SELECT seq, 0 FROM took UNION ALL SELECT NULL, count(*) FROM owned";

const RESERVE: &str = "SELECT nextval(pg_get_serial_sequence('saga', 'seq'))
    FROM generate_series(1, CAST($1 AS INTEGER))";

const IDEMPOTENT: &str = "
SELECT i.key, i.request_hash FROM UNNEST(CAST($1 AS TEXT[])) AS k(key)
JOIN idempotency i ON i.key = k.key
JOIN saga s ON s.id = i.saga";

const JOURNALS: &str = "
SELECT j.seq, j.entry FROM UNNEST(CAST($1 AS BIGINT[])) AS s(seq) JOIN journal j ON j.seq = s.seq
ORDER BY j.seq, j.revision";

/// Reserves `count` row numbers.
pub(super) async fn reserve(tx: &Tx, count: usize) -> Result<Vec<i64>, Error> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    Ok(tx.query(RESERVE, (count,)).await?.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?)
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
    let held = |partition: &u32| epochs.0.get(partition).copied().unwrap_or(-1);
    let mut params = vec![array(partitions.iter().copied()), array(partitions.iter().map(held))];
    let numbered = || writes.iter().zip(&seqs);
    params.extend(columns(
        numbered().filter(|(write, _)| write.seq.is_none()).map(|(write, seq)| fresh(write, *seq)),
    ));
    params.extend(columns(
        numbered()
            .filter(|(write, _)| write.seq.is_some())
            .map(|(write, seq)| changed(write, *seq)),
    ));
    let mut entries = Vec::new();
    for (write, seq) in numbered() {
        for entry in write.entries {
            let text = serde_json::to_string(entry).map_err(|why| bad(&write.saga.id, why))?;
            entries.push([Value::Int(*seq), integer(entry.revision), Value::Text(text)]);
        }
    }
    params.extend(columns(entries.into_iter()));
    let mut took = HashSet::with_capacity(seqs.len());
    for row in tx.query(WRITE, params).await? {
        match row.get::<Option<i64>>(0)? {
            Some(seq) => drop(took.insert(seq)),
            None => still_owned(&partitions, row.get(1)?)?,
        }
    }
    Ok(seqs
        .into_iter()
        .map(
            |seq| if took.contains(&seq) { WriteOutcome::Row(seq) } else { WriteOutcome::Conflict },
        )
        .collect())
}

/// Reads the rows of these sagas.
pub(super) async fn headers(tx: &Tx, ids: &[&SagaId]) -> Result<Vec<Row>, Error> {
    let sql = format!(
        "SELECT {HEADER} FROM UNNEST(CAST($1 AS TEXT[])) AS k(wanted)
            JOIN saga ON saga.id = k.wanted"
    );
    Ok(tx.query(&sql, (array(ids.iter().map(|id| id.as_str())),)).await?)
}

/// Reads the journal sizes of these sagas.
pub(super) async fn bytes(tx: &Tx, ids: &[&SagaId]) -> Result<Vec<Row>, Error> {
    let sql = format!(
        "SELECT saga.id, {BYTES} FROM UNNEST(CAST($1 AS TEXT[])) AS k(id)
            JOIN saga ON saga.id = k.id"
    );
    Ok(tx.query(&sql, (array(ids.iter().map(|id| id.as_str())),)).await?)
}

/// Reads the journal sizes of these rows, in their order.
pub(super) async fn bytes_of_rows(tx: &Tx, seqs: &[i64]) -> Result<Vec<Row>, Error> {
    let sql = format!(
        "SELECT {BYTES} FROM UNNEST(CAST($1 AS BIGINT[])) WITH ORDINALITY AS saga(seq, place)
            ORDER BY saga.place"
    );
    Ok(tx.query(&sql, (array(seqs.iter().copied()),)).await?)
}

/// Reads the journals of these rows, in their order.
pub(super) async fn journals(tx: &Tx, seqs: &[i64]) -> Result<Vec<Vec<Row>>, Error> {
    let mut of_seq: HashMap<i64, Vec<Row>> = HashMap::with_capacity(seqs.len());
    for row in tx.query(JOURNALS, (array(seqs.iter().copied()),)).await? {
        of_seq.entry(row.get("seq")?).or_default().push(row);
    }
    Ok(seqs.iter().map(|seq| of_seq.remove(seq).unwrap_or_default()).collect())
}

/// Reads the stored rows of these idempotency keys.
pub(super) async fn idempotent(tx: &Tx, keys: &[&str]) -> Result<Vec<Row>, Error> {
    Ok(tx.query(IDEMPOTENT, (array(keys.iter().copied()),)).await?)
}

fn still_owned(partitions: &BTreeSet<u32>, owned: i64) -> Result<(), Error> {
    if usize::try_from(owned) == Ok(partitions.len()) || planted(Bug::IgnoreEpoch) {
        return Ok(());
    }
    let partition = partitions.first().copied().unwrap_or_default();
    Err(Error::OwnershipLost { partition })
}

fn fresh(write: &Write<'_>, seq: i64) -> [Value; 12] {
    let saga = write.saga;
    [
        Value::Int(seq),
        Value::from(saga.id.as_str()),
        Value::from(saga.definition.version),
        Value::from(saga.definition.hash()),
        Value::from(saga.reply_to.partition),
        Value::from(saga.status.as_str()),
        integer(saga.revision),
        Value::Int(saga.started_at.0),
        Value::Int(saga.changed_at.0),
        ended_at(saga),
        Value::from(failed_at(saga).map(Name::as_str)),
        fault_shown_from(saga),
    ]
}

fn changed(write: &Write<'_>, seq: i64) -> [Value; 8] {
    let saga = write.saga;
    [
        Value::Int(seq),
        integer(write.read_revision),
        Value::from(saga.status.as_str()),
        integer(saga.revision),
        Value::Int(saga.changed_at.0),
        ended_at(saga),
        Value::from(failed_at(saga).map(Name::as_str)),
        fault_shown_from(saga),
    ]
}

/// Transposes rows into one array per column.
fn columns<const N: usize>(rows: impl Iterator<Item = [Value; N]>) -> [Value; N] {
    let mut columns: [Vec<Value>; N] = std::array::from_fn(|_| Vec::new());
    for row in rows {
        row.into_iter().zip(&mut columns).for_each(|(value, column)| column.push(value));
    }
    columns.map(array)
}
