//! Chains, as the observer has seen them: listed, shown, and waited for.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_core::{Name, SagaId};
use sagamore_engine::{ChainStatus, Chains};
use sagamore_shop::choreography;
use serde::Deserialize;

use super::body::Segment;
use super::prefer::{PREFERENCE_APPLIED, Wait};
use super::{guarded, health, index};
use crate::chain_view::{ChainLine, ChainView};
use crate::problem::{Code, Problem};

/// Chains on a page unless `limit` says so.
const LIMIT: u32 = 50;

/// What an observer that is a process of its own works with.
#[derive(Clone)]
pub struct ObserverApp {
    /// What is known of chains.
    pub chains: Chains,
    /// Renders the metrics, if this process collects them.
    pub metrics: Option<PrometheusHandle>,
}

impl FromRef<ObserverApp> for Chains {
    fn from_ref(app: &ObserverApp) -> Chains {
        app.chains.clone()
    }
}

/// `?status=`, `?limit=` and `?before=`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    status: Option<String>,
    limit: Option<u32>,
    before: Option<i64>,
}

/// Every address of an observer.
pub fn observer_router(app: ObserverApp) -> Router {
    let router = Router::new()
        .route("/", get(index::of_observer))
        .route("/docs/errors", get(index::errors))
        .route("/api/v1/chains", get(list))
        .route("/api/v1/chains/{id}", get(show))
        .route("/livez", get(health::livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/version", get(health::version));
    guarded(router).with_state(app)
}

/// Chains, the newest first.
pub async fn list(
    State(chains): State<Chains>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<serde_json::Value>, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::new(Code::BadParameter, rejection.body_text()))?;
    let unknown = |text: &str| Problem::new(Code::BadParameter, format!("status: '{text}' is none of a chain"));
    let status = query.status.map(|text| ChainStatus::read(&text).ok_or_else(|| unknown(&text))).transpose()?;
    let limit = query.limit.unwrap_or(LIMIT);
    let page = chains.list(status, query.before, limit).await.map_err(unread)?;
    let next = page.last().filter(|_| page.len() == limit as usize).map(|last| last.seq);
    let lines: Vec<ChainLine> = page.iter().map(ChainLine::of).collect();
    Ok(Json(serde_json::json!({ "chains": lines, "next": next })))
}

/// One chain with its events, and whom it waits for; with `Prefer: wait=N` once it is at rest.
pub async fn show(State(chains): State<Chains>, Segment(id): Segment, headers: HeaderMap) -> Result<Response, Problem> {
    let wait = Wait::of(&headers)?;
    let chain = id.parse::<SagaId>().or_else(|_| of_order(&id)); // an order's id is its chain's business key
    let chain = chain.map_err(|malformed| Problem::new(Code::BadName, malformed.to_string()))?;
    chains.wait(&chain, wait.map_or(Duration::ZERO, Wait::patience)).await.map_err(unread)?;
    let missing = || Problem::new(Code::NoSuchSaga, format!("no event of the chain {chain} was ever seen"));
    let detail = chains.show(&chain).await.map_err(unread)?.ok_or_else(missing)?;
    let mut response = Json(ChainView::of(&detail)).into_response();
    if let Some(wait) = wait {
        response.headers_mut().insert(PREFERENCE_APPLIED, wait.applied());
    }
    Ok(response)
}

/// The chain of an order.
pub fn of_order(order_id: &str) -> Result<SagaId, sagamore_core::id::Malformed> {
    SagaId::new(&Name::new(choreography::NAME)?, order_id)
}

/// Why chains could not be read.
pub fn unread(error: sagamore_engine::Error) -> Problem {
    Problem::internal(&error, "read the chains")
}

async fn readyz(State(app): State<ObserverApp>) -> Result<&'static str, Problem> {
    let read = app.chains.list(None, None, 1).await;
    read.map_err(|error| Problem::new(Code::Unavailable, error.to_string()).retry_after(1))?;
    Ok("ok\n")
}

async fn metrics(State(app): State<ObserverApp>) -> Response {
    health::rendered(app.metrics.as_ref())
}
