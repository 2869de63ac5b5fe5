//! The write of one batch: rows guarded by revision and epoch, and journal entries for the rows
//! that were written. The number of round trips is constant.

use std::collections::HashMap;

use sagamore_core::Timestamp;
use sagamore_core::id::SagaId;
use sagamore_database::port::Dialect;
use sagamore_database::{Tx, Value};

use super::ownership::Epochs;
use super::row::{Write, WriteOutcome};
use super::{Store, postgres, sqlite};
use crate::error::Error;

/// The row of an idempotency key.
pub(crate) struct Idempotent {
    pub key: String,
    pub request_hash: String,
    pub saga: SagaId,
}

/// Stores an idempotency key. A key without a saga, which older programs left behind, is taken
/// over. A saga that this transaction inserts had no key before.
const STORE_KEY: &str = "
INSERT INTO idempotency (key, request_hash, saga, stored_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO UPDATE
SET request_hash = excluded.request_hash, saga = excluded.saga, stored_at = excluded.stored_at
WHERE (CAST($5 AS BIGINT) = 1 AND idempotency.saga = excluded.saga)
    OR NOT EXISTS (SELECT 1 FROM saga s WHERE s.id = idempotency.saga)";

impl Store {
    /// Reserves row numbers for `count` new sagas, on databases that do not assign them on insert.
    pub async fn reserve(&self, tx: &Tx, count: usize) -> Result<Vec<i64>, Error> {
        match tx.dialect() {
            Dialect::Postgres if count > 0 => postgres::reserve(tx, count).await,
            Dialect::Postgres | Dialect::Sqlite => Ok(Vec::new()),
        }
    }

    /// Writes sagas and journals. A saga that another writer changed is a conflict. `numbers` come
    /// from [`Store::reserve`], one per new saga.
    ///
    /// # Errors
    /// [`Error::OwnershipLost`] if a partition is not owned under its epoch any more.
    pub async fn write(
        &self,
        tx: &Tx,
        epochs: &Epochs,
        writes: &[Write<'_>],
        numbers: Vec<i64>,
    ) -> Result<Vec<WriteOutcome>, Error> {
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

    /// Reads the request hashes of those of these idempotency keys that belong to a saga. A key
    /// without a saga is free.
    pub async fn idempotent(
        &self,
        tx: &Tx,
        keys: &[&str],
    ) -> Result<HashMap<String, String>, Error> {
        let rows = match tx.dialect() {
            Dialect::Sqlite => {
                let sql = "SELECT i.key, i.request_hash FROM idempotency i
                    JOIN saga s ON s.id = i.saga WHERE i.key = $1";
                let sets = keys.iter().map(|key| vec![Value::from(*key)]).collect();
                tx.query_each(sql, sets).await?.into_iter().flatten().collect()
            }
            Dialect::Postgres => postgres::idempotent(tx, keys).await?,
        };
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
    }

    /// Stores idempotency keys in the transaction of their sagas; each with whether that
    /// transaction inserts the saga. Returns false if another transaction stored one of the keys
    /// first.
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
