//! A chain in the API's JSON: a saga with its tree of events.

use sagamore_core::Body;
use sagamore_core::message::Refusal;
use sagamore_core::plan::{Stage, Wait};
use sagamore_core::saga::{Status, StepStatus};
use sagamore_engine::{ChainDetail, ChainHeader, ChainStatus};
use serde::{Deserialize, Serialize};

use super::journal::CauseView;
use super::saga::{EventView, Line, SagaView, StepView, Style, WaitView};
use crate::clock::rfc3339;

/// A chain that an event has started.
#[derive(Debug, Serialize, Deserialize)]
pub struct BegunView {
    /// The chain's id.
    pub id: String,
    /// The name of its plan.
    pub definition: String,
    /// The version of its plan.
    pub version: u32,
    /// Its business key.
    pub key: String,
    /// Its status, as far as the observer has read.
    pub status: ChainStatus,
}

/// The only verb for a chain.
pub const RESOLVE: &str = "resolve";

/// Maps a chain's status to a saga's.
pub fn standing(status: ChainStatus) -> Status {
    match status {
        ChainStatus::Completed => Status::Completed,
        ChainStatus::Compensated => Status::Compensated,
        ChainStatus::Running => Status::Running,
        ChainStatus::Compensating => Status::Compensating,
        ChainStatus::Stuck | ChainStatus::HalfCompensated => Status::Stuck,
        ChainStatus::Anomalous | ChainStatus::UnknownVersion | ChainStatus::Unreadable => {
            Status::Stuck
        }
        ChainStatus::Resolved => Status::Stuck, // the chain itself has not ended
    }
}

/// The line of a chain in a list.
pub fn chain_line(header: &ChainHeader) -> Line {
    Line {
        id: header.id.to_string(),
        style: Style::Choreography,
        definition: header.id.definition().to_owned(),
        version: header.version,
        key: header.id.key().to_owned(),
        status: header.status,
        why: header.why.clone(),
        started_at: rfc3339(header.begun_at),
        changed_at: rfc3339(header.changed_at),
        ended_at: header.ended_at.map(rfc3339),
        failed_at: header.failed_at.as_ref().map(ToString::to_string),
        open_fault_from: None,
        stand_in: false,
    }
}

/// The view of a chain with its events.
pub fn chain_view(detail: &ChainDetail) -> SagaView {
    let body = |id: &str| {
        detail.events.iter().find(|event| event.seen.id == id).map(|event| event.body.clone())
    };
    let stages = detail.chain.stages();
    let refused = stages.iter().find(|stage| stage.status == StepStatus::Refused);
    let tree = detail.chain.tree();
    let events = tree.iter().map(|branch| EventView {
        depth: branch.depth,
        id: branch.seen.id.clone(),
        name: branch.seen.name.to_string(),
        hop: branch.seen.hop,
        causation: branch.seen.causation.clone(),
        at: rfc3339(branch.seen.at),
        body: body(&branch.seen.id),
    });
    SagaView {
        line: chain_line(&detail.header),
        revision: detail.events.len() as u64,
        cause: refused.map(|stage| CauseView {
            kind: "refused".into(),
            step: Some(stage.part.name.to_string()),
            reason: None,
        }),
        allowed_actions: detail
            .header
            .status
            .needs_a_person()
            .then(|| RESOLVE.to_owned())
            .into_iter()
            .collect(),
        input: tree.first().and_then(|first| body(&first.seen.id)).unwrap_or_else(Body::empty),
        steps: stages.iter().map(|stage| step_view(stage, &body)).collect(),
        waits_for: detail.chain.waits_for().iter().map(wait_view).collect(),
        warnings: Vec::new(),
        journal: Vec::new(),
        events: events.collect(),
    }
}

fn step_view(stage: &Stage<'_>, body: &impl Fn(&str) -> Option<Body>) -> StepView {
    let event = stage.told.and_then(|told| body(&told.id));
    let refused = stage.status == StepStatus::Refused;
    StepView {
        name: stage.part.name.to_string(),
        kind: stage.part.kind(),
        status: stage.status,
        participant: stage.part.service.to_string(),
        stand_in: false,
        attempts: u32::from(stage.status != StepStatus::Waiting),
        generation: 1,
        due: None,
        backing_off: false,
        refusal: event.as_ref().filter(|_| refused).and_then(refusal),
        output: event.filter(|_| !refused),
        fault: None,
        open_fault: None,
        allowed_actions: Vec::new(),
    }
}

/// Returns the refusal that an event's data describes.
fn refusal(body: &Body) -> Option<Refusal> {
    #[derive(Deserialize)]
    struct RefusalBody {
        code: String,
        reason: String,
    }
    body.read().ok().map(|RefusalBody { code, reason }| Refusal::new(&code, &reason))
}

fn wait_view(wait: &Wait) -> WaitView {
    WaitView {
        service: wait.service.to_string(),
        step: wait.reaction.to_string(),
        messages: wait.events.iter().map(ToString::to_string).collect(),
        since: rfc3339(wait.since),
        why: None,
    }
}
