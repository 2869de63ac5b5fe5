//! Retention of the barrier: rows go when their saga ended long ago, a page at a time between the messages.

use std::time::Duration;

use sagamore_core::message::{Horizon, Swept};
use sagamore_core::{ReplyTo, Timestamp};
use sagamore_database::Database;
use sagamore_transport::Transport;
use sagamore_transport::wire::encode_swept;

use crate::barrier::forget;
use crate::error::Error;
use crate::outbox;
use crate::service::Service;

/// By how much clocks may differ.
const SKEW_MAX: Duration = Duration::from_secs(24 * 3600);

/// What is to go, how far that has got, and who is told when nothing is left of it. Forgotten with the process: there will be
/// another horizon.
#[derive(Debug)]
pub(crate) struct Sweep {
    horizon: Horizon,
    reply_to: Option<ReplyTo>,
    /// What was stored before it has been looked at.
    from: Timestamp,
}

impl Sweep {
    /// What a horizon allows; nothing, if it was told with a shorter retention than this one.
    pub fn of(mut horizon: Horizon, reply_to: Option<ReplyTo>, retention: Duration, now: Timestamp) -> Option<Sweep> {
        if horizon.ended_before > now.minus(retention).plus(SKEW_MAX) {
            let why =
                "sagas that ended within the retention would be forgotten: give orchestrators and services the same";
            tracing::warn!(%horizon.ended_before, ?retention, why);
            return None;
        }
        horizon.but.sort_unstable();
        let from = horizon.started_from.unwrap_or(Timestamp(i64::MIN));
        Some(Sweep { horizon, reply_to, from })
    }

    /// Whether both were told by the same, so that the later one says all that the earlier one did.
    pub fn replaces(&self, other: &Sweep) -> bool {
        self.reply_to == other.reply_to && self.horizon.definitions == other.horizon.definitions
    }

    /// Removes one page. Gives how many steps went, and whether nothing is left; then who told the horizon is told.
    pub async fn page(
        &mut self,
        service: &Service,
        database: &Database,
        transport: &dyn Transport,
    ) -> Result<(u64, bool), Error> {
        let open = database.begin().await?;
        let page = forget::page(&open.tx(), &self.horizon, self.from).await?;
        if service.is_choreographed() {
            outbox::forget(&open.tx(), &page.forgotten).await?;
        }
        open.commit().await?;
        match (page.next, &self.reply_to) {
            (Some(next), _) => self.from = next,
            (None, Some(reply_to)) => {
                let swept = Swept { participant: service.name().clone(), before: self.horizon.started_before };
                transport.publish(vec![encode_swept(&swept, reply_to)]).await?;
            }
            (None, None) => {}
        }
        Ok((page.forgotten.len() as u64, page.next.is_none()))
    }
}
