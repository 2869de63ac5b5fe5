//! The relay: sends the events that begin chains, which their service has committed (see `emitted.rs`). No transaction
//! is open while it publishes: the events are leased.

use std::time::Duration;

use sagamore_core::message::Event;
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Name, StepKey, Timestamp};
use sagamore_database::{Database, Error as DatabaseError};
use sagamore_transport::wire::encode_event;
use sagamore_transport::{Error as TransportError, Transport};

use crate::emitted::{self, Unsent};
use crate::error::Error;
use crate::inbox;
use crate::unsynced::{Settled, Unsynced};

/// Events sent together.
const RELAYED_MAX: u32 = 500;
/// When what the transport does not take is tried again.
const RETRY_AFTER: Duration = inbox::PAUSE_MAX;
/// How long events are one process's to send, longer than a delivery may take: then another one sends them.
const LEASE: Duration = Duration::from_secs(10);

/// Where events go out.
pub(crate) struct Relay<'a> {
    pub service: &'a Name,
    pub database: &'a Database,
    pub transport: &'a dyn Transport,
    pub now: Timestamp,
}

impl Relay<'_> {
    /// Sends what begins chains and was not sent yet; `unsynced` marks it. No transaction is open meanwhile: the events
    /// are leased, and committed as such, so that what is sent is committed itself. Sent again under the same ids when
    /// the process dies in between: after the lease, or when a process starts that is alone with its database.
    /// What the transport does not take is logged, and tried again after a while; it holds nothing else up.
    pub async fn run(&self, unsynced: &mut Unsynced) -> Result<(), Error> {
        if !unsynced.leased.is_empty() {
            self.give_back(unsynced).await?; // the run before was given up in the middle
        }
        while !unsynced.is_full() {
            let Unsent { events, unreadable, is_cut } = self.lease(&mut unsynced.leased).await?;
            unsynced.alarms.of_rows(self.service, "emitted", &unreadable);
            if events.is_empty() && !is_cut {
                break;
            }
            let Published { sent, rejected, unsent, failure } = publish(events, self.service, self.transport).await;
            if let Some(error) = failure.as_ref().filter(|_| sent.is_empty()) {
                self.give_back(unsynced).await?; // tried again with the next look
                return Err(error.clone().into());
            }
            let is_done = !is_cut || !rejected.is_empty() || failure.is_some();
            unsynced.follow(self.transport, Settled { sent, ..Settled::default() });
            self.put_off(&rejected, RETRY_AFTER).await?;
            if let Some(error) = failure {
                tracing::warn!(service = %self.service, events = unsent.len(), %error, "some events were not sent");
                self.put_off(&unsent, LEASE).await?; // one partition without a leader keeps no other event from being marked
            }
            unsynced.leased.clear();
            if is_done {
                break;
            }
        }
        Ok(())
    }

    /// Takes what is due, so that nobody else sends it meanwhile. `leased` is what has to be sent or put off.
    /// Rows that cannot be read are put off: they keep no other from being sent.
    async fn lease(&self, leased: &mut Vec<StepKey>) -> Result<Unsent, Error> {
        let open = self.database.begin().await?;
        let unsent = emitted::unsent(&open.tx(), self.now, RELAYED_MAX).await?;
        if unsent.events.is_empty() && unsent.unreadable.is_empty() {
            open.rollback().await?;
            return Ok(unsent);
        }
        *leased = keys(&unsent.events);
        if planted(Bug::SentBeforeCommit) {
            return Ok(unsent);
        }
        emitted::postpone(&open.tx(), leased, self.now.plus(LEASE)).await?;
        emitted::postpone_unreadable(&open.tx(), &unsent.unreadable, self.now.plus(RETRY_AFTER)).await?;
        open.commit().await?;
        Ok(unsent)
    }

    async fn give_back(&self, unsynced: &mut Unsynced) -> Result<(), DatabaseError> {
        self.put_off(&unsynced.leased, Duration::ZERO).await?;
        unsynced.leased.clear();
        Ok(())
    }

    async fn put_off(&self, keys: &[StepKey], pause: Duration) -> Result<(), DatabaseError> {
        if keys.is_empty() {
            return Ok(());
        }
        let open = self.database.begin().await?;
        emitted::postpone(&open.tx(), keys, self.now.plus(pause)).await?;
        open.commit().await
    }
}

fn keys(events: &[Event]) -> Vec<StepKey> {
    events.iter().map(|event| event.key.clone()).collect()
}

/// The outcome of publishing a page of events.
#[derive(Default)]
struct Published {
    sent: Vec<StepKey>,
    rejected: Vec<StepKey>,
    /// Events for which the transport failed; they may have been published all the same.
    unsent: Vec<StepKey>,
    failure: Option<TransportError>,
}

async fn publish(events: Vec<Event>, service: &Name, transport: &dyn Transport) -> Published {
    let mut published = Published::default();
    let outcomes = transport.publish_each(events.iter().map(|event| encode_event(event, service)).collect()).await;
    for (event, outcome) in events.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => published.sent.push(event.key),
            Err(error) if error.is_rejection() && planted(Bug::DeniedCountsAsSent) => published.sent.push(event.key),
            Err(error) if error.is_rejection() => {
                tracing::error!(%service, chain = %event.chain(), %error, "a chain cannot begin, tried again later");
                published.rejected.push(event.key);
            }
            Err(error) => {
                published.unsent.push(event.key);
                published.failure = Some(error);
            }
        }
    }
    if !published.rejected.is_empty() {
        let count = published.rejected.len() as u64;
        metrics::counter!("sagamore_unsendable_total", "service" => service.to_string()).increment(count);
    }
    published
}
