//! An event in a row: the columns that the tables of emitted and of waiting events share.

use sagamore_core::message::Event;
use sagamore_core::{Body, StepKey, Timestamp};
use sagamore_database::{Error, Row, Value};

/// An unreadable row: a newer program wrote it, or it is damaged.
pub(crate) struct UnreadableRow {
    /// The key of the row.
    pub place: Vec<String>,
    pub why: Error,
}

impl UnreadableRow {
    /// Creates the error of a row whose key is in these columns.
    pub fn of(row: &Row, columns: &[usize], why: Error) -> UnreadableRow {
        let place =
            columns.iter().map(|column| row.get::<String>(*column).unwrap_or_default()).collect();
        UnreadableRow { place, why }
    }
}

/// Returns the columns that both tables have, without key and name.
pub(crate) fn content(event: &Event) -> [Value; 6] {
    [
        event.version.into(),
        event.causation.clone().into(),
        event.hop.into(),
        event.at.0.into(),
        event.body.as_str().into(),
        event.trace.as_ref().map(ToString::to_string).into(),
    ]
}

/// Returns the key: chain, step, direction.
pub(crate) fn place(key: &StepKey) -> Vec<Value> {
    vec![key.saga.as_str().into(), key.step.as_str().into(), key.direction.as_str().into()]
}

/// Parses an event from its columns.
pub(crate) fn read(row: &Row) -> Result<Event, Error> {
    let damaged = |column: &str, wanted| Error::Column { column: column.to_owned(), wanted };
    let text = |column| row.get::<String>(column);
    let small = |column, name| {
        u32::try_from(row.get::<i64>(column)?).map_err(|_| damaged(name, "a small number"))
    };
    Ok(Event {
        key: StepKey {
            saga: text(0)?.parse().map_err(|_| damaged("saga", "a chain"))?,
            step: text(1)?.parse().map_err(|_| damaged("step", "a name"))?,
            direction: text(2)?.parse().map_err(|_| damaged("direction", "a direction"))?,
            generation: 1,
        },
        name: text(3)?.parse().map_err(|_| damaged("event", "a name"))?,
        version: small(4, "version")?,
        causation: row.get(5)?,
        hop: small(6, "hop")?,
        at: Timestamp(row.get(7)?),
        body: Body::parse(&text(8)?).map_err(|_| damaged("body", "JSON"))?,
        // an unreadable trace is dropped
        trace: row.get::<Option<String>>(9)?.and_then(|text| text.parse().ok()),
    })
}
