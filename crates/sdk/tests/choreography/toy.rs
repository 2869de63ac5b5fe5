//! Three services: a writer makes drafts, a printer prints them, and a shelf needs both draft and
//! print.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all, join4};
use sagamore_core::message::Event;
use sagamore_core::{Body, Direction, StepKey, Timestamp};
use sagamore_sdk::{
    ChainStart, Database, Decided, Fault, Message, Migration, Never, Options, Outbox, Participant,
    Reaction, Refusal, Service, StartOutcome, Tx, done, facts, on, refused,
};
use sagamore_transport::wire::{dead_letter_topic, decode_event};
use sagamore_transport::{Consumer, Log, MemoryDisk, Record, Subscription, Transport, log};
use serde::{Deserialize, Serialize};

use crate::unreliable::Unreliable;

#[derive(Clone, Debug, Message)]
#[message(name = "draft.made")]
pub struct DraftMade {
    pub key: String,
    pub mood: Mood,
}

#[derive(Clone, Debug, Message)]
#[message(name = "draft.dropped")]
pub struct DraftDropped {
    pub key: String,
}

#[derive(Clone, Debug, Message)]
#[message(name = "print.done")]
pub struct PrintDone {
    pub key: String,
}

#[derive(Clone, Debug, Message)]
#[message(name = "print.failed")]
pub struct PrintFailed {
    pub key: String,
    pub code: String,
    pub reason: String,
}

#[derive(Clone, Debug, Message)]
#[message(name = "shelf.filled")]
pub struct ShelfFilled {
    pub key: String,
}

#[derive(Clone, Debug, Message)]
#[message(name = "shelf.listed")]
pub struct ShelfListed {
    pub key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Mood {
    Calm,
    WritesAndRefuses,
    FailsTwice,
    /// The printer refuses, and the draft's undo fails.
    Sticks,
}

#[derive(Debug, Refusal)]
pub enum Declined {
    #[refusal(code = "no-ink", message = "there is no ink")]
    NoInk,
}

const DRAFTS: &[Migration] =
    &[Migration::new("0001-draft", "CREATE TABLE draft (key TEXT PRIMARY KEY)")];
const PRINTS: &[Migration] =
    &[Migration::new("0001-print", "CREATE TABLE print (key TEXT PRIMARY KEY)")];
const NOW: Timestamp = Timestamp(1_000_000);
const TOPICS: [&str; 5] =
    ["draft.made", "draft.dropped", "print.done", "print.failed", "shelf.filled"];
static GROUP: AtomicUsize = AtomicUsize::new(0);

async fn write(tx: &Tx, table: &str, key: &str) -> Result<(), Fault> {
    tx.execute(&format!("INSERT INTO {table} (key) VALUES ($1)"), (key,)).await?;
    Ok(())
}

async fn drop_draft(tx: Tx, made: DraftMade) -> Decided<(), Never> {
    if made.mood == Mood::Sticks {
        return Err(Fault::new("it sticks"));
    }
    tx.execute("DELETE FROM draft WHERE key = $1", (&made.key,)).await?;
    done(())
}

async fn print(tx: Tx, made: DraftMade, earlier: usize) -> Decided<PrintDone, Declined> {
    write(&tx, "print", &made.key).await?;
    match made.mood {
        Mood::Calm => done(PrintDone { key: made.key }),
        Mood::WritesAndRefuses | Mood::Sticks => refused(Declined::NoInk),
        Mood::FailsTwice if earlier < 2 => Err(Fault::new("paper jam")),
        Mood::FailsTwice => done(PrintDone { key: made.key }),
    }
}

async fn shelve(_: Tx, made: DraftMade, _: PrintDone) -> Decided<ShelfFilled, Never> {
    done(ShelfFilled { key: made.key })
}

/// Counts all calls of the printer's handler, and those for moody drafts.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicUsize>, Arc<AtomicUsize>);

fn services(calls: &Calls) -> [Service; 3] {
    let calls = calls.clone();
    let writer = Service::named("writer").migrations(DRAFTS).reaction(
        Reaction::named("draft")
            .begins::<DraftMade>()
            .undone_by(drop_draft, on::<(PrintFailed,)>().says::<DraftDropped>()),
    );
    let printing = move |tx, made: DraftMade| {
        calls.0.fetch_add(1, Ordering::Relaxed);
        let moody = usize::from(made.mood == Mood::FailsTwice);
        print(tx, made, calls.1.fetch_add(moody, Ordering::Relaxed))
    };
    let printer = Service::named("printer")
        .migrations(PRINTS)
        .reaction(Reaction::named("print").to(printing).fails::<PrintFailed>());
    let shelf = Service::named("shelf").reaction(
        Reaction::named("shelve").to_both(shelve).never_after::<(PrintFailed, DraftDropped)>(),
    );
    [writer, printer, shelf]
}

pub struct Toy {
    disk: MemoryDisk,
    log: Log,
    pub transport: Unreliable,
    options: Options,
    calls: Calls,
    databases: [Database; 3],
    participants: Vec<Participant>,
    outbox: Outbox,
    events: Box<dyn Consumer>,
    now: Timestamp,
    only_shelf: bool,
}

impl Toy {
    pub async fn new() -> Toy {
        Toy::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Toy {
        Toy::on([(); 3].map(|()| sagamore_database::testing::database()), options).await
    }

    /// Creates the services on SQLite, regardless of the other tests' database.
    pub async fn in_memory() -> Toy {
        Toy::on([(); 3].map(|()| Database::memory()), Options::default()).await
    }

    async fn on(databases: [Database; 3], options: Options) -> Toy {
        let disk = MemoryDisk::new();
        let log = Log::on(Arc::new(disk.clone()), log::Options::default()).expect("an empty disk");
        for topic in TOPICS {
            log.create_topic(topic, 1).await.expect("create topic");
        }
        let events = watch(&log, &TOPICS).await;
        let (calls, outbox) = (Calls::default(), Outbox::default());
        let mut toy = Toy {
            disk,
            transport: Unreliable::over(&log),
            log,
            options,
            calls,
            databases,
            participants: Vec::new(),
            outbox,
            events,
            now: NOW,
            only_shelf: false,
        };
        toy.restart();
        toy.settle().await;
        toy
    }

    /// Restarts all processes, as after a crash.
    pub fn restart(&mut self) {
        let transport: Arc<dyn Transport> = Arc::new(self.transport.clone());
        let each = services(&self.calls).into_iter().zip(&self.databases);
        let new = |(service, database): (Service, &Database)| {
            Participant::new(service, database.clone(), transport.clone(), self.options.clone())
        };
        self.participants = each.map(new).collect();
        self.outbox = self.participants[0].outbox();
    }

    /// Cuts the power: the log loses its unsynced tail, the databases keep every commit.
    pub async fn power_cut(&mut self) {
        self.disk.lose_unsynced_tail(0);
        self.log = Log::on(Arc::new(self.disk.clone()), log::Options::default())
            .expect("the log after the power cut");
        self.transport = Unreliable::over(&self.log);
        self.events = watch(&self.log, &TOPICS).await;
        self.restart();
    }

    /// Stops all processes gracefully. The transport's sync ends only after the stop was requested.
    pub async fn stop(&mut self) {
        let transport = self.transport.clone();
        let stopped =
            std::mem::take(&mut self.participants).into_iter().map(|service| service.run(async {}));
        let sync = async {
            tokio::task::yield_now().await;
            transport.is_unsynced(false);
        };
        let (stopped, ()) = join(join_all(stopped), sync).await;
        stopped.into_iter().for_each(|stopped| stopped.expect("a graceful stop"));
    }

    /// Returns the database of the writer, the printer or the shelf.
    pub fn database(&self, service: usize) -> Database {
        self.databases[service].clone()
    }

    /// Returns the database in which drafts are made.
    pub fn database_of_the_writer(&self) -> Database {
        self.databases[0].clone()
    }

    /// Syncs the log, so that all published records survive a power cut.
    pub fn sync(&self) {
        self.log.sync().expect("a disk in memory");
    }

    /// Makes a draft in a transaction whose commit fails, while the writer's turn is joined to it.
    /// Requires SQLite.
    pub async fn lose_a_draft(&mut self, key: &str) {
        let database = self.databases[0].clone();
        let open = database.begin().await.expect("begin");
        let orphan =
            "CREATE TABLE orphan (key TEXT REFERENCES draft (key) DEFERRABLE INITIALLY DEFERRED)";
        open.tx().batch(orphan).await.expect("create the table");
        open.commit().await.expect("commit");

        // the other transactions wait for this one
        let first = database.begin().await.expect("begin");
        let (outbox, at) = (self.outbox.clone(), self.now);
        let draft = async {
            let chain = format!("book:{key}").parse().expect("a chain");
            let open = database.begin().await.expect("begin");
            let start = ChainStart::new(&chain, "draft", at);
            let made = DraftMade { key: key.into(), mood: Mood::Calm };
            outbox.begin(&open.tx(), start, &made).await.expect("begun");
            write(&open.tx(), "draft", key).await.expect("write");
            outbox.wake();
            open.commit().await
        };
        outbox.wake();
        let mut rng = fastrand::Rng::with_seed(7);
        let turn = self.participants[0].turn(at, &mut rng);
        let loss = async {
            let open = database.begin().await.expect("begin");
            open.tx()
                .execute("INSERT INTO orphan (key) VALUES ('nowhere')", ())
                .await
                .expect("checked at the commit");
            open.commit().await
        };
        let (draft, turned, lost, _) = join4(draft, turn, loss, first.commit()).await;
        assert!(draft.is_err() && lost.is_err(), "{draft:?}, {lost:?}");
        turned.expect("messages do not fail with the outbox");
    }

    /// Stops or starts all services but the shelf.
    pub fn only_shelf(&mut self, only: bool) {
        self.only_shelf = only;
    }

    /// Makes a draft, as a client does.
    pub async fn begin(&mut self, key: &str, mood: Mood) -> StartOutcome {
        let chain = format!("book:{key}").parse().expect("a chain");
        let open = self.databases[0].begin().await.expect("begin");
        let made = DraftMade { key: key.into(), mood };
        let start = ChainStart::new(&chain, "draft", self.now);
        let begun = self.outbox.begin(&open.tx(), start, &made).await.expect("begun");
        if begun == StartOutcome::New {
            write(&open.tx(), "draft", key).await.expect("write");
            open.commit().await.expect("commit");
            self.outbox.wake();
        } else {
            open.rollback().await.expect("rollback");
        }
        begun
    }

    /// The database and the outbox of the service that starts chains.
    pub fn desk(&self) -> (Database, Outbox) {
        (self.databases[0].clone(), self.outbox.clone())
    }

    /// Returns the number of rows of a table of the first service.
    pub async fn rows_of_first(&self, table: &str) -> i64 {
        count(&self.databases[0], table).await
    }

    pub async fn settle(&mut self) {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut idle = 0;
        while idle < 2 {
            let mut taken = 0;
            let at_work = self.participants.iter_mut().skip(if self.only_shelf { 2 } else { 0 });
            for participant in at_work {
                taken += participant.turn(self.now, &mut rng).await.expect("turn").taken;
            }
            idle = if taken == 0 { idle + 1 } else { 0 };
        }
    }

    /// Lets every service resend its events of a chain, and returns their number.
    pub async fn resend(&self, key: &str, remembered: Timestamp) -> usize {
        let chain = format!("book:{key}").parse().expect("a chain");
        let mut events = 0;
        for (service, database) in services(&self.calls).iter().zip(&self.databases) {
            let told = facts::resend(service.name(), database, &self.log, &chain, remembered).await;
            events += told.expect("the events are resent");
        }
        events
    }

    /// Runs one turn of each service and ignores its result.
    pub async fn try_turns(&mut self) {
        for participant in &mut self.participants {
            let _ = participant.turn(self.now, &mut fastrand::Rng::with_seed(7)).await;
        }
    }

    pub fn passes(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    pub fn clock_is_set_back(&mut self, time: Duration) {
        self.now = self.now.minus(time);
    }

    /// Replaces the shelf by a program without a reaction to drafts.
    pub fn shelf_only_lists(&mut self) {
        let list =
            |_: Tx, print: PrintDone| async { done::<_, Never>(ShelfListed { key: print.key }) };
        let shelf = Service::named("shelf").reaction(Reaction::named("list").to(list));
        let transport = Arc::new(self.transport.clone());
        self.participants[2] =
            Participant::new(shelf, self.databases[2].clone(), transport, self.options.clone());
    }

    pub async fn publish(&self, records: Vec<Record>) {
        self.log.publish(records).await.expect("publish");
    }

    /// Returns the events since the last call, by hop and name.
    pub async fn events(&mut self) -> Vec<Event> {
        self.events_that(|record| Some(decode_event(record).expect("an event"))).await
    }

    pub async fn events_that(&mut self, read: impl Fn(&Record) -> Option<Event>) -> Vec<Event> {
        let records = self.events.poll(10_000).await.expect("poll");
        let mut events: Vec<Event> =
            records.iter().filter_map(|delivered| read(&delivered.record)).collect();
        events.sort_by_key(|event| (event.hop, event.id()));
        events
    }

    pub async fn dead_letters(&self, topic: &str) -> usize {
        self.reasons(topic).await.len()
    }

    /// Returns the reason of each dead letter of a topic.
    pub async fn reasons(&self, topic: &str) -> Vec<String> {
        let letters =
            watch(&self.log, &[&dead_letter_topic(topic)]).await.poll(10_000).await.expect("poll");
        let reason =
            |letter: &Record| letter.header("sagamore-dlt-reason").expect("a reason").to_vec();
        letters
            .iter()
            .map(|letter| String::from_utf8(reason(&letter.record)).expect("text"))
            .collect()
    }

    pub fn calls(&self) -> usize {
        self.calls.0.load(Ordering::Relaxed)
    }

    pub async fn drafts(&self) -> i64 {
        count(&self.databases[0], "draft").await
    }

    pub async fn prints(&self) -> i64 {
        count(&self.databases[1], "print").await
    }

    /// Returns the number of waiting events in all inboxes.
    pub async fn waiting(&self) -> i64 {
        self.rows("inbox").await
    }

    /// Returns the faults of a chain's reactions, with their reasons.
    pub async fn faults(&self, key: &str) -> Vec<(String, String)> {
        let (chain, mut found) = (format!("book:{key}").parse().expect("a chain"), Vec::new());
        for database in &self.databases {
            let faults = facts::faults(database, &chain).await.expect("read");
            found.extend(faults.into_iter().map(|fault| (fault.step.to_string(), fault.why)));
        }
        found
    }

    /// Returns the number of a table's rows in all services.
    pub async fn rows(&self, table: &str) -> i64 {
        let mut sum = 0;
        for database in &self.databases {
            sum += count(database, table).await;
        }
        sum
    }

    /// Returns the number of checked statements about these tables, and those that scan a whole
    /// table.
    pub async fn whole_table_walks(&self, tables: &[&str]) -> (usize, Vec<String>) {
        let (mut checked, mut walks) = (0, Vec::new());
        for database in &self.databases {
            let (count, found) = sagamore_database::testing::whole_table_walks(database, tables)
                .await
                .expect("the plans");
            checked += count;
            walks.extend(found);
        }
        (checked, walks)
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }
}

async fn count(database: &Database, table: &str) -> i64 {
    let rows = database.query(&format!("SELECT count(*) FROM {table}"), ()).await.expect("read");
    rows[0].get(0).expect("a number")
}

async fn watch(transport: &dyn Transport, topics: &[&str]) -> Box<dyn Consumer> {
    let group = format!("watcher-{}", GROUP.fetch_add(1, Ordering::Relaxed));
    let topics = topics.iter().map(|topic| Arc::from(*topic)).collect();
    transport
        .subscribe(Subscription { group: group.into(), topics, partitions: None })
        .await
        .expect("subscribe")
}

fn event(
    key: &str,
    step: &str,
    name: &str,
    causation: Option<&str>,
    hop: u32,
    body: &impl Serialize,
) -> Event {
    Event {
        key: StepKey {
            saga: format!("book:{key}").parse().expect("a chain"),
            step: step.parse().expect("a name"),
            direction: Direction::Action,
            generation: 1,
        },
        version: 1,
        name: name.parse().expect("a name"),
        causation: causation.map(str::to_owned),
        hop,
        at: NOW,
        body: Body::of(body).expect("JSON"),
        trace: None,
    }
}

pub fn made(key: &str, mood: Mood) -> Event {
    event(key, "draft", DraftMade::NAME, None, 0, &DraftMade { key: key.into(), mood })
}

pub fn printed(key: &str) -> Event {
    let cause = made(key, Mood::Calm).id();
    event(key, "print", PrintDone::NAME, Some(&cause), 1, &PrintDone { key: key.into() })
}

pub fn failed(key: &str) -> Event {
    let (cause, reason) = (made(key, Mood::Calm).id(), "there is no ink".to_owned());
    let failed = PrintFailed { key: key.into(), code: "no-ink".into(), reason };
    event(key, "print", PrintFailed::NAME, Some(&cause), 1, &failed)
}
