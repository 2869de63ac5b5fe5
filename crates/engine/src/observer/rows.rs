//! Rows of the observer's tables: a chain, its header, its events.

use sagamore_core::message::Event;
use sagamore_core::plan::Seen;
use sagamore_core::{Body, Name, SagaId, Timestamp, TraceContext};
use sagamore_database::Row;

use super::status::ChainStatus;
use crate::error::Error;

/// A stored event.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The part of the event that the plan's fold uses.
    pub seen: Seen,
    /// The event's body.
    pub body: Body,
    pub(super) version: u32,
    /// The trace of the event. `None` also if a fold read the row without it.
    pub(super) trace: Option<TraceContext>,
}

/// A chain's row.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainHeader {
    /// The row's number, ascending in the order in which chains were first seen.
    pub seq: i64,
    /// The chain's id.
    pub id: SagaId,
    /// The version of its plan.
    pub version: u32,
    /// The hash of its plan; `None` while the version is unknown.
    pub hash: Option<String>,
    /// The chain's status.
    pub status: ChainStatus,
    /// The problem of an anomalous chain, or the reason given for a resolved one.
    pub why: Option<String>,
    /// The time of its earliest event.
    pub begun_at: Timestamp,
    /// The time when its last event was seen.
    pub changed_at: Timestamp,
    /// The time when it was first seen to be over.
    pub ended_at: Option<Timestamp>,
    /// The service whose failure turned the chain back.
    pub failed_at: Option<Name>,
}

/// The columns of a chain's row that a fold needs.
pub(super) struct ChainRow {
    pub seq: i64,
    pub id: SagaId,
    pub version: u32,
    pub hash: Option<String>,
    /// The number of events when a person resolved the chain. A later event reopens it.
    pub resolved_events: Option<u32>,
    /// The status by the last fold.
    pub status: ChainStatus,
}

/// The stored events of a chain.
pub(super) struct StoredEvents {
    /// The readable events.
    pub events: Vec<Observed>,
    /// The error of an unreadable event, if there is one.
    pub unreadable: Option<String>,
}

impl Observed {
    /// Records an event that the observer sees at `now`.
    pub(crate) fn of(event: Event, now: Timestamp) -> Observed {
        let id = event.id();
        let Event { name, causation, hop, at, body, version, trace, .. } = event;
        // a negative time is wrong, and arithmetic with it could overflow
        let at = at.max(Timestamp(0));
        Observed { seen: Seen { id, name, causation, hop, at, seen_at: now }, body, version, trace }
    }
}

impl ChainRow {
    pub(super) fn read(row: &Row) -> Result<ChainRow, Error> {
        let id: String = row.get("id")?;
        let resolved_events: Option<i64> = row.get("resolved_events")?;
        Ok(ChainRow {
            seq: row.get("seq")?,
            version: version(row.get("version")?),
            hash: row.get("hash")?,
            resolved_events: resolved_events.map(small).transpose()?,
            status: ChainStatus::stored(&row.get::<String>("status")?),
            id: id.parse().map_err(|why| bad(&id, why))?,
        })
    }
}

impl ChainHeader {
    pub(super) fn read(row: &Row) -> Result<ChainHeader, Error> {
        let (id, status): (String, String) = (row.get("id")?, row.get("status")?);
        let failed_at: Option<String> = row.get("failed_at")?;
        let newer = || format!("its status '{status}' was written by a newer program");
        Ok(ChainHeader {
            seq: row.get("seq")?,
            version: version(row.get("version")?),
            hash: row.get("hash")?,
            status: ChainStatus::stored(&status),
            why: if ChainStatus::read(&status).is_none() { Some(newer()) } else { row.get("why")? },
            begun_at: Timestamp(row.get("begun_at")?),
            changed_at: Timestamp(row.get("changed_at")?),
            ended_at: row.get::<Option<i64>>("ended_at")?.map(Timestamp),
            failed_at: failed_at.and_then(|name| name.parse().ok()),
            id: id.parse().map_err(|why| bad(&id, why))?,
        })
    }
}

impl StoredEvents {
    pub(super) fn read<'a>(rows: impl Iterator<Item = &'a Row>) -> Result<StoredEvents, Error> {
        let mut observed = StoredEvents { events: Vec::new(), unreadable: None };
        for row in rows {
            match read_event(row) {
                Ok(event) => observed.events.push(event),
                Err(error) if error.is_of_one_row() => {
                    alarm("an event of a chain", &error);
                    observed.unreadable = Some(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(observed)
    }
}

/// Logs and counts an unreadable row.
pub(super) fn alarm(what: &str, why: &Error) {
    tracing::error!(what, %why, "cannot read this row: set aside");
    metrics::counter!("sagamore_observer_unreadable_total").increment(1);
}

/// Converts a plan's version. An invalid one becomes a version that no plan has.
fn version(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn read_event(row: &Row) -> Result<Observed, Error> {
    let id: String = row.get("id")?;
    let (name, body): (String, String) = (row.get("name")?, row.get("body")?);
    let (told_at, seen_at): (i64, Option<i64>) = (row.get("told_at")?, row.get("seen_at")?);
    Ok(Observed {
        seen: Seen {
            name: name.parse().map_err(|why| bad(&id, why))?,
            causation: row.get("causation")?,
            hop: small(row.get("hop")?)?,
            at: Timestamp(told_at),
            // rows of older programs have no `seen_at`: the event's own time is the best estimate
            seen_at: Timestamp(seen_at.unwrap_or(told_at)),
            id: id.clone(),
        },
        body: Body::parse(&body).map_err(|why| bad(&id, why))?,
        version: 0,
        // a trace only links spans: a damaged one is dropped
        trace: row.get::<Option<String>>("trace")?.and_then(|trace| trace.parse().ok()),
    })
}

fn small(value: i64) -> Result<u32, Error> {
    u32::try_from(value).map_err(|why| bad("a chain's number", why))
}

pub(super) fn bad(what: &str, why: impl ToString) -> Error {
    Error::BadData { what: what.to_owned(), why: why.to_string() }
}

/// Returns the version of a new chain with these events: that of its first event if present, else
/// that of any event.
pub(super) fn version_of(observed: &[Observed]) -> u32 {
    let begun = observed.iter().find(|observed| observed.seen.causation.is_none());
    begun.or(observed.first()).map_or(0, |observed| observed.version)
}
