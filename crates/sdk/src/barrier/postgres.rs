//! The barrier's statements for PostgreSQL. Each runs once per chunk, with the rows as arrays.
//!
//! All key columns come from arrays: a comparison with a constant would make the plan scan the
//! whole table.

use sagamore_core::{StepKey, Timestamp};
use sagamore_database::postgres::array;
use sagamore_database::{Error, Row, Tx, Value};

use super::step::{Events, Step};

/// Claims as on SQLite. A row that was just inserted has no `xmax`.
///
/// If the first action's row is new, the step has no other row, because every stored row comes with
/// that one.
const CLAIM: &str = "
INSERT INTO barrier (saga, step, direction, generation, status, answer, stored_at)
SELECT k.saga, k.step, 'action', 1, 'claimed', '', $3
FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[])) WITH ORDINALITY AS k(saga, step, place) ORDER BY k.place
ON CONFLICT (saga, step, direction, generation) DO UPDATE SET status = barrier.status
RETURNING saga, step, xmax = 0";

/// Reads rows in a separate statement, which sees the commits that the claim waited for.
///
/// It returns the steps before which the total of answers is below the bound. Lengths are computed
/// without reading the answers.
const READ: &str = "
SELECT f.place, b.direction, b.generation, b.status, b.answer
FROM (
    SELECT s.place, s.saga, s.step, sum(s.bytes) OVER (ORDER BY s.place) - s.bytes AS before
    FROM (
        SELECT k.place, k.saga, k.step, (
            SELECT coalesce(sum(octet_length(y.answer)), 0) FROM barrier y WHERE y.saga = k.saga AND y.step = k.step
        ) AS bytes
        FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[])) WITH ORDINALITY AS k(saga, step, place)
    ) s
) f
JOIN barrier b ON b.saga = f.saga AND b.step = f.step
WHERE f.before < CAST($3 AS BIGINT)";

const STORE: &str = "
INSERT INTO barrier (saga, step, direction, generation, status, answer, stored_at)
SELECT * FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS BIGINT[]),
    CAST($5 AS TEXT[]), CAST($6 AS TEXT[]), CAST($7 AS BIGINT[]))
ON CONFLICT (saga, step, direction, generation) DO UPDATE
SET status = excluded.status, answer = excluded.answer, stored_at = excluded.stored_at";

const RELEASE: &str = "
DELETE FROM barrier b
USING UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS BIGINT[]))
    AS k(saga, step, direction, generation)
WHERE b.saga = k.saga AND b.step = k.step AND b.direction = k.direction AND b.generation = k.generation
    AND b.status = 'claimed'";

/// Locks steps against concurrent transactions, as the claim does.
const HOLD: &str = "
SELECT b.saga
FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS BIGINT[]))
    WITH ORDINALITY AS k(saga, step, direction, generation, place)
JOIN barrier b ON b.saga = k.saga AND b.step = k.step AND b.direction = k.direction AND b.generation = k.generation
ORDER BY k.place FOR UPDATE OF b";

/// Removes rows in a separate statement, which sees the commits that the lock waited for.
///
/// `bool_and` avoids a plan that `max` would allow: a walk through the index on age, over all
/// younger rows.
macro_rules! forget {
    ($more:literal) => {
        concat!(
            "DELETE FROM barrier b
             USING UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[])) AS k(saga, step)
             WHERE b.saga = k.saga AND b.step = k.step
             AND (SELECT bool_and(y.stored_at < $3) FROM barrier y WHERE y.saga = b.saga AND y.step = b.step)",
            $more,
            " RETURNING b.saga, b.step"
        )
    };
}

const FORGET: &str = forget!("");

/// Spares steps with an unsent or waiting event.
const FORGET_TOLD: &str = forget!(
    " AND NOT EXISTS (SELECT 1 FROM emitted e WHERE e.saga = k.saga AND e.step = k.step AND e.sent = FALSE)
      AND NOT EXISTS (SELECT 1 FROM inbox i WHERE i.saga = k.saga AND i.step = k.step)"
);

/// Claims in sorted order and returns the rows of each step in the keys' order, `None` for a new
/// one. Only steps with history are read.
pub(super) async fn claim(
    tx: &Tx,
    sorted: &[&StepKey],
    keys: &[&StepKey],
    now: Timestamp,
    bytes_max: usize,
) -> Result<(Vec<Option<Vec<Row>>>, usize), Error> {
    let mut known = std::collections::BTreeSet::new();
    for row in tx.query(CLAIM, (sagas(sorted), steps(sorted), now.0)).await? {
        if !row.get::<bool>(2)? {
            known.insert((row.get::<String>(0)?, row.get::<String>(1)?));
        }
    }
    let is_known = |key: &StepKey| {
        known.contains(&(key.saga.as_str().to_owned(), key.step.as_str().to_owned()))
    };
    let mut rows: Vec<Option<Vec<Row>>> = vec![None; keys.len()];
    if known.is_empty() {
        return Ok((rows, keys.len()));
    }
    let (places, read): (Vec<usize>, Vec<&StepKey>) = keys
        .iter()
        .enumerate()
        .filter(|(_, key)| is_known(key))
        .map(|(place, key)| (place, *key))
        .unzip();
    places.iter().for_each(|place| rows[*place] = Some(Vec::new()));
    let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX).max(1);
    for row in tx.query(READ, (sagas(&read), steps(&read), bytes_max)).await? {
        let nth = usize::try_from(row.get::<i64>("place")?).unwrap_or_default().saturating_sub(1);
        if let Some(place) = places.get(nth) {
            rows[*place].get_or_insert_default().push(row);
        }
    }
    let unread = places.into_iter().find(|place| rows[*place].as_ref().is_some_and(Vec::is_empty));
    Ok((rows, unread.unwrap_or(keys.len())))
}

pub(super) async fn store(tx: &Tx, rows: Vec<Vec<Value>>) -> Result<(), Error> {
    let mut columns: [Vec<Value>; 7] = Default::default();
    for row in rows {
        row.into_iter().zip(&mut columns).for_each(|(value, column)| column.push(value));
    }
    tx.execute(STORE, columns.map(array).to_vec()).await.map(drop)
}

pub(super) async fn release(tx: &Tx, keys: &[&StepKey]) -> Result<(), Error> {
    let (directions, generations) = (keys.iter().map(|_| "action"), keys.iter().map(|_| 1_i64));
    tx.execute(RELEASE, (sagas(keys), steps(keys), array(directions), array(generations)))
        .await
        .map(drop)
}

/// Removes the steps whose youngest row is older than `before`, and returns them.
pub(super) async fn forget(
    tx: &Tx,
    steps: &[Step],
    before: Timestamp,
    events: Events,
) -> Result<Vec<Step>, Error> {
    let sql = match events {
        Events::None => FORGET,
        Events::Emitted => FORGET_TOLD,
    };
    let sagas = || array(steps.iter().map(|(saga, _)| saga.as_str()));
    let names = || array(steps.iter().map(|(_, step)| step.as_str()));
    let (directions, generations) = (steps.iter().map(|_| "action"), steps.iter().map(|_| 1_i64));
    tx.query(HOLD, (sagas(), names(), array(directions), array(generations))).await?;
    let removed = tx.query(sql, (sagas(), names(), before.0)).await?;
    let mut forgotten = removed
        .iter()
        .map(|row| Ok((row.get(0)?, row.get(1)?)))
        .collect::<Result<Vec<Step>, Error>>()?;
    forgotten.sort_unstable();
    forgotten.dedup();
    Ok(forgotten)
}

fn sagas(keys: &[&StepKey]) -> Value {
    array(keys.iter().map(|key| key.saga.as_str()))
}

fn steps(keys: &[&StepKey]) -> Value {
    array(keys.iter().map(|key| key.step.as_str()))
}
