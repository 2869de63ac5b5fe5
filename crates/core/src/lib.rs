//! What a saga is and what happens next. Pure: values in, values out.
//!
//! No clock, randomness, async, SQL, Kafka or HTTP in here: time and randomness are arguments.

// The derive macros name this crate by its published name, also when they are used inside it.
extern crate self as sagamore_core;

pub mod body;
pub mod id;
pub mod limits;
pub mod time;

pub mod message;
pub mod trace;

pub mod definition;
pub mod validate;

pub mod builder;
pub mod typed;

mod journal;
pub mod saga;

pub mod apply;
mod command;
pub mod decide;
mod decision;
pub mod fault;
mod redraw;
pub mod timers;

mod backward;
mod forward;
mod rescue;

#[doc(hidden)]
pub mod planted;
#[doc(hidden)]
pub mod transitions;

pub mod script;

pub mod plan;

pub use body::Body;
pub use decide::{Decision, decide};
pub use definition::Definition;
pub use id::{Direction, Name, SagaId, StepKey};
pub use message::{Command, Event, Horizon, Outcome, Refusal, Reply, ReplyTo, Swept};
pub use plan::Plan;
pub use rescue::Allowed;
pub use saga::Saga;
pub use sagamore_macros::Message;
pub use time::Timestamp;
pub use timers::Timers;
pub use trace::TraceContext;
pub use typed::Message;

/// What the derive macros write out refers to; not for people.
#[doc(hidden)]
pub mod __private {
    pub use serde;

    pub const fn same(left: &str, right: &str) -> bool {
        let (left, right) = (left.as_bytes(), right.as_bytes());
        let mut index = 0;
        while index < left.len() && index < right.len() && left[index] == right[index] {
            index += 1;
        }
        index == left.len() && index == right.len()
    }
}
