//! Publishing: the answers of a chunk, and the inbox for causes of events that a topic rejects.

use std::collections::BTreeSet;

use sagamore_core::Timestamp;
use sagamore_core::planted::{Bug, planted};
use sagamore_transport::wire::{dead_letter, publish_letter};
use sagamore_transport::{Delivery, Error as TransportError, Record, Scope, Transport};

use super::outgoing::{Outgoing, OwedMessage, RejectedEvent};
use super::state::TurnState;
use crate::error::Error;
use crate::inbox::{self, InboxEntry};

impl TurnState {
    /// Publishes the answers of committed chunks, and stores the causes of events that their topics
    /// reject. The inbox redelivers those, and they lead to the same events.
    ///
    /// # Errors
    /// The transport or the database failed. The records stay unfinished, and the barrier answers
    /// their repeats.
    pub(super) async fn publish(&mut self, outgoing: &mut Outgoing<'_>) -> Result<(), Error> {
        outgoing.publish(self.transport.as_ref()).await?;
        let rejected = std::mem::take(&mut outgoing.unsent);
        if rejected.is_empty() {
            return Ok(());
        }
        outgoing
            .removals
            .retain(|removal| !rejected.iter().any(|rejected| rejected.key == removal.key));
        self.store_causes(&rejected, outgoing.now).await?;
        rejected.iter().for_each(|rejected| outgoing.close(rejected.place));
        Ok(())
    }

    async fn store_causes(
        &mut self,
        rejected: &[RejectedEvent],
        now: Timestamp,
    ) -> Result<(), Error> {
        let entries = rejected.iter().map(|RejectedEvent { key, cause, why, .. }| {
            tracing::warn!(
                service = %self.service.name(), chain = %key.saga, step = %key.step, why,
                "cannot send an event yet"
            );
            InboxEntry { key, event: cause, pause: inbox::AFTER_FAULT, why: Some(why) }
        });
        let entries: Vec<InboxEntry<'_>> = entries.collect();
        let open = self.database.begin().await?;
        inbox::store(&open.tx(), &entries, now).await?;
        Ok(open.commit().await?)
    }
}

impl Outgoing<'_> {
    /// Publishes the queue: replies and events, in the order of their causes, then dead letters. A
    /// record that the transport rejects permanently does not block the rest.
    async fn publish(&mut self, transport: &dyn Transport) -> Result<(), TransportError> {
        self.publish_owed(transport).await?;
        self.owed.clear();
        self.dead.clear();
        let mut unsent: Vec<usize> = self.unsent.iter().map(|unsent| unsent.place).collect();
        for place in std::mem::take(&mut self.answered) {
            match unsent.iter().position(|other| *other == place) {
                // stays open until its cause is stored
                Some(index) => drop(unsent.swap_remove(index)),
                None => self.close(place),
            }
        }
        Ok(())
    }

    async fn publish_owed(&mut self, transport: &dyn Transport) -> Result<(), TransportError> {
        self.owed.sort_by_key(|owed| owed.place);
        let answers = self.owed.iter().map(|owed| owed.record(&self.service, self.now));
        let records: Vec<Record> =
            answers.chain(self.dead.iter().map(|(place, why)| self.letter(*place, why))).collect();
        if records.is_empty() {
            return Ok(());
        }
        let mut outcomes = transport.publish_each(records).await;
        let of_letters = outcomes.split_off(self.owed.len());
        let letters: Vec<usize> = self.dead.keys().copied().collect();
        let mut late: BTreeSet<usize> = BTreeSet::new();
        for (owed, outcome) in std::mem::take(&mut self.owed).into_iter().zip(outcomes) {
            match outcome {
                Err(error) if error.is_rejection() && planted(Bug::DeniedDropped) => {}
                // access may be granted or the topic created later: the same event is then sent
                Err(error)
                    if error.is_rejection() && error.scope() == Scope::Topic && owed.is_event() =>
                {
                    if let OwedMessage::Event { key, cause, .. } = owed.message {
                        let why = format!("its event cannot be sent yet: {error}");
                        self.unsent.push(RejectedEvent {
                            place: owed.place,
                            key,
                            cause: *cause,
                            why,
                        });
                    }
                }
                // an undeliverable reply or event makes its cause a dead letter
                Err(error) if error.is_rejection() => {
                    self.bury(
                        owed.place,
                        &format!("its reply or event cannot be delivered: {error}"),
                    );
                    late.insert(owed.place);
                }
                outcome => outcome?,
            }
        }
        for (place, outcome) in letters.into_iter().zip(of_letters) {
            match outcome {
                Err(error) if error.is_rejection() => drop(late.insert(place)),
                outcome => outcome?,
            }
        }
        self.publish_late(transport, &late).await
    }

    /// Publishes the dead letters of rejected records. One that the transport rejects in every form
    /// is logged and counted, because retries would block all later records.
    async fn publish_late(
        &mut self,
        transport: &dyn Transport,
        places: &BTreeSet<usize>,
    ) -> Result<(), TransportError> {
        for place in places {
            let Some(reason) = self.dead.get(place) else { continue };
            match publish_letter(transport, self.letter(*place, reason)).await {
                Err(error) if error.is_rejection() => {
                    let Delivery { record, partition, offset, .. } = &self.received.records[*place];
                    tracing::error!(
                        topic = %record.topic, partition, offset, reason, %error,
                        "lost dead letter"
                    );
                    self.lost += 1;
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    fn letter(&self, place: usize, reason: &str) -> Record {
        dead_letter(&self.received.records[place], reason)
    }
}
