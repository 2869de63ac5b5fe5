//! The rules for participants and schemas.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::definition::{Draft, Problem, SCHEMA_BYTES_MAX, SCHEMAS_BYTES_MAX, SchemaPlace};
use crate::id::Name;
use crate::message::is_reserved;

/// The HTTP statuses that can mean a refusal.
const REFUSAL_STATUSES: RangeInclusive<u16> = 400..=599;

/// Checks that each contract belongs to a participant of a step and states nothing contradictory.
pub(super) fn participants(draft: &Draft, problems: &mut Vec<Problem>) {
    for (participant, contract) in &draft.participants {
        let name = || participant.clone();
        if !draft.steps.iter().any(|step| step.action.participant == *participant) {
            let known = distinct(draft.steps.iter().map(|step| &step.action.participant));
            problems.push(Problem::UnknownParticipant { participant: name(), known });
        }
        if let Some(query) = &contract.query {
            if contract.repeat.is_barrier() {
                problems.push(Problem::QueryOfBarrier { participant: name() });
            }
            if commands(draft).any(|message| message == query) {
                let message = query.clone();
                problems.push(Problem::QueryIsCommand { participant: name(), message });
            }
        }
        for (status, code) in &contract.refusals {
            if !REFUSAL_STATUSES.contains(status) {
                let status = *status;
                problems.push(Problem::RefusalStatus { participant: name(), status });
            }
            if is_reserved(code.as_str()) {
                let (status, code) = (*status, code.clone());
                problems.push(Problem::ReservedCode { participant: name(), status, code });
            }
        }
    }
    for step in draft.steps.iter().filter(|step| !draft.contract_of(step).repeat.is_barrier()) {
        if step.compensation.as_ref().is_some_and(|undo| undo.fields.is_empty()) {
            let participant = step.action.participant.clone();
            let repeat = draft.contract(&participant).repeat;
            problems.push(Problem::UndoWithoutFields {
                step: step.name.clone(),
                participant,
                repeat,
            });
        }
    }
}

/// Checks that each schema belongs to a message of the definition, is an object and is not too
/// large. Its content is not checked here.
pub(super) fn schemas(draft: &Draft, problems: &mut Vec<Problem>) {
    let mut total = 0;
    for (place, schema) in draft.schemas.all() {
        match &place {
            SchemaPlace::Input => {}
            SchemaPlace::Message(message) => {
                let queries = || draft.participants.values().filter_map(|each| each.query.as_ref());
                if !commands(draft).chain(queries()).any(|known| known == message) {
                    let known = distinct(commands(draft).chain(queries()));
                    problems.push(Problem::SchemaOfNoMessage { message: message.clone(), known });
                }
            }
            SchemaPlace::Output(action) => {
                let actions = || draft.steps.iter().map(|step| &step.action.message);
                if !actions().any(|known| known == action) {
                    let known = distinct(actions());
                    problems.push(Problem::SchemaOfNoAction { message: action.clone(), known });
                }
            }
        }
        let bytes = serde_json::to_vec(schema).map_or(usize::MAX, |text| text.len());
        total = bytes.saturating_add(total);
        if bytes > SCHEMA_BYTES_MAX {
            problems.push(Problem::SchemaTooLarge { place: place.clone(), bytes });
        }
        if !schema.is_object() {
            let found = kind_of(schema);
            problems.push(Problem::SchemaIsNoObject { place, found });
        }
    }
    if total > SCHEMAS_BYTES_MAX {
        problems.push(Problem::SchemasTooLarge { bytes: total });
    }
}

/// Iterates over the messages of all actions and compensations.
fn commands(draft: &Draft) -> impl Iterator<Item = &Name> {
    let actions = draft.steps.iter().map(|step| &step.action);
    let compensations = draft.steps.iter().filter_map(|step| step.compensation.as_ref());
    actions.chain(compensations).map(|template| &template.message)
}

fn distinct<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<Name> {
    let mut distinct: Vec<Name> = Vec::new();
    for name in names {
        if !distinct.contains(name) {
            distinct.push(name.clone());
        }
    }
    distinct
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
