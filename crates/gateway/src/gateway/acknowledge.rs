//! Acknowledgement: offsets of finished commands, up to the first unfinished one of each partition.

use super::Gateway;
use crate::error::Error;

impl Gateway {
    /// Commits offsets. A crash before the commit repeats calls.
    pub(super) async fn acknowledge(&mut self) -> Result<(), Error> {
        let marks = self.ledger.marks();
        if marks.is_empty() {
            return Ok(());
        }
        let committed = self.consumer().await?.commit(marks.clone()).await;
        self.or_resubscribe(committed)?;
        self.ledger.commit(&marks);
        Ok(())
    }
}
