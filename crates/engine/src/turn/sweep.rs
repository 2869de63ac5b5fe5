//! Retention: the journals and idempotency keys of sagas that ended long ago go, a page at a time; so do their rows, once no
//! participant remembers them. For that the participants are told now and then what they may forget. All of it can wait:
//! what fails is tried again a minute later, and no turn fails for it.

use std::time::Duration;

use sagamore_core::message::{ReplyTo, Swept};
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Saga, Timestamp};
use sagamore_database::lifetime::{Lifetime, Readings};
use sagamore_database::port::Dialect;
use sagamore_transport::wire;

use crate::error::Error;
use crate::orchestrator::Orchestrator;
use crate::store::{Epochs, Goes, HANDED_KEPT, millis};

/// The pause between two sweeps that find nothing more to do.
const PAUSE: Duration = Duration::from_secs(60);
/// Sagas looked at in one sweep.
const PAGE: u32 = 1_000;
/// The pause between two horizons.
const HORIZON_EVERY: Duration = Duration::from_secs(600);
/// How many sagas a horizon names; were there more, it is an earlier one. With the longest ids it is a record of 0.3 MiB.
const NAMES_MAX: usize = 1_000;
/// Who owns this partition tells the horizon.
const TELLER: u32 = 0;

/// How far the sweep has got.
#[derive(Default)]
pub(crate) struct Sweep {
    next: Option<Timestamp>,
    /// The number of the last saga whose journal was looked at.
    after: i64,
    /// The number of the last saga whose row was looked at.
    rows_after: i64,
    /// The last idempotency key that was looked at.
    keys_after: String,
    horizon_due: Option<Timestamp>,
    /// When to correct sagas that began under a clock that was ahead; none once all are.
    correction_due: Option<Timestamp>,
    /// What retention goes by.
    readings: Readings,
    /// What the sagas' own deadlines go by where there is no second clock.
    running: Running,
}

/// The time in which orchestrators of this database ran.
struct Running {
    readings: Readings,
    lifetime: Option<Lifetime>,
}

impl Default for Running {
    fn default() -> Running {
        Running { readings: Readings::of_running(), lifetime: None }
    }
}

impl Sweep {
    /// Leaves out of a saga's own deadline what does not count of the time since its start. On PostgreSQL all of it counts,
    /// by the server's clock.
    pub fn pause(&self, saga: &mut Saga, now: Timestamp) {
        if let Some(lifetime) = &self.running.lifetime {
            let since = lifetime.since(saga.started_at.0, now.0);
            saga.paused_ms = (now.0 - saga.started_at.0).max(0) - since;
        }
    }

    /// The clock was set back to `now`: nothing is done later for that.
    pub fn redraw(&mut self, now: Timestamp) {
        self.next = self.next.map(|next| next.min(now.plus(PAUSE)));
        self.horizon_due = self.horizon_due.map(|due| due.min(now.plus(HORIZON_EVERY)));
        self.correction_due = self.correction_due.map(|due| due.min(now.plus(PAUSE)));
    }
}

impl Orchestrator {
    /// Reads the clock for what retention goes by, before anything is stamped by a clock that was not read yet or was set back.
    pub(crate) async fn read_lifetime(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.sweep.readings.is_overtaken(now.0) {
            self.sweep.readings.take(&self.store.database, now.0).await?;
            self.sweep.correction_due = Some(now);
        }
        if self.sweep.correction_due.is_some_and(|due| due <= now) {
            let is_complete = self.store.begin_no_later_than(now).await?;
            self.sweep.correction_due = (!is_complete).then(|| now.plus(PAUSE));
        }
        if self.store.database.dialect() == Dialect::Sqlite {
            let running = &mut self.sweep.running;
            running.lifetime =
                Some(running.readings.take(&self.store.database, now.0).await?.clone());
        }
        Ok(())
    }

    /// Removes one page of what is older than the retention, when it is time to.
    pub(crate) async fn sweep(&mut self, epochs: &Epochs, now: Timestamp) {
        let next = *self.sweep.next.get_or_insert(now.plus(PAUSE));
        if now < next {
            return;
        }
        if let Err(error) = self.sweep_page(epochs, now).await {
            tracing::warn!(%error, "remove what is older than the retention");
            self.sweep.next = Some(now.plus(PAUSE));
        }
    }

    async fn sweep_page(&mut self, epochs: &Epochs, now: Timestamp) -> Result<(), Error> {
        if self.clocks_disagree {
            tracing::warn!(
                "this machine's clock and the database's are too far apart: nothing is forgotten"
            );
            self.sweep.next = Some(now.plus(PAUSE));
            return Ok(());
        }
        let before = self.cutoff(self.options.retention, now).await?;
        let page = self.store.sweep(Goes::Journal, before, self.sweep.after, PAGE).await?;
        metrics::counter!("sagamore_swept_total").increment(page.removed);
        match page.last {
            // More may be behind it: on with the next turn. What had not ended yet goes with its row.
            Some(last) => self.sweep.after = last,
            None if self.forget_rows(before, now).await? => {} // likewise
            None => {
                self.tell_horizon(epochs, now).await?;
                let before = self.cutoff(HANDED_KEPT, now).await?;
                self.store.sweep_handed(before).await?;
                self.sweep.keys_after =
                    self.store.sweep_keys(&self.sweep.keys_after, PAGE).await?.unwrap_or_default();
                metrics::gauge!("sagamore_unreadable_sagas")
                    .set(self.store.count_unreadable().await? as f64);
                metrics::gauge!("sagamore_open_faults")
                    .set(self.store.count_open_faults(now).await? as f64);
                self.sweep.next = Some(now.plus(PAUSE));
            }
        }
        Ok(())
    }

    /// Removes one page of rows, of what ended before this and is remembered nowhere; whether there may be more.
    async fn forget_rows(&mut self, before: Timestamp, now: Timestamp) -> Result<bool, Error> {
        let Some(swept) = self.store.swept().await? else { return Ok(false) };
        let used_ms = self.used_ms(now).await?;
        let mut forgotten = before;
        for (participant, swept_before) in swept {
            let age =
                swept_before.map_or(f64::INFINITY, |before| age_seconds(now, before, used_ms));
            metrics::gauge!("sagamore_swept_age_seconds", "participant" => participant).set(age);
            forgotten = forgotten.min(swept_before.unwrap_or(Timestamp(i64::MIN)));
        }
        // For the length of the retention after a saga's end something of it may still come to a barrier and leave a row.
        // That row has the time of the participant's clock, the saga's end that of an orchestrator's.
        let late = self.options.barrier_retention + self.options.skew_max;
        let lasting = self.cutoff(self.options.barrier_retention + late, now).await?;
        let before = before.min(forgotten.minus(late)).min(lasting);
        let page = self.store.sweep(Goes::Row, before, self.sweep.rows_after, PAGE).await?;
        metrics::counter!("sagamore_forgotten_total").increment(page.removed);
        self.sweep.rows_after = page.last.unwrap_or(0);
        Ok(page.last.is_some())
    }

    /// Tells the participants what they may forget. One that is not heard is followed by another.
    async fn tell_horizon(&mut self, epochs: &Epochs, now: Timestamp) -> Result<(), Error> {
        let is_corrected = self.sweep.correction_due.is_none(); // otherwise a horizon would not name what began in the future
        if !is_corrected
            || !epochs.owns(TELLER)
            || self.sweep.horizon_due.is_some_and(|due| now < due)
        {
            return Ok(());
        }
        let ended_before = self.cutoff(self.options.barrier_retention, now).await?;
        let horizon = self.store.horizon(ended_before, self.options.skew_max, NAMES_MAX).await?;
        let age = age_seconds(now, horizon.started_before, self.used_ms(now).await?);
        metrics::gauge!("sagamore_horizon_age_seconds").set(age);
        let reply_to = ReplyTo { topic: self.options.reply_topic.clone(), partition: TELLER };
        if let Err(error) =
            self.transport.publish(vec![wire::encode_horizon(&horizon, Some(&reply_to))]).await
        {
            tracing::warn!(%error, "tell the horizon");
        }
        self.sweep.horizon_due = Some(now.plus(HORIZON_EVERY));
        Ok(())
    }

    /// The moment before which everything is older than the retention, by all that the clock has shown since.
    async fn cutoff(&mut self, retention: Duration, now: Timestamp) -> Result<Timestamp, Error> {
        let lifetime = self.sweep.readings.take(&self.store.database, now.0).await?;
        if planted(Bug::RetentionByClock) {
            return Ok(now.minus(retention));
        }
        Ok(Timestamp(lifetime.cutoff(millis(retention))))
    }

    /// How long the database has been in use.
    async fn used_ms(&mut self, now: Timestamp) -> Result<i64, Error> {
        Ok(self.sweep.readings.take(&self.store.database, now.0).await?.age_ms())
    }

    /// Notes what participants have forgotten. What cannot be noted is told again after the next horizon.
    pub(crate) async fn note_swept(&mut self, swept: Vec<Swept>) {
        if swept.is_empty() {
            return;
        }
        if let Err(error) = self.store.note_swept(&swept).await {
            tracing::warn!(%error, "note what participants have forgotten");
        }
    }

    /// When the next sweep is to be.
    pub(crate) fn next_sweep(&self) -> Option<Timestamp> {
        self.sweep.next
    }
}

/// The age of what is remembered from this moment on: no more than the database has been in use. A fresh one remembers nothing
/// of the weeks before it.
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
