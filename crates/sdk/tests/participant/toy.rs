//! A service of one action and its undo, to drive the plumbing: a tally that goes up and down, in many a mood.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sagamore_sdk::{Decided, Fault, Message, Migration, Refusal, Service, Tx, done, refused};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Asks to add.
#[derive(Clone, Debug, Message)]
#[message(to = "tally", yields = Added)]
pub struct Add {
    pub name: String,
    pub by: i64,
    pub mood: Mood,
    pub undo: Mood,
}

/// What was added, and how its undo will go.
#[derive(Clone, Debug, Message)]
pub struct Added {
    pub name: String,
    pub by: i64,
    pub undo: Mood,
}

/// Asks to take away what was added.
#[derive(Message)]
#[message(to = "tally", undoes = Add)]
pub struct Subtract;

/// The same, with a field of its own.
#[derive(Message)]
#[message(to = "tally", undoes = Add)]
pub struct SubtractPart {
    pub part: i64,
}

/// How a handler ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Mood {
    Calm,
    Refuses,
    WritesAndRefuses,
    WritesAndFails,
    WritesAndPanics,
    WritesAndHangs,
    WritesAndIsPaused,
    GivesTooMuch,
    /// 200 KiB: fewer than a reply may have.
    GivesMuch,
    /// A text that [`POISON`] is in.
    GivesPoison,
    ReadsAndThenWrites,
    IgnoresAFailedStatement,
    RefusesForAFailedStatement,
}

/// For a database that does not take it.
pub const POISON: &str = "hemlock";

#[derive(Debug, Refusal)]
pub enum Declined {
    #[refusal(code = "not-today", message = "not today")]
    NotToday,
}

/// How often the handlers were called, rolled back or not.
#[derive(Clone, Default)]
pub struct Calls {
    add: Arc<AtomicUsize>,
    subtract: Arc<AtomicUsize>,
    at_work: Arc<AtomicUsize>,
    at_work_max: Arc<AtomicUsize>,
    side_by_side: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    goes_on: Arc<Notify>,
}

/// One handler at work.
struct AtWork(Arc<AtomicUsize>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Calls {
    /// How many of those that add have ever been at work at once.
    pub fn at_work_max(&self) -> usize {
        self.at_work_max.load(Ordering::Relaxed)
    }

    /// From now on a service is made that interleaves its handlers.
    pub fn interleave(&self) {
        self.side_by_side.store(true, Ordering::Relaxed);
    }

    /// Whether a handler has been paused after its writes.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Who is paused goes on; from now on nobody is paused.
    pub fn go_on(&self) {
        self.goes_on.notify_one();
    }

    /// The first to come here is paused.
    async fn pause(&self) {
        if !self.paused.swap(true, Ordering::Relaxed) {
            self.goes_on.notified().await;
        }
    }

    fn begin(&self) -> AtWork {
        let others = self.at_work.fetch_add(1, Ordering::Relaxed);
        self.at_work_max.fetch_max(others + 1, Ordering::Relaxed);
        AtWork(self.at_work.clone())
    }

    pub fn add(&self) -> usize {
        self.add.load(Ordering::Relaxed)
    }

    pub fn subtract(&self) -> usize {
        self.subtract.load(Ordering::Relaxed)
    }
}

const MIGRATIONS: &[Migration] =
    &[Migration::new("0001-tally", "CREATE TABLE tally (name TEXT PRIMARY KEY, value BIGINT NOT NULL)")];

pub fn service(calls: &Calls) -> Service {
    let (calls, subtracts, parts) = (calls.clone(), calls.subtract.clone(), calls.subtract.clone());
    let service = Service::named("tally").migrations(MIGRATIONS);
    let service =
        if calls.side_by_side.load(Ordering::Relaxed) { service.keyed_by(|add: &Add| &add.name) } else { service };
    service
        .action(move |tx: Tx, add: Add| {
            calls.add.fetch_add(1, Ordering::Relaxed);
            let calls = calls.clone();
            async move {
                let _at_work = calls.begin();
                let is_paused = add.mood == Mood::WritesAndIsPaused;
                let decided = carry_out(tx, add).await;
                if is_paused {
                    calls.pause().await;
                }
                decided
            }
        })
        .compensation::<Subtract>(move |tx: Tx, added: Added| {
            subtracts.fetch_add(1, Ordering::Relaxed);
            undo(tx, added)
        })
        .compensation_with(move |tx: Tx, SubtractPart { part }: SubtractPart, added: Added| {
            parts.fetch_add(1, Ordering::Relaxed);
            undo(tx, Added { by: part, ..added })
        })
}

async fn carry_out(tx: Tx, add: Add) -> Decided<Added, Declined> {
    let Add { name, by, mood, undo } = add;
    let gives = match mood {
        Mood::GivesTooMuch => "x".repeat(2_000_000),
        Mood::GivesMuch => "x".repeat(200 * 1024),
        Mood::GivesPoison => POISON.to_owned(),
        _ => name.clone(),
    };
    change(tx, &name, by, mood).await.map(|decided| decided.map(|()| Added { name: gives, by, undo }))
}

async fn undo(tx: Tx, added: Added) -> Decided<(), Declined> {
    change(tx, &added.name, -added.by, added.undo).await
}

async fn change(tx: Tx, name: &str, by: i64, mood: Mood) -> Decided<(), Declined> {
    if mood == Mood::Refuses {
        return refused(Declined::NotToday);
    }
    if mood == Mood::ReadsAndThenWrites {
        return read_and_then_write(tx, name, by).await;
    }
    tx.execute(
        "INSERT INTO tally (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = tally.value + excluded.value",
        (name, by),
    )
    .await?;
    match mood {
        Mood::Calm | Mood::Refuses | Mood::GivesTooMuch | Mood::GivesMuch | Mood::GivesPoison => done(()),
        Mood::ReadsAndThenWrites | Mood::WritesAndIsPaused => done(()),
        Mood::IgnoresAFailedStatement => {
            let _ = write_again(&tx, name).await;
            done(())
        }
        Mood::RefusesForAFailedStatement => match write_again(&tx, name).await {
            Ok(_) => done(()),
            Err(_) => refused(Declined::NotToday),
        },
        Mood::WritesAndRefuses => refused(Declined::NotToday),
        Mood::WritesAndFails => Err(Fault::new("out of order")),
        Mood::WritesAndPanics => panic!("dropped the ledger"),
        Mood::WritesAndHangs => std::future::pending().await,
    }
}

/// Fails: there is a tally of this name.
async fn write_again(tx: &Tx, name: &str) -> Result<u64, sagamore_database::Error> {
    tx.execute("INSERT INTO tally (name, value) VALUES ($1, 0)", (name,)).await
}

/// Right only as long as nobody else writes between the two.
async fn read_and_then_write(tx: Tx, name: &str, by: i64) -> Decided<(), Declined> {
    let rows = tx.query("SELECT value FROM tally WHERE name = $1", (name,)).await?;
    let value: i64 = rows.first().map_or(Ok(0), |row| row.get(0))?;
    tokio::task::yield_now().await;
    tx.execute(
        "INSERT INTO tally (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value + by),
    )
    .await?;
    done(())
}
