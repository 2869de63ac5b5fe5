//! The table of emitted events, one per barrier row. A repeated reaction emits the same event
//! again, and the events that start chains are sent from here.

use std::collections::HashSet;

use sagamore_core::message::Event;
use sagamore_core::{SagaId, StepKey, Timestamp};
use sagamore_database::port::Dialect;
use sagamore_database::{Database, Error, Many, Migration, Row, Tx, Value};

use crate::barrier::step::Step;
use crate::inbox;
use crate::stored_event::{UnreadableRow, content, place, read};

/// The migrations of emitted events and of the inbox (see `inbox.rs`).
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration::new("0001-events", EVENTS),
    Migration::new("0002-beginning", BEGINNING),
    Migration::new(
        "0003-why",
        "ALTER TABLE inbox ADD COLUMN why TEXT; ALTER TABLE inbox ADD COLUMN strange_since BIGINT",
    ),
    Migration::new(
        "0004-chain-key",
        "CREATE TABLE chain_key (key TEXT PRIMARY KEY, chain TEXT NOT NULL); CREATE INDEX chain_key_chain ON chain_key (chain)",
    ),
];

/// Keeps the first events of chains for a while after the barrier's rows, and schedules retries of
/// events that cannot be sent.
const BEGINNING: &str = "
    ALTER TABLE emitted ADD COLUMN forgotten_at BIGINT;
    ALTER TABLE emitted ADD COLUMN retry_at BIGINT;
    CREATE INDEX emitted_forgotten_at ON emitted (forgotten_at) WHERE forgotten_at IS NOT NULL;
    CREATE INDEX emitted_due ON emitted (coalesce(retry_at, 0), told_at) WHERE sent = FALSE;
    DROP INDEX emitted_unsent";

const EVENTS: &str = "
    CREATE TABLE emitted (
        saga TEXT NOT NULL,
        step TEXT NOT NULL,
        direction TEXT NOT NULL,
        event TEXT NOT NULL,
        version BIGINT NOT NULL,
        causation TEXT,
        hop BIGINT NOT NULL,
        told_at BIGINT NOT NULL,
        body TEXT NOT NULL,
        traceparent TEXT,
        sent BOOLEAN NOT NULL,
        PRIMARY KEY (saga, step, direction)
    );
    CREATE INDEX emitted_unsent ON emitted (told_at) WHERE sent = FALSE;
    CREATE TABLE inbox (
        saga TEXT NOT NULL,
        step TEXT NOT NULL,
        direction TEXT NOT NULL,
        event TEXT NOT NULL,
        telling_step TEXT NOT NULL,
        telling_direction TEXT NOT NULL,
        version BIGINT NOT NULL,
        causation TEXT,
        hop BIGINT NOT NULL,
        told_at BIGINT NOT NULL,
        body TEXT NOT NULL,
        traceparent TEXT,
        due_at BIGINT NOT NULL,
        since BIGINT NOT NULL,
        PRIMARY KEY (saga, step, direction, event)
    );
    CREATE INDEX inbox_due_at ON inbox (due_at)";

/// The columns that [`read`] expects, in order.
macro_rules! columns {
    () => {
        "saga, step, direction, event, version, causation, hop, told_at, body, traceparent"
    };
}

/// Maximum first events that are removed per transaction.
const FORGOTTEN_MAX: u32 = 500;

/// Builds the statement around the rows and its result.
macro_rules! store {
    ($rows:literal, $gives:literal) => {
        concat!(
            "INSERT INTO emitted
            (saga, step, direction, event, version, causation, hop, told_at, body, traceparent, sent) ",
            $rows,
            " ON CONFLICT (saga, step, direction) DO NOTHING",
            $gives
        )
    };
}

macro_rules! stores {
    ($gives:literal) => {
        Many {
            sqlite: store!("VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)", $gives),
            postgres: store!(
                "SELECT * FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS TEXT[]),
                    CAST($5 AS BIGINT[]), CAST($6 AS TEXT[]), CAST($7 AS BIGINT[]), CAST($8 AS BIGINT[]), CAST($9 AS TEXT[]),
                    CAST($10 AS TEXT[]), CAST($11 AS BOOLEAN[]))",
                $gives
            ),
        }
    };
}

const STORE: Many = stores!("");
/// Stores like `STORE` and returns the rows that are new.
const STORE_UNSENT: Many = stores!(" RETURNING saga, step");

const READ: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM emitted WHERE saga = $1 AND step = $2 AND direction = $3"
);

/// Reads one page of a chain.
const OF_CHAIN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM emitted WHERE saga = $1 ORDER BY hop, step, direction LIMIT $2 OFFSET $3"
);

/// Maximum events of one chain that are read together. Each is at most as long as a record.
pub(crate) const OF_CHAIN_MAX: usize = 16;

/// Maximum bytes of events that are sent together. The last one may exceed the bound.
const UNSENT_BYTES_MAX: i64 = 4 << 20;

/// Removes events, except the first of a chain.
const FORGET: Many = Many {
    sqlite: "DELETE FROM emitted WHERE saga = $1 AND step = $2 AND causation IS NOT NULL",
    postgres:
        "DELETE FROM emitted e USING UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[])) AS k(saga, step)
        WHERE e.saga = k.saga AND e.step = k.step AND e.causation IS NOT NULL",
};

/// Marks the first event of a chain after the barrier's rows are removed.
const FORGOTTEN: Many = Many {
    sqlite: "UPDATE emitted SET forgotten_at = $3 WHERE saga = $1 AND step = $2 AND causation IS NULL",
    postgres: "UPDATE emitted e SET forgotten_at = k.at
        FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[]), CAST($3 AS BIGINT[])) AS k(saga, step, at)
        WHERE e.saga = k.saga AND e.step = k.step AND e.causation IS NULL",
};

const BEGINNINGS: &str = "
    SELECT saga, step FROM emitted WHERE forgotten_at < $1 ORDER BY forgotten_at LIMIT $2";

/// Spares a key that has started a new chain meanwhile.
const FORGET_BEGINNINGS: Many = Many {
    sqlite: "DELETE FROM emitted WHERE saga = $1 AND step = $2 AND forgotten_at < $3",
    postgres: "DELETE FROM emitted e
        USING UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[]), CAST($3 AS BIGINT[])) AS k(saga, step, before)
        WHERE e.saga = k.saga AND e.step = k.step AND e.forgotten_at < k.before",
};

const POSTPONED: Many = Many {
    sqlite: "UPDATE emitted SET retry_at = $4 WHERE saga = $1 AND step = $2 AND direction = $3",
    postgres: "UPDATE emitted e SET retry_at = k.at
        FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS BIGINT[]))
            AS k(saga, step, direction, at)
        WHERE e.saga = k.saga AND e.step = k.step AND e.direction = k.direction",
};

const SENT: Many = Many {
    sqlite: "UPDATE emitted SET sent = TRUE WHERE saga = $1 AND step = $2 AND direction = $3",
    postgres: "UPDATE emitted e SET sent = TRUE
        FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[])) AS k(saga, step, direction)
        WHERE e.saga = k.saga AND e.step = k.step AND e.direction = k.direction",
};

/// Stores events that the caller sends. Takes one round trip.
pub(crate) async fn store(tx: &Tx, events: &[&Event]) -> Result<(), Error> {
    tx.execute_many(&STORE, events.iter().map(|event| row(event, true)).collect()).await
}

/// Stores events to be sent by the relay, and returns the new ones. Takes one round trip.
pub(crate) async fn store_unsent<'a>(
    tx: &Tx,
    events: impl Iterator<Item = &'a Event>,
) -> Result<Fresh, Error> {
    let stored =
        tx.query_many(&STORE_UNSENT, events.map(|event| row(event, false)).collect()).await?;
    stored.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect::<Result<_, Error>>().map(Fresh)
}

/// The chains and steps whose events are new.
pub(crate) struct Fresh(HashSet<(String, String)>);

impl Fresh {
    /// Returns whether the event of this key is new.
    pub fn contains(&self, key: &StepKey) -> bool {
        self.0.contains(&(key.saga.as_str().to_owned(), key.step.as_str().to_owned()))
    }
}

fn row(event: &Event, sent: bool) -> Vec<Value> {
    let mut row = place(&event.key);
    row.push(event.name.as_str().into());
    row.extend(content(event));
    row.push(Value::Bool(sent));
    row
}

/// Returns the stored event of each key, in order, or `None`. Takes one round trip. An unreadable
/// event is an error of its own.
pub(crate) async fn stored_events(
    tx: &Tx,
    keys: &[&StepKey],
) -> Result<Vec<Result<Option<Event>, Error>>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let rows = tx.query_each(READ, keys.iter().map(|key| place(key)).collect()).await?;
    Ok(rows.iter().map(|rows| rows.first().map(read).transpose()).collect())
}

/// Returns the time of the last emitted event of a chain.
pub(crate) async fn last_emitted_at(
    database: &Database,
    chain: &SagaId,
) -> Result<Option<Timestamp>, Error> {
    let rows = database
        .query("SELECT max(told_at) FROM emitted WHERE saga = $1", (chain.as_str(),))
        .await?;
    let last = rows.first().map_or(Ok(None), |row| row.get::<Option<i64>>(0))?;
    Ok(last.map(Timestamp))
}

/// Returns a page of a chain's emitted events by hop, after the first `skipped`; `None` at the end.
/// Unreadable events are logged and left out.
pub(crate) async fn of_chain(
    database: &Database,
    chain: &SagaId,
    skipped: usize,
) -> Result<Option<Vec<Event>>, Error> {
    let skipped = i64::try_from(skipped).unwrap_or(i64::MAX);
    let rows = database.query(OF_CHAIN, (chain.as_str(), OF_CHAIN_MAX as i64, skipped)).await?;
    let readable = |row: &Row| match read(row) {
        Ok(event) => Some(event),
        Err(why) => {
            tracing::error!(%chain, %why, "cannot read an emitted event, so it is not resent");
            None
        }
    };
    Ok((!rows.is_empty()).then(|| rows.iter().filter_map(readable).collect()))
}

/// Ends the leases of terminated processes. On PostgreSQL, which several processes may share,
/// leases expire instead.
pub(crate) async fn end_leases(database: &Database) -> Result<(), Error> {
    if database.dialect() == Dialect::Postgres {
        return Ok(());
    }
    let open = database.begin().await?;
    open.tx()
        .execute(
            "UPDATE emitted SET retry_at = NULL WHERE sent = FALSE AND retry_at IS NOT NULL",
            (),
        )
        .await?;
    open.commit().await
}

/// Removes the events of these steps along with the barrier's rows, and marks the first events of
/// chains. Takes two round trips.
pub(crate) async fn forget(tx: &Tx, steps: &[Step], now: Timestamp) -> Result<(), Error> {
    let sets = steps.iter().map(|(saga, step)| vec![saga.into(), step.into()]);
    tx.execute_many(&FORGET, sets.collect()).await?;
    let sets = steps.iter().map(|(saga, step)| vec![saga.into(), step.into(), now.0.into()]);
    tx.execute_many(&FORGOTTEN, sets.collect()).await
}

/// Removes the idempotency keys of these chains, unless a chain was started again.
const FORGET_KEYS: Many = Many {
    sqlite: "DELETE FROM chain_key WHERE chain = $1
        AND NOT EXISTS (SELECT 1 FROM emitted e WHERE e.saga = chain_key.chain AND e.causation IS NULL)",
    postgres: "DELETE FROM chain_key k USING UNNEST(CAST($1 AS TEXT[])) AS c(chain) WHERE k.chain = c.chain
        AND NOT EXISTS (SELECT 1 FROM emitted e WHERE e.saga = k.chain AND e.causation IS NULL)",
};

/// Removes a page of marked first events. Returns whether there may be more.
pub(crate) async fn forget_beginnings(
    database: &Database,
    before: Timestamp,
) -> Result<bool, Error> {
    let open = database.begin().await?;
    let rows = open.tx().query(BEGINNINGS, (before.0, FORGOTTEN_MAX)).await?;
    let step = |row: &Row| {
        Ok(vec![Value::from(row.get::<String>(0)?), row.get::<String>(1)?.into(), before.0.into()])
    };
    let steps = rows.iter().map(step).collect::<Result<Vec<_>, Error>>()?;
    let chain = |row: &Row| Ok(vec![Value::from(row.get::<String>(0)?)]);
    let chains = rows.iter().map(chain).collect::<Result<Vec<_>, Error>>()?;
    open.tx().execute_many(&FORGET_BEGINNINGS, steps).await?;
    open.tx().execute_many(&FORGET_KEYS, chains).await?;
    open.commit().await?;
    Ok(rows.len() == FORGOTTEN_MAX as usize)
}

/// A page of unsent events.
#[derive(Default)]
pub(crate) struct UnsentPage {
    pub events: Vec<Event>,
    /// The rows that cannot be read.
    pub unreadable: Vec<UnreadableRow>,
    /// Whether there may be more.
    pub is_cut: bool,
}

/// Reads the oldest unsent events, up to `limit` and a bound of bytes. On PostgreSQL the rows are
/// locked until the transaction ends.
pub(crate) async fn unsent(tx: &Tx, now: Timestamp, limit: u32) -> Result<UnsentPage, Error> {
    let alone = match tx.dialect() {
        Dialect::Sqlite => "",
        Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
    };
    let columns = columns!();
    let sql = format!(
        "WITH due AS (
            SELECT saga, step, direction, coalesce(retry_at, 0) AS since, told_at AS told, octet_length(body) AS bytes
            FROM emitted
            WHERE sent = FALSE AND (coalesce(retry_at, 0) <= $1 OR coalesce(retry_at, 0) > $2)
            ORDER BY coalesce(retry_at, 0), told_at LIMIT $3{alone}
        ), summed AS (
            SELECT saga, step, direction, since, told,
                sum(bytes) OVER (ORDER BY since, told, saga, step, direction ROWS UNBOUNDED PRECEDING) - bytes AS before
            FROM due
        )
        SELECT {columns}, (SELECT count(*) FROM due)
        FROM summed JOIN emitted USING (saga, step, direction)
        WHERE before < CAST($4 AS BIGINT) ORDER BY since, told, saga, step, direction"
    );
    let rows = tx.query(&sql, (now.0, inbox::beyond(now).0, limit, UNSENT_BYTES_MAX)).await?;
    let found = rows.first().map_or(Ok(0), |row| row.get::<i64>(10))?;
    let mut unsent = UnsentPage {
        is_cut: found == i64::from(limit) || found > rows.len() as i64,
        ..UnsentPage::default()
    };
    for row in &rows {
        match read(row) {
            Ok(event) => unsent.events.push(event),
            Err(why) => unsent.unreadable.push(UnreadableRow::of(row, &[0, 1, 2], why)),
        }
    }
    Ok(unsent)
}

/// Schedules unreadable rows for another attempt at `at`.
pub(crate) async fn postpone_unreadable(
    tx: &Tx,
    rows: &[UnreadableRow],
    at: Timestamp,
) -> Result<(), Error> {
    let row = |row: &UnreadableRow| {
        row.place.iter().map(|text| text.as_str().into()).chain([at.0.into()]).collect()
    };
    tx.execute_many(&POSTPONED, rows.iter().map(row).collect()).await
}

/// Schedules events for another attempt at `at`.
pub(crate) async fn postpone(tx: &Tx, keys: &[StepKey], at: Timestamp) -> Result<(), Error> {
    let row = |key: &StepKey| place(key).into_iter().chain([at.0.into()]).collect();
    tx.execute_many(&POSTPONED, keys.iter().map(row).collect()).await
}

/// Marks events as sent.
pub(crate) async fn mark_sent(tx: &Tx, sent: &[StepKey]) -> Result<(), Error> {
    tx.execute_many(&SENT, sent.iter().map(place).collect()).await
}

#[cfg(test)]
mod tests {
    use sagamore_core::{Body, Direction};

    use super::*;

    fn event(chain: u32, bytes: usize) -> Event {
        let saga = format!("book:{chain}").parse().expect("a chain");
        let step = "draft".parse().expect("a name");
        Event {
            key: StepKey { saga, step, direction: Direction::Action, generation: 1 },
            version: 1,
            name: "draft.made".parse().expect("a name"),
            causation: None,
            hop: 0,
            at: Timestamp(i64::from(chain)),
            body: Body::parse(&format!("\"{}\"", "x".repeat(bytes))).expect("JSON"),
            trace: None,
        }
    }

    #[tokio::test]
    async fn events_are_sent_together_up_to_a_bound_of_bytes() {
        let database = sagamore_database::testing::database();
        database.migrate("events", MIGRATIONS, 1).await.expect("migrate");
        let events: Vec<Event> = (0..7).map(|chain| event(chain, 1 << 20)).collect();
        let open = database.begin().await.expect("begin");
        store_unsent(&open.tx(), events.iter()).await.expect("store");
        let UnsentPage { events: first, is_cut, .. } =
            unsent(&open.tx(), Timestamp(100), 500).await.expect("read");
        let chains: Vec<&str> = first.iter().map(|event| event.key.saga.key()).collect();
        assert_eq!((chains, is_cut), (vec!["0", "1", "2", "3"], true), "4 MiB, and no more");
        mark_sent(&open.tx(), &first.iter().map(|event| event.key.clone()).collect::<Vec<_>>())
            .await
            .expect("mark");
        let rest = unsent(&open.tx(), Timestamp(100), 500).await.expect("read");
        assert_eq!((rest.events.len(), rest.is_cut), (3, false));
        open.rollback().await.expect("rollback");
    }

    #[tokio::test]
    async fn events_come_out_of_the_inbox_together_up_to_a_bound_of_bytes() {
        let database = sagamore_database::testing::database();
        database.migrate("events", MIGRATIONS, 1).await.expect("migrate");
        let events: Vec<Event> = (0..7).map(|chain| event(chain, 1 << 20)).collect();
        let open = database.begin().await.expect("begin");
        for event in &events {
            let entry =
                inbox::InboxEntry { key: &event.key, event, pause: inbox::AFTER_FAULT, why: None };
            inbox::store(&open.tx(), &[entry], event.at).await.expect("store");
        }
        open.commit().await.expect("commit");
        let (due, _) = inbox::due(&database, Timestamp(1_000), 500).await.expect("read");
        let chains: Vec<&str> = due.iter().map(|due| due.key.saga.key()).collect();
        assert_eq!(chains, ["0", "1", "2", "3"], "4 MiB, and no more");
    }
}
