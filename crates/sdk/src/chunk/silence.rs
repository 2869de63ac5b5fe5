//! Keeps a transaction within the server's idle limit while handlers send no statement.

use std::time::{Duration, Instant};

use sagamore_database::{Database, Error as DatabaseError, Tx};

/// Returns how long a transaction may be without a statement between two handlers, for the server's
/// idle limit.
pub(crate) fn quiet_max(idle_limit: Duration) -> Duration {
    idle_limit / 8
}

/// Tracks how long the server has received no statement of a transaction.
pub(super) struct Silence {
    max: Option<Duration>,
    since: Instant,
}

impl Silence {
    pub(super) fn of(database: &Database) -> Silence {
        Silence { max: database.idle_limit().map(quiet_max), since: Instant::now() }
    }

    /// Sends a statement if the silence is too long, because the server would end the transaction.
    pub(super) async fn end(&mut self, tx: &Tx) -> Result<(), DatabaseError> {
        if self.max.is_some_and(|max| self.since.elapsed() > max) {
            tx.query("SELECT 1", ()).await?;
            self.since = Instant::now();
        }
        Ok(())
    }
}
