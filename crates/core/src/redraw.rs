//! Moments that no right clock has set: a saga is not held up by a clock that was ahead once.

use std::time::Duration;

use crate::decide::drawn;
use crate::planted::{Bug, planted};
use crate::saga::{Saga, StepState};
use crate::time::Timestamp;

impl Saga {
    /// Corrects what lies further ahead than any step of this saga waits, because the clock was ahead when it was written, or
    /// has been set back since. A pause that would take more than twice its greatest length is drawn again from `now`; a timeout
    /// that would, runs anew from `now` and a little longer, since its command may just have been acknowledged; and what began
    /// later than `now` begins now. Returns whether anything was corrected. Nothing is journalled: the next reading of the
    /// journal leads to the same correction.
    ///
    /// The jitter follows from the saga's id, so that many sagas do not come due at once.
    pub fn redraw(&mut self, now: Timestamp) -> bool {
        let mut rng = fastrand::Rng::with_seed(spread(self.id.as_str()));
        self.correct(now, |longest_ms| drawn(longest_ms, &mut rng))
    }

    /// Like [`Saga::redraw`], for a saga whose drawn pauses have passed: a pause that would be drawn again ends at `now`. Other
    /// deadlines stay as they are.
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

/// Whether the moment was later than `now`, which it is set to then.
fn is_later(moment: &mut Timestamp, now: Timestamp) -> bool {
    let later = *moment > now;
    *moment = (*moment).min(now);
    later
}

/// A number that differs from saga to saga.
fn spread(id: &str) -> u64 {
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)) // FNV-1a
}
