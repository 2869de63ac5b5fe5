//! Forward execution: which steps are next, and how replies to actions are handled.

use crate::body::Body;
use crate::definition::Kind;
use crate::drafting::{DecisionBuilder, Outlook};
use crate::id::Direction;
use crate::journal::StepChange;
use crate::message::{Outcome, ReplyOutcome};
use crate::planted::{Bug, planted};
use crate::saga::{Cause, IgnoreReason, Saga, Status, StepStatus, Verb};
use crate::step_set::StepSet;

/// Finds the next steps. A step is ready when every step before it is done or skipped, and every
/// field that it refers to exists.
pub(crate) fn outlook(saga: &Saga) -> Outlook {
    let settled = settled(saga);
    let starved = starved(saga);
    let (mut ready, mut flying) = (StepSet::EMPTY, false);
    for (index, step) in saga.steps.iter().enumerate() {
        match step.status {
            StepStatus::Waiting if step.wait.is_retry() => flying = true,
            StepStatus::Waiting => {
                let is_free = !starved.contains(index) && !step.wait.is_held();
                if is_free && saga.definition.graph().before[index].is_subset(settled) {
                    ready.insert(index);
                }
            }
            StepStatus::Asked => flying = true,
            StepStatus::Unknown => flying |= !step.wait.is_held(),
            StepStatus::Done | StepStatus::Refused | StepStatus::Skipped => {}
            StepStatus::Undoing | StepStatus::Undone | StepStatus::UndoFailed => {}
        }
    }
    match (ready.is_empty(), flying) {
        (true, true) => Outlook::Wait,
        (true, false) if settled.len() == saga.steps.len() => Outlook::Over,
        (true, false) => Outlook::Stuck,
        (false, _) => Outlook::Send(ready),
    }
}

/// Returns the ready steps whose inputs will never exist. They refer to a field that an output
/// lacks, or to a step that an operator skipped or resolved.
///
/// A resend would return the same stored reply, so these steps need a person as well.
pub(crate) fn starved(saga: &Saga) -> StepSet {
    let settled = settled(saga);
    let is_starved = |index: &usize| {
        let (plan, state) = (&saga.definition.steps[*index], &saga.steps[*index]);
        state.status == StepStatus::Waiting
            && saga.definition.graph().before[*index].is_subset(settled)
            && std::iter::once(&plan.action)
                .chain(&plan.compensation)
                .any(|template| saga.lacks_a_field_of(template, Some(&plan.name)))
    };
    (0..saga.steps.len()).filter(is_starved).collect()
}

/// Returns the steps that no longer delay their successors.
fn settled(saga: &Saga) -> StepSet {
    let is_settled = |index: &usize| match saga.steps[*index].status {
        StepStatus::Done | StepStatus::Skipped => true,
        StepStatus::Waiting | StepStatus::Asked | StepStatus::Refused | StepStatus::Unknown => {
            false
        }
        StepStatus::Undoing | StepStatus::Undone | StepStatus::UndoFailed => false,
    };
    (0..saga.steps.len()).filter(is_settled).collect()
}

/// Handles the reply to an action in either direction of the saga. The first success of any attempt
/// counts.
pub(crate) fn answered(
    decision: &mut DecisionBuilder<'_>,
    index: usize,
    outcome: &ReplyOutcome,
) -> Result<(), IgnoreReason> {
    let state = &decision.saga.steps[index];
    match state.status {
        StepStatus::Asked | StepStatus::Unknown => {}
        // The undo's own reply decides, but the action's output is stored for operators.
        StepStatus::Undoing | StepStatus::UndoFailed => match outcome {
            ReplyOutcome::Final(Outcome::Done(output))
                if state.output.is_none() && misfit(&decision.saga, index, output).is_none() =>
            {
                decision.change_step(index, StepChange::Done { output: output.clone() });
                return Ok(());
            }
            ReplyOutcome::Final(_)
            | ReplyOutcome::Pending(_)
            | ReplyOutcome::Unknown(_)
            | ReplyOutcome::Absent => return Err(IgnoreReason::Stale),
        },
        StepStatus::Waiting | StepStatus::Done | StepStatus::Refused => {
            return Err(IgnoreReason::Stale);
        }
        StepStatus::Undone | StepStatus::Skipped => return Err(IgnoreReason::Stale),
    }
    let state = &decision.saga.steps[index];
    let is_awaited = decision.saga.awaited(index) == Some(Direction::Action);
    match outcome {
        ReplyOutcome::Final(Outcome::Fault(_)) | ReplyOutcome::Unknown(_) if !is_awaited => {
            return Err(IgnoreReason::Stale);
        }
        // a resend is due in any case
        ReplyOutcome::Unknown(_) if state.status == StepStatus::Unknown => {
            return Err(IgnoreReason::Stale);
        }
        ReplyOutcome::Final(outcome) => {
            return resolved(decision, index, Direction::Action, outcome);
        }
        ReplyOutcome::Pending(delay) => return decision.pending(index, Direction::Action, *delay),
        ReplyOutcome::Unknown(reason) => decision.unresolved(index, Some(reason)),
        ReplyOutcome::Absent => return Err(IgnoreReason::Stale),
    }
    Ok(())
}

/// Handles the reply to a query of an unknown action.
pub(crate) fn queried(
    decision: &mut DecisionBuilder<'_>,
    index: usize,
    outcome: &ReplyOutcome,
) -> Result<(), IgnoreReason> {
    if decision.saga.steps[index].status != StepStatus::Unknown {
        return Err(IgnoreReason::Stale);
    }
    let is_awaited = decision.saga.awaited(index) == Some(Direction::Query);
    match outcome {
        ReplyOutcome::Final(Outcome::Fault(_)) | ReplyOutcome::Unknown(_) if !is_awaited => {
            Err(IgnoreReason::Stale)
        }
        ReplyOutcome::Final(outcome) => resolved(decision, index, Direction::Query, outcome),
        ReplyOutcome::Pending(delay) => decision.pending(index, Direction::Query, *delay),
        ReplyOutcome::Unknown(reason) => {
            let (direction, reason) = (Direction::Action, reason.clone());
            decision.change_step(index, StepChange::SetAside { direction, reason });
            Ok(())
        }
        ReplyOutcome::Absent => {
            decision.resume();
            decision.absent(index);
            Ok(())
        }
    }
}

/// Returns the human-readable reason why an output cannot be used.
fn misfit(saga: &Saga, index: usize, output: &Body) -> Option<String> {
    let misfits = saga.definition.check_output(index, output).err()?;
    let plan = &saga.definition.steps[index];
    let (step, message) = (&plan.name, &plan.action.message);
    Some(format!("the output of '{step}' does not fit schemas.outputs.{message}: {misfits}"))
}

/// Handles the result of a sent or unknown action. `direction` is that of the answered command. A
/// participant that stores its replies would repeat an output that does not fit, so the step is set
/// aside.
fn resolved(
    decision: &mut DecisionBuilder<'_>,
    index: usize,
    direction: Direction,
    outcome: &Outcome,
) -> Result<(), IgnoreReason> {
    match outcome {
        Outcome::Done(output) => {
            if let Some(reason) = misfit(&decision.saga, index, output) {
                let step = decision.saga.definition.steps[index].name.clone();
                return decision.set_aside(&step, direction, &reason);
            }
            decision.resume();
            decision.change_step(index, StepChange::Done { output: output.clone() });
        }
        Outcome::Refused(refusal) => {
            decision.resume();
            decision.change_step(index, StepChange::Refused { refusal: refusal.clone() });
            if planted(Bug::RefusalRetried) {
                let (verb, reason, output) = (Verb::Retry, String::new(), None);
                decision.change_step(index, StepChange::Rescued { verb, reason, output });
                return Ok(());
            }
            let plan = &decision.saga.definition.steps[index];
            if decision.saga.status == Status::Running && plan.kind != Kind::Retriable {
                let cause = Cause::Refused(plan.name.clone());
                decision.turn_back(cause);
            }
        }
        Outcome::Fault(fault) => return decision.faulted(index, fault),
    }
    Ok(())
}
