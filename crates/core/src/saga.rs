//! One run of a definition: its state, how its journal makes it up, and what can come to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::apply::{Illegal, apply};
use crate::body::Body;
use crate::definition::Definition;
use crate::id::{Direction, Name, SagaId, StepKey};
use crate::message::{Refusal, Reply, ReplyTo};
use crate::time::Timestamp;
use crate::trace::TraceContext;

pub use crate::fault::StorageFault;
pub use crate::journal::{Change, Entry};

/// The whole state of one saga.
#[derive(Clone, Debug, PartialEq)]
pub struct Saga {
    /// Definition name and business key.
    pub id: SagaId,
    /// The plan, pinned at the start.
    pub definition: Arc<Definition>,
    /// Where its replies go; the partition decides which orchestrator owns it.
    pub reply_to: ReplyTo,
    /// What it was started with.
    pub input: Body,
    /// Where it stands.
    pub status: Status,
    /// One more with every journal entry.
    pub revision: u64,
    /// Of the first entry.
    pub started_at: Timestamp,
    /// Of the last entry.
    pub changed_at: Timestamp,
    /// Why it compensates, once it does.
    pub cause: Option<Cause>,
    /// The trace that its next commands belong to: that of the last reply that had one, else that of the start.
    pub trace: Option<TraceContext>,
    /// One for each step of the definition, in its order.
    pub steps: Vec<StepState>,
    /// How much of the time since the start does not count for the saga's own deadline, in milliseconds: nothing ran, or a
    /// clock jumped. In no journal.
    pub paused_ms: i64,
    /// Why nothing that arrives for the saga can be stored, if so. In no journal.
    pub unstored: Option<Box<StorageFault>>,
}

/// Where a saga stands. Only `Completed` and `Compensated` absorb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Going forward.
    Running,
    /// Undoing what was done.
    Compensating,
    /// Every step is done.
    Completed,
    /// Everything that was done is undone.
    Compensated,
    /// Only a person can decide; still takes replies and operators' verbs.
    Stuck,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepStatus {
    /// Not asked yet.
    Waiting,
    /// Asked, and the answer is awaited.
    Asked,
    /// The action holds.
    Done,
    /// The business said no; nothing happened.
    Refused,
    /// Asked, and no answer within the deadline: it may have happened.
    Unknown,
    /// The compensation was asked.
    Undoing,
    /// The compensation holds, or there was nothing to undo.
    Undone,
    /// The compensation was refused.
    UndoFailed,
    /// Passed over by a person, with a reason.
    Skipped,
}

/// The state of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepState {
    /// Where it stands.
    pub status: StepStatus,
    /// Of the action; an operator's retry of a stored refusal raises it.
    pub generation: u32,
    /// Of the compensation, likewise.
    pub undo_generation: u32,
    /// How often the present direction was asked; a compensation begins at zero again.
    pub attempts: u32,
    /// When something is to be done about it unless an answer comes first: the answer's deadline, or the next attempt.
    /// Does not run while the step is [`sending`](StepState::sending).
    pub due: Option<Timestamp>,
    /// The command is awaited and the transport has not acknowledged it: no deadline runs.
    /// [`Saga::acknowledge`] ends this. The journal does not tell of it, so a saga that is read is sending.
    pub sending: bool,
    /// After a fault or a silence: `due` is the next attempt, and no command is out that a live deadline watches.
    pub backing_off: bool,
    /// When the present direction was first asked, while its answer is awaited; none otherwise.
    pub asked_since: Option<Timestamp>,
    /// Set aside: neither waited for nor sent again until a person decides. An answer counts. A waiting step is set
    /// aside when its command cannot be sent at all.
    pub held: bool,
    /// Skipped while its outcome was unknown: a saga that turns back undoes it like a done one.
    pub may_have_happened: bool,
    /// When the first fault or silence was met that no answer has followed; see [`Saga::open_fault`].
    pub faulty_since: Option<Timestamp>,
    /// What the action gave.
    pub output: Option<Body>,
    /// The last no, of either direction.
    pub refusal: Option<Refusal>,
    /// The last fault, for people; also what a done step's output lacks, and why a step was set aside.
    pub fault: Option<String>,
}

/// Why a saga compensates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// This step was refused.
    Refused(Name),
    /// This step was asked as often as its definition allows, and never answered.
    GivenUp(Name),
    /// The saga's own deadline passed.
    DeadlinePassed,
    /// Somebody cancelled it.
    Cancelled,
}

/// What comes to a saga.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The first of all: makes the saga go.
    Start,
    /// A participant's answer.
    Reply(Reply),
    /// Time has passed: whatever is due at `now` is done.
    Tick,
    /// A person wants it undone.
    Cancel {
        /// Why, in that person's words; kept in the journal.
        reason: Option<String>,
    },
    /// An operator's word on one stuck step.
    Rescue(Rescue),
    /// The transport rejected a command. One that it takes later is sent again after a pause; otherwise the step is set
    /// aside for a person.
    Rejected {
        /// The command.
        key: StepKey,
        /// The attempt that was rejected.
        attempt: u32,
        /// Why, for people.
        reason: String,
        /// The transport rejects it however often it is sent: it is too large.
        lasts: bool,
    },
    /// What came of this step cannot be stored: it is set aside for a person, and everything else goes on.
    SetAside {
        /// Which step.
        step: Name,
        /// Which way it was asked.
        direction: Direction,
        /// Why it cannot be stored, for people.
        reason: String,
    },
}

/// What an operator does about a step that only a person can decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescue {
    /// Which step.
    pub step: Name,
    /// What to do about it.
    pub verb: Verb,
    /// Who says so and why; kept in the journal.
    pub reason: String,
}

/// The operators' verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Send again: what was refused in a new generation, everything else in the same one.
    Retry,
    /// Pass the step over: its effect stays as it is. One whose outcome is unknown is undone if the saga turns back.
    Skip,
    /// A person did by hand what the step should have done (its action, or its undo).
    Resolve,
}

/// Why an input changes nothing. Never an error of the saga: it is counted, and answered where somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Ignored {
    /// The saga has ended, and its end absorbs.
    #[error("the saga has ended")]
    Ended,
    /// The command was answered already, or belongs to an older generation.
    #[error("the command is resolved already")]
    Stale,
    /// No step of the definition has this name.
    #[error("the saga has no step of this name")]
    NoSuchStep,
    /// Cancel after the pivot was asked.
    #[error("the point of no return has been asked for: too late to cancel")]
    TooLate,
    /// Cancel of a saga that turns back already.
    #[error("the saga is being compensated already")]
    AlreadyGoingBack,
    /// A verb on a step that is not stuck.
    #[error("the step waits for no one's decision")]
    NotStuck,
    /// Nothing is due.
    #[error("nothing is due")]
    NothingDue,
    /// The saga was started before.
    #[error("the saga was started already")]
    AlreadyStarted,
}

impl Saga {
    /// A saga that nothing has come to yet: revision 0, every step waiting. `Input::Start` makes it go.
    pub fn begin(id: SagaId, definition: Arc<Definition>, reply_to: ReplyTo, input: Body, now: Timestamp) -> Saga {
        let step = StepState {
            status: StepStatus::Waiting,
            generation: 1,
            undo_generation: 1,
            attempts: 0,
            due: None,
            sending: false,
            backing_off: false,
            asked_since: None,
            held: false,
            may_have_happened: false,
            faulty_since: None,
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

    /// The saga that its journal tells of, from the first entry on. One that was cancelled before its start has no input.
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

    /// Takes the next entry of the journal.
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

impl Verb {
    /// `retry`, `skip` or `resolve`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Retry => "retry",
            Verb::Skip => "skip",
            Verb::Resolve => "resolve",
        }
    }
}

impl StepStatus {
    /// `waiting`, `undoFailed`: as in tables, the API and the journal.
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
    /// Whether nothing can ever change again.
    pub fn has_ended(self) -> bool {
        match self {
            Status::Completed | Status::Compensated => true,
            Status::Running | Status::Compensating | Status::Stuck => false,
        }
    }

    /// `running`, `compensating`, `completed`, `compensated`, `stuck`: as in tables, the API and metrics.
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
