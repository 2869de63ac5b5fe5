//! Take what is there: requests, replies, what is due. Nothing waits here.

use sagamore_core::Timestamp;
use sagamore_transport::wire;

use super::{Arrival, Batch};
use crate::error::Error;
use crate::orchestrator::Orchestrator;
use crate::request::Request;

impl Orchestrator {
    /// At most `batch_max` of each sort.
    pub(crate) async fn take_inputs(&mut self, now: Timestamp) -> Result<Batch, Error> {
        let mut batch = Batch::default();
        let max = self.options.batch_max;
        while self.inbox.len() < max {
            match self.requests.try_recv() {
                Ok(request) => self.inbox.push(request),
                Err(_) => break, // empty, or all handles are gone: either way nothing is there
            }
        }
        for request in self.inbox.drain(..) {
            let id = request.id().clone();
            let arrival = match request {
                Request::Start(start) => Arrival::Start(start),
                Request::Verb(verb) => Arrival::Verb(verb),
                Request::Watch { rest, .. } => Arrival::Watch(rest),
            };
            batch.add(id, arrival);
        }
        for stray in self.strays.take_due(now) {
            batch.add_reply(stray.reply, stray.delivered, stray.first_seen);
        }
        for delivered in self.replies.poll(max).await? {
            self.progress.insert(delivered.partition, delivered.offset + 1);
            match wire::decode_reply(&delivered.record) {
                Ok(reply) => batch.add_reply(reply, delivered, now),
                Err(undecodable) => {
                    tracing::warn!(reason = undecodable.reason, "reply cannot be read: dead letter");
                    batch.inputs += 1;
                    batch.dead_letters.push(wire::dead_letter(&delivered, &undecodable.reason));
                }
            }
        }
        for id in self.live.due(now, max) {
            batch.add(id, Arrival::Due);
        }
        Ok(batch)
    }
}
