//! After the commit: publish, acknowledge, answer. All of it may be lost in a crash; the saga's row says it again.

use sagamore_core::message::Command;
use sagamore_core::saga::{Saga, Status};
use sagamore_transport::{Error as TransportError, Mark, Record, wire};
use tokio::sync::oneshot;

use crate::error::{Error, StartError, VerbError};
use crate::handle::{Started, Summary};
use crate::orchestrator::Orchestrator;
use crate::request::summary;

/// What somebody is told.
pub(crate) enum Answer {
    Start(oneshot::Sender<Result<Started, StartError>>, Result<Started, StartError>),
    Verb(oneshot::Sender<Result<Status, VerbError>>, Result<Status, VerbError>),
    /// The saga is at rest.
    Rest(Summary),
}

impl Orchestrator {
    /// Publishes, and then acknowledges what caused it. What could not be published is kept for the next turn.
    pub(crate) async fn send(&mut self, commands: Vec<Command>, dead_letters: Vec<Record>) -> Result<(), Error> {
        if let Err(error) = self.publish(&commands, &dead_letters).await {
            self.debts.commands.extend(commands);
            self.debts.dead_letters.extend(dead_letters);
            return Err(error);
        }
        self.acknowledge().await
    }

    /// Sends commands and dead letters in one batch. A record that the transport will not take does not hold up the
    /// others: a command that is not sent is asked again when its answer is overdue.
    pub(crate) async fn publish(&mut self, commands: &[Command], dead_letters: &[Record]) -> Result<(), Error> {
        if commands.is_empty() && dead_letters.is_empty() {
            return Ok(());
        }
        let records = commands.iter().map(wire::encode_command).chain(dead_letters.iter().cloned()).collect();
        match self.transport.publish(records).await {
            Err(error) if is_of_one_record(&error) => self.publish_singly(commands, dead_letters).await,
            published => Ok(published?),
        }
    }

    async fn publish_singly(&mut self, commands: &[Command], dead_letters: &[Record]) -> Result<(), Error> {
        for command in commands {
            let topic = wire::command_topic(&command.participant);
            let mut published = self.transport.publish(vec![wire::encode_command(command)]).await;
            if let Err(TransportError::UnknownTopic(_)) = published {
                // an older version's participant, on a transport that has lost its topics
                self.transport.create_topic(&topic, self.options.command_partitions).await?;
                published = self.transport.publish(vec![wire::encode_command(command)]).await;
            }
            match published {
                Err(error) if is_of_one_record(&error) => {
                    tracing::error!(command = command.id(), %error, "not sent; asked again when it is overdue");
                    metrics::counter!("sagamore_unsent_total").increment(1);
                }
                published => published?,
            }
        }
        for letter in dead_letters {
            match wire::publish_letter(self.transport.as_ref(), letter.clone()).await {
                Err(error @ (TransportError::UnknownTopic(_) | TransportError::TooLarge { .. })) => {
                    tracing::error!(%error, "a dead letter cannot be written");
                    metrics::counter!("sagamore_lost_dead_letters_total").increment(1);
                }
                published => published?,
            }
        }
        Ok(())
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

/// Whether the others can be published all the same. Full is the backlog of one topic.
fn is_of_one_record(error: &TransportError) -> bool {
    match error {
        TransportError::TooLarge { .. } | TransportError::UnknownTopic(_) | TransportError::Full(_) => true,
        TransportError::Unavailable(_) | TransportError::Fenced(_) => false,
        TransportError::InUse(_) | TransportError::Damaged(_) => false,
    }
}
