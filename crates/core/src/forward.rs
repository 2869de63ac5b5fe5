//! Forward execution: which steps are next, and how replies to actions are handled.

use crate::definition::Kind;
use crate::drafting::{DecisionBuilder, Outlook};
use crate::journal::StepChange;
use crate::message::Outcome;
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
                .any(|template| saga.lacks_a_field_of(template))
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
    outcome: &Outcome,
) -> Result<(), IgnoreReason> {
    let state = &decision.saga.steps[index];
    match state.status {
        StepStatus::Asked | StepStatus::Unknown => {}
        // The undo's own reply decides, but the action's output is stored for operators.
        StepStatus::Undoing | StepStatus::UndoFailed => match outcome {
            Outcome::Done(output) if state.output.is_none() => {
                decision.change_step(index, StepChange::Done { output: output.clone() });
                return Ok(());
            }
            Outcome::Done(_) | Outcome::Refused(_) | Outcome::Fault(_) => {
                return Err(IgnoreReason::Stale);
            }
        },
        StepStatus::Waiting | StepStatus::Done | StepStatus::Refused => {
            return Err(IgnoreReason::Stale);
        }
        StepStatus::Undone | StepStatus::Skipped => return Err(IgnoreReason::Stale),
    }
    match outcome {
        Outcome::Done(output) => {
            decision.resume();
            decision.change_step(index, StepChange::Done { output: output.clone() });
        }
        Outcome::Refused(refusal) => {
            decision.resume();
            decision.change_step(index, StepChange::Refused { refusal: refusal.clone() });
            if planted(Bug::RefusalRetried) {
                let (verb, reason) = (Verb::Retry, String::new());
                decision.change_step(index, StepChange::Rescued { verb, reason });
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
