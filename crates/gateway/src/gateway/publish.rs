//! Publishing: replies and dead letters. A batch that the transport does not acknowledge is
//! published again by the next turn.

use sagamore_core::ReplyTo;
use sagamore_core::message::Reply;
use sagamore_transport::wire::{dead_letter, encode_reply, publish_letter};
use sagamore_transport::{Delivery, Record};

use super::Gateway;
use crate::error::Error;
use crate::ledger::Place;

/// A record to publish.
#[derive(Debug)]
pub(super) struct Owed {
    record: Record,
    /// The command that it answers, which is finished afterwards.
    cause: Delivery,
    /// Whether the record is the dead letter of its cause.
    is_letter: bool,
}

impl Gateway {
    /// Queues a reply to a command for publication.
    pub(super) fn owe(&mut self, cause: &Delivery, reply: Reply, reply_to: &ReplyTo) {
        let record = encode_reply(&reply, reply_to, &self.participant, self.now());
        let cause = cause.clone();
        self.owed.push(Owed { record, cause, is_letter: false });
    }

    /// Queues a dead letter for a record that cannot be handled.
    pub(super) fn bury(&mut self, cause: Delivery, reason: &str) {
        let Delivery { record, partition, offset, .. } = &cause;
        tracing::warn!(topic = %record.topic, partition, offset, reason, "dead letter");
        self.count("unreadable");
        let record = dead_letter(&cause, reason);
        self.owed.push(Owed { record, cause, is_letter: true });
    }

    /// Publishes the queued records, and finishes the commands that they answer.
    ///
    /// # Errors
    /// The transport failed. Records that it did not acknowledge stay queued.
    pub(super) async fn publish(&mut self) -> Result<(), Error> {
        let owed = std::mem::take(&mut self.owed);
        if owed.is_empty() {
            return Ok(());
        }
        let records = owed.iter().map(|owed| owed.record.clone()).collect();
        let outcomes = self.transport.publish_each(records).await;
        let mut failed = None;
        for (owed, outcome) in owed.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => self.ledger.finish(&Place::of(&owed.cause)),
                Err(error) if error.is_rejection() => {
                    if let Err((owed, error)) = self.reject_owed(owed, error.to_string()).await {
                        self.owed.push(owed);
                        failed = Some(error);
                    }
                }
                Err(error) => {
                    self.owed.push(owed);
                    failed = Some(error.into());
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Replaces an undeliverable record by a dead letter. A letter that the transport rejects in
    /// every form is logged, because retries would block all later records.
    async fn reject_owed(&mut self, owed: Owed, why: String) -> Result<(), (Owed, Error)> {
        let Delivery { record, partition, offset, .. } = &owed.cause;
        let letter = match owed.is_letter {
            true => owed.record.clone(),
            false => {
                let reason = format!("its reply cannot be delivered: {why}");
                tracing::warn!(topic = %record.topic, partition, offset, reason, "dead letter");
                dead_letter(&owed.cause, &reason)
            }
        };
        match publish_letter(self.transport.as_ref(), letter).await {
            Err(error) if error.is_rejection() => {
                tracing::error!(
                    topic = %record.topic, partition, offset, why, %error, "lost dead letter"
                );
            }
            Err(error) => return Err((owed, error.into())),
            Ok(()) => {}
        }
        self.ledger.finish(&Place::of(&owed.cause));
        Ok(())
    }
}
