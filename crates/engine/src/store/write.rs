//! The write of one batch: rows guarded by revision and epoch, and journal entries for the rows
//! that were written. The number of round trips is constant.

use std::collections::HashMap;

use sagamore_core::Timestamp;
use sagamore_core::id::SagaId;
use sagamore_database::port::Dialect;
use sagamore_database::{Statement, Tx, given_row};

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

given_row! {
    /// An idempotency key.
    struct Key<'a> {
        key: &'a str,
    }
}

given_row! {
    /// An idempotency key to store, and whether the transaction inserts its saga.
    struct StoredKey<'a> {
        key: &'a str,
        request_hash: &'a str,
        saga: &'a str,
        stored_at: i64,
        is_fresh: bool,
    }
}

static READ_KEYS: Statement<Key<'_>> = Statement::new(
    "SELECT i.key, i.request_hash FROM given, idempotency i, saga s
     WHERE i.key = given.key AND s.id = i.saga",
);

/// Stores an idempotency key, row by row. A key without a saga, which older programs left behind,
/// is taken over. A saga that this transaction inserts had no key before.
static STORE_KEY: Statement<StoredKey<'_>> = Statement::new(
    "INSERT INTO idempotency (key, request_hash, saga, stored_at)
     VALUES (given.key, given.request_hash, given.saga, given.stored_at)
     ON CONFLICT (key) DO UPDATE
     SET request_hash = excluded.request_hash, saga = excluded.saga, stored_at = excluded.stored_at
     WHERE (given.is_fresh AND idempotency.saga = excluded.saga)
        OR NOT EXISTS (SELECT 1 FROM saga s WHERE s.id = idempotency.saga)",
);

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

    /// Reads the request hashes of these idempotency keys. A key without a saga is free, and left
    /// out.
    pub async fn idempotent(
        &self,
        tx: &Tx,
        keys: &[&str],
    ) -> Result<HashMap<String, String>, Error> {
        let rows = tx.query_rows(&READ_KEYS, keys.iter().map(|key| Key { key })).await?;
        rows.iter().map(|row| Ok((row.get("key")?, row.get("request_hash")?))).collect()
    }

    /// Stores idempotency keys in the transaction of their sagas. The flag of a key is true if that
    /// transaction inserts its saga. Returns false if another transaction stored one of the keys
    /// first.
    pub async fn write_idempotent(
        &self,
        tx: &Tx,
        now: Timestamp,
        keys: &[(&Idempotent, bool)],
    ) -> Result<bool, Error> {
        let rows = keys.iter().map(|(row, is_fresh)| StoredKey {
            key: &row.key,
            request_hash: &row.request_hash,
            saga: row.saga.as_str(),
            stored_at: now.0,
            is_fresh: *is_fresh,
        });
        let stored = tx.execute_row_by_row(&STORE_KEY, rows).await?;
        Ok(stored.iter().all(|changed| *changed == 1))
    }
}
