//! Correction of implausible times, so that a clock that was ahead once does not delay a saga.

use std::time::Duration;

use crate::definition::Patience;
use crate::message::PENDING_MAX;
use crate::pause::jittered;
use crate::planted::{Bug, planted};
use crate::saga::Saga;
use crate::time::Timestamp;
use crate::wait::Wait;

/// The longest delay that a pending reply may request, in milliseconds.
const PENDING_MS_MAX: u64 = PENDING_MAX.as_millis() as u64;

impl Saga {
    /// Corrects times further ahead than any wait of this saga. A clock was ahead when they were
    /// written, or was set back since. Returns whether a time was corrected.
    ///
    /// - A pause of more than twice its maximum is drawn again from `now`.
    /// - A timeout of more than twice its length restarts at `now` with a margin: its command may
    ///   just have been acknowledged.
    /// - A start after `now` becomes `now`.
    ///
    /// The correction is not journalled, because reading the journal again leads to the same one.
    /// The jitter derives from the saga's id, so that many sagas do not become due at once.
    pub fn redraw(&mut self, now: Timestamp) -> bool {
        let mut rng = fastrand::Rng::with_seed(spread(self.id.as_str()));
        self.correct(now, |longest_ms| jittered(longest_ms, &mut rng))
    }

    /// Corrects times like [`Saga::redraw`], for a saga whose drawn pauses have passed. A pause
    /// that would be drawn again ends at `now` instead, and a timeout runs again from `now`.
    pub fn redraw_overdue(&mut self, now: Timestamp) {
        self.correct(now, |_| Duration::ZERO);
    }

    fn correct(&mut self, now: Timestamp, mut pause: impl FnMut(u64) -> Duration) -> bool {
        if planted(Bug::RedrawLeftOut) {
            return false;
        }
        let mut corrected = is_later(&mut self.started_at, now);
        for (step, state) in self.definition.steps.iter().zip(&mut self.steps) {
            corrected |= redrawn(&mut state.wait, &step.patience, now, &mut pause);
        }
        corrected
    }
}

fn redrawn(
    wait: &mut Wait,
    patience: &Patience,
    now: Timestamp,
    pause: &mut impl FnMut(u64) -> Duration,
) -> bool {
    let mut redraw = |due: &mut Timestamp, least: Duration, longest_ms: u64| {
        let is_impossible = *due > now.plus(Duration::from_millis(longest_ms.saturating_mul(2)));
        if is_impossible {
            *due = now.plus(least + pause(longest_ms));
        }
        is_impossible
    };
    match wait {
        Wait::None => false,
        Wait::Sending { due, since, faulty_since } | Wait::Reply { due, since, faulty_since } => {
            is_later(since, now)
                | faulty_since.as_mut().is_some_and(|since| is_later(since, now))
                | redraw(due, patience.timeout(), patience.timeout_ms)
        }
        Wait::Pending { due, since } => {
            is_later(since, now) | redraw(due, Duration::ZERO, PENDING_MS_MAX)
        }
        Wait::Retry { due, since, faulty_since } => {
            is_later(since, now)
                | is_later(faulty_since, now)
                | redraw(due, Duration::ZERO, patience.backoff_ms_max)
        }
        Wait::Held { since } => is_later(since, now),
    }
}

/// Lowers the moment to `now` if it is later, and returns whether it was.
fn is_later(moment: &mut Timestamp, now: Timestamp) -> bool {
    let later = *moment > now;
    *moment = (*moment).min(now);
    later
}

/// Returns a seed that differs between sagas.
fn spread(id: &str) -> u64 {
    // FNV-1a
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
