//! The state of one saga, and its inputs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::definition::{Definition, Kind, ParticipantContract};
use crate::id::{Direction, Name, SagaId, StepKey};
use crate::message::{Refusal, Reply, ReplyTo};
use crate::time::Timestamp;
use crate::trace::TraceContext;

pub use crate::wait::Wait;

/// The whole state of one saga.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the name says it")]
pub struct Saga {
    /// Definition name and business key.
    pub id: SagaId,
    /// The definition, pinned at the start.
    pub definition: Arc<Definition>,
    /// The topic and partition of replies. The partition determines the owning orchestrator.
    pub reply_to: ReplyTo,
    /// The input of the start.
    pub input: Body,
    pub status: Status,
    /// The number of journal entries.
    pub revision: u64,
    /// The time of the first entry.
    pub started_at: Timestamp,
    /// The time of the last entry.
    pub changed_at: Timestamp,
    /// The reason for the compensation, once the saga has turned back.
    pub cause: Option<Cause>,
    /// The trace of the next commands: that of the last reply with a trace, else that of the start.
    pub trace: Option<TraceContext>,
    /// The state of each step, in the definition's order.
    pub steps: Vec<StepState>,
    /// Milliseconds since the start that do not count towards the saga's deadline, because no
    /// process ran or a clock jumped. Not journalled.
    pub paused_ms: i64,
    /// The fault that prevents the saga from being stored. Not journalled.
    pub unstored: Option<Box<StorageFault>>,
}

/// The status of a saga. Only `Completed` and `Compensated` are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Executes its actions.
    Running,
    /// Undoes its completed steps.
    Compensating,
    /// Every step is done.
    Completed,
    /// Every completed step is undone.
    Compensated,
    /// Needs a person, but still accepts replies and operators' verbs.
    Stuck,
}

/// The status of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepStatus {
    /// No command was sent yet.
    Waiting,
    /// The action was sent, and its reply is awaited.
    Asked,
    /// The action succeeded.
    Done,
    /// The participant refused the action, which then had no effect.
    Refused,
    /// No reply arrived within the deadline: the action may have happened.
    Unknown,
    /// The compensation was sent.
    Undoing,
    /// The compensation succeeded, or there was nothing to undo.
    Undone,
    /// The participant refused the compensation.
    UndoFailed,
    /// An operator skipped the step, with a reason.
    Skipped,
}

/// The state of one step.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the name says it")]
pub struct StepState {
    pub status: StepStatus,
    /// The generation of the action. An operator's retry of a stored refusal raises it.
    pub generation: u32,
    /// The generation of the compensation.
    pub undo_generation: u32,
    /// The number of attempts in the current direction. A compensation starts at zero.
    pub attempts: u32,
    pub wait: Wait,
    /// Skipped while its outcome was unknown. A saga that turns back undoes it like a done step.
    pub may_have_happened: bool,
    /// The action's output.
    pub output: Option<Body>,
    /// The last refusal in either direction.
    pub refusal: Option<Refusal>,
    /// A text: the last fault, the field that the output lacks, or the reason for setting the step
    /// aside.
    pub fault: Option<String>,
}

/// A failure to store a saga: its row is locked, or its statement takes too long. Every step that
/// awaits a reply shows it as its own fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageFault {
    /// The text of the last failure.
    pub text: String,
    /// The number of consecutive failed attempts.
    pub count: u32,
    /// The time of the first failure.
    pub since: Timestamp,
}

/// The reason why a saga compensates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// A step was refused.
    Refused(Name),
    /// A step used all its attempts without a reply, or an operator gave it up.
    GivenUp(Name),
    /// The saga's own deadline passed.
    DeadlinePassed,
    /// An operator or a client cancelled the saga.
    Cancelled,
}

/// An input of a saga.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The first input of every saga.
    Start,
    /// A participant's reply.
    Reply(Reply),
    /// The passing of time: handles everything due at `now`.
    Tick,
    /// A request to cancel the saga.
    Cancel {
        /// The reason in the caller's words, recorded in the journal.
        reason: Option<String>,
    },
    /// An operator's decision on one step.
    Rescue(Rescue),
    /// The transport rejected a command. A temporary rejection leads to a resend after a pause, a
    /// permanent one sets the step aside.
    Rejected {
        /// The key of the rejected command.
        key: StepKey,
        /// The number of the rejected attempt.
        attempt: u32,
        /// The human-readable reason.
        reason: String,
        /// Whether the transport rejects every attempt, because the command is too large.
        lasts: bool,
    },
    /// The step's result cannot be stored. The step is set aside, and the rest of the saga
    /// continues.
    #[expect(missing_docs, reason = "the names say it")]
    SetAside {
        step: Name,
        direction: Direction,
        /// The human-readable reason.
        reason: String,
    },
}

/// An operator's decision on a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Rescue {
    pub step: Name,
    pub verb: Verb,
    /// The operator and the reason, recorded in the journal.
    pub reason: String,
    /// The action's output as entered by the operator, for later steps. Only an action's `resolve`
    /// has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Body>,
}

/// The verbs of operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Resends the command: in a new generation after a refusal, otherwise in the same one.
    Retry,
    /// Skips the step and leaves its effect as it is. A step of unknown outcome is undone if the
    /// saga turns back.
    Skip,
    /// Records that an operator did the step's action, or its undo, manually.
    Resolve,
    /// Gives the step's action up: the saga compensates, and undoes the step like a done one.
    Compensate,
}

/// The reason why an input has no effect. It is counted and returned to a waiting caller, and is
/// not an error of the saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum IgnoreReason {
    /// The saga has ended, and its end is final.
    #[error("the saga has ended")]
    Ended,
    /// The command was already answered, or belongs to an older generation.
    #[error("the command is already resolved")]
    Stale,
    /// The definition has no step of this name.
    #[error("the saga has no step of this name")]
    NoSuchStep,
    /// A cancellation after the pivot's command was sent.
    #[error("the pivot's command was sent: too late to cancel")]
    TooLate,
    /// A cancellation of a saga that already compensates.
    #[error("the saga is already compensating")]
    AlreadyGoingBack,
    /// A verb on a step that needs no decision.
    #[error("the step needs no decision")]
    NotStuck,
    /// A manually entered output that does not fit, or that the verb does not accept.
    #[error("the output does not fit the step")]
    BadOutput,
    /// No timer is due.
    #[error("nothing is due")]
    NothingDue,
    /// A second start of the saga.
    #[error("the saga has already started")]
    AlreadyStarted,
}

impl Saga {
    /// Creates a saga without history: revision 0, every step waiting. `Input::Start` starts it.
    pub fn begin(
        id: SagaId,
        definition: Arc<Definition>,
        reply_to: ReplyTo,
        input: Body,
        now: Timestamp,
    ) -> Saga {
        let step = StepState {
            status: StepStatus::Waiting,
            generation: 1,
            undo_generation: 1,
            attempts: 0,
            wait: Wait::None,
            may_have_happened: false,
            output: None,
            refusal: None,
            fault: None,
        };
        Saga {
            unstored: None,
            paused_ms: 0,
            steps: vec![step; definition.steps.len()],
            id,
            definition,
            reply_to,
            input,
            status: Status::Running,
            revision: 0,
            started_at: now,
            changed_at: now,
            cause: None,
            trace: None,
        }
    }

    /// Returns whether the pivot's command was sent and not refused. From then on the saga cannot
    /// compensate.
    pub fn is_past_return(&self) -> bool {
        self.definition.steps.iter().zip(&self.steps).any(|(plan, step)| match step.status {
            StepStatus::Waiting | StepStatus::Refused => false,
            StepStatus::Asked | StepStatus::Unknown | StepStatus::Done | StepStatus::Skipped => {
                plan.kind == Kind::Pivot
            }
            StepStatus::Undoing | StepStatus::Undone | StepStatus::UndoFailed => false,
        })
    }
}

impl Rescue {
    /// Creates a decision without an output.
    pub fn new(step: Name, verb: Verb, reason: impl Into<String>) -> Rescue {
        Rescue { step, verb, reason: reason.into(), output: None }
    }

    /// Sets the manually entered output of the action, or none.
    pub fn output(self, output: impl Into<Option<Body>>) -> Rescue {
        Rescue { output: output.into(), ..self }
    }
}

impl Saga {
    /// Returns the direction of the command that awaits a reply or backs off before a resend.
    pub(crate) fn awaited(&self, step: usize) -> Option<Direction> {
        let state = &self.steps[step];
        state.wait.due()?;
        match state.status {
            StepStatus::Waiting | StepStatus::Asked => Some(Direction::Action),
            StepStatus::Unknown => Some(self.resolving(step)),
            StepStatus::Undoing => Some(Direction::Compensation),
            StepStatus::Done | StepStatus::Refused => None,
            StepStatus::Undone | StepStatus::UndoFailed | StepStatus::Skipped => None,
        }
    }

    /// Returns the direction of the command that resolves the step's unknown action.
    pub(crate) fn resolving(&self, step: usize) -> Direction {
        match self.contract(step).is_queried() {
            true => Direction::Query,
            false => Direction::Action,
        }
    }

    /// Returns the contract of the participant that executes a step.
    pub(crate) fn contract(&self, step: usize) -> &ParticipantContract {
        self.definition.contract_of(&self.definition.steps[step])
    }

    /// Returns whether the step's action is resolved before it is undone, because its participant
    /// has no barrier (protocol rule 37).
    pub(crate) fn resolves_first(&self, step: usize) -> bool {
        !self.contract(step).repeat.is_barrier()
    }
}

impl Verb {
    /// Returns `retry`, `skip`, `resolve` or `compensate`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Retry => "retry",
            Verb::Skip => "skip",
            Verb::Resolve => "resolve",
            Verb::Compensate => "compensate",
        }
    }
}

impl StepStatus {
    /// Returns the status in camelCase, such as `undoFailed`, as in tables, the API and the
    /// journal.
    pub fn as_str(self) -> &'static str {
        match self {
            StepStatus::Waiting => "waiting",
            StepStatus::Asked => "asked",
            StepStatus::Done => "done",
            StepStatus::Refused => "refused",
            StepStatus::Unknown => "unknown",
            StepStatus::Undoing => "undoing",
            StepStatus::Undone => "undone",
            StepStatus::UndoFailed => "undoFailed",
            StepStatus::Skipped => "skipped",
        }
    }
}

impl Status {
    /// Returns whether the status is final.
    pub fn has_ended(self) -> bool {
        match self {
            Status::Completed | Status::Compensated => true,
            Status::Running | Status::Compensating | Status::Stuck => false,
        }
    }

    /// Returns the status in lower case, as in tables, the API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Compensating => "compensating",
            Status::Completed => "completed",
            Status::Compensated => "compensated",
            Status::Stuck => "stuck",
        }
    }
}
