//! Receiving: records of the transport, then due events of the inbox. The relay of first events
//! runs between the two, because both check the service's own tables.

use sagamore_core::Timestamp;
use sagamore_transport::Delivery;

use super::state::TurnState;
use crate::error::Error;
use crate::inbox::Due;
use crate::relay::Relay;

/// The records of one turn.
pub(super) struct Received {
    /// The polled records, then the due events as if they had just been delivered.
    pub records: Vec<Delivery>,
    /// The number of polled records.
    pub polled: usize,
    /// The due events of the inbox, one for each further record.
    due: Vec<Due>,
}

impl Received {
    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns the polled records.
    pub fn polled(&self) -> &[Delivery] {
        &self.records[..self.polled]
    }

    /// Removes the due events, each with the index of its record.
    pub fn take_due(&mut self) -> impl Iterator<Item = (usize, Due)> + use<> {
        (self.polled..).zip(std::mem::take(&mut self.due))
    }
}

impl TurnState {
    /// Rewinds to the first unfinished record of a former turn, if there is one.
    ///
    /// # Errors
    /// A transient one also drops the subscription. A consumer that was fenced off retains it.
    pub(super) async fn rewind(&mut self) -> Result<(), Error> {
        if !std::mem::replace(&mut self.unsettled, true) {
            return Ok(());
        }
        if let Err(error) = self.consumer().await?.rewind().await {
            if error.is_transient() {
                self.consumer = None; // the next turn resubscribes
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Takes the available records of the transport.
    pub(super) async fn poll(&mut self) -> Result<Received, Error> {
        let messages_max = self.load.messages();
        let records = self.consumer().await?.poll(messages_max).await?;
        Ok(Received { polled: records.len(), records, due: Vec::new() })
    }

    /// Returns whether to check the inbox and the outbox in this turn.
    pub(super) fn checks_tables(&mut self, now: Timestamp) -> bool {
        let is_due = now >= self.check_due || self.check_due > now.plus(TurnState::CHECK_INTERVAL);
        self.service.is_choreographed() && (self.outbox.take() || is_due)
    }

    /// Sends the first events of chains that the service has started. A failed relay does not fail
    /// the messages of this service.
    pub(super) async fn relay(&mut self, now: Timestamp) {
        if !self.service.begins_chains() {
            return;
        }
        let (service, transport) = (self.service.name(), self.transport.as_ref());
        let relay = Relay { service, database: &self.database, transport, now };
        if let Err(error) = relay.run(&mut self.unsynced).await {
            tracing::warn!(%service, %error, "cannot send the first events of chains, retrying");
        }
    }

    /// Adds the due events of the inbox, and schedules the next check.
    pub(super) async fn take_inbox(
        &mut self,
        received: &mut Received,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (service, limit) = (self.service.name(), self.load.messages());
        received.due = self.unsynced.due(service, &self.database, now, limit).await?;
        received.records.extend(received.due.iter().map(|due| due.delivery(service)));
        self.check_due = now.plus(TurnState::CHECK_INTERVAL);
        Ok(())
    }
}
