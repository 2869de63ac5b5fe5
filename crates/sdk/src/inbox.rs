//! Events that cannot be handled yet: another awaited event is missing, or the handler failed. They
//! are stored in the service's database and retried, so that they block no other event.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sagamore_core::message::Event;
use sagamore_core::{Name, StepKey, Timestamp};
use sagamore_database::{Database, Error, Row, Statement, Tx, given_row};
use sagamore_transport::Delivery;
use sagamore_transport::wire::encode_event;

use crate::stored_event::{EventContents, Source, UnreadableRow, parsed, read};

/// The milliseconds of [`AFTER_FAULT`], also for the text of a statement.
macro_rules! after_fault_ms {
    () => {
        200
    };
}
/// The milliseconds of [`PAUSE_MAX`], also for the text of a statement.
macro_rules! pause_max_ms {
    () => {
        60_000
    };
}

/// The first pause after a fault. Each further pause is as long as the event has waited so far, up
/// to [`PAUSE_MAX`].
pub(crate) const AFTER_FAULT: Duration = Duration::from_millis(after_fault_ms!());
/// The first pause of an event that waits for another one. The other one's arrival does not depend
/// on it.
pub(crate) const FOR_ANOTHER: Duration = Duration::from_secs(10);

/// The longest pause.
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(pause_max_ms!());
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

/// The columns of an event, of its step that waits, and of the wait.
const WAITING_EVENT: &str =
    "saga, step, direction, event, telling_step, telling_direction, version,
    causation, hop, told_at, body, traceparent, since, strange_since";
const SOURCE: Source = Source { step: "telling_step", direction: "telling_direction" };

given_row! {
    /// A step's event in the inbox.
    struct StoredEntry<'a> {
        saga: &'a str,
        step: &'a str,
        direction: &'a str,
        telling_step: &'a str,
        telling_direction: &'a str,
        due_at: i64,
        since: i64,
        why: Option<&'a str>,
    }
    including contents: EventContents<'a>
}

given_row! {
    /// A step that waits for events.
    struct WaitingStep<'a> {
        waiting_saga: &'a str,
        waiting_step: &'a str,
        waiting_direction: &'a str,
    }
}

impl<'a> WaitingStep<'a> {
    fn of(key: &'a StepKey) -> WaitingStep<'a> {
        WaitingStep {
            waiting_saga: key.saga.as_str(),
            waiting_step: key.step.as_str(),
            waiting_direction: key.direction.as_str(),
        }
    }
}

given_row! {
    /// The key of an entry. Without an event: of all entries of the step.
    struct EntryKey<'a> {
        saga: &'a str,
        step: &'a str,
        direction: &'a str,
        event: Option<&'a str>,
    }
}

given_row! {
    /// An unreadable entry, addressed by its stored key, that is postponed.
    struct UnreadableEntry<'a> {
        saga: &'a str,
        step: &'a str,
        direction: &'a str,
        event: &'a str,
        due_at: i64,
        why: String,
    }
}

given_row! {
    /// An entry for a reaction that this program lacks.
    struct StrangeEntry<'a> {
        saga: &'a str,
        step: &'a str,
        direction: &'a str,
        event: &'a str,
        due_at: i64,
        strange_since: i64,
    }
}

/// Stores entries, or lengthens the pause of those that exist.
static STORE: Statement<StoredEntry<'_>> = Statement::insert(
    "inbox",
    concat!(
        "ON CONFLICT (saga, step, direction, event) DO UPDATE
        SET why = excluded.why, strange_since = NULL, due_at = excluded.since + CASE
            WHEN excluded.since - inbox.since > ",
        pause_max_ms!(),
        " THEN ",
        pause_max_ms!(),
        " WHEN excluded.since - inbox.since < ",
        after_fault_ms!(),
        " THEN ",
        after_fault_ms!(),
        " ELSE excluded.since - inbox.since END"
    ),
);

static WAITING: Statement<WaitingStep<'_>> = Statement::built(|| {
    format!(
        "SELECT {WAITING_EVENT} FROM given, inbox
         WHERE saga = given.waiting_saga AND step = given.waiting_step
            AND direction = given.waiting_direction"
    )
});

static STORED: Statement<WaitingStep<'_>> = Statement::new(
    "SELECT DISTINCT saga, step, direction FROM given, inbox
     WHERE saga = given.waiting_saga AND step = given.waiting_step
        AND direction = given.waiting_direction",
);

/// Selects the due rows before which the total of bodies is below the bound.
fn select_due() -> String {
    format!(
        "WITH due AS (
            SELECT saga, step, direction, event, due_at AS due, octet_length(body) AS bytes
            FROM inbox WHERE due_at <= $1 OR due_at > $2 ORDER BY due_at LIMIT $3
        ), summed AS (
            SELECT saga, step, direction, event, due, sum(bytes) OVER (
                ORDER BY due, saga, step, direction, event ROWS UNBOUNDED PRECEDING
            ) - bytes AS before
            FROM due
        )
        SELECT {WAITING_EVENT} FROM summed JOIN inbox USING (saga, step, direction, event)
        WHERE before < CAST($4 AS BIGINT) ORDER BY due, saga, step, direction, event"
    )
}

/// Maximum bytes of events that are taken together. The last one may exceed the bound.
const DUE_BYTES_MAX: i64 = 4 << 20;

static POSTPONE_UNREADABLE: Statement<UnreadableEntry<'_>> = Statement::new(
    "UPDATE inbox SET due_at = given.due_at, why = given.why FROM given
     WHERE inbox.saga = given.saga AND inbox.step = given.step
        AND inbox.direction = given.direction AND inbox.event = given.event",
);

static POSTPONE_STRANGE: Statement<StrangeEntry<'_>> = Statement::new(
    "UPDATE inbox SET due_at = given.due_at,
        strange_since = coalesce(inbox.strange_since, given.strange_since),
        why = 'this program has no such reaction to it'
     FROM given
     WHERE inbox.saga = given.saga AND inbox.step = given.step
        AND inbox.direction = given.direction AND inbox.event = given.event",
);

static REMOVE: Statement<EntryKey<'_>> = Statement::new(
    "DELETE FROM inbox USING given
     WHERE inbox.saga = given.saga AND inbox.step = given.step
        AND inbox.direction = given.direction
        AND (given.event IS NULL OR inbox.event = given.event)",
);

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
    let rows = entries.iter().map(|InboxEntry { key, event, pause, why }| StoredEntry {
        saga: key.saga.as_str(),
        step: key.step.as_str(),
        direction: key.direction.as_str(),
        telling_step: event.key.step.as_str(),
        telling_direction: event.key.direction.as_str(),
        contents: EventContents::of(event),
        due_at: now.plus(*pause).0,
        since: now.0,
        why: *why,
    });
    tx.execute_rows(&STORE, rows).await.map(drop)
}

/// Returns the events that wait for each key, and since when. Takes one round trip.
pub(crate) async fn waiting(
    tx: &Tx,
    keys: &[&StepKey],
) -> Result<Vec<Vec<(Event, Timestamp)>>, Error> {
    let mut waiting: HashMap<[String; 3], Vec<(Event, Timestamp)>> = HashMap::new();
    for row in tx.query_rows(&WAITING, keys.iter().map(|key| WaitingStep::of(key))).await? {
        let place = [row.get("saga")?, row.get("step")?, row.get("direction")?];
        let since = Timestamp(row.get("since")?);
        match read(&row, &SOURCE) {
            Ok(event) => waiting.entry(place).or_default().push((event, since)),
            // treated as missing: its reaction keeps waiting, and the other rows are read
            Err(why) => {
                tracing::error!(chain = place[0], step = place[1], %why, "cannot read an event in the inbox")
            }
        }
    }
    Ok(keys.iter().map(|key| waiting.remove(&place_of(key)).unwrap_or_default()).collect())
}

/// Returns the key of a step's rows.
fn place_of(key: &StepKey) -> [String; 3] {
    [key.saga.as_str(), key.step.as_str(), key.direction.as_str()].map(str::to_owned)
}

/// Returns whether each step has an entry. Takes one round trip.
pub(crate) async fn are_stored(tx: &Tx, keys: &[&StepKey]) -> Result<Vec<bool>, Error> {
    let mut stored: HashSet<[String; 3]> = HashSet::new();
    for row in tx.query_rows(&STORED, keys.iter().map(|key| WaitingStep::of(key))).await? {
        stored.insert([row.get("saga")?, row.get("step")?, row.get("direction")?]);
    }
    Ok(keys.iter().map(|key| stored.contains(&place_of(key))).collect())
}

/// Removes entries.
pub(crate) async fn remove(tx: &Tx, removals: &[InboxRemoval]) -> Result<(), Error> {
    let rows = removals.iter().map(|InboxRemoval { key, event }| EntryKey {
        saga: key.saga.as_str(),
        step: key.step.as_str(),
        direction: key.direction.as_str(),
        event: event.as_ref().map(Name::as_str),
    });
    tx.execute_rows(&REMOVE, rows).await.map(drop)
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
    let rows = strange.iter().map(|Due { key, event, since, .. }| StrangeEntry {
        saga: key.saga.as_str(),
        step: key.step.as_str(),
        direction: key.direction.as_str(),
        event: event.name.as_str(),
        due_at: now.plus(now.since(*since).clamp(FOR_ANOTHER, PAUSE_MAX)).0,
        strange_since: now.0,
    });
    let open = database.begin().await?;
    open.tx().execute_rows(&POSTPONE_STRANGE, rows).await?;
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
    let rows = database.query(&select_due(), (now.0, beyond(now).0, limit, DUE_BYTES_MAX)).await?;
    let (mut due, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in &rows {
        match Due::read(row) {
            Ok(event) => due.push(event),
            Err(why) => unreadable.push(UnreadableRow::of(row, why)),
        }
    }
    if !unreadable.is_empty() {
        let rows = unreadable.iter().map(|row| UnreadableEntry {
            saga: &row.saga,
            step: &row.step,
            direction: &row.direction,
            event: &row.event,
            due_at: now.plus(PAUSE_MAX).0,
            why: format!("this program cannot read it: {}", row.why),
        });
        let open = database.begin().await?;
        open.tx().execute_rows(&POSTPONE_UNREADABLE, rows).await?;
        open.commit().await?;
    }
    Ok((due, unreadable))
}

impl Due {
    fn read(row: &Row) -> Result<Due, Error> {
        let event = read(row, &SOURCE)?;
        let (step, direction) =
            (parsed(row, "step", "a name")?, parsed(row, "direction", "a direction")?);
        let key = StepKey { saga: event.chain().clone(), step, direction, generation: 1 };
        let (since, strange_since): (i64, Option<i64>) =
            (row.get("since")?, row.get("strange_since")?);
        let strange_since = strange_since.map(Timestamp);
        Ok(Due { key, event, since: Timestamp(since), strange_since })
    }

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
