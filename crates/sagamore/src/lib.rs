//! Sagamore keeps a business transaction consistent across services: its completed steps are undone when a later one is
//! refused, whatever process dies in between.
//!
//! This crate is the public face. [`prelude`] is for services and definitions, and [`Program`] makes of them a server with an
//! HTTP API and a command line of its own. The crates underneath are here under their short names.

#[macro_use]
pub mod output;

mod cli;

mod brokers;
pub mod config;
mod crew;
mod docs;
mod draw;
pub mod invocation;
pub mod prelude;
pub mod program;
pub mod running;
mod stack;
pub mod story;
pub mod testing;

use sagamore_server::{client, clock, http, plain, problem, view};

pub use cli::{Format, FormatArgs};
pub use invocation::Invocation;
pub use output::Exit;
pub use program::{BuildError, Greeting, Program};
pub use running::{Running, StartOptions};
/// The names that generated code refers to. Not a public interface.
#[doc(hidden)]
pub use sagamore_core::__private;
pub use stack::{Error, SAGAS_MAX};
pub use story::Story;
pub use {axum, clap};
pub use {
    sagamore_core as core, sagamore_database as database, sagamore_engine as engine, sagamore_inspect as inspect,
    sagamore_kafka as kafka, sagamore_sdk as sdk, sagamore_server as server, sagamore_transport as transport,
};
