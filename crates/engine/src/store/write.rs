//! One batch of a turn: rows under their revision and their partitions' epochs, journal entries for the rows that took,
//! in a constant number of round trips.

use std::collections::HashMap;

use sagamore_core::Timestamp;
use sagamore_core::id::{Name, SagaId};
use sagamore_core::saga::{Cause, Entry, Saga};
use sagamore_database::port::Dialect;
use sagamore_database::{Tx, Value};

use super::ownership::Epochs;
use super::{Store, postgres, sqlite};
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

/// A key that is there without a saga was left by an older program: it is taken over. A saga that this transaction stores
/// first had none before.
const STORE_KEY: &str = "
INSERT INTO idempotency (key, request_hash, saga, stored_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO UPDATE
SET request_hash = excluded.request_hash, saga = excluded.saga, stored_at = excluded.stored_at
WHERE (CAST($5 AS BIGINT) = 1 AND idempotency.saga = excluded.saga)
    OR NOT EXISTS (SELECT 1 FROM saga s WHERE s.id = idempotency.saga)";

impl Store {
    /// Numbers for so many new sagas, where the database does not give them with the rows.
    pub async fn reserve(&self, tx: &Tx, count: usize) -> Result<Vec<i64>, Error> {
        match tx.dialect() {
            Dialect::Postgres if count > 0 => postgres::reserve(tx, count).await,
            Dialect::Postgres | Dialect::Sqlite => Ok(Vec::new()),
        }
    }

    /// Writes sagas and journals; a saga whose row was changed by somebody else is left out, and said so. Fails with
    /// [`Error::OwnershipLost`] when a partition is not owned under its epoch any more. `numbers` are as many as
    /// [`Store::reserve`] gave for the new ones.
    pub async fn write(
        &self,
        tx: &Tx,
        epochs: &Epochs,
        writes: &[Write<'_>],
        numbers: Vec<i64>,
    ) -> Result<Vec<Saved>, Error> {
        let strange = writes
            .iter()
            .map(|write| write.saga.reply_to.partition)
            .find(|partition| !epochs.owns(*partition));
        if let Some(partition) = strange {
            return Err(Error::OwnershipLost { partition });
        }
        match tx.dialect() {
            Dialect::Sqlite => {
                self.check_ownership(tx, epochs).await?;
                sqlite::write(tx, writes).await
            }
            Dialect::Postgres => postgres::write(tx, epochs, writes, numbers).await,
        }
    }

    /// Reads the request hashes of those of these idempotency keys that a saga has. A key that an older program stored
    /// without a saga is free.
    pub async fn idempotent(
        &self,
        tx: &Tx,
        keys: &[&str],
    ) -> Result<HashMap<String, String>, Error> {
        let rows = match tx.dialect() {
            Dialect::Sqlite => {
                let sql = "SELECT i.key, i.request_hash FROM idempotency i JOIN saga s ON s.id = i.saga WHERE i.key = $1";
                let sets = keys.iter().map(|key| vec![Value::from(*key)]).collect();
                tx.query_each(sql, sets).await?.into_iter().flatten().collect()
            }
            Dialect::Postgres => postgres::idempotent(tx, keys).await?,
        };
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
    }

    /// Stores idempotency keys, each in the transaction of its saga, with whether this transaction stores that saga first.
    /// Returns false when another transaction stored one of the keys first.
    pub async fn write_idempotent(
        &self,
        tx: &Tx,
        now: Timestamp,
        keys: &[(&Idempotent, bool)],
    ) -> Result<bool, Error> {
        let set = |(row, is_fresh): &(&Idempotent, bool)| {
            vec![
                Value::from(&row.key),
                Value::from(&row.request_hash),
                Value::from(row.saga.as_str()),
                Value::Int(now.0),
                Value::Int(i64::from(*is_fresh)),
            ]
        };
        if keys.is_empty() {
            return Ok(true);
        }
        let stored = tx.execute_each(STORE_KEY, keys.iter().map(set).collect()).await?;
        Ok(stored.iter().all(|changed| *changed == 1))
    }
}

pub(super) fn ended_at(saga: &Saga) -> Value {
    Value::from(saga.status.has_ended().then_some(saga.changed_at.0))
}

pub(super) fn fault_shown_from(saga: &Saga) -> Value {
    let shown_from = if saga.status.has_ended() { None } else { saga.fault_shown_from() };
    Value::from(shown_from.map(|from| from.0))
}

/// The step whose refusal or silence turned the saga back.
pub(super) fn failed_at(saga: &Saga) -> Option<&Name> {
    match &saga.cause {
        Some(Cause::Refused(step) | Cause::GivenUp(step)) => Some(step),
        Some(Cause::DeadlinePassed | Cause::Cancelled) | None => None,
    }
}

pub(super) fn integer(revision: u64) -> Value {
    Value::Int(i64::try_from(revision).unwrap_or(i64::MAX))
}
