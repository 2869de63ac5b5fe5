//! What a turn publishes after each chunk: replies and events, in the order of what led to them, and the dead letters.

use std::collections::{BTreeMap, BTreeSet};

use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Event, Name, Reply, ReplyTo, StepKey, Timestamp};
use sagamore_transport::wire::{dead_letter, encode_event, encode_reply, publish_letter};
use sagamore_transport::{Delivered, Error, Mark, Record, Scope, Transport};

use crate::chunk::Answer;
use crate::guard::cut;
use crate::intake::{Asked, By};

/// Everything that a turn owes the transport.
pub(crate) struct Outgoing<'a> {
    service: &'a Name,
    now: Timestamp,
    taken: &'a [Delivered],
    /// Asks of each record that are not answered and published yet; a record without any is done with.
    open: BTreeMap<usize, usize>,
    /// Places of what the next publish answers.
    answered: Vec<usize>,
    owed: Vec<Owed>,
    dead: BTreeMap<usize, String>,
    /// Places of all dead letters.
    buried: BTreeSet<usize>,
    /// Dead letters that the transport takes in no form.
    lost: usize,
    unsent: Vec<Unsent>,
}

/// An event whose topic rejects it, with what led to it: that waits in the inbox until the topic takes the event.
pub(crate) struct Unsent {
    place: usize,
    pub key: StepKey,
    pub cause: Event,
    pub why: String,
}

/// What is told, with the place of the record that asked for it.
struct Owed {
    place: usize,
    told: Told,
}

enum Told {
    Reply(Reply, ReplyTo),
    Event { event: Event, key: StepKey, cause: Box<Event> },
}

impl<'a> Outgoing<'a> {
    /// Nothing yet, for the records that the turn has taken, and the places of what has to be answered.
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

    /// What a command is answered.
    pub(crate) fn answer(&mut self, asked: Asked, answer: Answer) {
        let Asked { place, key, by, trace, message: _ } = asked;
        self.answered.push(place);
        if let Some(reason) = answer.poison {
            self.bury(place, &reason);
        }
        match (by, answer.event) {
            (By::Command(to), _) => {
                let told = Told::Reply(Reply { key, outcome: answer.outcome, trace }, to);
                self.owed.push(Owed { place, told });
            }
            (By::Event(cause), Some(event)) => {
                self.owed.push(Owed { place, told: Told::Event { event, key, cause } });
            }
            (By::Event(_), None) => {}
        }
    }

    /// Makes the record at `place` a dead letter, and that is its answer.
    pub(crate) fn reject(&mut self, place: usize, reason: &str) {
        self.answered.push(place);
        self.bury(place, reason);
    }

    /// Makes the record at `place` a dead letter, once.
    fn bury(&mut self, place: usize, reason: &str) {
        if !self.buried.insert(place) {
            return;
        }
        let reason = cut(reason); // it may quote all of the body
        if let Some(Delivered { record, partition, offset, .. }) = self.taken.get(place) {
            tracing::warn!(topic = %record.topic, partition, offset, reason, "dead letter");
        }
        self.dead.insert(place, reason.to_owned());
    }

    /// How many dead letters there are.
    pub(crate) fn dead_letters(&self) -> usize {
        self.buried.len()
    }

    /// How many of them are nowhere but in the program's own log.
    pub(crate) fn lost_letters(&self) -> usize {
        self.lost
    }

    /// The events whose topics rejected them since the last call.
    pub(crate) fn take_unsent(&mut self) -> Vec<Unsent> {
        std::mem::take(&mut self.unsent)
    }

    /// The marks behind what is published, in each partition up to the first of the `polled` records that is not.
    pub(crate) fn marks(&self, polled: usize) -> Vec<Mark> {
        let mut behind = BTreeSet::new();
        let is_done = |(place, Delivered { record, partition, .. }): &(usize, &Delivered)| {
            if self.open.contains_key(place) && !planted(Bug::MarksPastUnanswered) {
                behind.insert((record.topic.clone(), *partition));
            }
            !behind.contains(&(record.topic.clone(), *partition))
        };
        Mark::behind(self.taken[..polled].iter().enumerate().filter(is_done).map(|(_, delivered)| delivered))
    }

    /// Publishes what is owed so far; what the transport will never take does not hold up the rest.
    pub(crate) async fn publish(&mut self, transport: &dyn Transport) -> Result<(), Error> {
        self.publish_owed(transport).await?;
        self.owed.clear();
        self.dead.clear();
        let mut unsent: Vec<usize> = self.unsent.iter().map(|unsent| unsent.place).collect();
        for place in std::mem::take(&mut self.answered) {
            match unsent.iter().position(|other| *other == place) {
                Some(index) => drop(unsent.swap_remove(index)), // until its cause is kept
                None => self.close(place),
            }
        }
        Ok(())
    }

    /// Closes the places of these events, whose causes are stored in the inbox.
    pub(crate) fn kept(&mut self, unsent: &[Unsent]) {
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
        let records: Vec<Record> = told.chain(self.dead.iter().map(|(place, why)| self.letter(*place, why))).collect();
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
                // the right may be granted, or the topic created: then the same event is sent
                Err(error) if error.is_rejection() && error.scope() == Scope::Topic && owed.is_event() => {
                    if let Told::Event { key, cause, .. } = owed.told {
                        let why = format!("what it led to cannot be sent yet: {error}");
                        self.unsent.push(Unsent { place: owed.place, key, cause: *cause, why });
                    }
                }
                // a reply or an event that cannot be delivered makes a dead letter of what asked for it
                Err(error) if error.is_rejection() => {
                    self.bury(owed.place, &format!("what it led to cannot be delivered: {error}"));
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

    /// A dead letter that the transport rejects in whatever form is logged and counted: a retry would hold up all that
    /// comes after it.
    async fn publish_late(&mut self, transport: &dyn Transport, places: &BTreeSet<usize>) -> Result<(), Error> {
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

impl Owed {
    fn record(&self, service: &Name, now: Timestamp) -> Record {
        match &self.told {
            Told::Reply(reply, to) => encode_reply(reply, to, service, now),
            Told::Event { event, .. } => encode_event(event, service),
        }
    }

    fn is_event(&self) -> bool {
        matches!(self.told, Told::Event { .. })
    }
}
