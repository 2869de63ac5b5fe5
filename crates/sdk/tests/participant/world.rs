//! One service, its database, a log in memory, and a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sagamore_core::{
    Body, Command, Direction, Outcome, Refusal, Reply, ReplyTo, StepKey, Timestamp,
};
use sagamore_sdk::{Database, Message, Options, Participant, TurnReport};
use sagamore_transport::torn::Torn;
use sagamore_transport::wire::{decode_reply, encode_command};
use sagamore_transport::{Consumer, Log, MemoryDisk, Record, Subscription, Transport, log};

use crate::toy::{self, Add, Added, Calls, Mood, Subtract};
use crate::trouble::Trouble;

pub const REPLIES: &str = "sagamore.replies";
static GROUP: AtomicUsize = AtomicUsize::new(0);
const NOW: Timestamp = Timestamp(1_000_000);

pub struct World {
    pub database: Database,
    pub log: Log,
    transport: Arc<dyn Transport>,
    pub options: Options,
    pub participant: Participant,
    pub calls: Calls,
    replies: Box<dyn Consumer>,
    dead: Box<dyn Consumer>,
    rng: fastrand::Rng,
}

impl World {
    pub async fn new() -> World {
        World::with(Options::default()).await
    }

    /// Creates a world whose service has started, with nothing sent yet.
    pub async fn with(options: Options) -> World {
        World::behind(&Trouble::default(), options).await
    }

    /// Creates a world whose service runs on a wrapped database and transport. The client uses the
    /// log directly.
    pub async fn behind(trouble: &Trouble, options: Options) -> World {
        World::upon(log::Options::default(), 1, trouble, options).await
    }

    /// Creates a world with a database in memory, for tests that poll by hand. A server needs a
    /// runtime.
    pub async fn polled(trouble: &Trouble, options: Options) -> World {
        World::on(Database::memory(), log::Options::default(), 1, trouble, options).await
    }

    /// Creates a world with these bounds of the log and this many command partitions. Other topics
    /// have one.
    pub async fn upon(
        bounds: log::Options,
        partitions: u32,
        trouble: &Trouble,
        options: Options,
    ) -> World {
        World::on(sagamore_database::testing::database(), bounds, partitions, trouble, options)
            .await
    }

    pub async fn on(
        database: Database,
        bounds: log::Options,
        partitions: u32,
        trouble: &Trouble,
        options: Options,
    ) -> World {
        let log = Log::on(Arc::new(MemoryDisk::new()), bounds).expect("an empty disk");
        for (topic, partitions) in
            [(REPLIES, 1), ("tally.commands", partitions), ("tally.commands-dlt", 1)]
        {
            log.create_topic(topic, partitions).await.expect("create topic");
        }
        let (replies, dead) = (watch(&log, REPLIES).await, watch(&log, "tally.commands-dlt").await);
        let (calls, rng) = (Calls::default(), fastrand::Rng::with_seed(7));
        let (database, transport) =
            (trouble.database(database), trouble.transport(Arc::new(Torn(Arc::new(log.clone())))));
        let participant = Participant::new(
            toy::service(&calls),
            database.clone(),
            transport.clone(),
            options.clone(),
        );
        let mut world =
            World { database, transport, log, options, participant, calls, replies, dead, rng };
        assert_eq!(world.turn().await, TurnReport { taken: 0 });
        world
    }

    /// Replaces the service by one with interleaved handlers.
    pub fn interleave(&mut self) {
        self.calls.interleave();
        self.restart();
    }

    /// Restarts the process, which loses its memory.
    pub fn restart(&mut self) {
        self.participant = self.another();
    }

    /// Creates another participant of the same service on the same database.
    pub fn another(&self) -> Participant {
        let service = toy::service(&self.calls);
        Participant::new(
            service,
            self.database.clone(),
            self.transport.clone(),
            self.options.clone(),
        )
    }

    pub async fn send(&self, commands: impl IntoIterator<Item = Command>) {
        self.publish(
            commands
                .into_iter()
                .map(|command| encode_command(&command, sagamore_core::Timestamp(0)))
                .collect(),
        )
        .await;
    }

    pub async fn publish(&self, records: Vec<Record>) {
        self.log.publish(records).await.expect("publish");
    }

    pub async fn turn(&mut self) -> TurnReport {
        self.turn_at(NOW).await
    }

    pub async fn turn_at(&mut self, now: Timestamp) -> TurnReport {
        self.participant.turn(now, &mut self.rng).await.expect("turn")
    }

    /// Runs turns until nothing is left, and asserts that no claimed row was committed.
    pub async fn settle(&mut self) {
        while self.turn().await.taken > 0 {}
        let claimed = self
            .database
            .query("SELECT saga FROM barrier WHERE status = 'claimed'", ())
            .await
            .expect("read");
        assert!(claimed.is_empty(), "{claimed:?}");
    }

    /// Sends commands, settles, and returns the outcomes of the replies.
    pub async fn ask(&mut self, commands: impl IntoIterator<Item = Command>) -> Vec<Outcome> {
        self.send(commands).await;
        self.settle().await;
        self.replies().await.into_iter().filter_map(|reply| reply.outcome.result()).collect()
    }

    /// Returns the replies since the last call.
    pub async fn replies(&mut self) -> Vec<Reply> {
        self.reply_records()
            .await
            .iter()
            .map(|record| decode_reply(record).expect("a reply"))
            .collect()
    }

    /// Returns the reply records since the last call.
    pub async fn reply_records(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        loop {
            let polled = self.replies.poll(10_000).await.expect("poll replies");
            if polled.is_empty() {
                return records;
            }
            records.extend(polled.into_iter().map(|delivered| delivered.record));
        }
    }

    /// Returns the dead letters since the last call.
    pub async fn dead_letters(&mut self) -> Vec<Record> {
        self.dead
            .poll(10_000)
            .await
            .expect("poll dead letters")
            .into_iter()
            .map(|delivered| delivered.record)
            .collect()
    }

    /// Returns the value of a tally; `None` if it never existed.
    pub async fn tally(&self, name: &str) -> Option<i64> {
        let rows = self
            .database
            .query("SELECT value FROM tally WHERE name = $1", (name,))
            .await
            .expect("read");
        rows.first().map(|row| row.get(0).expect("a number"))
    }

    /// Returns the barrier and all tallies as text.
    pub async fn state(&self) -> Vec<String> {
        let barrier = "SELECT saga, step, direction, generation, status, answer FROM barrier ORDER \
                       BY 1, 2, 3, 4";
        let tallies = "SELECT name, value FROM tally ORDER BY name";
        let mut state = Vec::new();
        for sql in [barrier, tallies] {
            let rows = self.database.query(sql, ()).await.expect("read");
            state.extend(rows.iter().map(|row| format!("{row:?}")));
        }
        state
    }
}

pub fn now() -> Timestamp {
    NOW
}

/// Creates a consumer with its own group.
pub async fn watch(transport: &dyn Transport, topic: &str) -> Box<dyn Consumer> {
    let subscription = Subscription {
        group: format!("watcher-{}", GROUP.fetch_add(1, Ordering::Relaxed)).into(),
        topics: vec![topic.into()],
        partitions: None,
    };
    transport.subscribe(subscription).await.expect("subscribe")
}

fn command(key: &str, direction: Direction, name: &str, body: Body) -> Command {
    let name = name.parse().expect("a name");
    let saga = format!("toy:{key}").parse().expect("a saga");
    Command {
        key: StepKey { saga, step: "add".parse().expect("a name"), direction, generation: 1 },
        version: 1,
        attempt: 1,
        participant: "tally".parse().expect("a name"),
        name,
        body,
        reply_to: ReplyTo { topic: REPLIES.into(), partition: 0 },
        expires_at: None,
        trace: None,
    }
}

/// Returns a command that adds 5 to the tally named like the saga's key.
pub fn add(key: &str) -> Command {
    add_in(key, Mood::Calm, Mood::Calm)
}

/// Returns such a command with the behaviours of its handler and its undo.
pub fn add_in(key: &str, mood: Mood, undo: Mood) -> Command {
    let body = Body::of(&Add { name: key.into(), by: 5, mood, undo }).expect("JSON");
    command(key, Direction::Action, Add::NAME, body)
}

/// Returns the undo of such a command.
pub fn subtract(key: &str) -> Command {
    command(key, Direction::Compensation, Subtract::NAME, Body::empty())
}

pub fn generation(generation: u32, mut command: Command) -> Command {
    command.key.generation = generation;
    command
}

pub fn step(step: &str, mut command: Command) -> Command {
    command.key.step = step.parse().expect("a name");
    command
}

/// Returns a record with valid headers and an unreadable body.
pub fn garbled(command: &Command) -> Record {
    let mut record = encode_command(command, sagamore_core::Timestamp(0));
    record.body = b"\xff{".to_vec().into();
    record
}

pub fn added(key: &str) -> Outcome {
    added_in(key, Mood::Calm)
}

pub fn added_in(key: &str, undo: Mood) -> Outcome {
    Outcome::Done(Body::of(&Added { name: key.into(), by: 5, undo }).expect("JSON"))
}

pub fn subtracted() -> Outcome {
    Outcome::Done(Body::empty())
}

pub fn nothing_to_undo() -> Outcome {
    Outcome::Done(Body::empty())
}

pub fn not_today() -> Outcome {
    Outcome::Refused(Refusal::new("not-today", "not today"))
}

/// Returns the code of a refusal.
pub fn code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused(refusal) => &refusal.code,
        Outcome::Done(_) | Outcome::Fault(_) => panic!("not refused: {outcome:?}"),
    }
}

/// Returns the text of a fault.
pub fn fault(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Fault(text) => text,
        Outcome::Done(_) | Outcome::Refused(_) => panic!("not a fault: {outcome:?}"),
    }
}
