//! One batch of a turn: rows under their revision, journal entries for the rows that took, in a constant number of
//! round trips.

use std::collections::HashMap;

use sagamore_core::Timestamp;
use sagamore_core::id::{Name, SagaId};
use sagamore_core::saga::{Cause, Entry, Saga};
use sagamore_database::{Tx, Value};

use super::{Store, bad};
use crate::error::Error;

/// What a turn has decided about one saga.
pub(crate) struct Write<'a> {
    /// The row's number; none for a saga that is to be stored for the first time.
    pub seq: Option<i64>,
    /// The revision that was read: the row must still have it.
    pub read_revision: u64,
    /// The saga after all entries.
    pub saga: &'a Saga,
    /// What is new in its journal, never empty.
    pub entries: &'a [Entry],
}

/// What became of a [`Write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saved {
    /// It is in the transaction; this is the row's number.
    Row(i64),
    /// Somebody else stored or changed the saga first.
    Conflict,
}

/// What is stored for an idempotency key.
pub(crate) struct Idempotent {
    pub key: String,
    pub request_hash: String,
    pub saga: SagaId,
}

impl Store {
    /// Writes sagas and journals; a saga whose row was changed by somebody else is left out, and said so.
    pub async fn write(&self, tx: &Tx, writes: &[Write<'_>]) -> Result<Vec<Saved>, Error> {
        let mut saved = vec![Saved::Conflict; writes.len()];
        let (fresh, known): (Vec<usize>, Vec<usize>) =
            (0..writes.len()).partition(|&index| writes[index].seq.is_none());
        if !fresh.is_empty() {
            let sets = fresh.iter().map(|&index| insert_values(&writes[index])).collect();
            for (&index, rows) in fresh.iter().zip(tx.query_each(INSERT, sets).await?) {
                if let Some(row) = rows.first() {
                    saved[index] = Saved::Row(row.get(0)?);
                }
            }
        }
        if !known.is_empty() {
            let sets = known.iter().map(|&index| update_values(&writes[index])).collect();
            for (&index, changed) in known.iter().zip(tx.execute_each(UPDATE, sets).await?) {
                if let (1, Some(seq)) = (changed, writes[index].seq) {
                    saved[index] = Saved::Row(seq);
                }
            }
        }
        let mut journal = Vec::new();
        for (write, saved) in writes.iter().zip(&saved) {
            if let Saved::Row(seq) = saved {
                for entry in write.entries {
                    let text = serde_json::to_string(entry).map_err(|why| bad(&write.saga.id, why))?;
                    journal.push(vec![Value::Int(*seq), integer(entry.revision), Value::Text(text)]);
                }
            }
        }
        tx.execute_each("INSERT INTO journal (seq, revision, entry) VALUES ($1, $2, $3)", journal).await?;
        Ok(saved)
    }

    /// What is stored for these idempotency keys: request hash and saga.
    pub async fn idempotent(&self, tx: &Tx, keys: &[&str]) -> Result<HashMap<String, (String, SagaId)>, Error> {
        let sql = "SELECT key, request_hash, saga FROM idempotency WHERE key = $1";
        let sets = keys.iter().map(|key| vec![Value::from(*key)]).collect();
        let mut found = HashMap::new();
        for row in tx.query_each(sql, sets).await?.into_iter().flatten() {
            let (key, saga): (String, String) = (row.get(0)?, row.get(2)?);
            let saga = saga.parse().map_err(|why| bad(&key, why))?;
            found.insert(key, (row.get(1)?, saga));
        }
        Ok(found)
    }

    /// Stores idempotency keys; false when somebody else stored one of them first.
    pub async fn write_idempotent(&self, tx: &Tx, now: Timestamp, keys: &[&Idempotent]) -> Result<bool, Error> {
        let sql = "INSERT INTO idempotency (key, request_hash, saga, stored_at) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (key) DO NOTHING";
        let set = |row: &&Idempotent| {
            vec![
                Value::from(&row.key),
                Value::from(&row.request_hash),
                Value::from(row.saga.as_str()),
                Value::Int(now.0),
            ]
        };
        if keys.is_empty() {
            return Ok(true);
        }
        let stored = tx.execute_each(sql, keys.iter().map(set).collect()).await?;
        Ok(stored.iter().all(|changed| *changed == 1))
    }
}

const INSERT: &str = "
INSERT INTO saga (id, version, hash, reply_partition, status, revision, started_at, changed_at, ended_at, failed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING RETURNING seq";

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
    ]
}

const UPDATE: &str = "
UPDATE saga SET status = $3, revision = $4, changed_at = $5, ended_at = $6, failed_at = $7
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
    ]
}

fn ended_at(saga: &Saga) -> Value {
    Value::from(saga.status.has_ended().then_some(saga.changed_at.0))
}

/// The step whose refusal or silence turned the saga back.
pub(super) fn failed_at(saga: &Saga) -> Option<&Name> {
    match &saga.cause {
        Some(Cause::Refused(step) | Cause::GivenUp(step)) => Some(step),
        Some(Cause::DeadlinePassed | Cause::Cancelled) | None => None,
    }
}

fn integer(revision: u64) -> Value {
    Value::Int(i64::try_from(revision).unwrap_or(i64::MAX))
}
