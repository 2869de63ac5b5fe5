//! Intake of available inputs: requests, replies and timers. It never waits.

use sagamore_core::Timestamp;
use sagamore_core::message::{Outcome, Reply};
use sagamore_transport::wire::{self, Undecodable};
use sagamore_transport::{Consumer, Delivery, Error as TransportError};

use super::{Arrival, Batch, RejectReason, Stray, reject};
use crate::error::{Error, StartError, VerbError};
use crate::orchestrator::Orchestrator;
use crate::request::{Recipient, Request, VerbRequest};
use crate::store::Epochs;

/// The longest record that a transport takes, in bytes.
const RECORD_BYTES_MAX: usize = 1024 * 1024;

impl Orchestrator {
    /// Takes at most `batch_max` replies, requests and due sagas each, within `batch_bytes_max`
    /// unless a single one is larger. Adds held inputs that are due. Failures lower the limits
    /// through the pace.
    pub(crate) async fn take_inputs(
        &mut self,
        epochs: &Epochs,
        now: Timestamp,
    ) -> Result<Batch, Error> {
        let mut batch = Batch::default();
        let max = self.pace.inputs(self.options.batch_max);
        let bytes_max = self.pace.bytes(self.options.batch_bytes_max);
        for delivery in self.take_replies(epochs, max, bytes_max, now).await? {
            self.progress.insert(delivery.partition, delivery.offset + 1);
            if let Some(reason) = &delivery.unreadable {
                batch.inputs += 1;
                batch.dead_letters.push(reject(&delivery, RejectReason::Unreadable, reason));
                continue;
            }
            match wire::decode_swept(&delivery.record) {
                None => match wire::decode_reply(&delivery.record) {
                    Ok(reply) => batch.add_reply(reply, delivery, now),
                    Err(undecodable) => {
                        self.take_undecodable(&mut batch, &delivery, undecodable, now)
                    }
                },
                Some(swept) => {
                    batch.inputs += 1;
                    match swept {
                        Ok(swept) => batch.swept.push(swept),
                        Err(defect) => {
                            let flaw = RejectReason::Undecodable(wire::Flaw::Body);
                            let reason = defect.to_string();
                            batch.dead_letters.push(reject(&delivery, flaw, &reason));
                        }
                    }
                }
            }
        }
        for stray in self.strays.take_due(now) {
            batch.add(stray.reply.key.saga.clone(), Arrival::Reply(Box::new(stray)));
        }
        for request in self.take_requests(max, bytes_max) {
            let id = request.id().clone();
            match request {
                Request::Start(start) if start.accepted.is_closed() => {} // the caller gave up
                Request::Start(start) => batch.add(id, Arrival::Start(start)),
                Request::Verb(verb) => batch.add(id, Arrival::Verb(verb)),
                Request::Watch { rest, .. } => batch.add(id, Arrival::Watch(rest)),
            }
        }
        batch.rejections = self.rejections.len();
        for rejection in &self.rejections {
            batch.add(rejection.key.saga.clone(), Arrival::Rejected(rejection.clone()));
        }
        for id in self.live.due(now, max, bytes_max) {
            batch.add(id, Arrival::Due);
        }
        self.hold_back(&mut batch, now);
        Ok(batch)
    }

    fn take_requests(&mut self, max: usize, bytes_max: usize) -> Vec<Request> {
        while self.inbox.len() < max {
            match self.requests.try_recv() {
                Ok(request) => self.inbox.push(request),
                Err(_) => break, // empty, or no handle is left
            }
        }
        let mut bytes = 0;
        let mut fits = |request: &&Request| {
            let is_first = bytes == 0;
            bytes += request.bytes();
            is_first || bytes <= bytes_max
        };
        let count = self.inbox.iter().take(max).take_while(|request| fits(request)).count();
        // the next turn takes the others
        let taken: Vec<Request> = self.inbox.drain(..count).collect();
        taken.iter().for_each(|request| self.gauges.taken(request));
        taken
    }

    /// Queues a request that does not come from a handle: a repeated one, or another
    /// orchestrator's.
    pub(crate) fn add_request(&mut self, request: Request) {
        self.gauges.added(&request);
        self.inbox.push(request);
    }

    /// Takes replies. With shared partitions, a failed consumer is dropped, and so is one that
    /// delivers replies of another owner, which will read them itself.
    async fn take_replies(
        &mut self,
        epochs: &Epochs,
        max: usize,
        bytes_max: usize,
        now: Timestamp,
    ) -> Result<Vec<Delivery>, Error> {
        let Some(replies) = &mut self.replies else { return Ok(Vec::new()) };
        let taken = poll(replies.as_mut(), max, bytes_max).await;
        let Some(lease) = self.options.lease else { return Ok(taken?) };
        let strange = |delivery: &&Delivery| !epochs.owns(delivery.partition);
        let error = match taken {
            Ok(taken) => match taken.iter().find(strange) {
                None => {
                    self.pulse.has_read(!taken.is_empty(), now, lease);
                    return Ok(taken);
                }
                Some(delivery) => Error::OwnershipLost { partition: delivery.partition },
            },
            Err(error) => {
                let is_fenced = matches!(error, TransportError::Fenced(_));
                let error = Error::from(error);
                if !is_fenced {
                    self.pulse.cannot_read(&error, now, lease);
                }
                error
            }
        };
        self.unsubscribe();
        Err(error)
    }

    /// Creates the dead letter of an undecodable reply, and a fault of the answered command if the
    /// headers name it.
    fn take_undecodable(
        &mut self,
        batch: &mut Batch,
        delivery: &Delivery,
        why: Undecodable,
        now: Timestamp,
    ) {
        batch.inputs += 1;
        batch.dead_letters.push(reject(delivery, RejectReason::Undecodable(why.flaw), &why.reason));
        if let Some(key) = why.key {
            let outcome = Outcome::Fault(format!("its reply cannot be read: {}", why.reason));
            let reply = Reply { key, outcome: outcome.into(), trace: None };
            let stray = Stray { reply, delivery: delivery.clone(), first_seen: now, is_dead: true };
            batch.add(stray.reply.key.saga.clone(), Arrival::Reply(Box::new(stray)));
        }
    }

    /// Rejects starts and verbs at once while turns fail. Watches remain queued.
    pub(crate) fn reject_requests(&mut self, why: &Error) {
        while self.inbox.len() < self.options.requests_max {
            match self.requests.try_recv() {
                Ok(request) => self.inbox.push(request),
                Err(_) => break, // empty, or no handle is left
            }
        }
        let (waiting, rejected): (Vec<Request>, Vec<Request>) =
            self.inbox.drain(..).partition(|request| matches!(request, Request::Watch { .. }));
        self.inbox = waiting;
        for request in rejected {
            self.gauges.taken(&request);
            match request {
                Request::Start(start) => {
                    drop(start.accepted.send(Err(StartError::Unavailable(why.to_string()))))
                }
                Request::Verb(VerbRequest { recipient: Recipient::Here(done), .. }) => {
                    drop(done.send(Err(VerbError::Unavailable(why.to_string()))));
                }
                Request::Verb(_) => {} // its row is read again
                Request::Watch { .. } => {}
            }
        }
    }
}

/// Polls until `max` records, `bytes_max` bytes or the end. Exceeds the bytes by one record at
/// most.
pub(crate) async fn poll(
    consumer: &mut dyn Consumer,
    max: usize,
    bytes_max: usize,
) -> Result<Vec<Delivery>, TransportError> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while taken.len() < max && bytes < bytes_max {
        let fit = (bytes_max - bytes) / RECORD_BYTES_MAX;
        let wanted = fit.clamp(1, max - taken.len());
        let polled = match consumer.poll(wanted).await {
            Ok(polled) => polled,
            Err(error) if taken.is_empty() => return Err(error),
            Err(_) => break, // the next poll returns the error: taken records must not be lost
        };
        let is_all = polled.len() < wanted;
        bytes += polled.iter().map(|delivery| delivery.record.bytes()).sum::<usize>();
        taken.extend(polled);
        if is_all {
            break;
        }
    }
    Ok(taken)
}
