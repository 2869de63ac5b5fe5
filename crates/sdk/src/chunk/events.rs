//! The handling of events: all inputs must have arrived, and the result is a stored event. After a
//! fault the event itself is stored and retried, because no orchestrator resends it.

use std::time::Duration;

use sagamore_core::message::{Event, Outcome};
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Body, Direction, StepKey, Timestamp, TraceContext};
use sagamore_database::{Error, Tx};

use super::{Answer, ChunkContext};
use crate::barrier::{StepHistory, Verdict};
use crate::emitted;
use crate::guard::cut;
use crate::handler::{Running, Unreadable};
use crate::inbox::{self, InboxEntry};
use crate::intake::{By, WorkItem};
use crate::keys::CommandKeys;
use crate::reaction::{Declared, EventType};

/// The inputs of a handler.
pub(crate) enum Inputs {
    /// A command, which carries all its inputs.
    Command,
    /// The body of every awaited event, in declared order. The event with the highest hop counts as
    /// the cause, and its trace continues.
    All { bodies: Vec<Body>, cause: String, hop: u32, trace: Option<TraceContext> },
    /// Some events are missing. The others have waited since this time.
    Missing { names: Vec<&'static str>, since: Timestamp },
}

impl Inputs {
    fn of(events: &[&Event]) -> Inputs {
        let bodies = events.iter().map(|event| event.body.clone()).collect();
        let last = events.iter().max_by_key(|event| (event.hop, event.id()));
        let (hop, cause) = last.map(|event| (event.hop, event.id())).unwrap_or_default();
        let mut traces = last.into_iter().chain(events).filter_map(|event| event.trace.clone());
        Inputs::All { bodies, cause, hop, trace: traces.next() }
    }
}

/// An event that neither triggers nor undoes the reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// The deadline's event: a reaction that has not acted is given up. The result is emitted in
    /// both cases.
    Overdue,
    /// The end of the chain: a reaction that has not acted never runs. No event is emitted.
    Ended,
}

impl ChunkContext<'_> {
    /// Reads the other events of reactions that need several, in two round trips if there are any.
    pub(super) async fn inputs(
        &self,
        tx: &Tx,
        chunk: &[WorkItem],
        known: &[StepHistory],
    ) -> Result<Vec<Inputs>, Error> {
        let joins = |(item, known): &(&WorkItem, &StepHistory)| {
            let needs = self.declared(item).is_some_and(|reaction| reaction.inputs.len() > 1);
            let acts = item.key.direction == Direction::Action && self.last(item).is_none();
            needs && acts && known.verdict(&item.key) == Verdict::Act
        };
        let joining: Vec<&WorkItem> =
            chunk.iter().zip(known).filter(joins).map(|(item, _)| item).collect();
        let entries: Vec<InboxEntry<'_>> =
            joining.iter().filter_map(|item| entry(item, inbox::FOR_ANOTHER, None)).collect();
        inbox::store(tx, &entries, self.now).await?;
        let keys: Vec<&StepKey> = joining.iter().map(|item| &item.key).collect();
        let waiting = inbox::waiting(tx, &keys).await?;
        let mut joined = joining.iter().map(|item| &item.key).zip(&waiting).peekable();
        let inputs = chunk.iter().map(|item| {
            let By::Event(event) = &item.by else { return Inputs::Command };
            let Some((_, there)) = joined.next_if(|(key, _)| **key == item.key) else {
                return Inputs::of(&[event]);
            };
            let wanted =
                self.declared(item).map(|reaction| reaction.inputs.as_slice()).unwrap_or_default();
            let of = |name: &str| {
                there.iter().map(|(event, _)| event).find(|event| event.name.as_str() == name)
            };
            let missing: Vec<&'static str> =
                wanted.iter().map(|input| input.name).filter(|name| of(name).is_none()).collect();
            if !missing.is_empty() {
                let since = there.iter().map(|(_, since)| *since).min().unwrap_or(self.now);
                return Inputs::Missing { names: missing, since };
            }
            let events: Vec<&Event> = wanted.iter().filter_map(|input| of(input.name)).collect();
            Inputs::of(&events)
        });
        Ok(inputs.collect())
    }

    /// Returns the handler of a reaction or its undo, not yet polled.
    pub(super) fn react(
        &self,
        item: &WorkItem,
        tx: Tx,
        inputs: &Inputs,
        told: Option<&Body>,
        keys: &mut CommandKeys<'_>,
    ) -> Result<Running, Unreadable> {
        let unknown =
            || format!("service '{}' has no reaction '{}'", self.service.name(), item.key.step);
        let Some(declared) = self.declared(item) else {
            return Err(Unreadable::Output(unknown()));
        };
        match (told, inputs, &declared.react, &declared.undo) {
            (Some(told), _, _, Some(undo)) => (undo.run)(tx, told, keys),
            (None, Inputs::All { bodies, .. }, Some(react), _) => react(tx, bodies, keys),
            (Some(_), _, _, None) | (None, _, _, _) => Err(Unreadable::Output(unknown())),
        }
    }

    /// Attaches the events to the answers: a new one, which is stored, or the stored one. Stores
    /// events that met a fault for a retry. Takes at most four round trips.
    pub(super) async fn attach_events(
        &self,
        tx: &Tx,
        chunk: &[WorkItem],
        inputs: &[Inputs],
        answers: &mut [Option<Answer>],
    ) -> Result<(), Error> {
        let (mut faulted, mut removals, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        for ((item, inputs), answer) in chunk.iter().zip(inputs).zip(answers.iter_mut()) {
            let (By::Event(cause), Some(answer)) = (&item.by, answer) else { continue };
            // An event from the inbox stays there until its result is published, so that a crash
            // repeats it. The end of a chain emits nothing, so it only removes entries without a
            // result.
            let tells = answer.fresh || self.last(item) != Some(Last::Ended);
            if answer.is_final()
                && tells
                && (item.place < self.polled || planted(Bug::InboxLeftEarly))
            {
                removals.push(answer.removal(item));
            }
            match &answer.outcome {
                Outcome::Fault(_) if answer.waits => {}
                Outcome::Done(_) | Outcome::Refused(_) if self.last(item) == Some(Last::Ended) => {}
                Outcome::Fault(why) => faulted.push((item, why.clone())),
                Outcome::Done(_) | Outcome::Refused(_) => {
                    if answer.fresh {
                        answer.event = self.event(item, cause, inputs, &answer.outcome);
                    } else if !planted(Bug::RepeatUntold) {
                        repeated.push(&item.key);
                    }
                }
            }
        }
        let mut before = emitted::stored_events(tx, &repeated).await?.into_iter();
        for (item, answer) in chunk.iter().zip(answers.iter_mut()) {
            let Some(answer) = answer else { continue };
            let is_repeated = matches!(item.by, By::Event(_)) && !answer.fresh;
            if is_repeated
                && self.last(item) != Some(Last::Ended)
                && !matches!(answer.outcome, Outcome::Fault(_))
            {
                match before.next() {
                    Some(Ok(event)) => answer.event = event,
                    // a newer program wrote it, or it is damaged: its cause waits in the inbox
                    Some(Err(error)) => {
                        let why = format!("cannot read the stored event of this reaction: {error}");
                        removals.retain(|removal| removal.key != item.key);
                        answer.outcome = Outcome::Fault(cut(&why));
                        faulted.push((item, why));
                    }
                    None => {}
                }
                answer
                    .event
                    .iter_mut()
                    .filter(|_| planted(Bug::EventToldAnew))
                    .for_each(|event| event.at = self.now);
            }
        }
        let new: Vec<&Event> = answers
            .iter()
            .flatten()
            .filter(|answer| answer.fresh)
            .filter_map(|answer| answer.event.as_ref())
            .collect();
        emitted::store(tx, &new).await?;
        let faulted =
            faulted.iter().filter_map(|(item, why)| entry(item, inbox::AFTER_FAULT, Some(why)));
        inbox::store(tx, &faulted.collect::<Vec<_>>(), self.now).await?;
        inbox::remove(tx, &removals).await
    }

    /// Returns the event that reports the result of a reaction or an undo.
    fn event(
        &self,
        item: &WorkItem,
        cause: &Event,
        inputs: &Inputs,
        outcome: &Outcome,
    ) -> Option<Event> {
        let (first, id, hop, trace) = match inputs {
            Inputs::All { bodies, cause, hop, trace }
                if item.key.direction == Direction::Action =>
            {
                (bodies.first()?, cause.clone(), *hop, trace.clone())
            }
            Inputs::All { .. } | Inputs::Missing { .. } | Inputs::Command => {
                (&cause.body, cause.id(), cause.hop, cause.trace.clone())
            }
        };
        let (name, body) = self.declared(item)?.event(item.key.direction, outcome, first)?;
        Some(Event {
            key: item.key.clone(),
            version: cause.version,
            name: name.parse().ok()?,
            causation: Some(id),
            hop: hop.saturating_add(1),
            at: self.now,
            body,
            trace,
        })
    }

    /// Returns whether this event ends the reaction.
    pub(super) fn last(&self, item: &WorkItem) -> Option<Last> {
        let (By::Event(event), Direction::Action) = (&item.by, item.key.direction) else {
            return None;
        };
        let reaction = self.declared(item)?;
        let is_told = |told: &EventType| told.name == event.name.as_str();
        match reaction.overdue.as_ref().is_some_and(is_told) {
            true => Some(Last::Overdue),
            false => reaction.never_after.iter().any(is_told).then_some(Last::Ended),
        }
    }

    fn declared(&self, item: &WorkItem) -> Option<&Declared> {
        match item.by {
            By::Event(_) => self.service.declared(&item.key.step),
            By::Command(_) => None,
        }
    }
}

fn entry<'a>(item: &'a WorkItem, pause: Duration, why: Option<&'a str>) -> Option<InboxEntry<'a>> {
    match &item.by {
        By::Event(event) => Some(InboxEntry { key: &item.key, event, pause, why }),
        By::Command(_) => None,
    }
}
