//! The model of a saga and its transitions. Pure: values in, values out.
//!
//! The crate has no clock, randomness, async, SQL, Kafka or HTTP: time and randomness are
//! arguments.

// The derives refer to the crate as `sagamore`.
extern crate self as sagamore;

pub mod body;
pub mod id;
pub mod limits;
pub mod time;

pub mod message;
pub mod trace;

pub mod announcement;

pub mod definition;
pub mod step_set;
mod validate;

pub mod builder;
pub mod typed;

pub mod saga;

pub mod journal;
mod wait;

pub mod apply;
mod command;
pub mod fault;
mod pause;
mod redraw;
pub mod timers;

mod decision;
mod drafting;

mod backward;
mod forward;
mod rescue;

pub mod decide;

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
pub use message::{Command, Event, Horizon, Outcome, Refusal, Reply, ReplyOutcome, ReplyTo, Swept};
pub use plan::Plan;
pub use rescue::Allowed;
pub use saga::Saga;
pub use sagamore_macros::{Message, Refusal};
pub use step_set::StepSet;
pub use time::Timestamp;
pub use timers::Timers;
pub use trace::TraceContext;
pub use typed::Message;

/// Items that the derives' generated code refers to. Not a public interface.
#[doc(hidden)]
pub mod __private {
    pub use serde;
    pub use serde_json::Value;

    pub use crate::message::{IntoRefusal, Refusal, is_reserved};
    pub use crate::typed::{
        Action, Field, FieldSchema, JsonSchema, Message, Mirror, Origin, Ref, Undoes, of_fields,
    };

    /// Compares strings in constants.
    pub const fn same(left: &str, right: &str) -> bool {
        let (left, right) = (left.as_bytes(), right.as_bytes());
        let mut index = 0;
        while index < left.len() && index < right.len() && left[index] == right[index] {
            index += 1;
        }
        index == left.len() && index == right.len()
    }
}
