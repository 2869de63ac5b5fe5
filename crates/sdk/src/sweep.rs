//! Retention of the barrier: rows go when their saga has ended and they are old, a page at a time between the messages.

use std::time::Duration;

use sagamore_core::message::{Horizon, Swept};
use sagamore_core::{Name, ReplyTo, Timestamp};
use sagamore_database::Database;
use sagamore_transport::Transport;
use sagamore_transport::wire::encode_swept;

use crate::barrier;
use crate::error::Error;

/// Rows removed in one turn.
const PAGE: u32 = 500;

/// What is to go, and who is told when nothing is left of it. Forgotten with the process: there will be another horizon.
#[derive(Debug)]
pub(crate) struct Sweep {
    /// Moved back to what is older than the retention.
    horizon: Horizon,
    reply_to: ReplyTo,
}

impl Sweep {
    /// What a horizon allows, of what is older than the retention.
    pub fn up_to(horizon: Horizon, reply_to: ReplyTo, retention: Duration, now: Timestamp) -> Sweep {
        let before = horizon.before.min(now.minus(retention));
        Sweep { horizon: Horizon { before, ..horizon }, reply_to }
    }

    /// Removes one page. Gives how many rows it had, and whether nothing is left; then who told the horizon is told.
    pub async fn page(
        &self,
        service: &Name,
        database: &Database,
        transport: &dyn Transport,
    ) -> Result<(u64, bool), Error> {
        let open = database.begin().await?;
        let removed = barrier::remove(&open.tx(), &self.horizon, PAGE).await?;
        let left = barrier::any_left(&open.tx(), &self.horizon).await?;
        open.commit().await?;
        if !left {
            let swept = Swept { participant: service.clone(), before: self.horizon.before };
            transport.publish(vec![encode_swept(&swept, &self.reply_to)]).await?;
        }
        Ok((removed, !left))
    }
}
