//! The journal of a saga: its changes, line by line. A saga's state is the fold of its journal.

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::id::{Direction, Name};
use crate::message::Refusal;
use crate::saga::{Cause, Rescue, Verb};
use crate::time::Timestamp;
use crate::trace::TraceContext;

/// One entry of a saga's journal: the changes that one input caused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The saga's revision after this entry; the first is 1.
    pub revision: u64,
    /// The time of the decision.
    pub at: Timestamp,
    /// The changes in the order in which they apply.
    pub changes: Vec<Change>,
    /// The trace of the saga's commands from this entry on, if this input changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// One change of a saga's state. [`crate::apply`] holds the tables of the legal ones.
///
/// Its stored form is one flat enum: `{"asked":{"step":"pay",..}}`, `"stuck"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredChange", into = "StoredChange")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Change {
    /// A change of one step.
    Step { step: Name, change: StepChange },
    /// A change of the saga as a whole.
    Saga(SagaChange),
}

/// One change of a step.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of common fields say it")]
pub enum StepChange {
    /// A command was sent to the step's participant, the first time or again.
    Asked {
        direction: Direction,
        /// The number of sends in this direction, including this one.
        attempt: u32,
        /// When the reply is overdue, if the transport acknowledges the command at once.
        due: Timestamp,
    },
    /// The action succeeded.
    Done { output: Body },
    /// The participant refused the action.
    Refused { refusal: Refusal },
    /// The participant reported a fault.
    Faulted {
        /// The participant's description of the fault.
        fault: String,
        /// The time of the next attempt; `None` if the action is given up.
        due: Option<Timestamp>,
    },
    /// No reply arrived in time, or the saga no longer waits for it.
    Silent {
        /// The time of the next attempt; `None` if the action is given up.
        due: Option<Timestamp>,
    },
    /// The participant works on the command and replies again.
    Pending {
        direction: Direction,
        /// The end of the time that it asked for: nothing is resent before.
        due: Timestamp,
    },
    /// The queried action did not run, and its command will never run. A later attempt has a new
    /// generation.
    Absent {
        /// The time of the next attempt; `None` if the action is given up.
        due: Option<Timestamp>,
    },
    /// The step's result cannot be stored. The step waits for an operator or a late reply.
    SetAside {
        direction: Direction,
        /// The human-readable reason.
        reason: String,
    },
    /// The compensation succeeded.
    Undone,
    /// The participant refused the compensation.
    UndoRefused { refusal: Refusal },
    /// An operator decided the step.
    Rescued {
        verb: Verb,
        /// The operator and the reason.
        reason: String,
        /// The manually entered output of the action.
        output: Option<Body>,
    },
}

/// One change of the saga as a whole.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names of common fields say it")]
pub enum SagaChange {
    /// The saga started.
    Started { input: Body },
    /// The saga turned back: from here on it compensates.
    TurnedBack {
        cause: Cause,
        /// The reason that an operator gave for a cancellation.
        reason: Option<String>,
    },
    /// The saga cannot continue without a person.
    Stuck,
    /// A stuck saga continues in its previous direction.
    Resumed,
    /// Every step is done.
    Completed,
    /// Every owed undo is done.
    Compensated,
}

impl Change {
    /// Returns the step that the change names; `None` if it concerns the whole saga.
    pub fn step(&self) -> Option<&Name> {
        match self {
            Change::Step { step, .. } => Some(step),
            Change::Saga(_) => None,
        }
    }

    /// Returns step and direction of the command that the change sends, if it sends one.
    pub fn command(&self) -> Option<(&Name, Direction)> {
        match self {
            Change::Step { step, change: StepChange::Asked { direction, .. } } => {
                Some((step, *direction))
            }
            Change::Step { .. } | Change::Saga(_) => None,
        }
    }

    /// Returns the change's name in the journal, such as `asked` or `turnedBack`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Change::Step { change, .. } => change.as_str(),
            Change::Saga(change) => change.as_str(),
        }
    }
}

impl StepChange {
    /// Returns the change's name in the journal, such as `asked`.
    pub fn as_str(&self) -> &'static str {
        match self {
            StepChange::Asked { .. } => "asked",
            StepChange::Done { .. } => "done",
            StepChange::Refused { .. } => "refused",
            StepChange::Faulted { .. } => "faulted",
            StepChange::Silent { .. } => "silent",
            StepChange::Pending { .. } => "pending",
            StepChange::Absent { .. } => "absent",
            StepChange::SetAside { .. } => "setAside",
            StepChange::Undone => "undone",
            StepChange::UndoRefused { .. } => "undoRefused",
            StepChange::Rescued { .. } => "rescued",
        }
    }
}

impl SagaChange {
    /// Returns the change's name in the journal, such as `turnedBack`.
    pub fn as_str(&self) -> &'static str {
        match self {
            SagaChange::Started { .. } => "started",
            SagaChange::TurnedBack { .. } => "turnedBack",
            SagaChange::Stuck => "stuck",
            SagaChange::Resumed => "resumed",
            SagaChange::Completed => "completed",
            SagaChange::Compensated => "compensated",
        }
    }
}

/// The stored form of a [`Change`]. It never changes: journals outlive the program.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StoredChange {
    Started {
        input: Body,
    },
    Asked {
        step: Name,
        direction: Direction,
        attempt: u32,
        due: Timestamp,
    },
    Done {
        step: Name,
        output: Body,
    },
    Refused {
        step: Name,
        refusal: Refusal,
    },
    Faulted {
        step: Name,
        fault: String,
        due: Option<Timestamp>,
    },
    Silent {
        step: Name,
        due: Option<Timestamp>,
    },
    Pending {
        step: Name,
        direction: Direction,
        due: Timestamp,
    },
    Absent {
        step: Name,
        due: Option<Timestamp>,
    },
    SetAside {
        step: Name,
        direction: Direction,
        reason: String,
    },
    Undone {
        step: Name,
    },
    UndoRefused {
        step: Name,
        refusal: Refusal,
    },
    TurnedBack {
        cause: Cause,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Rescued(Rescue),
    Stuck,
    Resumed,
    Completed,
    Compensated,
}

impl From<StoredChange> for Change {
    fn from(stored: StoredChange) -> Change {
        use StoredChange as Stored;
        let of_step = |step, change| Change::Step { step, change };
        match stored {
            Stored::Asked { step, direction, attempt, due } => {
                of_step(step, StepChange::Asked { direction, attempt, due })
            }
            Stored::Done { step, output } => of_step(step, StepChange::Done { output }),
            Stored::Refused { step, refusal } => of_step(step, StepChange::Refused { refusal }),
            Stored::Faulted { step, fault, due } => {
                of_step(step, StepChange::Faulted { fault, due })
            }
            Stored::Silent { step, due } => of_step(step, StepChange::Silent { due }),
            Stored::Pending { step, direction, due } => {
                of_step(step, StepChange::Pending { direction, due })
            }
            Stored::Absent { step, due } => of_step(step, StepChange::Absent { due }),
            Stored::SetAside { step, direction, reason } => {
                of_step(step, StepChange::SetAside { direction, reason })
            }
            Stored::Undone { step } => of_step(step, StepChange::Undone),
            Stored::UndoRefused { step, refusal } => {
                of_step(step, StepChange::UndoRefused { refusal })
            }
            Stored::Rescued(Rescue { step, verb, reason, output }) => {
                of_step(step, StepChange::Rescued { verb, reason, output })
            }
            Stored::Started { input } => Change::Saga(SagaChange::Started { input }),
            Stored::TurnedBack { cause, reason } => {
                Change::Saga(SagaChange::TurnedBack { cause, reason })
            }
            Stored::Stuck => Change::Saga(SagaChange::Stuck),
            Stored::Resumed => Change::Saga(SagaChange::Resumed),
            Stored::Completed => Change::Saga(SagaChange::Completed),
            Stored::Compensated => Change::Saga(SagaChange::Compensated),
        }
    }
}

impl From<Change> for StoredChange {
    fn from(change: Change) -> StoredChange {
        use StoredChange as Stored;
        match change {
            Change::Step { step, change } => match change {
                StepChange::Asked { direction, attempt, due } => {
                    Stored::Asked { step, direction, attempt, due }
                }
                StepChange::Done { output } => Stored::Done { step, output },
                StepChange::Refused { refusal } => Stored::Refused { step, refusal },
                StepChange::Faulted { fault, due } => Stored::Faulted { step, fault, due },
                StepChange::Silent { due } => Stored::Silent { step, due },
                StepChange::Pending { direction, due } => Stored::Pending { step, direction, due },
                StepChange::Absent { due } => Stored::Absent { step, due },
                StepChange::SetAside { direction, reason } => {
                    Stored::SetAside { step, direction, reason }
                }
                StepChange::Undone => Stored::Undone { step },
                StepChange::UndoRefused { refusal } => Stored::UndoRefused { step, refusal },
                StepChange::Rescued { verb, reason, output } => {
                    Stored::Rescued(Rescue { step, verb, reason, output })
                }
            },
            Change::Saga(change) => match change {
                SagaChange::Started { input } => Stored::Started { input },
                SagaChange::TurnedBack { cause, reason } => Stored::TurnedBack { cause, reason },
                SagaChange::Stuck => Stored::Stuck,
                SagaChange::Resumed => Stored::Resumed,
                SagaChange::Completed => Stored::Completed,
                SagaChange::Compensated => Stored::Compensated,
            },
        }
    }
}
