//! One stand-in: consumes the commands of a participant and answers them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sagamore_core::message::{Outcome, Refusal, Reply};
use sagamore_core::{Body, Command, Definition, Direction, Name, Swept};
use sagamore_server::clock;
use sagamore_transport::wire::{
    HORIZON_TOPIC, command_topic, decode_command, decode_horizon, encode_reply, encode_swept,
};
use sagamore_transport::{Consumer, Delivery, Error, Mark, Record, Subscription, Transport};
use serde_json::Map;
use tokio::task::JoinSet;

use super::behaviour::Behaviour;
use super::example;

/// Maximum records of a turn.
const RECORDS_MAX: usize = 256;
/// Maximum delayed replies. Further commands wait in the log.
const DELAYED_MAX: usize = 1_000;
/// The pause after an error of the transport.
const PAUSE: Duration = Duration::from_secs(1);

/// The known definitions, shared by the stand-ins of a process.
pub type Definitions = Arc<RwLock<Vec<Definition>>>;

/// A stand-in of one participant.
pub struct StandIn {
    name: Name,
    known: Definitions,
    transport: Arc<dyn Transport>,
    consumer: Box<dyn Consumer>,
    behaviour: Arc<Behaviour>,
    /// Whether it may report that the participant has no barrier rows.
    reports_swept: bool,
    delayed: JoinSet<()>,
}

impl StandIn {
    /// Subscribes to the participant's commands, under the name of its service.
    pub async fn subscribe(
        name: Name,
        known: Definitions,
        transport: Arc<dyn Transport>,
        behaviour: Arc<Behaviour>,
        reports_swept: bool,
    ) -> Result<StandIn, Error> {
        let commands = command_topic(&name);
        let partitions = sagamore_sdk::Options::default().partitions;
        transport.create_topic(&commands, partitions).await?;
        transport.create_topic(HORIZON_TOPIC, 1).await?;
        let topics = vec![commands, HORIZON_TOPIC.into()];
        let group = name.as_str().into();
        let consumer =
            transport.subscribe(Subscription { group, topics, partitions: None }).await?;
        let delayed = JoinSet::new();
        Ok(StandIn { name, known, transport, consumer, behaviour, reports_swept, delayed })
    }

    /// Answers commands until it is dropped.
    pub async fn run(mut self) {
        loop {
            match self.turn().await {
                Ok(0) => self.consumer.ready().await,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(participant = %self.name, %error, "the stand-in cannot answer");
                    tokio::time::sleep(PAUSE).await;
                    // the next turn reports an error that lasts
                    let _ = self.consumer.rewind().await;
                }
            }
        }
    }

    async fn turn(&mut self) -> Result<usize, Error> {
        let taken = self.consumer.poll(RECORDS_MAX).await?;
        let mut replies = Vec::new();
        for delivery in &taken {
            let Some((delay, reply)) = self.answer(delivery) else { continue };
            if delay.is_zero() {
                replies.push(reply);
            } else {
                self.publish_later(delay, reply).await;
            }
        }
        self.transport.publish(replies).await?;
        self.consumer.commit(Mark::behind(&taken)).await?;
        Ok(taken.len())
    }

    async fn publish_later(&mut self, delay: Duration, reply: Record) {
        while self.delayed.try_join_next().is_some() {}
        if self.delayed.len() >= DELAYED_MAX {
            self.delayed.join_next().await;
        }
        let (transport, participant) = (self.transport.clone(), self.name.clone());
        self.delayed.spawn(async move {
            tokio::time::sleep(delay).await;
            if let Err(error) = transport.publish(vec![reply]).await {
                // the orchestrator resends the command
                tracing::warn!(%participant, %error, "a delayed reply of the stand-in is lost");
            }
        });
    }

    /// Returns the answer to a record and its delay. Unreadable records have none.
    fn answer(&self, delivery: &Delivery) -> Option<(Duration, Record)> {
        if delivery.unreadable.is_some() {
            return None;
        }
        if &*delivery.record.topic == HORIZON_TOPIC {
            let (horizon, reply_to) = decode_horizon(&delivery.record).ok()?;
            let swept = Swept { participant: self.name.clone(), before: horizon.started_before };
            let reply = encode_swept(&swept, &reply_to?);
            return self.reports_swept.then_some((Duration::ZERO, reply));
        }
        let command = decode_command(&delivery.record).ok()?;
        let (delay, outcome) = self.outcome(&command);
        let Command { key, reply_to, trace, .. } = command;
        let reply = Reply { key, outcome: outcome.into(), trace };
        Some((delay, encode_reply(&reply, &reply_to, &self.name, clock::now())))
    }

    fn outcome(&self, command: &Command) -> (Duration, Outcome) {
        if command.key.direction == Direction::Compensation {
            return (Duration::ZERO, Outcome::Done(Body::empty()));
        }
        let behaviour = self.behaviour.at(&command.key.step);
        let outcome = if command.attempt <= behaviour.faults {
            let (attempt, faults) = (command.attempt, behaviour.faults);
            Outcome::Fault(format!("the stand-in fails: attempt {attempt} of {faults}"))
        } else if let Some(code) = behaviour.refuses {
            Outcome::Refused(Refusal::new(code, "the stand-in refuses this step"))
        } else {
            self.done(command)
        };
        (behaviour.delay, outcome)
    }

    /// Returns an example of the output. While `dev` replaces a version, its old and new contents
    /// are both known. A command does not name the contents, so the output must fit both.
    fn done(&self, command: &Command) -> Outcome {
        let (name, version) = (command.key.saga.definition(), command.version);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let of_name = || known.iter().filter(|other| other.name.as_str() == name);
        let is_stored = of_name().any(|other| other.version == version);
        let mut outputs = of_name()
            .filter(|other| !is_stored || other.version == version)
            .filter_map(|definition| {
                let step = definition.steps.iter().find(|step| step.name == command.key.step)?;
                Some(example::output(definition, step, &command.body))
            })
            .peekable();
        if outputs.peek().is_none() {
            let step = &command.key.step;
            return Outcome::Fault(format!("the stand-in knows no step '{step}' of '{name}'"));
        }
        let mut fields = Map::new();
        outputs.for_each(|output| fields.extend(output));
        Outcome::Done(Body::of(&fields).expect("a map with string keys is JSON"))
    }
}
