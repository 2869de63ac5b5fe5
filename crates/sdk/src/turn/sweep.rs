//! The removal of old barrier rows: horizons start it, and each turn executes one page.

use sagamore_core::{Horizon, ReplyTo, Timestamp};

use super::state::TurnState;
use crate::error::Error;
use crate::meter::Meter;

impl TurnState {
    /// Schedules the removals that horizons allow.
    pub(super) async fn plan_sweeps(
        &mut self,
        horizons: Vec<(Horizon, Option<ReplyTo>)>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (service, period) = (self.service.name(), self.options.barrier_retention);
        for (horizon, reply_to) in horizons {
            self.retention.plan(service, &self.database, period, horizon, reply_to, now).await?;
        }
        Ok(())
    }

    /// Executes one page of a scheduled removal, and reports a complete one. A failed one is
    /// dropped, because another horizon follows.
    pub(super) async fn sweep(&mut self, meter: &mut Meter) {
        let Some(mut sweep) = self.retention.next() else { return };
        match sweep.page(&self.service, &self.database, self.transport.as_ref()).await {
            Ok((removed, done)) => {
                meter.swept += removed;
                if !done {
                    self.retention.put_back(sweep);
                }
            }
            Err(error) => {
                tracing::warn!(service = %self.service.name(), %error, "cannot sweep the barrier")
            }
        }
    }
}
