//! After the commit: publish, acknowledge, answer. All of it may be lost in a crash; the saga's row says it again.

use sagamore_core::message::Command;
use sagamore_core::saga::{Saga, Status};
use sagamore_transport::{Error as TransportError, Mark, Record, Scope, wire};
use tokio::sync::oneshot;

use crate::error::{Error, StartError, VerbError};
use crate::handle::{Started, Summary};
use crate::orchestrator::Orchestrator;
use crate::pulse::Publisher;
use crate::request::summary;

/// What somebody is told.
pub(crate) enum Answer {
    Start(oneshot::Sender<Result<Started, StartError>>, Result<Started, StartError>),
    Verb(oneshot::Sender<Result<Status, VerbError>>, Result<Status, VerbError>),
    /// The saga is at rest.
    Rest(Summary),
}

impl Orchestrator {
    /// Publishes. What could not be published is stored for the next turn.
    pub(crate) async fn send(&mut self, commands: Vec<Command>, dead_letters: Vec<Record>) -> Result<(), Error> {
        if let Err(error) = self.publish(&commands, &dead_letters).await {
            self.debts.commands.extend(commands);
            self.debts.dead_letters.extend(dead_letters);
            return Err(error);
        }
        Ok(())
    }

    /// Sends commands and dead letters in one batch. A record that the transport rejects does not hold up the others: a
    /// command that is not sent is asked again when its answer is overdue.
    pub(crate) async fn publish(&mut self, commands: &[Command], dead_letters: &[Record]) -> Result<(), Error> {
        if commands.is_empty() && dead_letters.is_empty() {
            return Ok(());
        }
        let records = commands.iter().map(wire::encode_command).chain(dead_letters.iter().cloned()).collect();
        let mut outcomes = self.publish_each(records).await;
        let of_letters = outcomes.split_off(commands.len());
        for (command, outcome) in commands.iter().zip(outcomes) {
            let outcome = match outcome {
                Err(TransportError::UnknownTopic(_)) => self.publish_to_new_topic(command).await,
                outcome => outcome,
            };
            match outcome {
                Err(error) if error.scope() < Scope::Transport => {
                    tracing::error!(command = command.id(), %error, "not sent; asked again when it is overdue");
                    metrics::counter!("sagamore_unsent_total").increment(1);
                }
                outcome => outcome?,
            }
        }
        for (letter, outcome) in dead_letters.iter().zip(of_letters) {
            let outcome = match outcome {
                Err(error) if error.is_rejection() => {
                    wire::publish_letter(self.transport.as_ref(), letter.clone()).await
                }
                outcome => outcome,
            };
            match outcome {
                Err(error) if error.is_rejection() => {
                    tracing::error!(%error, "a dead letter cannot be written");
                    metrics::counter!("sagamore_lost_dead_letters_total").increment(1);
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// A participant of an older version, on a transport that has lost its topics.
    async fn publish_to_new_topic(&mut self, command: &Command) -> Result<(), TransportError> {
        let topic = wire::command_topic(&command.participant);
        self.transport.create_topic(&topic, self.options.command_partitions).await?;
        self.publish_each(vec![wire::encode_command(command)]).await.pop().unwrap_or(Ok(()))
    }

    /// Publishes, and lets the renewal know how that goes.
    async fn publish_each(&mut self, records: Vec<Record>) -> Vec<Result<(), TransportError>> {
        let pulse = self.pulse.clone();
        let attempt = pulse.publish(Publisher::Turn);
        attempt.end(self.transport.publish_each(records).await)
    }

    /// Marks the replies as done with, up to the first one that is not.
    pub(crate) async fn acknowledge(&mut self) -> Result<(), Error> {
        let mut marks = Vec::with_capacity(self.progress.len());
        for (&partition, &next) in &self.progress {
            let next = self.strays.lowest(partition).map_or(next, |lowest| lowest.min(next));
            marks.push(Mark { topic: self.options.reply_topic.as_str().into(), partition, next });
        }
        if marks.is_empty() {
            return Ok(());
        }
        if let Some(replies) = &mut self.replies {
            replies.commit(marks).await?;
        }
        if self.strays.next_due().is_none() {
            self.progress.clear(); // everything that was taken is marked
        }
        Ok(())
    }

    /// Tells those who wait for a saga that is at rest.
    pub(crate) fn wake_if_at_rest(&mut self, saga: &Saga) {
        if saga.status.has_ended() || saga.status == Status::Stuck {
            self.live.wake(summary(saga));
        }
    }

    /// Tells everybody what came of it; who has gone needs no answer.
    pub(crate) fn answer(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            match answer {
                Answer::Start(to, answer) => drop(to.send(answer)),
                Answer::Verb(to, answer) => drop(to.send(answer)),
                Answer::Rest(summary) => self.live.wake(summary),
            }
        }
    }
}
