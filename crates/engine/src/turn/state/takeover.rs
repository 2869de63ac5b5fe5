//! The progress of a takeover.

use std::collections::BTreeMap;

/// The cursors of gained partitions.
#[derive(Default)]
pub(crate) struct Takeover {
    pub cursors: BTreeMap<u32, Cursor>,
    /// The number of times that the page size is halved: one more per failure, one less per
    /// success.
    pub halvings: u32,
}

/// A position in the row numbers of one partition's sagas.
pub(crate) struct Cursor {
    /// Sagas up to this number are read.
    pub after: i64,
    /// The last saga that a former owner may have stored. `None` until the first page is read.
    pub until: Option<i64>,
}

impl Takeover {
    /// Puts a cursor before the first saga of the partition.
    pub fn begin(&mut self, partition: u32) {
        self.cursors.insert(partition, Cursor { after: 0, until: None });
    }

    /// Drops the cursors of lost partitions.
    pub fn forget(&mut self, lost: &[u32]) {
        self.cursors.retain(|partition, _| !lost.contains(partition));
    }

    /// Whether the cursor of this saga's partition has not reached it.
    pub fn is_ahead(&self, partition: u32, seq: i64) -> bool {
        let is_ahead =
            |cursor: &Cursor| seq > cursor.after && cursor.until.is_none_or(|until| seq <= until);
        self.cursors.get(&partition).is_some_and(is_ahead)
    }

    /// Whether every saga is read.
    pub fn is_over(&self) -> bool {
        self.cursors.is_empty()
    }
}
