//! The consequences of an input. Pure: takes the saga by value and returns it changed, with the
//! changes.
//!
//! This file lists the phases: take the input, then advance the saga as far as possible. `forward`
//! runs actions, `backward` runs compensations, `rescue` handles operators' verbs. All of them
//! build the decision with `drafting`.

use crate::drafting::{DecisionBuilder, Outlook};
use crate::id::{Direction, StepKey};
use crate::journal::SagaChange;
use crate::message::Reply;
use crate::planted::{Bug, planted};
use crate::saga::{Cause, IgnoreReason, Input, Saga, Status, StepStatus};
use crate::time::Timestamp;
use crate::wait::Wait;
use crate::{backward, forward, rescue};

pub use crate::decision::Decision;
pub use crate::drafting::Bound;

/// Decides the consequences of `input` for `saga` at `now`. `rng` only adds jitter to back-off
/// pauses.
///
/// A resend that changes nothing else leaves revision and `changed_at` as they are: see
/// [`Decision::into_parts`].
///
/// # Errors
/// The input has no effect: returns the unchanged saga and the reason.
#[expect(
    clippy::result_large_err,
    reason = "the saga goes in and comes out by value, on success and on error"
)]
pub fn decide(
    saga: Saga,
    input: &Input,
    now: Timestamp,
    rng: &mut fastrand::Rng,
) -> Result<Decision, (Saga, IgnoreReason)> {
    decide_within(saga, input, now, rng, Bound { always: usize::MAX, rejects: &|_| None })
}

/// Decides like [`decide`] under a size limit. A step whose command is too large is set aside for
/// an operator, with its status unchanged: an action that is never sent has not happened.
#[expect(
    clippy::result_large_err,
    reason = "the saga goes in and comes out by value, on success and on error"
)]
pub fn decide_within(
    saga: Saga,
    input: &Input,
    now: Timestamp,
    rng: &mut fastrand::Rng,
    bound: Bound<'_>,
) -> Result<Decision, (Saga, IgnoreReason)> {
    let mut decision = DecisionBuilder::new(saga, now, rng, bound);
    match decision.take(input) {
        Ok(()) => {
            decision.go_on();
            Ok(decision.build(input))
        }
        Err(ignored) => Err((decision.saga, ignored)),
    }
}

impl DecisionBuilder<'_> {
    /// Makes the changes that the input itself implies, or none on an error.
    fn take(&mut self, input: &Input) -> Result<(), IgnoreReason> {
        match input {
            Input::Start => self.start(),
            Input::Reply(reply) => self.unless_ended()?.reply(reply),
            Input::Tick => self.unless_ended()?.tick(),
            Input::Cancel { reason } => backward::cancel(self.unless_ended()?, reason.clone()),
            Input::Rescue(wanted) => rescue::rescue(self.unless_ended()?, wanted),
            Input::SetAside { step, direction, reason } => {
                self.unless_ended()?.set_aside(step, *direction, reason)
            }
            Input::Rejected { key, attempt, reason, lasts } => {
                self.unless_ended()?.rejected(key, *attempt, reason, *lasts)
            }
        }
    }

    fn unless_ended(&mut self) -> Result<&mut Self, IgnoreReason> {
        if self.saga.status.has_ended() { Err(IgnoreReason::Ended) } else { Ok(self) }
    }

    /// Sends every command that is ready, and ends the saga when no step is left.
    fn go_on(&mut self) {
        while !self.step_on() {}
    }

    /// Returns false when a step was set aside instead of sent: another step may then be ready.
    fn step_on(&mut self) -> bool {
        let back = self.saga.cause.is_some();
        let outlook =
            if back { backward::outlook(&self.saga) } else { forward::outlook(&self.saga) };
        let stuck = self.saga.status == Status::Stuck;
        if stuck && outlook != Outlook::Stuck {
            self.change_saga(SagaChange::Resumed);
        }
        match (outlook, back) {
            (Outlook::Send(steps), _) => {
                let direction = if back { Direction::Compensation } else { Direction::Action };
                let mut all = true;
                steps.iter().for_each(|index| all &= self.send(index, direction));
                return all;
            }
            (Outlook::Wait, _) => {}
            (Outlook::Over, true) => self.change_saga(SagaChange::Compensated),
            (Outlook::Over, false) => self.change_saga(SagaChange::Completed),
            (Outlook::Stuck, _) => {
                if !stuck {
                    self.change_saga(SagaChange::Stuck);
                }
            }
        }
        true
    }

    fn start(&mut self) -> Result<(), IgnoreReason> {
        if self.saga.revision > 0 {
            return Err(IgnoreReason::AlreadyStarted);
        }
        self.change_saga(SagaChange::Started { input: self.saga.input.clone() });
        Ok(())
    }

    /// Accepts a reply only for the outstanding command: saga, step, direction and generation must
    /// match.
    fn reply(&mut self, reply: &Reply) -> Result<(), IgnoreReason> {
        let key = &reply.key;
        if key.saga != self.saga.id {
            return Err(IgnoreReason::Stale);
        }
        let index = self.saga.definition.index_of(&key.step).ok_or(IgnoreReason::NoSuchStep)?;
        let step = &self.saga.steps[index];
        match key.direction {
            Direction::Action
                if planted(Bug::StaleReplyAccepted) && step.status == StepStatus::Undoing =>
            {
                backward::answered(self, index, &reply.outcome)
            }
            Direction::Action if key.generation == step.generation => {
                forward::answered(self, index, &reply.outcome)
            }
            Direction::Compensation if key.generation == step.undo_generation => {
                backward::answered(self, index, &reply.outcome)
            }
            Direction::Query if key.generation == step.generation => {
                forward::queried(self, index, &reply.outcome)
            }
            Direction::Action | Direction::Compensation | Direction::Query => {
                Err(IgnoreReason::Stale)
            }
        }
    }

    /// Handles the saga's deadline first, so that no command is sent and undone at once. Then it
    /// handles overdue replies, then resends.
    fn tick(&mut self) -> Result<(), IgnoreReason> {
        if self.saga.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.turn_back(Cause::DeadlinePassed);
        }
        for index in 0..self.saga.steps.len() {
            if let Wait::Reply { due, .. } | Wait::Pending { due, .. } = self.saga.steps[index].wait
                && due <= self.now
            {
                self.silent(index);
            }
        }
        for index in 0..self.saga.steps.len() {
            if let Wait::Retry { due, .. } = self.saga.steps[index].wait
                && due <= self.now
            {
                let direction = self.saga.awaited(index);
                direction.into_iter().for_each(|direction| _ = self.send(index, direction));
            }
        }
        if self.is_empty() { Err(IgnoreReason::NothingDue) } else { Ok(()) }
    }

    /// Handles a transport's rejection of an attempt that is still awaited. A reply that arrived
    /// earlier wins.
    fn rejected(
        &mut self,
        key: &StepKey,
        attempt: u32,
        reason: &str,
        lasts: bool,
    ) -> Result<(), IgnoreReason> {
        let index = self
            .saga
            .being_sent(key, attempt)
            .filter(|_| key.saga == self.saga.id)
            .ok_or(IgnoreReason::Stale)?;
        if lasts {
            self.set_aside(&key.step, key.direction, reason)
        } else {
            self.faulted(index, reason)
        }
    }
}
