//! A saga's journal: what changed, line by line. A saga is the fold of it, and nothing else holds the state.

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::id::{Direction, Name};
use crate::message::Refusal;
use crate::saga::{Cause, Rescue};
use crate::time::Timestamp;
use crate::trace::TraceContext;

/// One line of a saga's journal: what came, and what changed by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The saga's revision after this entry; the first is 1.
    pub revision: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// In order.
    pub changes: Vec<Change>,
    /// The trace that the saga's commands belong to from here on, where this input brought another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// One change of a saga's state. [`crate::apply`] holds the table of legal ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// The saga began.
    Started {
        /// What it was started with.
        input: Body,
    },
    /// The step was asked, by its action or its compensation. What is asked again counts an attempt.
    Asked {
        /// Which step.
        step: Name,
        /// Which way.
        direction: Direction,
        /// How often it was asked this way, this time included.
        attempt: u32,
        /// When the answer is overdue, if the transport acknowledges the command at once.
        due: Timestamp,
    },
    /// The action holds.
    Done {
        /// Which step.
        step: Name,
        /// What it gave.
        output: Body,
    },
    /// The action was refused.
    Refused {
        /// Which step.
        step: Name,
        /// The no.
        refusal: Refusal,
    },
    /// The participant met a fault; asked again at `due`, or not at all when the action is given up.
    Faulted {
        /// Which step.
        step: Name,
        /// What it said.
        fault: String,
        /// The next attempt; none for an action that is given up.
        due: Option<Timestamp>,
    },
    /// No answer came in time, or none is waited for any longer; asked again at `due`, or not at all.
    Silent {
        /// Which step.
        step: Name,
        /// The next attempt; none for an action that is given up.
        due: Option<Timestamp>,
    },
    /// What came of the step cannot be stored: it is held until a person decides, or until an answer comes after all.
    SetAside {
        /// Which step.
        step: Name,
        /// Which way it was asked.
        direction: Direction,
        /// Why, for people.
        reason: String,
    },
    /// The compensation holds.
    Undone {
        /// Which step.
        step: Name,
    },
    /// The compensation was refused.
    UndoRefused {
        /// Which step.
        step: Name,
        /// The no.
        refusal: Refusal,
    },
    /// The saga turned back.
    TurnedBack {
        /// Why.
        cause: Cause,
        /// What the person who cancelled it says, if that is why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// An operator decided about a step.
    Rescued(Rescue),
    /// Nothing can go on without a person.
    Stuck,
    /// Going on after `Stuck`, in the direction it had.
    Resumed,
    /// Every step is done.
    Completed,
    /// Everything is undone.
    Compensated,
}

impl Change {
    /// The step that it is about; none when it is about the saga as a whole.
    pub fn step(&self) -> Option<&Name> {
        match self {
            Change::Asked { step, .. } | Change::Done { step, .. } | Change::Refused { step, .. } => Some(step),
            Change::Faulted { step, .. } | Change::Silent { step, .. } | Change::SetAside { step, .. } => Some(step),
            Change::Undone { step } | Change::UndoRefused { step, .. } | Change::Rescued(Rescue { step, .. }) => {
                Some(step)
            }
            Change::Started { .. } | Change::TurnedBack { .. } | Change::Stuck => None,
            Change::Resumed | Change::Completed | Change::Compensated => None,
        }
    }

    /// `asked`, `done`, `turnedBack`: as in the journal.
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
