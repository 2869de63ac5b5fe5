//! The table of announcements: the latest one of each process.

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::announcement::{ANNOUNCEMENT_INTERVAL, Announcement, HandledMessage};
use sagamore_core::{Name, Timestamp};
use sagamore_database::{Clock, Database, Migration, Row, Statement, given_row};
use sagamore_transport::Transport;

use crate::error::Error;

/// The time after its last announcement from which a process counts as gone.
pub const LIVE_FOR: Duration = ANNOUNCEMENT_INTERVAL.saturating_mul(3);

/// Maximum processes of a participant that are compared, the latest ones.
const PROCESSES_MAX: u32 = 100;
/// Time limit of a query of a topic. A view does not wait for brokers that do not respond.
pub(super) const QUERY_MAX: Duration = Duration::from_secs(1);
/// Maximum rows. A process that restarts again and again leaves a row each time.
pub(super) const ROWS_MAX: u32 = 2_000;

/// The latest announcement of each process.
const ANNOUNCEMENT: &str = "
    CREATE TABLE announcement (
        participant TEXT NOT NULL,
        process TEXT NOT NULL,
        seen_at BIGINT NOT NULL,
        stopped BOOLEAN NOT NULL,
        messages TEXT NOT NULL,
        PRIMARY KEY (participant, process)
    );
    CREATE INDEX announcement_seen_at ON announcement (seen_at)";

/// The migrations of the table, in an orchestrator's or observer's database.
pub(crate) const MIGRATIONS: &[Migration] = &[Migration::new("0001-announcement", ANNOUNCEMENT)];

given_row! {
    /// An announcement to store.
    struct StoredAnnouncement<'a> {
        participant: &'a str,
        process: &'a str,
        seen_at: i64,
        stopped: bool,
        messages: String,
    }
}

static NOTE: Statement<StoredAnnouncement<'_>> = Statement::insert(
    "announcement",
    "ON CONFLICT (participant, process) DO UPDATE SET seen_at = excluded.seen_at,
        stopped = excluded.stopped, messages = excluded.messages
     WHERE excluded.seen_at >= announcement.seen_at",
);

/// A process of a participant, by its latest announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedProcess {
    /// The id of the process.
    pub process: String,
    /// The time of the announcement, at most that of its reading.
    pub seen_at: Timestamp,
    /// Whether it announced its end.
    pub has_stopped: bool,
    /// The messages that it handles.
    pub messages: Vec<HandledMessage>,
}

/// The stored announcements. Clones share the database.
#[derive(Clone)]
pub struct Announcements {
    database: Database,
    clock: Clock,
    /// The transport that knows the topics; `None`: no topic is known to be missing.
    transport: Option<Arc<dyn Transport>>,
}

impl AnnouncedProcess {
    /// Returns whether the process runs, as far as its announcements tell.
    pub fn is_live(&self, now: Timestamp) -> bool {
        !self.has_stopped && now.since(self.seen_at) < LIVE_FOR
    }
}

impl Announcements {
    /// Creates a view of an orchestrator's or observer's database, whose table exists.
    pub fn of(
        database: Database,
        clock: Clock,
        transport: Option<Arc<dyn Transport>>,
    ) -> Announcements {
        Announcements { database, clock, transport }
    }

    /// Returns the current time by the database's clock.
    ///
    /// # Errors
    /// The time of the database's server is not known.
    pub async fn now(&self) -> Result<Timestamp, Error> {
        self.clock.sample().await?;
        Ok(Timestamp(self.clock.now_ms()))
    }

    /// Returns whether a topic exists; `None` if it is not known within a second.
    pub(super) async fn topic_exists(&self, topic: &str) -> Option<bool> {
        let transport = self.transport.as_ref()?;
        tokio::time::timeout(QUERY_MAX, transport.topic_exists(topic)).await.ok()?.ok()
    }

    /// Stores announcements that were read at `now`. A clock that is ahead does not make a process
    /// live longer.
    pub(super) async fn note(&self, read: &[Announcement], now: Timestamp) -> Result<(), Error> {
        let rows = read.iter().map(|announcement| StoredAnnouncement {
            participant: announcement.participant.as_str(),
            process: &announcement.process,
            seen_at: announcement.at.min(now).0,
            stopped: announcement.stopping,
            messages: serde_json::to_string(&announcement.messages)
                .expect("texts in named fields are JSON"),
        });
        let rows: Vec<_> = rows.collect();
        let open = self.database.begin().await?;
        // one after another: a process may be among them twice
        open.tx().execute_row_by_row(&NOTE, rows).await?;
        Ok(open.commit().await?)
    }

    /// Returns the latest processes of a participant.
    ///
    /// # Errors
    /// The database failed.
    pub async fn processes(&self, participant: &Name) -> Result<Vec<AnnouncedProcess>, Error> {
        let sql = "SELECT process, seen_at, stopped, messages FROM announcement
            WHERE participant = $1 ORDER BY seen_at DESC LIMIT $2";
        let parameters = (participant.as_str(), i64::from(PROCESSES_MAX));
        let rows = self.database.query(sql, parameters).await?;
        let process = |row: &Row| {
            let messages: String = row.get("messages")?;
            Ok(AnnouncedProcess {
                process: row.get("process")?,
                seen_at: Timestamp(row.get("seen_at")?),
                has_stopped: row.get("stopped")?,
                messages: serde_json::from_str(&messages).unwrap_or_else(|why| {
                    tracing::warn!(%participant, %why, "cannot read a stored announcement");
                    Vec::new()
                }),
            })
        };
        rows.iter().map(process).collect()
    }

    /// Removes the rows from before `before`, and the oldest ones beyond the maximum.
    pub(super) async fn prune(&self, before: Timestamp) -> Result<(), Error> {
        let oldest = "SELECT seen_at FROM announcement ORDER BY seen_at DESC LIMIT 1 OFFSET $1";
        let row = self.database.query(oldest, (i64::from(ROWS_MAX),)).await?;
        let beyond = row.first().map(|row| row.get::<i64>("seen_at")).transpose()?;
        // rows of the same moment stay or go together
        let before = beyond.map_or(before.0, |seen_at| before.0.max(seen_at.saturating_add(1)));
        let open = self.database.begin().await?;
        open.tx().execute("DELETE FROM announcement WHERE seen_at < $1", (before,)).await?;
        Ok(open.commit().await?)
    }
}
