//! The `sagamore` program: the command line, the HTTP server, and the embedded stack under them.

#[macro_use]
mod cli;

mod asyncapi;
mod client;
mod clock;
mod config;
mod crew;
mod docs;
mod draw;
mod files;
mod graph;
mod http;
mod metrics_help;
mod plain;
mod problem;
mod stack;
mod view;
mod waiting;

use std::io::IsTerminal;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use cli::{Cli, Exit};

/// Bodies of 100 KiB and more fragment the heap of glibc: four times what the live sagas take, measured by the example `memory`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
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
    // whatever still hangs must not hold up the end of the process
    runtime.shutdown_background();
    cli::finish(exit).code()
}
