//! The messages that the coordinator and the participants exchange. How they look on the wire is the transport's affair.

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::id::{Name, SagaId, StepKey};
use crate::time::Timestamp;
use crate::trace::TraceContext;

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
    /// After this moment a participant may skip the command silently: only on actions of compensatable steps with
    /// unlimited attempts, and only the first time they are asked, so that clocks that differ cost time and never
    /// progress. Every send stamps it.
    pub expires_at: Option<Timestamp>,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
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
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
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

/// Tells what happened: one link of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The chain, the reaction that tells it, and whether it did something or undid it: the key of the barrier's row.
    pub key: StepKey,
    /// The plan's version that the chain runs by.
    pub version: u32,
    /// What happened, and the topic that tells of it: `payment.success`.
    pub name: Name,
    /// The id of the event that led to this one; none for the one that began the chain.
    pub causation: Option<String>,
    /// How many events led to this one: 0 for the one that began the chain. Causal order goes by it, never by time.
    pub hop: u32,
    /// When it was told first, by the clock of who tells it.
    pub at: Timestamp,
    /// What there is to say.
    pub body: Body,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
}

/// Told to participants now and then, so that they can forget what will never be asked again: all sagas that started
/// before one moment had ended before another one, but these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Horizon {
    /// The first moment, so early that what a participant stamped before it belongs to a saga that started before it,
    /// whatever their clocks show.
    pub started_before: Timestamp,
    /// The second moment, by the clock of who tells it.
    pub ended_before: Timestamp,
    /// Sagas that started before this moment are not meant: who tells it may never have heard of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<Timestamp>,
    /// The definitions, or plans, whose sagas are meant. Of others it says nothing.
    pub definitions: Vec<Name>,
    /// The sagas that have not ended, or have done so since.
    pub but: Vec<SagaId>,
}

/// A participant's answer to a horizon: of the sagas that were meant, its barrier holds nothing from before this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// Who answers.
    pub participant: Name,
    /// The horizon's first moment.
    pub before: Timestamp,
}

/// Refusal codes that the SDK itself gives.
pub mod code {
    /// The action came after its compensation: it will never run.
    pub const ALREADY_COMPENSATED: &str = "already-compensated";
    /// The body could not be read as the message that the name promises.
    pub const UNDECODABLE: &str = "undecodable";
    /// The chain's deadline passed before the pivot had acted: it never will.
    pub const OVERDUE: &str = "overdue";
    /// The chain ended before the reaction had run: it never will.
    pub const ENDED: &str = "ended";
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

impl Event {
    /// `shop:10248/charge/action/1/payment.success`: the same however often it is sent.
    pub fn id(&self) -> String {
        format!("{}/{}", self.key.command_id(), self.name)
    }

    /// The chain.
    pub fn chain(&self) -> &SagaId {
        &self.key.saga
    }
}

impl Refusal {
    /// A refusal with a stable `code` and a `message` for people.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Refusal {
        Refusal { code: code.into(), message: message.into() }
    }
}

/// What a participant may say no with: a [`Refusal`], [`Never`], or any error enum.
///
/// An error's variant in kebab-case is the code, its `Display` the message:
/// `Declined::NotEnoughMoney` becomes `not-enough-money`.
pub trait IntoRefusal {
    /// The no as data.
    fn into_refusal(self) -> Refusal;
}

/// The refusal of what cannot refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

impl IntoRefusal for Refusal {
    fn into_refusal(self) -> Refusal {
        self
    }
}

impl<E: std::error::Error> IntoRefusal for E {
    fn into_refusal(self) -> Refusal {
        let debug = format!("{self:?}");
        let variant = debug.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap_or_default();
        Refusal::new(kebab_case(variant), self.to_string())
    }
}

impl std::error::Error for Never {}

impl std::fmt::Display for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

/// `NotEnoughMoney` -> `not-enough-money`.
fn kebab_case(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter == '_' || (letter.is_uppercase() && !text.is_empty() && !text.ends_with('-')) {
            text.push('-');
        }
        text.extend(letter.to_lowercase().filter(|lower| *lower != '_'));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Declined {
        #[error("the account holds too little")]
        NotEnoughMoney,
        #[error("no account of {customer}")]
        UnknownCustomer { customer: String },
        #[error("closed since {0}")]
        Closed(u32),
    }

    #[test]
    fn an_error_enum_is_a_refusal_with_its_variant_as_the_code() {
        let check = |declined: Declined, code, message| {
            assert_eq!(declined.into_refusal(), Refusal::new(code, message));
        };
        check(Declined::NotEnoughMoney, "not-enough-money", "the account holds too little");
        check(Declined::UnknownCustomer { customer: "VINET".into() }, "unknown-customer", "no account of VINET");
        check(Declined::Closed(1998), "closed", "closed since 1998");
    }

    #[test]
    fn a_refusal_stays_what_it_is() {
        let refusal = Refusal::new("out-of-stock", "none left");
        assert_eq!(refusal.clone().into_refusal(), refusal);
    }
}
