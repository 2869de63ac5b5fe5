//! A rig: the real orchestrator on a database and a log in memory, with the test's own clock and
//! participants.

#![allow(dead_code, reason = "each test file uses its part of the rig")]

pub mod brokers;
pub mod faulty;
pub mod virtual_time;

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::definition::Definition;
use sagamore_core::id::{Name, SagaId};
use sagamore_core::{Body, Command, Message, Outcome, Refusal, Reply, ReplyOutcome, Timestamp};
use sagamore_database::Database;
use sagamore_engine::{
    Detail, Error, Handle, Options, Orchestrator, Probe, Renewal, Start, StartError, Started,
    TurnReport,
};
use sagamore_transport::log::{self, Log, MemoryDisk};
use sagamore_transport::torn::Torn;
use sagamore_transport::{Consumer, Subscription, Transport, wire};

pub use sagamore_database::testing::database;

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Wish {
    pub text: String,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(to = "alpha", yields = Written)]
pub struct Write {
    pub text: String,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Written {
    pub page: i64,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(to = "alpha", undoes = Write)]
pub struct Erase;

#[derive(Message, Clone, Debug, PartialEq)]
#[message(to = "beta")]
pub struct Print {
    pub page: i64,
}

/// Builds a saga of two steps: write a page, which can be erased, and print it, which cannot be
/// undone.
pub fn booklet(version: u32) -> Definition {
    let mut saga = Definition::named("booklet").version(version);
    let wish = saga.input::<Wish>();
    let written =
        saga.step("write").sends(WriteFrom { text: wish.text }).undone_by::<Erase>().yields();
    saga.pivot("print").sends(PrintFrom { page: written.page });
    saga.build().expect("the plan is sound")
}

pub struct Rig {
    pub database: Database,
    pub log: Log,
    pub orchestrator: Orchestrator,
    pub handle: Handle,
    pub now: Timestamp,
    pub rng: fastrand::Rng,
    renewal: Renewal,
    probe: Probe,
    participants: Box<dyn Consumer>,
}

impl Rig {
    pub async fn new() -> Rig {
        Rig::with(Options::default(), database()).await
    }

    pub async fn with(options: Options, database: Database) -> Rig {
        let log =
            Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).expect("open the log");
        let transport: Arc<dyn Transport> = Arc::new(Torn(Arc::new(log.clone())));
        Rig::on(log, transport, options, database, vec![booklet(1)]).await
    }

    /// Creates a rig whose orchestrator publishes through brokers that the test controls.
    pub async fn behind_brokers(
        options: Options,
        database: Database,
        definitions: Vec<Definition>,
    ) -> (Rig, Arc<brokers::Brokers>) {
        let log =
            Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).expect("open the log");
        let brokers = brokers::Brokers::on(&log);
        log.create_topic("beta.commands", 1).await.expect("create");
        (Rig::on(log, brokers.clone(), options, database, definitions).await, brokers)
    }

    async fn on(
        log: Log,
        transport: Arc<dyn Transport>,
        options: Options,
        database: Database,
        definitions: Vec<Definition>,
    ) -> Rig {
        let (orchestrator, handle) =
            Orchestrator::open(options, database.clone(), transport, definitions)
                .await
                .expect("open");
        let topics = ["alpha.commands", "beta.commands"].map(Arc::from).to_vec();
        let subscription = Subscription { group: "participants".into(), topics, partitions: None };
        let participants = log.subscribe(subscription).await.expect("subscribe");
        let (now, rng) = (Timestamp(1_000_000), fastrand::Rng::with_seed(7));
        let (renewal, probe) = (orchestrator.renewal(), orchestrator.probe());
        Rig { database, log, orchestrator, handle, now, rng, renewal, probe, participants }
    }

    /// Opens another orchestrator on the same database and log, as after a crash.
    pub async fn successor(&self) -> (Orchestrator, Handle) {
        self.another(Options::default()).await
    }

    /// Opens another orchestrator on the same database and log.
    pub async fn another(&self, options: Options) -> (Orchestrator, Handle) {
        self.another_on(options, Arc::new(self.log.clone())).await
    }

    /// Opens another orchestrator on the same database, with its own transport.
    pub async fn another_on(
        &self,
        options: Options,
        transport: Arc<dyn Transport>,
    ) -> (Orchestrator, Handle) {
        Orchestrator::open(options, self.database.clone(), transport, vec![booklet(1)])
            .await
            .expect("open")
    }

    /// Opens another orchestrator on the same database, with its own transport and definitions.
    pub async fn another_of(
        &self,
        transport: Arc<dyn Transport>,
        definitions: Vec<Definition>,
    ) -> (Orchestrator, Handle) {
        let options = Options::default();
        Orchestrator::open(options, self.database.clone(), transport, definitions)
            .await
            .expect("open")
    }

    pub async fn crash(&mut self) {
        (self.orchestrator, self.handle) = self.successor().await;
    }

    pub async fn turn(&mut self) -> TurnReport {
        self.try_turn().await.expect("turn")
    }

    /// Renews the lease of the first orchestrator, if it has one, and turns once.
    pub async fn try_turn(&mut self) -> Result<TurnReport, Error> {
        self.probe.probe().await;
        let _ = self.renewal.renew(self.now).await; // the next turn retries
        self.orchestrator.turn(self.now, &mut self.rng).await
    }

    pub fn passes(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    /// Starts a saga and turns once.
    pub async fn start(&mut self, start: Start) -> Result<Started, StartError> {
        let handle = self.handle.clone();
        let (started, turned) = tokio::join!(handle.start(start), async {
            tokio::task::yield_now().await;
            self.orchestrator.turn(self.now, &mut self.rng).await
        });
        turned.expect("turn");
        started
    }

    /// Runs `request` while the orchestrator turns once.
    pub async fn while_turning<T>(&mut self, request: impl Future<Output = T>) -> T {
        let (answer, turned) = tokio::join!(request, async {
            tokio::task::yield_now().await;
            self.orchestrator.turn(self.now, &mut self.rng).await
        });
        turned.expect("turn");
        answer
    }

    /// Returns the commands sent since the last call.
    pub async fn commands(&mut self) -> Vec<Command> {
        let delivered = self.participants.poll(10_000).await.expect("poll");
        delivered
            .iter()
            .map(|delivered| wire::decode_command(&delivered.record).expect("a command"))
            .collect()
    }

    /// Returns the one command sent since the last call.
    pub async fn command(&mut self) -> Command {
        let mut commands = self.commands().await;
        assert_eq!(commands.len(), 1, "one command: {commands:?}");
        commands.remove(0)
    }

    pub async fn reply(&self, command: &Command, outcome: impl Into<ReplyOutcome>) {
        let reply = Reply { key: command.key.clone(), outcome: outcome.into(), trace: None };
        self.send(&reply, command).await;
    }

    pub async fn send(&self, reply: &Reply, command: &Command) {
        let record = wire::encode_reply(
            reply,
            &command.reply_to,
            &command.participant,
            sagamore_core::Timestamp(0),
        );
        self.log.publish(vec![record]).await.expect("publish");
    }

    pub async fn show(&self, key: &str) -> Option<Detail> {
        self.handle.show(&id(key)).await.expect("show")
    }

    /// Counts the records of a topic in a group of its own.
    pub async fn records(&self, topic: &str) -> usize {
        let subscription = Subscription {
            group: format!("reads-{topic}").into(),
            topics: vec![topic.into()],
            partitions: None,
        };
        let mut consumer = self.log.subscribe(subscription).await.expect("subscribe");
        consumer.poll(10_000).await.expect("poll").len()
    }
}

pub fn id(key: &str) -> SagaId {
    SagaId::new(&Name::new("booklet").expect("a name"), key).expect("an id")
}

pub fn wish(key: &str, text: &str) -> Start {
    let input = Body::of(&Wish { text: text.into() }).expect("JSON");
    Start::new(Name::new("booklet").expect("a name"), key, input)
}

pub fn written(page: i64) -> Outcome {
    Outcome::Done(Body::of(&Written { page }).expect("JSON"))
}

pub fn nothing() -> Outcome {
    Outcome::Done(Body::parse("null").expect("JSON"))
}

pub fn no() -> Outcome {
    Outcome::Refused(Refusal::new("no", "no"))
}
