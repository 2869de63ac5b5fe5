//! The differences between two versions of a definition or plan, in words.
//!
//! Versions that are not retired run beside each other, and their participants handle the commands
//! of all. Across them a message name has one schema, which gains optional fields only: every other
//! change of a message is incompatible.

mod definition;
mod plan;
mod schema;

use std::fmt;

use serde::Serialize;

pub use definition::of_definitions;
pub use plan::of_plans;

/// One difference between two versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The difference in one sentence.
    pub detail: String,
    /// Whether a participant cannot handle the message of both versions. The sentence says why.
    pub incompatible: bool,
}

/// The differences between two versions, for a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a>(pub &'a [Difference]);

impl Difference {
    fn compatible(detail: impl Into<String>) -> Difference {
        Difference { detail: detail.into(), incompatible: false }
    }

    fn incompatible(detail: impl Into<String>) -> Difference {
        Difference { detail: detail.into(), incompatible: true }
    }
}

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

/// The differences found so far.
#[derive(Default)]
struct Found(Vec<Difference>);

impl Found {
    fn say(&mut self, detail: impl Into<String>) {
        self.0.push(Difference::compatible(detail));
    }

    /// Reports two values that differ: `WHAT NEW, was OLD`.
    fn value<T: PartialEq + fmt::Display>(&mut self, what: &str, old: &T, new: &T) {
        if old != new {
            self.say(format!("{what} {new}, was {old}"));
        }
    }

    /// Reports two optional values that differ; an absent one is `absent`.
    fn option<T: PartialEq + fmt::Display>(
        &mut self,
        what: &str,
        absent: &str,
        old: Option<T>,
        new: Option<T>,
    ) {
        let shown = |value: &Option<T>| value.as_ref().map_or(absent.to_owned(), T::to_string);
        if old != new {
            self.say(format!("{what} {}, was {}", shown(&new), shown(&old)));
        }
    }

    /// Reports the members that a set gains and loses.
    fn set<T: PartialEq + fmt::Display>(&mut self, what: &str, of: &str, old: &[T], new: &[T]) {
        for gained in new.iter().filter(|item| !old.contains(item)) {
            self.say(format!("{what} gains the {of} '{gained}'"));
        }
        for lost in old.iter().filter(|item| !new.contains(item)) {
            self.say(format!("{what} loses the {of} '{lost}'"));
        }
    }
}

/// Joins names: `'a'`, `'a' and 'b'`, or `absent` for none.
fn joined<T: fmt::Display>(names: impl IntoIterator<Item = T>, absent: &str) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("'{name}'")).collect();
    if names.is_empty() { absent.to_owned() } else { names.join(" and ") }
}

#[cfg(test)]
mod tests;
