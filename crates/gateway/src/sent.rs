//! The sent commands of participants that must not be called twice: one row per command, committed
//! before its call.
//!
//! **Invariant:** a command without a row was never sent, or had no effect. A crash between the
//! row's commit and the call leaves a row without a call; the command is then unknown, which is
//! safe.
//!
//! **Invariant:** a queried action has a row that no call removes, so that it is not sent after its
//! query was answered with *absent*.

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::{Horizon, Timestamp};
use sagamore_database::{Clock, Database, Error, Migration, Open};
use tokio::sync::{Mutex, OnceCell};

use crate::retention::{Permission, Retention};

const MIGRATIONS: &[Migration] = &[Migration::new(
    "0001-sent",
    "CREATE TABLE gateway_sent (command TEXT PRIMARY KEY, saga TEXT NOT NULL, sent_at BIGINT NOT \
     NULL, open_until BIGINT NOT NULL, sender TEXT NOT NULL);
     CREATE INDEX gateway_sent_at ON gateway_sent (sent_at, command);",
)];
/// The program's version in the schema.
const PROGRAM: u32 = 1;
/// Rows that one page of a removal reads.
const PAGE: i64 = 500;
/// The sender of rows that a query has taken from their call.
const QUERY: &str = "";

/// The table of sent commands. Clones share it.
#[derive(Clone)]
pub(crate) struct Sent {
    database: Database,
    clock: Clock,
    /// Whether the table exists. Most gateways never need it.
    is_migrated: Arc<OnceCell<()>>,
    retention: Arc<Mutex<Retention>>,
}

/// The row of a call, which must begin soon after.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    command: String,
    sender: String,
    /// The time after which the call must not begin.
    begin_until: Timestamp,
}

/// The state of a removal after a page.
pub(crate) enum Progress {
    More,
    Complete,
    /// The clock was set back, so rows may be younger than they seem. The removal ends.
    Revoked,
}

/// A removal in progress: rows of sagas that ended long ago, by their age.
#[derive(Debug)]
pub(crate) struct Removal {
    permission: Permission,
    /// The last row that was read.
    after: (i64, String),
}

impl Sent {
    /// Creates the table in a database of its own, with its first use.
    pub fn new(database: Database, retention: Duration) -> Sent {
        let retention = Arc::new(Mutex::new(Retention::of(retention)));
        Sent { clock: Clock::of(&database), database, is_migrated: Arc::default(), retention }
    }

    async fn begin(&self) -> Result<Open, Error> {
        let migrate = async || {
            self.database.migrate("gateway", MIGRATIONS, PROGRAM).await?;
            Retention::create_table(&self.database).await
        };
        self.is_migrated.get_or_try_init(migrate).await?;
        self.clock.sample().await?;
        self.retention.lock().await.read_clock(&self.database, self.now()).await?;
        self.database.begin().await
    }

    /// Stores that a command is being sent. The call begins within `timeout` and ends within
    /// another `timeout`. Returns `None` if the command may have been sent before.
    pub async fn claim(
        &self,
        command: &str,
        saga: &str,
        timeout: Duration,
    ) -> Result<Option<Claim>, Error> {
        let open = self.begin().await?;
        let now = self.now();
        let begin_until = now.plus(timeout);
        let sender = format!("{:016x}", fastrand::u64(..));
        let sql = "INSERT INTO gateway_sent (command, saga, sent_at, open_until, sender)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT (command) DO NOTHING";
        let row = (command, saga, now.0, begin_until.plus(timeout).0, sender.as_str());
        let inserted = open.tx().execute(sql, row).await?;
        open.commit().await?;
        let command = command.to_owned();
        Ok((inserted == 1).then_some(Claim { command, sender, begin_until }))
    }

    /// Whether the claim's call may still begin. A process that was paused must not send a command
    /// that a query has found absent meanwhile.
    pub fn may_begin(&self, claim: &Claim) -> bool {
        self.now() <= claim.begin_until
    }

    /// Removes the row of a call that had no effect, so that the command may be sent again. The row
    /// stays if a query has taken it.
    pub async fn release(&self, claim: &Claim) -> Result<(), Error> {
        let open = self.begin().await?;
        let sql = "DELETE FROM gateway_sent WHERE command = $1 AND sender = $2";
        let row = (claim.command.as_str(), claim.sender.as_str());
        open.tx().execute(sql, row).await?;
        open.commit().await
    }

    /// Stores that a command is never sent again, because it is queried. Returns the time for which
    /// its call may still be open: at most twice the time limit of a call.
    pub async fn block(
        &self,
        command: &str,
        saga: &str,
        timeout: Duration,
    ) -> Result<Option<Duration>, Error> {
        let open = self.begin().await?;
        let now = self.now();
        let sql = "INSERT INTO gateway_sent (command, saga, sent_at, open_until, sender)
            VALUES ($1, $2, $3, 0, $4)
            ON CONFLICT (command) DO UPDATE SET sender = excluded.sender RETURNING open_until";
        let rows = open.tx().query(sql, (command, saga, now.0, QUERY)).await?;
        let open_until: i64 = rows.first().map_or(Ok(0), |row| row.get(0))?;
        open.commit().await?;
        let rest = u64::try_from(open_until.saturating_sub(now.0)).unwrap_or(0);
        // a later end is an effect of a clock that was set back
        let rest = Duration::from_millis(rest).min(timeout.saturating_mul(2));
        Ok(Some(rest).filter(|rest| !rest.is_zero()))
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }

    /// Returns the removal that a horizon allows, if any.
    pub async fn permit(&self, horizon: Horizon) -> Result<Option<Removal>, Error> {
        self.begin().await?.rollback().await?;
        let (now, mut retention) = (self.now(), self.retention.lock().await);
        let permitted = retention.permit(&self.database, &self.clock, horizon, now).await?;
        Ok(permitted.map(Removal::of))
    }

    /// Removes one page of the rows that a horizon covers.
    pub async fn sweep(&self, removal: &mut Removal) -> Result<Progress, Error> {
        let open = self.begin().await?;
        if !self.retention.lock().await.still_permits(&removal.permission) {
            return Ok(Progress::Revoked);
        }
        let sql = "SELECT command, saga, sent_at FROM gateway_sent
            WHERE sent_at < $1 AND (sent_at > $2 OR (sent_at = $2 AND command > $3))
            ORDER BY sent_at, command LIMIT $4";
        let before = removal.permission.horizon.started_before.0;
        let (at, command) = removal.after.clone();
        let rows = open.tx().query(sql, (before, at, command, PAGE)).await?;
        for row in &rows {
            let (command, saga): (String, String) = (row.get(0)?, row.get(1)?);
            removal.after = (row.get(2)?, command);
            if removal.covers(&saga) {
                let sql = "DELETE FROM gateway_sent WHERE command = $1";
                open.tx().execute(sql, (removal.after.1.as_str(),)).await?;
            }
        }
        open.commit().await?;
        Ok(if rows.len() as i64 == PAGE { Progress::More } else { Progress::Complete })
    }
}

impl Removal {
    fn of(permission: Permission) -> Removal {
        let from = permission.horizon.started_from;
        let from = from.map_or(i64::MIN, |from| from.0.saturating_sub(1));
        Removal { permission, after: (from, String::new()) }
    }

    /// Returns the moment before which the removal leaves no rows.
    pub fn before(&self) -> Timestamp {
        self.permission.horizon.started_before
    }

    fn covers(&self, saga: &str) -> bool {
        let Horizon { definitions, but, .. } = &self.permission.horizon;
        let definition = saga.split_once(':').map(|(definition, _)| definition);
        definitions.iter().any(|covered| Some(covered.as_str()) == definition)
            && !but.iter().any(|saved| saved.as_str() == saga)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: &str = "toy:1/x/action/1";
    const TIMEOUT: Duration = Duration::from_secs(20);

    fn table() -> Sent {
        Sent::new(Database::memory(), Duration::from_secs(30 * 24 * 3_600))
    }

    async fn claim(sent: &Sent) -> Option<Claim> {
        sent.claim(COMMAND, "toy:1", TIMEOUT).await.expect("stored")
    }

    async fn block(sent: &Sent) -> Option<Duration> {
        sent.block(COMMAND, "toy:1", TIMEOUT).await.expect("stored")
    }

    #[tokio::test]
    async fn a_command_is_sent_once_unless_its_call_had_no_effect() {
        let sent = table();
        let first = claim(&sent).await.expect("new");
        assert!(sent.may_begin(&first));
        assert!(claim(&sent).await.is_none());
        sent.release(&first).await.expect("removed");
        let second = claim(&sent).await.expect("new again");
        sent.release(&first).await.expect("nothing to remove");
        assert!(claim(&sent).await.is_none(), "a late release removed another call's row");
        sent.release(&second).await.expect("removed");
        assert!(claim(&sent).await.is_some());
    }

    #[tokio::test]
    async fn a_queried_command_is_never_sent_again() {
        let sent = table();
        assert_eq!(block(&sent).await, None, "no call can be open");
        assert!(claim(&sent).await.is_none());

        let sent = table();
        let call = claim(&sent).await.expect("new");
        let rest = block(&sent).await.expect("the call may be open");
        assert!(rest > TIMEOUT && rest <= 2 * TIMEOUT, "{rest:?}");
        sent.release(&call).await.expect("no error");
        assert!(claim(&sent).await.is_none(), "the end of a call removed the row of a query");
    }

    #[tokio::test]
    async fn a_call_that_ends_after_a_setback_of_the_clock_stays_open_for_its_time_limits() {
        let sent = table();
        claim(&sent).await.expect("new");
        let open = sent.begin().await.expect("open");
        let sql = "UPDATE gateway_sent SET open_until = open_until + 40 * 86400000";
        open.tx().execute(sql, ()).await.expect("updated");
        open.commit().await.expect("committed");
        assert_eq!(block(&sent).await, Some(2 * TIMEOUT), "the answer absent is not final");
    }

    #[tokio::test]
    async fn a_call_does_not_begin_after_a_long_pause() {
        let sent = table();
        let call = sent.claim(COMMAND, "toy:1", Duration::ZERO).await.expect("stored");
        let mut call = call.expect("new");
        call.begin_until = Timestamp(call.begin_until.0 - 1);
        assert!(!sent.may_begin(&call));
        assert_eq!(block(&sent).await, None, "the call cannot be open");
    }

    #[tokio::test]
    async fn a_removal_spares_young_rows_and_sagas_that_have_not_ended() {
        let sent = table();
        let open = sent.begin().await.expect("open");
        let sql = "INSERT INTO gateway_sent (command, saga, sent_at, open_until, sender)
            VALUES ($1, $2, $3, 0, 'a')";
        let other = ("other:1".to_owned(), 0);
        let toys = (0..1_200).map(|saga| (format!("toy:{saga}"), saga / 100));
        for (saga, at) in toys.chain([other]) {
            let row = (format!("{saga}/x/action/1"), saga, at);
            open.tx().execute(sql, row).await.expect("stored");
        }
        open.commit().await.expect("committed");
        let permitted = sent.permit(Horizon {
            started_before: Timestamp(10),
            ended_before: Timestamp(20),
            started_from: None,
            definitions: vec!["toy".parse().expect("a name")],
            but: vec!["toy:7".parse().expect("a saga")],
        });
        let mut removal = permitted.await.expect("read").expect("permitted");
        while let Progress::More = sent.sweep(&mut removal).await.expect("swept") {}
        let rows = sent.database.query("SELECT saga FROM gateway_sent ORDER BY sent_at, saga", ());
        let rows = rows.await.expect("rows");
        let sagas: Vec<String> = rows.iter().map(|row| row.get(0).expect("a saga")).collect();
        assert_eq!((sagas.len(), sagas[0].as_str(), sagas[1].as_str()), (202, "other:1", "toy:7"));
    }
}
