//! Faults of sagas whose own rows cannot be written, for example because they are locked. The
//! faults are in a table of their own.

use std::collections::HashSet;

use sagamore_core::id::SagaId;
use sagamore_core::saga::StorageFault;
use sagamore_database::port::Dialect;
use sagamore_database::{Statement, given_row};

use super::Store;
use super::load::SagaKey;
use crate::error::Error;

given_row! {
    /// A fault that blocks a saga.
    struct StoredFault<'a> {
        saga: &'a str,
        fault: String,
        shown_from: Option<i64>,
    }
}

static FREE: Statement<SagaKey<'_>> = Statement::new(
    "SELECT id FROM given, saga WHERE id = given.saga {FOR UPDATE OF saga SKIP LOCKED}",
);
static STORED: Statement<SagaKey<'_>> =
    Statement::new("SELECT id FROM given, saga WHERE id = given.saga");

static STORE: Statement<StoredFault<'_>> = Statement::insert(
    "blocked",
    "ON CONFLICT (saga) DO UPDATE SET fault = excluded.fault, shown_from = excluded.shown_from",
);
static REMOVE: Statement<SagaKey<'_>> =
    Statement::new("DELETE FROM blocked USING given WHERE blocked.saga = given.saga");

impl Store {
    /// Returns the given sagas whose rows another session has locked, without waiting for a lock.
    pub async fn locked(&self, ids: &[&SagaId]) -> Result<Vec<SagaId>, Error> {
        if ids.is_empty() || self.database.dialect() == Dialect::Sqlite {
            return Ok(Vec::new()); // one process writes, one transaction at a time
        }
        let open = self.begin().await?;
        let wanted = || ids.iter().map(|id| SagaKey::of(id));
        let mut locked: HashSet<String> = HashSet::new();
        for row in open.tx().query_rows(&STORED, wanted()).await? {
            locked.insert(row.get("id")?);
        }
        for row in open.tx().query_rows(&FREE, wanted()).await? {
            locked.remove(&row.get::<String>("id")?);
        }
        open.rollback().await?;
        Ok(ids.iter().filter(|id| locked.contains(id.as_str())).map(|id| (*id).clone()).collect())
    }

    /// Stores faults, and removes those that are over.
    pub async fn write_faults(
        &self,
        faults: &[(&SagaId, Option<&StorageFault>)],
    ) -> Result<(), Error> {
        let (mut stored, mut removed) = (Vec::new(), Vec::new());
        for (id, fault) in faults {
            match fault {
                Some(fault) => {
                    let text = serde_json::to_string(fault).map_err(|why| super::bad(id, why))?;
                    let shown_from = fault.shown_from().map(|from| from.0);
                    stored.push(StoredFault { saga: id.as_str(), fault: text, shown_from });
                }
                None => removed.push(SagaKey::of(id)),
            }
        }
        let open = self.begin().await?;
        open.tx().execute_rows(&STORE, stored).await?;
        open.tx().execute_rows(&REMOVE, removed).await?;
        Ok(open.commit().await?)
    }
}
