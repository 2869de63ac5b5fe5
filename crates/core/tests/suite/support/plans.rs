//! Random definitions.

use std::collections::BTreeMap;

use sagamore_core::Name;
use sagamore_core::definition::{Draft, Kind, ParticipantContract, Repeat, Step};

use super::{definition, step};

/// Returns a random definition: compensatable steps in any order, perhaps a pivot, and steps after
/// it.
pub fn random_plan(rng: &mut fastrand::Rng) -> Draft {
    let mut steps: Vec<serde_json::Value> = Vec::new();
    let undoable: Vec<String> = (0..rng.usize(1..5)).map(|number| format!("c{number}")).collect();
    let limited = rng.bool();
    for index in 0..undoable.len() {
        let after: Vec<&str> =
            undoable[..index].iter().map(String::as_str).filter(|_| rng.bool()).collect();
        let mut plan = step(&undoable[index], Kind::Compensatable, &after);
        if limited && rng.bool() {
            plan["patience"]["attemptsMax"] = rng.u32(1..4).into();
        }
        refer(&mut plan, &after, rng);
        steps.push(plan);
    }
    if rng.u8(0..4) > 0 {
        steps.push(step(
            "pivot",
            Kind::Pivot,
            &undoable.iter().map(String::as_str).collect::<Vec<_>>(),
        ));
        let last: Vec<String> = (0..rng.usize(0..4)).map(|number| format!("r{number}")).collect();
        for index in 0..last.len() {
            let earlier: Vec<&str> =
                last[..index].iter().map(String::as_str).filter(|_| rng.bool()).collect();
            let after: Vec<&str> = earlier.iter().copied().chain(["pivot"]).collect();
            let mut plan = step(&last[index], Kind::Retriable, &after);
            refer(&mut plan, &earlier, rng);
            steps.push(plan);
        }
    }
    let mut draft = definition(steps);
    draft.participants = without_barrier(&mut draft.steps, rng);
    draft.deadline_ms = rng.bool().then(|| rng.u64(13_000..40_000));
    draft
}

/// Gives half of the steps to participants without a barrier, and returns the contracts of those.
/// Some of their undos refer to the action's output.
fn without_barrier(
    steps: &mut [Step],
    rng: &mut fastrand::Rng,
) -> BTreeMap<Name, ParticipantContract> {
    let name = |text: &str| Name::new(text).unwrap();
    let query = Some(name("toy.status"));
    let mut contracts = BTreeMap::new();
    if rng.bool() {
        return contracts;
    }
    for step in steps {
        let (participant, repeat, query) = match rng.u8(0..6) {
            0 => ("keyed", Repeat::ByKey, None),
            1 => ("never", Repeat::Never, None),
            2 => ("asked", Repeat::Never, query.clone()),
            _ => continue,
        };
        step.action.participant = name(participant);
        if let Some(undo) = &mut step.compensation {
            undo.participant = name(participant);
            if rng.bool() {
                let own = format!("{}.ticket", step.name).try_into().unwrap();
                undo.fields.insert("ticket".to_owned(), own);
            }
        }
        let contract = ParticipantContract { repeat, query, ..ParticipantContract::default() };
        contracts.insert(name(participant), contract);
    }
    contracts
}

/// Lets the action refer to fields of earlier steps.
fn refer(plan: &mut serde_json::Value, earlier: &[&str], rng: &mut fastrand::Rng) {
    for source in earlier {
        if rng.bool() {
            plan["action"]["fields"][format!("of-{source}")] = format!("{source}.ticket").into();
        }
    }
}
