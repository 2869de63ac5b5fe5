//! The barrier: rows in the service's own database that make a step happen at most once, whatever arrives.
//!
//! **Invariant:** whoever works on a step holds the row of its first action; what it reads then, in a new statement,
//! nobody changes before it commits. **Invariant:** no row that is only claimed is ever committed.

mod case;
pub(crate) mod forget;
mod postgres;
mod sqlite;

use sagamore_core::message::{Outcome, code};
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Body, Direction, Refusal, StepKey, Timestamp};
use sagamore_database::port::Dialect;
use sagamore_database::{Error, Migration, Row, Tx, Value};

pub use case::Case;

macro_rules! table {
    ($options:literal) => {
        concat!(
            "CREATE TABLE barrier (
                saga TEXT NOT NULL,
                step TEXT NOT NULL,
                direction TEXT NOT NULL,
                generation BIGINT NOT NULL,
                status TEXT NOT NULL,
                answer TEXT NOT NULL,
                stored_at BIGINT NOT NULL,
                PRIMARY KEY (saga, step, direction, generation)
            )",
            $options
        )
    };
}

/// The barrier's table.
pub const MIGRATIONS: &[Migration] = &[
    Migration::new("0001-barrier", table!("")).on_sqlite(table!(" WITHOUT ROWID")),
    Migration::new("0002-age", "CREATE INDEX barrier_stored_at ON barrier (stored_at)"),
    // in the order in which sagas are listed, as on SQLite
    Migration::new("0003-bytewise", "ALTER TABLE barrier ALTER COLUMN saga TYPE TEXT COLLATE \"C\"")
        .on_sqlite("SELECT 1"),
    // a row is claimed and then answered: its next version beside it costs no index an entry
    Migration::new("0004-room", "ALTER TABLE barrier SET (fillfactor = 50)").on_sqlite("SELECT 1"),
];

/// What is known of a step: its rows, after the claim.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    answers: Vec<Stored>,
    damaged: Option<String>,
}

/// What became of one generation of the action or the compensation.
#[derive(Clone, Debug)]
struct Stored {
    direction: Direction,
    generation: u32,
    status: Status,
}

#[derive(Clone, Debug, PartialEq)]
enum Status {
    /// Nothing yet; the row is ours.
    Claimed,
    /// It holds, and gave this.
    Done(Body),
    /// The business said no.
    Refused(Refusal),
    /// The compensation came first: the action will never run.
    Tombstone,
}

/// What a command means, in the light of the rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The answer follows from what is stored, and is the same each time.
    Answered(Outcome),
    /// The action is to run.
    Act,
    /// The compensation is to run, on what the action gave.
    Undo(Body),
    /// There is nothing to undo, and there never will be: that is to be stored.
    NothingToUndo,
}

/// Claims the steps of all keys, no two of one step, and tells what is known of each: two round trips at most.
pub(crate) async fn claim(tx: &Tx, keys: &[&StepKey], now: Timestamp) -> Result<Vec<Known>, Error> {
    Ok(claim_within(tx, keys, now, usize::MAX).await?.known)
}

/// The stored history of claimed steps.
pub(crate) struct Claimed {
    /// One for each key. Behind the first `read` keys nothing is known, and new claims have to be released.
    pub known: Vec<Known>,
    pub read: usize,
}

/// Like [`claim`], but stored answers are read only until they have `bytes_max` bytes: the last one may pass it.
pub(crate) async fn claim_within(
    tx: &Tx,
    keys: &[&StepKey],
    now: Timestamp,
    bytes_max: usize,
) -> Result<Claimed, Error> {
    let mut sorted = keys.to_vec();
    sorted.sort_unstable(); // the same order everywhere: no deadlocks
    let rows = match tx.dialect() {
        Dialect::Sqlite => sqlite::claim(tx, &sorted, keys, now, bytes_max).await?,
        Dialect::Postgres => postgres::claim(tx, &sorted, keys, now, bytes_max).await?,
    };
    let (rows, read) = rows;
    let known = rows.iter().map(|rows| Known::of(rows)).collect::<Result<Vec<_>, _>>()?;
    Ok(Claimed { known, read })
}

/// Stores answers: one round trip. `Outcome::Fault` leaves no row, and a step that was only claimed is given back.
pub(crate) async fn store(tx: &Tx, answers: &[(&StepKey, &Known, &Outcome)], now: Timestamp) -> Result<(), Error> {
    let rows: Vec<_> = answers.iter().flat_map(|(key, known, outcome)| rows(key, known, outcome, now)).collect();
    match tx.dialect() {
        _ if rows.is_empty() => {}
        Dialect::Sqlite => sqlite::store(tx, rows).await?,
        Dialect::Postgres => postgres::store(tx, rows).await?,
    }
    let faulted = answers.iter().filter(|(_, known, outcome)| known.is_new() && matches!(outcome, Outcome::Fault(_)));
    let faulted: Vec<&StepKey> = faulted.map(|(key, ..)| *key).collect();
    match tx.dialect() {
        _ if faulted.is_empty() => Ok(()),
        Dialect::Sqlite => sqlite::release(tx, &faulted).await,
        Dialect::Postgres => postgres::release(tx, &faulted).await,
    }
}

impl Known {
    fn of(rows: &[Row]) -> Result<Known, Error> {
        let mut known = Known::default();
        for row in rows {
            match Stored::read(row) {
                Ok(stored) => known.answers.push(stored),
                Err(error @ Error::Column { .. }) => known.damaged = Some(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(known)
    }

    /// What the command means.
    pub(crate) fn verdict(&self, key: &StepKey) -> Verdict {
        self.judge(key).1
    }

    /// The table of all cases. Whether a message is a repeat shows in the rows, never in its id.
    pub(crate) fn judge(&self, key: &StepKey) -> (Case, Verdict) {
        use Direction::{Action, Compensation};
        if let Some(damage) = &self.damaged {
            let fault = Outcome::Fault(format!("the barrier's row is damaged: {damage}"));
            return (Case::Damaged, Verdict::Answered(fault));
        }
        let is = |action: Case, compensation: Case| if key.direction == Action { action } else { compensation };
        if let Some(output) = self.done(key.direction).filter(|_| !planted(Bug::NoDedupe)) {
            let case = is(Case::ActionDone, Case::CompensationDone);
            return (case, Verdict::Answered(Outcome::Done(output.clone())));
        }
        if let Some(refusal) = self.refused(key) {
            let case = is(Case::ActionRefused, Case::CompensationRefused);
            return (case, Verdict::Answered(Outcome::Refused(refusal.clone())));
        }
        let is_retried = self.of_direction(key.direction).any(|stored| stored.generation < key.generation);
        match key.direction {
            Action if self.undone() => {
                (Case::ActionCompensated, no(code::ALREADY_COMPENSATED, "the step was compensated before"))
            }
            Action if self.seen_after(key) => (Case::ActionSuperseded, superseded()),
            Compensation if self.seen_after(key) => (Case::CompensationSuperseded, superseded()),
            Action | Compensation if planted(Bug::LostRetry) && is_retried => {
                (Case::ActionRetried, Verdict::NothingToUndo)
            }
            Action if is_retried && !self.is_new() => (Case::ActionRetried, Verdict::Act),
            Action => (Case::ActionFirst, Verdict::Act),
            Compensation => match self.done(Action) {
                None if planted(Bug::RefundOfRefused) && !self.is_new() => {
                    (Case::CompensationOfRefused, Verdict::Undo(Body::of(&()).expect("nothing is JSON")))
                }
                Some(output) if is_retried => (Case::CompensationRetried, Verdict::Undo(output.clone())),
                Some(output) => (Case::CompensationOfDone, Verdict::Undo(output.clone())),
                None if self.is_new() => (Case::CompensationFirst, Verdict::NothingToUndo),
                None => (Case::CompensationOfRefused, Verdict::NothingToUndo),
            },
        }
    }

    /// Whether nobody had met this step before: its row is a mere claim.
    fn is_new(&self) -> bool {
        self.answers.iter().any(|stored| stored.status == Status::Claimed)
    }

    /// What any generation gave that is done.
    fn done(&self, direction: Direction) -> Option<&Body> {
        self.of_direction(direction).find_map(|stored| match &stored.status {
            Status::Done(output) => Some(output),
            Status::Claimed | Status::Refused(_) | Status::Tombstone => None,
        })
    }

    /// The refusal of just this generation.
    fn refused(&self, key: &StepKey) -> Option<&Refusal> {
        let same = |stored: &&Stored| stored.generation == key.generation || planted(Bug::RefusalOfOldGeneration);
        match &self.of_direction(key.direction).find(same)?.status {
            Status::Refused(refusal) => Some(refusal),
            Status::Claimed | Status::Done(_) | Status::Tombstone => None,
        }
    }

    /// Whether a compensation has been here, be it that it left a tombstone or that it met a refusal.
    fn undone(&self) -> bool {
        if planted(Bug::TombstoneUnderOwnKey) {
            return false;
        }
        self.of_direction(Direction::Compensation).next().is_some()
            || self.of_direction(Direction::Action).any(|stored| stored.status == Status::Tombstone)
    }

    /// Whether a later generation has been here.
    fn seen_after(&self, key: &StepKey) -> bool {
        self.of_direction(key.direction).any(|stored| stored.generation > key.generation)
    }

    fn of_direction(&self, direction: Direction) -> impl Iterator<Item = &Stored> {
        self.answers.iter().filter(move |stored| stored.direction == direction)
    }
}

impl Stored {
    fn read(row: &Row) -> Result<Stored, Error> {
        let damaged = |column: &str, wanted| Error::Column { column: column.to_owned(), wanted };
        let direction = row.get::<String>(0)?.parse().map_err(|_| damaged("direction", "a direction"))?;
        let generation = row.get::<i64>(1)?.try_into().map_err(|_| damaged("generation", "a generation"))?;
        let answer: String = row.get(3)?;
        let status = match row.get::<String>(2)?.as_str() {
            "claimed" => Status::Claimed,
            "tombstone" => Status::Tombstone,
            "done" => Status::Done(Body::parse(&answer).map_err(|_| damaged("answer", "an output"))?),
            "refused" => {
                let refusal = Body::parse(&answer).and_then(|body| body.read());
                Status::Refused(refusal.map_err(|_| damaged("answer", "a refusal"))?)
            }
            _ => return Err(damaged("status", "a status")),
        };
        Ok(Stored { direction, generation, status })
    }
}

/// The rows that keep an answer: the command's own, and for the step's first one what it is now, if it was new.
fn rows(key: &StepKey, known: &Known, outcome: &Outcome, now: Timestamp) -> Vec<Vec<Value>> {
    let (status, answer) = match outcome {
        Outcome::Done(output) => ("done", output.as_str().to_owned()),
        Outcome::Refused(refusal) => ("refused", text(refusal)),
        Outcome::Fault(_) => return Vec::new(),
    };
    let row = |direction: Direction, generation: u32, status: &str, answer: String| {
        let (saga, step) = (key.saga.as_str().into(), key.step.as_str().into());
        let (direction, generation) = (direction.as_str().into(), generation.into());
        vec![saga, step, direction, generation, status.into(), answer.into(), now.0.into()]
    };
    let mut rows = vec![row(key.direction, key.generation, status, answer)];
    match key.direction {
        Direction::Compensation if known.is_new() => rows.push(row(Direction::Action, 1, "tombstone", String::new())),
        Direction::Action if known.is_new() && key.generation > 1 => {
            rows.push(row(Direction::Action, 1, "refused", text(&newer())));
        }
        Direction::Compensation | Direction::Action => {}
    }
    rows
}

/// The row of a step of which nothing was known.
fn just_claimed() -> Row {
    Row::new(vec!["action".into(), 1_i64.into(), "claimed".into(), "".into()])
}

fn text(refusal: &Refusal) -> String {
    Body::of(refusal).expect("two texts are JSON").as_str().to_owned()
}

fn no(code: &str, message: &str) -> Verdict {
    Verdict::Answered(Outcome::Refused(Refusal::new(code, message)))
}

fn superseded() -> Verdict {
    Verdict::Answered(Outcome::Refused(newer()))
}

fn newer() -> Refusal {
    Refusal::new(code::SUPERSEDED, "a newer generation of this step has been seen")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(step: &str) -> StepKey {
        let (saga, step) = ("toy:1".parse().expect("an id"), step.parse().expect("a name"));
        StepKey { saga, step, direction: Direction::Action, generation: 1 }
    }

    /// Repeats of a thousand large outputs must not be read at once.
    #[tokio::test]
    async fn a_claim_reads_stored_outputs_up_to_a_bound_and_commits_no_claim_behind_it() {
        let database = sagamore_database::testing::database();
        database.migrate("barrier", MIGRATIONS, 1).await.expect("migrate");
        let keys: Vec<StepKey> = (0..40).map(|number| key(&format!("s{number:02}"))).collect();
        let (stored, new) = (&keys[..39], &keys[39]);
        let large = Outcome::Done(Body::parse(&format!("\"{}\"", "x".repeat(998))).expect("JSON"));
        let open = database.begin().await.expect("begin");
        let known = claim(&open.tx(), &stored.iter().collect::<Vec<_>>(), Timestamp(1)).await.expect("claim");
        let answers: Vec<_> = stored.iter().zip(&known).map(|(key, known)| (key, known, &large)).collect();
        store(&open.tx(), &answers, Timestamp(1)).await.expect("store");
        open.commit().await.expect("commit");

        let open = database.begin().await.expect("begin");
        let all: Vec<&StepKey> = keys.iter().collect();
        let Claimed { known, read } = claim_within(&open.tx(), &all, Timestamp(2), 2_500).await.expect("claim");
        assert!((3..=16).contains(&read), "{read} answers of 1,000 bytes each");
        let bytes: usize =
            known.iter().filter_map(|known| known.done(Direction::Action)).map(|body| body.as_str().len()).sum();
        assert_eq!(bytes, read * 1_000, "nothing behind them is read");
        let left = Outcome::Fault(String::new());
        store(&open.tx(), &[(new, &known[39], &left)], Timestamp(2)).await.expect("release");
        open.commit().await.expect("commit");
        let rows = database.query("SELECT count(*) FROM barrier WHERE status = 'claimed'", ()).await.expect("read");
        assert_eq!(rows[0].get::<i64>(0), Ok(0));
        let rows = database.query("SELECT count(*) FROM barrier", ()).await.expect("read");
        assert_eq!(rows[0].get::<i64>(0), Ok(39));
    }
}
