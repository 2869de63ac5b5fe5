//! The removal of barrier rows. All rows of a step are removed together: with only some of them, a
//! repeat would look new.

use std::collections::BTreeSet;

use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Horizon, Timestamp};
use sagamore_database::port::Dialect;
use sagamore_database::{Error, Tx};

use super::step::{Events, Step};
use super::{postgres, sqlite};

/// Maximum rows of a page. Rows of one millisecond are never split between pages.
const PAGE: u32 = 500;

/// Finds the time of the first row after a page.
const BEHIND: &str = "SELECT stored_at FROM barrier WHERE stored_at >= $1 AND stored_at < $2 ORDER BY stored_at LIMIT 1 OFFSET $3";

const STEPS: &str = "SELECT saga, step FROM barrier WHERE stored_at >= $1 AND stored_at < $2";

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
        Some(row) => Some(Timestamp(row.get::<i64>(0)?.max(from.0.saturating_add(1)))),
        None => None,
    };
    let rows = tx.query(STEPS, (from.0, next.unwrap_or(before).0)).await?;
    // the order of claims, which prevents deadlocks
    let mut steps: BTreeSet<Step> = BTreeSet::new();
    for row in &rows {
        let step: Step = (row.get(0)?, row.get(1)?);
        if is_meant(horizon, &step.0) {
            steps.insert(step);
        }
    }
    let steps: Vec<Step> = steps.into_iter().collect();
    let forgotten = match tx.dialect() {
        _ if steps.is_empty() => Vec::new(),
        Dialect::Sqlite => sqlite::forget(tx, steps, before, events).await?,
        Dialect::Postgres => postgres::forget(tx, &steps, before, events).await?,
    };
    Ok(Page { forgotten, next })
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
    use sagamore_core::{Body, Direction, Outcome, Refusal, StepKey};
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
