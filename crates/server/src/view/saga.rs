//! A saga in the API's JSON.

use sagamore_core::definition::Kind;
use sagamore_core::fault::is_shown_from;
use sagamore_core::journal::{Change, Entry, SagaChange};
use sagamore_core::message::Refusal;
use sagamore_core::saga::{Saga, Status, StepStatus, Verb};
use sagamore_core::{Allowed, Body, Name, Timestamp};
use sagamore_engine::{ChainStatus, Detail, Header, Page, Started, Summary, Unreadable};
use serde::{Deserialize, Serialize};

use super::journal::{CauseView, EntryView};
use crate::clock::rfc3339;

/// The state of a saga, returned by a start and by a verb.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The saga's id: `checkout:10248`.
    pub id: String,
    /// The status at the time of the response.
    pub status: Status,
    /// The number of journal entries.
    pub revision: u64,
    /// The time of the end, if the saga has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// The style of a saga.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// An orchestrator sends the command of every step.
    #[default]
    Orchestration,
    /// Services react to each other's events, which an observer records.
    Choreography,
}

impl Style {
    /// Returns the name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Style::Orchestration => "orchestration",
            Style::Choreography => "choreography",
        }
    }
}

/// One line of a list, for a saga of either style.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The saga's id: `checkout:10248`.
    pub id: String,
    /// Orchestration or choreography.
    pub style: Style,
    /// The name of its definition or plan.
    pub definition: String,
    /// The version of its definition or plan.
    pub version: u32,
    /// The business key, which is unique within the definition.
    pub key: String,
    /// The status of the saga or chain.
    pub status: ChainStatus,
    /// The anomaly of an anomalous saga, the error of an unreadable one, or the operator's reason
    /// for a resolved one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The time of the start.
    pub started_at: String,
    /// The time of the last change.
    pub changed_at: String,
    /// The time of the end, if the saga has ended.
    pub ended_at: Option<String>,
    /// The step that caused the compensation; for a choreography, the service.
    pub failed_at: Option<String>,
    /// The time from which the saga shows an open fault: lasting faults of a step, or a step that
    /// is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_fault_from: Option<String>,
    /// Whether a stand-in of `dev` plays one of the saga's participants.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stand_in: bool,
}

/// One saga of either style, in full.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SagaView {
    /// The saga's line in a list.
    #[serde(flatten)]
    pub line: Line,
    /// The number of journal entries, or of events.
    pub revision: u64,
    /// The cause of the compensation, if there is one.
    pub cause: Option<CauseView>,
    /// The verbs that apply to the saga as a whole, for example `cancel`.
    pub allowed_actions: Vec<String>,
    /// The input of an orchestrated saga, or the data of a chain's first event.
    pub input: Body,
    /// The steps, in the order of the definition or the plan.
    pub steps: Vec<StepView>,
    /// The outstanding messages.
    pub waits_for: Vec<WaitView>,
    /// The reasons why no process may handle an outstanding message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The journal, oldest entry first; empty for a choreography.
    pub journal: Vec<EntryView>,
    /// The events of a choreography, each after its cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventView>,
}

/// An outstanding message of a service.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitView {
    /// The participant of the step.
    pub service: String,
    /// The step that the service must run or undo.
    pub step: String,
    /// The expected events, of which one suffices; for an orchestrated saga, the outstanding
    /// command.
    pub messages: Vec<String>,
    /// The start of the wait.
    pub since: String,
    /// The reason of the wait, if it is known and differs from the step's fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// An event of a choreography.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// The depth in the tree of causes.
    pub depth: usize,
    /// The id, which is the same for every repetition of the event.
    pub id: String,
    /// The event's name: `payment.success`.
    pub name: String,
    /// The number of events before it in the chain of causes.
    pub hop: u32,
    /// The id of the event that caused it.
    pub causation: Option<String>,
    /// The time of its first emission.
    pub at: String,
    /// The event's data.
    pub body: Option<Body>,
}

/// One step of a saga.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// The name in the definition or plan.
    pub name: String,
    /// The kind of step: compensatable, pivot or retriable.
    pub kind: Kind,
    /// The progress of the step: waiting, asked, done, undone and so on.
    pub status: StepStatus,
    /// The participant that runs the step.
    pub participant: String,
    /// Whether a stand-in of `dev` plays the participant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stand_in: bool,
    /// The number of attempts in the present direction.
    pub attempts: u32,
    /// The generation, which an operator's retry raises.
    pub generation: u32,
    /// The time of the next action unless a reply arrives first.
    pub due: Option<String>,
    /// Whether `due` is the next attempt. Otherwise it is the deadline of the reply.
    pub backing_off: bool,
    /// The output of the action.
    pub output: Option<Body>,
    /// The last refusal, with its code for programs.
    pub refusal: Option<Refusal>,
    /// The last fault, as the participant has reported it.
    pub fault: Option<String>,
    /// The lasting faults: at least three within at least 30 s. Or the reason why the step is set
    /// aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_fault: Option<OpenFaultView>,
    /// The verbs that apply to the step: `retry`, `skip`, `resolve`.
    pub allowed_actions: Vec<String>,
}

/// The faults of a step since its last reply.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenFaultView {
    /// The last fault.
    pub text: String,
    /// The number of attempts with a fault.
    pub count: u32,
    /// The time of the first fault.
    pub since: String,
}

impl Standing {
    /// The state after an accepted start.
    pub fn of_start(started: &Started) -> Standing {
        Standing {
            id: started.id.to_string(),
            status: started.status,
            revision: started.revision,
            ended_at: None,
        }
    }

    /// The state of a saga at rest.
    pub fn of_rest(summary: &Summary) -> Standing {
        Standing {
            id: summary.id.to_string(),
            status: summary.status,
            revision: summary.revision,
            ended_at: summary.ended_at.map(rfc3339),
        }
    }
}

impl Line {
    /// The line of a stored saga, as of `now`.
    pub fn of(header: &Header, now: Timestamp) -> Line {
        Line {
            id: header.id.to_string(),
            style: Style::Orchestration,
            definition: header.id.definition().to_owned(),
            version: header.version,
            key: header.id.key().to_owned(),
            status: header.status.into(),
            why: header.unreadable.clone(),
            started_at: rfc3339(header.started_at),
            changed_at: rfc3339(header.changed_at),
            ended_at: header.ended_at.map(rfc3339),
            failed_at: header.failed_at.as_ref().map(ToString::to_string),
            open_fault_from: header
                .fault_shown_from
                .filter(|from| is_shown_from(*from, now))
                .map(rfc3339),
            stand_in: false,
        }
    }
}

impl Line {
    /// The line of a saga that is set aside, from the readable part of its row.
    fn of_unreadable(row: &Unreadable) -> Line {
        let (definition, key) = row.id.split_once(':').unwrap_or((&row.id, ""));
        Line {
            id: row.id.clone(),
            style: Style::Orchestration,
            definition: definition.to_owned(),
            version: row.version,
            key: key.to_owned(),
            status: ChainStatus::Unreadable,
            why: Some(row.why.clone()),
            started_at: rfc3339(row.started_at),
            changed_at: rfc3339(row.changed_at),
            ended_at: row.ended_at.map(rfc3339),
            failed_at: None,
            open_fault_from: None,
            stand_in: false,
        }
    }

    /// The lines of a page with their sequence numbers. Readable sagas and those that are set aside
    /// share one order.
    pub fn of_page(page: &Page, now: Timestamp) -> Vec<(i64, Line)> {
        let readable = page.sagas.iter().map(|header| (header.seq, Line::of(header, now)));
        let aside = page.unreadable.iter().map(|row| (row.seq, Line::of_unreadable(row)));
        let mut lines: Vec<(i64, Line)> = readable.chain(aside).collect();
        lines.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        lines
    }
}

impl SagaView {
    /// The view of a saga that is set aside. Its steps are unknown, and a retry reads it again.
    pub fn of_unreadable(row: &Unreadable) -> SagaView {
        SagaView {
            line: Line::of_unreadable(row),
            revision: 0,
            cause: None,
            allowed_actions: vec![Verb::Retry.as_str().to_owned()],
            input: Body::empty(),
            steps: Vec::new(),
            waits_for: Vec::new(),
            warnings: Vec::new(),
            journal: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The view of a saga with its journal, as of `now`.
    pub fn of(detail: &Detail, now: Timestamp) -> SagaView {
        let Detail { header, saga, entries } = detail;
        let allowed = saga.allowed_actions(now);
        // the saga's owner cannot read it
        let reread = header.unreadable.is_some().then(|| Verb::Retry.as_str().to_owned());
        SagaView {
            line: Line::of(header, now),
            revision: saga.revision,
            cause: saga.cause.as_ref().map(|cause| CauseView {
                reason: cancelled_because(entries),
                ..CauseView::of(cause)
            }),
            allowed_actions: actions(&allowed, None).into_iter().chain(reread).collect(),
            input: saga.input.clone(),
            steps: (0..saga.steps.len())
                .map(|index| step_view(saga, index, &allowed, now))
                .collect(),
            waits_for: waits_for(saga, entries),
            warnings: Vec::new(),
            journal: entries.iter().map(EntryView::of).collect(),
            events: Vec::new(),
        }
    }
}

/// Returns the operator's reason for the cancel.
fn cancelled_because(entries: &[Entry]) -> Option<String> {
    entries.iter().flat_map(|entry| &entry.changes).find_map(|change| match change {
        Change::Saga(SagaChange::TurnedBack { reason, .. }) => reason.clone(),
        Change::Saga(_) | Change::Step { .. } => None,
    })
}

/// The steps with an outstanding reply. Each wait starts with the first command: a resend does not
/// restart it.
fn waits_for(saga: &Saga, entries: &[Entry]) -> Vec<WaitView> {
    let sent_at = |name: &Name| {
        let sends = |change: &Change| change.command().is_some_and(|(step, _)| step == name);
        entries.iter().rev().find(|entry| entry.changes.iter().any(sends)).map(|entry| entry.at)
    };
    let waiting = saga.definition.steps.iter().zip(&saga.steps).filter_map(|(plan, state)| {
        let command = match state.status {
            StepStatus::Asked | StepStatus::Unknown => &plan.action,
            StepStatus::Undoing => plan.compensation.as_ref()?,
            _ => return None,
        };
        Some(WaitView {
            service: command.participant.to_string(),
            step: plan.name.to_string(),
            messages: vec![command.message.to_string()],
            since: rfc3339(
                state.wait.asked_since().or_else(|| sent_at(&plan.name)).unwrap_or(saga.changed_at),
            ),
            why: None,
        })
    });
    if saga.status.has_ended() { Vec::new() } else { waiting.collect() }
}

fn step_view(saga: &Saga, index: usize, allowed: &[Allowed], now: Timestamp) -> StepView {
    let (plan, state) = (&saga.definition.steps[index], &saga.steps[index]);
    StepView {
        name: plan.name.to_string(),
        kind: plan.kind,
        status: state.status,
        participant: plan.action.participant.to_string(),
        stand_in: false,
        attempts: state.attempts,
        generation: state.generation,
        due: state.wait.due().map(rfc3339),
        backing_off: state.wait.is_retry(),
        output: state.output.clone(),
        refusal: state.refusal.clone(),
        fault: state.fault.clone(),
        open_fault: saga.open_fault(index).filter(|fault| fault.is_shown(now)).map(|fault| {
            OpenFaultView {
                text: fault.text.into_owned(),
                count: fault.count,
                since: rfc3339(fault.since),
            }
        }),
        allowed_actions: actions(allowed, Some(plan.name.as_str())),
    }
}

/// Returns the names of the allowed verbs, for one step or for the saga as a whole.
fn actions(allowed: &[Allowed], of: Option<&str>) -> Vec<String> {
    let names = allowed.iter().filter_map(|allowed| match (allowed, of) {
        (Allowed::Cancel, None) => Some("cancel"),
        (Allowed::Rescue { step, verb }, Some(name)) if step.as_str() == name => {
            Some(verb.as_str())
        }
        (Allowed::Cancel | Allowed::Rescue { .. }, _) => None,
    });
    names.map(str::to_owned).collect()
}
