//! The sent commands of participants that must not be called twice: one row per command, committed
//! before its call.
//!
//! **Invariant:** a command without a row was never sent. A crash between the row's commit and the
//! call leaves a row without a call; the command is then unknown, which is safe.

use std::sync::Arc;

use sagamore_core::{Horizon, Timestamp};
use sagamore_database::{Database, Error, Migration, Open};
use tokio::sync::OnceCell;

const MIGRATIONS: &[Migration] = &[Migration::new(
    "0001-sent",
    "CREATE TABLE gateway_sent (command TEXT PRIMARY KEY, saga TEXT NOT NULL, sent_at BIGINT NOT \
     NULL);
     CREATE INDEX gateway_sent_at ON gateway_sent (sent_at, command);",
)];
/// The program's version in the schema.
const PROGRAM: u32 = 1;
/// Rows that one page of a removal reads.
const PAGE: i64 = 500;

/// The table of sent commands. Clones share it.
#[derive(Clone)]
pub(crate) struct Sent {
    database: Database,
    /// Whether the table exists. Most gateways never need it.
    is_migrated: Arc<OnceCell<()>>,
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
        Sent { database, is_migrated: Arc::default() }
    }

    async fn begin(&self) -> Result<Open, Error> {
        let migrate = || self.database.migrate("gateway", MIGRATIONS, PROGRAM);
        self.is_migrated.get_or_try_init(migrate).await?;
        self.database.begin().await
    }

    /// Stores that a command is being sent. Returns false if it may have been sent before.
    pub async fn insert(&self, command: &str, saga: &str, now: Timestamp) -> Result<bool, Error> {
        let open = self.begin().await?;
        let sql = "INSERT INTO gateway_sent (command, saga, sent_at) VALUES ($1, $2, $3)
            ON CONFLICT (command) DO NOTHING";
        let inserted = open.tx().execute(sql, (command, saga, now.0)).await?;
        open.commit().await?;
        Ok(inserted == 1)
    }

    /// Removes a command whose call had no effect, so that it may be sent again.
    pub async fn remove(&self, command: &str) -> Result<(), Error> {
        let open = self.begin().await?;
        open.tx().execute("DELETE FROM gateway_sent WHERE command = $1", (command,)).await?;
        open.commit().await
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

    #[tokio::test]
    async fn a_command_is_sent_once_unless_its_call_had_no_effect() {
        let sent = Sent::new(Database::memory());
        let insert = || sent.insert("toy:1/x/action/1", "toy:1", Timestamp(1));
        assert!(insert().await.expect("stored"));
        assert!(!insert().await.expect("stored"));
        sent.remove("toy:1/x/action/1").await.expect("removed");
        assert!(insert().await.expect("stored"));
    }

    #[tokio::test]
    async fn a_removal_spares_young_rows_and_sagas_that_have_not_ended() {
        let sent = Sent::new(Database::memory());
        for saga in 0..1_200 {
            let (id, at) = (format!("toy:{saga}"), Timestamp(saga / 100));
            assert!(sent.insert(&format!("{id}/x/action/1"), &id, at).await.expect("stored"));
        }
        assert!(sent.insert("other:1/x/action/1", "other:1", Timestamp(0)).await.expect("stored"));
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
