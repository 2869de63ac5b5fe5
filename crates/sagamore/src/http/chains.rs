//! Chains, as the observer has seen them: listed, shown, and waited for.

use std::time::Duration;

use axum::extract::{FromRef, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_core::{Name, SagaId};
use sagamore_engine::{Chains, Filter};
use sagamore_shop::choreography;

use super::body::Segment;
use super::listing::{Asked, Wanted};
use super::prefer::{PREFERENCE_APPLIED, Wait};
use super::sagas::shown;
use super::{guarded, health, index};
use crate::problem::{Code, Problem};
use crate::view::{Lines, chain_view};

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

/// Every address of an observer.
pub fn observer_router(app: ObserverApp) -> Router {
    let router = Router::new()
        .route("/", get(index::of_observer))
        .route("/docs/errors", get(index::errors))
        .route("/api/v1/sagas", get(list))
        .route("/api/v1/sagas/{id}", get(show))
        .route("/livez", get(health::livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/version", get(health::version));
    guarded(router).with_state(app)
}

/// Chains, the newest first.
pub async fn list(State(chains): State<Chains>, query: Asked) -> Result<Json<Lines>, Problem> {
    let wanted = Wanted::of(query)?;
    let found = wanted.chains(&chains).await?;
    Ok(Json(wanted.page(Vec::new(), found)))
}

/// One chain with its events, and whom it waits for; with `Prefer: wait=N` once it is at rest.
pub async fn show(State(chains): State<Chains>, Segment(id): Segment, headers: HeaderMap) -> Result<Response, Problem> {
    let wait = Wait::of(&headers)?;
    let chain = chain_id(&id)?;
    chains.wait(&chain, wait.map_or(Duration::ZERO, Wait::patience)).await.map_err(unread)?;
    let missing = || Problem::new(Code::NoSuchSaga, format!("no event of the chain {chain} was ever seen"));
    let detail = chains.show(&chain).await.map_err(unread)?.ok_or_else(missing)?;
    let mut response = shown(&chain_view(&detail));
    if let Some(wait) = wait {
        response.headers_mut().insert(PREFERENCE_APPLIED, wait.applied());
    }
    Ok(response)
}

/// A chain's id; an order's id alone is the business key of its chain.
pub fn chain_id(text: &str) -> Result<SagaId, Problem> {
    let chain = text.parse::<SagaId>().or_else(|_| of_order(text));
    chain.map_err(|malformed| Problem::new(Code::BadName, malformed.to_string()))
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
    let read = app.chains.list(&Filter { limit: Some(1), ..Filter::default() }).await;
    read.map_err(|error| Problem::new(Code::Unavailable, error.to_string()).retry_after(1))?;
    Ok("ok\n")
}

async fn metrics(State(app): State<ObserverApp>) -> Response {
    health::rendered(app.metrics.as_ref())
}
