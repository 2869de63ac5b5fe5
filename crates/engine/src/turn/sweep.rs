//! Retention: removes the journals and idempotency keys of sagas that ended long ago. Removes a
//! saga's row when no participant has barrier rows of the saga.
//!
//! Publishes the horizons by which participants remove their rows. No turn fails because of
//! retention: failed work is retried a minute later.

use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::message::{ReplyTo, Swept};
use sagamore_core::planted::{Bug, planted};
use sagamore_database::port::Dialect;
use sagamore_transport::wire;

use super::state::{HORIZON_INTERVAL, PAUSE};
use crate::error::Error;
use crate::orchestrator::Orchestrator;
use crate::store::{Epochs, HANDED_RETENTION, SweepTarget, SweptRows, millis};
use crate::versions::LATE_STARTS;

/// Maximum sagas per sweep.
const PAGE: u32 = 1_000;
/// Maximum sagas that a horizon names. With more, an earlier horizon is published. With the longest
/// ids its record has 0.3 MiB.
const NAMES_MAX: usize = 1_000;
/// The owner of this partition publishes the horizons.
const HORIZON_PARTITION: u32 = 0;

impl Orchestrator {
    /// Reads the clocks before any row is stamped by a clock that was not read yet or was set back.
    pub(crate) async fn read_lifetime(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.sweep.readings.is_overtaken(now.0) {
            self.sweep.readings.take(&self.store.database, now.0).await?;
            self.sweep.correction_due = Some(now);
        }
        if self.sweep.correction_due.is_some_and(|due| due <= now) {
            let is_complete = self.store.correct_starts(now).await?;
            self.sweep.correction_due = (!is_complete).then(|| now.plus(PAUSE));
        }
        if self.store.database.dialect() == Dialect::Sqlite {
            let running = &mut self.sweep.running;
            running.lifetime =
                Some(running.readings.take(&self.store.database, now.0).await?.clone());
        }
        Ok(())
    }

    /// Removes one page of expired data when due.
    pub(crate) async fn sweep(&mut self, epochs: &Epochs, now: Timestamp) {
        let next = *self.sweep.next.get_or_insert(now.plus(PAUSE));
        if now < next {
            return;
        }
        if let Err(error) = self.sweep_page(epochs, now).await {
            tracing::warn!(%error, "cannot remove expired rows, retrying");
            self.sweep.next = Some(now.plus(PAUSE));
        }
    }

    async fn sweep_page(&mut self, epochs: &Epochs, now: Timestamp) -> Result<(), Error> {
        if self.clocks_disagree {
            tracing::warn!("clocks of machine and database differ too much: no rows are removed");
            self.sweep.next = Some(now.plus(PAUSE));
            return Ok(());
        }
        let before = self.cutoff(self.options.retention, now).await?;
        let page = self.store.sweep(SweepTarget::Journal, before, self.sweep.after, PAGE).await?;
        metrics::counter!("sagamore_swept_total").increment(page.removed);
        match page.last {
            // the next turn continues, as there may be more; unfinished sagas lose their journal
            // with their row
            Some(last) => self.sweep.after = last,
            None if self.forget_rows(before, now).await? => {} // there may be more
            None => {
                self.publish_horizon(epochs, now).await?;
                let before = self.cutoff(HANDED_RETENTION, now).await?;
                self.store.sweep_handed(before).await?;
                self.sweep.keys_after =
                    self.store.sweep_keys(&self.sweep.keys_after, PAGE).await?.unwrap_or_default();
                let before = self.cutoff(LATE_STARTS, now).await?;
                self.sweep.unused.sweep(&self.store.versions(), before).await?;
                metrics::gauge!("sagamore_unreadable_sagas")
                    .set(self.store.count_unreadable().await? as f64);
                metrics::gauge!("sagamore_open_faults")
                    .set(self.store.count_open_faults(now).await? as f64);
                self.sweep.next = Some(now.plus(PAUSE));
            }
        }
        Ok(())
    }

    /// Removes one page of rows that ended before `before`, if no participant of their definition
    /// has rows of them. Returns whether there may be more.
    async fn forget_rows(&mut self, before: Timestamp, now: Timestamp) -> Result<bool, Error> {
        let SweptRows { participants, mut of_contents } = self.store.swept().await?;
        let used_ms = self.used_ms(now).await?;
        for (participant, swept_before) in participants {
            let age =
                swept_before.map_or(f64::INFINITY, |before| age_seconds(now, before, used_ms));
            metrics::gauge!("sagamore_swept_age_seconds", "participant" => participant).set(age);
        }
        let is_between = self.sweep.rows_after == 0;
        if is_between && self.sweep.rows_due.is_some_and(|due| now < due) {
            return Ok(false);
        }
        // a late message may leave a barrier row during the retention after a saga's end, stamped
        // by the participant's clock
        let late = self.options.barrier_retention + self.options.skew_max;
        let lasting = self.cutoff(self.options.barrier_retention + late, now).await?;
        of_contents.values_mut().for_each(|swept| *swept = swept.minus(late));
        let latest = of_contents.values().max().copied().unwrap_or(Timestamp(i64::MIN));
        let (before, target) = (before.min(latest).min(lasting), SweepTarget::Row(&of_contents));
        let page = self.store.sweep(target, before, self.sweep.rows_after, PAGE).await?;
        metrics::counter!("sagamore_forgotten_total").increment(page.removed);
        self.sweep.rows_after = page.last.unwrap_or(0);
        // participants report after each horizon, and rows that stay are checked each time
        self.sweep.rows_due = page.last.is_none().then(|| now.plus(HORIZON_INTERVAL));
        Ok(page.last.is_some())
    }

    /// Publishes a horizon when due. A lost one is replaced by the next.
    async fn publish_horizon(&mut self, epochs: &Epochs, now: Timestamp) -> Result<(), Error> {
        // an uncorrected saga seems to start in the future, and a horizon would not name it
        let is_corrected = self.sweep.correction_due.is_none();
        if !is_corrected
            || !epochs.owns(HORIZON_PARTITION)
            || self.sweep.horizon_due.is_some_and(|due| now < due)
        {
            return Ok(());
        }
        let ended_before = self.cutoff(self.options.barrier_retention, now).await?;
        let horizon = self.store.horizon(ended_before, self.options.skew_max, NAMES_MAX).await?;
        let age = age_seconds(now, horizon.started_before, self.used_ms(now).await?);
        metrics::gauge!("sagamore_horizon_age_seconds").set(age);
        let reply_to =
            ReplyTo { topic: self.options.reply_topic.clone(), partition: HORIZON_PARTITION };
        if let Err(error) =
            self.transport.publish(vec![wire::encode_horizon(&horizon, Some(&reply_to))]).await
        {
            tracing::warn!(%error, "cannot publish the horizon");
        }
        self.sweep.horizon_due = Some(now.plus(HORIZON_INTERVAL));
        Ok(())
    }

    /// Returns the moment before which everything is older than `retention`, by all clock readings
    /// so far.
    async fn cutoff(&mut self, retention: Duration, now: Timestamp) -> Result<Timestamp, Error> {
        let lifetime = self.sweep.readings.take(&self.store.database, now.0).await?;
        if planted(Bug::RetentionByClock) {
            return Ok(now.minus(retention));
        }
        Ok(Timestamp(lifetime.cutoff(millis(retention))))
    }

    /// Returns the age of the database in use.
    async fn used_ms(&mut self, now: Timestamp) -> Result<i64, Error> {
        Ok(self.sweep.readings.take(&self.store.database, now.0).await?.age_ms())
    }

    /// Records acknowledgements of removed rows. A lost one is repeated after the next horizon.
    pub(crate) async fn note_swept(&mut self, swept: Vec<Swept>) {
        if swept.is_empty() {
            return;
        }
        if let Err(error) = self.store.note_swept(&swept).await {
            tracing::warn!(%error, "cannot record acknowledgements of removed rows");
        }
    }

    /// Returns when the next sweep is due.
    pub(crate) fn next_sweep(&self) -> Option<Timestamp> {
        self.sweep.next
    }
}

/// Returns the age of the rows since `from`, bounded by the database's time in use: a new database
/// has no older rows.
fn age_seconds(now: Timestamp, from: Timestamp, used_ms: i64) -> f64 {
    now.0.saturating_sub(from.0).min(used_ms) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_server_does_not_report_ages_of_its_whole_retention() {
        let (now, day_ms) = (Timestamp(1_790_000_000_000), 24 * 3_600 * 1_000);
        let before = Timestamp(now.0 - 32 * day_ms);
        assert_eq!(age_seconds(now, before, 5_000).to_bits(), 5.0_f64.to_bits());
        assert_eq!(
            age_seconds(now, before, 40 * day_ms).to_bits(),
            (32.0 * 86_400.0_f64).to_bits()
        );
    }
}
