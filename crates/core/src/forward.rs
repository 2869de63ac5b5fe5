//! Forward execution: which steps are next, and how replies to actions are handled.

use crate::decide::{Outlook, Turn, bit};
use crate::definition::Kind;
use crate::message::Outcome;
use crate::planted::{Bug, planted};
use crate::saga::{Cause, Change, Ignored, Rescue, Saga, Status, StepStatus, Verb};

/// Finds the next steps. A step is ready when every step before it is done or skipped, and every
/// field that it refers to exists.
pub(crate) fn outlook(saga: &Saga) -> Outlook {
    let settled = settled(saga);
    let starved = starved(saga);
    let (mut ready, mut flying) = (0, false);
    for (index, step) in saga.steps.iter().enumerate() {
        match step.status {
            StepStatus::Waiting => {
                let is_free = starved & bit(index) == 0 && !step.held;
                if is_free && saga.definition.graph().before[index] & !settled == 0 {
                    ready |= bit(index);
                }
            }
            StepStatus::Asked => flying = true,
            StepStatus::Unknown => flying |= !step.held,
            StepStatus::Done | StepStatus::Refused | StepStatus::Skipped => {}
            StepStatus::Undoing | StepStatus::Undone | StepStatus::UndoFailed => {}
        }
    }
    match (ready, flying) {
        (0, true) => Outlook::Wait,
        (0, false) if settled.count_ones() as usize == saga.steps.len() => Outlook::Over,
        (0, false) => Outlook::Stuck,
        (ready, _) => Outlook::Ask(ready),
    }
}

/// Returns the ready steps whose inputs will never exist. They refer to a field that an output
/// lacks, or to a step that an operator skipped or resolved.
///
/// A resend would return the same stored reply, so these steps need a person as well.
pub(crate) fn starved(saga: &Saga) -> u64 {
    let settled = settled(saga);
    let is_starved = |index: &usize| {
        let (plan, state) = (&saga.definition.steps[*index], &saga.steps[*index]);
        state.status == StepStatus::Waiting
            && saga.definition.graph().before[*index] & !settled == 0
            && std::iter::once(&plan.action)
                .chain(&plan.compensation)
                .any(|ask| saga.lacks_a_field_of(ask))
    };
    (0..saga.steps.len()).filter(is_starved).fold(0, |set, index| set | bit(index))
}

fn settled(saga: &Saga) -> u64 {
    let mut settled = 0;
    for (index, step) in saga.steps.iter().enumerate() {
        settled |= match step.status {
            StepStatus::Done | StepStatus::Skipped => bit(index),
            StepStatus::Waiting | StepStatus::Asked | StepStatus::Refused | StepStatus::Unknown => {
                0
            }
            StepStatus::Undoing | StepStatus::Undone | StepStatus::UndoFailed => 0,
        };
    }
    settled
}

/// Handles the reply to an action in either direction of the saga. The first success of any attempt
/// counts.
pub(crate) fn answered(
    turn: &mut Turn<'_>,
    index: usize,
    outcome: &Outcome,
) -> Result<(), Ignored> {
    let state = &turn.saga.steps[index];
    match state.status {
        StepStatus::Asked | StepStatus::Unknown => {}
        // The undo's own reply decides, but the action's output is stored for operators.
        StepStatus::Undoing | StepStatus::UndoFailed => match outcome {
            Outcome::Done(output) if state.output.is_none() => {
                let step = turn.saga.definition.steps[index].name.clone();
                turn.change(Change::Done { step, output: output.clone() });
                return Ok(());
            }
            Outcome::Done(_) | Outcome::Refused(_) | Outcome::Fault(_) => {
                return Err(Ignored::Stale);
            }
        },
        StepStatus::Waiting | StepStatus::Done | StepStatus::Refused => return Err(Ignored::Stale),
        StepStatus::Undone | StepStatus::Skipped => return Err(Ignored::Stale),
    }
    let plan = &turn.saga.definition.steps[index];
    match outcome {
        Outcome::Done(output) => {
            let step = plan.name.clone();
            turn.resume();
            turn.change(Change::Done { step, output: output.clone() });
        }
        Outcome::Refused(refusal) => {
            let (step, kind) = (plan.name.clone(), plan.kind);
            turn.resume();
            turn.change(Change::Refused { step: step.clone(), refusal: refusal.clone() });
            if planted(Bug::RefusalRetried) {
                let (verb, reason) = (Verb::Retry, String::new());
                turn.change(Change::Rescued(Rescue { step, verb, reason }));
                return Ok(());
            }
            if turn.saga.status == Status::Running && kind != Kind::Retriable {
                turn.turn_back(Cause::Refused(step));
            }
        }
        Outcome::Fault(fault) => return turn.faulted(index, fault),
    }
    Ok(())
}
