//! What a saga is and what happens next. Pure: values in, values out.
//!
//! No clock, randomness, async, SQL, Kafka or HTTP in here: time and randomness are arguments.

// The derive macros name this crate by its published name, also when they are used inside it.
extern crate self as sagamore_core;

pub mod body;
pub mod id;
pub mod time;

pub mod message;

pub mod definition;
pub mod typed;
pub mod validate;

pub mod saga;

pub mod decide;

pub use body::Body;
pub use definition::Definition;
pub use id::{Direction, Name, SagaId, StepKey};
pub use message::{Command, Outcome, Refusal, Reply, ReplyTo};
pub use saga::Saga;
pub use time::Timestamp;
