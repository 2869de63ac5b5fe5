//! What a turn publishes: the replies, in the order of the commands, and the dead letters.

use std::collections::{BTreeMap, BTreeSet};

use sagamore_core::{Name, Reply, ReplyTo};
use sagamore_transport::wire::{dead_letter, dead_letter_topic, encode_reply};
use sagamore_transport::{Delivered, Error, Record, Transport};

use crate::chunk::Answer;
use crate::intake::Asked;

/// Everything that a turn owes the transport.
pub(crate) struct Outgoing<'a> {
    service: &'a Name,
    taken: &'a [Delivered],
    replies: Vec<Owed>,
    dead: BTreeMap<usize, String>,
    bodiless: BTreeSet<usize>,
}

/// A reply, with the place of the record that asked for it.
struct Owed {
    place: usize,
    reply: Reply,
    to: ReplyTo,
}

impl<'a> Outgoing<'a> {
    /// Nothing yet, for the records that the turn has taken.
    pub(crate) fn new(service: &'a Name, taken: &'a [Delivered]) -> Outgoing<'a> {
        Outgoing { service, taken, replies: Vec::new(), dead: BTreeMap::new(), bodiless: BTreeSet::new() }
    }

    /// What a command is answered.
    pub(crate) fn answer(&mut self, asked: &Asked, answer: Answer) {
        if let Some(reason) = answer.poison {
            self.bury(asked.place, reason);
        }
        let (key, traceparent) = (asked.key.clone(), asked.traceparent.clone());
        let reply = Reply { key, outcome: answer.outcome, traceparent };
        self.replies.push(Owed { place: asked.place, reply, to: asked.reply_to.clone() });
    }

    /// Makes the record at `place` a dead letter.
    pub(crate) fn bury(&mut self, place: usize, reason: String) {
        if let Some(Delivered { record, partition, offset }) = self.taken.get(place) {
            tracing::warn!(topic = %record.topic, partition, offset, reason, "dead letter");
        }
        self.dead.insert(place, reason);
    }

    /// How many dead letters there are.
    pub(crate) fn dead_letters(&self) -> usize {
        self.dead.len()
    }

    /// Publishes everything; what the transport will never take does not hold up the rest.
    pub(crate) async fn publish(&mut self, transport: &dyn Transport) -> Result<(), Error> {
        loop {
            let records = self.records();
            if records.is_empty() {
                return Ok(());
            }
            match transport.publish(records).await {
                Ok(()) => return Ok(()),
                Err(error) if self.gives_up(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn records(&self) -> Vec<Record> {
        let replies = self.replies.iter().map(|Owed { reply, to, .. }| encode_reply(reply, to, self.service));
        let dead = self.dead.iter().map(|(place, reason)| {
            let mut letter = dead_letter(&self.taken[*place], reason);
            if self.bodiless.contains(place) {
                letter.body.clear();
            }
            letter
        });
        replies.chain(dead).collect()
    }

    /// A reply that cannot be delivered makes its command a dead letter; a dead letter that is too large, with the
    /// headers that say why, loses its body. False when there is nothing left to give up.
    fn gives_up(&mut self, error: &Error) -> bool {
        match error {
            Error::UnknownTopic(topic) => {
                let lost = self.replies.extract_if(.., |owed| owed.to.topic == *topic).collect::<Vec<_>>();
                lost.iter().for_each(|owed| self.bury(owed.place, format!("the reply has nowhere to go: {error}")));
                !lost.is_empty()
            }
            Error::TooLarge { topic, .. } => {
                let replies = self.replies.iter().enumerate().filter(|(_, owed)| owed.to.topic == *topic);
                if let Some((index, _)) = replies.max_by_key(|(_, owed)| size(&owed.reply)) {
                    let owed = self.replies.remove(index);
                    self.bury(owed.place, format!("the reply cannot be sent: {error}"));
                    return true;
                }
                let letters = self.dead.keys().filter(|place| !self.bodiless.contains(place));
                let letters = letters.filter(|place| *dead_letter_topic(&self.taken[**place].record.topic) == **topic);
                let largest = letters.max_by_key(|place| self.taken[**place].record.body.len()).copied();
                largest.is_some_and(|place| self.bodiless.insert(place))
            }
            Error::Unavailable(_) | Error::Full(_) | Error::InUse(_) | Error::Damaged(_) => false,
        }
    }
}

fn size(reply: &Reply) -> usize {
    match &reply.outcome {
        sagamore_core::Outcome::Done(output) => output.as_str().len(),
        sagamore_core::Outcome::Refused(refusal) => refusal.code.len() + refusal.message.len(),
        sagamore_core::Outcome::Fault(text) => text.len(),
    }
}
