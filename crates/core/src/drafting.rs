//! A decision under construction, and the changes that both directions of a saga make.

use std::time::Duration;

use crate::apply::apply;
use crate::decision::{Decision, is_repeat};
use crate::definition::{Kind, Repeat};
use crate::id::{Direction, Name};
use crate::journal::{Change, SagaChange, StepChange};
use crate::message::{Command, PENDING_MAX};
use crate::pause::pause;
use crate::planted::{Bug, planted};
use crate::saga::{Cause, IgnoreReason, Input, Saga, Status, StepState, StepStatus};
use crate::step_set::StepSet;
use crate::time::Timestamp;
use crate::trace::TraceContext;
use crate::wait::Wait;

/// The size limit of a command.
#[derive(Clone, Copy)]
pub struct Bound<'a> {
    /// A body of at most this many bytes always fits.
    pub always: usize,
    /// Returns why a command with a larger body cannot be sent; `None` if it can.
    pub rejects: &'a dyn Fn(&Command) -> Option<String>,
}

/// The next actions or undos that are possible in the saga's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// These steps are ready.
    Send(StepSet),
    /// Nothing is ready, and replies are outstanding.
    Wait,
    /// Every step is done, or every owed undo is.
    Over,
    /// Nothing is ready or outstanding: a person must decide.
    Stuck,
}

/// A decision under construction. Every change is applied as it is made.
pub(crate) struct DecisionBuilder<'a> {
    pub(crate) saga: Saga,
    changes: Vec<Change>,
    /// The time of the saga's last change before this decision.
    changed_at: Timestamp,
    pub(crate) now: Timestamp,
    rng: &'a mut fastrand::Rng,
    bound: Bound<'a>,
}

impl<'a> DecisionBuilder<'a> {
    /// Begins a decision without changes.
    pub(crate) fn new(
        saga: Saga,
        now: Timestamp,
        rng: &'a mut fastrand::Rng,
        bound: Bound<'a>,
    ) -> DecisionBuilder<'a> {
        let changed_at = saga.changed_at;
        DecisionBuilder { saga, changes: Vec::new(), changed_at, now, rng, bound }
    }

    /// Completes the decision on `input`. A decision with only resends does not change the saga's
    /// revision.
    pub(crate) fn build(self, input: &Input) -> Decision {
        let DecisionBuilder { mut saga, changes, changed_at, .. } = self;
        let mut trace = None;
        if changes.iter().all(|change| is_repeat(&saga, change)) {
            saga.changed_at = changed_at;
        } else {
            saga.revision += 1;
            trace = brought(input, &saga);
            saga.trace = trace.clone().or(saga.trace);
        }
        Decision { saga, changes, trace }
    }

    /// Returns whether nothing has changed so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Records a missed reply: the outcome is unknown.
    pub(crate) fn silent(&mut self, index: usize) {
        self.unresolved(index, None);
    }

    /// Records that the outcome of a command is unknown. What is never repeated is queried, or else
    /// waits for a person. Other commands are resent.
    pub(crate) fn unresolved(&mut self, index: usize, reason: Option<&str>) {
        let contract = self.saga.contract(index);
        let undoing = self.saga.steps[index].status == StepStatus::Undoing;
        let is_final = undoing || !contract.is_queried();
        if contract.repeat == Repeat::Never && is_final && !planted(Bug::NeverResent) {
            let direction = if undoing { Direction::Compensation } else { Direction::Action };
            let participant = &self.saga.definition.steps[index].action.participant;
            let why = reason.unwrap_or("no reply arrived in time");
            let reason = format!("{why}, and '{participant}' never repeats a command");
            self.change_step(index, StepChange::SetAside { direction, reason });
            return;
        }
        let due = self.next_attempt(index);
        self.change_step(index, StepChange::Silent { due });
        self.given_up(index, due);
    }

    /// Records a fault: the attempt stored nothing. A fault during a running pause is ignored.
    pub(crate) fn faulted(&mut self, index: usize, fault: &str) -> Result<(), IgnoreReason> {
        if !self.saga.steps[index].wait.expects_reply() {
            return Err(IgnoreReason::Stale);
        }
        let due = self.next_attempt(index);
        self.change_step(index, StepChange::Faulted { fault: fault.to_owned(), due });
        self.given_up(index, due);
        Ok(())
    }

    /// Records that the participant works on the command: nothing is resent before `delay` has
    /// passed. A shorter wait than the present one is ignored.
    pub(crate) fn pending(
        &mut self,
        index: usize,
        direction: Direction,
        delay: Duration,
    ) -> Result<(), IgnoreReason> {
        let due = self.now.plus(delay.min(PENDING_MAX));
        let wait = self.saga.steps[index].wait;
        let is_shorter = matches!(wait, Wait::Pending { due: until, .. } if due <= until);
        let is_awaited = wait.due().is_some() && self.saga.awaited(index) == Some(direction)
            || self.is_late_for_query(index, direction);
        if !is_awaited || is_shorter || planted(Bug::PendingIgnored) {
            return Err(IgnoreReason::Stale);
        }
        self.change_step(index, StepChange::Pending { direction, due });
        Ok(())
    }

    /// Returns whether a reply of this direction is the action's own, while the action is queried.
    fn is_late_for_query(&self, index: usize, direction: Direction) -> bool {
        direction == Direction::Action && self.saga.awaited(index) == Some(Direction::Query)
    }

    /// Records that a queried action never ran. A running saga sends it in a new generation. A
    /// compensating saga has nothing to undo.
    pub(crate) fn absent(&mut self, index: usize) {
        let (step, state) = (&self.saga.definition.steps[index], &self.saga.steps[index]);
        let generations = state.generation;
        let used_up = step.patience.attempts_max.is_some_and(|most| generations >= most);
        let again = self.saga.cause.is_none() && !(used_up && step.kind == Kind::Compensatable);
        let due = again.then(|| self.now.plus(pause(&step.patience, generations, self.rng)));
        self.change_step(index, StepChange::Absent { due });
        self.given_up(index, due);
    }

    /// Sets a step aside whose result cannot be stored: it waits for a person, without resends.
    /// While the saga compensates, the action becomes unknown instead, and its undo settles it.
    pub(crate) fn set_aside(
        &mut self,
        step: &Name,
        direction: Direction,
        reason: &str,
    ) -> Result<(), IgnoreReason> {
        let index = self.saga.definition.index_of(step).ok_or(IgnoreReason::NoSuchStep)?;
        if self.saga.awaited(index) != Some(direction) {
            return Err(IgnoreReason::Stale);
        }
        let is_undo = direction == Direction::Compensation;
        let direction = if is_undo { direction } else { Direction::Action };
        self.change_step(index, StepChange::SetAside { direction, reason: reason.to_owned() });
        if !is_undo && self.saga.cause.is_some() && !self.saga.resolves_first(index) {
            self.change_step(index, StepChange::Silent { due: None });
        }
        Ok(())
    }

    /// Takes a stuck saga back to work for this input. `step_on` then decides whether it is stuck
    /// again.
    pub(crate) fn resume(&mut self) {
        if self.saga.status == Status::Stuck {
            self.change_saga(SagaChange::Resumed);
        }
    }

    /// Starts compensation if the action has no attempts left. The action is compensated like a
    /// done one. Without a barrier its outcome is resolved first.
    fn given_up(&mut self, index: usize, due: Option<Timestamp>) {
        let is_used_up = due.is_none() || self.is_used_up(index);
        if is_used_up && self.saga.status == Status::Running {
            self.turn_back(Cause::GivenUp(self.saga.definition.steps[index].name.clone()));
        }
    }

    /// Turns the saga back: no further action is sent. Actions that back off or are set aside
    /// become unknown. Without a barrier, they are resolved as before.
    pub(crate) fn turn_back(&mut self, cause: Cause) {
        self.turn_back_because(cause, None);
    }

    /// Turns the saga back with an operator's reason.
    pub(crate) fn turn_back_because(&mut self, cause: Cause, reason: Option<String>) {
        self.change_saga(SagaChange::TurnedBack { cause, reason });
        for index in 0..self.saga.steps.len() {
            let StepState { status, wait, .. } = &self.saga.steps[index];
            let is_waiting = *status == StepStatus::Waiting;
            let is_held = wait.is_held() && !is_waiting;
            if self.saga.resolves_first(index) && !is_waiting {
                let is_asked = *status == StepStatus::Asked && wait.is_retry();
                if is_asked && self.saga.resolving(index) == Direction::Query {
                    self.change_step(index, StepChange::Silent { due: Some(self.now) });
                }
            } else if wait.is_retry() || is_held {
                self.change_step(index, StepChange::Silent { due: None });
            }
        }
    }

    /// Sends a step's command, the first time or again. Returns false if it cannot be sent and was
    /// set aside.
    pub(crate) fn send(&mut self, index: usize, direction: Direction) -> bool {
        if let Some(reason) = self.lacks_an_output(index, direction) {
            self.change_step(index, StepChange::SetAside { direction, reason });
            return false;
        }
        if self.saga.body_bytes_max(index, direction) > self.bound.always
            && let Some(reason) = (self.bound.rejects)(&self.saga.command(index, direction))
        {
            let is_query = direction == Direction::Query;
            let direction = if is_query { Direction::Action } else { direction };
            self.change_step(index, StepChange::SetAside { direction, reason });
            return false;
        }
        let (step, state) = (&self.saga.definition.steps[index], &self.saga.steps[index]);
        let first_undo =
            direction == Direction::Compensation && state.status != StepStatus::Undoing;
        let attempt = if first_undo { 1 } else { state.attempts.saturating_add(1) };
        let due = self.now.plus(step.patience.timeout());
        self.change_step(index, StepChange::Asked { direction, attempt, due });
        true
    }

    /// Returns when to resend after a fault or a missed reply. `None` for an action of a saga that
    /// compensates, and for a compensatable action without attempts left.
    fn next_attempt(&mut self, index: usize) -> Option<Timestamp> {
        let (step, state) = (&self.saga.definition.steps[index], &self.saga.steps[index]);
        let again = match (state.status, step.kind) {
            (StepStatus::Undoing, _) => true,
            (_, Kind::Compensatable) if self.saga.resolves_first(index) => true,
            (_, Kind::Compensatable) => self.saga.cause.is_none() && !self.is_used_up(index),
            (_, Kind::Pivot | Kind::Retriable) => true,
        };
        again.then(|| self.now.plus(pause(&step.patience, state.attempts, self.rng)))
    }

    /// Returns whether a compensatable action has used all its attempts.
    fn is_used_up(&self, index: usize) -> bool {
        let (step, state) = (&self.saga.definition.steps[index], &self.saga.steps[index]);
        let most = step.patience.attempts_max.filter(|_| step.kind == Kind::Compensatable);
        let is_action = matches!(state.status, StepStatus::Asked | StepStatus::Unknown);
        is_action && most.is_some_and(|most| state.attempts >= most)
    }

    /// Returns why an undo cannot be filled: its participant stores no output, and neither does the
    /// saga.
    fn lacks_an_output(&self, index: usize, direction: Direction) -> Option<String> {
        let undo = self.saga.definition.steps[index].compensation.as_ref()?;
        let is_undo = direction == Direction::Compensation && self.saga.resolves_first(index);
        (is_undo && self.saga.lacks_a_field_of(undo, None)).then(|| {
            "the undo refers to an output that is not known: undo the step by hand".to_owned()
        })
    }

    /// Applies a change of the saga and records it.
    pub(crate) fn change_saga(&mut self, change: SagaChange) {
        self.change(Change::Saga(change));
    }

    /// Applies a change of a step and records it.
    pub(crate) fn change_step(&mut self, index: usize, change: StepChange) {
        let step = self.saga.definition.steps[index].name.clone();
        self.change(Change::Step { step, change });
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.saga, &change, self.now).expect("decide makes legal changes only");
        self.changes.push(change);
    }
}

/// Returns the trace that the entry must record: the start's, or a reply's new one. A repeat has no
/// entry and thus no trace.
fn brought(input: &Input, saga: &Saga) -> Option<TraceContext> {
    match input {
        Input::Start => saga.trace.clone(),
        Input::Reply(reply) => {
            reply.trace.clone().filter(|trace| saga.trace.as_ref() != Some(trace))
        }
        Input::Tick
        | Input::Cancel { .. }
        | Input::Rescue(_)
        | Input::Rejected { .. }
        | Input::SetAside { .. } => None,
    }
}
