//! A chain as a list of steps, like those of a saga.

use crate::definition::Kind;
use crate::plan::{Chain, Part, Role, Seen};
use crate::saga::StepStatus;

/// A part of a plan and its progress in one chain.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Stage<'a> {
    pub part: Part<'a>,
    pub status: StepStatus,
    /// The event that reports the status; `None` if the part has emitted nothing.
    pub told: Option<&'a Seen>,
}

impl Chain {
    /// Returns the parts of the plan in order; empty if the plan's version is unknown.
    pub fn stages(&self) -> Vec<Stage<'_>> {
        let owed = self.owed();
        let awaited = self.waits_for();
        let stage = |part: Part<'_>| -> (StepStatus, Option<Role>) {
            let has = |role: Role| {
                part.events().any(|(event, is)| is == role && self.seen_at(event).is_some())
            };
            let owes = owed.iter().any(|wait| wait.reaction == *part.name);
            match () {
                () if owes => (StepStatus::Undoing, Some(Role::Success)),
                () if has(Role::Failure) => (StepStatus::Refused, Some(Role::Failure)),
                () if has(Role::Undone) => (StepStatus::Undone, Some(Role::Undone)),
                () if has(Role::Success) => (StepStatus::Done, Some(Role::Success)),
                () if awaited.iter().any(|wait| wait.reaction == *part.name) => {
                    (StepStatus::Asked, None)
                }
                () => (StepStatus::Waiting, None),
            }
        };
        let told = |part: Part<'_>, role: Role| {
            self.seen().iter().find(|seen| part.role(&seen.name) == Some(role))
        };
        self.parts()
            .map(|part| {
                let (status, role) = stage(part);
                Stage { part, status, told: role.and_then(|role| told(part, role)) }
            })
            .collect()
    }
}

impl Part<'_> {
    /// Returns the part's kind in the terms of a saga.
    pub fn kind(&self) -> Kind {
        match (self.pivot, self.undo, self.fails) {
            (true, ..) => Kind::Pivot,
            (false, None, []) if !self.on.is_empty() => Kind::Retriable,
            (false, ..) => Kind::Compensatable,
        }
    }
}
