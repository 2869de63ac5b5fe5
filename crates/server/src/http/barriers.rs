//! Barrier rows of services, for `reconcile`, and the resending of a chain's events.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use sagamore_core::Name;
use sagamore_database::Database;
use sagamore_sdk::facts;
use serde::{Deserialize, Serialize};

use super::body::{self, Segment};
use super::ids;
use super::routes::{AFTER, Kind, Parameter};
use super::state::{App, Reacting, ServiceApp};
use crate::clock;
use crate::parts::{ServiceHost, Services};
use crate::problem::{Code, Problem};
use crate::view::{FactView, Facts};

/// Default and maximum rows of a page.
const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

/// The query parameters of a page.
pub const QUERY: &[Parameter] = &[
    Parameter { name: "limit", kind: Kind::Count(LIMIT_MAX) },
    AFTER,
    Parameter { name: "until", kind: Kind::Text },
];

/// `?limit=`, `?after=` and `?until=`: the page has rows of sagas after `after`, up to and
/// including `until`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeQuery {
    limit: Option<u32>,
    after: Option<String>,
    until: Option<String>,
}

type RangeRequest = Result<Query<RangeQuery>, QueryRejection>;

/// The number of events that were emitted again.
#[derive(Serialize)]
pub struct ResendReport {
    id: String,
    events: usize,
}

/// Returns rows of a service in the orchestrator's process.
pub async fn embedded(
    State(app): State<Arc<App>>,
    Segment(name): Segment,
    query: RangeRequest,
) -> Result<Json<Facts>, Problem> {
    page(&of(&app.services, &name)?.database, query).await
}

/// Returns rows of a service in the observer's process.
pub async fn beside_observer(
    State(services): State<Services>,
    Segment(name): Segment,
    query: RangeRequest,
) -> Result<Json<Facts>, Problem> {
    page(&of(&services, &name)?.database, query).await
}

/// Returns rows of the service that owns this listener.
pub async fn own(
    State(app): State<Arc<ServiceApp>>,
    Segment(name): Segment,
    query: RangeRequest,
) -> Result<Json<Facts>, Problem> {
    if name != app.host.name.as_str() {
        return Err(elsewhere(&name));
    }
    page(&app.host.database, query).await
}

/// Makes all services of this process emit a chain's events again. The first event of a chain that
/// a client began is emitted again too.
pub async fn resend_all(
    State(app): State<Reacting>,
    Segment(id): Segment,
) -> Result<Json<ResendReport>, Problem> {
    let mut events = 0;
    if let Some(chains) = &app.chains {
        let resent = chains.resend(&ids::chain(&id, app.plan.as_ref())?).await;
        events += resent.map_err(|error| Problem::broke(&error, "emit the first event again"))?;
    }
    for host in app.services.hosts().iter().filter(|host| host.reacts) {
        events += resend(host, app.plan.as_ref(), &id).await?;
    }
    Ok(Json(ResendReport { id, events }))
}

/// Makes this service emit a chain's events again.
pub async fn resend_own(
    State(app): State<Arc<ServiceApp>>,
    Segment(id): Segment,
) -> Result<Json<ResendReport>, Problem> {
    if !app.host.reacts {
        let why = "this service handles commands and emits no events: the orchestrator resends \
            commands by itself";
        return Err(Problem::new(Code::NoSuchPage, why));
    }
    let events = resend(&app.host, app.plan.as_ref(), &id).await?;
    Ok(Json(ResendReport { id, events }))
}

/// Skips chains older than the retention: other services may have removed their rows.
async fn resend(host: &ServiceHost, plan: Option<&Name>, id: &str) -> Result<usize, Problem> {
    let ServiceHost { name, database, transport, barrier_retention, .. } = host;
    let now = clock::of(database)
        .await
        .map_err(|error| Problem::broke(&error, "read the database's time"))?;
    let oldest = facts::remembered(now, *barrier_retention);
    let resent =
        facts::resend(name, database, transport.as_ref(), &ids::chain(id, plan)?, oldest).await;
    resent.map_err(|error| Problem::broke(&error, "emit the events again"))
}

async fn page(database: &Database, query: RangeRequest) -> Result<Json<Facts>, Problem> {
    let Query(RangeQuery { limit, after, until }) = query.map_err(|_| body::bad_query())?;
    let (after, limit) = (after.unwrap_or_default(), limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX));
    let facts = facts::facts(database, &after, until.as_deref(), limit).await;
    let page = facts.map_err(|error| Problem::broke(&error, "read the barrier"))?;
    let next = page.next.map(|saga| saga.to_string());
    Ok(Json(Facts { facts: page.facts.iter().map(FactView::of).collect(), next }))
}

pub(super) fn of<'a>(services: &'a Services, name: &str) -> Result<&'a ServiceHost, Problem> {
    services.host(name).ok_or_else(|| elsewhere(name))
}

pub(super) fn elsewhere(name: &str) -> Problem {
    Problem::new(
        Code::NoSuchPage,
        format!("no service '{name}' runs at this address: use the service's own address"),
    )
}
