//! The program `shop`.

use std::process::ExitCode;

/// Bodies of 100 KiB and more fragment the heap of glibc.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sagamore_shop::program().main()
}
