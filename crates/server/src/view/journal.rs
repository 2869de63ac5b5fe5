//! A saga's journal as the API tells it: every change flat, with a kind.

use sagamore_core::Body;
use sagamore_core::message::Refusal;
use sagamore_core::saga::{Change, Entry};
use serde::{Deserialize, Serialize};

use super::CauseView;
use crate::clock::rfc3339;

/// What came of one input.
#[derive(Debug, Serialize, Deserialize)]
pub struct EntryView {
    /// The saga's revision after it.
    pub revision: u64,
    /// When.
    pub at: String,
    /// In order.
    pub changes: Vec<ChangeView>,
}

/// One change. Only the fields that its kind has are there.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ChangeView {
    /// `started`, `asked`, `done`, `refused`, ...
    pub kind: String,
    /// Which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `action` or `compensation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Which try this is, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The answer's deadline, or the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// What the saga was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Body>,
    /// What the action gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Body>,
    /// The no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// What broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Why it turned back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseView>,
    /// An operator's verb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// An operator's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl EntryView {
    /// One entry.
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
