//! The retention of the barrier: rows of sagas that ended long ago are removed, one page at a time
//! between the messages.

use std::time::Duration;

use sagamore_core::message::{Horizon, Swept};
use sagamore_core::{ReplyTo, Timestamp};
use sagamore_database::Database;
use sagamore_transport::Transport;
use sagamore_transport::wire::encode_swept;

use crate::barrier::forget;
use crate::barrier::step::Events;
use crate::emitted;
use crate::error::Error;
use crate::service::Service;

/// Maximum difference between clocks.
pub(crate) const SKEW_MAX: Duration = Duration::from_secs(24 * 3600);

/// A removal in progress: its scope, its position and the address of its report. It is lost with
/// the process, and another horizon restarts it.
#[derive(Debug)]
pub(crate) struct Sweep {
    horizon: Horizon,
    reply_to: Option<ReplyTo>,
    /// The position: rows stored before this time are finished. `None`: the whole barrier is, and
    /// only first events of chains remain.
    from: Option<Timestamp>,
    retention: Duration,
}

impl Sweep {
    /// Creates the removal that a horizon allows; `None` if its publisher has a shorter retention
    /// than this service.
    pub fn of(
        mut horizon: Horizon,
        reply_to: Option<ReplyTo>,
        retention: Duration,
        now: Timestamp,
    ) -> Option<Sweep> {
        if horizon.ended_before > now.minus(retention).plus(SKEW_MAX) {
            let why = "sagas that ended within the retention would be forgotten: give \
                       orchestrators and services the same";
            tracing::warn!(%horizon.ended_before, ?retention, why);
            return None;
        }
        horizon.but.sort_unstable();
        let from = Some(since(&horizon));
        Some(Sweep { horizon, reply_to, from, retention })
    }

    /// Spares rows stamped at this time or later. The service's clock was set back to it, so such a
    /// row may be younger than its stamp.
    pub fn spare_from(&mut self, set_back_to: Option<Timestamp>) {
        let before = &mut self.horizon.started_before;
        *before = set_back_to.map_or(*before, |set_back_to| set_back_to.min(*before));
    }

    /// Returns whether both come from the same publisher, so that the later horizon includes the
    /// earlier one.
    pub fn replaces(&self, other: &Sweep) -> bool {
        self.reply_to == other.reply_to && self.horizon.definitions == other.horizon.definitions
    }

    /// Removes one page. Returns the number of removed steps, and whether the removal is complete.
    /// A complete removal is reported to the horizon's publisher.
    pub async fn page(
        &mut self,
        service: &Service,
        database: &Database,
        transport: &dyn Transport,
    ) -> Result<(u64, bool), Error> {
        let Some(from) = self.from else { return self.beginnings(database).await };
        let events = if service.is_choreographed() { Events::Emitted } else { Events::None };
        let open = database.begin().await?;
        let page = forget::page(&open.tx(), &self.horizon, from, events).await?;
        if events == Events::Emitted {
            emitted::forget(&open.tx(), &page.forgotten, self.horizon.ended_before).await?;
        }
        open.commit().await?;
        if let (None, Some(reply_to)) = (page.next, &self.reply_to) {
            let swept =
                Swept { participant: service.name().clone(), before: self.horizon.started_before };
            transport.publish(vec![encode_swept(&swept, reply_to)]).await?;
        }
        self.from = page.next;
        let done = page.next.is_none() && (events == Events::None || self.reply_to.is_some());
        Ok((page.forgotten.len() as u64, done))
    }

    /// Removes the first events of chains one retention after their barrier rows. By then other
    /// services have removed theirs, so a reused key cannot meet rows of the former chain.
    async fn beginnings(&self, database: &Database) -> Result<(u64, bool), Error> {
        let before = self.horizon.ended_before.minus(self.retention);
        let more = emitted::forget_beginnings(database, before).await?;
        Ok((0, !more))
    }
}

/// Returns the earliest start of sagas that a horizon covers.
fn since(horizon: &Horizon) -> Timestamp {
    horizon.started_from.unwrap_or(Timestamp(i64::MIN))
}
