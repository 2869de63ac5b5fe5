//! The program `shop`: both stories and the verbs of the shop.

use sagamore::Program;

use crate::stories::stories;
use crate::{bench, replay};

/// The reference shop.
pub fn program() -> Program {
    let program = stories().command("replay", replay::run).command("bench", bench::run);
    match std::env::var_os(bench::VARIABLE) {
        Some(_) => program.saga(bench::definition),
        None => program,
    }
}
