//! The events that a chain still waits for, by its observed events.

use crate::id::Name;
use crate::plan::{Chain, Part, Plan};
use crate::time::Timestamp;

/// A service that must still emit an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the name says it")]
pub struct Wait {
    pub service: Name,
    /// The reaction to execute or undo.
    pub reaction: Name,
    /// The expected events, of which the service emits one.
    pub events: Vec<Name>,
    /// The earliest time at which the event could have been emitted.
    pub since: Timestamp,
}

impl Chain {
    /// Returns the services that must still emit an event. While the chain compensates, these owe
    /// an undo; otherwise they can act next.
    ///
    /// In both cases the list includes emitters of events that were lost: a later event shows that
    /// they were emitted.
    pub fn waits_for(&self) -> Vec<Wait> {
        let mut waits = if self.compensates() { self.owed() } else { self.ready() };
        for missing in self.missing() {
            if !is_awaited(&waits, &missing.events[0]) {
                waits.push(missing);
            }
        }
        waits
    }

    /// Returns the undos that were triggered and not observed. An observed event or another owed
    /// undo triggers one.
    pub fn owed(&self) -> Vec<Wait> {
        let mut owed: Vec<Wait> = Vec::new();
        loop {
            let next = self.parts().find_map(|part| {
                let event = &part.undo?.emits;
                let open = self.seen_at(event).is_none() && !is_awaited(&owed, event);
                let promised = |event: &Name| owed.iter().find(|wait| wait.events.contains(event));
                let triggered =
                    |event| self.seen_at(event).or_else(|| promised(event).map(|wait| wait.since));
                let since = part.undone_on().iter().filter_map(triggered).min().filter(|_| open)?;
                Some(Wait::of(&part, vec![event.clone()], since))
            });
            match next {
                Some(wait) => owed.push(wait),
                None => return owed,
            }
        }
    }

    /// Returns the parts that can act and have not emitted a result. Parts that emit nothing are
    /// not awaited.
    fn ready(&self) -> Vec<Wait> {
        let start = self.seen().iter().map(|seen| seen.seen_at).min();
        let answers =
            |part: &Part| part.emits.iter().chain(part.fails).cloned().collect::<Vec<Name>>();
        let silent = |part: &Part| answers(part).iter().all(|event| self.seen_at(event).is_none());
        let waiting = self.parts().filter(|part| !part.emits.is_empty() && silent(part));
        let ready = waiting.filter_map(|part| {
            let there: Option<Vec<Timestamp>> =
                part.on.iter().map(|event| self.seen_at(event)).collect();
            Some(Wait::of(&part, answers(&part), there?.into_iter().max().or(start)?))
        });
        ready.collect()
    }

    /// Returns the events that must have been emitted, because an observed event follows from them.
    /// If one of several events must have been emitted, all are listed.
    pub(super) fn missing(&self) -> Vec<Wait> {
        let mut missing: Vec<Wait> = Vec::new();
        for part in self.parts() {
            // The deadline causes the pivot's failure without any other event.
            let fails = if part.pivot && self.plan().is_some_and(|plan| plan.overdue.is_some()) {
                &[]
            } else {
                part.fails
            };
            let acted_at =
                part.emits.iter().chain(fails).filter_map(|event| self.seen_at(event)).min();
            let unseen = part.on.iter().filter(|event| self.seen_at(event).is_none());
            missing.extend(unseen.filter_map(|event| self.expected(event, acted_at?)));

            let undone_at = part.undo.and_then(|undo| self.seen_at(&undo.emits));
            if part.undone_on().iter().all(|event| self.seen_at(event).is_none()) {
                missing.extend(
                    part.undone_on().iter().filter_map(|event| self.expected(event, undone_at?)),
                );
            }
        }
        missing.sort_by(|first, second| {
            (&first.events, first.since).cmp(&(&second.events, second.since))
        });
        missing.dedup_by(|later, first| later.events == first.events);
        missing
    }

    fn expected(&self, event: &Name, since: Timestamp) -> Option<Wait> {
        let (origin, _) = self.plan().and_then(|plan: &Plan| plan.emitter(event))?;
        Some(Wait::of(&origin, vec![event.clone()], since))
    }
}

impl Wait {
    fn of(part: &Part, events: Vec<Name>, since: Timestamp) -> Wait {
        Wait { service: part.service.clone(), reaction: part.name.clone(), events, since }
    }
}

fn is_awaited(waits: &[Wait], event: &Name) -> bool {
    waits.iter().any(|wait| wait.events.contains(event))
}
