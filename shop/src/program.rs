//! The program `shop`: both stories and the shop's own commands.

use sagamore::Program;

use crate::stories::stories;
use crate::{bench, replay};

/// Returns the reference shop.
pub fn program() -> Program {
    let program = stories().command("replay", replay::run).command("bench", bench::run);
    match std::env::var_os(bench::VARIABLE) {
        Some(_) => program.saga(bench::definition),
        None => program,
    }
}
