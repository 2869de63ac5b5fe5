//! Acknowledgement: offsets of finished records, and the rows that follow the transport's sync.

use sagamore_core::Timestamp;
use sagamore_core::planted::{Bug, planted};
use sagamore_transport::Mark;

use super::outgoing::Outgoing;
use super::receive::Received;
use super::state::TurnState;
use crate::emitted;
use crate::error::Error;
use crate::inbox::{self, Due, InboxRemoval};
use crate::unsynced::SettledRows;

impl TurnState {
    /// Commits the offsets of all polled records before their answers. Does nothing, except with a
    /// planted bug.
    pub(super) async fn acknowledge_early(&mut self, received: &Received) -> Result<(), Error> {
        if planted(Bug::OffsetBeforeAcknowledgement) {
            self.consumer().await?.commit(Mark::behind(received.polled())).await?;
        }
        Ok(())
    }

    /// Commits the offsets of finished records: in each partition up to the first one that is not.
    /// A crash before it redelivers records, and the barrier answers them.
    pub(super) async fn acknowledge(&mut self, outgoing: &Outgoing<'_>) -> Result<(), Error> {
        Ok(self.consumer().await?.commit(outgoing.marks()).await?)
    }

    /// Removes these events from the inbox once the transport has synced their results. A crash
    /// before it repeats them, under the same ids.
    pub(super) fn remove_from_inbox(&mut self, removals: Vec<InboxRemoval>) {
        let settled = SettledRows { removals, ..SettledRows::default() };
        self.unsynced.follow(self.transport.as_ref(), settled);
    }

    /// Postpones events for reactions that this program lacks.
    pub(super) async fn put_off(&mut self, strange: &[Due], now: Timestamp) -> Result<(), Error> {
        Ok(inbox::put_off(&self.database, strange, now).await?)
    }

    /// Writes the rows whose records are synced, and marks the turn as finished.
    pub(super) async fn settle(&mut self) -> Result<(), Error> {
        let settled = self.unsynced.take();
        self.write(settled).await?;
        self.unsettled = false;
        Ok(())
    }

    /// Waits for the sync of all published records, and writes their rows and offsets.
    pub(crate) async fn finish(&mut self) -> Result<(), Error> {
        let settled = self.unsynced.finish().await;
        self.write(settled).await?;
        self.transport.synced().await?; // the committed offsets
        Ok(())
    }

    /// Writes sent events and removals from the inbox.
    async fn write(&mut self, SettledRows { sent, removals }: SettledRows) -> Result<(), Error> {
        if sent.is_empty() && removals.is_empty() {
            return Ok(());
        }
        let open = self.database.begin().await?;
        emitted::mark_sent(&open.tx(), &sent).await?;
        inbox::remove(&open.tx(), &removals).await?;
        Ok(open.commit().await?)
    }
}
