//! A saga as the API tells it: what the server writes and the CLI reads. Times are RFC 3339.

mod journal;

use sagamore_core::Allowed;
use sagamore_core::Body;
use sagamore_core::definition::Kind;
use sagamore_core::message::Refusal;
use sagamore_core::saga::{Cause, Saga, Status, StepStatus};
use sagamore_engine::{Detail, Header, Page, Started, Summary};
use serde::{Deserialize, Serialize};

use crate::clock::rfc3339;

pub use journal::EntryView;

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

/// A saga in a list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// `checkout:10248`.
    pub id: String,
    /// The definition's name.
    pub definition: String,
    /// Its version.
    pub version: u32,
    /// The business key.
    pub key: String,
    /// Where it stands.
    pub status: Status,
    /// One more with every journal entry.
    pub revision: u64,
    /// When it was stored first.
    pub started_at: String,
    /// When it changed last.
    pub changed_at: String,
    /// When it ended, if it has.
    pub ended_at: Option<String>,
    /// The step that turned it back.
    pub failed_at: Option<String>,
}

/// A page of a list.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lines {
    /// The newest first.
    pub sagas: Vec<Line>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// One saga with all that is known of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SagaView {
    /// `checkout:10248`.
    pub id: String,
    /// The definition's name.
    pub definition: String,
    /// Its version.
    pub version: u32,
    /// The business key.
    pub key: String,
    /// Where it stands.
    pub status: Status,
    /// One more with every journal entry.
    pub revision: u64,
    /// When it was stored first.
    pub started_at: String,
    /// When it changed last.
    pub changed_at: String,
    /// When it ended, if it has.
    pub ended_at: Option<String>,
    /// Why it compensates, once it does.
    pub cause: Option<CauseView>,
    /// What it takes as it stands: `cancel`.
    pub allowed_actions: Vec<String>,
    /// What it was started with.
    pub input: Body,
    /// In the definition's order.
    pub steps: Vec<StepView>,
    /// The oldest entry first.
    pub journal: Vec<EntryView>,
}

/// Why a saga compensates.
#[derive(Debug, Serialize, Deserialize)]
pub struct CauseView {
    /// `refused`, `givenUp`, `deadlinePassed` or `cancelled`.
    pub kind: String,
    /// The step, where one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
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
    /// What an operator can do about it: `retry`, `skip`, `resolve`.
    pub allowed_actions: Vec<String>,
}

impl Standing {
    /// An accepted start.
    pub fn of_start(started: &Started) -> Standing {
        Standing { id: started.id.to_string(), status: started.status, revision: started.revision, ended_at: None }
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
    /// A saga's row.
    pub fn of(header: &Header) -> Line {
        Line {
            id: header.id.to_string(),
            definition: header.id.definition().to_owned(),
            version: header.version,
            key: header.id.key().to_owned(),
            status: header.status,
            revision: header.revision,
            started_at: rfc3339(header.started_at),
            changed_at: rfc3339(header.changed_at),
            ended_at: header.ended_at.map(rfc3339),
            failed_at: header.failed_at.as_ref().map(ToString::to_string),
        }
    }
}

impl Lines {
    /// A page as the engine gives it.
    pub fn of(page: &Page) -> Lines {
        Lines { sagas: page.sagas.iter().map(Line::of).collect(), next: page.next.map(cursor) }
    }
}

impl SagaView {
    /// A saga with its journal.
    pub fn of(detail: &Detail) -> SagaView {
        let Detail { header, saga, entries } = detail;
        let allowed = saga.allowed_actions();
        SagaView {
            id: header.id.to_string(),
            definition: header.id.definition().to_owned(),
            version: header.version,
            key: header.id.key().to_owned(),
            status: saga.status,
            revision: saga.revision,
            started_at: rfc3339(header.started_at),
            changed_at: rfc3339(saga.changed_at),
            ended_at: header.ended_at.map(rfc3339),
            cause: saga.cause.as_ref().map(CauseView::of),
            allowed_actions: actions(&allowed, None),
            input: saga.input.clone(),
            steps: (0..saga.steps.len()).map(|index| step_view(saga, index, &allowed)).collect(),
            journal: entries.iter().map(EntryView::of).collect(),
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
        CauseView { kind: kind.into(), step: step.map(ToString::to_string) }
    }
}

fn step_view(saga: &Saga, index: usize, allowed: &[Allowed]) -> StepView {
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
        allowed_actions: actions(allowed, Some(plan.name.as_str())),
    }
}

/// The names of what is allowed, for one step or for the saga as a whole.
fn actions(allowed: &[Allowed], of: Option<&str>) -> Vec<String> {
    let names = allowed.iter().filter_map(|allowed| match (allowed, of) {
        (Allowed::Cancel, None) => Some("cancel"),
        (Allowed::Rescue { step, verb }, Some(name)) if step.as_str() == name => Some(verb.as_str()),
        (Allowed::Cancel | Allowed::Rescue { .. }, _) => None,
    });
    names.map(str::to_owned).collect()
}

/// A place in the list, opaque to clients.
pub fn cursor(seq: i64) -> String {
    format!("s{seq:x}")
}

/// Reads what [`cursor`] wrote.
pub fn from_cursor(text: &str) -> Option<i64> {
    i64::from_str_radix(text.strip_prefix('s')?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        assert_eq!(from_cursor(&cursor(830)), Some(830));
        assert_eq!(from_cursor("830"), None);
        assert_eq!(from_cursor("sxyz"), None);
    }
}
