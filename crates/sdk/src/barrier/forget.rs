//! The removal of barrier rows. All rows of a step are removed together: with only some of them, a
//! repeated command would run again.

use std::collections::BTreeSet;

use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Direction, Horizon, Timestamp};
use sagamore_database::port::Dialect;
use sagamore_database::{Error, Row, Statement, Tx, given_row};

use super::step::{Events, Step};

/// Maximum rows of a page. Rows of one millisecond are never split between pages.
const PAGE: u32 = 500;

/// Finds the time of the first row after a page.
const BEHIND: &str = "SELECT stored_at FROM barrier WHERE stored_at >= $1 AND stored_at < $2
    ORDER BY stored_at LIMIT 1 OFFSET $3";

const STEPS: &str = "SELECT saga, step FROM barrier WHERE stored_at >= $1 AND stored_at < $2";

given_row! {
    /// A step whose first action's row is locked.
    struct HeldStep<'a> {
        place: i64,
        saga: &'a str,
        step: &'a str,
        direction: &'a str,
        generation: u32,
    }
}

given_row! {
    /// A step whose rows are removed if all of them are older than a moment.
    struct OldStep<'a> {
        saga: &'a str,
        step: &'a str,
        before: i64,
    }
}

/// Locks steps on PostgreSQL against concurrent transactions, as the claim does.
static HOLD: Statement<HeldStep<'_>> = Statement::new(
    "SELECT b.saga FROM given, barrier b
     WHERE b.saga = given.saga AND b.step = given.step AND b.direction = given.direction
        AND b.generation = given.generation
     ORDER BY given.place {FOR UPDATE OF b}",
);

/// Removes rows in a separate statement, which sees the commits that the lock waited for.
///
/// The aggregate avoids plans that a comparison with `max(stored_at)` would allow: a walk through
/// the index on age, over all younger rows.
macro_rules! forget {
    ($more:literal) => {
        concat!(
            "DELETE FROM barrier USING given
             WHERE barrier.saga = given.saga AND barrier.step = given.step AND 1 = (
                SELECT min(CASE WHEN y.stored_at < given.before THEN 1 ELSE 0 END) FROM barrier y
                WHERE y.saga = given.saga AND y.step = given.step
             )",
            $more,
            " RETURNING barrier.saga, barrier.step"
        )
    };
}

static FORGET: Statement<OldStep<'_>> = Statement::new(forget!(""));

/// Skips steps with an unsent or waiting event.
static FORGET_EMITTED: Statement<OldStep<'_>> = Statement::new(forget!(
    " AND NOT EXISTS (SELECT 1 FROM emitted e
        WHERE e.saga = given.saga AND e.step = given.step AND e.sent = FALSE)
      AND NOT EXISTS (SELECT 1 FROM inbox i WHERE i.saga = given.saga AND i.step = given.step)"
));

/// The result of removing one page.
#[derive(Debug)]
pub(crate) struct Page {
    /// The steps whose rows were all removed.
    pub forgotten: Vec<Step>,
    /// The start of the next page, if there is one.
    pub next: Option<Timestamp>,
}

/// Removes the rows that a horizon covers, starting at `from`, one page at a time. A step is
/// removed if its youngest row is older than the horizon. Rows of other steps are only read.
pub(crate) async fn page(
    tx: &Tx,
    horizon: &Horizon,
    from: Timestamp,
    events: Events,
) -> Result<Page, Error> {
    let before = horizon.started_before;
    let behind = tx.query(BEHIND, (from.0, before.0, PAGE)).await?;
    let next = match behind.first() {
        // the whole page is one millisecond: continue after it
        Some(row) => Some(Timestamp(row.get::<i64>("stored_at")?.max(from.0.saturating_add(1)))),
        None => None,
    };
    let rows = tx.query(STEPS, (from.0, next.unwrap_or(before).0)).await?;
    // the order of claims, which prevents deadlocks
    let mut steps: BTreeSet<Step> = BTreeSet::new();
    for row in &rows {
        let step: Step = (row.get("saga")?, row.get("step")?);
        if is_meant(horizon, &step.0) {
            steps.insert(step);
        }
    }
    let steps: Vec<Step> = steps.into_iter().collect();
    Ok(Page { forgotten: forget(tx, &steps, before, events).await?, next })
}

/// Removes the steps whose youngest row is older than `before`, and returns them.
async fn forget(
    tx: &Tx,
    steps: &[Step],
    before: Timestamp,
    events: Events,
) -> Result<Vec<Step>, Error> {
    if tx.dialect() == Dialect::Postgres {
        let (direction, generation) = (Direction::Action.as_str(), 1);
        let steps = (0..).zip(steps);
        let held = steps.map(|(place, (saga, step))| HeldStep {
            place,
            saga,
            step,
            direction,
            generation,
        });
        tx.query_rows(&HOLD, held).await?;
    }
    let statement = match events {
        Events::None => &FORGET,
        Events::Emitted => &FORGET_EMITTED,
    };
    let old = steps.iter().map(|(saga, step)| OldStep { saga, step, before: before.0 });
    let step = |row: &Row| Ok((row.get("saga")?, row.get("step")?));
    let removed = tx.query_rows(statement, old).await?;
    let forgotten = removed.iter().map(step).collect::<Result<BTreeSet<Step>, Error>>()?;
    Ok(forgotten.into_iter().collect())
}

/// Returns whether the horizon covers this saga.
fn is_meant(Horizon { definitions, but, .. }: &Horizon, saga: &str) -> bool {
    let definition = saga.split_once(':').map_or(saga, |(definition, _)| definition);
    definitions.iter().any(|meant| meant.as_str() == definition)
        && (planted(Bug::OpenForgotten)
            || but.binary_search_by(|named| named.as_str().cmp(saga)).is_err())
}

#[cfg(test)]
mod tests {
    use sagamore_core::{Body, Outcome, Refusal, StepKey};
    use sagamore_database::Database;

    use super::super::{MIGRATIONS, claim, store};
    use super::*;

    const OLD: Timestamp = Timestamp(10);
    const HORIZON: Timestamp = Timestamp(20);
    const NEW: Timestamp = Timestamp(30);

    fn key(direction: Direction, generation: u32) -> StepKey {
        StepKey {
            saga: "toy:1".parse().expect("an id"),
            step: "add".parse().expect("a name"),
            direction,
            generation,
        }
    }

    fn horizon() -> Horizon {
        let definitions = vec!["toy".parse().expect("a name")];
        Horizon {
            started_before: HORIZON,
            ended_before: HORIZON,
            started_from: None,
            definitions,
            but: Vec::new(),
        }
    }

    /// Creates a step whose first action is old.
    async fn step(outcome: Outcome) -> Database {
        let database = sagamore_database::testing::database();
        database.migrate("barrier", MIGRATIONS, 1).await.expect("migrate");
        answer(&database, &key(Direction::Action, 1), outcome, OLD).await;
        database
    }

    async fn answer(database: &Database, key: &StepKey, outcome: Outcome, now: Timestamp) {
        let open = database.begin().await.expect("begin");
        let known = claim(&open.tx(), &[key], now).await.expect("claim");
        store(&open.tx(), &[(key, &known[0], &outcome)], now).await.expect("store");
        open.commit().await.expect("commit");
    }

    async fn forget(database: Database) -> usize {
        let open = database.begin().await.expect("begin");
        let Page { forgotten, next } =
            page(&open.tx(), &horizon(), Timestamp(0), Events::None).await.expect("forget");
        open.commit().await.expect("commit");
        assert_eq!(next, None);
        forgotten.len()
    }

    /// Yields often enough for another task to reach its lock.
    async fn yield_to_other_tasks(database: &Database) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
            if database.dialect() == Dialect::Postgres {
                database.query("SELECT 1", ()).await.expect("a round trip");
            }
        }
    }

    /// A compensation or an operator's retry runs on an old step. Its commit makes the step's
    /// youngest row young.
    #[tokio::test]
    async fn a_step_in_use_keeps_all_its_rows() {
        let (done, refused) =
            (Outcome::Done(Body::empty()), Outcome::Refused(Refusal::new("no", "not today")));
        for (first, later) in
            [(done.clone(), key(Direction::Compensation, 1)), (refused, key(Direction::Action, 2))]
        {
            let database = step(first).await;
            let open = database.begin().await.expect("begin");
            let known = claim(&open.tx(), &[&later], NEW).await.expect("claim");
            let forgetting = tokio::spawn(forget(database.clone()));
            yield_to_other_tasks(&database).await;
            store(&open.tx(), &[(&later, &known[0], &done)], NEW).await.expect("store");
            open.commit().await.expect("commit");
            assert_eq!(forgetting.await.expect("it ends"), 0);
            let rows = database.query("SELECT status FROM barrier", ()).await.expect("read");
            assert_eq!(rows.len(), 2, "{rows:?}");
        }
    }

    /// A command that waits for the removal finds all rows of the step or none.
    #[tokio::test]
    async fn a_command_that_waits_for_a_removal_finds_a_new_step() {
        let database = step(Outcome::Done(Body::empty())).await;
        answer(&database, &key(Direction::Compensation, 1), Outcome::Done(Body::empty()), OLD)
            .await;
        let open = database.begin().await.expect("begin");
        let Page { forgotten, .. } =
            page(&open.tx(), &horizon(), Timestamp(0), Events::None).await.expect("forget");
        let late = tokio::spawn({
            let database = database.clone();
            async move {
                answer(&database, &key(Direction::Action, 1), Outcome::Done(Body::empty()), NEW)
                    .await
            }
        });
        yield_to_other_tasks(&database).await;
        open.commit().await.expect("commit");
        late.await.expect("it ends");
        let rows = database.query("SELECT status, stored_at FROM barrier", ()).await.expect("read");
        assert_eq!((forgotten.len(), rows.len()), (1, 1), "{rows:?}");
    }
}
