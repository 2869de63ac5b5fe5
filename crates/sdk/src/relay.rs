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
            let (sent, refused) = match publish(events, self.service, self.transport).await {
                Ok(published) => published,
                Err(error) => {
                    self.give_back(unsynced).await?; // tried again with the next look
                    return Err(error.into());
                }
            };
            let sent = keys(&sent);
            unsynced.follow(self.transport, Settled { sent, ..Settled::default() });
            self.put_off(&keys(&refused), RETRY_AFTER).await?;
            unsynced.leased.clear();
            if !is_cut || !refused.is_empty() {
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

/// Publishes events. Returns those that are acknowledged, and those that the transport rejects.
async fn publish(
    events: Vec<Event>,
    service: &Name,
    transport: &dyn Transport,
) -> Result<(Vec<Event>, Vec<Event>), TransportError> {
    let (mut sent, mut rejected) = (Vec::with_capacity(events.len()), Vec::new());
    let outcomes = transport.publish_each(events.iter().map(|event| encode_event(event, service)).collect()).await;
    for (event, outcome) in events.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => sent.push(event),
            Err(error) if error.is_rejection() && planted(Bug::DeniedCountsAsSent) => sent.push(event),
            Err(error) if error.is_rejection() => {
                tracing::error!(%service, chain = %event.chain(), %error, "a chain cannot begin, tried again later");
                rejected.push(event);
            }
            Err(error) => return Err(error),
        }
    }
    if !rejected.is_empty() {
        let count = rejected.len() as u64;
        metrics::counter!("sagamore_unsendable_total", "service" => service.to_string()).increment(count);
    }
    Ok((sent, rejected))
}
