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
//! async fn greet(_: Tx, Greet { name }: Greet) -> Decided<Greeted, Never> {
//!     done(Greeted { text: format!("Hello, {name}!") })
//! }
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
mod options;
mod text;

mod keys;

mod handler;
pub mod reaction;
pub mod service;

pub mod barrier;

mod stored_event;

mod inbox;

mod emitted;
pub mod outbox;

mod unsynced;

mod relay;

mod work;

mod answer;

mod meter;

mod guard;

mod chunk;

mod load;

mod sweep;

mod retention;

mod turn;

mod announcer;

pub mod participant;

pub mod facts;
pub mod group_commit;
pub mod starter;
pub mod testing;

pub use decided::{Decided, Fault, done, refused};
pub use error::Error;
pub use group_commit::{GroupCommit, Submission};
pub use handler::CompensationHandler;
pub use options::Options;
pub use outbox::{ChainStart, Outbox, StartOutcome};
pub use participant::{Participant, TurnReport};
pub use reaction::{FailureEvent, Reaction, RefusalReport, on};
pub use service::Service;
pub use starter::{ChainStarter, StartRequest, StartsChain, start_alone, start_each};

#[doc(hidden)]
pub use sagamore_core::__private;
pub use sagamore_core::message::{IntoRefusal, Never};
pub use sagamore_core::typed::{Action, Undoes};
pub use sagamore_core::{Body, Message, Name, Refusal, Timestamp};
pub use sagamore_database::{Database, Migration, Tx, Value};
