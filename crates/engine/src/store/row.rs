//! One saga's part of a batch, and the values of its row's columns.

use sagamore_core::id::Name;
use sagamore_core::saga::{Cause, Entry, Saga};
use sagamore_database::Value;

/// A turn's decision about one saga.
pub(crate) struct Write<'a> {
    /// The row's number. `None` for a new saga.
    pub seq: Option<i64>,
    /// The revision that was read. The row must still have it.
    pub read_revision: u64,
    /// The saga after all entries.
    pub saga: &'a Saga,
    /// The new entries of its journal, at least one.
    pub entries: &'a [Entry],
}

/// The result of a [`Write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    /// Written in the transaction, in the row with this number.
    Row(i64),
    /// Another writer stored or changed the saga first.
    Conflict,
}

pub(super) fn ended_at(saga: &Saga) -> Value {
    Value::from(saga.status.has_ended().then_some(saga.changed_at.0))
}

pub(super) fn fault_shown_from(saga: &Saga) -> Value {
    let shown_from = if saga.status.has_ended() { None } else { saga.fault_shown_from() };
    Value::from(shown_from.map(|from| from.0))
}

/// Returns the step whose refusal or silence turned the saga back.
pub(super) fn failed_at(saga: &Saga) -> Option<&Name> {
    match &saga.cause {
        Some(Cause::Refused(step) | Cause::GivenUp(step)) => Some(step),
        Some(Cause::DeadlinePassed | Cause::Cancelled) | None => None,
    }
}

pub(super) fn integer(revision: u64) -> Value {
    Value::Int(i64::try_from(revision).unwrap_or(i64::MAX))
}
