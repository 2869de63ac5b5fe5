//! The result of one input: the commands to send and the entry to write.

use crate::id::Direction;
use crate::journal::{Change, Entry, StepChange};
use crate::message::Command;
use crate::saga::{Saga, StepStatus};
use crate::trace::TraceContext;

/// Attempts up to this number are all written. Later ones are written only if they are powers of
/// two.
const ATTEMPTS_WRITTEN: u32 = 8;

/// The result of one input: the saga after it, and the changes (never empty).
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The saga after all changes. Its revision is one higher, unless there is no entry to write.
    pub saga: Saga,
    /// The changes in the order in which they apply.
    pub changes: Vec<Change>,
    /// The input's trace, if it differs from the saga's.
    pub trace: Option<TraceContext>,
}

impl Decision {
    /// Returns the commands to send, in order. Send them even when there is no entry to write.
    pub fn commands(&self) -> impl Iterator<Item = Command> {
        self.changes.iter().filter_map(|change| {
            let (step, direction) = change.command()?;
            Some(self.saga.command(self.saga.definition.index_of(step)?, direction))
        })
    }

    /// Returns the saga and its journal entry; `None` when the decision only repeats an unanswered
    /// command.
    ///
    /// An unwritten repeat loses nothing. The command is already in the journal, every resend has
    /// its id, and a takeover resends it at once. Only the attempt count, the last fault and the
    /// current pause are lost.
    ///
    /// The journal of an indefinitely repeated command therefore grows only with the logarithm of
    /// its attempts.
    pub fn into_parts(mut self) -> (Saga, Option<Entry>) {
        self.changes.retain(|change| !is_repeat(&self.saga, change));
        let Decision { saga, changes, trace } = self;
        let entry = Entry { revision: saga.revision, at: saga.changed_at, changes, trace };
        let entry = Some(entry).filter(|entry| !entry.changes.is_empty());
        (saga, entry)
    }
}

/// Returns whether the change only repeats an unanswered command. Actions with limited attempts
/// have no repeats, because every attempt counts.
pub(crate) fn is_repeat(saga: &Saga, change: &Change) -> bool {
    let Change::Step { step, change } = change else { return false };
    let Some(index) = saga.definition.index_of(step) else { return false };
    let state = &saga.steps[index];
    let (undoing, repeats) = match change {
        StepChange::Asked { direction, attempt, .. } => (
            *direction == Direction::Compensation,
            *attempt > ATTEMPTS_WRITTEN && !attempt.is_power_of_two(),
        ),
        StepChange::Faulted { due: Some(_), .. } | StepChange::Silent { due: Some(_) } => {
            (state.status == StepStatus::Undoing, state.attempts >= ATTEMPTS_WRITTEN)
        }
        StepChange::Faulted { due: None, .. } | StepChange::Silent { due: None } => return false,
        StepChange::Done { .. } | StepChange::Refused { .. } => return false,
        StepChange::Undone | StepChange::UndoRefused { .. } => return false,
        StepChange::SetAside { .. } | StepChange::Rescued { .. } => return false,
        StepChange::Pending { .. } | StepChange::Absent { .. } => return false,
    };
    repeats && (undoing || saga.definition.steps[index].patience.attempts_max.is_none())
}
