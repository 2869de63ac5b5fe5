//! The batch on SQLite: each statement once per row, in the single process that writes.

use sagamore_core::id::Name;
use sagamore_database::{Tx, Value};

use super::bad;
use super::row::{Write, WriteOutcome, ended_at, failed_at, fault_shown_from, integer};
use crate::error::Error;

/// Writes sagas and journals. Those that changed meanwhile are conflicts.
pub(super) async fn write(tx: &Tx, writes: &[Write<'_>]) -> Result<Vec<WriteOutcome>, Error> {
    let mut saved = vec![WriteOutcome::Conflict; writes.len()];
    let (fresh, known): (Vec<usize>, Vec<usize>) =
        (0..writes.len()).partition(|&index| writes[index].seq.is_none());
    if !fresh.is_empty() {
        let sets = fresh.iter().map(|&index| insert_values(&writes[index])).collect();
        for (&index, rows) in fresh.iter().zip(tx.query_each(INSERT, sets).await?) {
            if let Some(row) = rows.first() {
                saved[index] = WriteOutcome::Row(row.get(0)?);
            }
        }
    }
    if !known.is_empty() {
        let sets = known.iter().map(|&index| update_values(&writes[index])).collect();
        for (&index, changed) in known.iter().zip(tx.execute_each(UPDATE, sets).await?) {
            if let (1, Some(seq)) = (changed, writes[index].seq) {
                saved[index] = WriteOutcome::Row(seq);
            }
        }
    }
    let mut journal = Vec::new();
    for (write, saved) in writes.iter().zip(&saved) {
        if let WriteOutcome::Row(seq) = saved {
            for entry in write.entries {
                let text = serde_json::to_string(entry).map_err(|why| bad(&write.saga.id, why))?;
                journal.push(vec![Value::Int(*seq), integer(entry.revision), Value::Text(text)]);
            }
        }
    }
    tx.execute_each("INSERT INTO journal (seq, revision, entry) VALUES ($1, $2, $3)", journal)
        .await?;
    Ok(saved)
}

const INSERT: &str = "
INSERT INTO saga (id, version, hash, reply_partition, status, revision, started_at, changed_at,
    ended_at, failed_at, fault_shown_from)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO NOTHING RETURNING seq";

fn insert_values(write: &Write<'_>) -> Vec<Value> {
    let saga = write.saga;
    vec![
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

const UPDATE: &str = "
UPDATE saga
SET status = $3, revision = $4, changed_at = $5, ended_at = $6, failed_at = $7,
    fault_shown_from = $8
WHERE seq = $1 AND revision = $2";

fn update_values(write: &Write<'_>) -> Vec<Value> {
    let saga = write.saga;
    vec![
        Value::from(write.seq),
        integer(write.read_revision),
        Value::from(saga.status.as_str()),
        integer(saga.revision),
        Value::Int(saga.changed_at.0),
        ended_at(saga),
        Value::from(failed_at(saga).map(Name::as_str)),
        fault_shown_from(saga),
    ]
}
