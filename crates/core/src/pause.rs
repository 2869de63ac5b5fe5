//! Pauses before a command is resent.

use std::time::Duration;

use crate::definition::Patience;

/// Returns the pause after this many attempts: doubled by each up to a maximum, with a random half.
pub(crate) fn pause(patience: &Patience, attempts: u32, rng: &mut fastrand::Rng) -> Duration {
    let doublings = attempts.saturating_sub(1).min(63);
    let whole = patience.backoff_ms_min.saturating_mul(1 << doublings).min(patience.backoff_ms_max);
    jittered(whole, rng)
}

/// Returns a duration between half of `whole_ms` and all of it.
pub(crate) fn jittered(whole_ms: u64, rng: &mut fastrand::Rng) -> Duration {
    let half = whole_ms.div_ceil(2);
    Duration::from_millis(half + rng.u64(0..=whole_ms - half))
}
