//! A plan with numbered parts and events, and the sets derived from it.

use crate::id::Name;
use crate::plan::{Part, Plan, Role};
use crate::step_set::StepSet;

/// A set of events of a plan, by number.
pub(super) type EventSet = StepSet;

/// The sets of a plan in which every event has one emitter and no event causes itself.
pub(super) struct Wiring<'a> {
    pub(super) parts: Vec<Part<'a>>,
    pub(super) events: Vec<Event<'a>>,
    /// Per part: the events that must all have arrived.
    pub(super) on: Vec<EventSet>,
    /// Per part: the events of which any one triggers its undo.
    pub(super) undone_on: Vec<EventSet>,
    /// Per part: all parts that must be done before it.
    pub(super) ancestors: Vec<StepSet>,
    pub(super) pivot: Option<usize>,
    pub(super) overdue: Option<&'a Name>,
}

/// An event and the part that emits it.
pub(super) struct Event<'a> {
    pub(super) name: &'a Name,
    pub(super) part: usize,
    pub(super) role: Role,
}

impl<'a> Wiring<'a> {
    pub(super) fn of(plan: &'a Plan) -> Wiring<'a> {
        let parts: Vec<Part<'a>> = plan.parts().collect();
        let events: Vec<Event<'a>> = parts
            .iter()
            .enumerate()
            .flat_map(|(part, of)| of.events().map(move |(name, role)| Event { name, part, role }))
            .collect();
        let number = |name: &Name| events.iter().position(|event| event.name == name);
        let numbers = |names: &[Name]| -> EventSet { names.iter().filter_map(number).collect() };
        let on: Vec<EventSet> = parts.iter().map(|part| numbers(part.on)).collect();
        let undone_on = parts.iter().map(|part| numbers(part.undone_on())).collect();
        let ancestors = ancestors(&on, &events);
        let pivot = parts.iter().position(|part| part.pivot);
        Wiring { parts, events, on, undone_on, ancestors, pivot, overdue: plan.overdue.as_ref() }
    }

    /// Returns the numbers of a part's events in this role.
    pub(super) fn emitted(&self, part: usize, role: Role) -> impl Iterator<Item = usize> {
        let events = self.events.iter().enumerate();
        events
            .filter(move |(_, event)| event.part == part && event.role == role)
            .map(|(number, _)| number)
    }

    /// Returns all events in this role.
    pub(super) fn with_role(&self, role: Role) -> EventSet {
        let events = self.events.iter().enumerate().filter(|(_, event)| event.role == role);
        events.map(|(number, _)| number).collect()
    }

    /// Returns whether the part comes after the pivot.
    pub(super) fn is_after_pivot(&self, part: usize) -> bool {
        self.pivot.is_some_and(|pivot| self.ancestors[part].contains(pivot))
    }
}

/// Iterates to a fixed point. It terminates because no part is its own ancestor.
fn ancestors(on: &[EventSet], events: &[Event]) -> Vec<StepSet> {
    let before = |on: &EventSet| on.iter().map(|event| events[event].part).collect();
    let mut ancestors: Vec<StepSet> = on.iter().map(before).collect();
    loop {
        let with_theirs = |known: &StepSet| {
            known.iter().map(|earlier| ancestors[earlier]).fold(*known, StepSet::union)
        };
        let further: Vec<StepSet> = ancestors.iter().map(with_theirs).collect();
        if further == ancestors {
            return ancestors;
        }
        ancestors = further;
    }
}
