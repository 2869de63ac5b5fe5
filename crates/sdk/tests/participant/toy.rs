//! A service of one action and its undo: a tally that goes up and down, with many behaviours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sagamore_sdk::{Decided, Fault, Message, Migration, Refusal, Service, Tx, done, refused};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Adds to the tally.
#[derive(Clone, Debug, Message)]
#[message(to = "tally", yields = Added)]
pub struct Add {
    pub name: String,
    pub by: i64,
    pub mood: Mood,
    pub undo: Mood,
}

/// The added amount, and the behaviour of its undo.
#[derive(Clone, Debug, Message)]
pub struct Added {
    pub name: String,
    pub by: i64,
    pub undo: Mood,
}

/// Subtracts the added amount.
#[derive(Message)]
#[message(to = "tally", undoes = Add)]
pub struct Subtract;

/// Subtracts a part, given in a field of the command.
#[derive(Message)]
#[message(to = "tally", undoes = Add)]
pub struct SubtractPart {
    pub part: i64,
}

/// The behaviour of a handler.
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
    /// Returns a text with U+0000.
    GivesANul,
    /// Returns 200 KiB, less than a reply may have.
    GivesMuch,
    /// Returns a text that contains [`POISON`].
    GivesPoison,
    ReadsAndThenWrites,
    IgnoresAFailedStatement,
    RefusesForAFailedStatement,
}

/// A text that some test databases reject.
pub const POISON: &str = "hemlock";

#[derive(Debug, Refusal)]
pub enum Declined {
    #[refusal(code = "not-today", message = "not today")]
    NotToday,
}

/// Counts of handler calls, including rolled back ones.
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

/// A running handler.
struct AtWork(Arc<AtomicUsize>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Calls {
    /// Returns the maximum number of adding handlers that ever ran concurrently.
    pub fn at_work_max(&self) -> usize {
        self.at_work_max.load(Ordering::Relaxed)
    }

    /// Makes services built from now on interleave their handlers.
    pub fn interleave(&self) {
        self.side_by_side.store(true, Ordering::Relaxed);
    }

    /// Returns whether a handler is paused after its writes.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Resumes the paused handler. No handler pauses from now on.
    pub fn go_on(&self) {
        self.goes_on.notify_one();
    }

    /// Pauses the first caller.
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

const MIGRATIONS: &[Migration] = &[Migration::new(
    "0001-tally",
    "CREATE TABLE tally (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
)];

pub fn service(calls: &Calls) -> Service {
    let (calls, subtracts, parts) = (calls.clone(), calls.subtract.clone(), calls.subtract.clone());
    let service = Service::named("tally").migrations(MIGRATIONS);
    let service = if calls.side_by_side.load(Ordering::Relaxed) {
        service.keyed_by(|add: &Add| &add.name)
    } else {
        service
    };
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
        Mood::GivesANul => "a\0b".to_owned(),
        Mood::GivesMuch => "x".repeat(200 * 1024),
        Mood::GivesPoison => POISON.to_owned(),
        _ => name.clone(),
    };
    change(tx, &name, by, mood)
        .await
        .map(|decided| decided.map(|()| Added { name: gives, by, undo }))
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
        Mood::Calm
        | Mood::Refuses
        | Mood::GivesTooMuch
        | Mood::GivesANul
        | Mood::GivesMuch
        | Mood::GivesPoison => done(()),
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

/// Fails, because a tally of this name exists.
async fn write_again(tx: &Tx, name: &str) -> Result<u64, sagamore_database::Error> {
    tx.execute("INSERT INTO tally (name, value) VALUES ($1, 0)", (name,)).await
}

/// Correct only without other writers between the two statements.
async fn read_and_then_write(tx: Tx, name: &str, by: i64) -> Decided<(), Declined> {
    let rows = tx.query("SELECT value FROM tally WHERE name = $1", (name,)).await?;
    let value: i64 = rows.first().map_or(Ok(0), |row| row.get(0))?;
    tokio::task::yield_now().await;
    tx.execute(
        "INSERT INTO tally (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = \
         excluded.value",
        (name, value + by),
    )
    .await?;
    done(())
}
