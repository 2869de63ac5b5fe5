//! The relay: sends the stored first events of chains (see `emitted.rs`). Events are leased, so
//! that no transaction is open during a publish.

use std::time::Duration;

use sagamore_core::message::Event;
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Name, StepKey, Timestamp};
use sagamore_database::{Database, Error as DatabaseError};
use sagamore_transport::wire::encode_event;
use sagamore_transport::{Error as TransportError, Transport};

use crate::emitted::{self, UnsentPage};
use crate::error::Error;
use crate::inbox;
use crate::unsynced::{SettledRows, Unsynced};

/// Maximum events sent together.
const RELAYED_MAX: u32 = 500;
/// The pause before an event that the transport rejects is retried.
const RETRY_AFTER: Duration = inbox::PAUSE_MAX;
/// The duration of a lease, longer than a delivery may take. After that another process sends the
/// events.
const LEASE: Duration = Duration::from_secs(10);

/// The context of one run of the relay.
pub(crate) struct Relay<'a> {
    pub service: &'a Name,
    pub database: &'a Database,
    pub transport: &'a dyn Transport,
    pub now: Timestamp,
}

impl Relay<'_> {
    /// Sends the unsent first events of chains; `unsynced` marks them later. The leases are
    /// committed first, so only committed events are sent.
    ///
    /// If the process dies, the events are sent again under the same ids. That happens after the
    /// lease, or at the start of a process that owns its database alone.
    ///
    /// Events that the transport rejects are logged and retried later. They block no others.
    pub async fn run(&self, unsynced: &mut Unsynced) -> Result<(), Error> {
        if !unsynced.leased.is_empty() {
            self.release(unsynced).await?; // the previous run was dropped before its end
        }
        while !unsynced.is_full() {
            let UnsentPage { events, unreadable, is_cut } =
                self.lease(&mut unsynced.leased).await?;
            unsynced.alarms.of_rows(self.service, "emitted", &unreadable);
            if events.is_empty() && !is_cut {
                break;
            }
            let Published { sent, rejected, unsent, failure } =
                publish(events, self.service, self.transport).await;
            if let Some(error) = failure.as_ref().filter(|_| sent.is_empty()) {
                self.release(unsynced).await?; // the next check retries
                return Err(error.clone().into());
            }
            let is_done = !is_cut || !rejected.is_empty() || failure.is_some();
            unsynced.follow(self.transport, SettledRows { sent, ..SettledRows::default() });
            self.postpone(&rejected, RETRY_AFTER).await?;
            if let Some(error) = failure {
                tracing::warn!(
                    service = %self.service, events = unsent.len(), %error,
                    "some events were not sent"
                );
                self.postpone(&unsent, LEASE).await?; // the other events are marked all the same
            }
            unsynced.leased.clear();
            if is_done {
                break;
            }
        }
        Ok(())
    }

    /// Leases due events, so that no other process sends them. `leased` lists the events to send or
    /// postpone. Unreadable rows are postponed and block no others.
    async fn lease(&self, leased: &mut Vec<StepKey>) -> Result<UnsentPage, Error> {
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
        emitted::postpone_unreadable(&open.tx(), &unsent.unreadable, self.now.plus(RETRY_AFTER))
            .await?;
        open.commit().await?;
        Ok(unsent)
    }

    async fn release(&self, unsynced: &mut Unsynced) -> Result<(), DatabaseError> {
        self.postpone(&unsynced.leased, Duration::ZERO).await?;
        unsynced.leased.clear();
        Ok(())
    }

    async fn postpone(&self, keys: &[StepKey], pause: Duration) -> Result<(), DatabaseError> {
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
    /// Events for which the transport failed. They may be published all the same.
    unsent: Vec<StepKey>,
    failure: Option<TransportError>,
}

async fn publish(events: Vec<Event>, service: &Name, transport: &dyn Transport) -> Published {
    let mut published = Published::default();
    let outcomes = transport
        .publish_each(events.iter().map(|event| encode_event(event, service)).collect())
        .await;
    for (event, outcome) in events.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => published.sent.push(event.key),
            Err(error) if error.is_rejection() && planted(Bug::DeniedCountsAsSent) => {
                published.sent.push(event.key)
            }
            Err(error) if error.is_rejection() => {
                tracing::error!(
                    %service, chain = %event.chain(), %error, "cannot start a chain, retrying later"
                );
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
        metrics::counter!("sagamore_unsendable_total", "service" => service.to_string())
            .increment(count);
    }
    published
}
