//! Replies that change no saga. Each becomes a dead letter, and is counted by reason and logged
//! once.

use sagamore_transport::{Delivery, Record, wire};

/// The reason of a dead letter: the label `reason` of `sagamore_rejected_replies_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RejectReason {
    /// The transport cannot read the record.
    Unreadable,
    /// The record is not a valid reply.
    Undecodable(wire::Flaw),
    /// The sender is not the step's participant.
    Source,
    /// The saga's definition has no such step, or the step has no compensation.
    Step,
    /// No command of this generation was ever sent.
    Generation,
    /// The saga does not exist.
    NoSaga,
    /// The saga is set aside.
    SetAside,
    /// The database cannot store the reply.
    Unstorable,
}

impl RejectReason {
    fn as_str(self) -> &'static str {
        match self {
            RejectReason::Unreadable => "unreadable",
            RejectReason::Undecodable(flaw) => flaw.as_str(),
            RejectReason::Source => "source",
            RejectReason::Step => "step",
            RejectReason::Generation => "generation",
            RejectReason::NoSaga => "no-saga",
            RejectReason::SetAside => "set-aside",
            RejectReason::Unstorable => "unstorable",
        }
    }
}

/// Builds the dead letter of a reply, and logs and counts it.
pub(crate) fn reject(delivery: &Delivery, rejected: RejectReason, why: &str) -> Record {
    let Delivery { record, partition, offset, .. } = delivery;
    let (topic, reason) = (&*record.topic, rejected.as_str());
    tracing::warn!(topic, partition, offset, reason, why, "rejected reply: dead letter");
    metrics::counter!("sagamore_rejected_replies_total", "reason" => reason).increment(1);
    wire::dead_letter(delivery, why)
}
