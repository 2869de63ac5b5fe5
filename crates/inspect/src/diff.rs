//! The differences between two versions of a definition or plan, in words.
//!
//! Versions that are not retired run beside each other, and their participants handle the commands
//! of all. Across them a message name has one schema, which gains optional fields only: every other
//! change of a message is incompatible.

mod definition;
mod found;
mod plan;

use std::fmt;

pub use definition::of_definitions;
pub use found::Difference;
pub use plan::of_plans;

/// The differences between two versions, for a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a>(pub &'a [Difference]);

/// Writes a line for each difference, and whether the messages stay compatible.
impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Text(differences) = self;
        for Difference { detail, incompatible } in *differences {
            let mark = if *incompatible { "incompatible: " } else { "" };
            writeln!(f, "{mark}{detail}")?;
        }
        match differences.iter().filter(|one| one.incompatible).count() {
            _ if differences.is_empty() => writeln!(f, "no difference"),
            0 => writeln!(f, "all messages stay compatible"),
            1 => writeln!(f, "1 change of a message is incompatible"),
            count => writeln!(f, "{count} changes of messages are incompatible"),
        }
    }
}

#[cfg(test)]
mod tests;
