//! A plan as a table. Each row is an event and one of its possible causes.

use crate::id::Name;
use crate::plan::{Part, Plan, Role};

/// One row of a plan's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row<'a> {
    /// The part that emits the event; `None` for the deadline.
    pub part: Option<&'a Name>,
    /// The event that causes it; `None` for the start of a chain.
    pub on: Option<&'a Name>,
    /// The event that is emitted.
    pub emits: &'a Name,
}

impl Plan {
    /// Returns every row, in the order of the parts. A reaction that waits for several events has a
    /// row for each. Its event names one of them as its cause.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let begins = Some(&self.begins.event);
        let deadline = self.overdue.as_ref().map(|emits| Row { part: None, on: begins, emits });
        self.parts().flat_map(|part| self.rows_of(part)).chain(deadline).collect()
    }

    fn rows_of<'a>(&'a self, part: Part<'a>) -> impl Iterator<Item = Row<'a>> {
        part.events().flat_map(move |(emits, role)| {
            let on = match role {
                Role::Success | Role::Failure => part.on,
                Role::Undone => part.undone_on(),
            };
            let begins = (role == Role::Success && on.is_empty()).then_some(None);
            // a pivot that is given up emits the first of its failures
            let given_up = part.pivot && part.fails.first() == Some(emits);
            let overdue = self.overdue.as_ref().filter(|_| given_up).map(Some);
            let on = begins.into_iter().chain(on.iter().map(Some)).chain(overdue);
            on.map(move |on| Row { part: Some(part.name), on, emits })
        })
    }
}
