//! Finds contradictions between the barriers of services and a saga.

use std::collections::BTreeMap;

use sagamore_core::Direction;
use sagamore_core::saga::StepStatus;
use sagamore_engine::ChainStatus;
use serde::Serialize;

use crate::view::{ChangeView, FactView, Line, SagaView, StepView, Style};

/// The state of a step according to its service's barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// The action is done and not compensated.
    Done,
    /// The action is done and compensated.
    Undone,
    /// The action was refused, or the compensation arrived first.
    Nothing,
}

/// The states by service and step.
pub type StepStates = BTreeMap<(String, String), StepState>;

/// A contradiction between a barrier and a saga.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inconsistency {
    /// `checkout:10248`.
    pub saga: String,
    /// The service of the barrier.
    pub service: String,
    /// The step of the saga, or the reaction of the chain.
    pub step: String,
    /// The contradiction, in words.
    pub what: String,
    /// The manual fix, in words.
    pub mend: &'static str,
}

const UNDO: &str = "undo the step by hand at the service";
const LOST: &str =
    "was a backup restored at the service? repeat the step by hand, or restore a newer backup";
const AGAIN: &str =
    "emit the chain's events again with --resend, or undo the step by hand at the service";

/// Derives a step's state from its rows.
pub fn state_of<'a>(rows: impl IntoIterator<Item = &'a FactView>) -> StepState {
    let (mut done, mut undone) = (false, false);
    for row in rows.into_iter().filter(|row| row.status == "done") {
        match row.direction {
            Direction::Action => done = true,
            Direction::Compensation => undone = true,
            Direction::Query => {}
        }
    }
    match (done, undone) {
        (true, false) => StepState::Done,
        (true, true) => StepState::Undone,
        (false, _) => StepState::Nothing,
    }
}

/// Whether a detailed comparison is needed. `completed`: the states of a completed saga of the same
/// definition, if one was compared before.
pub fn is_suspicious(
    line: Option<&Line>,
    states: &StepStates,
    completed: Option<&StepStates>,
) -> bool {
    match line.map(|line| line.status) {
        None => states.values().any(|state| *state == StepState::Done),
        Some(ChainStatus::Completed) => completed != Some(states),
        Some(ChainStatus::Compensated) => states.values().any(|state| *state == StepState::Done),
        Some(_) => false,
    }
}

/// Returns the states that the barriers of these services must have for a completed saga.
pub fn completed(saga: &SagaView, services: &[&str]) -> StepStates {
    let steps = saga.steps.iter().filter(|step| services.contains(&step.participant.as_str()));
    let done = steps.filter(|step| step.status == StepStatus::Done);
    done.map(|step| ((step.participant.clone(), step.name.clone()), StepState::Done)).collect()
}

/// Compares an ended saga with the barriers of these services.
pub fn compare(saga: &SagaView, states: &StepStates, services: &[&str]) -> Vec<Inconsistency> {
    if !matches!(saga.line.status, ChainStatus::Completed | ChainStatus::Compensated) {
        return Vec::new();
    }
    let steps = saga
        .steps
        .iter()
        .filter(|step| services.contains(&step.participant.as_str()) && !by_hand(saga, step));
    let found = steps.filter_map(|step| {
        let state = states.get(&(step.participant.clone(), step.name.clone()));
        let (what, mend) = match (step.status, state) {
            (StepStatus::Done, None) => {
                ("done in the saga, but the service has no row of it", LOST)
            }
            (StepStatus::Done, Some(StepState::Undone)) => {
                ("done in the saga, but undone at the service", LOST)
            }
            (StepStatus::Done, Some(StepState::Nothing)) => {
                ("done in the saga, but never done at the service", LOST)
            }
            (StepStatus::Done, Some(StepState::Done)) => return None,
            (_, Some(StepState::Done)) if saga.line.style == Style::Choreography => {
                ("done at the service and never undone, although the chain has ended", AGAIN)
            }
            (_, Some(StepState::Done)) => {
                ("done at the service and never undone, although the saga has ended", UNDO)
            }
            (_, Some(StepState::Undone | StepState::Nothing) | None) => return None,
        };
        let (saga, service, step) =
            (saga.line.id.clone(), step.participant.clone(), step.name.clone());
        Some(Inconsistency { saga, service, step, what: what.to_owned(), mend })
    });
    found.collect()
}

/// Reports the steps of a saga that the server does not have. `plans`: the names whose chains emit
/// events.
pub fn unknown(id: &str, states: &StepStates, plans: &[String]) -> Vec<Inconsistency> {
    let (what, mend) = match is_chain(id, plans) {
        true => ("done at the service, but no event of its chain was ever seen", AGAIN),
        false => ("done at the service, but the saga does not exist", UNDO),
    };
    let done = states.iter().filter(|(_, state)| **state == StepState::Done);
    done.map(|((service, step), _)| Inconsistency {
        saga: id.to_owned(),
        service: service.clone(),
        step: step.clone(),
        what: what.to_owned(),
        mend,
    })
    .collect()
}

/// Whether the id belongs to a chain of one of these plans.
pub fn is_chain(id: &str, plans: &[String]) -> bool {
    id.split_once(':').is_some_and(|(name, _)| plans.iter().any(|plan| plan == name))
}

/// Whether an operator has decided about the step, so that the barrier need not agree.
fn by_hand(saga: &SagaView, step: &StepView) -> bool {
    let of_step = |change: &&ChangeView| change.step.as_deref() == Some(step.name.as_str());
    let mut changes = saga.journal.iter().flat_map(|entry| &entry.changes).filter(of_step);
    let decided = changes.any(|change| matches!(change.verb.as_deref(), Some("skip" | "resolve")));
    decided || step.status == StepStatus::Skipped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(Direction, &str)]) -> Vec<FactView> {
        let row = |(direction, status): &(Direction, &str)| FactView {
            saga: "checkout:1".into(),
            step: "charge-payment".into(),
            direction: *direction,
            generation: 1,
            status: (*status).to_owned(),
            stored_at: String::new(),
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn the_state_of_a_step_follows_from_its_rows() {
        use Direction::{Action, Compensation};
        let check = |of: &[(Direction, &str)], expected| {
            assert_eq!(state_of(&rows(of)), expected, "{of:?}")
        };
        check(&[(Action, "done")], StepState::Done);
        check(&[(Action, "refused"), (Action, "done")], StepState::Done);
        check(&[(Action, "done"), (Compensation, "refused")], StepState::Done);
        check(
            &[(Action, "done"), (Compensation, "refused"), (Compensation, "done")],
            StepState::Undone,
        );
        check(&[(Action, "refused")], StepState::Nothing);
        check(&[(Action, "tombstone"), (Compensation, "done")], StepState::Nothing);
    }
}
