//! What one input led to: what is to be sent, and what is to be written.

use crate::id::Direction;
use crate::journal::{Change, Entry};
use crate::message::Command;
use crate::saga::{Saga, StepStatus};
use crate::trace::TraceContext;

/// Up to this attempt every one is written; from then on only the attempts that are powers of two.
const ATTEMPTS_WRITTEN: u32 = 8;

/// What one input led to: the saga after it, and the changes that led there (never empty).
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The saga after all changes; its revision is one higher, unless nothing of this is to be written.
    pub saga: Saga,
    /// In order.
    pub changes: Vec<Change>,
    /// The trace that the input brought, where it is another one than before.
    pub trace: Option<TraceContext>,
}

impl Decision {
    /// The commands that this decision asks for, in order: to be sent also when nothing is to be written.
    pub fn commands(&self) -> impl Iterator<Item = Command> {
        self.changes.iter().filter_map(|change| match change {
            Change::Asked { step, direction, .. } => {
                let index = self.saga.definition.index_of(step)?;
                Some(self.saga.command(index, *direction))
            }
            Change::Started { .. } | Change::Done { .. } | Change::Refused { .. } | Change::Faulted { .. } => None,
            Change::Silent { .. } | Change::SetAside { .. } | Change::Undone { .. } => None,
            Change::UndoRefused { .. } | Change::TurnedBack { .. } | Change::Rescued(_) => None,
            Change::Stuck | Change::Resumed | Change::Completed | Change::Compensated => None,
        })
    }

    /// The saga, and the entry that its journal is to get; none when this only repeats a question that nobody answers.
    ///
    /// Not to write a repeat loses nothing: the question is written, and every repeat has its id. The saga that the
    /// journal tells of has asked and awaits an answer, as this one; whoever takes over asks again at once. Only how
    /// often it was asked, the last fault and the present pause are forgotten. So a question that is asked for ever
    /// writes a number of lines that grows with the logarithm of the attempts.
    pub fn into_parts(mut self) -> (Saga, Option<Entry>) {
        self.changes.retain(|change| !is_repeat(&self.saga, change));
        let Decision { saga, changes, trace } = self;
        let entry = Entry { revision: saga.revision, at: saga.changed_at, changes, trace };
        let entry = Some(entry).filter(|entry| !entry.changes.is_empty());
        (saga, entry)
    }
}

/// Whether the change, which led to this saga, says nothing but that a question is still unanswered. An action with a
/// limit of attempts has no repeats: it is counted how often it was asked.
pub(crate) fn is_repeat(saga: &Saga, change: &Change) -> bool {
    let Some(index) = change.step().and_then(|step| saga.definition.index_of(step)) else { return false };
    let state = &saga.steps[index];
    let (undoing, repeats) = match change {
        Change::Asked { direction, attempt, .. } => {
            (*direction == Direction::Compensation, *attempt > ATTEMPTS_WRITTEN && !attempt.is_power_of_two())
        }
        Change::Faulted { due: Some(_), .. } | Change::Silent { due: Some(_), .. } => {
            (state.status == StepStatus::Undoing, state.attempts >= ATTEMPTS_WRITTEN)
        }
        Change::Faulted { due: None, .. } | Change::Silent { due: None, .. } | Change::SetAside { .. } => return false,
        Change::Started { .. } | Change::Done { .. } | Change::Refused { .. } | Change::Undone { .. } => return false,
        Change::UndoRefused { .. } | Change::TurnedBack { .. } | Change::Rescued(_) | Change::Stuck => return false,
        Change::Resumed | Change::Completed | Change::Compensated => return false,
    };
    repeats && (undoing || saga.definition.steps[index].patience.attempts_max.is_none())
}
