//! Checks the barriers: a step's state in a journal has a row of the same generation in its
//! participant's barrier. At most one generation has an effect, and no row is removed before its
//! saga's retention ends.

use std::collections::BTreeMap;

use sagamore_core::Direction;
use sagamore_core::journal::{Change, StepChange};
use sagamore_core::saga::Saga;

use crate::world::World;

/// The minimum age of a removed row after the end of its saga, by simulated time.
const REMEMBERED_MS: i64 = 29 * 24 * 3_600 * 1_000;

/// Triggers that report the rows of a barrier to the checker.
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

/// A row of a barrier, without its answer.
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
    /// Records a committed or removed row. `ended_at` is the end of its saga in simulated time.
    pub fn stored(&mut self, world: &World, row: &Row<'_>, ended_at: Option<i64>) {
        let Row { saga, step, direction, generation, status } = *row;
        if status == "forgotten" {
            if ended_at.is_none_or(|at| world.now() - at < REMEMBERED_MS) {
                let detail = format!(
                    "{saga} {step} {direction} {generation}: the row was removed, and the saga \
                     ended at {ended_at:?}"
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

    /// Checks a committed change against the stored rows. `saga` is its state before the change.
    pub fn check(&self, world: &World, saga: &Saga, change: &Change) {
        let Change::Step { step, change } = change else { return };
        let direction = match change {
            StepChange::Done { .. } | StepChange::Refused { .. } => Direction::Action,
            StepChange::Undone | StepChange::UndoRefused { .. } => Direction::Compensation,
            StepChange::Asked { .. } | StepChange::Faulted { .. } => return,
            StepChange::Silent { .. } | StepChange::SetAside { .. } => return,
            StepChange::Rescued { .. } => return,
            StepChange::Pending { .. } | StepChange::Absent { .. } => return,
        };
        let Some(index) = saga.definition.index_of(step) else { return };
        let participant = &saga.definition.steps[index].action.participant;
        if !saga.definition.contract(participant).repeat.is_barrier() {
            return;
        }
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
            StepChange::Done { .. } | StepChange::Undone => {
                has(&|way, _, status| way == direction && status == "done")
            }
            // a refusal of this generation, or a compensation that came first
            _ => has(&|way, of, status| {
                let refused = way == direction && of == generation && status == "refused";
                refused
                    || (direction == Direction::Action
                        && (status == "tombstone" || way != direction))
            }),
        };
        if !is_stored {
            let detail = format!(
                "{} {step} {direction} {generation} is {change:?}, but the barrier has {rows:?}",
                key.0
            );
            world.violate("unfounded-answer", detail);
        }
    }
}
