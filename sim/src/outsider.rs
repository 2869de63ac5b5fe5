//! A participant without a barrier, behind a gateway. Its results survive every process. The
//! gateway of a service that never deduplicates calls it at most once for each command id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use sagamore_core::definition::Repeat;
use sagamore_core::{
    Body, Command, Direction, Name, Outcome, Refusal, Reply, ReplyOutcome, ReplyTo, StepKey,
    Timestamp,
};
use sagamore_transport::{Consumer, Error, Mark, Record, Subscription, Transport, wire};

use crate::clocks::ProcessClock;
use crate::faults::Fault;
use crate::watched::Shared;

/// The longest delay that a service requests by a pending reply.
const PENDING_MS_MAX: i64 = 20_000;

/// The maximum time between the storage of a call's row and the start of the call.
const CALL_MS_MAX: i64 = 1_000;

/// The service and the gateway's stored rows.
pub struct Outsider {
    /// The participant's name.
    pub name: Name,
    repeat: Repeat,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The result of each executed command.
    results: BTreeMap<String, Outcome>,
    /// The gateway's rows, with their times: commands that are not sent to the service again.
    sent: BTreeMap<String, i64>,
    /// Effects of actions, as saga and step.
    done: BTreeSet<(String, String)>,
    /// Results that the service reports later, with their times.
    later: Vec<(i64, Reply, ReplyTo)>,
}

impl Outsider {
    /// Creates a participant of this class without history.
    pub fn new(name: Name, repeat: Repeat) -> Outsider {
        Outsider { name, repeat, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the outsider's mutex is not poisoned")
    }

    /// Runs one incarnation of the gateway.
    pub async fn run(&self, world: &Shared, transport: &dyn Transport, clock: &ProcessClock) {
        let mut consumer: Option<Box<dyn Consumer>> = None;
        loop {
            match self.turn(world, transport, &mut consumer, clock.now()).await {
                Ok(0) => world.rest(200).await,
                Ok(_) => world.rest(1).await,
                Err(_) => {
                    consumer = None;
                    world.sleep(world.between(5, 500)).await;
                }
            }
        }
    }

    /// Executes the available commands, publishes the replies and commits the offsets. Returns the
    /// number of published replies.
    async fn turn(
        &self,
        world: &Shared,
        transport: &dyn Transport,
        consumer: &mut Option<Box<dyn Consumer>>,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let topic = wire::command_topic(&self.name);
        let reader = match consumer {
            Some(reader) => reader,
            None => {
                transport.create_topic(&topic, 2).await?;
                let (group, topics) = (self.name.as_str().into(), vec![topic]);
                let subscription = Subscription { group, topics, partitions: None };
                consumer.insert(transport.subscribe(subscription).await?)
            }
        };
        let deliveries = reader.poll(10).await?;
        let mut records: Vec<Record> = Vec::new();
        for delivery in &deliveries {
            let Ok(command) = wire::decode_command(&delivery.record) else { continue };
            let outcome = self.execute(world, &command).await;
            let reply = Reply { key: command.key, outcome, trace: None };
            records.push(wire::encode_reply(&reply, &command.reply_to, &self.name, now));
        }
        let due = |(at, ..): &(i64, Reply, ReplyTo)| *at <= world.now() || world.is_healed();
        let later: Vec<_> = self.state().later.extract_if(.., |each| due(each)).collect();
        for (_, reply, reply_to) in later {
            records.push(wire::encode_reply(&reply, &reply_to, &self.name, now));
        }
        let count = records.len();
        if count > 0 {
            transport.publish(records).await?;
        }
        if !deliveries.is_empty() {
            reader.commit(Mark::behind(&deliveries)).await?;
        }
        Ok(count)
    }

    /// Executes one command, or answers it from the stored results.
    async fn execute(&self, world: &Shared, command: &Command) -> ReplyOutcome {
        let id = command.id();
        if command.key.direction == Direction::Query {
            return self.query(world, &command.key);
        }
        if self.repeat == Repeat::Never {
            let stored_at = world.now();
            if self.state().sent.contains_key(&id) {
                world.count("gateway found a sent command");
                return ReplyOutcome::Unknown("it was sent before".to_owned());
            }
            self.state().sent.insert(id.clone(), stored_at);
            world.pause().await; // a crash here leaves a row without a call
            if world.now() > stored_at + CALL_MS_MAX {
                return ReplyOutcome::Unknown("it was not called in time".to_owned());
            }
        } else if let Some(result) = self.state().results.get(&id) {
            return result.clone().into();
        }
        if world.strikes(Fault::HandlerFault) {
            self.state().sent.remove(&id); // the service was not called
            return Outcome::Fault("injected by the simulator".to_owned()).into();
        }
        let result = self.call(world, command);
        world.pause().await; // a crash here loses the result before it is published
        match world.below(if world.is_healed() { 1 } else { 10 }) {
            1 => {
                world.count("outcome unknown to the gateway");
                ReplyOutcome::Unknown("the connection broke".to_owned())
            }
            2 => {
                let delay = world.between(0, PENDING_MS_MAX);
                let at = world.now() + world.between(0, PENDING_MS_MAX);
                let reply = Reply { key: command.key.clone(), outcome: result.into(), trace: None };
                self.state().later.push((at, reply, command.reply_to.clone()));
                ReplyOutcome::Pending(Duration::from_millis(delay.unsigned_abs()))
            }
            _ => result.into(),
        }
    }

    /// Answers a query. From here on, the gateway does not send the queried command.
    fn query(&self, world: &Shared, key: &StepKey) -> ReplyOutcome {
        let id = StepKey { direction: Direction::Action, ..key.clone() }.command_id();
        let mut state = self.state();
        let stored_at = *state.sent.entry(id.clone()).or_insert(i64::MIN);
        if world.strikes(Fault::HandlerFault) {
            return Outcome::Fault("injected by the simulator".to_owned()).into();
        }
        match state.results.get(&id) {
            _ if !world.is_healed() && world.percent(5) => {
                ReplyOutcome::Unknown("the service does not say".to_owned())
            }
            _ if !world.is_healed() && world.percent(10) => {
                world.count("query while the service is busy");
                ReplyOutcome::Pending(Duration::from_millis(CALL_MS_MAX.unsigned_abs()))
            }
            Some(result) => result.clone().into(),
            None if world.now() <= stored_at.saturating_add(CALL_MS_MAX) => {
                world.count("query while a call may be under way");
                ReplyOutcome::Pending(Duration::from_millis(CALL_MS_MAX.unsigned_abs()))
            }
            None => ReplyOutcome::Absent,
        }
    }

    /// Lets the service execute a command, however often it was executed before.
    fn call(&self, world: &Shared, command: &Command) -> Outcome {
        let StepKey { saga, step, direction, .. } = &command.key;
        let place = (saga.to_string(), step.to_string());
        let refuses = world.percent(6);
        let result = match refuses {
            true => Outcome::Refused(Refusal::new("not-today", "not today")),
            false => Outcome::Done(Body::parse(r#"{"receipt":"r-1"}"#).expect("it is JSON")),
        };
        let has_effect = match direction {
            _ if refuses => false,
            Direction::Action => {
                self.state().done.insert(place.clone());
                true
            }
            // an operator resolved the action by hand
            Direction::Compensation => self.state().done.contains(&place),
            Direction::Query => false,
        };
        if has_effect {
            world.checker().effect(world, &place.0, &place.1, *direction);
        }
        self.state().results.insert(command.id(), result.clone());
        result
    }
}
