//! The program `sagamore`, without built-in services.

use std::process::ExitCode;

/// Bodies of 100 KiB and more fragment glibc's heap to four times the size of the live sagas, as
/// the example `memory` measures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sagamore::Program::named("sagamore").main()
}
