//! Due times of the periodic work.

use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_database::lifetime::Readings;

use crate::versions::UnusedBodies;

/// The default retention of chains and of the services' rows after a chain's end.
pub(super) const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Due times of the periodic work.
#[derive(Default)]
pub(super) struct Retention {
    pub horizon_due: Option<Timestamp>,
    pub count_due: Option<Timestamp>,
    /// The time to correct chains that were seen while the clock was ahead. `None` when all are
    /// corrected.
    pub correction_due: Option<Timestamp>,
    /// The `started_from` of the last horizon.
    pub from: Option<Option<Timestamp>>,
    /// The time of the next search for unused plans, and its progress.
    pub unused_due: Option<Timestamp>,
    pub unused: UnusedBodies,
    /// The clock readings that retention is based on.
    pub readings: Readings,
}

/// Whether periodic work is due. A clock that was set back does not delay it.
pub(super) fn is_due(due: Option<Timestamp>, now: Timestamp, every: Duration) -> bool {
    due.is_none_or(|due| due <= now || due > now.plus(every))
}
