//! A participant in this process that reacts to events in place of an HTTP service.

use std::future::Future;
use std::pin::Pin;

use sagamore_core::plan::{Part, Plan};
use sagamore_core::{Body, Direction, Name, Refusal};

/// A call of a reaction or of its undo.
pub struct LocalCall<'a> {
    /// The plan of the chain.
    pub plan: &'a Plan,
    /// The reaction.
    pub part: Part<'a>,
    /// Whether to react or to undo.
    pub direction: Direction,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// The data of the events, in the order of the plan.
    pub events: Vec<Body>,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum LocalAnswer {
    /// Done, with this event. An undo may leave the event to the plan.
    Done(Option<(Name, Body)>),
    /// Refused, with this failure event.
    Failed(Name, Body),
    /// Refused for this reason. The plan's first failure event reports it.
    Refused(Refusal),
    /// Not possible now: the call is repeated.
    Fault(String),
}

/// The future of an answer.
pub type LocalFuture<'a> = Pin<Box<dyn Future<Output = LocalAnswer> + Send + 'a>>;

/// A participant in this process. A crash repeats calls, as for an HTTP service.
pub trait LocalParticipant: Send + Sync {
    /// Executes a reaction.
    fn react<'a>(&'a self, call: LocalCall<'a>) -> LocalFuture<'a>;
}
