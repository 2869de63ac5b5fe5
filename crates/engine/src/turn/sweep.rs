//! Retention: the journals and idempotency keys of sagas that ended long ago go, a page at a time.

use std::time::Duration;

use sagamore_core::Timestamp;

use crate::error::Error;
use crate::orchestrator::Orchestrator;

/// The pause between two sweeps that find nothing more to do.
const PAUSE: Duration = Duration::from_secs(60);
/// Sagas looked at in one sweep.
const PAGE: u32 = 1_000;

/// How far the sweep has got.
#[derive(Default)]
pub(crate) struct Sweep {
    next: Option<Timestamp>,
    /// The number of the last saga looked at.
    after: i64,
}

impl Orchestrator {
    /// Removes one page of what is older than the retention, when it is time to.
    pub(crate) async fn sweep(&mut self, now: Timestamp) -> Result<(), Error> {
        let next = *self.sweep.next.get_or_insert(now.plus(PAUSE));
        if now < next {
            return Ok(());
        }
        let retention_ms = i64::try_from(self.options.retention.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp(now.0.saturating_sub(retention_ms));
        let swept = self.store.sweep(before, self.sweep.after, PAGE).await?;
        metrics::counter!("sagamore_swept_total").increment(swept.removed);
        match swept.last {
            // More may be behind it: on with the next turn. What had not ended yet is looked at again after a restart.
            Some(last) => self.sweep.after = last,
            None => {
                self.store.sweep_handed(now).await?;
                self.sweep.next = Some(now.plus(PAUSE));
            }
        }
        Ok(())
    }

    /// When the next sweep is to be.
    pub(crate) fn next_sweep(&self) -> Option<Timestamp> {
        self.sweep.next
    }
}
