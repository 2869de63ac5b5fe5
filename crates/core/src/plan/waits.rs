//! From whom events of a chain are to come, by what was seen of it.

use crate::id::Name;
use crate::plan::{Chain, Part, Plan};
use crate::time::Timestamp;

/// Somebody from whom an event is to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The service that is waited for.
    pub service: Name,
    /// What it is to do, or to undo.
    pub reaction: Name,
    /// One of these is to come.
    pub events: Vec<Name>,
    /// From when on it could have come.
    pub since: Timestamp,
}

impl Chain {
    /// From whom events are to come: of a chain that goes back those that owe an undo, else those that can go on; and
    /// in either case those whose event must have been there, because something followed from it.
    pub fn waits_for(&self) -> Vec<Wait> {
        let mut waits = if self.goes_back() { self.owed() } else { self.ready() };
        for missing in self.missing() {
            if !is_awaited(&waits, &missing.events[0]) {
                waits.push(missing);
            }
        }
        waits
    }

    /// The undos that were triggered, by what was seen or by another undo that is owed, and were not seen.
    pub fn owed(&self) -> Vec<Wait> {
        let mut owed: Vec<Wait> = Vec::new();
        loop {
            let next = self.parts().find_map(|part| {
                let event = &part.undo?.emits;
                let open = self.seen_at(event).is_none() && !is_awaited(&owed, event);
                let promised = |event: &Name| owed.iter().find(|wait| wait.events.contains(event));
                let triggered = |event| self.seen_at(event).or_else(|| promised(event).map(|wait| wait.since));
                let since = part.undone_on().iter().filter_map(triggered).min().filter(|_| open)?;
                Some(Wait::of(&part, vec![event.clone()], since))
            });
            match next {
                Some(wait) => owed.push(wait),
                None => return owed,
            }
        }
    }

    /// The parts that can act, by what was seen, and have not said that they did. Who says nothing is not waited for.
    fn ready(&self) -> Vec<Wait> {
        let start = self.seen().iter().map(|seen| seen.seen_at).min();
        let answers = |part: &Part| part.emits.iter().chain(part.fails).cloned().collect::<Vec<Name>>();
        let silent = |part: &Part| answers(part).iter().all(|event| self.seen_at(event).is_none());
        let waiting = self.parts().filter(|part| !part.emits.is_empty() && silent(part));
        let ready = waiting.filter_map(|part| {
            let there: Option<Vec<Timestamp>> = part.on.iter().map(|event| self.seen_at(event)).collect();
            Some(Wait::of(&part, answers(&part), there?.into_iter().max().or(start)?))
        });
        ready.collect()
    }

    /// The events that must have been there, because something was seen that follows from them. Where one of several
    /// must have been there, all are listed.
    pub(super) fn missing(&self) -> Vec<Wait> {
        let mut missing: Vec<Wait> = Vec::new();
        for part in self.parts() {
            // The deadline alone leads to the pivot's failure, whatever else is there.
            let fails =
                if part.pivot && self.plan().is_some_and(|plan| plan.overdue.is_some()) { &[] } else { part.fails };
            let acted_at = part.emits.iter().chain(fails).filter_map(|event| self.seen_at(event)).min();
            let unseen = part.on.iter().filter(|event| self.seen_at(event).is_none());
            missing.extend(unseen.filter_map(|event| self.expected(event, acted_at?)));

            let undone_at = part.undo.and_then(|undo| self.seen_at(&undo.emits));
            if part.undone_on().iter().all(|event| self.seen_at(event).is_none()) {
                missing.extend(part.undone_on().iter().filter_map(|event| self.expected(event, undone_at?)));
            }
        }
        missing.sort_by(|first, second| (&first.events, first.since).cmp(&(&second.events, second.since)));
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
