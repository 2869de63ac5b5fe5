//! Retention of the barrier: rows go when their saga ended long ago, a page at a time between the messages.

use std::time::Duration;

use sagamore_core::message::{Horizon, Swept};
use sagamore_core::{ReplyTo, Timestamp};
use sagamore_database::Database;
use sagamore_transport::Transport;
use sagamore_transport::wire::encode_swept;

use crate::barrier::forget::{self, Events};
use crate::emitted;
use crate::error::Error;
use crate::service::Service;

/// By how much clocks may differ.
pub(crate) const SKEW_MAX: Duration = Duration::from_secs(24 * 3600);

/// What is to go, how far that has got, and who is told when nothing is left of it. Forgotten with the process: there will be
/// another horizon.
#[derive(Debug)]
pub(crate) struct Sweep {
    horizon: Horizon,
    reply_to: Option<ReplyTo>,
    /// What was stored before it has been looked at. None: all of the barrier has, and what began chains is left.
    from: Option<Timestamp>,
    retention: Duration,
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
        let from = Some(since(&horizon));
        Some(Sweep { horizon, reply_to, from, retention })
    }

    /// Nothing stamped at this moment or later goes. The service's clock was set back to it: what is stamped so may be younger
    /// than its stamp says.
    pub fn spare_from(&mut self, set_back_to: Option<Timestamp>) {
        let before = &mut self.horizon.started_before;
        *before = set_back_to.map_or(*before, |set_back_to| set_back_to.min(*before));
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
        let Some(from) = self.from else { return self.beginnings(database).await };
        let events = if service.is_choreographed() { Events::Told } else { Events::None };
        let open = database.begin().await?;
        let page = forget::page(&open.tx(), &self.horizon, from, events).await?;
        if events == Events::Told {
            emitted::forget(&open.tx(), &page.forgotten, self.horizon.ended_before).await?;
        }
        open.commit().await?;
        if let (None, Some(reply_to)) = (page.next, &self.reply_to) {
            let swept = Swept { participant: service.name().clone(), before: self.horizon.started_before };
            transport.publish(vec![encode_swept(&swept, reply_to)]).await?;
        }
        self.from = page.next;
        let done = page.next.is_none() && (events == Events::None || self.reply_to.is_some());
        Ok((page.forgotten.len() as u64, done))
    }

    /// What began chains goes when others have had a retention's time to forget them as well: a key that begins a chain anew
    /// must not meet what they know of the former one.
    async fn beginnings(&self, database: &Database) -> Result<(u64, bool), Error> {
        let before = self.horizon.ended_before.minus(self.retention);
        let more = emitted::forget_beginnings(database, before).await?;
        Ok((0, !more))
    }
}

/// From when on a horizon tells of sagas.
fn since(horizon: &Horizon) -> Timestamp {
    horizon.started_from.unwrap_or(Timestamp(i64::MIN))
}
