//! Marks of unreadable sagas.

use std::collections::BTreeMap;

/// Unwritten marks by row number: the partition and the reason, `None` once the saga is readable.
#[derive(Default)]
pub(crate) struct PendingMarks(pub BTreeMap<i64, (u32, Option<String>)>);
