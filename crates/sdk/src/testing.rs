//! A test harness: one service on a database and a log in memory, without an orchestrator or an
//! observer.
//!
//! ```
//! # extern crate sagamore_sdk as sagamore;
//! use sagamore::testing::TestService;
//! use sagamore::{Decided, Message, Refusal, Service, Tx, done, refused};
//!
//! #[derive(Message)]
//! #[message(to = "greeter", yields = Greeted)]
//! struct Greet { name: String }
//!
//! #[derive(Message)]
//! struct Greeted { text: String }
//!
//! #[derive(Debug, Refusal)]
//! #[refusal(code = "no-name", message = "nobody to greet")]
//! struct NoName;
//!
//! async fn greet(_: Tx, Greet { name }: Greet) -> Decided<Greeted, NoName> {
//!     if name.is_empty() {
//!         return refused(NoName);
//!     }
//!     done(Greeted { text: format!("Hello, {name}!") })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let greeter = TestService::of(Service::named("greeter").action(greet)).await;
//! assert_eq!(greeter.send(Greet { name: "Ada".into() }).await.done().text, "Hello, Ada!");
//! assert_eq!(greeter.send(Greet { name: "".into() }).await.refusal().code, "no-name");
//! # }
//! ```
//! The service runs as in production: with the same participant, barrier and wire format. Methods
//! panic with the reason if the service cannot answer. Time passes only by
//! [`TestService::time_passes`].

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::typed::{Action, Message, Undoes};
use sagamore_core::{
    Body, Command, Direction, Event, Name, Outcome, Refusal, ReplyTo, SagaId, StepKey, Timestamp,
};
use sagamore_database::Database;
use sagamore_transport::wire::{decode_event, decode_reply, encode_command, encode_event};
use sagamore_transport::{Consumer, Log, MemoryDisk, Record, Subscription, Transport, log};
use tokio::sync::Mutex;

use crate::facts;
use crate::options::Options;
use crate::outbox::Outbox;
use crate::participant::Participant;
use crate::service::Service;

/// The start of the test's clock, far enough from zero for retention.
const START: Timestamp = Timestamp(1_000_000_000_000);
/// Number of failed attempts of a turn after which the test fails.
const ATTEMPTS_MAX: usize = 5;
/// The topic of replies.
const REPLIES: &str = "test.replies";
/// The definition or plan of all sagas and chains in a test.
const DEFINITION: &str = "test";

/// A service under test. Methods take `&self`, so that a test needs no `mut`.
pub struct TestService {
    service: Service,
    database: Database,
    outbox: Outbox,
    state: Mutex<State>,
}

struct State {
    participant: Participant,
    log: Log,
    replies: Box<dyn Consumer>,
    events: Option<Box<dyn Consumer>>,
    now: Timestamp,
    rng: fastrand::Rng,
    sagas: u64,
}

/// The reply to one command: the output, a refusal or a fault.
#[derive(Clone, Debug)]
pub struct TestReply<M, T> {
    command: Command,
    outcome: TestOutcome<T>,
    message: PhantomData<fn() -> M>,
}

/// An outcome with a typed output.
#[derive(Clone, Debug)]
enum TestOutcome<T> {
    Done(T),
    Refused(Refusal),
    Fault(String),
}

/// The events that a service emitted, in order, and the faults of its reactions.
#[derive(Clone, Debug)]
pub struct TestEvents {
    events: Vec<Event>,
    faults: Vec<String>,
}

impl TestService {
    /// Starts the service on an empty database in memory.
    pub async fn of(service: Service) -> TestService {
        TestService::on(service, Database::memory()).await
    }

    /// Starts the service on this database, for example on a PostgreSQL schema of the test's own.
    pub async fn on(service: Service, database: Database) -> TestService {
        let log = Log::on(Arc::new(MemoryDisk::new()), log::Options::default())
            .expect("an empty log in memory");
        let replies = consumer(&log, "replies", [REPLIES]).await;
        let emitted: Vec<&'static str> = service.tells().collect();
        let events = match emitted.is_empty() {
            true => None,
            false => Some(consumer(&log, "events", emitted).await),
        };
        let options = Options { partitions: 1, ..Options::default() };
        let participant =
            Participant::new(service.clone(), database.clone(), Arc::new(log.clone()), options);
        let (outbox, rng) = (participant.outbox(), fastrand::Rng::with_seed(0));
        let state = State { participant, log, replies, events, now: START, rng, sagas: 0 };
        let started = TestService { service, database, outbox, state: Mutex::new(state) };
        started.state.lock().await.settle().await;
        started
    }

    /// The service's database, to prepare and to check its tables.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The service's outbox, to start chains. [`TestService::emitted`] returns what it sent.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Sends a command, as the first step of a new saga.
    pub async fn send<C: Action>(&self, action: C) -> TestReply<C, C::Output> {
        let mut state = self.state.lock().await;
        let command = self.command(state.next_saga(), Direction::Action, &action);
        state.submit(command, read).await
    }

    /// Sends the same command again, as after a lost reply. The service resends its stored reply.
    pub async fn redeliver<C: Action>(
        &self,
        reply: &TestReply<C, C::Output>,
    ) -> TestReply<C, C::Output> {
        self.state.lock().await.submit(reply.command.clone(), read).await
    }

    /// Sends the compensation of a command. A repeated call redelivers the compensation.
    pub async fn undo<U: Undoes>(
        &self,
        reply: &TestReply<U::Action, <U::Action as Action>::Output>,
        undo: U,
    ) -> TestReply<U, ()> {
        let command = self.command(reply.command.key.saga.clone(), Direction::Compensation, &undo);
        self.state.lock().await.submit(command, |_| Ok(())).await
    }

    /// Sends the compensation before its action, as if the compensation had overtaken it. Returns
    /// the reply to the action, a refusal: the barrier never runs an action that was undone.
    pub async fn undo_first<U: Undoes>(
        &self,
        action: U::Action,
        undo: U,
    ) -> TestReply<U::Action, <U::Action as Action>::Output> {
        let mut state = self.state.lock().await;
        let saga = state.next_saga();
        let undo = self.command(saga.clone(), Direction::Compensation, &undo);
        state.submit::<U, ()>(undo, |_| Ok(())).await.done();
        let action = self.command(saga, Direction::Action, &action);
        state.submit(action, read).await
    }

    /// Publishes an event of the chain with this business key. Returns the events that the service
    /// emitted.
    pub async fn publish<E: Message>(&self, chain: &str, event: E) -> TestEvents {
        let (name, body) = (name(E::NAME), Body::of(&event).expect("an event is JSON"));
        let reacts = self.service.reacts_to().any(|wanted| wanted == E::NAME);
        assert!(reacts, "service '{}' does not react to '{}'", self.service.name(), E::NAME);
        let mut state = self.state.lock().await;
        let (chain, at) = (saga(chain), state.now);
        let key = StepKey {
            saga: chain.clone(),
            step: self::name("test"),
            direction: Direction::Action,
            generation: 1,
        };
        let event = Event { key, version: 1, name, causation: None, hop: 0, at, body, trace: None };
        state.publish(encode_event(&event, &self::name("test"))).await;
        let faults =
            facts::faults(&self.database, &chain).await.expect("read the faults of reactions");
        let faults =
            faults.into_iter().map(|fault| format!("{}: {}", fault.step, fault.why)).collect();
        TestEvents { events: state.emitted().await, faults }
    }

    /// Returns the events that the service emitted since the last call of this method or
    /// [`TestService::publish`].
    pub async fn emitted(&self) -> TestEvents {
        let mut state = self.state.lock().await;
        state.settle().await;
        TestEvents { events: state.emitted().await, faults: Vec::new() }
    }

    /// Moves the clock of the service. A reaction that failed runs again when its pause is over.
    pub async fn time_passes(&self, time: Duration) {
        let mut state = self.state.lock().await;
        state.now = state.now.plus(time);
        state.settle().await;
    }

    fn command<M: Message>(&self, saga: SagaId, direction: Direction, message: &M) -> Command {
        let known = self.service.knows().any(|known| known == M::NAME);
        assert!(known, "service '{}' has no handler for '{}'", self.service.name(), M::NAME);
        let step = name("step");
        Command {
            key: StepKey { saga, step, direction, generation: 1 },
            version: 1,
            attempt: 1,
            participant: self.service.name().clone(),
            name: name(M::NAME),
            body: Body::of(message).expect("a command is JSON"),
            reply_to: ReplyTo { topic: REPLIES.to_owned(), partition: 0 },
            expires_at: None,
            trace: None,
        }
    }
}

impl State {
    fn next_saga(&mut self) -> SagaId {
        self.sagas += 1;
        saga(&self.sagas.to_string())
    }

    async fn submit<M, T>(
        &mut self,
        command: Command,
        read: fn(&Body) -> Result<T, String>,
    ) -> TestReply<M, T> {
        self.publish(encode_command(&command, self.now)).await;
        let replies = records(&mut self.replies).await;
        let replies =
            replies.iter().map(|record| decode_reply(record).expect("a participant sends replies"));
        let reply = replies.filter(|reply| reply.key == command.key).last();
        let outcome = match reply.and_then(|reply| reply.outcome.result()) {
            Some(Outcome::Done(output)) => {
                TestOutcome::Done(read(&output).expect("an output is as declared"))
            }
            Some(Outcome::Refused(refusal)) => TestOutcome::Refused(refusal),
            Some(Outcome::Fault(why)) => TestOutcome::Fault(why),
            None => panic!("no reply to '{}': the command became a dead letter", command.name),
        };
        TestReply { command, outcome, message: PhantomData }
    }

    async fn publish(&mut self, record: Record) {
        self.log.publish(vec![record]).await.expect("publish to a log in memory");
        self.settle().await;
    }

    async fn emitted(&mut self) -> Vec<Event> {
        let Some(events) = &mut self.events else { return Vec::new() };
        records(events)
            .await
            .iter()
            .map(|record| decode_event(record).expect("a participant emits events"))
            .collect()
    }

    /// Runs turns until two in succession find nothing to do: the first of them may have filled the
    /// inbox.
    async fn settle(&mut self) {
        let (mut idle, mut failures) = (0, 0);
        while idle < 2 {
            match self.participant.turn(self.now, &mut self.rng).await {
                Ok(turned) => idle = if turned.taken == 0 { idle + 1 } else { 0 },
                Err(error) if error.is_transient() && failures < ATTEMPTS_MAX => failures += 1,
                Err(error) => panic!("the service failed: {error}"),
            }
        }
    }
}

impl<M, T> TestReply<M, T> {
    /// Returns the output.
    ///
    /// # Panics
    /// Panics with the outcome if it is a refusal or a fault.
    #[track_caller]
    pub fn done(&self) -> &T {
        match &self.outcome {
            TestOutcome::Done(output) => output,
            TestOutcome::Refused(Refusal { code, message }) => {
                self.unexpected(&format!("refused: {message} ({code})"))
            }
            TestOutcome::Fault(why) => self.unexpected(&format!("a fault: {why}")),
        }
    }

    /// Returns the refusal.
    ///
    /// # Panics
    /// Panics with the outcome if it is another one.
    #[track_caller]
    pub fn refusal(&self) -> &Refusal {
        match &self.outcome {
            TestOutcome::Refused(refusal) => refusal,
            TestOutcome::Done(_) => self.unexpected("done"),
            TestOutcome::Fault(why) => self.unexpected(&format!("a fault: {why}")),
        }
    }

    /// Returns the text of the fault. Nothing was stored: an orchestrator would resend the command.
    ///
    /// # Panics
    /// Panics with the outcome if it is another one.
    #[track_caller]
    pub fn fault(&self) -> &str {
        match &self.outcome {
            TestOutcome::Fault(why) => why,
            TestOutcome::Done(_) => self.unexpected("done"),
            TestOutcome::Refused(Refusal { code, message }) => {
                self.unexpected(&format!("refused: {message} ({code})"))
            }
        }
    }

    #[track_caller]
    fn unexpected(&self, outcome: &str) -> ! {
        panic!("the outcome of '{}' is {outcome}", self.command.name)
    }
}

impl TestEvents {
    /// Returns the only event of this type.
    ///
    /// # Panics
    /// Panics with the events and faults if there is none or more than one.
    #[track_caller]
    pub fn only<E: Message>(&self) -> E {
        let mut matching = self.events.iter().filter(|event| event.name.as_str() == E::NAME);
        match (matching.next(), matching.next()) {
            (Some(event), None) => event.body.read().expect("an event is as declared"),
            _ => panic!(
                "expected one '{}', found {:?}, and faults {:?}",
                E::NAME,
                self.names(),
                self.faults
            ),
        }
    }

    /// Returns the names of all events, in order.
    pub fn names(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.name.as_str()).collect()
    }

    /// The faults of the chain's reactions that run again later, as `reaction: reason`.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

fn read<T: Message>(body: &Body) -> Result<T, String> {
    body.read().map_err(|error| error.to_string())
}

fn name(name: &str) -> Name {
    Name::new(name).unwrap_or_else(|malformed| panic!("{malformed}"))
}

fn saga(key: &str) -> SagaId {
    SagaId::new(&name(DEFINITION), key).unwrap_or_else(|malformed| panic!("{malformed}"))
}

/// Creates a consumer with a group of its own. The topics are created with one partition.
async fn consumer(
    log: &Log,
    group: &str,
    topics: impl IntoIterator<Item = &'static str>,
) -> Box<dyn Consumer> {
    let topics: Vec<Arc<str>> = topics.into_iter().map(Arc::from).collect();
    for topic in &topics {
        log.create_topic(topic, 1).await.expect("create a topic in memory");
    }
    let subscription = Subscription { group: group.into(), topics, partitions: None };
    log.subscribe(subscription).await.expect("subscribe to a log in memory")
}

/// Returns all records since the last call.
async fn records(consumer: &mut Box<dyn Consumer>) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let polled = consumer.poll(1_000).await.expect("poll a log in memory");
        if polled.is_empty() {
            return records;
        }
        records.extend(polled.into_iter().map(|delivered| delivered.record));
    }
}
