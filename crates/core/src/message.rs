//! The messages that the coordinator and the participants exchange. How they look on the wire is the transport's affair.

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::id::{Name, SagaId, StepKey};
use crate::time::Timestamp;

/// Asks a participant to carry out an action or a compensation.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Saga, step, direction and generation: the barrier's key, and the source of the message id.
    pub key: StepKey,
    /// The definition's version that the saga runs by.
    pub version: u32,
    /// Which try this is, from 1; only for people: nothing depends on it.
    pub attempt: u32,
    /// The participant, whose command topic it goes to.
    pub participant: Name,
    /// What is asked: `payment.charge`. A registry maps it to a handler.
    pub name: Name,
    /// The fields of the message. A compensation finds its action's output in the barrier, not here.
    pub body: Body,
    /// Where the reply goes; echoed by the participant.
    pub reply_to: ReplyTo,
    /// After this moment a participant may skip the command silently: only on actions of compensatable steps.
    pub expires_at: Option<Timestamp>,
    /// W3C trace context, carried on.
    pub traceparent: Option<String>,
}

/// A topic and one partition of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    /// The reply topic, `sagamore.replies`.
    pub topic: String,
    /// The partition, chosen when the saga starts.
    pub partition: u32,
}

/// Answers one command.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The key of the command that is answered.
    pub key: StepKey,
    /// What came of it.
    pub outcome: Outcome,
    /// W3C trace context, carried on.
    pub traceparent: Option<String>,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It holds. The body is the step's output: all that later steps and its own undo need.
    Done(Body),
    /// The business says no. Stored, final, never retried by itself.
    Refused(Refusal),
    /// Something broke; nothing was stored, and nothing happened. Ask again later.
    Fault(String),
}

/// A participant's no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable, for programs: `not-enough-money`.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Refusal codes that the SDK itself gives.
pub mod code {
    /// The action came after its compensation: it will never run.
    pub const ALREADY_COMPENSATED: &str = "already-compensated";
    /// The body could not be read as the message that the name promises.
    pub const UNDECODABLE: &str = "undecodable";
    /// A newer generation of the same step has been seen.
    pub const SUPERSEDED: &str = "superseded";
}

impl Command {
    /// `checkout:10248/charge-payment/action/1`: the same however often it is sent.
    pub fn id(&self) -> String {
        self.key.command_id()
    }

    /// The saga that asks.
    pub fn saga(&self) -> &SagaId {
        &self.key.saga
    }
}

impl Reply {
    /// The command's id with `/reply` behind it: a stored reply that is sent again has the same id.
    pub fn id(&self) -> String {
        format!("{}/reply", self.key.command_id())
    }
}

impl Refusal {
    /// A refusal with a stable `code` and a `message` for people.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Refusal {
        Refusal { code: code.into(), message: message.into() }
    }
}
