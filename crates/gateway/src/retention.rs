//! The part of a horizon that a gateway may act on, by the clock readings of its database.
//!
//! **Invariant:** a row is removed only if its saga or chain ended longer ago than the retention. A
//! stamp of a clock that was set back does not prove it.

use std::time::Duration;

use sagamore_core::{Horizon, Timestamp};
use sagamore_database::lifetime::{MIGRATIONS, Readings};
use sagamore_database::{Clock, Database, Error};

/// The program's version in the schema of the readings.
const PROGRAM: u32 = 1;
/// Maximum difference between clocks.
const SKEW_MAX: Duration = Duration::from_secs(24 * 3_600);

/// The retention of one table.
#[derive(Debug)]
pub(crate) struct Retention {
    period: Duration,
    readings: Readings,
    /// The number of readings that a setback of the clock required.
    setbacks: u64,
}

/// A horizon that rows may be removed by, until the clock is set back.
#[derive(Clone, Debug)]
pub(crate) struct Permission {
    pub horizon: Horizon,
    setbacks: u64,
}

impl Retention {
    /// Creates the retention of rows whose sagas or chains ended.
    pub fn of(period: Duration) -> Retention {
        Retention { period, readings: Readings::default(), setbacks: 0 }
    }

    /// Creates the table of the clock readings.
    pub async fn create_table(database: &Database) -> Result<(), Error> {
        database.migrate("lifetime", MIGRATIONS, PROGRAM).await
    }

    /// Reads the clock again if its last reading is too old for new rows. Call it before rows are
    /// stamped.
    pub async fn read_clock(&mut self, database: &Database, now: Timestamp) -> Result<(), Error> {
        if self.readings.is_overtaken(now.0) {
            self.readings.take(database, now.0).await?;
            self.setbacks += 1; // rows may be stamped below the horizons of removals
        }
        Ok(())
    }

    /// Returns the part of a horizon that rows may be removed by. `None`: the clocks disagree, or
    /// the publisher's retention is shorter.
    pub async fn permit(
        &mut self,
        database: &Database,
        clock: &Clock,
        horizon: Horizon,
        now: Timestamp,
    ) -> Result<Option<Permission>, Error> {
        if clock.disagrees() {
            tracing::warn!("clocks differ too much: the gateway keeps its rows");
            return Ok(None);
        }
        self.permit_by(database, horizon, now).await
    }

    async fn permit_by(
        &mut self,
        database: &Database,
        mut horizon: Horizon,
        now: Timestamp,
    ) -> Result<Option<Permission>, Error> {
        let retention = self.period;
        if horizon.ended_before > now.minus(retention).plus(SKEW_MAX) {
            let why = "sagas or chains that ended within the retention would be forgotten: give \
                       orchestrators, observers and gateways the same";
            tracing::warn!(%horizon.ended_before, ?retention, why);
            return Ok(None);
        }
        self.read_clock(database, now).await?;
        let lifetime = self.readings.take(database, now.0).await?;
        let set_back_to = lifetime.earliest_setback(Timestamp::default().plus(retention).0);
        let before = &mut horizon.started_before;
        *before = set_back_to.map_or(*before, |at| Timestamp(at).min(*before));
        Ok(Some(Permission { horizon, setbacks: self.setbacks }))
    }

    /// Returns whether the clock was not set back since.
    pub fn still_permits(&self, permission: &Permission) -> bool {
        self.setbacks == permission.setbacks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600 * 1_000;
    const PERIOD: Duration = Duration::from_secs(30 * 24 * 3_600);

    fn horizon(before_day: i64) -> Horizon {
        let at = Timestamp(before_day * DAY);
        let (definitions, but) = Default::default();
        Horizon { started_before: at, ended_before: at, started_from: None, definitions, but }
    }

    async fn opened() -> (Database, Retention) {
        let database = Database::memory();
        Retention::create_table(&database).await.expect("created");
        (database, Retention::of(PERIOD))
    }

    #[tokio::test]
    async fn a_publisher_with_a_shorter_retention_removes_nothing() {
        let (database, mut retention) = opened().await;
        for (ended_before, is_permitted) in [(70, true), (71, true), (72, false), (140, false)] {
            let now = Timestamp(100 * DAY);
            let permitted = retention.permit_by(&database, horizon(ended_before), now).await;
            assert_eq!(permitted.expect("read").is_some(), is_permitted, "{ended_before}");
        }
    }

    #[tokio::test]
    async fn rows_stamped_since_a_setback_of_the_clock_are_spared() {
        let (database, mut retention) = opened().await;
        retention.read_clock(&database, Timestamp(100 * DAY)).await.expect("read");
        let permitted = retention.permit_by(&database, horizon(70), Timestamp(100 * DAY)).await;
        let before = permitted.expect("read").expect("permitted");
        assert_eq!(before.horizon.started_before, Timestamp(70 * DAY));

        retention.read_clock(&database, Timestamp(60 * DAY)).await.expect("read");
        assert!(!retention.still_permits(&before), "rows may be stamped below the horizon");
        let after = retention.permit_by(&database, horizon(70), Timestamp(100 * DAY)).await;
        let after = after.expect("read").expect("permitted");
        let spared_from = after.horizon.started_before;
        assert!(spared_from < Timestamp(60 * DAY), "{spared_from:?}");
        assert!(retention.still_permits(&after));
    }
}
