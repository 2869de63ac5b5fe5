//! Publishing after the commit. The transport acknowledges or rejects each record separately.

use std::collections::BTreeSet;

use sagamore_core::Timestamp;
use sagamore_core::id::Name;
use sagamore_core::planted::{Bug, planted};
use sagamore_transport::{Error as TransportError, Record, Scope, wire};

use super::{OutgoingCommand, Rejection};
use crate::error::Error;
use crate::orchestrator::Orchestrator;
use crate::pulse::Publisher;

/// Records left unpublished by a failure of the transport.
pub(crate) struct UnsentRecords {
    pub commands: Vec<OutgoingCommand>,
    pub dead_letters: Vec<Record>,
    pub error: Error,
}

impl From<UnsentRecords> for Error {
    fn from(unsent: UnsentRecords) -> Error {
        unsent.error
    }
}

impl Orchestrator {
    /// Publishes. Unpublished records are stored for the next turn.
    pub(crate) async fn send(
        &mut self,
        commands: Vec<OutgoingCommand>,
        dead_letters: Vec<Record>,
        now: Timestamp,
    ) -> Result<(), Error> {
        if let Err(unsent) = self.publish(commands, dead_letters, now).await {
            self.debts.commands.extend(unsent.commands);
            self.debts.dead_letters.extend(unsent.dead_letters);
            return Err(unsent.error);
        }
        Ok(())
    }

    /// Publishes commands and dead letters in one batch. Returns the acknowledged commands.
    ///
    /// A rejected record does not block others: the next turn takes a command's rejection as an
    /// input of its saga.
    pub(crate) async fn publish(
        &mut self,
        commands: Vec<OutgoingCommand>,
        dead_letters: Vec<Record>,
        now: Timestamp,
    ) -> Result<Vec<OutgoingCommand>, UnsentRecords> {
        if commands.is_empty() && dead_letters.is_empty() {
            return Ok(Vec::new());
        }
        let sent_at = self.present(now);
        let records = commands
            .iter()
            .map(|outgoing| outgoing.record(sent_at))
            .chain(dead_letters.iter().cloned());
        let mut outcomes = self.publish_each(records.collect()).await;
        let of_letters = outcomes.split_off(commands.len());
        self.publish_to_new_topics(&commands, &mut outcomes, sent_at).await;
        let (mut acknowledged, mut unsent, mut letters, mut failure) =
            (Vec::new(), Vec::new(), Vec::new(), None);
        for (outgoing, outcome) in commands.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => acknowledged.push(outgoing),
                Err(error) if error.scope() < Scope::Transport => self.reject(outgoing, &error),
                Err(error) => {
                    unsent.push(outgoing);
                    failure = Some(error);
                }
            }
        }
        self.arm(&acknowledged, now);
        for (letter, outcome) in dead_letters.into_iter().zip(of_letters) {
            let outcome = match outcome {
                Err(error) if error.is_rejection() => {
                    wire::publish_letter(self.transport.as_ref(), letter.clone()).await
                }
                outcome => outcome,
            };
            match outcome {
                Ok(()) => {}
                Err(error) if error.is_rejection() => {
                    tracing::error!(%error, "cannot write a dead letter");
                    metrics::counter!("sagamore_lost_dead_letters_total").increment(1);
                }
                Err(error) => {
                    letters.push(letter);
                    failure = Some(error);
                }
            }
        }
        match failure {
            None => Ok(acknowledged),
            Some(error) => {
                Err(UnsentRecords { commands: unsent, dead_letters: letters, error: error.into() })
            }
        }
    }

    /// Creates missing topics, once each, and publishes their commands again. Topics are missing if
    /// a participant is older, or if the transport lost them.
    async fn publish_to_new_topics(
        &mut self,
        commands: &[OutgoingCommand],
        outcomes: &mut [Result<(), TransportError>],
        now: Timestamp,
    ) {
        let unknown = |outcome: &Result<(), TransportError>| {
            matches!(outcome, Err(TransportError::UnknownTopic(_)))
        };
        let places: Vec<usize> =
            (0..commands.len()).filter(|place| unknown(&outcomes[*place])).collect();
        let participants: BTreeSet<&Name> =
            places.iter().map(|place| &commands[*place].command.participant).collect();
        for participant in participants {
            let (topic, partitions) =
                (wire::command_topic(participant), self.options.partitions_for(participant));
            if let Err(error) = self.transport.create_topic(&topic, partitions).await {
                tracing::error!(topic = &*topic, %error, "cannot create a missing topic");
            }
        }
        if !places.is_empty() {
            let records = places.iter().map(|place| commands[*place].record(now)).collect();
            for (place, outcome) in places.iter().zip(self.publish_each(records).await) {
                outcomes[*place] = outcome;
            }
        }
    }

    fn reject(&mut self, outgoing: OutgoingCommand, error: &TransportError) {
        let command = outgoing.command;
        tracing::error!(command = command.id(), %error, "the transport rejected this command");
        metrics::counter!("sagamore_unsent_total").increment(1);
        let rejection = Rejection {
            attempt: command.attempt,
            key: command.key,
            reason: format!("the command cannot be sent: {error}"),
            lasts: error.scope() == Scope::Record && !planted(Bug::OversizedResent),
        };
        if !self.rejections.contains(&rejection) {
            // it may have been resent before the rejection was decided
            self.rejections.push(rejection);
        }
    }

    /// Starts the reply deadlines of acknowledged commands, from now.
    pub(crate) fn arm(&mut self, acknowledged: &[OutgoingCommand], turn_start: Timestamp) {
        let now =
            if planted(Bug::DeadlineFromTurnStart) { turn_start } else { self.present(turn_start) };
        for OutgoingCommand { command, step, timeout } in acknowledged {
            self.live.acknowledge(command, *step, now, *timeout);
        }
    }

    /// Publishes, and reports the outcome to the renewal.
    async fn publish_each(&mut self, records: Vec<Record>) -> Vec<Result<(), TransportError>> {
        let pulse = self.pulse.clone();
        let attempt = pulse.publish(Publisher::Turn);
        attempt.end(self.transport.publish_each(records).await)
    }

    /// Returns the current time within a turn, or the turn's start without a mid-turn clock.
    pub(crate) fn present(&self, turn_start: Timestamp) -> Timestamp {
        self.mid_turn.as_ref().map_or(turn_start, |clock| clock().max(turn_start))
    }
}
