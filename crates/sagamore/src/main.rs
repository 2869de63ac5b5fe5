//! The program `sagamore`: a server with nothing built in.

use std::process::ExitCode;

/// Bodies of 100 KiB and more fragment the heap of glibc: four times what the live sagas take, measured by the example `memory`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sagamore::Program::named("sagamore").main()
}
