//! Random definitions.

use sagamore_core::definition::{Draft, Kind};

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
    draft.deadline_ms = rng.bool().then(|| rng.u64(13_000..40_000));
    draft
}

/// Lets the action refer to fields of earlier steps.
fn refer(plan: &mut serde_json::Value, earlier: &[&str], rng: &mut fastrand::Rng) {
    for source in earlier {
        if rng.bool() {
            plan["action"]["fields"][format!("of-{source}")] = format!("{source}.ticket").into();
        }
    }
}
