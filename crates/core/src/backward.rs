//! Compensation: cancellation, which steps are next, and how replies to undo commands are handled.

use crate::drafting::{DecisionBuilder, Outlook};
use crate::id::Direction;
use crate::journal::StepChange;
use crate::message::{Outcome, ReplyOutcome};
use crate::planted::{Bug, planted};
use crate::saga::{Cause, IgnoreReason, Saga, StepStatus};
use crate::step_set::StepSet;

/// Cancels the saga. A saga that never started ends at once as compensated, without any command.
pub(crate) fn cancel(
    decision: &mut DecisionBuilder<'_>,
    reason: Option<String>,
) -> Result<(), IgnoreReason> {
    if decision.saga.cause.is_some() {
        return Err(IgnoreReason::AlreadyGoingBack);
    }
    if decision.saga.is_past_return() {
        return Err(IgnoreReason::TooLate);
    }
    decision.resume();
    decision.turn_back_because(Cause::Cancelled, reason);
    Ok(())
}

/// Finds the next steps to undo. A step is ready when it is done or unknown and no later step owes
/// an undo. An unknown step of a participant without a barrier is resolved first.
///
/// Siblings are therefore undone in parallel. A refused undo blocks only the steps before it.
pub(crate) fn outlook(saga: &Saga) -> Outlook {
    let (mut owed, mut undoable) = (StepSet::EMPTY, StepSet::EMPTY);
    let mut flying = false;
    for (index, step) in saga.steps.iter().enumerate() {
        match step.status {
            StepStatus::Unknown if planted(Bug::LostUndo) => continue,
            StepStatus::Asked if planted(Bug::SiblingsForgotten) => continue,
            StepStatus::Unknown
                if saga.resolves_first(index) && !planted(Bug::UndoOfUnresolved) =>
            {
                flying |= !step.wait.is_held();
            }
            StepStatus::Skipped if step.may_have_happened => undoable.insert(index),
            StepStatus::Waiting
            | StepStatus::Refused
            | StepStatus::Undone
            | StepStatus::Skipped => continue,
            StepStatus::Done | StepStatus::Unknown => undoable.insert(index),
            StepStatus::Asked => flying = true,
            StepStatus::Undoing => flying |= !step.wait.is_held(),
            StepStatus::UndoFailed => {}
        }
        owed.insert(index);
    }
    let graph = saga.definition.graph();
    let descendants =
        if planted(Bug::WrongUndoOrder) { &graph.ancestors } else { &graph.descendants };
    let is_ready = |index: &usize| descendants[*index].is_disjoint(owed);
    let ready: StepSet = undoable.iter().filter(is_ready).collect();
    match (owed.is_empty(), ready.is_empty(), flying) {
        (true, _, _) => Outlook::Over,
        (false, true, true) => Outlook::Wait,
        (false, true, false) => Outlook::Stuck,
        (false, false, _) => Outlook::Send(ready),
    }
}

/// Handles the reply to a compensation. A refusal fails the undo. A fault only delays it.
pub(crate) fn answered(
    decision: &mut DecisionBuilder<'_>,
    index: usize,
    outcome: &ReplyOutcome,
) -> Result<(), IgnoreReason> {
    match decision.saga.steps[index].status {
        StepStatus::Undoing => {}
        StepStatus::Waiting | StepStatus::Asked | StepStatus::Done | StepStatus::Refused => {
            return Err(IgnoreReason::Stale);
        }
        StepStatus::Unknown | StepStatus::Undone | StepStatus::UndoFailed => {
            return Err(IgnoreReason::Stale);
        }
        StepStatus::Skipped => return Err(IgnoreReason::Stale),
    }
    match outcome {
        ReplyOutcome::Final(Outcome::Done(_)) => {
            decision.resume();
            decision.change_step(index, StepChange::Undone);
        }
        ReplyOutcome::Final(Outcome::Refused(refusal)) => {
            decision.resume();
            decision.change_step(index, StepChange::UndoRefused { refusal: refusal.clone() });
        }
        ReplyOutcome::Final(Outcome::Fault(fault)) => return decision.faulted(index, fault),
        ReplyOutcome::Pending(delay) => {
            return decision.pending(index, Direction::Compensation, *delay);
        }
        ReplyOutcome::Unknown(reason) if decision.saga.steps[index].wait.due().is_some() => {
            decision.unresolved(index, Some(reason));
        }
        ReplyOutcome::Unknown(_) | ReplyOutcome::Absent => return Err(IgnoreReason::Stale),
    }
    Ok(())
}
