//! An event in a row: the columns that the tables of emitted and of waiting events share.

use std::str::FromStr;

use sagamore_core::message::Event;
use sagamore_core::{Body, StepKey, Timestamp};
use sagamore_database::{Error, Row, given_row};

given_row! {
    /// An event without its key.
    pub(crate) struct EventContents<'a> {
        event: &'a str,
        version: u32,
        causation: Option<String>,
        hop: u32,
        told_at: i64,
        body: &'a str,
        traceparent: Option<String>,
    }
}

impl EventContents<'_> {
    pub fn of(event: &Event) -> EventContents<'_> {
        EventContents {
            event: event.name.as_str(),
            version: event.version,
            causation: event.causation.clone(),
            hop: event.hop,
            told_at: event.at.0,
            body: event.body.as_str(),
            traceparent: event.trace.as_ref().map(ToString::to_string),
        }
    }
}

/// An unreadable row: a newer program wrote it, or it is damaged.
pub(crate) struct UnreadableRow {
    pub saga: String,
    pub step: String,
    pub direction: String,
    pub event: String,
    pub why: Error,
}

/// The columns with the step and the direction that an event is from.
pub(crate) struct Source {
    pub step: &'static str,
    pub direction: &'static str,
}

impl UnreadableRow {
    /// Reads the readable columns of the row's key.
    pub fn of(row: &Row, why: Error) -> UnreadableRow {
        let text = |column| row.get::<String>(column).unwrap_or_default();
        let (saga, step) = (text("saga"), text("step"));
        UnreadableRow { saga, step, direction: text("direction"), event: text("event"), why }
    }
}

/// Parses an event from its columns.
pub(crate) fn read(row: &Row, source: &Source) -> Result<Event, Error> {
    let small = |column| {
        u32::try_from(row.get::<i64>(column)?).map_err(|_| damaged(column, "a small number"))
    };
    Ok(Event {
        key: StepKey {
            saga: parsed(row, "saga", "a chain")?,
            step: parsed(row, source.step, "a name")?,
            direction: parsed(row, source.direction, "a direction")?,
            generation: 1,
        },
        name: parsed(row, "event", "a name")?,
        version: small("version")?,
        causation: row.get("causation")?,
        hop: small("hop")?,
        at: Timestamp(row.get("told_at")?),
        body: Body::parse(&row.get::<String>("body")?).map_err(|_| damaged("body", "JSON"))?,
        // an unreadable trace is dropped
        trace: row.get::<Option<String>>("traceparent")?.and_then(|text| text.parse().ok()),
    })
}

/// Parses a text column. `wanted` describes its content, for the error.
pub(crate) fn parsed<T: FromStr>(
    row: &Row,
    column: &'static str,
    wanted: &'static str,
) -> Result<T, Error> {
    row.get::<String>(column)?.parse().map_err(|_| damaged(column, wanted))
}

pub(crate) fn damaged(column: &'static str, wanted: &'static str) -> Error {
    Error::Column { column: column.to_owned(), wanted }
}
