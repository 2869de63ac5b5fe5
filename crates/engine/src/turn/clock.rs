//! A clock that was set back: whatever was to happen at a moment of the former time is looked at again.

use std::time::Duration;

use sagamore_core::Timestamp;

use crate::orchestrator::Orchestrator;

/// Two samples of one clock may differ by so much.
const DIFFERENCE_MAX: Duration = Duration::from_secs(1);

impl Orchestrator {
    /// Notes the time of a turn, and examines everything that is due when it is earlier than that of the turn before.
    pub(crate) fn note_time(&mut self, now: Timestamp) {
        let before = self.turned_at.replace(now).unwrap_or(now);
        if now.plus(DIFFERENCE_MAX) >= before {
            return;
        }
        tracing::warn!(%before, %now, "the clock was set back: all that is due is examined again");
        self.live.redraw(now);
        self.strays.redraw(now);
        self.blocked.redraw(now);
        self.abroad.redraw(now);
        self.sweep.redraw(now);
        self.survey_at_once();
    }
}
