//! A chain as a list of steps, like a saga's: what was done, what is to come, what is undone.

use crate::definition::Kind;
use crate::plan::{Chain, Part, Role, Seen};
use crate::saga::StepStatus;

/// A part of a plan, and how far it has come in one chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage<'a> {
    /// The start or the reaction.
    pub part: Part<'a>,
    /// Where it stands.
    pub status: StepStatus,
    /// The event that says so; none of a part that has told nothing.
    pub told: Option<&'a Seen>,
}

impl Chain {
    /// The parts of the plan in its order; none when the plan's version is not known here.
    pub fn stages(&self) -> Vec<Stage<'_>> {
        let owed = self.owed();
        let awaited = self.waits_for();
        let stage = |part: Part<'_>| -> (StepStatus, Option<Role>) {
            let has = |role: Role| part.events().any(|(event, is)| is == role && self.seen_at(event).is_some());
            let owes = owed.iter().any(|wait| wait.reaction == *part.name);
            match () {
                () if owes => (StepStatus::Undoing, Some(Role::Success)),
                () if has(Role::Failure) => (StepStatus::Refused, Some(Role::Failure)),
                () if has(Role::Undone) => (StepStatus::Undone, Some(Role::Undone)),
                () if has(Role::Success) => (StepStatus::Done, Some(Role::Success)),
                () if awaited.iter().any(|wait| wait.reaction == *part.name) => (StepStatus::Asked, None),
                () => (StepStatus::Waiting, None),
            }
        };
        let told = |part: Part<'_>, role: Role| self.seen().iter().find(|seen| part.role(&seen.name) == Some(role));
        self.parts()
            .map(|part| {
                let (status, role) = stage(part);
                Stage { part, status, told: role.and_then(|role| told(part, role)) }
            })
            .collect()
    }
}

impl Part<'_> {
    /// What may happen to it, in the words of sagas.
    pub fn kind(&self) -> Kind {
        match (self.pivot, self.undo, self.fails) {
            (true, ..) => Kind::Pivot,
            (false, None, []) if !self.on.is_empty() => Kind::Retriable,
            (false, ..) => Kind::Compensatable,
        }
    }
}
