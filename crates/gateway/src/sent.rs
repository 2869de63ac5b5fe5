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
use tokio::sync::OnceCell;

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
/// The longest time for which a call may be open. A later end is an effect of a wrong clock.
const OPEN_MAX: Duration = Duration::from_secs(3_600);
/// The sender of rows that a query has taken from their call.
const QUERY: &str = "";

/// The table of sent commands. Clones share it.
#[derive(Clone)]
pub(crate) struct Sent {
    database: Database,
    clock: Clock,
    /// Whether the table exists. Most gateways never need it.
    is_migrated: Arc<OnceCell<()>>,
}

/// The row of a call, which must begin soon after.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    command: String,
    sender: String,
    /// The time after which the call must not begin.
    begin_until: Timestamp,
}

/// A removal in progress: rows of sagas that ended long ago, by their age.
#[derive(Debug)]
pub(crate) struct Removal {
    horizon: Horizon,
    /// The last row that was read.
    after: (i64, String),
}

impl Sent {
    /// Creates the table in a database of its own, with its first use.
    pub fn new(database: Database) -> Sent {
        Sent { clock: Clock::of(&database), database, is_migrated: Arc::default() }
    }

    async fn begin(&self) -> Result<Open, Error> {
        let migrate = || self.database.migrate("gateway", MIGRATIONS, PROGRAM);
        self.is_migrated.get_or_try_init(migrate).await?;
        self.clock.sample().await?;
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
    /// its call may still be open.
    pub async fn block(&self, command: &str, saga: &str) -> Result<Option<Duration>, Error> {
        let open = self.begin().await?;
        let now = self.now();
        let sql = "INSERT INTO gateway_sent (command, saga, sent_at, open_until, sender)
            VALUES ($1, $2, $3, 0, $4)
            ON CONFLICT (command) DO UPDATE SET sender = excluded.sender RETURNING open_until";
        let rows = open.tx().query(sql, (command, saga, now.0, QUERY)).await?;
        let open_until: i64 = rows.first().map_or(Ok(0), |row| row.get(0))?;
        open.commit().await?;
        let rest = u64::try_from(open_until.saturating_sub(now.0)).unwrap_or(0);
        let rest = Duration::from_millis(rest);
        Ok(Some(rest).filter(|rest| !rest.is_zero() && *rest <= OPEN_MAX))
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }

    /// Removes one page of the rows that a horizon covers. Returns whether there may be more.
    pub async fn sweep(&self, removal: &mut Removal) -> Result<bool, Error> {
        let open = self.begin().await?;
        let sql = "SELECT command, saga, sent_at FROM gateway_sent
            WHERE sent_at < $1 AND (sent_at > $2 OR (sent_at = $2 AND command > $3))
            ORDER BY sent_at, command LIMIT $4";
        let before = removal.horizon.started_before.0;
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
        Ok(rows.len() as i64 == PAGE)
    }
}

impl Removal {
    /// Creates the removal that a horizon allows. Observers' horizons cover chains, which have no
    /// commands.
    pub fn of(horizon: Horizon) -> Removal {
        let from = horizon.started_from.map_or(i64::MIN, |from| from.0.saturating_sub(1));
        Removal { horizon, after: (from, String::new()) }
    }

    /// Returns the moment before which the removal leaves no rows.
    pub fn before(&self) -> Timestamp {
        self.horizon.started_before
    }

    fn covers(&self, saga: &str) -> bool {
        let Horizon { definitions, but, .. } = &self.horizon;
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

    async fn claim(sent: &Sent) -> Option<Claim> {
        sent.claim(COMMAND, "toy:1", TIMEOUT).await.expect("stored")
    }

    async fn block(sent: &Sent) -> Option<Duration> {
        sent.block(COMMAND, "toy:1").await.expect("stored")
    }

    #[tokio::test]
    async fn a_command_is_sent_once_unless_its_call_had_no_effect() {
        let sent = Sent::new(Database::memory());
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
        let sent = Sent::new(Database::memory());
        assert_eq!(block(&sent).await, None, "no call can be open");
        assert!(claim(&sent).await.is_none());

        let sent = Sent::new(Database::memory());
        let call = claim(&sent).await.expect("new");
        let rest = block(&sent).await.expect("the call may be open");
        assert!(rest > TIMEOUT && rest <= 2 * TIMEOUT, "{rest:?}");
        sent.release(&call).await.expect("no error");
        assert!(claim(&sent).await.is_none(), "the end of a call removed the row of a query");
    }

    #[tokio::test]
    async fn a_call_does_not_begin_after_a_long_pause() {
        let sent = Sent::new(Database::memory());
        let call = sent.claim(COMMAND, "toy:1", Duration::ZERO).await.expect("stored");
        let mut call = call.expect("new");
        call.begin_until = Timestamp(call.begin_until.0 - 1);
        assert!(!sent.may_begin(&call));
        assert_eq!(block(&sent).await, None, "the call cannot be open");
    }

    #[tokio::test]
    async fn a_removal_spares_young_rows_and_sagas_that_have_not_ended() {
        let sent = Sent::new(Database::memory());
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
        let mut removal = Removal::of(Horizon {
            started_before: Timestamp(10),
            ended_before: Timestamp(20),
            started_from: None,
            definitions: vec!["toy".parse().expect("a name")],
            but: vec!["toy:7".parse().expect("a saga")],
        });
        while sent.sweep(&mut removal).await.expect("swept") {}
        let rows = sent.database.query("SELECT saga FROM gateway_sent ORDER BY sent_at, saga", ());
        let rows = rows.await.expect("rows");
        let sagas: Vec<String> = rows.iter().map(|row| row.get(0).expect("a saga")).collect();
        assert_eq!((sagas.len(), sagas[0].as_str(), sagas[1].as_str()), (202, "other:1", "toy:7"));
    }
}
