//! What services themselves know of sagas, for `sagamore reconcile`; and the events of a chain, told again.

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
use super::service::ServiceApp;
use super::{App, Reacting};
use crate::clock;
use crate::parts::{ServiceHost, Services};
use crate::problem::{Code, Problem};
use crate::view::{FactView, Facts};

/// Rows on a page unless `limit` says so, and at most.
const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

/// What a page takes.
pub const QUERY: &[Parameter] = &[
    Parameter { name: "limit", kind: Kind::Count(LIMIT_MAX) },
    AFTER,
    Parameter { name: "until", kind: Kind::Text },
];

/// `?limit=`, and behind which saga it begins (`after=`) and with which it ends (`until=`).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeQuery {
    limit: Option<u32>,
    after: Option<String>,
    until: Option<String>,
}

type RangeOf = Result<Query<RangeQuery>, QueryRejection>;

/// How many events were told again.
#[derive(Serialize)]
pub struct Resent {
    id: String,
    events: usize,
}

/// Of a service in the process of an orchestrator.
pub async fn embedded(
    State(app): State<Arc<App>>,
    Segment(name): Segment,
    query: RangeOf,
) -> Result<Json<Facts>, Problem> {
    page(&of(&app.services, &name)?.database, query).await
}

/// Of a service in the process of an observer.
pub async fn beside_observer(
    State(services): State<Services>,
    Segment(name): Segment,
    query: RangeOf,
) -> Result<Json<Facts>, Problem> {
    page(&of(&services, &name)?.database, query).await
}

/// Of the service whose listener this is.
pub async fn own(
    State(app): State<Arc<ServiceApp>>,
    Segment(name): Segment,
    query: RangeOf,
) -> Result<Json<Facts>, Problem> {
    if name != app.host.name.as_str() {
        return Err(elsewhere(&name));
    }
    page(&app.host.database, query).await
}

/// Has all services of this process emit the events of a chain again.
pub async fn resend_all(
    State(app): State<Reacting>,
    Segment(id): Segment,
) -> Result<Json<Resent>, Problem> {
    let mut events = 0;
    for host in app.services.hosts().iter().filter(|host| host.reacts) {
        events += resend(host, app.plan.as_ref(), &id).await?;
    }
    Ok(Json(Resent { id, events }))
}

/// Has this service emit the events of a chain again.
pub async fn resend_own(
    State(app): State<Arc<ServiceApp>>,
    Segment(id): Segment,
) -> Result<Json<Resent>, Problem> {
    if !app.host.reacts {
        let why = "this service answers commands and tells no events: an orchestrator asks again by itself";
        return Err(Problem::new(Code::NoSuchPage, why));
    }
    let events = resend(&app.host, app.plan.as_ref(), &id).await?;
    Ok(Json(Resent { id, events }))
}

/// Nothing of a chain that others may have forgotten is emitted.
async fn resend(host: &ServiceHost, plan: Option<&Name>, id: &str) -> Result<usize, Problem> {
    let ServiceHost { name, database, transport, barrier_retention, .. } = host;
    let now =
        clock::of(database).await.map_err(|error| Problem::broke(&error, "ask for the time"))?;
    let remembered = facts::remembered(now, *barrier_retention);
    let told =
        facts::resend(name, database, transport.as_ref(), &ids::chain(id, plan)?, remembered).await;
    told.map_err(|error| Problem::broke(&error, "tell the events again"))
}

async fn page(database: &Database, query: RangeOf) -> Result<Json<Facts>, Problem> {
    let Query(RangeQuery { limit, after, until }) = query.map_err(|_| body::bad_query())?;
    let (after, limit) = (after.unwrap_or_default(), limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX));
    let facts = facts::facts(database, &after, until.as_deref(), limit).await;
    let facts = facts.map_err(|error| Problem::broke(&error, "read the barrier"))?;
    let next = facts.last().map(|last| last.saga.to_string());
    Ok(Json(Facts { facts: facts.iter().map(FactView::of).collect(), next }))
}

pub(super) fn of<'a>(services: &'a Services, name: &str) -> Result<&'a ServiceHost, Problem> {
    services.host(name).ok_or_else(|| elsewhere(name))
}

pub(super) fn elsewhere(name: &str) -> Problem {
    Problem::new(
        Code::NoSuchPage,
        format!("no service '{name}' is here: ask it at its own address"),
    )
}
