//! Retention: removes chains that ended long ago, and publishes horizons so that services remove
//! their barrier rows (see ADR 0009).

use std::time::Duration;

use sagamore_core::{Horizon, Name, Timestamp};
use sagamore_database::Row;
use sagamore_transport::wire;

use super::Observer;
use super::due::is_due;
use super::rows::bad;
use super::statements::{
    ChainSeq, DueChain, MAKE_DUE_AT, OldChain, REMOVE, REMOVE_EVENTS, SEEN_BY_THEN,
};
use super::status::ChainStatus;
use super::store::Store;
use crate::error::Error;
use crate::store::{LASTING, lasting_ms, millis, named};
use crate::versions::LATE_STARTS;

/// The interval between horizons.
const HORIZON_INTERVAL: Duration = Duration::from_secs(600);
/// The lag from which an observer publishes no horizons.
const BEHIND_MAX: Duration = Duration::from_secs(3600);
/// The interval between counts.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);
/// The pause between attempts to correct times.
const CORRECT_PAUSE: Duration = Duration::from_secs(60);
/// Maximum chains that a horizon names. With more, an earlier horizon is published.
pub const NAMES_MAX: usize = 1_000;
/// Chains per removal.
const PAGE: u32 = 500;
/// Maximum difference between the clocks of event publishers.
const SKEW_MAX: Duration = Duration::from_secs(24 * 3600);

/// Selects the chains that a horizon may need to name, like the engine's query. A chain whose first
/// event was not seen has an unknown age and is named too, unless all its events precede the
/// observer's records.
pub const NAMES: &str = concat!(
    "SELECT id, begun_at AS started_at FROM chain
        WHERE ended_at IS NULL AND begun_at < $1 AND headless_at IS NULL
    UNION ALL
    SELECT id, begun_at FROM chain WHERE ended_at - begun_at > ",
    lasting_ms!(),
    " AND begun_at < $1 AND ended_at >= $2 AND headless_at IS NULL
    UNION ALL
    SELECT id, -9000000000000000000 FROM chain WHERE headless_at >= $4
        AND (ended_at IS NULL OR ended_at >= $2)
    ORDER BY started_at LIMIT $3"
);

/// Maximum difference between the clocks of observers.
const DIFFERENCE_MAX: Duration = Duration::from_secs(60);

impl Observer {
    /// Updates the gauges of chains by status. Chains that are over are not counted.
    pub(super) async fn count(&mut self, now: Timestamp) -> Result<(), Error> {
        if !is_due(self.retention.count_due, now, COUNT_INTERVAL) {
            return Ok(());
        }
        let counted = self.store.count().await?;
        for status in ChainStatus::ALL.into_iter().filter(|status| !status.is_over()) {
            let chains =
                counted.iter().find(|(known, _)| *known == status).map_or(0, |(_, chains)| *chains);
            metrics::gauge!("sagamore_chains", "status" => status.as_str()).set(chains as f64);
        }
        self.retention.count_due = Some(now.plus(COUNT_INTERVAL));
        Ok(())
    }

    /// Whether the next horizon is due.
    pub(super) fn horizon_is_due(&self, now: Timestamp) -> bool {
        is_due(self.retention.horizon_due, now, HORIZON_INTERVAL)
    }

    /// Reads the clocks before any row is stamped by a clock that was not read yet or was set back.
    pub(super) async fn read_lifetime(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.retention.readings.is_overtaken(now.0) {
            self.retention.readings.take(&self.store.database, now.0).await?;
            self.retention.correction_due = Some(now);
        }
        if self.retention.correction_due.is_some_and(|due| is_due(Some(due), now, CORRECT_PAUSE)) {
            let corrected = self.store.correct_times(now).await;
            self.retention.correction_due =
                corrected.as_ref().err().map(|_| now.plus(CORRECT_PAUSE));
            if let Err(error) = corrected {
                // a foreign session may lock a row for hours, and no turn must fail because of it
                tracing::warn!(%error, "cannot correct the times of chains, retrying");
            }
        }
        Ok(())
    }

    /// Returns the moment before which everything is older than `retention`, by all clock readings
    /// so far.
    async fn cutoff(&mut self, retention: Duration, now: Timestamp) -> Result<Timestamp, Error> {
        let lifetime = self.retention.readings.take(&self.store.database, now.0).await?;
        Ok(Timestamp(lifetime.cutoff(millis(retention))))
    }

    /// Removes a page of expired chains.
    pub(super) async fn forget(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.clocks_disagree {
            return Ok(());
        }
        let before = self.cutoff(self.options.retention + LASTING + SKEW_MAX, now).await?;
        self.store.forget(before).await?;
        self.store.forget_begun(before).await?;
        if is_due(self.retention.unused_due, now, HORIZON_INTERVAL) {
            let before = self.cutoff(LATE_STARTS, now).await?;
            self.retention.unused.sweep(self.store.plans.store(), before).await?;
            self.retention.unused_due = Some(now.plus(HORIZON_INTERVAL));
        }
        Ok(())
    }

    /// Publishes a horizon when due. `read_until` bounds it, because a chain with unread events may
    /// only seem to be over.
    pub(super) async fn publish_horizon(
        &mut self,
        read_until: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        // an uncorrected chain seems to start in the future, and a horizon would not name it
        let is_corrected = self.retention.correction_due.is_none();
        if !is_corrected
            || self.clocks_disagree
            || !self.horizon_is_due(now)
            || now.since(read_until) > BEHIND_MAX
        {
            return Ok(());
        }
        let old = self.cutoff(self.options.retention, now).await?;
        let horizon =
            self.store.horizon(old.min(read_until.minus(self.options.retention)), now).await?;
        metrics::gauge!("sagamore_observer_horizon_names").set(horizon.but.len() as f64);
        let from = horizon.started_from;
        if self.retention.from.replace(from).is_some_and(|known| known != from) {
            tracing::warn!("events expired unread: horizons exclude chains from before now");
        }
        match self.transport.publish(vec![wire::encode_horizon(&horizon, None)]).await {
            Err(error) if error.is_rejection() => {
                tracing::error!(%error, "cannot publish the horizon, retrying later")
            }
            published => published?,
        }
        self.retention.horizon_due = Some(now.plus(HORIZON_INTERVAL));
        Ok(())
    }
}

impl Store {
    /// Corrects times in the future, which a clock that was ahead has stamped, to `now`.
    async fn correct_times(&self, now: Timestamp) -> Result<(), Error> {
        let table = self.plans.table();
        let longest = table.all().filter_map(|plan| plan.deadline_ms).max().unwrap_or(0);
        let possible = now.plus(Duration::from_millis(longest)).plus(DIFFERENCE_MAX).0;
        while self.correct_page(now, possible).await? {}
        let open = self.database.begin().await?;
        for correct in [
            "UPDATE chain SET begun_at = $1 WHERE ended_at IS NULL AND begun_at > $2",
            "UPDATE reading SET read_until = $1 WHERE read_until > $2",
        ] {
            open.tx().execute(correct, (now.0, possible)).await?;
        }
        Ok(open.commit().await?)
    }

    /// Corrects a page of chains that are due later than any deadline allows. Returns whether there
    /// were any.
    async fn correct_page(&self, now: Timestamp, possible: i64) -> Result<bool, Error> {
        let open = self.database.begin().await?;
        let late = "SELECT seq FROM chain WHERE due_at > $1 ORDER BY due_at LIMIT $2";
        let rows = open.tx().query(late, (possible, PAGE)).await?;
        let seqs = rows.iter().map(|row| row.get("seq")).collect::<Result<Vec<i64>, _>>()?;
        let due = |seq: &i64| DueChain { seq: *seq, due_at: now.0 };
        open.tx().execute_rows(&SEEN_BY_THEN, seqs.iter().map(due)).await?;
        open.tx().execute_rows(&MAKE_DUE_AT, seqs.iter().map(due)).await?;
        open.commit().await?;
        Ok(!seqs.is_empty())
    }

    /// Removes a page of the chains that were over before this moment, with their events.
    async fn forget(&self, before: Timestamp) -> Result<(), Error> {
        let old = "SELECT seq FROM chain WHERE ended_at < $1 ORDER BY ended_at LIMIT $2";
        let rows = self.database.query(old, (before.0, PAGE)).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let chain = |row: &Row| Ok(OldChain { seq: row.get("seq")?, before: before.0 });
        let chains = rows.iter().map(chain).collect::<Result<Vec<_>, Error>>()?;
        let open = self.database.begin().await?;
        let removed = open.tx().query_rows(&REMOVE, chains).await?;
        let chain = |row: &Row| Ok(ChainSeq { seq: row.get("seq")? });
        let chains = removed.iter().map(chain).collect::<Result<Vec<_>, Error>>()?;
        open.tx().execute_rows(&REMOVE_EVENTS, chains).await?;
        Ok(open.commit().await?)
    }

    /// Counts the chains that are not over, by status.
    async fn count(&self) -> Result<Vec<(ChainStatus, i64)>, Error> {
        let open = ChainStatus::ALL.into_iter().filter(|status| !status.is_over());
        let open: Vec<String> = open.map(|status| format!("'{}'", status.as_str())).collect();
        let sql = format!(
            "SELECT status, count(*) AS chains FROM chain WHERE status IN ({})
             AND (resolved_at IS NULL OR ended_at IS NULL) GROUP BY status",
            open.join(", ")
        );
        let read = |row: &Row| {
            let status: String = row.get("status")?;
            let status =
                ChainStatus::read(&status).ok_or_else(|| bad("chains", "a status is unknown"))?;
            Ok((status, row.get("chains")?))
        };
        self.database.query(&sql, ()).await?.iter().map(read).collect()
    }

    /// Builds a horizon: chains that started before `started_before` were over before
    /// `ended_before`, except those named. It does not cover chains from before the observer's
    /// records.
    async fn horizon(&self, ended_before: Timestamp, now: Timestamp) -> Result<Horizon, Error> {
        let known_since = self.known_since(now).await?;
        let (until, but) =
            named(&self.database, NAMES, ended_before, NAMES_MAX, Some(known_since)).await?;
        let (started_before, started_from) =
            (until.minus(SKEW_MAX), Some(known_since.plus(SKEW_MAX)));
        Ok(Horizon {
            started_before,
            ended_before,
            started_from,
            definitions: self.plan_names(),
            but,
        })
    }

    pub(super) fn plan_names(&self) -> Vec<Name> {
        self.plans.table().names()
    }
}
