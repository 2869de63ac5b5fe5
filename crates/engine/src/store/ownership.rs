//! Who owns which reply partition: a row with an epoch that every write checks.

use std::collections::BTreeMap;

use sagamore_core::planted::{Bug, planted};
use sagamore_database::Tx;

use super::Store;
use crate::error::Error;

/// The partitions that an orchestrator owns, each with the epoch under which it took it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs(pub BTreeMap<u32, i64>);

impl Store {
    /// Takes the partitions, and those that were there when there were more: from now on nobody with an older epoch
    /// changes a saga of theirs.
    pub async fn take_over(&self, owner: &str, partitions: u32) -> Result<Epochs, Error> {
        let open = self.begin().await?;
        let mut epochs = BTreeMap::new();
        let known = open.tx().query("SELECT coalesce(max(reply_partition) + 1, 0) FROM ownership", ()).await?;
        let known: i64 = known.first().map_or(Ok(0), |row| row.get(0))?;
        let known = u32::try_from(known).map_err(|why| super::bad("ownership", why))?;
        for partition in 0..partitions.max(known).max(1) {
            let rows = open
                .tx()
                .query(
                    "INSERT INTO ownership (reply_partition, owner, epoch) VALUES ($1, $2, 1)
                     ON CONFLICT (reply_partition)
                     DO UPDATE SET owner = excluded.owner, epoch = ownership.epoch + 1
                     RETURNING epoch",
                    (partition, owner),
                )
                .await?;
            let row = rows.first().ok_or_else(|| super::bad("ownership", "no epoch came back"))?;
            epochs.insert(partition, row.get(0)?);
        }
        open.commit().await?;
        Ok(Epochs(epochs))
    }

    /// Fails unless all these partitions are still owned under these epochs, as this transaction sees them.
    pub async fn check_ownership(&self, tx: &Tx, epochs: &Epochs) -> Result<(), Error> {
        for row in tx.query("SELECT reply_partition, epoch FROM ownership", ()).await? {
            let (partition, epoch): (i64, i64) = (row.get(0)?, row.get(1)?);
            let partition = u32::try_from(partition).map_err(|why| super::bad("ownership", why))?;
            let lost = epochs.0.get(&partition).is_some_and(|ours| *ours != epoch);
            if lost && !planted(Bug::IgnoreEpoch) {
                return Err(Error::OwnershipLost { partition, epoch });
            }
        }
        Ok(())
    }
}
