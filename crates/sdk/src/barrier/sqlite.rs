//! The barrier's statements on SQLite: each once for each row, in the one process that writes.

use sagamore_core::{Body, Horizon, Name, SagaId, StepKey, Timestamp};
use sagamore_database::{Error, Row, Tx, Value};

/// Takes the step's first action row, or locks the one that is there. (Doing nothing on conflict would wait for who
/// inserts it just now, but would not lock a row that is there: two refunds at once would both find the charge.)
const CLAIM: &str = "INSERT INTO barrier (saga, step, direction, generation, status, answer, stored_at)
    VALUES ($1, $2, 'action', 1, 'claimed', '', $3)
    ON CONFLICT (saga, step, direction, generation) DO UPDATE SET status = barrier.status";

const READ: &str = "SELECT direction, generation, status, answer FROM barrier WHERE saga = $1 AND step = $2";

const STORE: &str = "INSERT INTO barrier (saga, step, direction, generation, status, answer, stored_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (saga, step, direction, generation) DO UPDATE
    SET status = excluded.status, answer = excluded.answer, stored_at = excluded.stored_at";

const RELEASE: &str = "DELETE FROM barrier
    WHERE saga = $1 AND step = $2 AND direction = 'action' AND generation = 1 AND status = 'claimed'";

const REMOVE: &str = "DELETE FROM barrier WHERE (saga, step, direction, generation) IN (
        SELECT saga, step, direction, generation FROM barrier
        WHERE stored_at < $1 AND saga NOT IN (SELECT value FROM json_each($2))
            AND substr(saga, 1, instr(saga, ':') - 1) IN (SELECT value FROM json_each($3))
        ORDER BY stored_at LIMIT $4
    )";

const ANY_LEFT: &str = "SELECT saga FROM barrier
    WHERE stored_at < $1 AND saga NOT IN (SELECT value FROM json_each($2))
        AND substr(saga, 1, instr(saga, ':') - 1) IN (SELECT value FROM json_each($3))
    ORDER BY stored_at LIMIT 1";

/// Claims in one order, and gives the rows of each step in the other.
pub(super) async fn claim(
    tx: &Tx,
    sorted: &[&StepKey],
    keys: &[&StepKey],
    now: Timestamp,
) -> Result<Vec<Vec<Row>>, Error> {
    let claims = sorted.iter().map(|key| vec![key.saga.as_str().into(), key.step.as_str().into(), now.0.into()]);
    tx.execute_each(CLAIM, claims.collect()).await?;
    tx.query_each(READ, keys.iter().map(|key| step(key)).collect()).await
}

pub(super) async fn store(tx: &Tx, rows: Vec<Vec<Value>>) -> Result<(), Error> {
    tx.execute_each(STORE, rows).await.map(drop)
}

pub(super) async fn release(tx: &Tx, keys: &[&StepKey]) -> Result<(), Error> {
    tx.execute_each(RELEASE, keys.iter().map(|key| step(key)).collect()).await.map(drop)
}

pub(super) async fn remove(tx: &Tx, horizon: &Horizon, page: u32) -> Result<u64, Error> {
    let [before, open, definitions] = params(horizon);
    tx.execute(REMOVE, (before, open, definitions, page)).await
}

pub(super) async fn any_left(tx: &Tx, horizon: &Horizon) -> Result<bool, Error> {
    Ok(!tx.query(ANY_LEFT, params(horizon).to_vec()).await?.is_empty())
}

fn params(Horizon { before, definitions, open }: &Horizon) -> [Value; 3] {
    let list = |texts: Vec<&str>| Value::from(Body::of(&texts).expect("a list of texts is JSON").as_str());
    let (open, definitions) = (open.iter().map(SagaId::as_str), definitions.iter().map(Name::as_str));
    [before.0.into(), list(open.collect()), list(definitions.collect())]
}

fn step(key: &StepKey) -> Vec<Value> {
    vec![key.saga.as_str().into(), key.step.as_str().into()]
}
