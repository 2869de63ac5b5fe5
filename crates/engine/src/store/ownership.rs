//! Ownership of reply partitions: a row with an epoch that every write checks, and a lease if
//! several orchestrators share them.
//!
//! **Invariant:** leases only decide which orchestrator may claim a partition. The epoch alone
//! decides which may write, whatever a clock says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::planted::{Bug, planted};
use sagamore_database::port::Dialect;
use sagamore_database::{Row, Tx, Value};

use super::Store;
use crate::error::Error;

/// The longest lease of any orchestrator.
const LEASE_MAX: Duration = Duration::from_secs(3);

/// The partitions that an orchestrator owns, each with the epoch of its claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs(pub BTreeMap<u32, i64>);

/// One partition's row.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub partition: u32,
    pub epoch: i64,
    /// Whether the owner is the orchestrator that made the survey.
    pub ours: bool,
    /// Whether no lease holds the partition.
    pub free: bool,
    /// The end of the lease. A free partition is claimed only while this is unchanged.
    pub lease_until: i64,
}

impl Epochs {
    pub fn owns(&self, partition: u32) -> bool {
        self.0.contains_key(&partition)
    }
}

impl Store {
    /// Takes over all partitions, including higher-numbered ones from when there were more. From
    /// now on an older epoch cannot write to their sagas.
    pub async fn take_over(&self, owner: &str, partitions: u32) -> Result<Epochs, Error> {
        let open = self.begin().await?;
        let mut epochs = BTreeMap::new();
        let mut all: BTreeSet<u32> = (0..partitions.max(1)).collect();
        for row in open.tx().query("SELECT reply_partition FROM ownership", ()).await? {
            all.extend(partition(row.get(0)?));
        }
        for partition in all {
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
            let row = rows
                .first()
                .ok_or_else(|| super::bad("ownership", "the database returned no epoch"))?;
            epochs.insert(partition, row.get(0)?);
        }
        open.commit().await?;
        Ok(Epochs(epochs))
    }

    /// Inserts a row for each partition, free to be claimed.
    pub async fn share(&self, partitions: u32) -> Result<(), Error> {
        let open = self.begin().await?;
        let rows = (0..partitions.max(1)).map(|partition| vec![Value::from(partition)]).collect();
        let insert = "INSERT INTO ownership (reply_partition, owner, epoch) VALUES ($1, '', 0)
            ON CONFLICT (reply_partition) DO NOTHING";
        open.tx().execute_each(insert, rows).await?;
        Ok(open.commit().await?)
    }

    /// Claims these partitions, each unless its row has changed since the survey that found it
    /// free. Returns the claimed ones with their new epochs.
    ///
    /// Compares no clock, because the owner may have renewed its lease while this orchestrator was
    /// paused. A partition locked by a hanging transaction of its former owner is skipped until the
    /// next claim.
    pub async fn claim(
        &self,
        owner: &str,
        lease: Duration,
        now: Timestamp,
        wanted: &[Seat],
    ) -> Result<Vec<(u32, i64)>, Error> {
        let open = self.begin().await?;
        let tx = open.tx();
        let until = clock(&tx, now).await?.plus(lease).0;
        let skip = match tx.dialect() {
            Dialect::Sqlite => "",
            Dialect::Postgres => "FOR UPDATE SKIP LOCKED",
        };
        let claim = format!(
            "UPDATE ownership SET owner = $1, epoch = epoch + 1, lease_until = $2
             WHERE reply_partition = (SELECT reply_partition FROM ownership
                                      WHERE reply_partition = $3 AND epoch = $4
                                      AND (owner = $1 OR lease_until = $5) {skip})
             RETURNING reply_partition, epoch"
        );
        let set = |seat: &Seat| {
            let (partition, epoch) = (Value::from(seat.partition), Value::Int(seat.epoch));
            vec![owner.into(), Value::Int(until), partition, epoch, Value::Int(seat.lease_until)]
        };
        let rows = tx.query_each(&claim, wanted.iter().map(set).collect()).await?;
        open.commit().await?;
        let claimed = |row: &Row| Ok(partition(row.get(0)?).zip(Some(row.get(1)?)));
        rows.iter().flatten().map(claimed).filter_map(Result::transpose).collect()
    }

    /// Releases these partitions: any orchestrator may claim them.
    pub async fn release(&self, owner: &str, partitions: &[u32]) -> Result<(), Error> {
        let open = self.begin().await?;
        let release = "UPDATE ownership SET owner = '', lease_until = 0 WHERE reply_partition = $1
            AND owner = $2";
        let sets = partitions
            .iter()
            .map(|partition| vec![Value::from(*partition), Value::from(owner)])
            .collect();
        open.tx().execute_each(release, sets).await?;
        Ok(open.commit().await?)
    }

    /// Removes this owner's membership and releases its partitions.
    pub async fn leave(&self, owner: &str) -> Result<(), Error> {
        let open = self.begin().await?;
        open.tx().execute("DELETE FROM orchestrator WHERE owner = $1", (owner,)).await?;
        let release = "UPDATE ownership SET owner = '', lease_until = 0 WHERE owner = $1";
        open.tx().execute(release, (owner,)).await?;
        Ok(open.commit().await?)
    }

    /// Fails unless all these partitions are still owned under these epochs, as this transaction
    /// sees them.
    pub async fn check_ownership(&self, tx: &Tx, epochs: &Epochs) -> Result<(), Error> {
        for row in tx.query("SELECT reply_partition, epoch FROM ownership", ()).await? {
            let (Some(partition), epoch) = (partition(row.get(0)?), row.get::<i64>(1)?) else {
                continue;
            };
            let lost = epochs.0.get(&partition).is_some_and(|ours| *ours != epoch);
            if lost && !planted(Bug::IgnoreEpoch) {
                return Err(Error::OwnershipLost { partition });
            }
        }
        Ok(())
    }
}

/// Whether a lease that ends at `until` holds at `time`. A lease beyond any possible end was
/// written under a clock that was ahead, and counts as free.
pub(super) fn is_possible(until: i64, time: Timestamp, lease: Duration) -> bool {
    (time.0..=time.plus(lease.max(LEASE_MAX) * 2).0).contains(&until)
}

/// Returns the time by which leases are taken and end: the server's, or `now` without a server.
pub(super) async fn clock(tx: &Tx, now: Timestamp) -> Result<Timestamp, Error> {
    Ok(tx.server_time().await?.map_or(now, Timestamp))
}

/// Converts a row's partition. An invalid number is skipped: no program wrote it, and no saga can
/// be in it.
pub(super) fn partition(number: i64) -> Option<u32> {
    let partition = u32::try_from(number).ok();
    if partition.is_none() {
        tracing::debug!(number, "skipping an invalid row of the table ownership");
    }
    partition
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(3);

    #[tokio::test]
    async fn a_paused_claim_takes_no_lease_renewed_meanwhile() {
        let store =
            Store::open(sagamore_database::Database::memory(), "replies").await.expect("open");
        store.share(1).await.expect("share");
        let seat = async |owner: &str, now: i64| {
            store.survey(owner, LEASE, Timestamp(now)).await.expect("survey").seats.remove(0)
        };
        let claim = async |owner: &str, now: i64, seat: &Seat| {
            store
                .claim(owner, LEASE, Timestamp(now), std::slice::from_ref(seat))
                .await
                .expect("claim")
                .len()
        };
        assert_eq!(claim("one", 1_000, &seat("one", 1_000).await).await, 1);
        let expired = seat("two", 5_000).await;
        assert!(expired.free, "the lease ended at 4,000");
        let renew = "UPDATE ownership SET lease_until = 13000 WHERE owner = 'one'";
        let open = store.begin().await.expect("begin");
        open.tx().execute(renew, ()).await.expect("renew");
        open.commit().await.expect("commit");
        assert_eq!(
            claim("two", 5_000, &expired).await,
            0,
            "by the clock at the survey, no lease ends at 13,000"
        );
        assert_eq!(claim("two", 14_000, &seat("two", 14_000).await).await, 1);
    }
}
