//! Rows that this program cannot read: each sets one saga aside. The owner's mark in the row shows
//! it to every program.

use sagamore_core::Timestamp;
use sagamore_database::port::Dialect;
use sagamore_database::{Row, Value};

use super::{Header, Store};
use crate::error::Error;

/// The longest reason in a mark, in characters.
const WHY_MAX: usize = 500;

/// A saga that is set aside: a newer program wrote its row or journal, or one of them is damaged.
///
/// No data is lost. The saga continues when a program that can read it owns its reply partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// The number of the row.
    pub seq: i64,
    /// The saga's id, as stored.
    pub id: String,
    /// The definition's version; 0 if unreadable.
    pub version: u32,
    /// The status, as stored.
    pub status: String,
    /// The reply partition, if readable.
    pub partition: Option<u32>,
    /// The time of the first entry.
    pub started_at: Timestamp,
    /// The time of the last entry.
    pub changed_at: Timestamp,
    /// The time of its end, if it has ended.
    pub ended_at: Option<Timestamp>,
    /// The reason, as a text for operators.
    pub why: String,
    /// Whether the row already has this reason as its mark.
    pub(crate) is_marked: bool,
}

/// A change of a row's mark.
pub(crate) struct Mark {
    pub seq: i64,
    /// The epoch under which the saga's partition is owned, so that a former owner marks nothing.
    pub epoch: i64,
    /// The reason. `None` once the saga is readable again.
    pub why: Option<String>,
}

impl Unreadable {
    /// Reads the readable columns of a [`Header`].
    pub(super) fn of_row(row: &Row, why: &Error) -> Unreadable {
        let number = |column| row.get::<i64>(column).ok();
        let text = |column| row.get::<String>(column).ok();
        let small = |column| number(column).and_then(|value| u32::try_from(value).ok());
        let time = |column| Timestamp(number(column).unwrap_or_default());
        let why = reason(why);
        Unreadable {
            seq: number(0).unwrap_or_default(),
            id: text(1).unwrap_or_default(),
            version: small(2).unwrap_or_default(),
            status: text(5).unwrap_or_default(),
            partition: small(4),
            started_at: time(7),
            changed_at: time(8),
            ended_at: number(9).map(Timestamp),
            is_marked: text(11).as_ref() == Some(&why),
            why,
        }
    }

    /// Describes a saga whose row is readable, and whose journal or definition is not.
    pub(super) fn of_journal(header: &Header, why: &Error) -> Unreadable {
        let why = reason(why);
        let is_marked = header.unreadable.as_ref() == Some(&why);
        Unreadable { is_marked, why, ..Unreadable::of_mark(header, String::new()) }
    }

    /// Describes a saga that its owner cannot read, although this program may.
    pub(super) fn of_mark(header: &Header, why: String) -> Unreadable {
        Unreadable {
            seq: header.seq,
            id: header.id.to_string(),
            version: header.version,
            status: header.status.as_str().to_owned(),
            partition: Some(header.partition),
            started_at: header.started_at,
            changed_at: header.changed_at,
            ended_at: header.ended_at,
            why,
            is_marked: true,
        }
    }
}

impl Store {
    /// Marks rows as set aside or as readable again. A row whose partition has changed owners is
    /// left as it is.
    pub async fn mark(&self, marks: &[Mark]) -> Result<(), Error> {
        let open = self.begin().await?;
        // a row locked by another session is marked when it is read again
        let free = match open.tx().dialect() {
            Dialect::Sqlite => "$1",
            Dialect::Postgres => {
                "(SELECT s.seq FROM saga s WHERE s.seq = $1 FOR UPDATE SKIP LOCKED)"
            }
        };
        let sql = format!(
            "UPDATE saga SET unreadable = $2 WHERE seq = {free} AND EXISTS
            (SELECT 1 FROM ownership o
             WHERE o.reply_partition = saga.reply_partition AND o.epoch = $3)"
        );
        let set = |mark: &Mark| {
            vec![Value::Int(mark.seq), Value::from(mark.why.clone()), Value::Int(mark.epoch)]
        };
        open.tx().execute_each(&sql, marks.iter().map(set).collect()).await?;
        Ok(open.commit().await?)
    }

    /// Counts the sagas that are set aside.
    pub async fn count_unreadable(&self) -> Result<i64, Error> {
        let sql = "SELECT count(*) FROM saga WHERE unreadable IS NOT NULL";
        let rows = self.database.query(sql, ()).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.get(0))?)
    }
}

fn reason(why: &Error) -> String {
    why.to_string().chars().filter(|letter| *letter != '\0').take(WHY_MAX).collect()
}
