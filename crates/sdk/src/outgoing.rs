//! What a turn publishes: the replies, in the order of the commands, and the dead letters.

use std::collections::BTreeMap;

use sagamore_core::{Name, Reply, ReplyTo};
use sagamore_transport::wire::{dead_letter, encode_reply};
use sagamore_transport::{Delivered, Error, Record, Transport};

use crate::chunk::Answer;
use crate::intake::Asked;

/// Everything that a turn owes the transport.
pub(crate) struct Outgoing<'a> {
    service: &'a Name,
    taken: &'a [Delivered],
    replies: Vec<Owed>,
    dead: BTreeMap<usize, String>,
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
        Outgoing { service, taken, replies: Vec::new(), dead: BTreeMap::new() }
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
        let replies = self.replies.iter().map(|owed| owed.record(self.service));
        let records: Vec<Record> =
            replies.chain(self.dead.iter().map(|(place, why)| self.letter(*place, why))).collect();
        if records.is_empty() {
            return Ok(());
        }
        match transport.publish(records).await {
            Err(Error::UnknownTopic(_) | Error::TooLarge { .. }) => self.publish_singly(transport).await,
            result => result,
        }
    }

    /// A reply that cannot be delivered makes its command a dead letter; a dead letter that is too large, with the
    /// headers that say why, loses its body.
    async fn publish_singly(&mut self, transport: &dyn Transport) -> Result<(), Error> {
        for owed in std::mem::take(&mut self.replies) {
            match transport.publish(vec![owed.record(self.service)]).await {
                Err(error @ (Error::UnknownTopic(_) | Error::TooLarge { .. })) => {
                    self.bury(owed.place, format!("the reply cannot be delivered: {error}"));
                }
                result => result?,
            }
        }
        for (place, reason) in &self.dead {
            let mut letter = self.letter(*place, reason);
            match transport.publish(vec![letter.clone()]).await {
                Err(Error::TooLarge { .. }) => {
                    letter.body.clear();
                    transport.publish(vec![letter]).await?;
                }
                result => result?,
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
        encode_reply(&self.reply, &self.to, service)
    }
}
