//! Checks the services' tables: each effect once, undone in reverse order, all of them or none.
//!
//! Triggers or toy handlers add a row to the table `sim_effect` of each service's database for each
//! effect.

use sagamore_core::Direction;
use sagamore_core::saga::{Status, StepStatus};
use sagamore_database::Database;

use super::Checker;
use super::barriers::Row;
use super::shadow::Shadow;
use crate::rows::{get, read_rows};
use crate::world::World;

impl Checker {
    /// Reads the new effects.
    pub(super) fn service_committed(&mut self, world: &World, number: usize, database: &Database) {
        let last = self.services[number].last;
        let sql = format!(
            "SELECT seq, saga, step, direction, generation, status FROM sim_effect WHERE seq > \
             {last} ORDER BY seq"
        );
        for row in read_rows(database, &sql) {
            let (id, step, direction): (String, String, String) =
                (get(&row, 1), get(&row, 2), get(&row, 3));
            let direction =
                if direction == "action" { Direction::Action } else { Direction::Compensation };
            self.services[number].last = get(&row, 0);
            match get::<Option<String>>(&row, 5) {
                None => self.effect(world, &id, &step, direction),
                Some(status) => {
                    let ended_at = self.sagas.get(&id).and_then(|shadow| shadow.ended_at);
                    let generation = u32::try_from(get::<i64>(&row, 4)).unwrap_or(0);
                    let row =
                        Row { saga: &id, step: &step, direction, generation, status: &status };
                    self.barriers.stored(world, &row, ended_at);
                }
            }
        }
        if let Some((name, detail)) = (self.services[number].audit)(database) {
            world.violate(name, detail);
        }
    }

    /// Records an effect of a step and checks it against the earlier ones of its saga.
    pub fn effect(&mut self, world: &World, id: &str, step: &str, direction: Direction) {
        world.log(|| format!("effect {id} {step} {direction}"));
        let before = self.effects.get(id).cloned().unwrap_or_default();
        let had = |step: &str, direction| {
            before.iter().any(|(other, way)| other == step && *way == direction)
        };
        if had(step, direction) {
            world.violate("double-charge", format!("{id} {step} {direction} happened twice"));
        }
        let shadow = self.sagas.get(id);
        match direction {
            Direction::Action => {
                // resolved by an operator: the participant may have no undo and no tombstone
                let by_hand =
                    shadow.is_some_and(|shadow| shadow.by_hand.iter().any(|other| other == step));
                let undone = !by_hand
                    && shadow.and_then(|shadow| status(shadow, step)) == Some(StepStatus::Undone);
                let chain_undone = self
                    .chains
                    .as_ref()
                    .is_some_and(|chains| chains.has_emitted(id, step, Direction::Compensation));
                if undone || chain_undone || had(step, Direction::Compensation) {
                    world.violate(
                        "hanging-action",
                        format!("{id} {step} happened after its compensation"),
                    );
                }
            }
            Direction::Query => world.violate("effect-of-query", format!("{id} {step}")),
            Direction::Compensation => {
                if !had(step, Direction::Action) {
                    world.violate(
                        "empty-compensation",
                        format!("{id} {step} was undone, but never happened"),
                    );
                }
                if let Some(shadow) = shadow {
                    in_order(world, shadow, step, &had);
                }
            }
        }
        let pivot = self
            .chains
            .as_ref()
            .and_then(|chains| chains.plan.pivot())
            .map(|pivot| pivot.name.as_str());
        let is_crossed = pivot.is_some_and(|pivot| pivot == step || had(pivot, Direction::Action));
        let goes_back = direction == Direction::Compensation
            || before.iter().any(|(_, direction)| *direction == Direction::Compensation);
        if is_crossed && goes_back {
            world.violate(
                "undo-after-pivot",
                format!("{id} is compensating, but its pivot acted: {before:?}, then {step}"),
            );
        }
        self.effects.entry(id.to_owned()).or_default().push((step.to_owned(), direction));
    }

    /// Checks the effects of a saga that has ended: all actions once without undo, or every action
    /// with its undo.
    pub(super) fn check_complete(&self, world: &World, id: &str, shadow: &Shadow) {
        let empty = Vec::new();
        let effects = self.effects.get(id).unwrap_or(&empty);
        for plan in &shadow.saga.definition.steps {
            let name = plan.name.as_str();
            let count = |direction| {
                effects.iter().filter(|(step, way)| step == name && *way == direction).count()
            };
            let (actions, undos) = (count(Direction::Action), count(Direction::Compensation));
            let by_hand = shadow.by_hand.iter().any(|step| step == name);
            let fits = match shadow.saga.status {
                Status::Completed => undos == 0 && (actions == 1 || by_hand),
                Status::Compensated => actions == undos || by_hand,
                Status::Running | Status::Compensating | Status::Stuck => true,
            };
            if !fits {
                let status = shadow.saga.status.as_str();
                world.violate(
                    "half-saga",
                    format!("{id} is {status}: {name} happened {actions} times, undone {undos}"),
                );
            }
        }
    }
}

/// Checks an undo: the effects of later steps are undone already, and the pivot has not acted.
fn in_order(world: &World, shadow: &Shadow, step: &str, had: &impl Fn(&str, Direction) -> bool) {
    let definition = &shadow.saga.definition;
    let Some(index) = definition.steps.iter().position(|plan| plan.name.as_str() == step) else {
        return;
    };
    for (later, plan) in definition.steps.iter().enumerate() {
        let name = plan.name.as_str();
        let is_later = definition.graph().descendants[index].contains(later);
        let by_hand = shadow.by_hand.iter().any(|step| step == name);
        if is_later
            && had(name, Direction::Action)
            && !had(name, Direction::Compensation)
            && !by_hand
        {
            world.violate(
                "wrong-undo-order",
                format!("{}: {step} is undone before {name}", shadow.saga.id),
            );
        }
        if plan.kind.as_str() == "pivot" && had(name, Direction::Action) {
            world.violate(
                "undo-after-pivot",
                format!("{}: {step} is undone after the pivot", shadow.saga.id),
            );
        }
    }
}

fn status(shadow: &Shadow, step: &str) -> Option<StepStatus> {
    let index = shadow.saga.definition.steps.iter().position(|plan| plan.name.as_str() == step)?;
    Some(shadow.saga.steps[index].status)
}
