//! The observer's progress in each partition: its position, the moment up to which everything is
//! read, and gaps where records expired unread.

use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_transport::Reach;

use super::positions::whole;
use super::rows::bad;
use super::statements::{PLACE, Position};
use super::store::Store;
use crate::error::Error;

/// The interval at which an observer records its partitions as read.
pub(super) const SEEN_INTERVAL: Duration = Duration::from_secs(60);
/// The age after which a partition's record is ignored: its topic was recreated with fewer
/// partitions.
pub(super) const UNSEEN_MAX: Duration = Duration::from_secs(3600);

impl Store {
    /// Records these partitions as read up to their marks. Returns whether observers read more
    /// partitions than these.
    pub async fn record_reading(&self, reaches: &[Reach], now: Timestamp) -> Result<bool, Error> {
        let open = self.database.begin().await?;
        open.tx().execute_rows(&PLACE, positions(reaches, Timestamp(0), now)?).await?;
        let seen = "SELECT count(*) FROM reading WHERE seen_at >= $1";
        let seen = open.tx().query(seen, (now.minus(SEEN_INTERVAL * 2).0,)).await?;
        open.commit().await?;
        let seen: i64 = seen.first().map_or(Ok(0), |row| row.get(0))?;
        Ok(seen > i64::try_from(reaches.len()).unwrap_or(i64::MAX))
    }

    /// Records that everything published before `at` in these partitions is stored. Returns the
    /// earliest such moment over all partitions, except those not recorded since `unseen`.
    pub async fn record_read_until(
        &self,
        reaches: &[Reach],
        at: Timestamp,
        unseen: Timestamp,
        now: Timestamp,
    ) -> Result<Timestamp, Error> {
        let open = self.database.begin().await?;
        open.tx().execute_rows(&PLACE, positions(reaches, at, now)?).await?;
        let least = "SELECT topic, min(read_until) AS read_until FROM reading WHERE seen_at >= $1
            GROUP BY topic";
        let all = open.tx().query(least, (unseen.0,)).await?;
        open.commit().await?;
        let topics = self.topics();
        let mut read_until = at;
        for row in &all {
            let topic: String = row.get("topic")?;
            if topics.iter().any(|known| **known == *topic) {
                read_until = read_until.min(Timestamp(row.get("read_until")?));
            }
        }
        Ok(read_until)
    }

    /// Returns the moment since which the observer has read everything. Chains that started earlier
    /// may have ended unseen.
    pub async fn known_since(&self, now: Timestamp) -> Result<Timestamp, Error> {
        let open = self.database.begin().await?;
        let first = "INSERT INTO observing (id, since) VALUES (1, $1)
            ON CONFLICT (id) DO UPDATE SET adopts = 0";
        open.tx().execute(first, (now.0,)).await?;
        let rows = open.tx().query("SELECT since FROM observing WHERE id = 1", ()).await?;
        let gap = open.tx().query("SELECT max(gap_at) FROM reading", ()).await?;
        open.commit().await?;
        let row = rows.first().ok_or_else(|| bad("observing", "its row is missing"))?;
        let gap: Option<i64> = gap.first().map(|row| row.get(0)).transpose()?.flatten();
        Ok(Timestamp(row.get::<i64>("since")?.max(gap.unwrap_or(i64::MIN))))
    }
}

fn positions(
    reaches: &[Reach],
    read_until: Timestamp,
    now: Timestamp,
) -> Result<Vec<Position<'_>>, Error> {
    let mut positions = Vec::with_capacity(reaches.len());
    for Reach { topic, partition, mark, .. } in reaches {
        let mark = whole(*mark)?;
        positions.push(Position {
            topic,
            partition: *partition,
            first: mark,
            next: mark,
            read_until: read_until.0,
            seen_at: now.0,
        });
    }
    Ok(positions)
}
