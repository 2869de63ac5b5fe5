//! The claim on PostgreSQL: one statement claims the steps of a chunk, another reads their rows.
//!
//! All key columns come from arrays: a comparison with a constant would make the plan scan the
//! whole table.

use std::collections::BTreeSet;

use sagamore_core::{StepKey, Timestamp};
use sagamore_database::{Error, Row, Statement, Tx, given_row};

use super::rows::{BarrierRow, claimed};

given_row! {
    /// A step that is claimed.
    struct Claim<'a> {
        place: i64,
    }
    including row: BarrierRow<'a>
}

given_row! {
    /// A step whose rows are read.
    struct KnownStep<'a> {
        place: i64,
        saga: &'a str,
        step: &'a str,
        bytes_max: i64,
    }
}

/// Claims as on SQLite. A row that was just inserted has no `xmax`.
///
/// If the first action's row is new, the step has no other row, because every stored row comes with
/// that one.
static CLAIM: Statement<Claim<'_>> = Statement::new(
    "INSERT INTO barrier (saga, step, direction, generation, status, answer, stored_at)
     SELECT given.saga, given.step, given.direction, given.generation, given.status, given.answer,
        given.stored_at
     FROM given ORDER BY given.place
     ON CONFLICT (saga, step, direction, generation) DO UPDATE SET status = barrier.status
     RETURNING saga, step, xmax = 0 AS is_new",
);

/// Reads rows in a separate statement, which sees the commits that the claim waited for.
///
/// It returns the steps before which the total of answers is below the bound. Lengths are computed
/// without reading the answers.
static READ: Statement<KnownStep<'_>> = Statement::new(
    "SELECT f.place, b.direction, b.generation, b.status, b.answer
     FROM (
        SELECT s.place, s.saga, s.step, s.bytes_max,
            sum(s.bytes) OVER (ORDER BY s.place) - s.bytes AS before
        FROM (
            SELECT given.place, given.saga, given.step, given.bytes_max, (
                SELECT coalesce(sum(octet_length(y.answer)), 0) FROM barrier y
                WHERE y.saga = given.saga AND y.step = given.step
            ) AS bytes
            FROM given
        ) s
     ) f
     JOIN barrier b ON b.saga = f.saga AND b.step = f.step
     WHERE f.before < f.bytes_max",
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
    let claims = (0..).zip(sorted).map(|(place, key)| Claim { place, row: claimed(key, now) });
    let mut known = BTreeSet::new();
    for row in tx.query_rows(&CLAIM, claims).await? {
        if !row.get::<bool>("is_new")? {
            known.insert((row.get::<String>("saga")?, row.get::<String>("step")?));
        }
    }
    let is_known = |key: &StepKey| {
        known.contains(&(key.saga.as_str().to_owned(), key.step.as_str().to_owned()))
    };
    let mut rows: Vec<Option<Vec<Row>>> = vec![None; keys.len()];
    let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX).max(1);
    let mut read = Vec::new();
    for ((place, key), rows) in (0..).zip(keys).zip(&mut rows).filter(|((_, key), _)| is_known(key))
    {
        *rows = Some(Vec::new());
        read.push(KnownStep { place, saga: key.saga.as_str(), step: key.step.as_str(), bytes_max });
    }
    for row in tx.query_rows(&READ, read).await? {
        let place = usize::try_from(row.get::<i64>("place")?).unwrap_or(usize::MAX);
        if let Some(Some(rows)) = rows.get_mut(place) {
            rows.push(row);
        }
    }
    let unread = rows.iter().position(|rows| rows.as_ref().is_some_and(Vec::is_empty));
    Ok((rows, unread.unwrap_or(keys.len())))
}
