//! Forgetting: the rows of a step go together or stay together. What is left of a step that has lost some of them would take
//! a repeat for something new.

use std::collections::BTreeSet;

use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Horizon, Timestamp};
use sagamore_database::port::Dialect;
use sagamore_database::{Error, Tx};

use super::{postgres, sqlite};

/// How many rows a page has, but that those of one millisecond are never in two.
const PAGE: u32 = 500;

/// When the first row after a page was stored.
const BEHIND: &str =
    "SELECT stored_at FROM barrier WHERE stored_at >= $1 AND stored_at < $2 ORDER BY stored_at LIMIT 1 OFFSET $3";

const STEPS: &str = "SELECT saga, step FROM barrier WHERE stored_at >= $1 AND stored_at < $2";

/// A step, by its saga and its name.
pub(crate) type Step = (String, String);

/// Whether the service tells events as well: then the tables of those are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Events {
    None,
    Told,
}

/// What came of a page.
#[derive(Debug)]
pub(crate) struct Page {
    /// The steps of which every row went.
    pub forgotten: Vec<Step>,
    /// Where the next one begins, if there is one.
    pub next: Option<Timestamp>,
}

/// Removes what a horizon allows of the rows that were stored at `from` or a little later: the steps whose youngest row is
/// older than the horizon, of the sagas that are meant. Rows of others are passed by, and cost one reading.
pub(crate) async fn page(tx: &Tx, horizon: &Horizon, from: Timestamp, events: Events) -> Result<Page, Error> {
    let before = horizon.started_before;
    let behind = tx.query(BEHIND, (from.0, before.0, PAGE)).await?;
    let next = match behind.first() {
        // all of them in one millisecond: on with the one after it
        Some(row) => Some(Timestamp(row.get::<i64>(0)?.max(from.0.saturating_add(1)))),
        None => None,
    };
    let rows = tx.query(STEPS, (from.0, next.unwrap_or(before).0)).await?;
    let mut steps: BTreeSet<Step> = BTreeSet::new(); // in the order in which they are claimed: no deadlocks
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

/// Whether a saga is one of those that had ended.
fn is_meant(Horizon { definitions, but, .. }: &Horizon, saga: &str) -> bool {
    let definition = saga.split_once(':').map_or(saga, |(definition, _)| definition);
    definitions.iter().any(|meant| meant.as_str() == definition)
        && (planted(Bug::OpenForgotten) || but.binary_search_by(|named| named.as_str().cmp(saga)).is_err())
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
        StepKey { saga: "toy:1".parse().expect("an id"), step: "add".parse().expect("a name"), direction, generation }
    }

    fn horizon() -> Horizon {
        let definitions = vec!["toy".parse().expect("a name")];
        Horizon { started_before: HORIZON, ended_before: HORIZON, started_from: None, definitions, but: Vec::new() }
    }

    /// A step whose first action is old.
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
        let Page { forgotten, next } = page(&open.tx(), &horizon(), Timestamp(0), Events::None).await.expect("forget");
        open.commit().await.expect("commit");
        assert_eq!(next, None);
        forgotten.len()
    }

    /// Gives another task the time to come to where it waits.
    async fn let_others_work(database: &Database) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
            if database.dialect() == Dialect::Postgres {
                database.query("SELECT 1", ()).await.expect("a round trip");
            }
        }
    }

    /// The compensation, or an operator's retry, is at work on a step that is old: its row is young once it is committed.
    #[tokio::test]
    async fn a_step_that_somebody_works_on_stays_whole() {
        let (done, refused) = (Outcome::Done(Body::empty()), Outcome::Refused(Refusal::new("no", "not today")));
        for (first, later) in [(done.clone(), key(Direction::Compensation, 1)), (refused, key(Direction::Action, 2))] {
            let database = step(first).await;
            let open = database.begin().await.expect("begin");
            let known = claim(&open.tx(), &[&later], NEW).await.expect("claim");
            let forgetting = tokio::spawn(forget(database.clone()));
            let_others_work(&database).await;
            store(&open.tx(), &[(&later, &known[0], &done)], NEW).await.expect("store");
            open.commit().await.expect("commit");
            assert_eq!(forgetting.await.expect("it ends"), 0);
            let rows = database.query("SELECT status FROM barrier", ()).await.expect("read");
            assert_eq!(rows.len(), 2, "{rows:?}");
        }
    }

    /// Who comes to a step while it is being forgotten finds all of it, or nothing.
    #[tokio::test]
    async fn a_step_that_is_being_forgotten_is_new_to_who_waits_for_it() {
        let database = step(Outcome::Done(Body::empty())).await;
        answer(&database, &key(Direction::Compensation, 1), Outcome::Done(Body::empty()), OLD).await;
        let open = database.begin().await.expect("begin");
        let Page { forgotten, .. } = page(&open.tx(), &horizon(), Timestamp(0), Events::None).await.expect("forget");
        let late = tokio::spawn({
            let database = database.clone();
            async move { answer(&database, &key(Direction::Action, 1), Outcome::Done(Body::empty()), NEW).await }
        });
        let_others_work(&database).await;
        open.commit().await.expect("commit");
        late.await.expect("it ends");
        let rows = database.query("SELECT status, stored_at FROM barrier", ()).await.expect("read");
        assert_eq!((forgotten.len(), rows.len()), (1, 1), "{rows:?}");
    }
}
