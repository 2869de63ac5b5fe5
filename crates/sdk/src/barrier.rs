//! The barrier: rows in the service's own database that make a step take effect at most once.
//!
//! **Invariant:** a transaction that works on a step holds the row of its first action. Until it
//! commits, no other transaction changes the rows that a later statement of it reads.
//!
//! **Invariant:** a row that is only claimed is never committed.

mod case;
pub(crate) mod forget;
mod postgres;
mod rows;
mod sqlite;
pub(crate) mod step;

use sagamore_core::message::{Outcome, code};
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Body, Direction, Refusal, StepKey, Timestamp};
use sagamore_database::port::Dialect;
use sagamore_database::{Error, Migration, Row, Statement, Tx};

pub use case::Case;

use rows::{BarrierKey, BarrierRow, BarrierStep};

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

/// The migrations of the barrier's table.
pub const MIGRATIONS: &[Migration] = &[
    Migration::new("0001-barrier", table!("")).on_sqlite(table!(" WITHOUT ROWID")),
    Migration::new("0002-age", "CREATE INDEX barrier_stored_at ON barrier (stored_at)"),
    // saga ids are ordered by bytes, as on SQLite
    Migration::new(
        "0003-bytewise",
        "ALTER TABLE barrier ALTER COLUMN saga TYPE TEXT COLLATE \"C\"",
    )
    .on_sqlite("SELECT 1"),
    // free space for the second version of each row, which is claimed and then answered, avoids
    // index entries
    Migration::new("0004-room", "ALTER TABLE barrier SET (fillfactor = 50)").on_sqlite("SELECT 1"),
];

static STORE: Statement<BarrierRow<'_>> = Statement::insert(
    "barrier",
    "ON CONFLICT (saga, step, direction, generation) DO UPDATE
     SET status = excluded.status, answer = excluded.answer, stored_at = excluded.stored_at",
);

static RELEASE: Statement<BarrierKey<'_>> = Statement::new(
    "DELETE FROM barrier USING given
     WHERE barrier.saga = given.saga AND barrier.step = given.step
        AND barrier.direction = given.direction AND barrier.generation = given.generation
        AND barrier.status = 'claimed'",
);

/// The rows of one step, read after the claim.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepHistory {
    answers: Vec<StoredAnswer>,
    damaged: Option<String>,
}

/// The stored result of one generation of the action or the compensation.
#[derive(Clone, Debug)]
struct StoredAnswer {
    direction: Direction,
    generation: u32,
    status: Status,
}

#[derive(Clone, Debug, PartialEq)]
enum Status {
    /// Claimed by this transaction, without a result.
    Claimed,
    /// Succeeded, with this output.
    Done(Body),
    /// Refused by the handler.
    Refused(Refusal),
    /// Claimed by the compensation before the action: the action never runs.
    Tombstone,
}

/// The decision about a command, given the step's rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Answer from the stored rows. The answer is the same each time.
    Answered(Outcome),
    /// Run the action.
    Act,
    /// Run the compensation with the action's output.
    Undo(Body),
    /// Store that there is nothing to undo, now or later.
    NothingToUndo,
}

/// Claims the steps of all keys, which must be distinct, and reads their rows. Takes at most two
/// round trips.
pub(crate) async fn claim(
    tx: &Tx,
    keys: &[&StepKey],
    now: Timestamp,
) -> Result<Vec<StepHistory>, Error> {
    Ok(claim_within(tx, keys, now, usize::MAX).await?.known)
}

/// The rows of claimed steps.
pub(crate) struct ClaimResult {
    /// The history of each key. Keys from `read` on were not read, and their new claims must be
    /// released.
    pub known: Vec<StepHistory>,
    pub read: usize,
}

/// Claims like [`claim`], but reads stored answers only up to `bytes_max` bytes. The last one may
/// exceed the bound.
pub(crate) async fn claim_within(
    tx: &Tx,
    keys: &[&StepKey],
    now: Timestamp,
    bytes_max: usize,
) -> Result<ClaimResult, Error> {
    let mut sorted = keys.to_vec();
    sorted.sort_unstable(); // one order in all transactions prevents deadlocks
    let rows = match tx.dialect() {
        Dialect::Sqlite => sqlite::claim(tx, &sorted, keys, now, bytes_max).await?,
        Dialect::Postgres => postgres::claim(tx, &sorted, keys, now, bytes_max).await?,
    };
    let (rows, read) = rows;
    let known = rows.iter().map(|rows| StepHistory::of(rows.as_deref()));
    let known = known.collect::<Result<Vec<_>, _>>()?;
    Ok(ClaimResult { known, read })
}

/// Stores answers in one round trip. `Outcome::Fault` stores no row and releases a step that was
/// only claimed.
pub(crate) async fn store(
    tx: &Tx,
    answers: &[(&StepKey, &StepHistory, &Outcome)],
    now: Timestamp,
) -> Result<(), Error> {
    let rows = answers.iter().flat_map(|(key, known, outcome)| rows(key, known, outcome, now));
    tx.execute_rows(&STORE, rows).await?;
    let faulted = answers
        .iter()
        .filter(|(_, known, outcome)| known.is_new() && matches!(outcome, Outcome::Fault(_)));
    tx.execute_rows(&RELEASE, faulted.map(|(key, ..)| BarrierKey::of_first_action(key))).await?;
    Ok(())
}

impl StepHistory {
    /// Parses the rows of a step; `None` for a new one.
    fn of(rows: Option<&[Row]>) -> Result<StepHistory, Error> {
        let mut known = StepHistory::default();
        let Some(rows) = rows else {
            let (direction, status) = (Direction::Action, Status::Claimed);
            known.answers.push(StoredAnswer { direction, generation: 1, status });
            return Ok(known);
        };
        for row in rows {
            match StoredAnswer::read(row) {
                Ok(stored) => known.answers.push(stored),
                Err(error @ Error::Column { .. }) => known.damaged = Some(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(known)
    }

    /// Returns the decision about the command.
    pub(crate) fn verdict(&self, key: &StepKey) -> Verdict {
        self.judge(key).1
    }

    /// Decides by the table of all cases. Only the rows determine whether a message is a repeat,
    /// never its id.
    pub(crate) fn judge(&self, key: &StepKey) -> (Case, Verdict) {
        use Direction::{Action, Compensation, Query};
        if let Some(damage) = &self.damaged {
            let fault = Outcome::Fault(format!("the barrier's row is damaged: {damage}"));
            return (Case::Damaged, Verdict::Answered(fault));
        }
        let is = |action: Case, compensation: Case| {
            if key.direction == Action { action } else { compensation }
        };
        if let Some(output) = self.done(key.direction).filter(|_| !planted(Bug::NoDedupe)) {
            let case = is(Case::ActionDone, Case::CompensationDone);
            return (case, Verdict::Answered(Outcome::Done(output.clone())));
        }
        if let Some(refusal) = self.refused(key) {
            let case = is(Case::ActionRefused, Case::CompensationRefused);
            return (case, Verdict::Answered(Outcome::Refused(refusal.clone())));
        }
        let is_retried =
            self.of_direction(key.direction).any(|stored| stored.generation < key.generation);
        match key.direction {
            Action if self.undone() => (
                Case::ActionCompensated,
                no(code::ALREADY_COMPENSATED, "the step was compensated before"),
            ),
            Action if self.seen_after(key) => (Case::ActionSuperseded, superseded()),
            Compensation if self.seen_after(key) => (Case::CompensationSuperseded, superseded()),
            Action | Compensation if planted(Bug::LostRetry) && is_retried => {
                (Case::ActionRetried, Verdict::NothingToUndo)
            }
            Action if is_retried && !self.is_new() => (Case::ActionRetried, Verdict::Act),
            Action => (Case::ActionFirst, Verdict::Act),
            Query => {
                let fault = "a query has no row: it becomes a dead letter when it is decoded";
                (Case::Damaged, Verdict::Answered(Outcome::Fault(fault.to_owned())))
            }
            Compensation => match self.done(Action) {
                None if planted(Bug::RefundOfRefused) && !self.is_new() => (
                    Case::CompensationOfRefused,
                    Verdict::Undo(Body::of(&()).expect("nothing is JSON")),
                ),
                Some(output) if is_retried => {
                    (Case::CompensationRetried, Verdict::Undo(output.clone()))
                }
                Some(output) => (Case::CompensationOfDone, Verdict::Undo(output.clone())),
                None if self.is_new() => (Case::CompensationFirst, Verdict::NothingToUndo),
                None => (Case::CompensationOfRefused, Verdict::NothingToUndo),
            },
        }
    }

    /// Returns whether the step had no rows before this claim.
    fn is_new(&self) -> bool {
        self.answers.iter().any(|stored| stored.status == Status::Claimed)
    }

    /// Returns the output of the done generation.
    fn done(&self, direction: Direction) -> Option<&Body> {
        self.of_direction(direction).find_map(|stored| match &stored.status {
            Status::Done(output) => Some(output),
            Status::Claimed | Status::Refused(_) | Status::Tombstone => None,
        })
    }

    /// Returns the refusal of exactly this generation.
    fn refused(&self, key: &StepKey) -> Option<&Refusal> {
        let same = |stored: &&StoredAnswer| {
            stored.generation == key.generation || planted(Bug::RefusalOfOldGeneration)
        };
        match &self.of_direction(key.direction).find(same)?.status {
            Status::Refused(refusal) => Some(refusal),
            Status::Claimed | Status::Done(_) | Status::Tombstone => None,
        }
    }

    /// Returns whether a compensation has run, after a refusal or leaving a tombstone included.
    fn undone(&self) -> bool {
        if planted(Bug::TombstoneUnderOwnKey) {
            return false;
        }
        self.of_direction(Direction::Compensation).next().is_some()
            || self.of_direction(Direction::Action).any(|stored| stored.status == Status::Tombstone)
    }

    /// Returns whether a later generation has been received.
    fn seen_after(&self, key: &StepKey) -> bool {
        self.of_direction(key.direction).any(|stored| stored.generation > key.generation)
    }

    fn of_direction(&self, direction: Direction) -> impl Iterator<Item = &StoredAnswer> {
        self.answers.iter().filter(move |stored| stored.direction == direction)
    }
}

impl StoredAnswer {
    fn read(row: &Row) -> Result<StoredAnswer, Error> {
        let damaged = |column: &str, wanted| Error::Column { column: column.to_owned(), wanted };
        let direction = row
            .get::<String>("direction")?
            .parse()
            .map_err(|_| damaged("direction", "a direction"))?;
        let generation = row
            .get::<i64>("generation")?
            .try_into()
            .map_err(|_| damaged("generation", "a generation"))?;
        let answer: String = row.get("answer")?;
        let status = match row.get::<String>("status")?.as_str() {
            "claimed" => Status::Claimed,
            "tombstone" => Status::Tombstone,
            "done" => {
                Status::Done(Body::parse(&answer).map_err(|_| damaged("answer", "an output"))?)
            }
            "refused" => {
                let refusal = Body::parse(&answer).and_then(|body| body.read());
                Status::Refused(refusal.map_err(|_| damaged("answer", "a refusal"))?)
            }
            _ => return Err(damaged("status", "a status")),
        };
        Ok(StoredAnswer { direction, generation, status })
    }
}

/// Returns the rows to store: the command's own, and for a new step that of its first action.
fn rows<'a>(
    key: &'a StepKey,
    known: &StepHistory,
    outcome: &Outcome,
    now: Timestamp,
) -> Vec<BarrierRow<'a>> {
    let (status, answer) = match outcome {
        Outcome::Done(output) => ("done", output.as_str().to_owned()),
        Outcome::Refused(refusal) => ("refused", text(refusal)),
        Outcome::Fault(_) => return Vec::new(),
    };
    let row = |direction: Direction, generation: u32, status: &'static str, answer: String| {
        let BarrierStep { saga, step } = BarrierStep::of(key);
        let direction = direction.as_str();
        BarrierRow { saga, step, direction, generation, status, answer, stored_at: now.0 }
    };
    let mut rows = vec![row(key.direction, key.generation, status, answer)];
    match key.direction {
        Direction::Compensation if known.is_new() => {
            rows.push(row(Direction::Action, 1, "tombstone", String::new()))
        }
        Direction::Action if known.is_new() && key.generation > 1 => {
            rows.push(row(Direction::Action, 1, "refused", text(&newer())));
        }
        Direction::Compensation | Direction::Action | Direction::Query => {}
    }
    rows
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

    /// Repeated commands with large outputs must not be read into memory at once.
    #[tokio::test]
    async fn a_claim_reads_outputs_up_to_a_bound_and_releases_later_claims() {
        let database = sagamore_database::testing::database();
        database.migrate("barrier", MIGRATIONS, 1).await.expect("migrate");
        let keys: Vec<StepKey> = (0..40).map(|number| key(&format!("s{number:02}"))).collect();
        let (stored, new) = (&keys[..39], &keys[39]);
        let large = Outcome::Done(Body::parse(&format!("\"{}\"", "x".repeat(998))).expect("JSON"));
        let open = database.begin().await.expect("begin");
        let known = claim(&open.tx(), &stored.iter().collect::<Vec<_>>(), Timestamp(1))
            .await
            .expect("claim");
        let answers: Vec<_> =
            stored.iter().zip(&known).map(|(key, known)| (key, known, &large)).collect();
        store(&open.tx(), &answers, Timestamp(1)).await.expect("store");
        open.commit().await.expect("commit");

        let open = database.begin().await.expect("begin");
        let all: Vec<&StepKey> = keys.iter().collect();
        let ClaimResult { known, read } =
            claim_within(&open.tx(), &all, Timestamp(2), 2_500).await.expect("claim");
        assert!((3..=16).contains(&read), "{read} answers of 1,000 bytes each");
        let bytes: usize = known
            .iter()
            .filter_map(|known| known.done(Direction::Action))
            .map(|body| body.as_str().len())
            .sum();
        assert_eq!(bytes, read * 1_000, "no later output is read");
        let left = Outcome::Fault(String::new());
        store(&open.tx(), &[(new, &known[39], &left)], Timestamp(2)).await.expect("release");
        open.commit().await.expect("commit");
        let rows = database
            .query("SELECT count(*) FROM barrier WHERE status = 'claimed'", ())
            .await
            .expect("read");
        assert_eq!(rows[0].get::<i64>(0), Ok(0));
        let rows = database.query("SELECT count(*) FROM barrier", ()).await.expect("read");
        assert_eq!(rows[0].get::<i64>(0), Ok(39));
    }
}
