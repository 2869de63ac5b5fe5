//! The journal of a saga: its changes, line by line. A saga's state is the fold of its journal.

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::id::{Direction, Name};
use crate::message::Refusal;
use crate::saga::{Cause, Rescue};
use crate::time::Timestamp;
use crate::trace::TraceContext;

/// One line of a saga's journal: the changes that one input made.
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

/// One change of a saga's state. [`crate::apply`] holds the table of legal ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names of common fields say it")]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// The saga started.
    Started { input: Body },
    /// A command was sent to the step's participant, the first time or again.
    Asked {
        step: Name,
        direction: Direction,
        /// The number of sends in this direction, including this one.
        attempt: u32,
        /// When the reply is overdue, if the transport acknowledges the command at once.
        due: Timestamp,
    },
    /// The action succeeded.
    Done { step: Name, output: Body },
    /// The participant refused the action.
    Refused { step: Name, refusal: Refusal },
    /// The participant met a fault.
    Faulted {
        step: Name,
        /// The participant's description of the fault.
        fault: String,
        /// The time of the next attempt; `None` if the action is given up.
        due: Option<Timestamp>,
    },
    /// No reply arrived in time, or the saga no longer waits for it.
    Silent {
        step: Name,
        /// The time of the next attempt; `None` if the action is given up.
        due: Option<Timestamp>,
    },
    /// The step's result cannot be stored. The step waits for an operator or a late reply.
    SetAside {
        step: Name,
        direction: Direction,
        /// The reason, for people.
        reason: String,
    },
    /// The compensation succeeded.
    Undone { step: Name },
    /// The participant refused the compensation.
    UndoRefused { step: Name, refusal: Refusal },
    /// The saga turned back: from here on it compensates.
    TurnedBack {
        cause: Cause,
        /// The reason that an operator gave for a cancellation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// An operator decided a step.
    Rescued(Rescue),
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
            Change::Asked { step, .. }
            | Change::Done { step, .. }
            | Change::Refused { step, .. } => Some(step),
            Change::Faulted { step, .. }
            | Change::Silent { step, .. }
            | Change::SetAside { step, .. } => Some(step),
            Change::Undone { step }
            | Change::UndoRefused { step, .. }
            | Change::Rescued(Rescue { step, .. }) => Some(step),
            Change::Started { .. } | Change::TurnedBack { .. } | Change::Stuck => None,
            Change::Resumed | Change::Completed | Change::Compensated => None,
        }
    }

    /// Returns the change's name in the journal, such as `asked` or `turnedBack`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Change::Started { .. } => "started",
            Change::Asked { .. } => "asked",
            Change::Done { .. } => "done",
            Change::Refused { .. } => "refused",
            Change::Faulted { .. } => "faulted",
            Change::Silent { .. } => "silent",
            Change::SetAside { .. } => "setAside",
            Change::Undone { .. } => "undone",
            Change::UndoRefused { .. } => "undoRefused",
            Change::TurnedBack { .. } => "turnedBack",
            Change::Rescued(_) => "rescued",
            Change::Stuck => "stuck",
            Change::Resumed => "resumed",
            Change::Completed => "completed",
            Change::Compensated => "compensated",
        }
    }
}
