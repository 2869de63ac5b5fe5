//! Events that cannot be reacted to yet: the other one of a pair has not come, or the handler met a fault. They are kept in
//! the service's own database, so that they hold up nobody else, and come again by and by.

use std::time::Duration;

use sagamore_core::message::Event;
use sagamore_core::{Name, StepKey, Timestamp};
use sagamore_database::{Database, Error, Row, Tx, Value};
use sagamore_transport::Delivered;
use sagamore_transport::wire::encode_event;

use crate::outbox::{content, place, read};

/// The first pause after a fault. The next ones are as long as it has waited so far, and so grow twofold, up to a minute.
pub(crate) const AFTER_FAULT: Duration = Duration::from_millis(200);
/// The first pause of an event that waits for another one, which will not wait for that.
pub(crate) const FOR_ANOTHER: Duration = Duration::from_secs(10);

const KEEP: &str = "INSERT INTO inbox (saga, step, direction, event, telling_step, telling_direction,
        version, causation, hop, told_at, body, traceparent, due_at, since)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
    ON CONFLICT (saga, step, direction, event) DO UPDATE
    SET due_at = excluded.since + CASE
        WHEN excluded.since - inbox.since > 60000 THEN 60000
        WHEN excluded.since - inbox.since < 200 THEN 200
        ELSE excluded.since - inbox.since END";

const WAITING: &str = "SELECT saga, telling_step, telling_direction, event,
        version, causation, hop, told_at, body, traceparent, since
    FROM inbox WHERE saga = $1 AND step = $2 AND direction = $3";

const DUE: &str = "SELECT saga, telling_step, telling_direction, event,
        version, causation, hop, told_at, body, traceparent
    FROM inbox WHERE due_at <= $1 ORDER BY due_at LIMIT $2";

const REMOVE: &str = "DELETE FROM inbox WHERE saga = $1 AND step = $2 AND direction = $3";

/// One event that is kept.
pub(crate) struct Kept<'a> {
    /// What it is to lead to.
    pub key: &'a StepKey,
    pub event: &'a Event,
    /// The first pause.
    pub pause: Duration,
}

/// Keeps events, or puts off those that are kept already.
pub(crate) async fn keep(tx: &Tx, kept: &[Kept<'_>], now: Timestamp) -> Result<(), Error> {
    if kept.is_empty() {
        return Ok(());
    }
    let row = |Kept { key, event, pause }: &Kept<'_>| {
        let mut row = place(key);
        row.push(event.name.as_str().into());
        row.extend([event.key.step.as_str().into(), event.key.direction.as_str().into()]);
        row.extend(content(event));
        row.extend([now.plus(*pause).0.into(), Value::Int(now.0)]);
        row
    };
    tx.execute_each(KEEP, kept.iter().map(row).collect()).await.map(drop)
}

/// What waits for each of these, and since when: one round trip.
pub(crate) async fn waiting(tx: &Tx, keys: &[&StepKey]) -> Result<Vec<Vec<(Event, Timestamp)>>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let rows = tx.query_each(WAITING, keys.iter().map(|key| place(key)).collect()).await?;
    let of_key = |rows: &Vec<Row>| rows.iter().map(|row| Ok((read(row)?, Timestamp(row.get(10)?)))).collect();
    rows.iter().map(of_key).collect()
}

/// Nothing waits for these any more.
pub(crate) async fn remove(tx: &Tx, keys: &[&StepKey]) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    tx.execute_each(REMOVE, keys.iter().map(|key| place(key)).collect()).await.map(drop)
}

/// Nothing waits for these any more, and what they led to is published.
pub(crate) async fn settle(database: &Database, keys: &[StepKey]) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let open = database.begin().await?;
    remove(&open.tx(), &keys.iter().collect::<Vec<_>>()).await?;
    open.commit().await
}

/// At most so many whose time has come, as if they had just been delivered to this service.
pub(crate) async fn due(
    service: &Name,
    database: &Database,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Delivered>, Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = database.query(DUE, (now.0, limit)).await?;
    let delivered = |row| Ok(Delivered { record: encode_event(&read(row)?, service), partition: 0, offset: 0 });
    rows.iter().map(delivered).collect()
}
