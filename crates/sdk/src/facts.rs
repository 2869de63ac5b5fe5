//! What a service itself knows of sagas: its barrier, to be compared with what is said of them elsewhere, and the events that it
//! has told, to be told again. Both are for people who look into trouble; nothing of the protocol rests on them.

use std::time::Duration;

use sagamore_core::{Direction, Name, SagaId, Timestamp};
use sagamore_database::{Database, Row, Text};
use sagamore_transport::Transport;
use sagamore_transport::wire::encode_event;

use crate::emitted;
use crate::error::Error;

macro_rules! page {
    ($more:literal) => {
        concat!(
            "SELECT saga, step, direction, generation, status, stored_at FROM barrier WHERE saga > $1",
            $more,
            " ORDER BY saga, step, direction, generation LIMIT $2"
        )
    };
}
const PAGE: &str = page!("");
const PAGE_UNTIL: &str = page!(" AND saga <= $3");

const FAULTS: &str = "SELECT step, direction, why, since, due_at FROM inbox
    WHERE saga = $1 AND why IS NOT NULL ORDER BY since LIMIT 100";

/// Since when nothing is forgotten by any service that remembers a saga for so long after its end: not all of them forget at
/// once, and a tenth of the time lies between.
pub fn remembered(now: Timestamp, retention: Duration) -> Timestamp {
    now.minus(retention / 10 * 9)
}

/// One row of a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The saga, or the chain.
    pub saga: SagaId,
    /// Which step, or which reaction.
    pub step: Name,
    /// Its action or its compensation.
    pub direction: Direction,
    /// Raised by an operator's retry.
    pub generation: u32,
    /// `done`, `refused`, or `tombstone` where the compensation came first.
    pub status: String,
    /// When, by the service's clock.
    pub stored_at: Timestamp,
}

/// The barrier of a service from behind this saga on, up to another one if it is named, in the order of sagas byte by byte: at most `limit` rows, of whole sagas, but that one
/// saga may have more. Empty at the end.
pub async fn facts(database: &Database, after: &str, until: Option<&str>, limit: u32) -> Result<Vec<Fact>, Error> {
    let (after, until) = (Text::beginning(after), until.map(Text::beginning));
    let rows = match until {
        Some(until) => database.query(PAGE_UNTIL, (after, limit.saturating_add(1), until)).await?,
        None => database.query(PAGE, (after, limit.saturating_add(1))).await?,
    };
    let mut facts = rows.iter().map(Fact::read).collect::<Result<Vec<_>, _>>()?;
    if facts.len() > limit as usize {
        // the last saga may have more rows: it comes with the next page, unless it fills this one
        let last = facts.last().map(|fact| fact.saga.clone());
        if let Some(whole) = facts.iter().rposition(|fact| Some(&fact.saga) != last.as_ref()) {
            facts.truncate(whole + 1);
        }
    }
    Ok(facts)
}

/// What a service has to do about a chain and could not, so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultFact {
    /// Which reaction.
    pub step: Name,
    /// It itself, or its undo.
    pub direction: Direction,
    /// The last fault that its handler met.
    pub why: String,
    /// When it was tried first.
    pub since: Timestamp,
    /// When it is tried again.
    pub again_at: Timestamp,
}

/// What a service could not do about this chain, the longest first; a chain has few.
pub async fn faults(database: &Database, chain: &SagaId) -> Result<Vec<FaultFact>, Error> {
    let rows = database.query(FAULTS, (chain.as_str(),)).await?;
    Ok(rows.iter().filter_map(|row| FaultFact::read(row).ok()).collect()) // the service itself alarms for a damaged row
}

/// Tells again what a service has told of this chain, each event under its own id; gives how many they are. Whoever has reacted
/// to one already changes nothing, as long as the barriers remember it: of a chain of which the service has told nothing since
/// `remembered` it tells nothing, for others may have forgotten what they did about it, and would do it again.
pub async fn resend(
    service: &Name,
    database: &Database,
    transport: &dyn Transport,
    chain: &SagaId,
    remembered: Timestamp,
) -> Result<usize, Error> {
    if emitted::last_told(database, chain).await?.is_none_or(|last| last < remembered) {
        return Ok(0);
    }
    let (mut count, mut skipped) = (0, 0);
    while let Some(events) = emitted::of_chain(database, chain, skipped).await? {
        skipped += emitted::OF_CHAIN_MAX;
        count += events.len();
        transport.publish(events.iter().map(|event| encode_event(event, service)).collect()).await?;
    }
    Ok(count)
}

impl FaultFact {
    fn read(row: &Row) -> Result<FaultFact, sagamore_database::Error> {
        Ok(FaultFact {
            step: row.get::<String>(0)?.parse().map_err(|_| damaged("step", "a name"))?,
            direction: row.get::<String>(1)?.parse().map_err(|_| damaged("direction", "a direction"))?,
            why: row.get(2)?,
            since: Timestamp(row.get(3)?),
            again_at: Timestamp(row.get(4)?),
        })
    }
}

fn damaged(column: &str, wanted: &'static str) -> sagamore_database::Error {
    sagamore_database::Error::Column { column: column.to_owned(), wanted }
}

impl Fact {
    fn read(row: &Row) -> Result<Fact, sagamore_database::Error> {
        Ok(Fact {
            saga: row.get::<String>(0)?.parse().map_err(|_| damaged("saga", "a saga"))?,
            step: row.get::<String>(1)?.parse().map_err(|_| damaged("step", "a name"))?,
            direction: row.get::<String>(2)?.parse().map_err(|_| damaged("direction", "a direction"))?,
            generation: row.get::<i64>(3)?.try_into().map_err(|_| damaged("generation", "a generation"))?,
            status: row.get(4)?,
            stored_at: Timestamp(row.get(5)?),
        })
    }
}
