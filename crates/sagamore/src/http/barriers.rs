//! What services themselves know of sagas, for `sagamore reconcile`; and the events of a chain, told again.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use sagamore_database::Database;
use sagamore_sdk::{Options, facts};
use sagamore_shop::Databases;
use sagamore_transport::Transport;
use serde::{Deserialize, Serialize};

use super::body::{self, Segment};
use super::ids;
use super::routes::{AFTER, Kind, Parameter};
use super::service::ServiceApp;

use super::{App, ChoreographyApp};
use crate::clock;
use crate::problem::{Code, Problem};
use crate::view::{FactView, Facts};

/// Rows on a page unless `limit` says so, and at most.
const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

/// What a page takes.
pub const QUERY: &[Parameter] =
    &[Parameter { name: "limit", kind: Kind::Count(LIMIT_MAX) }, AFTER, Parameter { name: "until", kind: Kind::Text }];

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

/// Of a service whose database is in this process.
pub async fn embedded(
    State(app): State<Arc<App>>,
    Segment(name): Segment,
    query: RangeOf,
) -> Result<Json<Facts>, Problem> {
    page(of(app.shop()?, &name)?, query).await
}

/// The same where nobody directs.
pub async fn choreographed(
    State(app): State<ChoreographyApp>,
    Segment(name): Segment,
    query: RangeOf,
) -> Result<Json<Facts>, Problem> {
    page(of(&app.shop, &name)?, query).await
}

/// Of the service whose listener this is.
pub async fn own(
    State(app): State<Arc<ServiceApp>>,
    Segment(name): Segment,
    query: RangeOf,
) -> Result<Json<Facts>, Problem> {
    if name != app.name {
        return Err(elsewhere(&name));
    }
    page(&app.database, query).await
}

/// All services of this process tell again what they have told of a chain.
pub async fn resend_all(State(app): State<ChoreographyApp>, Segment(id): Segment) -> Result<Json<Resent>, Problem> {
    let mut events = 0;
    for (name, database) in app.shop.all() {
        let retention = Options::default().barrier_retention;
        events += resend(name, database, &app.log, &id, retention).await?;
    }
    Ok(Json(Resent { id, events }))
}

/// This service does.
pub async fn resend_own(State(app): State<Arc<ServiceApp>>, Segment(id): Segment) -> Result<Json<Resent>, Problem> {
    if !app.choreographed {
        let why = "this service answers commands and tells no events: an orchestrator asks again by itself";
        return Err(Problem::new(Code::NoSuchPage, why));
    }
    let events = resend(app.name, &app.database, &app.kafka, &id, app.barrier_retention).await?;
    Ok(Json(Resent { id, events }))
}

/// Nothing of a chain that others may have forgotten.
async fn resend(
    name: &str,
    database: &Database,
    transport: &dyn Transport,
    id: &str,
    retention: Duration,
) -> Result<usize, Problem> {
    let now = clock::of(database).await.map_err(|error| Problem::broke(&error, "ask for the time"))?;
    let remembered = facts::remembered(now, retention);
    let service = name.parse().map_err(|error| Problem::internal(&error, "name the service"))?;
    let told = facts::resend(&service, database, transport, &ids::chain(id)?, remembered).await;
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

pub(super) fn of<'a>(shop: &'a Databases, name: &str) -> Result<&'a Database, Problem> {
    let found = shop.all().into_iter().find(|(service, _)| *service == name);
    found.map(|(_, database)| database).ok_or_else(|| elsewhere(name))
}

pub(super) fn elsewhere(name: &str) -> Problem {
    Problem::new(Code::NoSuchPage, format!("no service '{name}' is here: ask it at its own address"))
}
