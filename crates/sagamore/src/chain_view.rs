//! A chain as the API tells it. Times are RFC 3339.

use sagamore_core::Body;
use sagamore_core::saga::Status;
use sagamore_engine::{ChainDetail, ChainHeader, ChainStatus};
use serde::Serialize;

use crate::clock::rfc3339;

/// What tells a chain from an orchestrated saga.
const STYLE: &str = "choreography";

/// A chain in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainLine {
    id: String,
    style: &'static str,
    plan: String,
    version: u32,
    key: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    begun_at: String,
    changed_at: String,
    ended_at: Option<String>,
    failed_at: Option<String>,
}

/// A chain with its events.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainView {
    #[serde(flatten)]
    line: ChainLine,
    /// Whom it waits for.
    waits_for: Vec<WaitView>,
    /// Each below the one that led to it.
    events: Vec<EventView>,
}

#[derive(Debug, Serialize)]
struct WaitView {
    service: String,
    reaction: String,
    events: Vec<String>,
    since: String,
}

#[derive(Debug, Serialize)]
struct EventView {
    /// How deep it stands in the tree.
    depth: usize,
    id: String,
    name: String,
    hop: u32,
    causation: Option<String>,
    at: String,
    body: Option<Body>,
}

/// A chain's status, as sagas are counted.
pub fn standing(status: ChainStatus) -> Status {
    match status {
        ChainStatus::Completed => Status::Completed,
        ChainStatus::Compensated => Status::Compensated,
        ChainStatus::Running => Status::Running,
        ChainStatus::Compensating => Status::Compensating,
        ChainStatus::Stuck | ChainStatus::HalfCompensated => Status::Stuck,
        ChainStatus::Anomalous | ChainStatus::UnknownVersion => Status::Stuck,
    }
}

impl ChainLine {
    /// A line of a list.
    pub fn of(header: &ChainHeader) -> ChainLine {
        ChainLine {
            id: header.id.to_string(),
            style: STYLE,
            plan: header.id.definition().to_owned(),
            version: header.version,
            key: header.id.key().to_owned(),
            status: header.status.as_str(),
            why: header.why.clone(),
            begun_at: rfc3339(header.begun_at),
            changed_at: rfc3339(header.changed_at),
            ended_at: header.ended_at.map(rfc3339),
            failed_at: header.failed_at.as_ref().map(ToString::to_string),
        }
    }
}

impl ChainView {
    /// All of it.
    pub fn of(detail: &ChainDetail) -> ChainView {
        let waits = detail.chain.waits_for().into_iter().map(|wait| WaitView {
            service: wait.service.to_string(),
            reaction: wait.reaction.to_string(),
            events: wait.events.iter().map(ToString::to_string).collect(),
            since: rfc3339(wait.since),
        });
        let body = |id: &str| detail.events.iter().find(|told| told.seen.id == id).map(|told| told.body.clone());
        let events = detail.chain.tree().into_iter().map(|branch| EventView {
            depth: branch.depth,
            id: branch.seen.id.clone(),
            name: branch.seen.name.to_string(),
            hop: branch.seen.hop,
            causation: branch.seen.causation.clone(),
            at: rfc3339(branch.seen.at),
            body: body(&branch.seen.id),
        });
        ChainView { line: ChainLine::of(&detail.header), waits_for: waits.collect(), events: events.collect() }
    }
}
