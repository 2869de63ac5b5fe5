//! What is different where events were reacted to: all inputs have to be there, and what came of it is told by an event that
//! is kept. A fault is nobody's to ask about again: the event itself is kept, and comes again.

use std::time::Duration;

use sagamore_core::message::{Event, Outcome};
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Body, Direction, StepKey, Timestamp, TraceContext};
use sagamore_database::{Error, Tx};

use super::{Answer, Room};
use crate::barrier::{Known, Verdict};
use crate::emitted;
use crate::guard::cut;
use crate::handler::{Running, Unreadable};
use crate::inbox::{self, Kept};
use crate::intake::{Asked, By};
use crate::keys::CommandKeys;
use crate::reaction::{Declared, EventType};

/// What a reaction needs to begin.
pub(crate) enum Inputs {
    /// A command has all with it.
    Command,
    /// Every event's body, in the order declared. The one to which the most events had led counts as the cause, and its
    /// trace goes on.
    All { bodies: Vec<Body>, cause: String, hop: u32, trace: Option<TraceContext> },
    /// These have not come, and the others have waited since then.
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

/// What an event is to a reaction that it neither leads to nor undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// The deadline's: unless it has acted it is given up, and either way what came of it is told.
    Overdue,
    /// The chain has ended: unless it has acted it never will, and nobody is told.
    Ended,
}

impl Room<'_> {
    /// Looks for the other events of those reactions that need several: two round trips, if there are such.
    pub(super) async fn inputs(&self, tx: &Tx, chunk: &[Asked], known: &[Known]) -> Result<Vec<Inputs>, Error> {
        let joins = |(asked, known): &(&Asked, &Known)| {
            let needs = self.declared(asked).is_some_and(|reaction| reaction.inputs.len() > 1);
            let acts = asked.key.direction == Direction::Action && self.last(asked).is_none();
            needs && acts && known.verdict(&asked.key) == Verdict::Act
        };
        let joining: Vec<&Asked> = chunk.iter().zip(known).filter(joins).map(|(asked, _)| asked).collect();
        let kept: Vec<Kept<'_>> = joining.iter().filter_map(|asked| kept(asked, inbox::FOR_ANOTHER, None)).collect();
        inbox::keep(tx, &kept, self.now).await?;
        let keys: Vec<&StepKey> = joining.iter().map(|asked| &asked.key).collect();
        let waiting = inbox::waiting(tx, &keys).await?;
        let mut joined = joining.iter().map(|asked| &asked.key).zip(&waiting).peekable();
        let inputs = chunk.iter().map(|asked| {
            let By::Event(event) = &asked.by else { return Inputs::Command };
            let Some((_, there)) = joined.next_if(|(key, _)| **key == asked.key) else {
                return Inputs::of(&[event]);
            };
            let wanted = self.declared(asked).map(|reaction| reaction.inputs.as_slice()).unwrap_or_default();
            let of = |name: &str| there.iter().map(|(event, _)| event).find(|event| event.name.as_str() == name);
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

    /// The handler of a reaction, or of its undo, not yet begun.
    pub(super) fn react(
        &self,
        asked: &Asked,
        tx: Tx,
        inputs: &Inputs,
        told: Option<&Body>,
        keys: &mut CommandKeys<'_>,
    ) -> Result<Running, Unreadable> {
        let unknown = || format!("service '{}' has no reaction '{}'", self.service.name(), asked.key.step);
        let Some(declared) = self.declared(asked) else { return Err(Unreadable::Output(unknown())) };
        match (told, inputs, &declared.react, &declared.undo) {
            (Some(told), _, _, Some(undo)) => (undo.run)(tx, told, keys),
            (None, Inputs::All { bodies, .. }, Some(react), _) => react(tx, bodies, keys),
            (Some(_), _, _, None) | (None, _, _, _) => Err(Unreadable::Output(unknown())),
        }
    }

    /// Gives each answer its event: a new one, which is kept, or the one that was kept. Keeps what met a fault for another
    /// time. Four round trips at most.
    pub(super) async fn tell(
        &self,
        tx: &Tx,
        chunk: &[Asked],
        inputs: &[Inputs],
        answers: &mut [Option<Answer>],
    ) -> Result<(), Error> {
        let (mut faulted, mut over, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        for ((asked, inputs), answer) in chunk.iter().zip(inputs).zip(answers.iter_mut()) {
            let (By::Event(cause), Some(answer)) = (&asked.by, answer) else { continue };
            // What came out of the inbox stays there until what it led to is published: it would not come again.
            // Nor does the end of its chain tell what it led to: it lets go only what has led to nothing.
            let tells = answer.fresh || self.last(asked) != Some(Last::Ended);
            if answer.is_final() && tells && (asked.place < self.polled || planted(Bug::InboxLeftEarly)) {
                over.push(answer.over(asked));
            }
            match &answer.outcome {
                Outcome::Fault(_) if answer.waits => {}
                Outcome::Done(_) | Outcome::Refused(_) if self.last(asked) == Some(Last::Ended) => {}
                Outcome::Fault(why) => faulted.push((asked, why.clone())),
                Outcome::Done(_) | Outcome::Refused(_) => {
                    if answer.fresh {
                        answer.event = self.event(asked, cause, inputs, &answer.outcome);
                    } else if !planted(Bug::RepeatUntold) {
                        repeated.push(&asked.key);
                    }
                }
            }
        }
        let mut before = emitted::told(tx, &repeated).await?.into_iter();
        for (asked, answer) in chunk.iter().zip(answers.iter_mut()) {
            let Some(answer) = answer else { continue };
            let is_repeated = matches!(asked.by, By::Event(_)) && !answer.fresh;
            if is_repeated && self.last(asked) != Some(Last::Ended) && !matches!(answer.outcome, Outcome::Fault(_)) {
                match before.next() {
                    Some(Ok(event)) => answer.event = event,
                    // a newer program wrote it, or it is damaged: what led to it waits
                    Some(Err(error)) => {
                        let why = format!("the event that it led to cannot be read: {error}");
                        over.retain(|over| over.key != asked.key);
                        answer.outcome = Outcome::Fault(cut(&why));
                        faulted.push((asked, why));
                    }
                    None => {}
                }
                answer.event.iter_mut().filter(|_| planted(Bug::EventToldAnew)).for_each(|event| event.at = self.now);
            }
        }
        let new: Vec<&Event> =
            answers.iter().flatten().filter(|answer| answer.fresh).filter_map(|answer| answer.event.as_ref()).collect();
        emitted::store(tx, &new).await?;
        let faulted = faulted.iter().filter_map(|(asked, why)| kept(asked, inbox::AFTER_FAULT, Some(why)));
        inbox::keep(tx, &faulted.collect::<Vec<_>>(), self.now).await?;
        inbox::remove(tx, &over).await
    }

    /// The event that tells what came of a reaction or an undo.
    fn event(&self, asked: &Asked, cause: &Event, inputs: &Inputs, outcome: &Outcome) -> Option<Event> {
        let (first, id, hop, trace) = match inputs {
            Inputs::All { bodies, cause, hop, trace } if asked.key.direction == Direction::Action => {
                (bodies.first()?, cause.clone(), *hop, trace.clone())
            }
            Inputs::All { .. } | Inputs::Missing { .. } | Inputs::Command => {
                (&cause.body, cause.id(), cause.hop, cause.trace.clone())
            }
        };
        let (name, body) = self.declared(asked)?.event(asked.key.direction, outcome, first)?;
        Some(Event {
            key: asked.key.clone(),
            version: cause.version,
            name: name.parse().ok()?,
            causation: Some(id),
            hop: hop.saturating_add(1),
            at: self.now,
            body,
            trace,
        })
    }

    /// Whether this event is the last that the reaction hears of.
    pub(super) fn last(&self, asked: &Asked) -> Option<Last> {
        let (By::Event(event), Direction::Action) = (&asked.by, asked.key.direction) else { return None };
        let reaction = self.declared(asked)?;
        let is_told = |told: &EventType| told.name == event.name.as_str();
        match reaction.overdue.as_ref().is_some_and(is_told) {
            true => Some(Last::Overdue),
            false => reaction.never_after.iter().any(is_told).then_some(Last::Ended),
        }
    }

    fn declared(&self, asked: &Asked) -> Option<&Declared> {
        match asked.by {
            By::Event(_) => self.service.declared(&asked.key.step),
            By::Command(_) => None,
        }
    }
}

fn kept<'a>(asked: &'a Asked, pause: Duration, why: Option<&'a str>) -> Option<Kept<'a>> {
    match &asked.by {
        By::Event(event) => Some(Kept { key: &asked.key, event, pause, why }),
        By::Command(_) => None,
    }
}
