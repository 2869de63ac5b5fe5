//! Tables of the legal transitions, and the fold of a journal. No other code changes the status of
//! a saga or a step.
//!
//! Each arm is one legal pair of status and change. Every other pair is illegal.
//! `docs/transitions.md` is generated from these tables.

use std::sync::Arc;

use crate::body::Body;
use crate::definition::{Definition, Step};
use crate::id::{Direction, Name, SagaId};
use crate::journal::{Change, Entry};
use crate::message::ReplyTo;
use crate::saga::{Saga, Status, StepState, StepStatus, Verb};
use crate::time::Timestamp;

/// Returns the saga's status after `change`. `back` is true once the saga has turned back.
pub(crate) fn saga_after(status: Status, back: bool, change: &Change) -> Result<Status, Illegal> {
    use Change as To;
    use Direction::{Action, Compensation};
    use Status::{Compensated, Compensating, Completed, Running, Stuck};
    Ok(match (status, change) {
        (Running, To::Started { .. }) => Running,
        (Running, To::Asked { direction: Action, .. }) => Running,
        (Running, To::Done { .. }) => Running,
        (Running, To::Refused { .. }) => Running,
        (Running, To::Faulted { .. }) => Running,
        (Running, To::Silent { .. }) => Running,
        (Running, To::SetAside { direction: Action, .. }) => Running,
        (Running, To::Rescued(_)) => Running,
        (Running, To::TurnedBack { .. }) => Compensating,
        (Running, To::Stuck) => Stuck,
        (Running, To::Completed) => Completed,

        (Compensating, To::Asked { direction: Compensation, .. }) => Compensating,
        (Compensating, To::Done { .. }) => Compensating,
        (Compensating, To::Refused { .. }) => Compensating,
        (Compensating, To::Faulted { .. }) => Compensating,
        (Compensating, To::Silent { .. }) => Compensating,
        (Compensating, To::SetAside { .. }) => Compensating,
        (Compensating, To::Undone { .. }) => Compensating,
        (Compensating, To::UndoRefused { .. }) => Compensating,
        (Compensating, To::Rescued(_)) => Compensating,
        (Compensating, To::Stuck) => Stuck,
        (Compensating, To::Compensated) => Compensated,

        (Stuck, To::Done { .. }) if back => Stuck,
        (Stuck, To::Rescued(_)) => Stuck,
        (Stuck, To::Resumed) if back => Compensating,
        (Stuck, To::Resumed) => Running,

        (status, change) => return Err(Illegal::Saga { status, change: change.as_str() }),
    })
}

/// Returns the step's status after a change that names the step.
pub(crate) fn step_after(status: StepStatus, change: &Change) -> Result<StepStatus, Illegal> {
    use Change as To;
    use Direction::{Action, Compensation};
    use StepStatus::{
        Asked, Done, Refused, Skipped, UndoFailed, Undoing, Undone, Unknown, Waiting,
    };
    Ok(match (status, change) {
        (Waiting, To::Asked { direction: Action, .. }) => Asked,
        (Waiting, To::SetAside { direction: Action, .. }) => Waiting,

        (Asked, To::Asked { direction: Action, .. }) => Asked,
        (Asked, To::Done { .. }) => Done,
        (Asked, To::Refused { .. }) => Refused,
        (Asked, To::Faulted { due: Some(_), .. }) => Asked,
        (Asked, To::Faulted { due: None, .. }) => Unknown,
        (Asked, To::Silent { .. }) => Unknown,
        (Asked, To::SetAside { direction: Action, .. }) => Unknown,

        (Unknown, To::Asked { direction: Action, .. }) => Asked,
        (Unknown, To::Asked { direction: Compensation, .. }) => Undoing,
        (Unknown, To::Done { .. }) => Done,
        (Unknown, To::Refused { .. }) => Refused,
        (Unknown, To::Silent { due: None, .. }) => Unknown,
        (Unknown, To::SetAside { direction: Action, .. }) => Unknown,
        (Unknown, To::SetAside { direction: Compensation, .. }) => Undoing,

        (Done, To::Asked { direction: Compensation, .. }) => Undoing,
        (Done, To::SetAside { direction: Compensation, .. }) => Undoing,

        (Undoing, To::Asked { direction: Compensation, .. }) => Undoing,
        (Undoing, To::Done { .. }) => Undoing,
        (Undoing, To::Faulted { due: Some(_), .. }) => Undoing,
        (Undoing, To::Silent { due: Some(_), .. }) => Undoing,
        (Undoing, To::SetAside { direction: Compensation, .. }) => Undoing,
        (Undoing, To::Undone { .. }) => Undone,
        (Undoing, To::UndoRefused { .. }) => UndoFailed,

        (UndoFailed, To::Done { .. }) => UndoFailed,

        (Skipped, To::Asked { direction: Compensation, .. }) => Undoing,
        (Skipped, To::SetAside { direction: Compensation, .. }) => Undoing,

        (status, To::Rescued(rescue)) => match (status, rescue.verb) {
            (Refused, Verb::Retry) => Waiting,
            (Refused, Verb::Skip) => Skipped,
            (Refused, Verb::Resolve) => Done,
            (UndoFailed, Verb::Retry) => Done,
            (UndoFailed, Verb::Skip) => Skipped,
            (UndoFailed, Verb::Resolve) => Undone,
            (Waiting, Verb::Skip) => Skipped,
            (Waiting, Verb::Resolve) => Done,
            (status, verb) => return Err(Illegal::Step { status, change: verb.as_str() }),
        },

        (status, change) => return Err(Illegal::Step { status, change: change.as_str() }),
    })
}

/// Returns the next status of a step that was set aside. It waits for a person, or for a late
/// answer.
pub(crate) fn held_after(status: StepStatus, change: &Change) -> Result<StepStatus, Illegal> {
    use Change as To;
    use StepStatus::{Done, Refused, Skipped, UndoFailed, Undoing, Undone, Unknown, Waiting};
    Ok(match (status, change) {
        (Unknown, To::Done { .. }) => Done,
        (Unknown, To::Refused { .. }) => Refused,
        (Unknown, To::Silent { due: None, .. }) => Unknown,

        (Undoing, To::Done { .. }) => Undoing,
        (Undoing, To::Undone { .. }) => Undone,
        (Undoing, To::UndoRefused { .. }) => UndoFailed,

        (status, To::Rescued(rescue)) => match (status, rescue.verb) {
            (Waiting, Verb::Retry) => Waiting,
            (Waiting, Verb::Skip) => Skipped,
            (Waiting, Verb::Resolve) => Done,
            (Unknown, Verb::Retry) => Unknown,
            (Unknown, Verb::Skip) => Skipped,
            (Unknown, Verb::Resolve) => Done,
            (Undoing, Verb::Retry) => Done,
            (Undoing, Verb::Skip) => Skipped,
            (Undoing, Verb::Resolve) => Undone,
            (status, verb) => return Err(Illegal::Step { status, change: verb.as_str() }),
        },

        (status, change) => return Err(Illegal::Step { status, change: change.as_str() }),
    })
}

/// A change that the tables do not allow. A bug when `decide` returns it, bad stored data when a
/// journal holds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The saga's table has no arm for this change.
    #[error("a saga that is {} cannot take the change '{change}'", .status.as_str())]
    #[expect(missing_docs, reason = "the message names both fields")]
    Saga { status: Status, change: &'static str },
    /// The step's table has no arm for this change or verb.
    #[error("a step that is {} cannot take the change '{change}'", .status.as_str())]
    #[expect(missing_docs, reason = "the message names both fields")]
    Step { status: StepStatus, change: &'static str },
    /// The definition has no step of this name.
    #[error("the definition has no step '{0}'")]
    NoSuchStep(Name),
    /// A second `Started`: only the first entry of a journal starts a saga.
    #[error("the saga has already started")]
    StartedBefore,
    /// The journal lacks a revision or repeats one.
    #[error("the entry after revision {revision} must have revision {}, not {entry}", .revision + 1)]
    #[expect(missing_docs, reason = "the message names both fields")]
    Gap { revision: u64, entry: u64 },
}

impl Saga {
    /// Rebuilds a saga from its journal, first entry first. A saga that was cancelled before its
    /// start has no input.
    pub fn fold(
        id: SagaId,
        definition: Arc<Definition>,
        reply_to: ReplyTo,
        started_at: Timestamp,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<Saga, Illegal> {
        let mut saga = Saga::begin(id, definition, reply_to, Body::empty(), started_at);
        entries.into_iter().try_for_each(|entry| saga.advance(&entry))?;
        Ok(saga)
    }

    /// Applies the next entry of the journal.
    pub fn advance(&mut self, entry: &Entry) -> Result<(), Illegal> {
        if entry.revision != self.revision + 1 {
            return Err(Illegal::Gap { revision: self.revision, entry: entry.revision });
        }
        entry.changes.iter().try_for_each(|change| apply(self, change, entry.at))?;
        self.revision = entry.revision;
        if let Some(trace) = &entry.trace {
            self.trace = Some(trace.clone());
        }
        Ok(())
    }
}

/// Applies a change made at `at`. An illegal change leaves the saga unmodified.
pub fn apply(saga: &mut Saga, change: &Change, at: Timestamp) -> Result<(), Illegal> {
    let status = saga_after(saga.status, saga.cause.is_some(), change)?;
    match change.step() {
        Some(name) => {
            let index =
                saga.definition.index_of(name).ok_or_else(|| Illegal::NoSuchStep(name.clone()))?;
            let step = &mut saga.steps[index];
            let after = if step.held {
                held_after(step.status, change)?
            } else {
                step_after(step.status, change)?
            };
            note(step, &saga.definition.steps[index], change, at);
            step.status = after;
        }
        None => match change {
            Change::Started { .. } if saga.revision > 0 => return Err(Illegal::StartedBefore),
            Change::Started { input } => saga.input = input.clone(),
            Change::TurnedBack { cause, .. } => saga.cause = Some(cause.clone()),
            Change::Stuck | Change::Resumed | Change::Completed | Change::Compensated => {}
            Change::Asked { .. }
            | Change::Done { .. }
            | Change::Refused { .. }
            | Change::Faulted { .. } => {}
            Change::Silent { .. } | Change::SetAside { .. } | Change::Undone { .. } => {}
            Change::UndoRefused { .. } | Change::Rescued(_) => {}
        },
    }
    saga.status = status;
    saga.changed_at = at;
    if saga.revision == 0 {
        saga.started_at = at;
    }
    Ok(())
}

/// Updates all fields of a step but its status, which still has its old value here.
fn note(step: &mut StepState, plan: &Step, change: &Change, at: Timestamp) {
    match change {
        Change::Asked { direction, attempt, due, .. } => {
            if *direction == Direction::Compensation && step.status != StepStatus::Undoing {
                step.turn_to_undo();
            }
            step.attempts = *attempt;
            step.wait_until(Some(*due), false);
            step.sending = true;
            step.asked_since.get_or_insert(at);
        }
        Change::Done { output, .. } => {
            step.output = Some(output.clone());
            if !matches!(step.status, StepStatus::Undoing | StepStatus::UndoFailed) {
                step.wait_until(None, false);
                if let Some(field) = output.first_missing(&plan.yields) {
                    step.fault = Some(format!(
                        "the output of '{}' lacks the field '{field}' that it yields",
                        plan.name
                    ));
                }
            }
        }
        Change::Refused { refusal, .. } | Change::UndoRefused { refusal, .. } => {
            step.refusal = Some(refusal.clone());
            step.wait_until(None, false);
        }
        Change::Faulted { fault, due, .. } => {
            step.fault = Some(fault.clone());
            step.back_off_until(*due, at);
        }
        Change::Silent { due, .. } => step.back_off_until(*due, at),
        Change::SetAside { direction, reason, .. } => {
            if *direction == Direction::Compensation && step.status != StepStatus::Undoing {
                step.turn_to_undo();
                step.attempts = 0;
            }
            step.fault = Some(reason.clone());
            step.wait_until(None, false);
            (step.held, step.faulty_since) = (true, Some(at));
        }
        Change::Undone { .. } => step.wait_until(None, false),
        Change::Rescued(rescue) => {
            match rescue.verb {
                Verb::Retry => {
                    step.generation += u32::from(step.status == StepStatus::Refused);
                    step.undo_generation += u32::from(step.status == StepStatus::UndoFailed);
                    (step.attempts, step.fault) = (0, None);
                }
                Verb::Skip => {
                    step.may_have_happened =
                        step.status == StepStatus::Unknown && plan.compensation.is_some()
                }
                Verb::Resolve => {}
            }
            step.wait_until(None, false);
        }
        Change::Started { .. } | Change::TurnedBack { .. } | Change::Stuck => {}
        Change::Resumed | Change::Completed | Change::Compensated => {}
    }
}

impl StepState {
    /// Clears the faults of the action: from here on, faults belong to the compensation.
    fn turn_to_undo(&mut self) {
        (self.fault, self.faulty_since, self.may_have_happened) = (None, None, false);
    }

    /// Schedules the retry at `due` after a fault or a missed deadline at `at`.
    fn back_off_until(&mut self, due: Option<Timestamp>, at: Timestamp) {
        self.wait_until(due, due.is_some());
        if due.is_some() {
            self.faulty_since.get_or_insert(at);
        }
    }

    fn wait_until(&mut self, due: Option<Timestamp>, backing_off: bool) {
        self.due = due;
        self.sending = false;
        self.backing_off = backing_off;
        self.asked_since = self.asked_since.filter(|_| due.is_some());
        self.faulty_since = self.faulty_since.filter(|_| due.is_some());
        self.held = false;
    }
}
