//! A saga whose row or journal this program cannot read.

use sagamore_core::Timestamp;

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
