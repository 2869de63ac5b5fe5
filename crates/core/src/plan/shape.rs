//! The static checks of a plan.

use crate::definition::{SCHEMA_BYTES_MAX, SCHEMAS_BYTES_MAX};
use crate::id::Name;
use crate::plan::wiring::{EventSet, Wiring};
use crate::plan::{EVENTS_MAX, Part, Plan, Problem, REACTIONS_MAX, Role};

/// Checks the version and the deadline.
pub(super) fn sense(plan: &Plan, problems: &mut Vec<Problem>) {
    if plan.version == 0 {
        problems.push(Problem::NoVersion);
    }
    if plan.deadline_ms == Some(0) {
        problems.push(Problem::NoTime);
    }
}

/// Checks the number of reactions and events.
pub(super) fn size(plan: &Plan, problems: &mut Vec<Problem>) {
    if plan.reactions.is_empty() {
        problems.push(Problem::NoReactions {
            start: plan.begins.part().who(),
            event: plan.begins.event.clone(),
        });
    }
    let (reactions, events) =
        (plan.parts().count(), plan.parts().flat_map(|part| part.events()).count());
    if reactions > REACTIONS_MAX || events > EVENTS_MAX {
        problems.push(Problem::TooLarge { reactions, events });
    }
}

/// Checks that each schema belongs to an event of the plan, is an object and is not too large. Its
/// content is not checked here.
pub(super) fn schemas(plan: &Plan, problems: &mut Vec<Problem>) {
    let mut total: usize = 0;
    for (event, schema) in &plan.schemas.events {
        let is_known = plan.emitter(event).is_some() || plan.overdue.as_ref() == Some(event);
        let event = || event.clone();
        if !is_known {
            problems.push(Problem::SchemaOfNoEvent { event: event() });
        }
        if !schema.is_object() {
            problems.push(Problem::SchemaIsNoObject { event: event() });
        }
        let bytes = serde_json::to_vec(schema).map_or(usize::MAX, |text| text.len());
        total = total.saturating_add(bytes);
        if bytes > SCHEMA_BYTES_MAX {
            let (event, bytes_max) = (Some(event()), SCHEMA_BYTES_MAX);
            problems.push(Problem::SchemaTooLarge { event, bytes, bytes_max });
        }
    }
    if total > SCHEMAS_BYTES_MAX {
        let (event, bytes, bytes_max) = (None, total, SCHEMAS_BYTES_MAX);
        problems.push(Problem::SchemaTooLarge { event, bytes, bytes_max });
    }
}

/// Checks that names, events' emitters and the pivot are unique.
pub(super) fn names(plan: &Plan, problems: &mut Vec<Problem>) {
    let parts: Vec<Part> = plan.parts().collect();
    for (index, part) in parts.iter().enumerate() {
        if let Some(earlier) = parts[..index].iter().find(|earlier| earlier.name == part.name) {
            problems.push(Problem::SameName { first: earlier.who(), second: part.who() });
        }
    }
    let emitted: Vec<(&Name, &Part)> =
        parts.iter().flat_map(|part| part.events().map(move |(event, _)| (event, part))).collect();
    for (index, (event, second)) in emitted.iter().enumerate() {
        if let Some((_, first)) = emitted[..index].iter().find(|(earlier, _)| earlier == event) {
            let (first, second) = (first.who(), second.who());
            problems.push(Problem::TwoEmitters { event: (*event).clone(), first, second });
        }
    }
    let mut pivots = parts.iter().filter(|part| part.pivot);
    if let Some(first) = pivots.next() {
        problems.extend(
            pivots.map(|second| Problem::TwoPivots { first: first.who(), second: second.who() }),
        );
    }
}

/// Checks that every awaited event has an emitter.
pub(super) fn origins(plan: &Plan, problems: &mut Vec<Problem>) {
    for (index, part) in plan.parts().enumerate() {
        if index > 0 && part.on.is_empty() {
            problems.push(Problem::WaitsForNothing(part.who()));
        }
        if let Some(undo) = part.undo.filter(|undo| undo.on.is_empty()) {
            problems.push(Problem::NeverTriggered { event: undo.emits.clone(), by: part.who() });
        }
        let waits_for = part.on.iter().chain(part.undone_on());
        let others = waits_for.filter(|event| Some(*event) != plan.overdue.as_ref());
        let unknown = others.filter(|event| plan.emitter(event).is_none());
        problems.extend(
            unknown.map(|event| Problem::NotEmitted { event: event.clone(), by: part.who() }),
        );
    }
}

/// Checks that reactions wait for successes, and undos for failures and other undos.
pub(super) fn directions(plan: &Plan, problems: &mut Vec<Problem>) {
    for part in plan.parts() {
        for event in part.on {
            match plan.emitter(event) {
                Some((origin, Role::Failure | Role::Undone)) => {
                    let (event, by, origin) = (event.clone(), part.who(), origin.who());
                    problems.push(Problem::ForwardOnFailure { event, by, origin });
                }
                Some((_, Role::Success)) | None => {}
            }
        }
        for event in part.never_after {
            match plan.emitter(event) {
                Some((_, Role::Failure | Role::Undone)) => {}
                Some((_, Role::Success)) | None => {
                    problems.push(Problem::NeverAfter { event: event.clone(), by: part.who() });
                }
            }
        }
        for event in part.undone_on() {
            match plan.emitter(event) {
                Some((origin, Role::Success)) => {
                    let (event, by, origin) = (event.clone(), part.who(), origin.who());
                    problems.push(Problem::UndoneOnSuccess { event, by, origin });
                }
                Some((origin, Role::Failure)) if origin.name == part.name => {
                    problems.push(Problem::OwnFailure { event: event.clone(), by: part.who() });
                }
                Some((_, Role::Failure | Role::Undone)) | None => {}
            }
        }
        if let Some(undo) = part.undo.filter(|_| part.pivot) {
            problems.push(Problem::PivotUndone { pivot: part.who(), event: undo.emits.clone() });
        }
    }
}

/// Checks that only the deadline emits its event, and only the pivot answers it.
pub(super) fn overdue(plan: &Plan, problems: &mut Vec<Problem>) {
    let Some(event) = &plan.overdue else { return };
    let pivot = plan.pivot();
    for part in plan.parts() {
        if part.role(event).is_some() {
            problems.push(Problem::OverdueEmitted { event: event.clone(), by: part.who() });
        }
        if [part.on, part.undone_on(), part.never_after].iter().any(|heard| heard.contains(event)) {
            let pivot = pivot.map(|pivot| pivot.who());
            problems.push(Problem::OverdueHeard { event: event.clone(), by: part.who(), pivot });
        }
    }
    let Some(pivot) = pivot else {
        let start = plan.begins.part().who();
        return problems.push(Problem::OverdueWithoutPivot { event: event.clone(), start });
    };
    if plan.deadline_ms.is_none() {
        problems.push(Problem::OverdueWithoutDeadline { event: event.clone(), pivot: pivot.who() });
    }
    for (answers, lacks) in [(pivot.emits, "success"), (pivot.fails, "failure")] {
        if answers.is_empty() {
            problems.push(Problem::OverdueUnanswered {
                event: event.clone(),
                pivot: pivot.who(),
                lacks,
            });
        }
    }
}

/// Checks that no event is its own ancestor. Its part would wait indefinitely or run endlessly.
pub(super) fn cycle(plan: &Plan, problems: &mut Vec<Problem>) {
    let causes: Vec<(&Name, &[Name])> = plan
        .parts()
        .flat_map(|part| {
            part.events().map(move |(event, role)| match role {
                Role::Success | Role::Failure => (event, part.on),
                Role::Undone => (event, part.undone_on()),
            })
        })
        .collect();
    let mut settled = vec![false; causes.len()];
    let waits_for = |settled: &[bool], event: usize| {
        (0..causes.len())
            .find(|cause| !settled[*cause] && causes[event].1.contains(causes[*cause].0))
    };
    while let Some(next) =
        (0..causes.len()).find(|event| !settled[*event] && waits_for(&settled, *event).is_none())
    {
        settled[next] = true;
    }
    let Some(first) = (0..causes.len()).find(|event| !settled[*event]) else { return };
    let mut walked = vec![first];
    while let Some(earlier) = waits_for(&settled, walked[walked.len() - 1]) {
        if let Some(start) = walked.iter().position(|event| *event == earlier) {
            let events =
                walked[start..].iter().rev().map(|event| causes[*event].0.clone()).collect();
            return problems.push(Problem::Cycle { events });
        }
        walked.push(earlier);
    }
}

/// Checks that before the pivot every success is awaited, and after it no part has an undo.
pub(super) fn pivot(wiring: &Wiring, problems: &mut Vec<Problem>) {
    let Some(pivot) = wiring.pivot else { return };
    let heard = wiring.on.iter().copied().fold(EventSet::EMPTY, EventSet::union);
    for (index, part) in wiring.parts.iter().enumerate() {
        let (by, pivot_part) = (|| part.who(), || wiring.parts[pivot].who());
        if wiring.is_after_pivot(index) {
            let undo = part.undo.map(|undo| undo.emits.clone());
            problems.extend(undo.map(|event| Problem::UndoneAfterPivot {
                event,
                by: by(),
                pivot: pivot_part(),
            }));
        } else if index != pivot {
            let unheard =
                wiring.emitted(index, Role::Success).filter(|event| !heard.contains(*event));
            let named = unheard.map(|event| wiring.events[event].name.clone());
            problems.extend(named.map(|event| Problem::Unheard {
                event,
                by: by(),
                pivot: pivot_part(),
            }));
        }
    }
}
