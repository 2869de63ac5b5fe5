//! The rows of the barrier.

use sagamore_core::{Direction, StepKey, Timestamp};
use sagamore_database::given_row;

given_row! {
    /// A row of the barrier.
    pub(super) struct BarrierRow<'a> {
        saga: &'a str,
        step: &'a str,
        direction: &'a str,
        generation: u32,
        status: &'a str,
        answer: String,
        stored_at: i64,
    }
}

given_row! {
    /// A step of a saga.
    pub(super) struct BarrierStep<'a> {
        saga: &'a str,
        step: &'a str,
    }
}

given_row! {
    /// The key of a row.
    pub(super) struct BarrierKey<'a> {
        saga: &'a str,
        step: &'a str,
        direction: &'a str,
        generation: u32,
    }
}

impl BarrierStep<'_> {
    pub fn of(key: &StepKey) -> BarrierStep<'_> {
        BarrierStep { saga: key.saga.as_str(), step: key.step.as_str() }
    }
}

impl BarrierKey<'_> {
    /// Returns the key of the row by which the step is claimed.
    pub fn of_first_action(key: &StepKey) -> BarrierKey<'_> {
        let BarrierStep { saga, step } = BarrierStep::of(key);
        BarrierKey { saga, step, direction: Direction::Action.as_str(), generation: 1 }
    }
}

/// Returns the row that claims a step: that of its first action.
pub(super) fn claimed(key: &StepKey, now: Timestamp) -> BarrierRow<'_> {
    let BarrierKey { saga, step, direction, generation } = BarrierKey::of_first_action(key);
    let (status, answer) = ("claimed", String::new());
    BarrierRow { saga, step, direction, generation, status, answer, stored_at: now.0 }
}
