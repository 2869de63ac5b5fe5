//! The operators' verbs: which steps need an operator, and which verbs the API may offer.
//!
//! In a saga that runs forward, it is a refused retriable step, or a step whose inputs will never
//! exist. An earlier step was skipped or resolved without an output, or its output lacks a promised
//! field.
//!
//! In a saga that compensates, it is a step whose undo was refused. In both directions, it is also
//! a step that was set aside, or one with persistent faults. The saga need not be stuck: other
//! branches may continue.

use crate::definition::{Misfit, Misfits, Repeat};
use crate::drafting::DecisionBuilder;
use crate::forward::starved;
use crate::id::{Direction, Name};
use crate::journal::StepChange;
use crate::saga::{Cause, IgnoreReason, Rescue, Saga, StepStatus, Verb};
use crate::step_set::StepSet;
use crate::time::Timestamp;

/// An operator's action that the saga permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Cancels the saga.
    Cancel,
    /// Decides a step.
    #[expect(missing_docs, reason = "the names say it")]
    Rescue { step: Name, verb: Verb },
}

const EVERY_VERB: &[Verb] = &[Verb::Retry, Verb::Skip, Verb::Resolve];

/// The verbs of an action whose outcome only a person knows, while the saga can still turn back.
const BEFORE_RETURN: &[Verb] = &[Verb::Retry, Verb::Skip, Verb::Resolve, Verb::Compensate];

/// Executes an operator's verb. A step that is still being resent is set aside first. From then on
/// only an operator or a late reply decides it.
pub(crate) fn rescue(
    decision: &mut DecisionBuilder<'_>,
    wanted: &Rescue,
) -> Result<(), IgnoreReason> {
    let index = decision.saga.definition.index_of(&wanted.step).ok_or(IgnoreReason::NoSuchStep)?;
    if !verbs(&decision.saga, starved_forward(&decision.saga), index, decision.now)
        .contains(&wanted.verb)
    {
        return Err(IgnoreReason::NotStuck);
    }
    decision.saga.check_rescue(wanted).map_err(|_| IgnoreReason::BadOutput)?;
    if wanted.verb == Verb::Compensate {
        decision.resume();
        let cause = Cause::GivenUp(wanted.step.clone());
        decision.turn_back_because(cause, Some(wanted.reason.clone()));
        return Ok(());
    }
    if let (Some(direction), Some(fault)) =
        (decision.saga.awaited(index), decision.saga.open_fault(index))
    {
        let reason = fault.text.into_owned();
        let is_query = direction == Direction::Query;
        let direction = if is_query { Direction::Action } else { direction };
        decision.change_step(index, StepChange::SetAside { direction, reason });
    }
    let (verb, reason, output) = (wanted.verb, wanted.reason.clone(), wanted.output.clone());
    decision.change_step(index, StepChange::Rescued { verb, reason, output });
    // The action may have happened, so its status stays unknown, and a pivot stays the point of no
    // return.
    if verb == Verb::Retry && decision.saga.steps[index].status == StepStatus::Unknown {
        decision.resume();
        let direction = decision.saga.resolving(index);
        decision.send(index, direction);
    }
    Ok(())
}

impl Saga {
    /// Returns the actions that an operator may take now. Any other one returns an
    /// [`IgnoreReason`].
    pub fn allowed_actions(&self, now: Timestamp) -> Vec<Allowed> {
        let mut allowed = Vec::new();
        if self.cause.is_none() && !self.status.has_ended() && !self.is_past_return() {
            allowed.push(Allowed::Cancel);
        }
        let starved = starved_forward(self);
        for (index, plan) in self.definition.steps.iter().enumerate() {
            let of_step = |verb: &Verb| Allowed::Rescue { step: plan.name.clone(), verb: *verb };
            allowed.extend(verbs(self, starved, index, now).iter().map(of_step));
        }
        allowed
    }

    /// Checks the output of an operator's decision. Only the resolve of an action has an output. It
    /// must have every field that the step yields, and fit its schema.
    ///
    /// # Errors
    /// Returns the parts that do not fit.
    pub fn check_rescue(&self, rescue: &Rescue) -> Result<(), Misfits> {
        let Some(output) = &rescue.output else { return Ok(()) };
        let all = |why: &str| Err(Misfits(vec![Misfit::of_all(why)]));
        let Some(index) = self.definition.index_of(&rescue.step) else { return Ok(()) };
        if rescue.verb != Verb::Resolve {
            return all("only resolve takes an output");
        }
        match self.steps[index].status {
            StepStatus::UndoFailed | StepStatus::Undoing => {
                return all("an undo has no output: resolve it without one");
            }
            StepStatus::Waiting | StepStatus::Asked | StepStatus::Done | StepStatus::Refused => {}
            StepStatus::Unknown | StepStatus::Undone | StepStatus::Skipped => {}
        }
        if output.has_nul() {
            return all("it contains the character \\u0000, which databases cannot store");
        }
        if let Some(field) = output.first_missing(&self.definition.steps[index].yields) {
            return Err(Misfits(vec![Misfit::of_field(field, "is missing")]));
        }
        self.definition.check_output(index, output)
    }

    /// Returns the steps that an operator can decide now.
    pub fn stuck_steps(&self, now: Timestamp) -> impl Iterator<Item = usize> {
        let starved = starved_forward(self);
        (0..self.steps.len()).filter(move |index| !verbs(self, starved, *index, now).is_empty())
    }
}

fn verbs(saga: &Saga, starved: StepSet, index: usize, now: Timestamp) -> &'static [Verb] {
    let back = saga.cause.is_some();
    if saga.open_fault(index).is_some_and(|fault| fault.is_shown(now)) {
        let contract = saga.contract(index);
        let is_action = saga.steps[index].status != StepStatus::Undoing;
        let never = contract.repeat == Repeat::Never && !contract.is_queried();
        let is_held =
            saga.steps[index].status == StepStatus::Unknown && saga.steps[index].wait.is_held();
        if is_held && !back && !saga.is_past_return() {
            return BEFORE_RETURN;
        }
        // a new action would only be undone
        return if back && is_action && never { &[Verb::Skip, Verb::Resolve] } else { EVERY_VERB };
    }
    match saga.steps[index].status {
        StepStatus::Refused if !back => EVERY_VERB,
        StepStatus::UndoFailed => EVERY_VERB,
        StepStatus::Waiting if starved.contains(index) => &[Verb::Skip, Verb::Resolve],
        StepStatus::Waiting | StepStatus::Asked | StepStatus::Done | StepStatus::Refused => &[],
        StepStatus::Unknown | StepStatus::Undoing | StepStatus::Undone | StepStatus::Skipped => &[],
    }
}

fn starved_forward(saga: &Saga) -> StepSet {
    if saga.cause.is_some() { StepSet::EMPTY } else { starved(saga) }
}
