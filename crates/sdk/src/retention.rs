//! The scheduled removals from the barrier, and the clock readings that they are based on.

use std::collections::VecDeque;
use std::time::Duration;

use sagamore_core::{Horizon, Name, ReplyTo, Timestamp};
use sagamore_database::Database;
use sagamore_database::lifetime::Readings;

use crate::error::Error;
use crate::sweep::Sweep;

/// Maximum concurrent sweeps: one per publisher of horizons, of which there is an orchestrator and
/// an observer.
const SWEEPS_MAX: usize = 8;

/// The removals of one service.
#[derive(Default)]
pub(crate) struct Retention {
    readings: Readings,
    /// Whether the clocks of machine and database differ too much to remove any rows.
    pub clocks_disagree: bool,
    sweeps: VecDeque<Sweep>,
}

impl Retention {
    /// Reads the clocks again if their last reading is too old for new rows. Scheduled removals are
    /// dropped then, because rows may be stamped below their horizons.
    pub async fn read_clocks(&mut self, database: &Database, now: Timestamp) -> Result<(), Error> {
        if self.readings.is_overtaken(now.0) {
            self.readings.take(database, now.0).await?;
            self.sweeps.clear();
        }
        Ok(())
    }

    /// Schedules the removal that a horizon allows, unless the clocks disagree.
    pub async fn plan(
        &mut self,
        service: &Name,
        database: &Database,
        retention: Duration,
        horizon: Horizon,
        reply_to: Option<ReplyTo>,
        now: Timestamp,
    ) -> Result<(), Error> {
        if self.clocks_disagree {
            tracing::warn!(%service, "clocks differ too much: no barrier rows are removed");
            return Ok(());
        }
        let lifetime = self.readings.take(database, now.0).await?;
        let set_back_to = lifetime.earliest_setback(Timestamp::default().plus(retention).0);
        let Some(mut sweep) = Sweep::of(horizon, reply_to, retention, now) else { return Ok(()) };
        sweep.spare_from(set_back_to.map(Timestamp));
        self.sweeps.retain(|older| !sweep.replaces(older));
        if self.sweeps.len() < SWEEPS_MAX {
            self.sweeps.push_back(sweep); // otherwise the next horizon is used
        }
        Ok(())
    }

    /// Removes and returns the next removal. Drops all of them if the clocks disagree.
    pub fn next(&mut self) -> Option<Sweep> {
        if self.clocks_disagree {
            self.sweeps.clear();
        }
        self.sweeps.pop_front()
    }

    /// Returns a removal that has further pages, behind the others.
    pub fn put_back(&mut self, sweep: Sweep) {
        self.sweeps.push_back(sweep);
    }

    /// Returns whether no removal is scheduled.
    pub fn is_idle(&self) -> bool {
        self.sweeps.is_empty()
    }
}
