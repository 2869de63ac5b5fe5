//! The places of the problems of a definition.

use sagamore_core::Name;
use sagamore_core::definition::{CommandTemplate, Draft, Problem, Reference, SchemaPlace, Step};

use super::name_in;
use crate::pointer::Pointer;

/// Returns the place of a problem in the definition that has it.
pub(crate) fn of(problem: &Problem, draft: &Draft) -> Pointer {
    let root = Pointer::root();
    let step = |name: &Name| step(draft, name);
    let patience = |name: &Name, key: &str| step(name).keys(&["patience", key]);
    match problem {
        Problem::NoVersion => root.key("version"),
        Problem::NoTime
        | Problem::DeadlineBeforeTimeout { .. }
        | Problem::DeadlineBeforeAttempts { .. } => root.key("deadlineMs"),
        Problem::UnknownKey { .. } | Problem::KeyOfStep { .. } => root.key("key"),
        Problem::NoSteps | Problem::TooManySteps { .. } => root.key("steps"),
        Problem::Malformed(_) | Problem::SendsNothing { .. } | Problem::Foreign { .. } => root,
        Problem::Unnameable { of, field } => unnameable(draft, of, field),
        Problem::SameName { step } => {
            // the later one of the two
            let last = draft.steps.iter().rposition(|other| other.name == *step);
            root.key("steps").item(last.unwrap_or_default()).key("name")
        }
        Problem::Reserved => {
            let reserved = draft.steps.iter().position(|step| step.name.as_str() == "input");
            root.key("steps").item(reserved.unwrap_or_default()).key("name")
        }
        Problem::UnknownPredecessor { step: name, after } => after_of(draft, name, after),
        Problem::Cycle { steps } => match steps.as_slice() {
            [first, .., last] => after_of(draft, first, last),
            [only] => after_of(draft, only, only),
            [] => root.key("steps"),
        },
        Problem::TwoPivots { second, .. } => step(second).key("kind"),
        Problem::NoPivot { step: name }
        | Problem::NotBeforePivot { step: name, .. }
        | Problem::NotAfterPivot { step: name, .. }
        | Problem::NoCompensation { step: name } => step(name),
        Problem::NeverUndone { step: name, .. } => step(name).key("compensation"),
        Problem::UndoneByItself { step: name, .. } => step(name).keys(&["compensation", "message"]),
        Problem::OtherParticipant { step: name, .. } => {
            step(name).keys(&["compensation", "participant"])
        }
        Problem::UnknownSource { step: name, field, reference }
        | Problem::NotAnAncestor { step: name, field, reference }
        | Problem::UnknownField { step: name, field, reference, .. } => {
            reference_of(draft, name, field, reference)
        }
        Problem::OwnOutput { step: name, field } => {
            step(name).keys(&["compensation", "fields", field])
        }
        Problem::NoTimeout { step: name } => patience(name, "timeoutMs"),
        Problem::NoPause { step: name } | Problem::Backoff { step: name, .. } => {
            patience(name, "backoffMsMin")
        }
        Problem::NoAttempts { step: name } | Problem::NeverGivenUp { step: name, .. } => {
            patience(name, "attemptsMax")
        }
        Problem::UnknownParticipant { participant, .. } => contract(participant),
        Problem::QueryOfBarrier { participant } | Problem::QueryIsCommand { participant, .. } => {
            contract(participant).key("query")
        }
        Problem::RefusalStatus { participant, status }
        | Problem::ReservedCode { participant, status, .. } => {
            contract(participant).keys(&["refusals", &status.to_string()])
        }
        Problem::UndoWithoutFields { step: name, .. } => step(name).key("compensation"),
        Problem::SchemaOfNoMessage { message, .. } => {
            schema(&SchemaPlace::Message(message.clone()))
        }
        Problem::SchemaOfNoAction { message, .. } => schema(&SchemaPlace::Output(message.clone())),
        Problem::SchemaIsNoObject { place, .. } | Problem::SchemaTooLarge { place, .. } => {
            schema(place)
        }
        Problem::SchemasTooLarge { .. } => root.key("schemas"),
    }
}

/// Returns the place of a participant's contract.
fn contract(participant: &Name) -> Pointer {
    Pointer::root().keys(&["participants", participant.as_str()])
}

/// Returns the place of a schema.
pub(crate) fn schema(place: &SchemaPlace) -> Pointer {
    let schemas = Pointer::root().key("schemas");
    match place {
        SchemaPlace::Input => schemas.key("input"),
        SchemaPlace::Message(name) => schemas.keys(&["messages", name.as_str()]),
        SchemaPlace::Output(name) => schemas.keys(&["outputs", name.as_str()]),
    }
}

/// Returns the place of a step.
pub(crate) fn step(draft: &Draft, name: &Name) -> Pointer {
    let index = draft.steps.iter().position(|step| step.name == *name);
    let steps = Pointer::root().key("steps");
    index.map_or(steps.clone(), |index| steps.item(index))
}

/// Returns the place of a predecessor in the `after` of a step.
fn after_of(draft: &Draft, name: &Name, after: &Name) -> Pointer {
    let named = |step: &&Step| step.name == *name;
    let predecessors = draft.steps.iter().find(named).and_then(|step| step.after.as_ref());
    match predecessors {
        Some(predecessors) => name_in(step(draft, name).key("after"), predecessors, after),
        None => step(draft, name),
    }
}

/// Returns the place of a reference: in the action, or else in the compensation.
fn reference_of(draft: &Draft, name: &Name, field: &str, reference: &Reference) -> Pointer {
    let has = |template: &CommandTemplate| template.fields.get(field) == Some(reference);
    let of = draft.steps.iter().find(|step| step.name == *name);
    let command = if of.is_some_and(|step| has(&step.action)) { "action" } else { "compensation" };
    step(draft, name).keys(&[command, "fields", field])
}

/// Returns the place of a field name of the input or of a step.
fn unnameable(draft: &Draft, of: &str, field: &str) -> Pointer {
    let field_in = |pointer: Pointer, fields: &[String]| {
        let index = fields.iter().position(|other| other == field);
        index.map_or(pointer.clone(), |index| pointer.item(index))
    };
    let owner = draft.steps.iter().find(|step| of == format!("step '{}'", step.name));
    match owner {
        Some(owner) => field_in(step(draft, &owner.name).key("yields"), &owner.yields),
        None => field_in(Pointer::root().key("input"), &draft.input),
    }
}
