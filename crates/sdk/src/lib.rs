//! What a service imports to take part in sagas: declare handlers as a [`Service`], and let a [`Participant`] run it.
//!
//! Barrier, business change and stored reply are one local transaction, whatever arrives and in whatever order.

pub mod decided;
pub mod error;

mod handler;
pub mod service;

mod intake;

pub mod barrier;
mod chunk;

mod meter;
mod outgoing;
pub mod participant;

pub use decided::{Decided, Fault, done, refused};
pub use error::Error;
pub use participant::{Options, Participant, Turned};
pub use service::Service;

pub use sagamore_core::message::{IntoRefusal, Never};
pub use sagamore_core::typed::{Action, Undoes};
pub use sagamore_core::{Body, Message, Name, Refusal, Timestamp};
pub use sagamore_database::{Database, Migration, Tx, Value};
