//! The participant's side of a saga. Declare handlers as a [`Service`], test it with a
//! [`TestService`](testing::TestService), and run it as a [`Participant`].
//!
//! Barrier, business change and stored reply are one local transaction, for messages in any order
//! and any number.
//!
//! ```
//! # extern crate sagamore_sdk as sagamore;
//! use sagamore::testing::TestService;
//! use sagamore::{Decided, Message, Never, Service, Tx, done};
//!
//! #[derive(Message)]
//! #[message(to = "greeter", yields = Greeted)]
//! struct Greet { name: String }
//! #[derive(Message)]
//! struct Greeted { text: String }
//! #[derive(Message)]
//! #[message(to = "greeter", undoes = Greet)]
//! struct Apologize;
//!
//! async fn greet(_: Tx, Greet { name }: Greet) -> Decided<Greeted, Never> { done(Greeted { text: format!("Hello, {name}!") }) }
//! async fn apologize(_: Tx, _: Greeted) -> Decided<(), Never> { done(()) }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() {
//!     let service = Service::named("greeter").action(greet).compensation::<Apologize>(apologize);
//!     let greeter = TestService::of(service).await;
//!     let greeting = greeter.send(Greet { name: "Ada".into() }).await;
//!     assert_eq!(greeting.done().text, "Hello, Ada!");
//!     greeter.undo(&greeting, Apologize).await.done();
//! }
//! ```
//! To run the service in a process: `Participant::new(service, database, transport,
//! options).run(shutdown)`.

extern crate self as sagamore; // for the derives

pub mod decided;
pub mod error;

mod keys;

mod handler;
pub mod reaction;
pub mod service;

mod intake;

pub mod barrier;
mod chunk;
mod guard;

mod emitted;
pub mod facts;
pub mod group_commit;
mod inbox;
mod load;
mod meter;
pub mod outbox;
mod outgoing;
pub mod participant;
mod relay;
pub mod starter;
mod sweep;
pub mod testing;
mod unsynced;

pub use decided::{Decided, Fault, done, refused};
pub use error::Error;
pub use group_commit::{GroupCommit, Submission};
pub use handler::CompensationHandler;
pub use outbox::{ChainStart, Outbox, StartOutcome};
pub use participant::{Options, Participant, TurnReport};
pub use reaction::{FailureEvent, Reaction, RefusalReport, on};
pub use service::Service;
pub use starter::{ChainStarter, StartRequest, StartsChain, start_alone, start_each};

#[doc(hidden)]
pub use sagamore_core::__private;
pub use sagamore_core::message::{IntoRefusal, Never};
pub use sagamore_core::typed::{Action, Undoes};
pub use sagamore_core::{Body, Message, Name, Refusal, Timestamp};
pub use sagamore_database::{Database, Migration, Tx, Value};
