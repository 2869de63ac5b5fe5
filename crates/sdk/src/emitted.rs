//! The table of emitted events, one per barrier row. A repeated reaction emits the same event
//! again, and the events that start chains are sent from here.

use std::collections::HashSet;

use sagamore_core::message::Event;
use sagamore_core::{SagaId, StepKey, Timestamp};
use sagamore_database::port::Dialect;
use sagamore_database::{Database, Error, Migration, Row, Statement, Tx, given_row};

use crate::barrier::step::Step;
use crate::inbox;
use crate::stored_event::{EventContents, Source, UnreadableRow, read};

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

/// The columns of an event.
const EVENT: &str =
    "saga, step, direction, event, version, causation, hop, told_at, body, traceparent";
const SOURCE: Source = Source { step: "step", direction: "direction" };

/// Maximum first events that are removed per transaction.
const FORGOTTEN_MAX: u32 = 500;

given_row! {
    /// An event with the barrier row that it belongs to.
    struct EmittedEvent<'a> {
        saga: &'a str,
        step: &'a str,
        direction: &'a str,
        sent: bool,
    }
    including contents: EventContents<'a>
}

given_row! {
    /// The key of an event.
    struct EventKey<'a> {
        saga: &'a str,
        step: &'a str,
        direction: &'a str,
    }
}

given_row! {
    /// An event that is sent later.
    struct PostponedEvent<'a> {
        saga: &'a str,
        step: &'a str,
        direction: &'a str,
        retry_at: i64,
    }
}

given_row! {
    /// A step whose events are removed.
    struct ForgottenStep<'a> {
        saga: &'a str,
        step: &'a str,
    }
}

given_row! {
    /// A step with a moment.
    struct StepAt<'a> {
        saga: &'a str,
        step: &'a str,
        at: i64,
    }
}

given_row! {
    /// A chain.
    struct ChainId<'a> {
        chain: &'a str,
    }
}

static STORE: Statement<EmittedEvent<'_>> =
    Statement::insert("emitted", "ON CONFLICT (saga, step, direction) DO NOTHING");
/// Stores like `STORE` and returns the rows that are new.
static STORE_UNSENT: Statement<EmittedEvent<'_>> = Statement::insert(
    "emitted",
    "ON CONFLICT (saga, step, direction) DO NOTHING RETURNING saga, step",
);

static READ: Statement<EventKey<'_>> = Statement::built(|| {
    format!(
        "SELECT {EVENT} FROM emitted
         WHERE saga = given.saga AND step = given.step AND direction = given.direction"
    )
});

/// Maximum events of one chain that are read together. Each is at most as long as a record.
pub(crate) const OF_CHAIN_MAX: usize = 16;

/// Maximum bytes of events that are sent together. The last one may exceed the bound.
const UNSENT_BYTES_MAX: i64 = 4 << 20;

/// Removes events, except the first of a chain.
static FORGET: Statement<ForgottenStep<'_>> = Statement::new(
    "DELETE FROM emitted USING given
     WHERE emitted.saga = given.saga AND emitted.step = given.step
        AND emitted.causation IS NOT NULL",
);

/// Marks the first event of a chain after the barrier's rows are removed.
static FORGOTTEN: Statement<StepAt<'_>> = Statement::new(
    "UPDATE emitted SET forgotten_at = given.at FROM given
     WHERE emitted.saga = given.saga AND emitted.step = given.step AND emitted.causation IS NULL",
);

const BEGINNINGS: &str =
    "SELECT saga, step FROM emitted WHERE forgotten_at < $1 ORDER BY forgotten_at LIMIT $2";

/// Skips a key that has started a new chain in the meantime.
static FORGET_BEGINNINGS: Statement<StepAt<'_>> = Statement::new(
    "DELETE FROM emitted USING given
     WHERE emitted.saga = given.saga AND emitted.step = given.step
        AND emitted.forgotten_at < given.at",
);

/// Removes the idempotency keys of these chains, unless a chain was started again.
static FORGET_KEYS: Statement<ChainId<'_>> = Statement::new(
    "DELETE FROM chain_key USING given WHERE chain_key.chain = given.chain
        AND NOT EXISTS (SELECT 1 FROM emitted e
            WHERE e.saga = chain_key.chain AND e.causation IS NULL)",
);

static POSTPONE: Statement<PostponedEvent<'_>> = Statement::new(
    "UPDATE emitted SET retry_at = given.retry_at FROM given
     WHERE emitted.saga = given.saga AND emitted.step = given.step
        AND emitted.direction = given.direction",
);

static MARK_SENT: Statement<EventKey<'_>> = Statement::new(
    "UPDATE emitted SET sent = TRUE FROM given
     WHERE emitted.saga = given.saga AND emitted.step = given.step
        AND emitted.direction = given.direction",
);

/// Stores events that the caller sends. Takes one round trip.
pub(crate) async fn store(tx: &Tx, events: &[&Event]) -> Result<(), Error> {
    tx.execute_rows(&STORE, events.iter().map(|event| emitted(event, true))).await.map(drop)
}

/// Stores events to be sent by the relay, and returns the new ones. Takes one round trip.
pub(crate) async fn store_unsent<'a>(
    tx: &Tx,
    events: impl Iterator<Item = &'a Event>,
) -> Result<Fresh, Error> {
    let stored = tx.query_rows(&STORE_UNSENT, events.map(|event| emitted(event, false))).await?;
    let step = |row: &Row| Ok((row.get("saga")?, row.get("step")?));
    stored.iter().map(step).collect::<Result<_, Error>>().map(Fresh)
}

/// The chains and steps whose events are new.
pub(crate) struct Fresh(HashSet<(String, String)>);

impl Fresh {
    /// Returns whether the event of this key is new.
    pub fn contains(&self, key: &StepKey) -> bool {
        self.0.contains(&(key.saga.as_str().to_owned(), key.step.as_str().to_owned()))
    }
}

fn emitted(event: &Event, sent: bool) -> EmittedEvent<'_> {
    let EventKey { saga, step, direction } = EventKey::of(&event.key);
    EmittedEvent { saga, step, direction, sent, contents: EventContents::of(event) }
}

impl EventKey<'_> {
    fn of(key: &StepKey) -> EventKey<'_> {
        let direction = key.direction.as_str();
        EventKey { saga: key.saga.as_str(), step: key.step.as_str(), direction }
    }
}

/// Returns the stored event of each key, in order, or `None`. Takes one round trip. An unreadable
/// event is an error of its own.
pub(crate) async fn stored_events(
    tx: &Tx,
    keys: &[&StepKey],
) -> Result<Vec<Result<Option<Event>, Error>>, Error> {
    let rows = tx.query_row_by_row(&READ, keys.iter().map(|key| EventKey::of(key))).await?;
    let event = |rows: &Vec<Row>| rows.first().map(|row| read(row, &SOURCE)).transpose();
    Ok(rows.iter().map(event).collect())
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
    // by the order of their hops
    let page = format!(
        "SELECT {EVENT} FROM emitted WHERE saga = $1
         ORDER BY hop, step, direction LIMIT $2 OFFSET $3"
    );
    let rows = database.query(&page, (chain.as_str(), OF_CHAIN_MAX as i64, skipped)).await?;
    let readable = |row: &Row| match read(row, &SOURCE) {
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
    tx.execute_rows(&FORGET, steps.iter().map(|(saga, step)| ForgottenStep { saga, step })).await?;
    let marked = steps.iter().map(|(saga, step)| StepAt { saga, step, at: now.0 });
    tx.execute_rows(&FORGOTTEN, marked).await.map(drop)
}

/// Removes a page of marked first events. Returns whether there may be more.
pub(crate) async fn forget_beginnings(
    database: &Database,
    before: Timestamp,
) -> Result<bool, Error> {
    let open = database.begin().await?;
    let rows = open.tx().query(BEGINNINGS, (before.0, FORGOTTEN_MAX)).await?;
    let step = |row: &Row| Ok((row.get("saga")?, row.get("step")?));
    let steps = rows.iter().map(step).collect::<Result<Vec<Step>, Error>>()?;
    let old = steps.iter().map(|(saga, step)| StepAt { saga, step, at: before.0 });
    open.tx().execute_rows(&FORGET_BEGINNINGS, old).await?;
    let chains = steps.iter().map(|(chain, _)| ChainId { chain });
    open.tx().execute_rows(&FORGET_KEYS, chains).await?;
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
    let sql = tx.dialect().text(&format!(
        "WITH due AS (
            SELECT saga, step, direction, coalesce(retry_at, 0) AS since, told_at AS told, octet_length(body) AS bytes
            FROM emitted
            WHERE sent = FALSE AND (coalesce(retry_at, 0) <= $1 OR coalesce(retry_at, 0) > $2)
            ORDER BY coalesce(retry_at, 0), told_at LIMIT $3 {{FOR UPDATE SKIP LOCKED}}
        ), summed AS (
            SELECT saga, step, direction, since, told,
                sum(bytes) OVER (ORDER BY since, told, saga, step, direction ROWS UNBOUNDED PRECEDING) - bytes AS before
            FROM due
        )
        SELECT {EVENT}, (SELECT count(*) FROM due) AS found
        FROM summed JOIN emitted USING (saga, step, direction)
        WHERE before < CAST($4 AS BIGINT) ORDER BY since, told, saga, step, direction"
    ));
    let rows = tx.query(&sql, (now.0, inbox::beyond(now).0, limit, UNSENT_BYTES_MAX)).await?;
    let found = rows.first().map_or(Ok(0), |row| row.get::<i64>("found"))?;
    let mut unsent = UnsentPage {
        is_cut: found == i64::from(limit) || found > rows.len() as i64,
        ..UnsentPage::default()
    };
    for row in &rows {
        match read(row, &SOURCE) {
            Ok(event) => unsent.events.push(event),
            Err(why) => unsent.unreadable.push(UnreadableRow::of(row, why)),
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
    let rows = rows.iter().map(|UnreadableRow { saga, step, direction, .. }| PostponedEvent {
        saga,
        step,
        direction,
        retry_at: at.0,
    });
    tx.execute_rows(&POSTPONE, rows).await.map(drop)
}

/// Schedules events for another attempt at `at`.
pub(crate) async fn postpone(tx: &Tx, keys: &[StepKey], at: Timestamp) -> Result<(), Error> {
    let rows = keys.iter().map(EventKey::of).map(|EventKey { saga, step, direction }| {
        PostponedEvent { saga, step, direction, retry_at: at.0 }
    });
    tx.execute_rows(&POSTPONE, rows).await.map(drop)
}

/// Marks events as sent.
pub(crate) async fn mark_sent(tx: &Tx, sent: &[StepKey]) -> Result<(), Error> {
    tx.execute_rows(&MARK_SENT, sent.iter().map(EventKey::of)).await.map(drop)
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
