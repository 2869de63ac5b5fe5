//! Faults of sagas whose own rows cannot be written, for example because they are locked. They have
//! rows of their own.

use std::collections::HashSet;

use sagamore_core::id::SagaId;
use sagamore_core::saga::StorageFault;
use sagamore_database::Value;
use sagamore_database::port::Dialect;
use sagamore_database::postgres::array;

use super::Store;
use crate::error::Error;

const FREE: &str = "SELECT id FROM saga WHERE id = ANY(CAST($1 AS TEXT[])) FOR UPDATE SKIP LOCKED";
const STORED: &str = "SELECT id FROM saga WHERE id = ANY(CAST($1 AS TEXT[]))";

impl Store {
    /// Returns those of these sagas whose rows another session has locked. Waits for no lock.
    pub async fn locked(&self, ids: &[&SagaId]) -> Result<Vec<SagaId>, Error> {
        if ids.is_empty() || self.database.dialect() == Dialect::Sqlite {
            return Ok(Vec::new()); // one process writes, one transaction at a time
        }
        let open = self.begin().await?;
        let wanted = || array(ids.iter().map(|id| id.as_str()));
        let mut locked: HashSet<String> = HashSet::new();
        for row in open.tx().query(STORED, (wanted(),)).await? {
            locked.insert(row.get(0)?);
        }
        for row in open.tx().query(FREE, (wanted(),)).await? {
            locked.remove(&row.get::<String>(0)?);
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
                    let shown_from = Value::from(fault.shown_from().map(|from| from.0));
                    stored.push(vec![Value::from(id.as_str()), Value::Text(text), shown_from]);
                }
                None => removed.push(vec![Value::from(id.as_str())]),
            }
        }
        let store = "INSERT INTO blocked (saga, fault, shown_from) VALUES ($1, $2, $3)
            ON CONFLICT (saga) DO UPDATE
            SET fault = excluded.fault, shown_from = excluded.shown_from";
        let open = self.begin().await?;
        open.tx().execute_each(store, stored).await?;
        open.tx().execute_each("DELETE FROM blocked WHERE saga = $1", removed).await?;
        Ok(open.commit().await?)
    }
}
