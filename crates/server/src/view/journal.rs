//! A saga's journal in the API's JSON. Every change is a flat object with a kind.

use sagamore_core::Body;
use sagamore_core::message::Refusal;
use sagamore_core::saga::{Change, Entry};
use serde::{Deserialize, Serialize};

use super::CauseView;
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
        let kind = |kind: &str| ChangeView { kind: kind.into(), ..ChangeView::default() };
        let of_step = |name: &str, step: &sagamore_core::Name| ChangeView {
            step: Some(step.to_string()),
            ..kind(name)
        };
        match change {
            Change::Started { input } => {
                ChangeView { input: Some(input.clone()), ..kind("started") }
            }
            Change::Asked { step, direction, attempt, due } => {
                let (direction, attempt) = (Some(direction.to_string()), Some(*attempt));
                ChangeView {
                    direction,
                    attempt,
                    due: Some(rfc3339(*due)),
                    ..of_step("asked", step)
                }
            }
            Change::Done { step, output } => {
                ChangeView { output: Some(output.clone()), ..of_step("done", step) }
            }
            Change::Refused { step, refusal } => {
                ChangeView { refusal: Some(refusal.clone()), ..of_step("refused", step) }
            }
            Change::Faulted { step, fault, due } => ChangeView {
                fault: Some(fault.clone()),
                due: due.map(rfc3339),
                ..of_step("faulted", step)
            },
            Change::Silent { step, due } => {
                ChangeView { due: due.map(rfc3339), ..of_step("silent", step) }
            }
            Change::SetAside { step, direction, reason } => ChangeView {
                direction: Some(direction.to_string()),
                reason: Some(reason.clone()),
                ..of_step("setAside", step)
            },
            Change::Undone { step } => of_step("undone", step),
            Change::UndoRefused { step, refusal } => {
                ChangeView { refusal: Some(refusal.clone()), ..of_step("undoRefused", step) }
            }
            Change::TurnedBack { cause, reason } => {
                let reason = reason.clone();
                ChangeView { cause: Some(CauseView::of(cause)), reason, ..kind("turnedBack") }
            }
            Change::Rescued(rescue) => ChangeView {
                verb: Some(format!("{:?}", rescue.verb).to_lowercase()),
                reason: Some(rescue.reason.clone()),
                ..of_step("rescued", &rescue.step)
            },
            Change::Stuck => kind("stuck"),
            Change::Resumed => kind("resumed"),
            Change::Completed => kind("completed"),
            Change::Compensated => kind("compensated"),
        }
    }
}
