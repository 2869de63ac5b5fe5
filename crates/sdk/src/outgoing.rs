//! What a turn publishes: replies and events, in the order of what led to them, and the dead letters.

use std::collections::{BTreeMap, BTreeSet};

use sagamore_core::{Event, Name, Reply, ReplyTo};
use sagamore_transport::wire::{dead_letter, encode_event, encode_reply, publish_letter};
use sagamore_transport::{Delivered, Error, Record, Transport};

use crate::chunk::Answer;
use crate::guard::cut;
use crate::intake::{Asked, By};

/// Everything that a turn owes the transport.
pub(crate) struct Outgoing<'a> {
    service: &'a Name,
    taken: &'a [Delivered],
    owed: Vec<Owed>,
    dead: BTreeMap<usize, String>,
    /// Dead letters that the transport takes in no form.
    lost: usize,
}

/// What is told, with the place of the record that asked for it.
struct Owed {
    place: usize,
    told: Told,
}

enum Told {
    Reply(Reply, ReplyTo),
    Event(Event),
}

impl<'a> Outgoing<'a> {
    /// Nothing yet, for the records that the turn has taken.
    pub(crate) fn new(service: &'a Name, taken: &'a [Delivered]) -> Outgoing<'a> {
        Outgoing { service, taken, owed: Vec::new(), dead: BTreeMap::new(), lost: 0 }
    }

    /// What a command is answered.
    pub(crate) fn answer(&mut self, asked: Asked, answer: Answer) {
        let Asked { place, key, by, traceparent, message: _ } = asked;
        if let Some(reason) = answer.poison {
            self.bury(place, &reason);
        }
        match (by, answer.event) {
            (By::Command(to), _) => {
                let told = Told::Reply(Reply { key, outcome: answer.outcome, traceparent }, to);
                self.owed.push(Owed { place, told });
            }
            (By::Event(_), Some(event)) => self.owed.push(Owed { place, told: Told::Event(event) }),
            (By::Event(_), None) => {}
        }
    }

    /// Makes the record at `place` a dead letter.
    pub(crate) fn bury(&mut self, place: usize, reason: &str) {
        let reason = cut(reason); // it may quote all of the body
        if let Some(Delivered { record, partition, offset, .. }) = self.taken.get(place) {
            tracing::warn!(topic = %record.topic, partition, offset, reason, "dead letter");
        }
        self.dead.insert(place, reason.to_owned());
    }

    /// How many dead letters there are.
    pub(crate) fn dead_letters(&self) -> usize {
        self.dead.len()
    }

    /// How many of them are nowhere but in the program's own log.
    pub(crate) fn lost_letters(&self) -> usize {
        self.lost
    }

    /// Publishes everything; what the transport will never take does not hold up the rest.
    pub(crate) async fn publish(&mut self, transport: &dyn Transport) -> Result<(), Error> {
        self.owed.sort_by_key(|owed| owed.place);
        let told = self.owed.iter().map(|owed| owed.record(self.service));
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
    fn record(&self, service: &Name) -> Record {
        match &self.told {
            Told::Reply(reply, to) => encode_reply(reply, to, service),
            Told::Event(event) => encode_event(event, service),
        }
    }
}
