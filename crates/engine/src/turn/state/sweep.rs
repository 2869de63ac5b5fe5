//! The progress of the sweep.

use std::time::Duration;

use sagamore_core::{Saga, Timestamp};
use sagamore_database::lifetime::{Lifetime, Readings};

use crate::versions::UnusedBodies;

/// The pause after a sweep that reached the end.
pub const PAUSE: Duration = Duration::from_secs(60);

/// The interval between horizons.
pub const HORIZON_INTERVAL: Duration = Duration::from_secs(600);

/// The progress of the sweep.
#[derive(Default)]
pub(crate) struct Sweep {
    pub next: Option<Timestamp>,
    /// The last saga number checked for its journal.
    pub after: i64,
    /// The last saga number checked for its row; 0 between two searches.
    pub rows_after: i64,
    /// The time of the next search for rows.
    pub rows_due: Option<Timestamp>,
    /// The last idempotency key checked.
    pub keys_after: String,
    /// Bodies of definitions without sagas.
    pub unused: UnusedBodies,
    pub horizon_due: Option<Timestamp>,
    /// The time to correct sagas that started while the clock was ahead. `None` when all are
    /// corrected.
    pub correction_due: Option<Timestamp>,
    /// The clock readings that retention is based on.
    pub readings: Readings,
    /// The running time that sagas' deadlines are based on, if the database has no clock of its
    /// own.
    pub running: RunningTime,
}

/// The time in which orchestrators of this database ran.
pub(crate) struct RunningTime {
    pub readings: Readings,
    pub lifetime: Option<Lifetime>,
}

impl Default for RunningTime {
    fn default() -> RunningTime {
        RunningTime { readings: Readings::of_running(), lifetime: None }
    }
}

impl Sweep {
    /// Excludes downtime from the saga's deadline. On PostgreSQL all time counts, by the server's
    /// clock.
    pub fn pause(&self, saga: &mut Saga, now: Timestamp) {
        if let Some(lifetime) = &self.running.lifetime {
            let since = lifetime.since(saga.started_at.0, now.0);
            saga.paused_ms = (now.0 - saga.started_at.0).max(0) - since;
        }
    }

    /// Shortens pauses after the clock was set back to `now`.
    pub fn redraw(&mut self, now: Timestamp) {
        self.next = self.next.map(|next| next.min(now.plus(PAUSE)));
        self.rows_due = self.rows_due.map(|due| due.min(now.plus(HORIZON_INTERVAL)));
        self.horizon_due = self.horizon_due.map(|due| due.min(now.plus(HORIZON_INTERVAL)));
        self.correction_due = self.correction_due.map(|due| due.min(now.plus(PAUSE)));
    }
}
