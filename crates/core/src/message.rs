//! The messages between coordinator and participants. The transport defines their wire format.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::id::{Name, SagaId, StepKey};
use crate::time::Timestamp;
use crate::trace::TraceContext;

/// A request to a participant to execute an action or a compensation.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Saga, step, direction and generation: the barrier's key and the source of the message id.
    pub key: StepKey,
    /// The version of the saga's definition.
    pub version: u32,
    /// The number of the attempt, from 1, for display. No decision depends on it.
    pub attempt: u32,
    /// The participant whose command topic receives the command.
    pub participant: Name,
    /// The message's name, such as `payment.charge`. A registry maps it to a handler.
    pub name: Name,
    /// The fields of the message. A compensation reads its action's output from the barrier
    /// instead.
    pub body: Body,
    /// The topic and partition of the reply, echoed by the participant.
    pub reply_to: ReplyTo,
    /// The moment after which a participant may skip the command silently. Every send updates it.
    ///
    /// Only the first attempt of a compensatable action with unlimited attempts has one. Differing
    /// clocks thus cost time, but never block a saga.
    pub expires_at: Option<Timestamp>,
    /// The trace of the command.
    pub trace: Option<TraceContext>,
}

/// A topic and one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    /// The reply topic, such as `sagamore.replies`.
    pub topic: String,
    /// The partition, chosen at the saga's start.
    pub partition: u32,
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The key of the answered command.
    pub key: StepKey,
    /// The result of the command, so far.
    pub outcome: ReplyOutcome,
    /// The trace that the saga continues after this reply.
    pub trace: Option<TraceContext>,
}

/// The content of a reply: the result of its command, or the reason why the result is not known
/// yet.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyOutcome {
    /// The command's result.
    Final(Outcome),
    /// The participant is still executing the command and replies again later. The command is not
    /// resent before this time has passed, at most [`PENDING_MAX`]. It is a duration, because
    /// clocks differ.
    Pending(Duration),
    /// The command may have taken effect. The text is the human-readable reason. Participants with
    /// a barrier never send it.
    Unknown(String),
    /// The queried action did not run, and its command never will. Only a query has this answer.
    Absent,
}

/// The longest delay that a pending reply may request.
pub const PENDING_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The result of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Success. The body is the step's output: the input of later steps and of its own undo.
    Done(Body),
    /// A business refusal. Stored, final, never retried automatically.
    Refused(Refusal),
    /// A technical failure. Nothing was stored and nothing took effect, so the command is resent
    /// later.
    Fault(String),
}

/// A participant's refusal of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable code for programs, such as `not-enough-money`.
    pub code: String,
    /// The human-readable reason.
    pub message: String,
}

/// A statement that something happened: one link of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The chain, the reaction that emits the event, and the direction: the key of the barrier's
    /// row.
    pub key: StepKey,
    /// The version of the chain's plan.
    pub version: u32,
    /// The event's name, which is also its topic, such as `payment.success`.
    pub name: Name,
    /// The id of the event that caused this one; `None` for a chain's first event.
    pub causation: Option<String>,
    /// The number of events before this one in the chain of causes, from 0. It defines the causal
    /// order; time does not.
    pub hop: u32,
    /// The time of the first emission, by the emitting service's clock.
    pub at: Timestamp,
    /// The event's payload.
    pub body: Body,
    /// The trace of the event.
    pub trace: Option<TraceContext>,
}

/// A periodic message to participants that lets them remove old barrier rows. All sagas that
/// started before `started_before` had ended before `ended_before`, except `but`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Horizon {
    /// An exclusive upper bound of the sagas' starts.
    ///
    /// It allows for differing clocks: any row stamped earlier by a participant belongs to a saga
    /// that started earlier.
    pub started_before: Timestamp,
    /// The moment before which the sagas had ended, by the publisher's clock.
    pub ended_before: Timestamp,
    /// An inclusive lower bound of the sagas' starts. The publisher may not know sagas that started
    /// earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<Timestamp>,
    /// The definitions or plans that the horizon covers. It states nothing about others.
    pub definitions: Vec<Name>,
    /// Sagas that have not ended, or ended only after `ended_before`.
    pub but: Vec<SagaId>,
}

/// A participant's answer to a horizon. Of the covered sagas, its barrier has no rows from before
/// this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// The participant that answers.
    pub participant: Name,
    /// The horizon's `started_before`.
    pub before: Timestamp,
}

/// Codes of the SDK's own refusals. `#[derive(Refusal)]` rejects them.
pub mod code {
    /// The action arrived after its compensation, and will never run.
    pub const ALREADY_COMPENSATED: &str = "already-compensated";
    /// The body does not deserialize into the named message.
    pub const UNDECODABLE: &str = "undecodable";
    /// The chain's deadline passed before the pivot acted. The pivot will never act.
    pub const OVERDUE: &str = "overdue";
    /// The chain ended before the reaction ran. The reaction will never run.
    pub const ENDED: &str = "ended";
    /// A newer generation of the same step has arrived.
    pub const SUPERSEDED: &str = "superseded";

    pub(super) const ALL: [&str; 5] =
        [ALREADY_COMPENSATED, UNDECODABLE, OVERDUE, ENDED, SUPERSEDED];
}

/// Returns whether a code belongs to the SDK. A `const fn`, because the derive evaluates it at
/// compile time.
#[doc(hidden)]
pub const fn is_reserved(code: &str) -> bool {
    let mut index = 0;
    while index < code::ALL.len() {
        if crate::__private::same(code, code::ALL[index]) {
            return true;
        }
        index += 1;
    }
    false
}

impl Command {
    /// Returns the command's id, such as `checkout:10248/charge-payment/action/1`. Every resend has
    /// the same id.
    pub fn id(&self) -> String {
        self.key.command_id()
    }

    /// Returns the saga that sends the command.
    pub fn saga(&self) -> &SagaId {
        &self.key.saga
    }
}

impl Reply {
    /// Returns the command's id followed by `/reply`. A stored reply that is resent has the same
    /// id.
    pub fn id(&self) -> String {
        format!("{}/reply", self.key.command_id())
    }
}

impl ReplyOutcome {
    /// Returns the command's result; `None` while it is pending or unknown.
    pub fn result(self) -> Option<Outcome> {
        match self {
            ReplyOutcome::Final(outcome) => Some(outcome),
            ReplyOutcome::Pending(_) | ReplyOutcome::Unknown(_) | ReplyOutcome::Absent => None,
        }
    }
}

impl From<Outcome> for ReplyOutcome {
    fn from(outcome: Outcome) -> ReplyOutcome {
        ReplyOutcome::Final(outcome)
    }
}

impl Event {
    /// Returns the event's id, such as `shop:10248/charge/action/1/payment.success`. Every resend
    /// has the same id.
    pub fn id(&self) -> String {
        format!("{}/{}", self.key.command_id(), self.name)
    }

    /// Returns the id of the chain.
    pub fn chain(&self) -> &SagaId {
        &self.key.saga
    }
}

impl Refusal {
    /// Builds a refusal with a stable `code` and a human-readable `message`.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Refusal {
        Refusal { code: code.into(), message: message.into() }
    }
}

/// A type that a handler can refuse with: one with `#[derive(Refusal)]`, a [`Refusal`], or
/// [`Never`].
///
/// ```
/// # extern crate sagamore_core as sagamore;
/// use sagamore::Refusal;
/// use sagamore::message::IntoRefusal;
///
/// #[derive(Debug, Refusal)]
/// enum Declined {
///     #[refusal(code = "not-enough-money", message = "the account holds too little")]
///     NotEnoughMoney,
///     #[refusal(code = "unknown-customer", message = "{0} has no account")]
///     Unknown(String),
/// }
///
/// let refusal = Declined::Unknown("VINET".into()).into_refusal();
/// assert_eq!(refusal, Refusal::new("unknown-customer", "VINET has no account"));
/// ```
/// The code is part of the protocol and must be explicit. The variant's name is not a code:
/// ```compile_fail
/// # extern crate sagamore_core as sagamore;
/// #[derive(Debug, sagamore::Refusal)]
/// enum Declined {
///     #[refusal(message = "the account holds too little")]
///     NotEnoughMoney, // it has no refusal code: write `#[refusal(code = "..")]` above it
/// }
/// ```
/// The SDK's own codes are reserved:
/// ```compile_fail,E0080
/// # extern crate sagamore_core as sagamore;
/// #[derive(Debug, sagamore::Refusal)]
/// #[refusal(code = "undecodable", message = "unreadable")]
/// struct Unreadable;
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler cannot refuse with `{Self}`: it has no refusal code",
    note = "write `#[derive(Refusal)]` on it, and `#[refusal(code = \"..\")]` above each variant"
)]
pub trait IntoRefusal {
    /// Converts the value into the refusal that is stored and sent.
    fn into_refusal(self) -> Refusal;
}

/// The refusal type of a handler that never refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

impl IntoRefusal for Refusal {
    fn into_refusal(self) -> Refusal {
        self
    }
}

impl IntoRefusal for Never {
    fn into_refusal(self) -> Refusal {
        match self {}
    }
}

impl std::error::Error for Never {}

impl std::fmt::Display for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use sagamore_macros::Refusal;

    use super::*;

    #[derive(Debug, thiserror::Error, Refusal)]
    enum Declined {
        #[error("the account holds too little")]
        #[refusal(code = "not-enough-money")]
        Short,
        #[error("no account of {customer}")]
        #[refusal(code = "unknown-customer")]
        Unknown { customer: String },
    }

    #[derive(Debug, Refusal)]
    enum Rejected<T: std::fmt::Debug> {
        #[refusal(code = "taken", message = "{{{1}}} is taken by {0:?}")]
        Taken(T, u32),
        #[refusal(code = "closed-since", message = "closed since {year:04}")]
        Closed {
            year: u32,
            #[expect(dead_code, reason = "a message need not name every field")]
            month: u32,
        },
        #[refusal(code = "gone", message = "gone")]
        Gone,
    }

    #[derive(Debug, Refusal)]
    #[refusal(code = "out-of-stock", message = "no {sku} left")]
    struct OutOfStock {
        sku: &'static str,
    }

    #[derive(Refusal)]
    enum Impossible {}

    impl std::fmt::Display for Impossible {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match *self {}
        }
    }

    fn check(refusal: impl IntoRefusal, code: &str, message: &str) {
        assert_eq!(refusal.into_refusal(), Refusal::new(code, message));
    }

    #[test]
    fn a_refusal_has_the_code_of_its_variant_and_its_display_as_the_message() {
        check(Declined::Short, "not-enough-money", "the account holds too little");
        check(
            Declined::Unknown { customer: "VINET".into() },
            "unknown-customer",
            "no account of VINET",
        );
    }

    #[test]
    fn a_derived_message_names_fields() {
        check(Rejected::Taken("ADA", 7), "taken", "{7} is taken by \"ADA\"");
        check(Rejected::<()>::Closed { year: 998, month: 1 }, "closed-since", "closed since 0998");
        check(Rejected::<()>::Gone, "gone", "gone");
        check(OutOfStock { sku: "11" }, "out-of-stock", "no 11 left");
    }

    #[test]
    fn a_refusal_converts_into_itself() {
        check(Refusal::new("out-of-stock", "none left"), "out-of-stock", "none left");
        assert!(None::<Impossible>.map(IntoRefusal::into_refusal).is_none());
    }

    #[test]
    fn the_codes_of_the_sdk_are_reserved() {
        assert!(is_reserved(code::OVERDUE) && is_reserved(code::UNDECODABLE));
        assert!(!is_reserved("overdue-book") && !is_reserved("end") && !is_reserved(""));
    }
}
