//! The barrier's statements for SQLite. Each runs once per row, in the single writing process.

use std::collections::BTreeSet;

use sagamore_core::{StepKey, Timestamp};
use sagamore_database::{Error, Row, Tx, Value};

use super::step::{Events, Step};

/// Inserts the step's first action row, or affects no row if one exists. The single writer makes
/// row locks unnecessary.
const CLAIM: &str =
    "INSERT INTO barrier (saga, step, direction, generation, status, answer, stored_at)
    VALUES ($1, $2, 'action', 1, 'claimed', '', $3)
    ON CONFLICT (saga, step, direction, generation) DO NOTHING";

const READ: &str =
    "SELECT direction, generation, status, answer FROM barrier WHERE saga = $1 AND step = $2";

const STORE: &str =
    "INSERT INTO barrier (saga, step, direction, generation, status, answer, stored_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (saga, step, direction, generation) DO UPDATE
    SET status = excluded.status, answer = excluded.answer, stored_at = excluded.stored_at";

const RELEASE: &str = "DELETE FROM barrier
    WHERE saga = $1 AND step = $2 AND direction = 'action' AND generation = 1 AND status = 'claimed'";

macro_rules! forget {
    ($more:literal) => {
        concat!(
            "DELETE FROM barrier WHERE saga = $1 AND step = $2
             AND $3 > (SELECT max(stored_at) FROM barrier WHERE saga = $1 AND step = $2)",
            $more
        )
    };
}

const FORGET: &str = forget!("");

/// Spares steps with an unsent or waiting event.
const FORGET_TOLD: &str = forget!(
    " AND NOT EXISTS (SELECT 1 FROM emitted WHERE saga = $1 AND step = $2 AND sent = FALSE)
      AND NOT EXISTS (SELECT 1 FROM inbox WHERE saga = $1 AND step = $2)"
);

/// Number of steps whose answers are read before their bytes are counted.
const READ_TOGETHER: usize = 16;

/// Claims in sorted order and returns the rows of each step in the keys' order, `None` for a new
/// one.
pub(super) async fn claim(
    tx: &Tx,
    sorted: &[&StepKey],
    keys: &[&StepKey],
    now: Timestamp,
    bytes_max: usize,
) -> Result<(Vec<Option<Vec<Row>>>, usize), Error> {
    let claims = sorted
        .iter()
        .map(|key| vec![key.saga.as_str().into(), key.step.as_str().into(), now.0.into()]);
    let claimed = tx.execute_each(CLAIM, claims.collect()).await?;
    let step_of = |key: &StepKey| (key.saga.clone(), key.step.clone());
    let known: BTreeSet<_> = sorted
        .iter()
        .zip(claimed)
        .filter(|(_, rows)| *rows == 0)
        .map(|(key, _)| step_of(key))
        .collect();
    let mut rows: Vec<Option<Vec<Row>>> = vec![None; keys.len()];
    let places = (0..keys.len()).filter(|place| known.contains(&step_of(keys[*place])));
    let places: Vec<usize> = places.collect();
    places.iter().for_each(|place| rows[*place] = Some(Vec::new()));
    let mut bytes = 0_usize;
    for part in places.chunks(READ_TOGETHER) {
        if bytes >= bytes_max {
            break;
        }
        let read =
            tx.query_each(READ, part.iter().map(|place| step(keys[*place])).collect()).await?;
        for (place, found) in part.iter().zip(read) {
            for row in &found {
                bytes = bytes.saturating_add(row.get::<String>("answer")?.len());
            }
            rows[*place] = Some(found);
        }
    }
    let unread = places.into_iter().find(|place| rows[*place].as_ref().is_some_and(Vec::is_empty));
    Ok((rows, unread.unwrap_or(keys.len())))
}

pub(super) async fn store(tx: &Tx, rows: Vec<Vec<Value>>) -> Result<(), Error> {
    tx.execute_each(STORE, rows).await.map(drop)
}

pub(super) async fn release(tx: &Tx, keys: &[&StepKey]) -> Result<(), Error> {
    tx.execute_each(RELEASE, keys.iter().map(|key| step(key)).collect()).await.map(drop)
}

/// Removes the steps whose youngest row is older than `before`, and returns them.
pub(super) async fn forget(
    tx: &Tx,
    mut steps: Vec<Step>,
    before: Timestamp,
    events: Events,
) -> Result<Vec<Step>, Error> {
    let sql = match events {
        Events::None => FORGET,
        Events::Emitted => FORGET_TOLD,
    };
    let sets = steps.iter().map(|(saga, step)| vec![saga.into(), step.into(), before.0.into()]);
    let mut removed = tx.execute_each(sql, sets.collect()).await?.into_iter();
    steps.retain(|_| removed.next().is_some_and(|rows| rows > 0));
    Ok(steps)
}

fn step(key: &StepKey) -> Vec<Value> {
    vec![key.saga.as_str().into(), key.step.as_str().into()]
}
