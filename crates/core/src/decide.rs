//! What follows from an input. Pure: the saga comes in by value and goes out changed, with what changed.

use crate::saga::{Change, Ignored, Input, Saga};
use crate::time::Timestamp;

/// What one input led to: the saga after it, and the changes that led there (never empty).
pub struct Decision {
    /// The saga after all changes; its revision is one higher.
    pub saga: Saga,
    /// In order; together they are one journal entry.
    pub changes: Vec<Change>,
}

/// Decides what `input` means for `saga` at `now`. `rng` is drawn from for the jitter of back-off pauses only.
/// An input that means nothing gives back the saga as it was and says why.
pub fn decide(saga: Saga, input: &Input, now: Timestamp, rng: &mut fastrand::Rng) -> Result<Decision, (Saga, Ignored)> {
    let _ = (input, now, rng);
    Err((saga, Ignored::Stale))
}
