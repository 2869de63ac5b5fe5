//! The places of the problems of a plan.

use sagamore_core::Name;
use sagamore_core::plan::{Difference, Facet, Part, Plan, Problem, Who};

use super::name_in;
use crate::pointer::Pointer;

/// Returns the place of a problem in the plan that has it.
pub(crate) fn of(problem: &Problem, plan: &Plan) -> Pointer {
    let root = Pointer::root();
    match problem {
        Problem::Malformed(_) | Problem::NoStart | Problem::TwoStarts { .. } => root,
        Problem::NoVersion => root.key("version"),
        Problem::NoTime => root.key("deadlineMs"),
        Problem::NoReactions { .. } | Problem::TooLarge { .. } | Problem::TooManyStates { .. } => {
            root.key("reactions")
        }
        Problem::SchemaOfNoEvent { event } | Problem::SchemaIsNoObject { event } => schema(event),
        Problem::SchemaTooLarge { event, .. } => {
            event.as_ref().map_or_else(|| root.key("schemas"), schema)
        }
        Problem::SameName { second, .. } => last_part(plan, second).key("name"),
        Problem::TwoEmitters { event, second, .. } => last_emitted(plan, second, event),
        Problem::OverdueEmitted { event, by } | Problem::Unheard { event, by, .. } => {
            emitted(plan, by, event)
        }
        Problem::NotEmitted { event, by } | Problem::OverdueHeard { event, by, .. } => {
            heard(plan, by, event)
        }
        Problem::WaitsForNothing(by) => part(plan, by).key("on"),
        Problem::NeverTriggered { by, .. } | Problem::NotUndone { by, .. } => {
            part(plan, by).keys(&["undo", "on"])
        }
        Problem::Cycle { events } => cycle(plan, events),
        Problem::TwoPivots { second, .. } => last_part(plan, second).key("pivot"),
        Problem::PivotUndone { pivot: by, .. } | Problem::UndoneAfterPivot { by, .. } => {
            part(plan, by).key("undo")
        }
        Problem::OwnFailure { event, by } | Problem::UndoneOnSuccess { event, by, .. } => {
            undone_on(plan, by, event)
        }
        Problem::ForwardOnFailure { event, by, .. } => awaited(plan, by, event),
        Problem::NeverAfter { event, by } => never_after(plan, by, event),
        Problem::OverdueWithoutPivot { .. } | Problem::OverdueWithoutDeadline { .. } => {
            root.key("overdue")
        }
        Problem::OverdueUnanswered { pivot, .. } => part(plan, pivot),
        Problem::NoUndo { by, .. } => part(plan, by),
        Problem::FailsAfterPivot { failing, failure, .. }
        | Problem::FailsBesidePivot { failing, failure, .. } => emitted(plan, failing, failure),
        Problem::WaitsForEver { by, lacking, .. } => awaited(plan, by, lacking),
    }
}

/// Returns the place of an event's schema.
pub(crate) fn schema(event: &Name) -> Pointer {
    Pointer::root().keys(&["schemas", "events", event.as_str()])
}

/// Returns the place of a difference between the plan and a service.
pub(crate) fn of_difference(difference: &Difference, plan: &Plan) -> Pointer {
    match difference {
        Difference::Missing { reaction, .. } => part(plan, reaction),
        Difference::Unplanned { .. } => Pointer::root().key("reactions"),
        Difference::OfAnother { owner, .. } => part(plan, owner).key("service"),
        Difference::Twice { reaction, .. } => part(plan, reaction),
        Difference::NotThePivot { reaction, .. } => part(plan, reaction).key("pivot"),
        Difference::Other { reaction, facet, .. } => {
            let own = part(plan, reaction);
            match facet {
                Facet::On => own.key("on"),
                Facet::Emits if is_start(plan, reaction) => own.key("event"),
                Facet::Emits => own.key("emits"),
                Facet::Fails => own.key("fails"),
                Facet::UndoneOn => own.keys(&["undo", "on"]),
                Facet::UndoEmits => own.keys(&["undo", "emits"]),
                Facet::NeverAfter => own.key("neverAfter"),
                Facet::Overdue => Pointer::root().key("overdue"),
            }
        }
    }
}

/// Returns the place of the start or of a reaction.
pub(crate) fn part(plan: &Plan, who: &Who) -> Pointer {
    place(plan.parts().position(|part| is(&part, who)))
}

fn last_part(plan: &Plan, who: &Who) -> Pointer {
    let parts: Vec<Part> = plan.parts().collect();
    place(parts.iter().rposition(|part| is(part, who)))
}

/// Returns the place of a part by its number: 0 is the start.
fn place(index: Option<usize>) -> Pointer {
    let root = Pointer::root();
    match index {
        Some(0) => root.key("begins"),
        Some(index) => root.key("reactions").item(index - 1),
        None => root.key("reactions"),
    }
}

fn is(part: &Part, who: &Who) -> bool {
    *part.name == who.name && *part.service == who.service
}

fn is_start(plan: &Plan, who: &Who) -> bool {
    plan.parts().next().is_some_and(|start| is(&start, who))
}

fn find<'a>(plan: &'a Plan, who: &Who) -> Option<Part<'a>> {
    plan.parts().find(|part| is(part, who))
}

/// Returns where a part declares that it emits an event.
fn emitted(plan: &Plan, who: &Who, event: &Name) -> Pointer {
    let found = find(plan, who).and_then(|found| emits(&found, event, part(plan, who), plan));
    found.unwrap_or_else(|| part(plan, who))
}

/// Returns the last place at which an event is emitted by a part of this name and service.
fn last_emitted(plan: &Plan, who: &Who, event: &Name) -> Pointer {
    let parts: Vec<Part> = plan.parts().collect();
    let last = parts.iter().enumerate().rev().find_map(|(index, found)| {
        is(found, who).then(|| emits(found, event, place(Some(index)), plan)).flatten()
    });
    last.unwrap_or_else(|| part(plan, who))
}

/// Returns the last place in a part that names an event as emitted.
fn emits(part: &Part, event: &Name, own: Pointer, plan: &Plan) -> Option<Pointer> {
    if part.undo.is_some_and(|undo| undo.emits == *event) {
        return Some(own.keys(&["undo", "emits"]));
    }
    if *part.name == plan.begins.name && plan.begins.event == *event && part.on.is_empty() {
        return Some(own.key("event"));
    }
    let last = |names: &[Name]| names.iter().rposition(|name| name == event);
    let failure = last(part.fails).map(|index| own.key("fails").item(index));
    failure.or_else(|| last(part.emits).map(|index| own.key("emits").item(index)))
}

/// Returns where a part reacts to an event in any way.
fn heard(plan: &Plan, who: &Who, event: &Name) -> Pointer {
    match find(plan, who) {
        Some(found) if found.on.contains(event) => awaited(plan, who, event),
        Some(found) if found.undone_on().contains(event) => undone_on(plan, who, event),
        Some(_) | None => never_after(plan, who, event),
    }
}

fn awaited(plan: &Plan, who: &Who, event: &Name) -> Pointer {
    let names = find(plan, who).map(|found| found.on).unwrap_or_default();
    name_in(part(plan, who).key("on"), names, event)
}

fn undone_on(plan: &Plan, who: &Who, event: &Name) -> Pointer {
    let names = find(plan, who).map(|found| found.undone_on().to_vec()).unwrap_or_default();
    name_in(part(plan, who).keys(&["undo", "on"]), &names, event)
}

fn never_after(plan: &Plan, who: &Who, event: &Name) -> Pointer {
    let names = find(plan, who).map(|found| found.never_after).unwrap_or_default();
    name_in(part(plan, who).key("neverAfter"), names, event)
}

/// Returns where the first event of a cycle is emitted.
fn cycle(plan: &Plan, events: &[Name]) -> Pointer {
    let first = events.first().and_then(|event| Some((event, plan.emitter(event)?.0)));
    match first {
        Some((event, emitter)) => {
            let who = Who { name: emitter.name.clone(), service: emitter.service.clone() };
            emitted(plan, &who, event)
        }
        None => Pointer::root().key("reactions"),
    }
}
