//! A saga as the API tells it: what the server writes and the CLI reads. Times are RFC 3339.

mod chain;
mod facts;
mod journal;
mod page;

use sagamore_core::definition::Kind;
use sagamore_core::fault::is_shown_from;
use sagamore_core::message::Refusal;
use sagamore_core::saga::{Cause, Change, Entry, Saga, Status, StepStatus, Verb};
use sagamore_core::{Allowed, Body, Name, Timestamp};
use sagamore_engine::{ChainStatus, Detail, Header, Page, Started, Summary, Unreadable};
use serde::{Deserialize, Serialize};

use crate::clock::rfc3339;

pub use chain::{RESOLVE, chain_line, chain_view, standing};
pub use facts::{FactView, Facts, FaultView, Faults};
pub use journal::{ChangeView, EntryView};
pub use page::{Lines, Place};

/// Where a saga stands: the answer to a start and to a verb.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// `checkout:10248`.
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// Its revision.
    pub revision: u64,
    /// When it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// How a saga is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// An orchestrator asks for every step.
    #[default]
    Orchestration,
    /// Services react to each other's events; what is told is what the observer has seen.
    Choreography,
}

impl Style {
    /// As it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Style::Orchestration => "orchestration",
            Style::Choreography => "choreography",
        }
    }
}

/// A saga of either style in a list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// `checkout:10248`.
    pub id: String,
    /// How it is run.
    pub style: Style,
    /// The name of its definition or plan.
    pub definition: String,
    /// Its version.
    pub version: u32,
    /// The business key.
    pub key: String,
    /// Where it stands.
    pub status: ChainStatus,
    /// What is wrong with it, if it is anomalous or unreadable; what a person has said of it, if it is resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When it started.
    pub started_at: String,
    /// When it changed last.
    pub changed_at: String,
    /// When it ended, if it has.
    pub ended_at: Option<String>,
    /// The step that turned it back; of a choreography, the service.
    pub failed_at: Option<String>,
    /// From when on it shows an open fault: faults of a step that last, or a step that is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_fault_from: Option<String>,
}

/// One saga of either style with all that is known of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SagaView {
    /// What a list says of it.
    #[serde(flatten)]
    pub line: Line,
    /// One more with every journal entry, or with every event.
    pub revision: u64,
    /// Why it compensates, once it does.
    pub cause: Option<CauseView>,
    /// What it takes as it stands: `cancel`.
    pub allowed_actions: Vec<String>,
    /// What it was started with.
    pub input: Body,
    /// In the order of the definition or the plan.
    pub steps: Vec<StepView>,
    /// From whom something is to come.
    pub waits_for: Vec<WaitView>,
    /// What happened, the oldest entry first; empty for a choreography.
    pub journal: Vec<EntryView>,
    /// The events of a choreography, each behind the one that led to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventView>,
}

/// Somebody from whom something is to come.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitView {
    /// Who.
    pub service: String,
    /// What it is to do, or to undo.
    pub step: String,
    /// The events of which one is to come; of an orchestrated saga the command that is to be answered.
    pub messages: Vec<String>,
    /// Since when.
    pub since: String,
    /// What keeps it, where that is known and is not told by the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// An event of a choreography.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// How deep it stands in the tree of causes.
    pub depth: usize,
    /// The same however often it is told.
    pub id: String,
    /// `payment.success`.
    pub name: String,
    /// How many events led to it.
    pub hop: u32,
    /// The event that led to it.
    pub causation: Option<String>,
    /// When it was told first.
    pub at: String,
    /// What it says.
    pub body: Option<Body>,
}

/// Why a saga compensates.
#[derive(Debug, Serialize, Deserialize)]
pub struct CauseView {
    /// `refused`, `givenUp`, `deadlinePassed` or `cancelled`.
    pub kind: String,
    /// The step, where one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What the person who cancelled it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// What may happen to it.
    pub kind: Kind,
    /// Where it stands.
    pub status: StepStatus,
    /// Who is asked.
    pub participant: String,
    /// How often the present direction was asked.
    pub attempts: u32,
    /// Raised by an operator's retry.
    pub generation: u32,
    /// When something is to be done about it unless an answer comes first.
    pub due: Option<String>,
    /// Whether `due` is the next attempt; otherwise it is the answer's deadline.
    pub backing_off: bool,
    /// What the action gave.
    pub output: Option<Body>,
    /// The last no.
    pub refusal: Option<Refusal>,
    /// The last fault.
    pub fault: Option<String>,
    /// Its faults, once they last: at least three of them for at least 30 s. Or why it is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_fault: Option<OpenFaultView>,
    /// What an operator can do about it: `retry`, `skip`, `resolve`.
    pub allowed_actions: Vec<String>,
}

/// The faults of a step since its last answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenFaultView {
    /// The last one.
    pub text: String,
    /// How many attempts met one.
    pub count: u32,
    /// When the first one was met.
    pub since: String,
}

impl Standing {
    /// An accepted start.
    pub fn of_start(started: &Started) -> Standing {
        Standing {
            id: started.id.to_string(),
            status: started.status,
            revision: started.revision,
            ended_at: None,
        }
    }

    /// A saga at rest.
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
    /// A saga's row, as an operator finds it at `now`.
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
        }
    }
}

impl Line {
    /// A saga that is set aside, by as much of its row as can be read.
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
        }
    }

    /// The sagas of a page, each with its number: those that can be read, and those that are set aside, in one order.
    pub fn of_page(page: &Page, now: Timestamp) -> Vec<(i64, Line)> {
        let readable = page.sagas.iter().map(|header| (header.seq, Line::of(header, now)));
        let aside = page.unreadable.iter().map(|row| (row.seq, Line::of_unreadable(row)));
        let mut lines: Vec<(i64, Line)> = readable.chain(aside).collect();
        lines.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        lines
    }
}

impl SagaView {
    /// A saga that is set aside: nothing is known of its steps, and a retry reads it again.
    pub fn of_unreadable(row: &Unreadable) -> SagaView {
        SagaView {
            line: Line::of_unreadable(row),
            revision: 0,
            cause: None,
            allowed_actions: vec![Verb::Retry.as_str().to_owned()],
            input: Body::empty(),
            steps: Vec::new(),
            waits_for: Vec::new(),
            journal: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A saga with its journal, as an operator finds it at `now`.
    pub fn of(detail: &Detail, now: Timestamp) -> SagaView {
        let Detail { header, saga, entries } = detail;
        let allowed = saga.allowed_actions(now);
        let reread = header.unreadable.is_some().then(|| Verb::Retry.as_str().to_owned()); // its owner cannot read it
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
            journal: entries.iter().map(EntryView::of).collect(),
            events: Vec::new(),
        }
    }
}

impl CauseView {
    /// For people and programs.
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

/// What the person said who cancelled the saga.
fn cancelled_because(entries: &[Entry]) -> Option<String> {
    entries.iter().flat_map(|entry| &entry.changes).find_map(|change| match change {
        Change::TurnedBack { reason, .. } => reason.clone(),
        _ => None,
    })
}

/// The steps whose answer is to come, each since its command was sent first: no attempt begins the wait anew.
fn waits_for(saga: &Saga, entries: &[Entry]) -> Vec<WaitView> {
    let asked_at = |name: &Name| {
        let asks = |change: &Change| matches!(change, Change::Asked { step, .. } if step == name);
        entries.iter().rev().find(|entry| entry.changes.iter().any(asks)).map(|entry| entry.at)
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
                state.asked_since.or_else(|| asked_at(&plan.name)).unwrap_or(saga.changed_at),
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
        attempts: state.attempts,
        generation: state.generation,
        due: state.due.map(rfc3339),
        backing_off: state.backing_off,
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

/// The names of what is allowed, for one step or for the saga as a whole.
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
