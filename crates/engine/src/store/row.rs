//! One saga's part of a batch, and its rows in the tables `saga` and `journal`.

use sagamore_core::id::{Name, SagaId};
use sagamore_core::journal::Entry;
use sagamore_core::saga::{Cause, Saga};
use sagamore_database::given_row;

use super::bad;
use crate::error::Error;

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

given_row! {
    /// A new row of the table `saga`.
    pub(super) struct NewSaga<'a> {
        seq: Option<i64>,
        id: &'a str,
        version: u32,
        hash: &'a str,
        reply_partition: u32,
        status: &'a str,
        revision: i64,
        started_at: i64,
        changed_at: i64,
        ended_at: Option<i64>,
        failed_at: Option<&'a str>,
        fault_shown_from: Option<i64>,
    }
}

given_row! {
    /// The changes of a row of the table `saga`.
    pub(super) struct ChangedSaga<'a> {
        seq: i64,
        read_revision: i64,
        status: &'a str,
        revision: i64,
        changed_at: i64,
        ended_at: Option<i64>,
        failed_at: Option<&'a str>,
        fault_shown_from: Option<i64>,
    }
}

/// The assignments of a [`ChangedSaga`].
pub(super) const CHANGES: &str =
    "status = given.status, revision = given.revision, changed_at = given.changed_at,
    ended_at = given.ended_at, failed_at = given.failed_at,
    fault_shown_from = given.fault_shown_from";

given_row! {
    /// A row of the table `journal`.
    pub(super) struct JournalRow {
        seq: i64,
        revision: i64,
        entry: String,
    }
}

impl<'a> NewSaga<'a> {
    /// Builds the row of a new saga. `seq` is its number, or `None` if the database assigns it.
    pub fn of(saga: &'a Saga, seq: Option<i64>) -> NewSaga<'a> {
        NewSaga {
            seq,
            id: saga.id.as_str(),
            version: saga.definition.version,
            hash: saga.definition.hash(),
            reply_partition: saga.reply_to.partition,
            status: saga.status.as_str(),
            revision: integer(saga.revision),
            started_at: saga.started_at.0,
            changed_at: saga.changed_at.0,
            ended_at: ended_at(saga),
            failed_at: failed_at(saga).map(Name::as_str),
            fault_shown_from: fault_shown_from(saga),
        }
    }
}

impl<'a> ChangedSaga<'a> {
    pub fn of(write: &Write<'a>, seq: i64) -> ChangedSaga<'a> {
        let saga = write.saga;
        ChangedSaga {
            seq,
            read_revision: integer(write.read_revision),
            status: saga.status.as_str(),
            revision: integer(saga.revision),
            changed_at: saga.changed_at.0,
            ended_at: ended_at(saga),
            failed_at: failed_at(saga).map(Name::as_str),
            fault_shown_from: fault_shown_from(saga),
        }
    }
}

impl JournalRow {
    pub fn of(id: &SagaId, seq: i64, entry: &Entry) -> Result<JournalRow, Error> {
        let text = serde_json::to_string(entry).map_err(|why| bad(id, why))?;
        Ok(JournalRow { seq, revision: integer(entry.revision), entry: text })
    }
}

/// Returns the step whose refusal or silence turned the saga back.
pub(super) fn failed_at(saga: &Saga) -> Option<&Name> {
    match &saga.cause {
        Some(Cause::Refused(step) | Cause::GivenUp(step)) => Some(step),
        Some(Cause::DeadlinePassed | Cause::Cancelled) | None => None,
    }
}

fn ended_at(saga: &Saga) -> Option<i64> {
    saga.status.has_ended().then_some(saga.changed_at.0)
}

fn fault_shown_from(saga: &Saga) -> Option<i64> {
    let shown_from = if saga.status.has_ended() { None } else { saga.fault_shown_from() };
    shown_from.map(|from| from.0)
}

fn integer(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
