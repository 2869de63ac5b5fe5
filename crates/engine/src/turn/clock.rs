//! Detection of a clock that was set back. Due times of the former time are then recomputed.

use std::time::Duration;

use sagamore_core::Timestamp;

use crate::orchestrator::Orchestrator;

/// Maximum difference between two samples of one clock.
const DIFFERENCE_MAX: Duration = Duration::from_secs(1);

impl Orchestrator {
    /// Records the time of a turn. If it precedes that of the last turn, all due times are
    /// recomputed.
    pub(crate) fn note_time(&mut self, now: Timestamp) {
        let before = self.turned_at.replace(now).unwrap_or(now);
        if now.plus(DIFFERENCE_MAX) >= before {
            return;
        }
        tracing::warn!(%before, %now, "the clock was set back: due times are recomputed");
        self.live.redraw(now);
        self.strays.redraw(now);
        self.blocked.redraw(now);
        self.remote.redraw(now);
        self.sweep.redraw(now);
        self.survey_at_once();
    }
}
