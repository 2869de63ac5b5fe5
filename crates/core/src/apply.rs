//! Tables of the legal transitions, and the fold of a journal. No other code changes the status of
//! a saga or a step.
//!
//! Each arm is one legal pair of status and change. Every other pair is illegal.
//! `docs/transitions.md` is generated from these tables.

use std::sync::Arc;

use crate::body::Body;
use crate::definition::{Definition, Step};
use crate::id::{Direction, Name, SagaId};
use crate::journal::{Change, Entry, SagaChange, StepChange};
use crate::message::ReplyTo;
use crate::saga::{Saga, Status, StepState, StepStatus, Verb};
use crate::time::Timestamp;

/// Returns the saga's status after `change`. `back` is true once the saga has turned back.
pub(crate) fn saga_after(
    status: Status,
    back: bool,
    change: &SagaChange,
) -> Result<Status, Illegal> {
    use SagaChange as To;
    use Status::{Compensated, Compensating, Completed, Running, Stuck};
    Ok(match (status, change) {
        (Running, To::Started { .. }) => Running,
        (Running, To::TurnedBack { .. }) => Compensating,
        (Running, To::Stuck) => Stuck,
        (Running, To::Completed) => Completed,

        (Compensating, To::Stuck) => Stuck,
        (Compensating, To::Compensated) => Compensated,

        (Stuck, To::Resumed) if back => Compensating,
        (Stuck, To::Resumed) => Running,

        (status, change) => return Err(Illegal::Saga { status, change: change.as_str() }),
    })
}

/// Checks that a saga of this status permits a change of a step. The saga's status stays.
pub(crate) fn permits(status: Status, back: bool, change: &StepChange) -> Result<(), Illegal> {
    use Direction::{Action, Compensation};
    use Status::{Compensating, Running, Stuck};
    use StepChange as To;
    match (status, change) {
        (Running, To::Asked { direction: Action, .. }) => Ok(()),
        (Running, To::SetAside { direction: Action, .. }) => Ok(()),

        (Running | Compensating, To::Done { .. }) => Ok(()),
        (Running | Compensating, To::Refused { .. }) => Ok(()),
        (Running | Compensating, To::Faulted { .. }) => Ok(()),
        (Running | Compensating, To::Silent { .. }) => Ok(()),

        (Compensating, To::Asked { direction: Compensation, .. }) => Ok(()),
        (Compensating, To::SetAside { .. }) => Ok(()),
        (Compensating, To::Undone) => Ok(()),
        (Compensating, To::UndoRefused { .. }) => Ok(()),

        (Stuck, To::Done { .. }) if back => Ok(()),
        (Running | Compensating | Stuck, To::Rescued { .. }) => Ok(()),

        (status, change) => Err(Illegal::Saga { status, change: change.as_str() }),
    }
}

/// Returns the step's status after `change`.
pub(crate) fn step_after(status: StepStatus, change: &StepChange) -> Result<StepStatus, Illegal> {
    use Direction::{Action, Compensation};
    use StepChange as To;
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
        (Undoing, To::Undone) => Undone,
        (Undoing, To::UndoRefused { .. }) => UndoFailed,

        (UndoFailed, To::Done { .. }) => UndoFailed,

        (Skipped, To::Asked { direction: Compensation, .. }) => Undoing,
        (Skipped, To::SetAside { direction: Compensation, .. }) => Undoing,

        (status, To::Rescued { verb, .. }) => match (status, verb) {
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
pub(crate) fn held_after(status: StepStatus, change: &StepChange) -> Result<StepStatus, Illegal> {
    use StepChange as To;
    use StepStatus::{Done, Refused, Skipped, UndoFailed, Undoing, Undone, Unknown, Waiting};
    Ok(match (status, change) {
        (Unknown, To::Done { .. }) => Done,
        (Unknown, To::Refused { .. }) => Refused,
        (Unknown, To::Silent { due: None, .. }) => Unknown,

        (Undoing, To::Done { .. }) => Undoing,
        (Undoing, To::Undone) => Undone,
        (Undoing, To::UndoRefused { .. }) => UndoFailed,

        (status, To::Rescued { verb, .. }) => match (status, verb) {
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
    match change {
        Change::Step { step, change } => apply_to_step(saga, step, change, at)?,
        Change::Saga(change) => apply_to_saga(saga, change)?,
    }
    saga.changed_at = at;
    if saga.revision == 0 {
        saga.started_at = at;
    }
    Ok(())
}

fn apply_to_saga(saga: &mut Saga, change: &SagaChange) -> Result<(), Illegal> {
    let status = saga_after(saga.status, saga.cause.is_some(), change)?;
    match change {
        SagaChange::Started { .. } if saga.revision > 0 => return Err(Illegal::StartedBefore),
        SagaChange::Started { input } => saga.input = input.clone(),
        SagaChange::TurnedBack { cause, .. } => saga.cause = Some(cause.clone()),
        SagaChange::Stuck | SagaChange::Resumed => {}
        SagaChange::Completed | SagaChange::Compensated => {}
    }
    saga.status = status;
    Ok(())
}

fn apply_to_step(
    saga: &mut Saga,
    name: &Name,
    change: &StepChange,
    at: Timestamp,
) -> Result<(), Illegal> {
    permits(saga.status, saga.cause.is_some(), change)?;
    let index = saga.definition.index_of(name).ok_or_else(|| Illegal::NoSuchStep(name.clone()))?;
    let step = &mut saga.steps[index];
    let after =
        if step.held { held_after(step.status, change)? } else { step_after(step.status, change)? };
    note(step, &saga.definition.steps[index], change, at);
    step.status = after;
    Ok(())
}

/// Updates all fields of a step but its status, which still has its old value here.
fn note(step: &mut StepState, plan: &Step, change: &StepChange, at: Timestamp) {
    match change {
        StepChange::Asked { direction, attempt, due } => {
            if *direction == Direction::Compensation && step.status != StepStatus::Undoing {
                step.turn_to_undo();
            }
            step.attempts = *attempt;
            step.wait_until(Some(*due), false);
            step.sending = true;
            step.asked_since.get_or_insert(at);
        }
        StepChange::Done { output } => {
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
        StepChange::Refused { refusal } | StepChange::UndoRefused { refusal } => {
            step.refusal = Some(refusal.clone());
            step.wait_until(None, false);
        }
        StepChange::Faulted { fault, due } => {
            step.fault = Some(fault.clone());
            step.back_off_until(*due, at);
        }
        StepChange::Silent { due } => step.back_off_until(*due, at),
        StepChange::SetAside { direction, reason } => {
            if *direction == Direction::Compensation && step.status != StepStatus::Undoing {
                step.turn_to_undo();
                step.attempts = 0;
            }
            step.fault = Some(reason.clone());
            step.wait_until(None, false);
            (step.held, step.faulty_since) = (true, Some(at));
        }
        StepChange::Undone => step.wait_until(None, false),
        StepChange::Rescued { verb, .. } => {
            match verb {
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
