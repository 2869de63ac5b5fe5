//! A saga's journal in the API's JSON. Every change is a flat object with a kind.

use sagamore_core::Body;
use sagamore_core::journal::{Change, Entry, SagaChange, StepChange};
use sagamore_core::message::Refusal;
use sagamore_core::saga::Cause;
use serde::{Deserialize, Serialize};

use crate::clock::rfc3339;

/// The changes that one input caused.
#[derive(Debug, Serialize, Deserialize)]
pub struct EntryView {
    /// The saga's revision after the entry.
    pub revision: u64,
    /// The time of the entry.
    pub at: String,
    /// The changes, in order.
    pub changes: Vec<ChangeView>,
}

/// One change. Only the fields of its kind are present.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ChangeView {
    /// `started`, `asked`, `done`, `refused`, ...
    pub kind: String,
    /// The step that the change affects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `action` or `compensation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// The number of the attempt, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The deadline of the reply, or the time of the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// The saga's input, of `started`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Body>,
    /// The output of the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Body>,
    /// The refusal of the action or the compensation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The fault, as the participant has reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The cause of the compensation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseView>,
    /// The verb of an operator: `retry`, `skip` or `resolve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// The reason of an operator's verb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The cause of a compensation.
#[derive(Debug, Serialize, Deserialize)]
pub struct CauseView {
    /// `refused`, `givenUp`, `deadlinePassed` or `cancelled`.
    pub kind: String,
    /// The step, if one is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The operator's reason for a cancel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl CauseView {
    /// Converts a cause.
    pub fn of(cause: &Cause) -> CauseView {
        let (kind, step) = match cause {
            Cause::Refused(step) => ("refused", Some(step)),
            Cause::GivenUp(step) => ("givenUp", Some(step)),
            Cause::DeadlinePassed => ("deadlinePassed", None),
            Cause::Cancelled => ("cancelled", None),
        };
        CauseView { kind: kind.into(), step: step.map(ToString::to_string), reason: None }
    }
}

impl EntryView {
    /// Converts an entry.
    pub fn of(entry: &Entry) -> EntryView {
        EntryView {
            revision: entry.revision,
            at: rfc3339(entry.at),
            changes: entry.changes.iter().map(ChangeView::of).collect(),
        }
    }
}

impl ChangeView {
    fn of(change: &Change) -> ChangeView {
        let view = match change {
            Change::Step { step, change } => {
                ChangeView { step: Some(step.to_string()), ..ChangeView::of_step(change) }
            }
            Change::Saga(change) => ChangeView::of_saga(change),
        };
        ChangeView { kind: change.as_str().into(), ..view }
    }

    fn of_step(change: &StepChange) -> ChangeView {
        let view = ChangeView::default();
        match change {
            StepChange::Asked { direction, attempt, due } => ChangeView {
                direction: Some(direction.to_string()),
                attempt: Some(*attempt),
                due: Some(rfc3339(*due)),
                ..view
            },
            StepChange::Done { output } => ChangeView { output: Some(output.clone()), ..view },
            StepChange::Refused { refusal } | StepChange::UndoRefused { refusal } => {
                ChangeView { refusal: Some(refusal.clone()), ..view }
            }
            StepChange::Faulted { fault, due } => {
                ChangeView { fault: Some(fault.clone()), due: due.map(rfc3339), ..view }
            }
            StepChange::Silent { due } => ChangeView { due: due.map(rfc3339), ..view },
            StepChange::Pending { direction, due } => ChangeView {
                direction: Some(direction.to_string()),
                due: Some(rfc3339(*due)),
                ..view
            },
            StepChange::Absent { due } => ChangeView { due: due.map(rfc3339), ..view },
            StepChange::SetAside { direction, reason } => ChangeView {
                direction: Some(direction.to_string()),
                reason: Some(reason.clone()),
                ..view
            },
            StepChange::Undone => view,
            StepChange::Rescued { verb, reason, output } => ChangeView {
                verb: Some(verb.as_str().into()),
                reason: Some(reason.clone()),
                output: output.clone(),
                ..view
            },
        }
    }

    fn of_saga(change: &SagaChange) -> ChangeView {
        let view = ChangeView::default();
        match change {
            SagaChange::Started { input } => ChangeView { input: Some(input.clone()), ..view },
            SagaChange::TurnedBack { cause, reason } => {
                ChangeView { cause: Some(CauseView::of(cause)), reason: reason.clone(), ..view }
            }
            SagaChange::Stuck | SagaChange::Resumed => view,
            SagaChange::Completed | SagaChange::Compensated => view,
        }
    }
}
