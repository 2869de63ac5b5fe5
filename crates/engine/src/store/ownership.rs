//! Ownership of reply partitions: a row with an epoch that every write checks, and a lease if
//! several orchestrators share them.
//!
//! **Invariant:** leases only decide which orchestrator may claim a partition. The epoch alone
//! decides which may write, independently of clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::planted::{Bug, planted};
use sagamore_database::{Row, Statement, Tx, given_row};

use super::Store;
use crate::error::Error;

/// The longest lease of any orchestrator.
const LEASE_MAX: Duration = Duration::from_secs(3);

given_row! {
    /// A new row of the table `ownership`.
    struct NewPartition<'a> {
        reply_partition: u32,
        owner: &'a str,
        epoch: i64,
    }
}

given_row! {
    /// A partition that an orchestrator claims until a moment, as the survey found it.
    struct Claim<'a> {
        reply_partition: u32,
        epoch: i64,
        lease_until: i64,
        owner: &'a str,
        until: i64,
    }
}

given_row! {
    /// A partition that its owner releases.
    struct ReleasedPartition<'a> {
        reply_partition: u32,
        owner: &'a str,
    }
}

static SHARE: Statement<NewPartition<'_>> =
    Statement::insert("ownership", "ON CONFLICT (reply_partition) DO NOTHING");

/// Runs row by row, as does `RELEASE`: one order of locks in all transactions.
static CLAIM: Statement<Claim<'_>> = Statement::new(
    "UPDATE ownership SET owner = given.owner, epoch = epoch + 1, lease_until = given.until
     WHERE reply_partition = (SELECT o.reply_partition FROM ownership o
        WHERE o.reply_partition = given.reply_partition AND o.epoch = given.epoch
            AND (o.owner = given.owner OR o.lease_until = given.lease_until)
        {FOR UPDATE SKIP LOCKED})
     RETURNING reply_partition, epoch",
);

static RELEASE: Statement<ReleasedPartition<'_>> = Statement::new(
    "UPDATE ownership SET owner = '', lease_until = 0 FROM given
     WHERE ownership.reply_partition = given.reply_partition AND ownership.owner = given.owner",
);

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
            all.extend(partition(row.get("reply_partition")?));
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
            epochs.insert(partition, row.get("epoch")?);
        }
        open.commit().await?;
        Ok(Epochs(epochs))
    }

    /// Inserts a row for each partition, free to be claimed.
    pub async fn share(&self, partitions: u32) -> Result<(), Error> {
        let open = self.begin().await?;
        let free = |reply_partition| NewPartition { reply_partition, owner: "", epoch: 0 };
        open.tx().execute_rows(&SHARE, (0..partitions.max(1)).map(free)).await?;
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
        let claims = wanted.iter().map(|seat| Claim {
            reply_partition: seat.partition,
            epoch: seat.epoch,
            lease_until: seat.lease_until,
            owner,
            until,
        });
        let rows = tx.query_row_by_row(&CLAIM, claims).await?;
        open.commit().await?;
        let claimed =
            |row: &Row| Ok(partition(row.get("reply_partition")?).zip(Some(row.get("epoch")?)));
        rows.iter().flatten().map(claimed).filter_map(Result::transpose).collect()
    }

    /// Releases these partitions: any orchestrator may claim them.
    pub async fn release(&self, owner: &str, partitions: &[u32]) -> Result<(), Error> {
        let open = self.begin().await?;
        let released = partitions
            .iter()
            .map(|partition| ReleasedPartition { reply_partition: *partition, owner });
        open.tx().execute_row_by_row(&RELEASE, released).await?;
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
            let epoch: i64 = row.get("epoch")?;
            let Some(partition) = partition(row.get("reply_partition")?) else { continue };
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
