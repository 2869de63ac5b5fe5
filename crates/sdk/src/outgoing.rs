//! The publishes of a turn after each chunk: replies and events, in the order of their causes, then
//! dead letters.

use std::collections::{BTreeMap, BTreeSet};

use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Event, Name, Reply, ReplyTo, StepKey, Timestamp};
use sagamore_transport::wire::{dead_letter, encode_event, encode_reply, publish_letter};
use sagamore_transport::{Delivered, Error, Mark, Record, Scope, Transport};

use crate::answer::Answer;
use crate::intake::{By, WorkItem};
use crate::text::cut;

/// The messages that a turn still has to publish.
pub(crate) struct Outgoing<'a> {
    service: &'a Name,
    now: Timestamp,
    taken: &'a [Delivered],
    /// The number of unanswered requests per record index. A record without an entry is finished.
    open: BTreeMap<usize, usize>,
    /// The record indexes that the next publish answers.
    answered: Vec<usize>,
    owed: Vec<OwedRecord>,
    dead: BTreeMap<usize, String>,
    /// The record indexes of all dead letters.
    buried: BTreeSet<usize>,
    /// The number of dead letters that the transport rejects in every form.
    lost: usize,
    unsent: Vec<RejectedEvent>,
}

/// An event that its topic rejects. Its cause waits in the inbox until the topic accepts the event.
pub(crate) struct RejectedEvent {
    place: usize,
    pub key: StepKey,
    pub cause: Event,
    pub why: String,
}

/// A message to publish, with the index of the record that caused it.
struct OwedRecord {
    place: usize,
    told: Publication,
}

enum Publication {
    Reply(Reply, ReplyTo),
    Event { event: Event, key: StepKey, cause: Box<Event> },
}

impl<'a> Outgoing<'a> {
    /// Creates an empty outgoing queue for the turn's records and the indexes that need an answer.
    pub(crate) fn new(
        service: &'a Name,
        taken: &'a [Delivered],
        asks: impl Iterator<Item = usize>,
        now: Timestamp,
    ) -> Outgoing<'a> {
        let mut open = BTreeMap::new();
        asks.for_each(|place| *open.entry(place).or_insert(0) += 1);
        let (dead, buried) = (BTreeMap::new(), BTreeSet::new());
        Outgoing {
            service,
            now,
            taken,
            open,
            answered: Vec::new(),
            owed: Vec::new(),
            dead,
            buried,
            lost: 0,
            unsent: Vec::new(),
        }
    }

    /// Queues the answer to a request.
    pub(crate) fn answer(&mut self, item: WorkItem, answer: Answer) {
        let WorkItem { place, key, by, trace, message: _ } = item;
        self.answered.push(place);
        if let Some(reason) = answer.poison {
            self.bury(place, &reason);
        }
        match (by, answer.event) {
            (By::Command(to), _) => {
                let told = Publication::Reply(Reply { key, outcome: answer.outcome, trace }, to);
                self.owed.push(OwedRecord { place, told });
            }
            (By::Event(cause), Some(event)) => {
                self.owed
                    .push(OwedRecord { place, told: Publication::Event { event, key, cause } });
            }
            (By::Event(_), None) => {}
        }
    }

    /// Makes the record at `place` a dead letter, which also answers it.
    pub(crate) fn reject(&mut self, place: usize, reason: &str) {
        self.answered.push(place);
        self.bury(place, reason);
    }

    /// Makes the record at `place` a dead letter, at most once.
    fn bury(&mut self, place: usize, reason: &str) {
        if !self.buried.insert(place) {
            return;
        }
        let reason = cut(reason); // the reason may quote the whole body
        if let Some(Delivered { record, partition, offset, .. }) = self.taken.get(place) {
            tracing::warn!(topic = %record.topic, partition, offset, reason, "dead letter");
        }
        self.dead.insert(place, reason.to_owned());
    }

    /// Returns the number of dead letters.
    pub(crate) fn dead_letters(&self) -> usize {
        self.buried.len()
    }

    /// Returns the number of dead letters that exist only in this program's log.
    pub(crate) fn lost_letters(&self) -> usize {
        self.lost
    }

    /// Returns the events that their topics rejected since the last call.
    pub(crate) fn take_unsent(&mut self) -> Vec<RejectedEvent> {
        std::mem::take(&mut self.unsent)
    }

    /// Returns the offsets to commit: in each partition up to the first of the `polled` records
    /// that is not finished.
    pub(crate) fn marks(&self, polled: usize) -> Vec<Mark> {
        let mut behind = BTreeSet::new();
        let is_done = |(place, Delivered { record, partition, .. }): &(usize, &Delivered)| {
            if self.open.contains_key(place) && !planted(Bug::MarksPastUnanswered) {
                behind.insert((record.topic.clone(), *partition));
            }
            !behind.contains(&(record.topic.clone(), *partition))
        };
        Mark::behind(
            self.taken[..polled].iter().enumerate().filter(is_done).map(|(_, delivered)| delivered),
        )
    }

    /// Publishes the queue. A record that the transport rejects permanently does not block the
    /// rest.
    pub(crate) async fn publish(&mut self, transport: &dyn Transport) -> Result<(), Error> {
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

    /// Marks the records of these events as finished, because their causes are stored in the inbox.
    pub(crate) fn stored(&mut self, unsent: &[RejectedEvent]) {
        unsent.iter().for_each(|unsent| self.close(unsent.place));
    }

    fn close(&mut self, place: usize) {
        if let Some(open) = self.open.get_mut(&place).filter(|open| **open > 1) {
            *open -= 1;
        } else {
            self.open.remove(&place);
        }
    }

    async fn publish_owed(&mut self, transport: &dyn Transport) -> Result<(), Error> {
        self.owed.sort_by_key(|owed| owed.place);
        let told = self.owed.iter().map(|owed| owed.record(self.service, self.now));
        let records: Vec<Record> =
            told.chain(self.dead.iter().map(|(place, why)| self.letter(*place, why))).collect();
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
                    if let Publication::Event { key, cause, .. } = owed.told {
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
    ) -> Result<(), Error> {
        for place in places {
            let Some(reason) = self.dead.get(place) else { continue };
            match publish_letter(transport, self.letter(*place, reason)).await {
                Err(error) if error.is_rejection() => {
                    let Delivered { record, partition, offset, .. } = &self.taken[*place];
                    tracing::error!(topic = %record.topic, partition, offset, reason, %error, "lost dead letter");
                    self.lost += 1;
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    fn letter(&self, place: usize, reason: &str) -> Record {
        dead_letter(&self.taken[place], reason)
    }
}

impl OwedRecord {
    fn record(&self, service: &Name, now: Timestamp) -> Record {
        match &self.told {
            Publication::Reply(reply, to) => encode_reply(reply, to, service, now),
            Publication::Event { event, .. } => encode_event(event, service),
        }
    }

    fn is_event(&self) -> bool {
        matches!(self.told, Publication::Event { .. })
    }
}
