//! Events that cannot be handled yet: another awaited event is missing, or the handler met a fault.
//! They are stored in the service's database and retried, so that they block no other event.

use std::collections::HashMap;
use std::time::Duration;

use sagamore_core::message::Event;
use sagamore_core::{Name, StepKey, Timestamp};
use sagamore_database::{Database, Error, Many, Row, Tx, Value};
use sagamore_transport::Delivery;
use sagamore_transport::wire::encode_event;

use crate::stored_event::{UnreadableRow, content, place, read};

/// The first pause after a fault. Each further pause is as long as the event has waited so far, up
/// to a minute.
pub(crate) const AFTER_FAULT: Duration = Duration::from_millis(200);
/// The first pause of an event that waits for another one. The other one's arrival does not depend
/// on it.
pub(crate) const FOR_ANOTHER: Duration = Duration::from_secs(10);

/// The longest pause.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Maximum clock difference between processes of one service that respect each other's pauses.
///
/// A clock that is set back by more delays nothing. A smaller setback delays at most by this and a
/// pause.
const CLOCKS_AGREE_WITHIN: Duration = Duration::from_secs(60);

/// Returns the latest plausible due time. A later one comes from a clock that was set back or is
/// far ahead, and counts as due.
pub(crate) fn beyond(now: Timestamp) -> Timestamp {
    now.plus(PAUSE_MAX).plus(CLOCKS_AGREE_WITHIN)
}

/// Builds the statement around the rows.
macro_rules! store {
    ($rows:literal) => {
        concat!(
            "INSERT INTO inbox (saga, step, direction, event, telling_step, telling_direction,
                version, causation, hop, told_at, body, traceparent, due_at, since, why) ",
            $rows,
            " ON CONFLICT (saga, step, direction, event) DO UPDATE
            SET why = excluded.why, strange_since = NULL, due_at = excluded.since + CASE
                WHEN excluded.since - inbox.since > 60000 THEN 60000
                WHEN excluded.since - inbox.since < 200 THEN 200
                ELSE excluded.since - inbox.since END"
        )
    };
}

const STORE: Many = Many {
    sqlite: store!("VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"),
    postgres: store!(
        "SELECT * FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS TEXT[]),
            CAST($5 AS TEXT[]), CAST($6 AS TEXT[]), CAST($7 AS BIGINT[]), CAST($8 AS TEXT[]), CAST($9 AS BIGINT[]),
            CAST($10 AS BIGINT[]), CAST($11 AS TEXT[]), CAST($12 AS TEXT[]), CAST($13 AS BIGINT[]), CAST($14 AS BIGINT[]),
            CAST($15 AS TEXT[]))"
    ),
};

/// Selects the columns of [`read`], then the awaiting step and the start of the wait.
const WAITING: Many = Many {
    sqlite: "SELECT saga, telling_step, telling_direction, event,
            version, causation, hop, told_at, body, traceparent, since, step, direction
        FROM inbox WHERE saga = $1 AND step = $2 AND direction = $3",
    postgres: "SELECT i.saga, i.telling_step, i.telling_direction, i.event,
            i.version, i.causation, i.hop, i.told_at, i.body, i.traceparent, i.since, i.step, i.direction
        FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[])) AS k(saga, step, direction)
        JOIN inbox i ON i.saga = k.saga AND i.step = k.step AND i.direction = k.direction",
};

/// Selects the due rows before which the total of bodies is below the bound.
const DUE: &str = "
    WITH due AS (
        SELECT saga, step, direction, event, due_at AS due, octet_length(body) AS bytes
        FROM inbox WHERE due_at <= $1 OR due_at > $2 ORDER BY due_at LIMIT $3
    ), summed AS (
        SELECT saga, step, direction, event, due,
            sum(bytes) OVER (ORDER BY due, saga, step, direction, event ROWS UNBOUNDED PRECEDING) - bytes AS before
        FROM due
    )
    SELECT saga, telling_step, telling_direction, event,
        version, causation, hop, told_at, body, traceparent, step, direction, since, strange_since
    FROM summed JOIN inbox USING (saga, step, direction, event)
    WHERE before < CAST($4 AS BIGINT) ORDER BY due, saga, step, direction, event";

/// Maximum bytes of events that are taken together. The last one may exceed the bound.
const DUE_BYTES_MAX: i64 = 4 << 20;

/// Postpones an unreadable row, addressed by its stored key.
const UNREADABLE: &str = "UPDATE inbox SET due_at = $5, why = $6
    WHERE saga = $1 AND step = $2 AND direction = $3 AND event = $4";

/// Postpones an event for a reaction that this program lacks.
const PUT_OFF: &str = "UPDATE inbox SET due_at = $5, strange_since = coalesce(strange_since, $6),
        why = 'this program has no such reaction to it'
    WHERE saga = $1 AND step = $2 AND direction = $3 AND event = $4";

const REMOVE: Many = Many {
    sqlite: "DELETE FROM inbox WHERE saga = $1 AND step = $2 AND direction = $3 AND ($4 IS NULL OR event = $4)",
    postgres: "DELETE FROM inbox i
        USING UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS TEXT[]))
            AS k(saga, step, direction, event)
        WHERE i.saga = k.saga AND i.step = k.step AND i.direction = k.direction
            AND (k.event IS NULL OR i.event = k.event)",
};

/// A removal from the inbox.
#[derive(Clone, Debug)]
pub(crate) struct InboxRemoval {
    /// The step whose entries are removed.
    pub key: StepKey,
    /// Removes only this event, as another awaited one may just have arrived. `None`: all events,
    /// because the step has run.
    pub event: Option<Name>,
}

/// An event to store in the inbox.
pub(crate) struct InboxEntry<'a> {
    /// The step that waits for the event.
    pub key: &'a StepKey,
    pub event: &'a Event,
    /// The pause before the first retry.
    pub pause: Duration,
    /// The fault of the step's handler.
    pub why: Option<&'a str>,
}

/// An event that is due.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    /// The step that waits for the event.
    pub key: StepKey,
    pub event: Event,
    pub since: Timestamp,
    /// The time since which every program lacked such a reaction.
    pub strange_since: Option<Timestamp>,
}

/// Stores events, or postpones those that are already stored.
pub(crate) async fn store(
    tx: &Tx,
    entries: &[InboxEntry<'_>],
    now: Timestamp,
) -> Result<(), Error> {
    let row = |InboxEntry { key, event, pause, why }: &InboxEntry<'_>| {
        let mut row = place(key);
        row.push(event.name.as_str().into());
        row.extend([event.key.step.as_str().into(), event.key.direction.as_str().into()]);
        row.extend(content(event));
        row.extend([now.plus(*pause).0.into(), Value::Int(now.0), why.map(str::to_owned).into()]);
        row
    };
    tx.execute_many(&STORE, entries.iter().map(row).collect()).await
}

/// Returns the events that wait for each key, and since when. Takes one round trip.
pub(crate) async fn waiting(
    tx: &Tx,
    keys: &[&StepKey],
) -> Result<Vec<Vec<(Event, Timestamp)>>, Error> {
    let mut waiting: HashMap<[String; 3], Vec<(Event, Timestamp)>> = HashMap::new();
    for row in tx.query_many(&WAITING, keys.iter().map(|key| place(key)).collect()).await? {
        let place = [row.get(0)?, row.get(11)?, row.get(12)?];
        match read(&row) {
            Ok(event) => waiting.entry(place).or_default().push((event, Timestamp(row.get(10)?))),
            // treated as missing: its reaction keeps waiting, and the other rows are read
            Err(why) => {
                tracing::error!(chain = place[0], step = place[1], %why, "cannot read an event in the inbox")
            }
        }
    }
    let of_key = |key: &&StepKey| {
        let place =
            [key.saga.as_str(), key.step.as_str(), key.direction.as_str()].map(str::to_owned);
        waiting.remove(&place).unwrap_or_default()
    };
    Ok(keys.iter().map(of_key).collect())
}

/// Removes entries.
pub(crate) async fn remove(tx: &Tx, removals: &[InboxRemoval]) -> Result<(), Error> {
    let row = |InboxRemoval { key, event }: &InboxRemoval| {
        let mut row = place(key);
        row.push(event.as_ref().map(|event| event.as_str().to_owned()).into());
        row
    };
    tx.execute_many(&REMOVE, removals.iter().map(row).collect()).await
}

/// Postpones events without a reaction in this program, if they still exist.
pub(crate) async fn put_off(
    database: &Database,
    strange: &[Due],
    now: Timestamp,
) -> Result<(), Error> {
    if strange.is_empty() {
        return Ok(());
    }
    let row = |Due { key, event, since, .. }: &Due| {
        let pause = now.since(*since).clamp(FOR_ANOTHER, PAUSE_MAX);
        let mut row = place(key);
        row.extend([event.name.as_str().into(), now.plus(pause).0.into(), now.0.into()]);
        row
    };
    let open = database.begin().await?;
    open.tx().execute_each(PUT_OFF, strange.iter().map(row).collect()).await?;
    open.commit().await
}

/// Reads due events, up to `limit` and a bound of bytes. Unreadable rows are postponed and returned
/// separately, so that they block no other row.
pub(crate) async fn due(
    database: &Database,
    now: Timestamp,
    limit: usize,
) -> Result<(Vec<Due>, Vec<UnreadableRow>), Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = database.query(DUE, (now.0, beyond(now).0, limit, DUE_BYTES_MAX)).await?;
    let damaged = |column: &str, wanted| Error::Column { column: column.to_owned(), wanted };
    let read_due = |row: &Row| {
        let event = read(row)?;
        let step = row.get::<String>(10)?.parse().map_err(|_| damaged("step", "a name"))?;
        let direction =
            row.get::<String>(11)?.parse().map_err(|_| damaged("direction", "a direction"))?;
        let key = StepKey { saga: event.chain().clone(), step, direction, generation: 1 };
        let strange_since: Option<i64> = row.get(13)?;
        Ok(Due {
            key,
            event,
            since: Timestamp(row.get(12)?),
            strange_since: strange_since.map(Timestamp),
        })
    };
    let (mut due, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in &rows {
        match read_due(row) {
            Ok(event) => due.push(event),
            Err(why) => unreadable.push(UnreadableRow::of(row, &[0, 10, 11, 3], why)),
        }
    }
    if !unreadable.is_empty() {
        let row = |row: &UnreadableRow| {
            let why = format!("this program cannot read it: {}", row.why);
            let place = row.place.iter().map(|text| Value::from(text.as_str()));
            place.chain([now.plus(PAUSE_MAX).0.into(), why.into()]).collect()
        };
        let open = database.begin().await?;
        open.tx().execute_each(UNREADABLE, unreadable.iter().map(row).collect()).await?;
        open.commit().await?;
    }
    Ok((due, unreadable))
}

impl Due {
    /// Returns the event as if it had just been delivered.
    pub fn delivery(&self, service: &Name) -> Delivery {
        Delivery {
            record: encode_event(&self.event, service),
            partition: 0,
            offset: 0,
            unreadable: None,
        }
    }
}
