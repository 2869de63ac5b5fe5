//! Compensation: whether it is still possible, which steps are next, and how replies to undo
//! commands are handled.

use crate::decide::{Outlook, Turn, bit, members};
use crate::definition::Kind;
use crate::message::Outcome;
use crate::planted::{Bug, planted};
use crate::saga::{Cause, Change, Ignored, Saga, StepStatus};

/// Returns whether the pivot's command was sent and not refused. From then on the saga only goes
/// forward.
pub(crate) fn is_past_return(saga: &Saga) -> bool {
    saga.definition.steps.iter().zip(&saga.steps).any(|(plan, step)| match step.status {
        StepStatus::Waiting | StepStatus::Refused => false,
        StepStatus::Asked | StepStatus::Unknown | StepStatus::Done | StepStatus::Skipped => {
            plan.kind == Kind::Pivot
        }
        StepStatus::Undoing | StepStatus::Undone | StepStatus::UndoFailed => false,
    })
}

/// Cancels the saga. A saga that never started ends at once as compensated, without any command.
pub(crate) fn cancel(turn: &mut Turn<'_>, reason: Option<String>) -> Result<(), Ignored> {
    if turn.saga.cause.is_some() {
        return Err(Ignored::AlreadyGoingBack);
    }
    if is_past_return(&turn.saga) {
        return Err(Ignored::TooLate);
    }
    turn.resume();
    turn.turn_back_because(Cause::Cancelled, reason);
    Ok(())
}

/// Finds the next steps to undo. A step is ready when it is done or unknown and no later step owes
/// an undo.
///
/// Siblings are therefore undone side by side. A refused undo blocks only the steps before it.
pub(crate) fn outlook(saga: &Saga) -> Outlook {
    let (mut owed, mut undoable, mut flying) = (0, 0, false);
    for (index, step) in saga.steps.iter().enumerate() {
        match step.status {
            StepStatus::Unknown if planted(Bug::LostUndo) => continue,
            StepStatus::Asked if planted(Bug::SiblingsForgotten) => continue,
            StepStatus::Skipped if step.may_have_happened => undoable |= bit(index),
            StepStatus::Waiting
            | StepStatus::Refused
            | StepStatus::Undone
            | StepStatus::Skipped => continue,
            StepStatus::Done | StepStatus::Unknown => undoable |= bit(index),
            StepStatus::Asked => flying = true,
            StepStatus::Undoing => flying |= !step.held,
            StepStatus::UndoFailed => {}
        }
        owed |= bit(index);
    }
    let graph = saga.definition.graph();
    let descendants =
        if planted(Bug::WrongUndoOrder) { &graph.ancestors } else { &graph.descendants };
    let ready = members(undoable)
        .filter(|index| descendants[*index] & owed == 0)
        .fold(0, |set, index| set | bit(index));
    match (owed, ready, flying) {
        (0, _, _) => Outlook::Over,
        (_, 0, true) => Outlook::Wait,
        (_, 0, false) => Outlook::Stuck,
        (_, ready, _) => Outlook::Ask(ready),
    }
}

/// Handles the reply to a compensation. A refusal fails the undo. A fault only delays it.
pub(crate) fn answered(
    turn: &mut Turn<'_>,
    index: usize,
    outcome: &Outcome,
) -> Result<(), Ignored> {
    match turn.saga.steps[index].status {
        StepStatus::Undoing => {}
        StepStatus::Waiting | StepStatus::Asked | StepStatus::Done | StepStatus::Refused => {
            return Err(Ignored::Stale);
        }
        StepStatus::Unknown | StepStatus::Undone | StepStatus::UndoFailed => {
            return Err(Ignored::Stale);
        }
        StepStatus::Skipped => return Err(Ignored::Stale),
    }
    let step = turn.saga.definition.steps[index].name.clone();
    match outcome {
        Outcome::Done(_) => {
            turn.resume();
            turn.change(Change::Undone { step });
        }
        Outcome::Refused(refusal) => {
            turn.resume();
            turn.change(Change::UndoRefused { step, refusal: refusal.clone() });
        }
        Outcome::Fault(fault) => return turn.faulted(index, fault),
    }
    Ok(())
}
