//! The answers of a turn: what is still to publish, and which records are finished.

use std::collections::{BTreeMap, BTreeSet};

use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Event, Name, Reply, ReplyTo, StepKey, Timestamp};
use sagamore_transport::wire::{encode_event, encode_reply};
use sagamore_transport::{Delivery, Mark, Record};

use super::receive::Received;
use crate::answer::Answer;
use crate::inbox::InboxRemoval;
use crate::text::cut;
use crate::work::{CommandWork, Work, WorkItem};

/// The messages that a turn has not published yet.
pub(super) struct Outgoing<'a> {
    pub(super) service: Name,
    pub(super) now: Timestamp,
    pub(super) received: &'a Received,
    /// The number of unanswered requests per record index. A record without an entry is finished.
    open: BTreeMap<usize, usize>,
    /// The record indexes that the next publish answers.
    pub(super) answered: Vec<usize>,
    pub(super) owed: Vec<OwedRecord>,
    pub(super) dead: BTreeMap<usize, String>,
    /// The record indexes of all dead letters.
    buried: BTreeSet<usize>,
    /// The number of dead letters that the transport rejects in every form.
    pub(super) lost: usize,
    /// The events that their topics rejected in the last publish.
    pub(super) unsent: Vec<RejectedEvent>,
    /// The events to remove from the inbox.
    pub(super) removals: Vec<InboxRemoval>,
}

/// An event that its topic rejects. Its cause waits in the inbox until the topic accepts the event.
pub(super) struct RejectedEvent {
    pub place: usize,
    pub key: StepKey,
    pub cause: Event,
    pub why: String,
}

/// A message to publish, with the index of the record that caused it.
pub(super) struct OwedRecord {
    pub place: usize,
    pub message: OwedMessage,
}

pub(super) enum OwedMessage {
    Reply(Reply, ReplyTo),
    Event { event: Event, key: StepKey, cause: Box<Event> },
}

impl<'a> Outgoing<'a> {
    /// Creates the answers of a turn, none of which exists yet, except its dead letters.
    pub(super) fn new(
        service: Name,
        received: &'a Received,
        work: &[WorkItem],
        rejected: Vec<(usize, String)>,
        now: Timestamp,
    ) -> Outgoing<'a> {
        let mut open = BTreeMap::new();
        let places = work.iter().map(|item| item.place);
        for place in places.chain(rejected.iter().map(|(place, _)| *place)) {
            *open.entry(place).or_insert(0) += 1;
        }
        let mut outgoing = Outgoing {
            service,
            now,
            received,
            open,
            answered: Vec::new(),
            owed: Vec::new(),
            dead: BTreeMap::new(),
            buried: BTreeSet::new(),
            lost: 0,
            unsent: Vec::new(),
            removals: Vec::new(),
        };
        rejected.into_iter().for_each(|(place, reason)| outgoing.reject(place, &reason));
        outgoing
    }

    /// Queues the answers to a chunk. Returns the items that the chunk did not reach, and the
    /// number of the others.
    pub(super) fn answer_chunk(
        &mut self,
        chunk: Vec<WorkItem>,
        answers: Vec<Option<Answer>>,
    ) -> (Vec<WorkItem>, usize) {
        let (mut left, mut reached) = (Vec::new(), 0);
        for (item, answer) in chunk.into_iter().zip(answers) {
            match answer {
                Some(answer) => {
                    reached += 1;
                    self.answer(item, answer);
                }
                None => left.push(item),
            }
        }
        (left, reached)
    }

    /// Queues the answer to an item.
    fn answer(&mut self, item: WorkItem, answer: Answer) {
        let WorkItem { place, key, work } = item;
        self.answered.push(place);
        if let Some(reason) = &answer.poison {
            self.bury(place, reason);
        }
        match work {
            Work::Command(CommandWork { reply_to, trace, message: _ }) => {
                let reply = Reply { key, outcome: answer.outcome.into(), trace };
                self.owed.push(OwedRecord { place, message: OwedMessage::Reply(reply, reply_to) });
            }
            Work::Reaction(reaction) => {
                self.removals.extend(answer.removal.map(|removal| *removal));
                if let Some(event) = answer.event {
                    let message = OwedMessage::Event { event, key, cause: reaction.event };
                    self.owed.push(OwedRecord { place, message });
                }
            }
        }
    }

    /// Makes the record at `place` a dead letter, which also answers it.
    fn reject(&mut self, place: usize, reason: &str) {
        self.answered.push(place);
        self.bury(place, reason);
    }

    /// Makes the record at `place` a dead letter, at most once.
    pub(super) fn bury(&mut self, place: usize, reason: &str) {
        if !self.buried.insert(place) {
            return;
        }
        let reason = cut(reason); // the reason may quote the whole body
        let record = self.received.records.get(place);
        if let Some(Delivery { record, partition, offset, .. }) = record {
            tracing::warn!(topic = %record.topic, partition, offset, reason, "dead letter");
        }
        self.dead.insert(place, reason.to_owned());
    }

    /// Returns the number of dead letters.
    pub(super) fn dead_letters(&self) -> usize {
        self.buried.len()
    }

    /// Returns the number of dead letters that exist only in this program's log.
    pub(super) fn lost_letters(&self) -> usize {
        self.lost
    }

    /// Returns the offsets to commit: in each partition up to the first polled record that is not
    /// finished.
    pub(super) fn marks(&self) -> Vec<Mark> {
        let mut behind = BTreeSet::new();
        let is_done = |(place, Delivery { record, partition, .. }): &(usize, &Delivery)| {
            if self.open.contains_key(place) && !planted(Bug::MarksPastUnanswered) {
                behind.insert((record.topic.clone(), *partition));
            }
            !behind.contains(&(record.topic.clone(), *partition))
        };
        let polled = self.received.polled().iter().enumerate();
        Mark::behind(polled.filter(is_done).map(|(_, delivery)| delivery))
    }

    /// Returns the events to remove from the inbox: their results are published.
    pub(super) fn into_removals(self) -> Vec<InboxRemoval> {
        self.removals
    }

    /// Marks one item of the record at `place` as finished.
    pub(super) fn close(&mut self, place: usize) {
        if let Some(open) = self.open.get_mut(&place).filter(|open| **open > 1) {
            *open -= 1;
        } else {
            self.open.remove(&place);
        }
    }
}

impl OwedRecord {
    pub fn record(&self, service: &Name, now: Timestamp) -> Record {
        match &self.message {
            OwedMessage::Reply(reply, to) => encode_reply(reply, to, service, now),
            OwedMessage::Event { event, .. } => encode_event(event, service),
        }
    }

    pub fn is_event(&self) -> bool {
        matches!(self.message, OwedMessage::Event { .. })
    }
}
