//! What the observer forgets, and what it lets the services forget: chains that were over long ago (see ADR 0009).

use std::time::Duration;

use sagamore_core::{Horizon, Name, Timestamp};
use sagamore_database::Value;
use sagamore_transport::wire;

use super::Observer;
use super::store::{Store, bad};
use crate::error::Error;
use crate::store::{LASTING, named};

/// The pause between two horizons.
const HORIZON_EVERY: Duration = Duration::from_secs(600);
/// How many chains a horizon names; were there more, it is an earlier one.
const NAMES_MAX: usize = 1_000;
/// Chains that are removed at a time.
const PAGE: u32 = 500;
/// By how much the clocks of those who tell events may differ.
const SKEW_MAX: Duration = Duration::from_secs(24 * 3600);

/// The chains that a horizon may have to name, as the engine's does.
const NAMES: &str = "
SELECT id, begun_at FROM chain WHERE ended_at IS NULL AND begun_at < $1
UNION ALL
SELECT id, begun_at FROM chain WHERE ended_at - begun_at > 86400000 AND begun_at < $1 AND ended_at >= $2
ORDER BY begun_at LIMIT $3";

/// When what is next.
#[derive(Debug, Default)]
pub(super) struct Retention {
    horizon_due: Option<Timestamp>,
}

impl Observer {
    /// Forgets a page of what is old, and tells the services now and then what they may. To be called when all is read that
    /// there is: what was not read yet may be of a chain that would be taken for over.
    pub(super) async fn forget(&mut self, now: Timestamp) -> Result<(), Error> {
        let ended_before = now.minus(self.options.retention);
        self.store.forget(ended_before.minus(LASTING).minus(SKEW_MAX)).await?;
        if self.retention.horizon_due.is_some_and(|due| now < due) {
            return Ok(());
        }
        let horizon = self.store.horizon(ended_before, now).await?;
        self.transport.publish(vec![wire::encode_horizon(&horizon, None)]).await?;
        self.retention.horizon_due = Some(now.plus(HORIZON_EVERY));
        Ok(())
    }
}

impl Store {
    /// Removes a page of the chains that were over before this moment, with their events.
    async fn forget(&self, before: Timestamp) -> Result<(), Error> {
        let old = "SELECT seq FROM chain WHERE ended_at < $1 ORDER BY ended_at LIMIT $2";
        let rows = self.database.query(old, (before.0, PAGE)).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let seqs = rows.iter().map(|row| Ok(vec![Value::Int(row.get(0)?)])).collect::<Result<Vec<_>, Error>>()?;
        let open = self.database.begin().await?;
        open.tx().execute_each("DELETE FROM chain_event WHERE chain = $1", seqs.clone()).await?;
        open.tx().execute_each("DELETE FROM chain WHERE seq = $1", seqs).await?;
        Ok(open.commit().await?)
    }

    /// All chains that began before a moment were over before `ended_before`, but these; and of those from before the observer
    /// knew anything it says nothing.
    async fn horizon(&self, ended_before: Timestamp, now: Timestamp) -> Result<Horizon, Error> {
        let (until, but) = named(&self.database, NAMES, ended_before, NAMES_MAX).await?;
        let started_before = until.minus(SKEW_MAX);
        let started_from = Some(self.known_since(now).await?.plus(SKEW_MAX));
        Ok(Horizon { started_before, ended_before, started_from, definitions: self.plan_names(), but })
    }

    /// Since when there has been an observer on this database.
    async fn known_since(&self, now: Timestamp) -> Result<Timestamp, Error> {
        let open = self.database.begin().await?;
        let first = "INSERT INTO observing (id, since) VALUES (1, $1) ON CONFLICT (id) DO NOTHING";
        open.tx().execute(first, (now.0,)).await?;
        let rows = open.tx().query("SELECT since FROM observing WHERE id = 1", ()).await?;
        open.commit().await?;
        let row = rows.first().ok_or_else(|| bad("observing", "its row is not there"))?;
        Ok(Timestamp(row.get(0)?))
    }

    fn plan_names(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self.plans.keys().map(|(name, _)| name.clone()).collect();
        names.dedup();
        names
    }
}
