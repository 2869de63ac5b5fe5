//! What people may do: the verbs on a step that only a person can decide, and what the API may offer.
//!
//! Forward, such a step is a retriable one that was refused, or one whose inputs can never come: a step before it was
//! passed over or done by hand, which gives no output, or its output lacks what it promised. Backward, it is one whose
//! undo was refused. Either way, it is one that was set aside, or one whose faults last. The saga need not be stuck for
//! it: other branches may be going on.

use crate::backward;
use crate::decide::{Turn, bit};
use crate::forward::starved;
use crate::id::{Direction, Name};
use crate::saga::{Change, Ignored, Rescue, Saga, StepStatus, Verb};
use crate::time::Timestamp;

/// What an operator may do about a saga as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Cancel it.
    Cancel,
    /// Decide about a step.
    Rescue {
        /// Which step.
        step: Name,
        /// In which way.
        verb: Verb,
    },
}

const EVERY_VERB: &[Verb] = &[Verb::Retry, Verb::Skip, Verb::Resolve];

/// Carries out an operator's verb. A step that is still sent by itself is set aside first: from then on only the person
/// decides, and what is on its way may still be answered.
pub(crate) fn rescue(turn: &mut Turn<'_>, wanted: &Rescue) -> Result<(), Ignored> {
    let index = turn.saga.definition.index_of(&wanted.step).ok_or(Ignored::NoSuchStep)?;
    if !verbs(&turn.saga, starved_forward(&turn.saga), index, turn.now).contains(&wanted.verb) {
        return Err(Ignored::NotStuck);
    }
    if let (Some(direction), Some(fault)) = (turn.saga.steps[index].awaited(), turn.saga.open_fault(index)) {
        let reason = fault.text.into_owned();
        turn.change(Change::SetAside { step: wanted.step.clone(), direction, reason });
    }
    turn.change(Change::Rescued(wanted.clone()));
    // It may have happened, so it is not waiting as if it had not: a pivot stays the point of no return.
    if wanted.verb == Verb::Retry && turn.saga.steps[index].status == StepStatus::Unknown {
        turn.resume();
        turn.ask(index, Direction::Action);
    }
    Ok(())
}

impl Saga {
    /// What an operator may do now; whatever is not in here is answered with an [`Ignored`].
    pub fn allowed_actions(&self, now: Timestamp) -> Vec<Allowed> {
        let mut allowed = Vec::new();
        if self.cause.is_none() && !self.status.has_ended() && !backward::is_past_return(self) {
            allowed.push(Allowed::Cancel);
        }
        let starved = starved_forward(self);
        for (index, plan) in self.definition.steps.iter().enumerate() {
            let of_step = |verb: &Verb| Allowed::Rescue { step: plan.name.clone(), verb: *verb };
            allowed.extend(verbs(self, starved, index, now).iter().map(of_step));
        }
        allowed
    }

    /// The steps that a person can decide about now.
    pub fn stuck_steps(&self, now: Timestamp) -> impl Iterator<Item = usize> {
        let starved = starved_forward(self);
        (0..self.steps.len()).filter(move |index| !verbs(self, starved, *index, now).is_empty())
    }
}

fn verbs(saga: &Saga, starved: u64, index: usize, now: Timestamp) -> &'static [Verb] {
    let back = saga.cause.is_some();
    if saga.open_fault(index).is_some_and(|fault| fault.is_shown(now)) {
        return EVERY_VERB;
    }
    match saga.steps[index].status {
        StepStatus::Refused if !back => EVERY_VERB,
        StepStatus::UndoFailed => EVERY_VERB,
        StepStatus::Waiting if starved & bit(index) != 0 => &[Verb::Skip, Verb::Resolve],
        StepStatus::Waiting | StepStatus::Asked | StepStatus::Done | StepStatus::Refused => &[],
        StepStatus::Unknown | StepStatus::Undoing | StepStatus::Undone | StepStatus::Skipped => &[],
    }
}

fn starved_forward(saga: &Saga) -> u64 {
    if saga.cause.is_some() { 0 } else { starved(saga) }
}
