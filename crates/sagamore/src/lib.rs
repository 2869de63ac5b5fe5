//! Sagamore keeps business transactions consistent across services: when a step is refused, the
//! completed steps are compensated, even if processes crash meanwhile.
//!
//! This crate is the public interface. [`prelude`] is for services and definitions. [`Program`]
//! turns them into a server with an HTTP API and a command line. The other crates are available
//! under their short names.

#[cfg(feature = "server")]
#[macro_use]
pub mod output;

#[cfg(feature = "server")]
mod cli;

#[cfg(feature = "server")]
mod blueprint;
#[cfg(feature = "server")]
mod brokers;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
mod crew;
#[cfg(feature = "server")]
mod docs;
#[cfg(feature = "server")]
mod draw;
#[cfg(feature = "server")]
mod error;
#[cfg(feature = "server")]
mod http_participants;
#[cfg(feature = "server")]
pub mod invocation;
pub mod prelude;
#[cfg(feature = "server")]
pub mod program;
#[cfg(feature = "server")]
pub mod running;
#[cfg(feature = "server")]
mod saga_files;
#[cfg(feature = "server")]
mod stack;
#[cfg(feature = "server")]
mod stand_in;
#[cfg(feature = "server")]
pub mod story;
pub mod testing;
#[cfg(feature = "server")]
mod verb;

#[cfg(feature = "server")]
use sagamore_server::{client, clock, http, plain, problem, view};

#[cfg(feature = "server")]
pub use blueprint::Greeting;
#[cfg(feature = "server")]
pub use cli::args::{Format, FormatArgs};
#[cfg(feature = "server")]
pub use config::SAGAS_MAX;
#[cfg(feature = "server")]
pub use error::{BuildError, Error, ProgramError};
#[cfg(feature = "server")]
pub use http_participants::HttpParticipants;
#[cfg(feature = "server")]
pub use invocation::Invocation;
#[cfg(feature = "server")]
pub use output::Exit;
#[cfg(feature = "server")]
pub use program::Program;
#[cfg(feature = "server")]
pub use running::{Running, StartOptions};
/// The items that generated code refers to. Not a public interface.
#[doc(hidden)]
pub use sagamore_core::__private;
#[cfg(feature = "kafka")]
pub use sagamore_kafka as kafka;
#[cfg(feature = "server")]
pub use story::Story;
#[cfg(feature = "server")]
pub use {axum, clap};
pub use {
    sagamore_core as core, sagamore_database as database, sagamore_sdk as sdk,
    sagamore_transport as transport,
};
#[cfg(feature = "server")]
pub use {sagamore_engine as engine, sagamore_inspect as inspect, sagamore_server as server};
