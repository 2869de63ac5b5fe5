//! Manual resolution of a chain: the chain counts as over, regardless of its events, until another
//! event is read.

use sagamore_core::{SagaId, Timestamp};

use super::statements::EVENTS_MAX;
use super::status::ChainStatus;
use super::store::{STATUS, Store};
use crate::error::Error;

/// A rejected resolve.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No event of the chain was ever seen.
    #[error("no event of the chain {0} was ever seen")]
    NotFound(SagaId),
    /// The chain has ended, or may still end without a person.
    #[error(
        "chain {id} is {}: only a stuck, half-compensated or anomalous chain, or one of an unknown \
         version, can be resolved",
        status.as_str()
    )]
    NotStuck {
        /// The chain.
        id: SagaId,
        /// The chain's status.
        status: ChainStatus,
    },
    /// A fault of the database.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Store {
    /// Marks a chain as resolved. A resolved chain keeps its first reason.
    pub async fn resolve(
        &self,
        id: &SagaId,
        because: &str,
        now: Timestamp,
    ) -> Result<(), ResolveError> {
        let open = self.database.begin().await.map_err(Error::from)?;
        let done = resolve(&open.tx(), id, because, now).await;
        match &done {
            Ok(()) => open.commit().await.map_err(Error::from)?,
            Err(_) => open.rollback().await.map_err(Error::from)?,
        }
        done
    }
}

async fn resolve(
    tx: &sagamore_database::Tx,
    id: &SagaId,
    because: &str,
    now: Timestamp,
) -> Result<(), ResolveError> {
    // the lock keeps other observers from adding an event before the update
    let sql = format!("SELECT seq, {STATUS} FROM chain WHERE id = $1 {{FOR UPDATE}}");
    let rows = tx.query(&tx.dialect().text(&sql), (id.as_str(),)).await.map_err(Error::from)?;
    let Some(row) = rows.first() else { return Err(ResolveError::NotFound(id.clone())) };
    let seq: i64 = row.get("seq").map_err(Error::from)?;
    let text: String = row.get("status").map_err(Error::from)?;
    match ChainStatus::stored(&text) {
        ChainStatus::Resolved => return Ok(()),
        status if !status.needs_a_person() => {
            return Err(ResolveError::NotStuck { id: id.clone(), status });
        }
        _ => {}
    }
    let sql = format!(
        "UPDATE chain SET resolved_because = $2, resolved_at = $3, ended_at = $3, due_at = NULL,
            resolved_events = (SELECT count(*)
                FROM (SELECT 1 FROM chain_event WHERE chain = $1 LIMIT {EVENTS_MAX}) e)
         WHERE seq = $1"
    );
    tx.execute(&sql, (seq, because, now.0)).await.map_err(Error::from)?;
    Ok(())
}
