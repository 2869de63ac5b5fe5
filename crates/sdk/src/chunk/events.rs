//! The events of reactions: each result is a stored event. After a fault the event itself is stored
//! and retried, because no orchestrator resends it.

use sagamore_core::message::{Event, Outcome};
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Direction, StepKey};
use sagamore_database::{Error, Tx};

use super::context::ChunkContext;
use super::inputs::{Inputs, entry};
use crate::answer::Answer;
use crate::emitted;
use crate::inbox;
use crate::text::cut;
use crate::work::{ReactionEnd, ReactionWork, Work, WorkItem};

impl ChunkContext<'_> {
    /// Attaches the events to the answers: a new event, which is stored, or the stored one. Stores
    /// an event whose handler failed for a retry. Takes at most four round trips.
    pub(super) async fn attach_events(
        &self,
        tx: &Tx,
        chunk: &[WorkItem],
        inputs: &[Inputs],
        answers: &mut [Option<Answer>],
    ) -> Result<(), Error> {
        let (mut faulted, mut repeated) = (Vec::new(), Vec::new());
        for ((item, inputs), answer) in chunk.iter().zip(inputs).zip(answers.iter_mut()) {
            let (Work::Reaction(reaction), Some(answer)) = (&item.work, answer) else { continue };
            let is_chain_ended = reaction.end == Some(ReactionEnd::ChainEnded);
            match &answer.outcome {
                Outcome::Fault(_) if answer.waits => {}
                Outcome::Done(_) | Outcome::Refused(_) if is_chain_ended => {}
                Outcome::Fault(why) => faulted.push((item, why.clone())),
                Outcome::Done(_) | Outcome::Refused(_) => {
                    if answer.fresh {
                        answer.event = self.event(&item.key, reaction, inputs, &answer.outcome);
                    } else if !planted(Bug::RepeatUntold) {
                        repeated.push(&item.key);
                    }
                }
            }
        }
        let mut before = emitted::stored_events(tx, &repeated).await?.into_iter();
        for (item, answer) in chunk.iter().zip(answers.iter_mut()) {
            let (Work::Reaction(reaction), Some(answer)) = (&item.work, answer) else { continue };
            if !answer.fresh
                && reaction.end != Some(ReactionEnd::ChainEnded)
                && !matches!(answer.outcome, Outcome::Fault(_))
            {
                match before.next() {
                    Some(Ok(event)) => answer.event = event,
                    // a newer program wrote it, or it is damaged: its cause waits in the inbox
                    Some(Err(error)) => {
                        let why = format!("cannot read the stored event of this reaction: {error}");
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
        self.attach_removals(tx, chunk, answers).await
    }

    /// Attaches the inbox entries to remove once the results are published. Until then they remain,
    /// because an entry may be the only record of an unpublished event. Its offset is committed,
    /// and this copy may belong to a process that lost the partition.
    async fn attach_removals(
        &self,
        tx: &Tx,
        chunk: &[WorkItem],
        answers: &mut [Option<Answer>],
    ) -> Result<(), Error> {
        let finals: Vec<(&WorkItem, &ReactionWork, &mut Answer)> = chunk
            .iter()
            .zip(answers)
            .filter_map(|(item, answer)| match (&item.work, answer) {
                (Work::Reaction(reaction), Some(answer)) if answer.is_final() => {
                    Some((item, reaction, answer))
                }
                _ => None,
            })
            .collect();
        let delivered = finals.iter().filter(|(_, reaction, _)| !reaction.from_inbox);
        let keys: Vec<&StepKey> = delivered.map(|(item, ..)| &item.key).collect();
        let mut stored = inbox::are_stored(tx, &keys).await?.into_iter();
        let mut early = Vec::new();
        for (item, reaction, answer) in finals {
            if reaction.from_inbox || stored.next().unwrap_or_default() {
                answer.removal = Some(Box::new(answer.removal_of(&item.key, reaction)));
            }
            let removal = answer.removal.as_deref().filter(|_| planted(Bug::InboxLeftEarly));
            early.extend(removal.cloned());
        }
        inbox::remove(tx, &early).await
    }

    /// Returns the event that reports the result of a reaction or an undo.
    fn event(
        &self,
        key: &StepKey,
        reaction: &ReactionWork,
        inputs: &Inputs,
        outcome: &Outcome,
    ) -> Option<Event> {
        let ReactionWork { event: cause, declared, .. } = reaction;
        let (first, id, hop, trace) = match inputs {
            Inputs::All { bodies, cause, hop, trace } if key.direction == Direction::Action => {
                (bodies.first()?, cause.clone(), *hop, trace.clone())
            }
            Inputs::All { .. } | Inputs::Missing { .. } | Inputs::Command => {
                (&cause.body, cause.id(), cause.hop, cause.trace.clone())
            }
        };
        let (name, body) = declared.event(key.direction, outcome, first)?;
        Some(Event {
            key: key.clone(),
            version: cause.version,
            name: name.parse().ok()?,
            causation: Some(id),
            hop: hop.saturating_add(1),
            at: self.now,
            body,
            trace,
        })
    }
}
