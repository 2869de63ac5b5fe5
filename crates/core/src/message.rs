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

/// Codes of the refusals that the SDK itself returns. `#[derive(Refusal)]` rejects them.
pub mod code {
    /// The action arrived after its compensation: it will never run.
    pub const ALREADY_COMPENSATED: &str = "already-compensated";
    /// The body cannot be read as the message that the name promises.
    pub const UNDECODABLE: &str = "undecodable";
    /// The chain's deadline passed before the pivot had acted: it never will.
    pub const OVERDUE: &str = "overdue";
    /// The chain ended before the reaction had run: it never will.
    pub const ENDED: &str = "ended";
    /// A newer generation of the same step has arrived.
    pub const SUPERSEDED: &str = "superseded";

    pub(super) const ALL: [&str; 5] = [ALREADY_COMPENSATED, UNDECODABLE, OVERDUE, ENDED, SUPERSEDED];
}

/// Whether a code belongs to the SDK. A constant, so that the derive can check it.
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

/// A value that a handler can refuse with: a type with `#[derive(Refusal)]`, a [`Refusal`], or [`Never`].
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
/// The code is part of the protocol and has to be written down. The name of a variant is not:
/// ```compile_fail
/// # extern crate sagamore_core as sagamore;
/// #[derive(Debug, sagamore::Refusal)]
/// enum Declined {
///     #[refusal(message = "the account holds too little")]
///     NotEnoughMoney, // `NotEnoughMoney` has no refusal code: write `#[refusal(code = "..")]` above it
/// }
/// ```
/// Codes of the SDK itself are reserved:
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
    /// The refusal as it is stored and sent.
    fn into_refusal(self) -> Refusal;
}

/// The refusal of a handler that cannot refuse.
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
        check(Declined::Unknown { customer: "VINET".into() }, "unknown-customer", "no account of VINET");
    }

    #[test]
    fn a_derived_message_names_fields() {
        check(Rejected::Taken("ADA", 7), "taken", "{7} is taken by \"ADA\"");
        check(Rejected::<()>::Closed { year: 998, month: 1 }, "closed-since", "closed since 0998");
        check(Rejected::<()>::Gone, "gone", "gone");
        check(OutOfStock { sku: "11" }, "out-of-stock", "no 11 left");
    }

    #[test]
    fn a_refusal_stays_what_it_is() {
        check(Refusal::new("out-of-stock", "none left"), "out-of-stock", "none left");
        assert!(None::<Impossible>.map(IntoRefusal::into_refusal).is_none());
    }

    #[test]
    fn the_codes_of_the_sdk_are_reserved() {
        assert!(is_reserved(code::OVERDUE) && is_reserved(code::UNDECODABLE));
        assert!(!is_reserved("overdue-book") && !is_reserved("end") && !is_reserved(""));
    }
}
