//! What the observer forgets, and what it lets the services forget: chains that were over long ago (see ADR 0009).

use std::time::Duration;

use sagamore_core::{Horizon, Name, Timestamp};
use sagamore_database::lifetime::Readings;
use sagamore_database::{Row, Value};
use sagamore_transport::wire;

use super::Observer;
use super::rows::bad;
use super::status::ChainStatus;
use super::store::Store;
use crate::error::Error;
use crate::store::{LASTING, millis, named};

/// The pause between two horizons.
const HORIZON_EVERY: Duration = Duration::from_secs(600);
/// An observer that is further behind says nothing of what may be forgotten.
const BEHIND_MAX: Duration = Duration::from_secs(3600);
/// The pause between two counts.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// The pause between two attempts to correct times.
const CORRECT_EVERY: Duration = Duration::from_secs(60);
/// How many chains a horizon names; were there more, it is an earlier one.
pub const NAMES_MAX: usize = 1_000;
/// Chains that are removed at a time.
const PAGE: u32 = 500;
/// By how much the clocks of those who tell events may differ.
const SKEW_MAX: Duration = Duration::from_secs(24 * 3600);

/// The chains that a horizon may have to name, as the engine's does; and those of whose beginning nothing was seen, for nobody
/// knows how old they are, unless all of it is from before the observer knew anything.
pub const NAMES: &str = "
SELECT id, begun_at FROM chain WHERE ended_at IS NULL AND begun_at < $1 AND headless_at IS NULL
UNION ALL
SELECT id, begun_at FROM chain WHERE ended_at - begun_at > 86400000 AND begun_at < $1 AND ended_at >= $2 AND headless_at IS NULL
UNION ALL
SELECT id, -9000000000000000000 FROM chain WHERE headless_at >= $4 AND (ended_at IS NULL OR ended_at >= $2)
ORDER BY begun_at LIMIT $3";

/// When what is next.
#[derive(Debug, Default)]
pub(super) struct Retention {
    horizon_due: Option<Timestamp>,
    count_due: Option<Timestamp>,
    /// When to correct chains that were seen under a clock that was ahead; none once all are.
    correction_due: Option<Timestamp>,
    /// From when on the last horizon told of chains.
    from: Option<Option<Timestamp>>,
    /// What retention goes by.
    readings: Readings,
}

/// The clocks of observers may differ by so much.
const DIFFERENCE_MAX: Duration = Duration::from_secs(60);

/// Whether what is done so often is due. A clock that was set back does not hold it up.
pub(super) fn is_due(due: Option<Timestamp>, now: Timestamp, every: Duration) -> bool {
    due.is_none_or(|due| due <= now || due > now.plus(every))
}

impl Observer {
    /// Says now and then how many chains stand how; those that are over are not counted.
    pub(super) async fn count(&mut self, now: Timestamp) -> Result<(), Error> {
        if !is_due(self.retention.count_due, now, COUNT_EVERY) {
            return Ok(());
        }
        let counted = self.store.count().await?;
        for status in ChainStatus::ALL.into_iter().filter(|status| !status.is_over()) {
            let chains =
                counted.iter().find(|(known, _)| *known == status).map_or(0, |(_, chains)| *chains);
            metrics::gauge!("sagamore_chains", "status" => status.as_str()).set(chains as f64);
        }
        self.retention.count_due = Some(now.plus(COUNT_EVERY));
        Ok(())
    }

    /// Whether the services are to be told anew what they may forget.
    pub(super) fn horizon_is_due(&self, now: Timestamp) -> bool {
        is_due(self.retention.horizon_due, now, HORIZON_EVERY)
    }

    /// Reads the clock for what retention goes by, before anything is stamped by a clock that was not read yet or was set back.
    pub(super) async fn read_lifetime(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.retention.readings.is_overtaken(now.0) {
            self.retention.readings.take(&self.store.database, now.0).await?;
            self.retention.correction_due = Some(now);
        }
        if self.retention.correction_due.is_some_and(|due| is_due(Some(due), now, CORRECT_EVERY)) {
            let corrected = self.store.correct_times(now).await;
            self.retention.correction_due =
                corrected.as_ref().err().map(|_| now.plus(CORRECT_EVERY));
            if let Err(error) = corrected {
                // another session may hold a row for hours: no turn fails for it
                tracing::warn!(%error, "correct the times of chains, trying again");
            }
        }
        Ok(())
    }

    /// The moment before which everything is older than so much, by all that the clock has shown since.
    async fn cutoff(&mut self, retention: Duration, now: Timestamp) -> Result<Timestamp, Error> {
        let lifetime = self.retention.readings.take(&self.store.database, now.0).await?;
        Ok(Timestamp(lifetime.cutoff(millis(retention))))
    }

    /// Forgets a page of what is old.
    pub(super) async fn forget(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.clocks_disagree {
            return Ok(());
        }
        let before = self.cutoff(self.options.retention + LASTING + SKEW_MAX, now).await?;
        self.store.forget(before).await
    }

    /// Tells the services now and then what they may forget, as of a moment up to which all is read: what was not read yet may
    /// be of a chain that would be taken for over.
    pub(super) async fn tell_horizon(
        &mut self,
        read_until: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let is_corrected = self.retention.correction_due.is_none(); // otherwise a horizon would not name what began in the future
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
            tracing::warn!(
                "events were gone before they were read: of chains from before now nothing is forgotten"
            );
        }
        match self.transport.publish(vec![wire::encode_horizon(&horizon, None)]).await {
            Err(error) if error.is_rejection() => {
                tracing::error!(%error, "publish the horizon, trying again later")
            }
            published => published?,
        }
        self.retention.horizon_due = Some(now.plus(HORIZON_EVERY));
        Ok(())
    }
}

impl Store {
    /// What was seen later than now was seen by a clock that was ahead: it was seen now, and is judged by that.
    async fn correct_times(&self, now: Timestamp) -> Result<(), Error> {
        let longest = self.plans.values().filter_map(|plan| plan.deadline_ms).max().unwrap_or(0);
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

    /// Some chains that would be late later than any chain can be; gives whether there were any.
    async fn correct_page(&self, now: Timestamp, possible: i64) -> Result<bool, Error> {
        let open = self.database.begin().await?;
        let late = "SELECT seq FROM chain WHERE due_at > $1 ORDER BY due_at LIMIT $2";
        let rows = open.tx().query(late, (possible, PAGE)).await?;
        let row = |row: &Row| Ok(vec![Value::Int(row.get(0)?), now.0.into()]);
        let rows = rows.iter().map(row).collect::<Result<Vec<_>, Error>>()?;
        let found = !rows.is_empty();
        let seen = "UPDATE chain_event SET seen_at = $2 WHERE chain = $1 AND seen_at > $2";
        open.tx().execute_each(seen, rows.clone()).await?;
        open.tx().execute_each("UPDATE chain SET due_at = $2 WHERE seq = $1", rows).await?;
        open.commit().await?;
        Ok(found)
    }

    /// Removes a page of the chains that were over before this moment, with their events.
    async fn forget(&self, before: Timestamp) -> Result<(), Error> {
        let old = "SELECT seq FROM chain WHERE ended_at < $1 ORDER BY ended_at LIMIT $2";
        let rows = self.database.query(old, (before.0, PAGE)).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let row = |row: &Row| Ok(vec![Value::Int(row.get(0)?), before.0.into()]);
        let rows = rows.iter().map(row).collect::<Result<Vec<_>, Error>>()?;
        let open = self.database.begin().await?;
        // the chain first, and only if it is over still: another observer may just have seen it go on
        let gone = "DELETE FROM chain WHERE seq = $1 AND ended_at < $2 RETURNING seq";
        let gone = open.tx().query_each(gone, rows).await?;
        let seqs = gone.iter().flatten().map(|row| Ok(vec![Value::Int(row.get(0)?)]));
        let seqs = seqs.collect::<Result<Vec<_>, Error>>()?;
        open.tx().execute_each("DELETE FROM chain_event WHERE chain = $1", seqs).await?;
        Ok(open.commit().await?)
    }

    /// How many chains that are not over stand how.
    async fn count(&self) -> Result<Vec<(ChainStatus, i64)>, Error> {
        let open = ChainStatus::ALL.into_iter().filter(|status| !status.is_over());
        let open: Vec<String> = open.map(|status| format!("'{}'", status.as_str())).collect();
        let sql = format!(
            "SELECT status, count(*) FROM chain WHERE status IN ({}) AND (resolved_at IS NULL OR ended_at IS NULL) GROUP BY status",
            open.join(", ")
        );
        let read = |row: &Row| {
            let status: String = row.get(0)?;
            let status =
                ChainStatus::read(&status).ok_or_else(|| bad("chains", "a status is none"))?;
            Ok((status, row.get(1)?))
        };
        self.database.query(&sql, ()).await?.iter().map(read).collect()
    }

    /// All chains that began before a moment were over before `ended_before`, but these; and of those from before the observer
    /// knew anything it says nothing.
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
        let mut names: Vec<Name> = self.plans.keys().map(|(name, _)| name.clone()).collect();
        names.dedup();
        names
    }
}
