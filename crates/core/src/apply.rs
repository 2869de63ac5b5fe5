//! Tables of the legal transitions, and the fold of a journal. No other code changes the status of
//! a saga or a step.
//!
//! Each arm is one legal pair of status and change. Every other pair is illegal.
//! `docs/transitions.md` is generated from these tables.

use std::sync::Arc;

use crate::body::Body;
use crate::definition::{Definition, ParticipantContract, Repeat, Step};
use crate::id::{Direction, Name, SagaId};
use crate::journal::{Change, Entry, SagaChange, StepChange};
use crate::message::ReplyTo;
use crate::saga::{Saga, Status, StepState, StepStatus, Verb};
use crate::time::Timestamp;
use crate::wait::Wait;

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

/// Checks that a saga with this status permits a step's change, which leaves the saga's status as
/// it is.
pub(crate) fn permits(status: Status, back: bool, change: &StepChange) -> Result<(), Illegal> {
    use Direction::{Action, Compensation, Query};
    use Status::{Compensating, Running, Stuck};
    use StepChange as To;
    match (status, change) {
        (Running, To::Asked { direction: Action, .. }) => Ok(()),
        (Running, To::SetAside { direction: Action, .. }) => Ok(()),

        (Running | Compensating, To::Done { .. }) => Ok(()),
        (Running | Compensating, To::Refused { .. }) => Ok(()),
        (Running | Compensating, To::Faulted { .. }) => Ok(()),
        (Running | Compensating, To::Silent { .. }) => Ok(()),
        (Running, To::Pending { direction: Action | Query, .. }) => Ok(()),
        (Running | Compensating, To::Absent { .. }) => Ok(()),
        (Running | Compensating, To::Asked { direction: Query, .. }) => Ok(()),

        (Compensating, To::Asked { direction: Action, .. }) => Ok(()),
        (Compensating, To::Asked { direction: Compensation, .. }) => Ok(()),
        (Compensating, To::SetAside { .. }) => Ok(()),
        (Compensating, To::Pending { .. }) => Ok(()),
        (Compensating, To::Undone) => Ok(()),
        (Compensating, To::UndoRefused { .. }) => Ok(()),

        (Stuck, To::Done { .. }) if back => Ok(()),
        (Running | Compensating | Stuck, To::Rescued { .. }) => Ok(()),

        (status, change) => Err(Illegal::Saga { status, change: change.as_str() }),
    }
}

/// Returns the step's status after `change`. A `held` step was set aside: it waits for an operator
/// or a late reply.
pub(crate) fn step_after(
    status: StepStatus,
    held: bool,
    change: &StepChange,
) -> Result<StepStatus, Illegal> {
    use Direction::{Action, Compensation, Query};
    use StepChange as To;
    use StepStatus::{
        Asked, Done, Refused, Skipped, UndoFailed, Undoing, Undone, Unknown, Waiting,
    };
    const FREE: bool = false;
    const HELD: bool = true;
    Ok(match (status, held, change) {
        (Waiting, FREE, To::Asked { direction: Action, .. }) => Asked,
        (Waiting, FREE, To::SetAside { direction: Action, .. }) => Waiting,
        (Waiting, FREE, To::Silent { due: None }) => Waiting,

        (Asked, FREE, To::Asked { direction: Action, .. }) => Asked,
        (Asked, FREE, To::Done { .. }) => Done,
        (Asked, FREE, To::Refused { .. }) => Refused,
        (Asked, FREE, To::Faulted { due: Some(_), .. }) => Asked,
        (Asked, FREE, To::Faulted { due: None, .. }) => Unknown,
        (Asked, FREE, To::Silent { .. }) => Unknown,
        (Asked, FREE, To::Pending { direction: Action, .. }) => Asked,
        (Asked, FREE, To::SetAside { direction: Action, .. }) => Unknown,

        (Unknown, FREE, To::Asked { direction: Action, .. }) => Asked,
        (Unknown, FREE, To::Asked { direction: Query, .. }) => Unknown,
        (Unknown, FREE, To::Asked { direction: Compensation, .. }) => Undoing,
        (Unknown, FREE, To::Faulted { due: Some(_), .. }) => Unknown,
        (Unknown, FREE, To::Silent { due: Some(_) }) => Unknown,
        (Unknown, FREE, To::Pending { direction: Action, .. }) => Asked,
        (Unknown, FREE, To::Pending { direction: Query, .. }) => Unknown,
        (Unknown, _, To::Absent { .. }) => Waiting,
        (Unknown, _, To::Done { .. }) => Done,
        (Unknown, _, To::Refused { .. }) => Refused,
        (Unknown, _, To::Silent { due: None }) => Unknown,
        (Unknown, FREE, To::SetAside { direction: Action, .. }) => Unknown,
        (Unknown, FREE, To::SetAside { direction: Compensation, .. }) => Undoing,

        (Done, FREE, To::Asked { direction: Compensation, .. }) => Undoing,
        (Done, FREE, To::SetAside { direction: Compensation, .. }) => Undoing,

        (Undoing, FREE, To::Asked { direction: Compensation, .. }) => Undoing,
        (Undoing, _, To::Done { .. }) => Undoing,
        (Undoing, FREE, To::Faulted { due: Some(_), .. }) => Undoing,
        (Undoing, FREE, To::Silent { due: Some(_) }) => Undoing,
        (Undoing, FREE, To::Pending { direction: Compensation, .. }) => Undoing,
        (Undoing, FREE, To::SetAside { direction: Compensation, .. }) => Undoing,
        (Undoing, _, To::Undone) => Undone,
        (Undoing, _, To::UndoRefused { .. }) => UndoFailed,

        (UndoFailed, FREE, To::Done { .. }) => UndoFailed,

        (Skipped, FREE, To::Asked { direction: Compensation, .. }) => Undoing,
        (Skipped, FREE, To::SetAside { direction: Compensation, .. }) => Undoing,

        (status, held, To::Rescued { verb, .. }) => match (status, held, verb) {
            (Refused, FREE, Verb::Retry) => Waiting,
            (Refused, FREE, Verb::Skip) => Skipped,
            (Refused, FREE, Verb::Resolve) => Done,
            (UndoFailed, FREE, Verb::Retry) => Done,
            (UndoFailed, FREE, Verb::Skip) => Skipped,
            (UndoFailed, FREE, Verb::Resolve) => Undone,
            (Waiting, HELD, Verb::Retry) => Waiting,
            (Waiting, _, Verb::Skip) => Skipped,
            (Waiting, _, Verb::Resolve) => Done,
            (Unknown, HELD, Verb::Retry) => Unknown,
            (Unknown, HELD, Verb::Skip) => Skipped,
            (Unknown, HELD, Verb::Resolve) => Done,
            (Undoing, HELD, Verb::Retry) => Done,
            (Undoing, HELD, Verb::Skip) => Skipped,
            (Undoing, HELD, Verb::Resolve) => Undone,
            (status, _, verb) => return Err(Illegal::Step { status, change: verb.as_str() }),
        },

        (status, _, change) => return Err(Illegal::Step { status, change: change.as_str() }),
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
    #[error(
        "the entry after revision {revision} must have revision {}, not {entry}", .revision + 1
    )]
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
    let after = step_after(step.status, step.wait.is_held(), change)?;
    let plan = &saga.definition.steps[index];
    note(step, plan, saga.definition.contract_of(plan), change, at);
    step.status = after;
    Ok(())
}

/// Updates all fields of a step but its status, which still has its old value here.
fn note(
    step: &mut StepState,
    plan: &Step,
    contract: &ParticipantContract,
    change: &StepChange,
    at: Timestamp,
) {
    match change {
        StepChange::Asked { direction, attempt, due } => {
            if *direction == Direction::Compensation && step.status != StepStatus::Undoing {
                step.turn_to_undo();
            }
            step.attempts = *attempt;
            step.wait = step.wait.sent(at, *due);
        }
        StepChange::Done { output } => {
            step.output = Some(output.clone());
            if !matches!(step.status, StepStatus::Undoing | StepStatus::UndoFailed) {
                step.wait = Wait::None;
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
            step.wait = Wait::None;
        }
        StepChange::Faulted { fault, due } => {
            step.fault = Some(fault.clone());
            step.wait = step.wait.failed(at, *due);
        }
        StepChange::Silent { due } => {
            // from here on, attempts count the queries
            if contract.is_queried() && step.status == StepStatus::Asked {
                (step.attempts, step.fault) = (0, None);
            }
            step.wait = step.wait.failed(at, *due);
        }
        StepChange::Pending { due, .. } => {
            // a reply ends the faults before it, but limited attempts are not reset
            let undoing = step.status == StepStatus::Undoing;
            if undoing || plan.patience.attempts_max.is_none() {
                step.attempts = step.attempts.min(1);
            }
            step.fault = None;
            step.wait = step.wait.pending(at, *due);
        }
        StepChange::Absent { due } => {
            step.generation += 1;
            (step.attempts, step.fault) = (0, None);
            step.wait = step.wait.failed(at, *due);
        }
        StepChange::SetAside { direction, reason } => {
            if *direction == Direction::Compensation && step.status != StepStatus::Undoing {
                step.turn_to_undo();
                step.attempts = 0;
            }
            step.fault = Some(reason.clone());
            step.wait = Wait::Held { since: at };
        }
        StepChange::Undone => step.wait = Wait::None,
        StepChange::Rescued { verb, output, .. } => {
            note_verb(step, plan, contract, *verb, output.as_ref());
            step.wait = Wait::None;
        }
    }
}

/// Updates the fields of a step that an operator's verb decides.
fn note_verb(
    step: &mut StepState,
    plan: &Step,
    contract: &ParticipantContract,
    verb: Verb,
    output: Option<&Body>,
) {
    match verb {
        Verb::Retry => {
            let (action, undo) = raises_generation(step.status, contract);
            step.generation += u32::from(action);
            step.undo_generation += u32::from(undo);
            (step.attempts, step.fault) = (0, None);
        }
        // without a barrier, only a resolved action is undone
        Verb::Skip => {
            step.may_have_happened = step.status == StepStatus::Unknown
                && plan.compensation.is_some()
                && contract.repeat.is_barrier()
        }
        Verb::Resolve => {
            if let Some(output) = output {
                (step.output, step.fault) = (Some(output.clone()), None);
            }
        }
        // no step changes: the saga as a whole turns back
        Verb::Compensate => {}
    }
}

/// Returns whether an operator's retry of a step with this status needs a new generation: of the
/// action, and of the undo. A participant that never repeats a command would ignore the old one.
fn raises_generation(status: StepStatus, contract: &ParticipantContract) -> (bool, bool) {
    let never = contract.repeat == Repeat::Never;
    match status {
        StepStatus::Refused => (true, false),
        StepStatus::Unknown => (never && !contract.is_queried(), false),
        StepStatus::UndoFailed => (false, true),
        StepStatus::Undoing => (false, never),
        StepStatus::Waiting | StepStatus::Asked | StepStatus::Done => (false, false),
        StepStatus::Undone | StepStatus::Skipped => (false, false),
    }
}

impl StepState {
    /// Clears the faults and the wait of the action: from here on, they belong to the compensation.
    fn turn_to_undo(&mut self) {
        (self.fault, self.wait, self.may_have_happened) = (None, Wait::None, false);
    }
}
