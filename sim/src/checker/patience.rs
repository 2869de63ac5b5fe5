//! Timeouts: no step counts as silent before its command was acknowledged and its timeout has
//! passed.

use std::collections::BTreeMap;

use sagamore_core::journal::{Change, Entry, StepChange};
use sagamore_core::saga::StepStatus;
use sagamore_core::{Direction, Saga};
use sagamore_transport::{Record, wire};

use super::rejections::Rejections;
use crate::world::World;

/// The time of the first acknowledgement of each attempt of a command.
#[derive(Default)]
pub struct Patience {
    acknowledged: BTreeMap<(String, u32), i64>,
    /// The time of the last jump of a clock.
    jumped_at: Option<i64>,
}

impl Patience {
    /// Records acknowledged records.
    pub fn acknowledged(&mut self, world: &World, records: &[Record]) {
        for command in records.iter().filter_map(|record| wire::decode_command(record).ok()) {
            self.acknowledged.entry((command.id(), command.attempt)).or_insert_with(|| world.now());
        }
    }

    /// Records a jump of a clock, after which timeouts may end at once.
    pub fn clock_jumped(&mut self, world: &World) {
        self.jumped_at = Some(world.now());
    }

    /// Checks a committed entry. `saga` is its state before the entry.
    pub(super) fn check(&self, world: &World, saga: &Saga, entry: &Entry, rejections: &Rejections) {
        for change in &entry.changes {
            let Change::Step { step, change: StepChange::Silent { .. } } = change else { continue };
            let Some(index) = saga.definition.index_of(step) else { continue };
            let is_set_aside = |change: &Change| {
                matches!(
                    change,
                    Change::Step { step: other, change: StepChange::SetAside { .. } }
                        if other == step
                )
            };
            if entry.changes.iter().any(is_set_aside) {
                // unknown because its reply cannot be stored, and the saga compensates
                continue;
            }
            let participant = &saga.definition.steps[index].action.participant;
            if !saga.definition.contract(participant).repeat.is_barrier() {
                continue; // a gateway may reply that the outcome is unknown
            }
            let state = &saga.steps[index];
            // A step that backs off or is set aside becomes silent because the saga compensates.
            // The journal does not have every attempt of many.
            let counted =
                state.attempts < 8 || saga.definition.steps[index].patience.attempts_max.is_some();
            let direction = match state.status {
                StepStatus::Asked => Direction::Action,
                StepStatus::Undoing => Direction::Compensation,
                _ => continue,
            };
            if state.wait.is_retry() || state.wait.is_held() || !counted {
                continue;
            }
            let attempt = (saga.command(index, direction).id(), state.attempts);
            let timeout = saga.definition.steps[index].patience.timeout();
            match self.acknowledged.get(&attempt) {
                // forgotten with the saga when its batch failed: the next attempt is rejected again
                None if rejections.has(&attempt.0, attempt.1) => {}
                None => world.violate(
                    "silent-unsent",
                    format!("{attempt:?} is overdue, but was never sent"),
                ),
                Some(at) if self.jumped_at.is_some_and(|jumped_at| jumped_at >= *at) => {}
                Some(at)
                    if i128::from(world.now() - at)
                        < i128::try_from(timeout.as_millis()).unwrap_or(0) =>
                {
                    world.violate(
                        "silent-early",
                        format!("{attempt:?} is overdue before its timeout has passed"),
                    );
                }
                Some(_) => {}
            }
        }
    }
}
