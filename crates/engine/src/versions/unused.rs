//! Removes the bodies of retired and replaced versions that no row of a saga or chain refers to.
//! Every process searches for itself, and continues where its last round ended.

use std::collections::BTreeMap;
use std::time::Duration;

use sagamore_core::Timestamp;

use super::store::VersionStore;
use crate::error::Error;

/// The time after a retirement in which a start that was accepted earlier may still be stored.
pub(crate) const LATE_STARTS: Duration = Duration::from_secs(3600);
/// Maximum bodies that are examined per round.
const CANDIDATES_MAX: u32 = 100;
/// Maximum row numbers of one statement, and below it the maximum statements of a round.
const ROWS: i64 = 100_000;
const STATEMENTS_MAX: usize = 20;

/// The progress of the search for unused bodies.
#[derive(Default)]
pub(crate) struct UnusedBodies {
    /// By hash, the row number before which no row refers to the body.
    unused_before: BTreeMap<String, i64>,
}

impl UnusedBodies {
    /// Continues the search among the bodies that were retired or replaced before `before`.
    pub async fn sweep(&mut self, store: &VersionStore, before: Timestamp) -> Result<(), Error> {
        let candidates = store.unused_candidates(before, CANDIDATES_MAX).await?;
        self.unused_before.retain(|hash, _| candidates.contains(hash));
        if candidates.is_empty() {
            return Ok(());
        }
        let (first, last) = store.row_numbers().await?;
        let mut statements = 0;
        for hash in candidates {
            let mut from = self.unused_before.get(&hash).map_or(first, |from| first.max(*from));
            let mut is_used = false;
            while from <= last && !is_used && statements < STATEMENTS_MAX {
                statements += 1;
                let used = store.first_use(&hash, from, from + ROWS).await?;
                is_used = used.is_some();
                from = used.unwrap_or(from + ROWS);
            }
            if from > last {
                store.remove_body(&hash, before).await?;
                tracing::info!(hash, "removed the contents of an unused version");
            }
            self.unused_before.insert(hash, from);
        }
        Ok(())
    }
}
