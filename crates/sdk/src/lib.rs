//! What a service imports to take part in sagas: declare handlers as a [`Service`], and let a [`Participant`] run it.
//!
//! Barrier, business change and stored reply are one local transaction, whatever arrives and in whatever order.
//!
//! ```
//! # extern crate sagamore_sdk as sagamore;
//! use std::sync::Arc;
//!
//! use sagamore_core::{Body, Command, Direction, Outcome, ReplyTo, StepKey};
//! use sagamore_sdk::{Database, Decided, Message, Never, Options, Participant, Service, Timestamp, Tx, done};
//! use sagamore_transport::wire::{decode_reply, encode_command};
//! use sagamore_transport::{Log, MemoryDisk, Subscription, Transport, log};
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
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let log = Arc::new(Log::on(Arc::new(MemoryDisk::new()), log::Options::default())?);
//!     let service = Service::named("greeter").action(greet).compensation::<Apologize>(apologize);
//!     let mut greeter = Participant::new(service, Database::memory(), log.clone(), Options::default());
//!     greeter.turn(Timestamp(0), &mut fastrand::Rng::new()).await?; // it comes up
//!
//!     log.create_topic("replies", 1).await?;
//!     let key = StepKey { saga: "party:1".parse()?, step: "greet".parse()?, direction: Direction::Action, generation: 1 };
//!     let (name, body) = (Greet::NAME.parse()?, Body::of(&Greet { name: "Ada".into() })?);
//!     let (participant, reply_to) = ("greeter".parse()?, ReplyTo { topic: "replies".into(), partition: 0 });
//!     let command = Command { key, version: 1, attempt: 1, participant, name, body, reply_to, expires_at: None, trace: None };
//!     log.publish(vec![encode_command(&command, Timestamp(0))]).await?;
//!     greeter.turn(Timestamp(0), &mut fastrand::Rng::new()).await?; // `greeter.run(shutdown)` does it for ever
//!
//!     let wanted = Subscription { group: "me".into(), topics: vec!["replies".into()], partitions: None };
//!     let reply = decode_reply(&log.subscribe(wanted).await?.poll(1).await?[0].record)?;
//!     assert_eq!(reply.outcome, Outcome::Done(Body::parse(r#"{"text":"Hello, Ada!"}"#)?));
//!     Ok(())
//! }
//! ```

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
mod sweep;
pub mod testing;
mod unsynced;

pub use decided::{Decided, Fault, done, refused};
pub use error::Error;
pub use group_commit::{GroupCommit, Wanted};
pub use handler::CompensationHandler;
pub use outbox::{ChainStart, Outbox, StartOutcome};
pub use participant::{Options, Participant, Turned};
pub use reaction::{Heard, Reaction, Told, on};
pub use service::Service;

#[doc(hidden)]
pub use sagamore_core::__private;
pub use sagamore_core::message::{IntoRefusal, Never};
pub use sagamore_core::typed::{Action, Undoes};
pub use sagamore_core::{Body, Message, Name, Refusal, Timestamp};
pub use sagamore_database::{Database, Migration, Tx, Value};
