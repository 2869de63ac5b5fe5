//! The barriers' ledger: what a journal says of a step is what the barrier of its participant has stored for just that
//! generation, at most one generation has an effect, and no row goes before its saga's retention has passed.

use std::collections::BTreeMap;

use sagamore_core::Direction;
use sagamore_core::saga::{Change, Saga};

use crate::world::World;

/// Rows of a barrier go no earlier after their saga's end, by the time of the world.
const REMEMBERED_MS: i64 = 29 * 24 * 3_600 * 1_000;

/// Triggers by which the rows of a barrier are shown to the checker.
pub const TRIGGERS: &str = "
    CREATE TRIGGER sim_barrier_1 AFTER INSERT ON barrier WHEN NEW.status <> 'claimed' BEGIN
        INSERT INTO sim_effect (saga, step, direction, generation, status)
        VALUES (NEW.saga, NEW.step, NEW.direction, NEW.generation, NEW.status); END;
    CREATE TRIGGER sim_barrier_2 AFTER UPDATE OF status ON barrier
        WHEN NEW.status <> 'claimed' AND NEW.status <> OLD.status BEGIN
        INSERT INTO sim_effect (saga, step, direction, generation, status)
        VALUES (NEW.saga, NEW.step, NEW.direction, NEW.generation, NEW.status); END;
    CREATE TRIGGER sim_barrier_3 AFTER DELETE ON barrier WHEN OLD.status <> 'claimed' BEGIN
        INSERT INTO sim_effect (saga, step, direction, generation, status)
        VALUES (OLD.saga, OLD.step, OLD.direction, OLD.generation, 'forgotten'); END;";

/// A row of a barrier, without what it answers.
pub(super) struct Row<'a> {
    pub saga: &'a str,
    pub step: &'a str,
    pub direction: Direction,
    pub generation: u32,
    pub status: &'a str,
}

/// All rows that were ever committed.
#[derive(Default)]
pub(super) struct Barriers {
    steps: BTreeMap<(String, String), BTreeMap<(Direction, u32), String>>,
}

impl Barriers {
    /// A row is committed, or forgotten. `ended_at` is when its saga has ended, by the time of the world.
    pub fn stored(&mut self, world: &World, row: &Row<'_>, ended_at: Option<i64>) {
        let Row { saga, step, direction, generation, status } = *row;
        if status == "forgotten" {
            if ended_at.is_none_or(|at| world.now() - at < REMEMBERED_MS) {
                let detail = format!(
                    "{saga} {step} {direction} {generation}: its row went, and it ended {ended_at:?}"
                );
                world.violate("forgotten-early", detail);
            }
            return;
        }
        let rows = self.steps.entry((saga.to_owned(), step.to_owned())).or_default();
        rows.insert((direction, generation), status.to_owned());
        let done =
            rows.iter().filter(|((way, _), status)| *way == direction && *status == "done").count();
        if done > 1 {
            world.violate(
                "two-generations",
                format!("{saga} {step} {direction} is done in {done} generations"),
            );
        }
    }

    /// A change is committed for a saga that is still as it was before: an answer follows from a stored row.
    pub fn check(&self, world: &World, saga: &Saga, change: &Change) {
        let (step, direction) = match change {
            Change::Done { step, .. } | Change::Refused { step, .. } => (step, Direction::Action),
            Change::Undone { step } | Change::UndoRefused { step, .. } => {
                (step, Direction::Compensation)
            }
            Change::Started { .. }
            | Change::Asked { .. }
            | Change::Faulted { .. }
            | Change::Silent { .. } => return,
            Change::SetAside { .. }
            | Change::Rescued(_)
            | Change::TurnedBack { .. }
            | Change::Stuck => return,
            Change::Resumed | Change::Completed | Change::Compensated => return,
        };
        let Some(index) = saga.definition.index_of(step) else { return };
        let state = &saga.steps[index];
        let key = (saga.id.to_string(), step.to_string());
        let rows = self.steps.get(&key);
        let has = |wanted: &dyn Fn(Direction, u32, &str) -> bool| {
            rows.is_some_and(|rows| {
                rows.iter().any(|((way, generation), status)| wanted(*way, *generation, status))
            })
        };
        let generation =
            if direction == Direction::Action { state.generation } else { state.undo_generation };
        let is_stored = match change {
            Change::Done { .. } | Change::Undone { .. } => {
                has(&|way, _, status| way == direction && status == "done")
            }
            // of this very generation; or the compensation was there first
            _ => has(&|way, of, status| {
                let refused = way == direction && of == generation && status == "refused";
                refused
                    || (direction == Direction::Action
                        && (status == "tombstone" || way != direction))
            }),
        };
        if !is_stored {
            let detail = format!(
                "{} {step} {direction} {generation} is {change:?}, and the barrier has {rows:?}",
                key.0
            );
            world.violate("unfounded-answer", detail);
        }
    }
}
