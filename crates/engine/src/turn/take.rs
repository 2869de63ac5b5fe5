//! Take what is there: requests, replies, what is due. Nothing waits here.

use sagamore_core::Timestamp;
use sagamore_core::message::{Outcome, Reply};
use sagamore_transport::Delivered;
use sagamore_transport::wire::{self, Undecodable};

use super::{Arrival, Batch};
use crate::error::{Error, StartError, VerbError};
use crate::orchestrator::Orchestrator;
use crate::request::{Asker, Request, VerbRequest};
use crate::store::Epochs;

impl Orchestrator {
    /// At most `batch_max` replies, requests and due sagas each, and what waits to be tried again.
    pub(crate) async fn take_inputs(&mut self, epochs: &Epochs, now: Timestamp) -> Result<Batch, Error> {
        let mut batch = Batch::default();
        let max = self.options.batch_max;
        for delivered in self.take_replies(epochs, max).await? {
            self.progress.insert(delivered.partition, delivered.offset + 1);
            if let Some(reason) = &delivered.unreadable {
                batch.inputs += 1;
                batch.dead_letters.push(wire::dead_letter(&delivered, reason));
                continue;
            }
            match wire::decode_swept(&delivered.record) {
                None => match wire::decode_reply(&delivered.record) {
                    Ok(reply) => batch.add_reply(reply, delivered, now),
                    Err(undecodable) => self.take_undecodable(&mut batch, &delivered, undecodable, now),
                },
                Some(swept) => {
                    batch.inputs += 1;
                    match swept {
                        Ok(swept) => batch.swept.push(swept),
                        Err(reason) => batch.dead_letters.push(wire::dead_letter(&delivered, &reason)),
                    }
                }
            }
        }
        for stray in self.strays.take_due(now) {
            batch.add_reply(stray.reply, stray.delivered, stray.first_seen);
        }
        while self.inbox.len() < max {
            match self.requests.try_recv() {
                Ok(request) => self.inbox.push(request),
                Err(_) => break, // empty, or all handles are gone: either way nothing is there
            }
        }
        for request in self.inbox.drain(..) {
            self.gauges.taken(&request);
            let id = request.id().clone();
            match request {
                Request::Start(start) if start.accepted.is_closed() => {} // whoever asked has gone without an answer
                Request::Start(start) => batch.add(id, Arrival::Start(start)),
                Request::Verb(verb) => batch.add(id, Arrival::Verb(verb)),
                Request::Watch { rest, .. } => batch.add(id, Arrival::Watch(rest)),
            }
        }
        for id in self.live.due(now, max) {
            batch.add(id, Arrival::Due);
        }
        Ok(batch)
    }

    /// What has come; a consumer that is of no use any more is given up for another one, where partitions are shared.
    /// Likewise one that gives what belongs to another orchestrator by now: it will take it for itself.
    async fn take_replies(&mut self, epochs: &Epochs, max: usize) -> Result<Vec<Delivered>, Error> {
        let Some(replies) = &mut self.replies else { return Ok(Vec::new()) };
        let taken = replies.poll(max).await;
        if self.options.lease.is_none() {
            return Ok(taken?);
        }
        let strange = |delivered: &&Delivered| !epochs.owns(delivered.partition);
        let error = match taken {
            Ok(taken) => match taken.iter().find(strange) {
                None => return Ok(taken),
                Some(delivered) => Error::OwnershipLost { partition: delivered.partition },
            },
            Err(error) => error.into(),
        };
        self.hang_up();
        Err(error)
    }

    /// A dead letter; and where the headers say which command was answered, a fault of that command.
    fn take_undecodable(&mut self, batch: &mut Batch, delivered: &Delivered, why: Undecodable, now: Timestamp) {
        tracing::warn!(reason = why.reason, "reply cannot be read: dead letter");
        batch.inputs += 1;
        batch.dead_letters.push(wire::dead_letter(delivered, &why.reason));
        if let Some(key) = why.key {
            let outcome = Outcome::Fault(format!("its answer cannot be read: {}", why.reason));
            batch.add_reply(Reply { key, outcome, traceparent: None }, delivered.clone(), now);
        }
    }

    /// While turns fail, those who want something stored are told so at once; those who only wait go on waiting.
    pub(crate) fn turn_away(&mut self, why: &Error) {
        while self.inbox.len() < self.options.requests_max {
            match self.requests.try_recv() {
                Ok(request) => self.inbox.push(request),
                Err(_) => break, // empty, or all handles are gone
            }
        }
        let (waiting, asking): (Vec<Request>, Vec<Request>) =
            self.inbox.drain(..).partition(|request| matches!(request, Request::Watch { .. }));
        self.inbox = waiting;
        for request in asking {
            self.gauges.taken(&request);
            match request {
                Request::Start(start) => drop(start.accepted.send(Err(StartError::Unavailable(why.to_string())))),
                Request::Verb(VerbRequest { asker: Asker::Here(done), .. }) => {
                    drop(done.send(Err(VerbError::Unavailable(why.to_string()))));
                }
                Request::Verb(_) => {} // its row is read again
                Request::Watch { .. } => {}
            }
        }
    }
}
