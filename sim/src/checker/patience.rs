//! Patience: no step is taken for silent before its command was acknowledged and its timeout has passed since.

use std::collections::BTreeMap;

use sagamore_core::saga::{Change, Entry, StepStatus};
use sagamore_core::{Direction, Saga};
use sagamore_transport::{Record, wire};

use super::rejections::Rejections;
use crate::world::World;

/// When the transport acknowledged each attempt of a command first, by the time of the world.
#[derive(Default)]
pub struct Patience {
    acknowledged: BTreeMap<(String, u32), i64>,
    /// When a clock jumped last.
    jumped_at: Option<i64>,
}

impl Patience {
    /// The transport acknowledges these records.
    pub fn acknowledged(&mut self, world: &World, records: &[Record]) {
        for command in records.iter().filter_map(|record| wire::decode_command(record).ok()) {
            self.acknowledged.entry((command.id(), command.attempt)).or_insert_with(|| world.now());
        }
    }

    /// A clock jumps now: what runs may end at once.
    pub fn clock_jumped(&mut self, world: &World) {
        self.jumped_at = Some(world.now());
    }

    /// An entry is committed for a saga that is still as it was before.
    pub(super) fn check(&self, world: &World, saga: &Saga, entry: &Entry, rejections: &Rejections) {
        for change in &entry.changes {
            let Change::Silent { step, .. } = change else { continue };
            let Some(index) = saga.definition.index_of(step) else { continue };
            let sets_aside = |change: &Change| matches!(change, Change::SetAside { step: other, .. } if other == step);
            if entry.changes.iter().any(sets_aside) {
                continue; // unknown because its answer cannot be stored, and the saga goes back
            }
            let state = &saga.steps[index];
            // In a pause, or set aside: it is left as it is because the saga turns back. And of many attempts not every
            // one is in the journal.
            let counted =
                state.attempts < 8 || saga.definition.steps[index].patience.attempts_max.is_some();
            let direction = match state.status {
                StepStatus::Asked => Direction::Action,
                StepStatus::Undoing => Direction::Compensation,
                _ => continue,
            };
            if state.backing_off || state.held || !counted {
                continue;
            }
            let attempt = (saga.command(index, direction).id(), state.attempts);
            let timeout = saga.definition.steps[index].patience.timeout();
            match self.acknowledged.get(&attempt) {
                // forgotten with the saga when its batch failed; the next attempt is rejected again
                None if rejections.has(&attempt.0, attempt.1) => {}
                None => world.violate(
                    "silent-unsent",
                    format!("{attempt:?} is overdue, and was never sent"),
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
