//! A saga's row, or the readable part of one that this program cannot read.

use sagamore_core::Timestamp;
use sagamore_core::id::{Name, SagaId};
use sagamore_core::saga::{Status, StorageFault};
use sagamore_database::Row;

use super::bad;
use crate::error::Error;
use crate::unreadable::Unreadable;

/// A saga's row, as listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The row's number, ascending in the order in which sagas were stored.
    pub seq: i64,
    /// The saga's id.
    pub id: SagaId,
    /// The definition's version.
    pub version: u32,
    /// The definition's hash.
    pub hash: String,
    /// The reply partition.
    pub partition: u32,
    /// The saga's status.
    pub status: Status,
    /// The number of journal entries.
    pub revision: u64,
    /// The time of the first entry.
    pub started_at: Timestamp,
    /// The time of the last entry.
    pub changed_at: Timestamp,
    /// The time of the end.
    pub ended_at: Option<Timestamp>,
    /// The step whose refusal or silence turned the saga back.
    pub failed_at: Option<Name>,
    /// The error that keeps the saga's owner from reading it.
    pub unreadable: Option<String>,
    /// The earliest time from which a step's fault is shown to operators. `None` after the end.
    pub fault_shown_from: Option<Timestamp>,
    /// The reason why the saga's inputs cannot be stored.
    pub unstored: Option<StorageFault>,
}
/// The columns of [`Header`], of the table `saga`.
pub(super) const HEADER: &str = "seq, id, version, hash, reply_partition, status, revision, started_at, \
     changed_at, ended_at, failed_at, unreadable, fault_shown_from, \
     (SELECT b.fault FROM blocked b WHERE b.saga = saga.id) AS fault";

/// Maximum characters of the reason in a mark.
const WHY_MAX: usize = 500;

impl Header {
    /// Reads the columns of [`HEADER`]. On an error, returns the readable ones.
    pub(super) fn read(row: &Row) -> Result<Header, Box<Unreadable>> {
        Header::try_read(row).map_err(|why| Box::new(unreadable_row(row, &why)))
    }

    fn try_read(row: &Row) -> Result<Header, Error> {
        let id: String = row.get("id")?;
        let small = |value: i64| u32::try_from(value).map_err(|why| bad(&id, why));
        let failed_at =
            row.get::<Option<String>>("failed_at")?.map(|name| Name::new(&name)).transpose();
        let ended_at = row.get::<Option<i64>>("ended_at")?.map(Timestamp);
        let unstored = if ended_at.is_some() { None } else { read_fault(row.get("fault")?) };
        let shown_from = [
            row.get::<Option<i64>>("fault_shown_from")?.map(Timestamp),
            unstored.as_ref().and_then(StorageFault::shown_from),
        ];
        Ok(Header {
            seq: row.get("seq")?,
            version: small(row.get("version")?)?,
            hash: row.get("hash")?,
            partition: small(row.get("reply_partition")?)?,
            status: read_status(&id, &row.get::<String>("status")?)?,
            revision: u64::try_from(row.get::<i64>("revision")?).map_err(|why| bad(&id, why))?,
            started_at: Timestamp(row.get("started_at")?),
            changed_at: Timestamp(row.get("changed_at")?),
            ended_at,
            failed_at: failed_at.map_err(|why| bad(&id, why))?,
            unreadable: row.get("unreadable")?,
            fault_shown_from: shown_from.into_iter().flatten().min(),
            unstored,
            id: id.parse().map_err(|why| bad(&id, why))?,
        })
    }

    /// Describes a saga whose row is readable, and whose journal or definition is not.
    pub(super) fn set_aside(&self, why: &Error) -> Unreadable {
        let why = reason(why);
        let is_marked = self.unreadable.as_ref() == Some(&why);
        Unreadable { is_marked, why, ..self.marked(String::new()) }
    }

    /// Describes a saga that its owner cannot read, although this program may.
    pub(super) fn marked(&self, why: String) -> Unreadable {
        Unreadable {
            seq: self.seq,
            id: self.id.to_string(),
            version: self.version,
            status: self.status.as_str().to_owned(),
            partition: Some(self.partition),
            started_at: self.started_at,
            changed_at: self.changed_at,
            ended_at: self.ended_at,
            why,
            is_marked: true,
        }
    }
}

fn read_status(id: &str, text: &str) -> Result<Status, Error> {
    let all = [
        Status::Running,
        Status::Compensating,
        Status::Completed,
        Status::Compensated,
        Status::Stuck,
    ];
    all.into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| bad(id, format!("'{text}' is not a status")))
}

/// Parses a fault. One in a newer program's form is left out: the next failure overwrites it.
fn read_fault(text: Option<String>) -> Option<StorageFault> {
    serde_json::from_str(&text?).ok()
}

/// Reads the readable columns of a row.
fn unreadable_row(row: &Row, why: &Error) -> Unreadable {
    let number = |column| row.get::<i64>(column).ok();
    let text = |column| row.get::<String>(column).ok();
    let small = |column| number(column).and_then(|value| u32::try_from(value).ok());
    let time = |column| Timestamp(number(column).unwrap_or_default());
    let why = reason(why);
    Unreadable {
        seq: number("seq").unwrap_or_default(),
        id: text("id").unwrap_or_default(),
        version: small("version").unwrap_or_default(),
        status: text("status").unwrap_or_default(),
        partition: small("reply_partition"),
        started_at: time("started_at"),
        changed_at: time("changed_at"),
        ended_at: number("ended_at").map(Timestamp),
        is_marked: text("unreadable").as_ref() == Some(&why),
        why,
    }
}

fn reason(why: &Error) -> String {
    why.to_string().chars().filter(|letter| *letter != '\0').take(WHY_MAX).collect()
}
