//! The claim on SQLite: once per step, in the single writing process.

use std::collections::BTreeSet;

use sagamore_core::{StepKey, Timestamp};
use sagamore_database::{Error, Row, Statement, Tx};

use super::rows::{BarrierRow, BarrierStep, claimed};

/// Inserts the step's first action row, or affects no row if one exists. The single writer makes
/// row locks unnecessary.
static CLAIM: Statement<BarrierRow<'_>> =
    Statement::insert("barrier", "ON CONFLICT (saga, step, direction, generation) DO NOTHING");

static READ: Statement<BarrierStep<'_>> = Statement::new(
    "SELECT direction, generation, status, answer FROM barrier
     WHERE saga = given.saga AND step = given.step",
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
    let claims = sorted.iter().map(|key| claimed(key, now));
    let claimed = tx.execute_row_by_row(&CLAIM, claims).await?;
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
        let steps = part.iter().map(|place| BarrierStep::of(keys[*place]));
        for (place, found) in part.iter().zip(tx.query_row_by_row(&READ, steps).await?) {
            for row in &found {
                bytes = bytes.saturating_add(row.get::<String>("answer")?.len());
            }
            rows[*place] = Some(found);
        }
    }
    let unread = places.into_iter().find(|place| rows[*place].as_ref().is_some_and(Vec::is_empty));
    Ok((rows, unread.unwrap_or(keys.len())))
}
