//! Sagamore keeps a business transaction consistent across services: its completed steps are undone when a later one is
//! refused, whatever process dies in between.
//!
//! This crate is the public face: [`prelude`] for services and definitions, the crates underneath under their short names,
//! and the program `sagamore` (the command line, the HTTP server, and the embedded stack under them).

#[macro_use]
mod cli;

mod client;
mod clock;
mod config;
mod crew;
mod docs;
mod draw;
mod http;
mod metrics_help;
mod plain;
pub mod prelude;
mod problem;
mod stack;
pub mod testing;
mod view;
mod waiting;

use std::io::IsTerminal;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use cli::{Cli, Exit};

/// The names that generated code refers to. Not a public interface.
#[doc(hidden)]
pub use sagamore_core::__private;
pub use {axum, clap};
pub use {
    sagamore_core as core, sagamore_database as database, sagamore_engine as engine, sagamore_inspect as inspect,
    sagamore_kafka as kafka, sagamore_sdk as sdk, sagamore_transport as transport,
};

/// Runs the program `sagamore` to its end. Owns the runtime, the log lines and the signals.
#[doc(hidden)]
pub fn main() -> ExitCode {
    let cli = Cli::read();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            errln!("sagamore: start the runtime: {error}");
            return Exit::Error.code();
        }
    };
    let exit = runtime.block_on(cli::run(cli)).unwrap_or_else(|error| {
        errln!("sagamore: {}", plain::visible(&cli::causes(&error)));
        Exit::Error
    });
    // a task that hangs must not delay the end of the process
    runtime.shutdown_background();
    cli::finish(exit).code()
}
