//! The messages that definitions, plans and sagas send, and the comparison with what processes
//! announce. Pure.

use std::sync::Arc;

use sagamore_core::announcement::{HandledMessage, MessageKind, schema_hash};
use sagamore_core::saga::StepStatus;
use sagamore_core::{Definition, Name, Plan, Saga, Timestamp};
use sagamore_transport::wire::{command_topic, event_topic};

use super::rows::AnnouncedProcess;
use super::warning::Warning;

/// A message that a participant must handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMessage {
    /// The participant that receives the message.
    pub participant: Name,
    /// The name of the command or event.
    pub message: Name,
    /// The kind of the message.
    pub kind: MessageKind,
    /// The hash of the message's schema, if the definition or plan has one.
    pub schema: Option<String>,
}

impl SentMessage {
    /// Returns the commands of a definition, each once.
    pub fn of_definition(definition: &Definition) -> Vec<SentMessage> {
        let mut sent = Vec::new();
        for step in &definition.steps {
            let kinds = [
                (Some(&step.action), MessageKind::Action),
                (step.compensation.as_ref(), MessageKind::Compensation),
            ];
            for (command, kind) in kinds {
                let command = command.map(|command| (&command.participant, &command.message));
                sent.extend(command.map(|command| SentMessage::command(definition, command, kind)));
            }
            let participant = &step.action.participant;
            sent.extend(query(definition, participant));
        }
        once(sent)
    }

    /// Returns the events that the services of a plan react to, each once per service.
    pub fn of_plan(plan: &Plan) -> Vec<SentMessage> {
        let of_part = plan.parts().flat_map(|part| {
            let undo = part.undo.iter().flat_map(|undo| &undo.on);
            let events = part.on.iter().chain(part.never_after).chain(undo);
            events.map(move |event| (part.service, event)).collect::<Vec<_>>()
        });
        let pivot = plan.parts().find(|part| part.pivot).map(|part| part.service);
        let overdue = pivot.zip(plan.overdue.as_ref());
        let sent = of_part.chain(overdue).map(|(service, event)| SentMessage {
            participant: service.clone(),
            message: event.clone(),
            kind: MessageKind::Reaction,
            schema: plan.schemas.events.get(event).map(schema_hash),
        });
        once(sent.collect())
    }

    /// Returns the commands whose replies a saga awaits.
    pub fn awaited_by(saga: &Saga) -> Vec<SentMessage> {
        let definition = &*saga.definition;
        let steps = definition.steps.iter().zip(&saga.steps);
        let awaited = steps.filter_map(|(step, state)| {
            let (command, kind) = match state.status {
                StepStatus::Unknown if is_queried(definition, &step.action.participant) => {
                    return query(definition, &step.action.participant);
                }
                StepStatus::Asked | StepStatus::Unknown => (&step.action, MessageKind::Action),
                StepStatus::Undoing => (step.compensation.as_ref()?, MessageKind::Compensation),
                StepStatus::Waiting
                | StepStatus::Done
                | StepStatus::Refused
                | StepStatus::Undone
                | StepStatus::UndoFailed
                | StepStatus::Skipped => return None,
            };
            let command = (&command.participant, &command.message);
            Some(SentMessage::command(definition, command, kind))
        });
        if saga.status.has_ended() { Vec::new() } else { once(awaited.collect()) }
    }

    fn command(
        definition: &Definition,
        (participant, message): (&Name, &Name),
        kind: MessageKind,
    ) -> SentMessage {
        SentMessage {
            participant: participant.clone(),
            message: message.clone(),
            kind,
            schema: definition.schemas.messages.get(message).map(schema_hash),
        }
    }

    /// Returns the topic of the message.
    pub(super) fn topic(&self) -> Arc<str> {
        match self.kind {
            MessageKind::Action | MessageKind::Compensation | MessageKind::Query => {
                command_topic(&self.participant)
            }
            MessageKind::Reaction => event_topic(&self.message),
        }
    }

    /// Compares the message with the processes of its participant, of which there are some.
    pub(super) fn warning(
        &self,
        processes: &[AnnouncedProcess],
        now: Timestamp,
    ) -> Option<Warning> {
        let (participant, message) = (self.participant.clone(), self.message.clone());
        let is_this =
            |other: &&HandledMessage| other.name == self.message && other.kind == self.kind;
        let handling: Vec<_> = processes
            .iter()
            .filter_map(|process| Some((process, process.messages.iter().find(is_this)?)))
            .collect();
        let Some(since) = handling.iter().map(|(process, _)| process.seen_at).max() else {
            return Some(Warning::NotHandled { participant, message });
        };
        let mut live = handling.iter().filter(|(process, _)| process.is_live(now)).peekable();
        if live.peek().is_none() {
            return Some(Warning::Gone { participant, message, since });
        }
        let expected = self.schema.clone()?;
        let announced = live.filter_map(|(_, handled)| handled.schema.clone());
        let announced = announced.into_iter().find(|announced| *announced != expected)?;
        Some(Warning::OtherSchema { participant, message, announced, expected })
    }
}

fn is_queried(definition: &Definition, participant: &Name) -> bool {
    definition.participants.get(participant).is_some_and(|contract| contract.is_queried())
}

/// Returns the query of a participant that is queried.
fn query(definition: &Definition, participant: &Name) -> Option<SentMessage> {
    let contract = definition.participants.get(participant)?;
    let query = contract.query.as_ref().filter(|_| contract.is_queried())?;
    Some(SentMessage::command(definition, (participant, query), MessageKind::Query))
}

/// Removes repetitions, without another order.
fn once(sent: Vec<SentMessage>) -> Vec<SentMessage> {
    let mut unique: Vec<SentMessage> = Vec::with_capacity(sent.len());
    for message in sent {
        if !unique.contains(&message) {
            unique.push(message);
        }
    }
    unique
}
