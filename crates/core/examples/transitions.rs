//! Prints `docs/transitions.md`.

fn main() {
    print!("{}", sagamore_core::transitions::document());
}
