//! Correction of implausible times, so that a clock that was ahead once does not delay a saga.

use std::time::Duration;

use crate::pause::jittered;
use crate::planted::{Bug, planted};
use crate::saga::{Saga, StepState};
use crate::time::Timestamp;

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
            let (longest, least) = match state.backing_off {
                true => (step.patience.backoff_ms_max, Duration::ZERO),
                false => (step.patience.timeout_ms, step.patience.timeout()),
            };
            corrected |= state.asked_since.as_mut().is_some_and(|since| is_later(since, now));
            corrected |= state.faulty_since.as_mut().is_some_and(|since| is_later(since, now));
            corrected |= redrawn(state, now, (least, longest), &mut pause);
        }
        corrected
    }
}

fn redrawn(
    state: &mut StepState,
    now: Timestamp,
    (least, longest_ms): (Duration, u64),
    pause: &mut impl FnMut(u64) -> Duration,
) -> bool {
    let possible = now.plus(Duration::from_millis(longest_ms.saturating_mul(2)));
    match &mut state.due {
        Some(due) if *due > possible => {
            *due = now.plus(least + pause(longest_ms));
            true
        }
        Some(_) | None => false,
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
