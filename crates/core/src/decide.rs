//! The consequences of an input. Pure: takes the saga by value and returns it changed, with the
//! changes.
//!
//! This file lists the phases: take the input, then advance the saga as far as possible. `forward`
//! runs actions, `backward` runs compensations, `rescue` handles operators' verbs.

use std::time::Duration;

use crate::apply::apply;
use crate::decision::is_repeat;
use crate::definition::{Kind, Patience};
use crate::id::{Direction, Name, StepKey};
use crate::message::{Command, Reply};
use crate::planted::{Bug, planted};
use crate::saga::{Cause, Change, Ignored, Input, Saga, Status, StepState, StepStatus};
use crate::time::Timestamp;
use crate::trace::TraceContext;
use crate::{backward, forward, rescue};

pub use crate::decision::Decision;

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
) -> Result<Decision, (Saga, Ignored)> {
    decide_within(saga, input, now, rng, Bound { always: usize::MAX, fits: &|_| Ok(()) })
}

/// The size limit of a command.
#[derive(Clone, Copy)]
pub struct Bound<'a> {
    /// A body of at most this many bytes always fits.
    pub always: usize,
    /// Checks a command with a larger body; the error says why it cannot be sent.
    pub fits: &'a dyn Fn(&Command) -> Result<(), String>,
}

/// Decides like [`decide`] under a size limit. A step whose command is too large is set aside for a
/// person, with its status unchanged. An action that is never sent has not happened.
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
) -> Result<Decision, (Saga, Ignored)> {
    let written_at = saga.changed_at;
    let mut turn = Turn { saga, changes: Vec::new(), now, rng, bound };
    if let Err(ignored) = turn.take(input) {
        return Err((turn.saga, ignored));
    }
    turn.go_on();
    let Turn { mut saga, changes, .. } = turn;
    let mut trace = None;
    if changes.iter().all(|change| is_repeat(&saga, change)) {
        saga.changed_at = written_at;
    } else {
        saga.revision += 1;
        trace = brought(input, &saga);
        saga.trace = trace.clone().or(saga.trace);
    }
    Ok(Decision { saga, changes, trace })
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

/// A decision under construction. Every change is applied as it is made.
pub(crate) struct Turn<'a> {
    pub(crate) saga: Saga,
    changes: Vec<Change>,
    pub(crate) now: Timestamp,
    rng: &'a mut fastrand::Rng,
    bound: Bound<'a>,
}

/// The next actions or undos that are possible in the saga's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// The steps in this bit mask are ready.
    Ask(u64),
    /// Nothing is ready, and replies are outstanding.
    Wait,
    /// Every step is done, or every owed undo is.
    Over,
    /// Nothing is ready or outstanding: a person must decide.
    Stuck,
}

impl Turn<'_> {
    /// Makes the changes that the input itself implies, or none on an error.
    fn take(&mut self, input: &Input) -> Result<(), Ignored> {
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

    fn unless_ended(&mut self) -> Result<&mut Self, Ignored> {
        if self.saga.status.has_ended() { Err(Ignored::Ended) } else { Ok(self) }
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
            self.change(Change::Resumed);
        }
        match (outlook, back) {
            (Outlook::Ask(steps), _) => {
                let direction = if back { Direction::Compensation } else { Direction::Action };
                let mut all = true;
                members(steps).for_each(|index| all &= self.ask(index, direction));
                return all;
            }
            (Outlook::Wait, _) => {}
            (Outlook::Over, true) => self.change(Change::Compensated),
            (Outlook::Over, false) => self.change(Change::Completed),
            (Outlook::Stuck, _) => {
                if !stuck {
                    self.change(Change::Stuck);
                }
            }
        }
        true
    }

    fn start(&mut self) -> Result<(), Ignored> {
        if self.saga.revision > 0 {
            return Err(Ignored::AlreadyStarted);
        }
        self.change(Change::Started { input: self.saga.input.clone() });
        Ok(())
    }

    /// Accepts a reply only for the outstanding command: saga, step, direction and generation must
    /// match.
    fn reply(&mut self, reply: &Reply) -> Result<(), Ignored> {
        let key = &reply.key;
        if key.saga != self.saga.id {
            return Err(Ignored::Stale);
        }
        let index = self.saga.definition.index_of(&key.step).ok_or(Ignored::NoSuchStep)?;
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
            Direction::Action | Direction::Compensation => Err(Ignored::Stale),
        }
    }

    /// Handles the saga's deadline first, so that no command is sent and undone at once. Then it
    /// handles overdue replies, then resends.
    fn tick(&mut self) -> Result<(), Ignored> {
        if self.saga.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.turn_back(Cause::DeadlinePassed);
        }
        for index in 0..self.saga.steps.len() {
            if self.is_due(index, false) {
                self.silent(index);
            }
        }
        for index in 0..self.saga.steps.len() {
            if self.is_due(index, true) {
                let direction = self.saga.steps[index].awaited();
                direction.into_iter().for_each(|direction| _ = self.ask(index, direction));
            }
        }
        if self.changes.is_empty() { Err(Ignored::NothingDue) } else { Ok(()) }
    }

    fn is_due(&self, index: usize, backing_off: bool) -> bool {
        let step = &self.saga.steps[index];
        step.backing_off == backing_off && step.running_due().is_some_and(|due| due <= self.now)
    }

    /// Records a missed reply: the outcome is unknown.
    fn silent(&mut self, index: usize) {
        let due = self.next_attempt(index);
        self.change(Change::Silent { step: self.saga.definition.steps[index].name.clone(), due });
        self.given_up(index, due);
    }

    /// Records a fault: the attempt stored nothing. A fault during a running pause is ignored.
    pub(crate) fn faulted(&mut self, index: usize, fault: &str) -> Result<(), Ignored> {
        let step = &self.saga.steps[index];
        if step.backing_off || step.due.is_none() {
            return Err(Ignored::Stale);
        }
        let due = self.next_attempt(index);
        let step = self.saga.definition.steps[index].name.clone();
        self.change(Change::Faulted { step, fault: fault.to_owned(), due });
        self.given_up(index, due);
        Ok(())
    }

    /// Sets a step aside whose result cannot be stored: it waits for a person, without resends.
    /// While the saga compensates, the action becomes unknown instead, and its undo settles it.
    fn set_aside(
        &mut self,
        step: &Name,
        direction: Direction,
        reason: &str,
    ) -> Result<(), Ignored> {
        let index = self.saga.definition.index_of(step).ok_or(Ignored::NoSuchStep)?;
        if self.saga.steps[index].awaited() != Some(direction) {
            return Err(Ignored::Stale);
        }
        self.change(Change::SetAside { step: step.clone(), direction, reason: reason.to_owned() });
        if direction == Direction::Action && self.saga.cause.is_some() {
            self.change(Change::Silent { step: step.clone(), due: None });
        }
        Ok(())
    }

    /// Handles a transport's rejection of an attempt that is still awaited. A reply that arrived
    /// earlier wins.
    fn rejected(
        &mut self,
        key: &StepKey,
        attempt: u32,
        reason: &str,
        lasts: bool,
    ) -> Result<(), Ignored> {
        let index = self
            .saga
            .being_sent(key, attempt)
            .filter(|_| key.saga == self.saga.id)
            .ok_or(Ignored::Stale)?;
        if lasts {
            self.set_aside(&key.step, key.direction, reason)
        } else {
            self.faulted(index, reason)
        }
    }

    /// Takes a stuck saga back to work for this input. `step_on` then decides whether it is stuck
    /// again.
    pub(crate) fn resume(&mut self) {
        if self.saga.status == Status::Stuck {
            self.change(Change::Resumed);
        }
    }

    /// Turns the saga back when an action gets no further attempt: the action is compensated like a
    /// done one.
    fn given_up(&mut self, index: usize, due: Option<Timestamp>) {
        if due.is_none() && self.saga.status == Status::Running {
            self.turn_back(Cause::GivenUp(self.saga.definition.steps[index].name.clone()));
        }
    }

    /// Turns the saga back: no further action is sent. Actions that back off or are set aside
    /// become unknown.
    pub(crate) fn turn_back(&mut self, cause: Cause) {
        self.turn_back_because(cause, None);
    }

    /// Turns the saga back with an operator's reason.
    pub(crate) fn turn_back_because(&mut self, cause: Cause, reason: Option<String>) {
        self.change(Change::TurnedBack { cause, reason });
        for index in 0..self.saga.steps.len() {
            let StepState { status, backing_off, held, .. } = self.saga.steps[index];
            if backing_off || (held && status != StepStatus::Waiting) {
                self.change(Change::Silent {
                    step: self.saga.definition.steps[index].name.clone(),
                    due: None,
                });
            }
        }
    }

    /// Sends a step's command, the first time or again. Returns false if it cannot be sent and was
    /// set aside.
    pub(crate) fn ask(&mut self, index: usize, direction: Direction) -> bool {
        if self.saga.body_bytes_max(index, direction) > self.bound.always
            && let Err(reason) = (self.bound.fits)(&self.saga.command(index, direction))
        {
            let step = self.saga.definition.steps[index].name.clone();
            self.change(Change::SetAside { step, direction, reason });
            return false;
        }
        let (step, state) = (&self.saga.definition.steps[index], &self.saga.steps[index]);
        let first_undo =
            direction == Direction::Compensation && state.status != StepStatus::Undoing;
        let attempt = if first_undo { 1 } else { state.attempts.saturating_add(1) };
        let due = self.now.plus(step.patience.timeout());
        self.change(Change::Asked { step: step.name.clone(), direction, attempt, due });
        true
    }

    /// Returns when to resend after a fault or a missed reply. `None` for an action of a saga that
    /// compensates, and for a compensatable action without attempts left.
    fn next_attempt(&mut self, index: usize) -> Option<Timestamp> {
        let (step, state) = (&self.saga.definition.steps[index], &self.saga.steps[index]);
        let used_up = step.patience.attempts_max.is_some_and(|most| state.attempts >= most);
        let again = match (state.status, step.kind) {
            (StepStatus::Undoing, _) => true,
            (_, Kind::Compensatable) => self.saga.cause.is_none() && !used_up,
            (_, Kind::Pivot | Kind::Retriable) => true,
        };
        again.then(|| self.now.plus(pause(&step.patience, state.attempts, self.rng)))
    }

    /// Applies a change and records it.
    pub(crate) fn change(&mut self, change: Change) {
        apply(&mut self.saga, &change, self.now).expect("decide makes legal changes only");
        self.changes.push(change);
    }
}

/// Returns the pause after this many attempts: doubled by each, capped, half of it random.
fn pause(patience: &Patience, attempts: u32, rng: &mut fastrand::Rng) -> Duration {
    let doublings = attempts.saturating_sub(1).min(63);
    let whole = patience.backoff_ms_min.saturating_mul(1 << doublings).min(patience.backoff_ms_max);
    drawn(whole, rng)
}

/// Returns a duration of which half is random.
pub(crate) fn drawn(whole_ms: u64, rng: &mut fastrand::Rng) -> Duration {
    let half = whole_ms.div_ceil(2);
    Duration::from_millis(half + rng.u64(0..=whole_ms - half))
}

/// Returns the bit mask of one step.
pub(crate) fn bit(index: usize) -> u64 {
    1 << index
}

/// Iterates over the steps in a bit mask, lowest first.
pub(crate) fn members(mut steps: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (steps != 0).then(|| steps.trailing_zeros() as usize)?;
        steps &= steps - 1;
        Some(lowest)
    })
}
