//! The differences found so far.

use std::fmt;

use sagamore_schema::SchemaChange;
use serde::Serialize;
use serde_json::Value;

/// One difference between two versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The difference in one sentence.
    pub detail: String,
    /// Whether a participant cannot handle the message of both versions. `detail` states the
    /// reason.
    pub incompatible: bool,
}

impl Difference {
    pub(super) fn compatible(detail: impl Into<String>) -> Difference {
        Difference { detail: detail.into(), incompatible: false }
    }

    pub(super) fn incompatible(detail: impl Into<String>) -> Difference {
        Difference { detail: detail.into(), incompatible: true }
    }
}

impl From<SchemaChange> for Difference {
    fn from(change: SchemaChange) -> Difference {
        let SchemaChange { detail, incompatible } = change;
        Difference { detail, incompatible }
    }
}

/// Returns the differences of two schemas of `what`, either of which may be absent.
pub(super) fn schema_changes(
    what: &str,
    old: Option<&Value>,
    new: Option<&Value>,
) -> Vec<Difference> {
    match (old, new) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec![Difference::compatible(format!("{what} gains a schema"))],
        (Some(_), None) => vec![Difference::compatible(format!("{what} loses its schema"))],
        (Some(old), Some(new)) => {
            sagamore_schema::compare(what, old, new).into_iter().map(Difference::from).collect()
        }
    }
}

/// The differences found so far.
#[derive(Default)]
pub(super) struct Found(pub Vec<Difference>);

impl Found {
    pub fn say(&mut self, detail: impl Into<String>) {
        self.0.push(Difference::compatible(detail));
    }

    /// Reports two values that differ: `WHAT NEW, was OLD`.
    pub fn value<T: PartialEq + fmt::Display>(&mut self, what: &str, old: &T, new: &T) {
        if old != new {
            self.say(format!("{what} {new}, was {old}"));
        }
    }

    /// Reports two optional values that differ; an absent one is `absent`.
    pub fn option<T: PartialEq + fmt::Display>(
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
    pub fn set<T: PartialEq + fmt::Display>(&mut self, what: &str, of: &str, old: &[T], new: &[T]) {
        for gained in new.iter().filter(|item| !old.contains(item)) {
            self.say(format!("{what} gains the {of} '{gained}'"));
        }
        for lost in old.iter().filter(|item| !new.contains(item)) {
            self.say(format!("{what} loses the {of} '{lost}'"));
        }
    }
}

/// Joins names: `'a'`, `'a' and 'b'`, or `absent` for none.
pub(super) fn joined<T: fmt::Display>(names: impl IntoIterator<Item = T>, absent: &str) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("'{name}'")).collect();
    if names.is_empty() { absent.to_owned() } else { names.join(" and ") }
}
