//! The listener of one service: what it keeps, what it can be loaded with, and how it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_core::SagaId;
use sagamore_database::Database;
use sagamore_engine::ChainStatus;
use sagamore_kafka::Kafka;
use sagamore_shop::import::{self, Record};
use sagamore_shop::order::choreographed::Placing;
use sagamore_shop::{inventory, order, payment, shipping};
use serde::Serialize;

use super::body::{Payload, Segment, encoded};
use super::chains::{is_chain, of_order};
use super::prefer::Wait;
use super::routes::{READS, Routes, TELLS};
use super::{
    PLACES, STARTS, article, barriers, choreography, everywhere, faults, guarded, health, index, orders, shape, shop,
    unlock, waiting,
};
use crate::client::{self, Client};
use crate::problem::{Code, Problem};
use crate::waiting::Waiting;

/// After the time for which an outcome is waited for, an observer that has not answered is given up.
const OBSERVER_LATE_MAX: Duration = Duration::from_secs(2);

/// What the handlers of a service's listener work with.
pub struct ServiceApp {
    /// The service.
    pub name: &'static str,
    /// What it keeps.
    pub database: Database,
    /// How long it remembers a saga after its end.
    pub barrier_retention: Duration,
    /// Where its commands come from.
    pub kafka: Kafka,
    /// Whether it reacts to events, instead of answering commands.
    pub choreographed: bool,
    /// Where orders come in: at the order service of a choreography.
    pub placing: Option<Placing>,
    /// Who knows how orchestrated sagas stand.
    pub orchestrators: Vec<Client>,
    /// Who knows how chains stand.
    pub observers: Vec<Client>,
    /// What has to be there before its tables can be: until then nothing is answered from them.
    pub waiting: Waiting,
    /// Renders the metrics, if this process collects them.
    pub metrics: Option<PrometheusHandle>,
}

/// How many of the rows that were sent are new.
#[derive(Serialize)]
struct Loaded {
    rows: usize,
    new: u64,
}

type Shared = State<Arc<ServiceApp>>;

/// Every address of a service.
pub fn service_router(app: ServiceApp) -> Router {
    let app = Arc::new(app);
    let name = app.name;
    guarded(routes(name, Some(&app))).with_state(app)
}

/// Those of this service. `app` is what its tables are waited for by.
pub(super) fn routes(service: &str, app: Option<&Arc<ServiceApp>>) -> Routes<Arc<ServiceApp>> {
    let page = index::of_service(service);
    let once_ready = kept_by(service)
        .get("/api/v1/barriers/{service}", READS.query(barriers::QUERY), barriers::own)
        .get("/api/v1/faults/{service}/{id}", READS, faults::own)
        .post("/api/v1/sagas/{id}/resend", READS, barriers::resend_own)
        .get("/readyz", TELLS, readyz);
    let once_ready = match app {
        Some(app) => once_ready.map(|router| router.route_layer(from_fn_with_state(app.clone(), wait_for_tables))),
        None => once_ready,
    };
    everywhere(move || async move { page }).get("/metrics", TELLS, metrics).merge(once_ready)
}

/// The addresses of what one of the services keeps.
fn kept_by(service: &str) -> Routes<Arc<ServiceApp>> {
    let page = READS.query(shop::QUERY);
    let routes = Routes::new();
    match service {
        order::SERVICE => routes
            .get("/orders", page, all_orders)
            .post("/orders", PLACES, place_order)
            .get("/orders/{id}", READS, one_order)
            .get("/saga/start/{order}", STARTS, follow_order)
            .post("/orders/{id}/cancel", READS, cancel_order)
            .post("/orders/{id}/unlock", READS.query(unlock::QUERY), unlock_order),
        payment::SERVICE => routes
            .get("/accounts", page, accounts)
            .post("/accounts", READS.body(&shape::ACCOUNTS), load_accounts)
            .get("/accounts/{id}", READS, account),
        inventory::SERVICE => routes
            .get("/stock", page, stock)
            .post("/stock", READS.body(&shape::STOCK), load_stock)
            .get("/stock/{sku}", READS, product),
        _ => routes
            .get("/destinations", page, destinations)
            .post("/destinations", READS.body(&shape::DESTINATIONS), load_destinations)
            .get("/shipments", page, shipments)
            .get("/shipments/{id}", READS, shipment),
    }
}

/// Before its tables are there a service says what it waits for.
async fn wait_for_tables(State(app): Shared, request: Request, next: Next) -> Result<Response, Problem> {
    match app.waiting.reason() {
        None => Ok(next.run(request).await),
        Some(reason) => Err(waiting::problem(app.name, &reason)),
    }
}

/// The tables are there and can be read, the brokers answer, and every partition advances.
async fn readyz(State(app): Shared) -> Result<&'static str, Problem> {
    let unready = |what: String| Problem::new(Code::Unavailable, what).retry_after(1);
    let read = match app.name {
        order::SERVICE => order::orders(&app.database, "", 1).await.map(drop),
        payment::SERVICE => payment::accounts(&app.database, "", 1).await.map(drop),
        inventory::SERVICE => inventory::stock(&app.database, "", 1).await.map(drop),
        _ => shipping::shipments(&app.database, "", 1).await.map(drop),
    };
    read.map_err(|error| unready(format!("database of {}: {error}", app.name)))?;
    app.kafka.brokers().await.map_err(|error| unready(format!("kafka: {error}")))?;
    health::advances(&app.kafka)?;
    Ok("ok\n")
}

async fn metrics(State(app): Shared) -> Response {
    health::rendered(app.metrics.as_ref())
}

async fn all_orders(State(app): Shared, query: shop::PageOf) -> Result<Response, Problem> {
    let (after, limit) = shop::page(query)?;
    let orders = order::orders(&app.database, &after, limit).await?;
    let next = orders.last().filter(|_| orders.len() == limit as usize).map(|last| last.order_id.clone());
    Ok(Json(serde_json::json!({ "orders": orders, "next": next })).into_response())
}

/// Begins an order's chain, and follows it when the client prefers to; where an orchestrator takes orders, that is its affair.
async fn place_order(State(app): Shared, request: Request) -> Result<Response, Problem> {
    let wait = Wait::wished(&request)?;
    let elsewhere = "an orchestrator takes orders here, at its own address: POST /orders";
    let placing = app.placing.as_ref().ok_or_else(|| Problem::new(Code::NoSuchPage, elsewhere))?;
    let (chain, location) = choreography::take(placing, request).await?;
    let followed = followed(&app.observers, &chain, wait).await;
    let status = followed.unwrap_or(ChainStatus::Running);
    Ok(choreography::placed(&chain, location, status, wait.filter(|_| followed.is_some())))
}

/// The article's address, for an order that was placed here: what became of it, in the article's words.
async fn follow_order(
    State(app): Shared,
    Segment(id): Segment,
    query: Result<Query<article::ArticleQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let wait = article::wait_of(query)?;
    let elsewhere = "an orchestrator starts sagas here, at its own address: GET /saga/start/ID";
    app.placing.as_ref().ok_or_else(|| Problem::new(Code::NoSuchPage, elsewhere))?;
    let missing = || Problem::new(Code::NoSuchOrder, format!("there is no order {id}; place it with POST /orders"));
    order::order(&app.database, &id).await?.ok_or_else(missing)?;
    let chain = of_order(&id).map_err(|malformed| Problem::new(Code::BadName, malformed.to_string()))?;
    let asked = wait.or(Wait::seconds("0")); // where it stands now
    let followed = followed(&app.observers, &chain, asked).await;
    let (status, wait) = (followed.unwrap_or(ChainStatus::Running), wait.filter(|_| followed.is_some()));
    Ok(article::answer(&id, status, true, wait))
}

/// Where a chain stands, as the first observer that answers says, once it is at rest or the wait is over. None: nobody was asked,
/// or nobody answers.
async fn followed(observers: &[Client], chain: &SagaId, wait: Option<Wait>) -> Option<ChainStatus> {
    let until = Instant::now() + wait?.patience();
    let path = format!("/api/v1/sagas/{}", encoded(chain.as_str()));
    for observer in observers {
        let left = until.saturating_duration_since(Instant::now());
        let seconds = u64::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
        let asked = observer.get_and_wait(&path, seconds);
        match tokio::time::timeout(left + OBSERVER_LATE_MAX, asked).await {
            Ok(Ok(body)) => return observer.read::<unlock::Stands>(&body).ok().map(|stands| stands.status),
            Ok(Err(client::Error::Problem { told, .. })) if told.status == 404 => {
                return Some(ChainStatus::Running); // it has waited, and seen nothing of it so far
            }
            Ok(Err(error)) => tracing::debug!(%chain, %error, "ask an observer"),
            Err(_) => tracing::debug!(%chain, %observer, "an observer does not answer"),
        }
    }
    None
}

async fn one_order(State(app): Shared, Segment(id): Segment) -> Result<Response, Problem> {
    let missing = || Problem::new(Code::NoSuchOrder, format!("this service has no order {id}"));
    Ok(Json(order::order(&app.database, &id).await?.ok_or_else(missing)?).into_response())
}

async fn cancel_order(State(app): Shared, Segment(id): Segment) -> Result<Response, Problem> {
    orders::cancel_at(&app.database, &id).await?;
    one_order(State(app), Segment(id)).await
}

/// Only the orchestrators, or the observer, know whether the saga that holds the lock is at rest: they are asked.
async fn unlock_order(
    State(app): Shared,
    Segment(id): Segment,
    query: Result<Query<unlock::ForceQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let force = unlock::forced(query)?;
    let holder = unlock::holder(&app.database, &id).await?;
    let (who, asked) = match is_chain(&holder) {
        true => ("observer.servers", &app.observers),
        false => ("orchestrator.servers", &app.orchestrators),
    };
    unlock::rests(who, asked, &holder, force).await?;
    unlock::release(&app.database, &id, holder).await?;
    one_order(State(app), Segment(id)).await
}

async fn accounts(State(app): Shared, query: shop::PageOf) -> Result<Json<shop::Accounts>, Problem> {
    shop::accounts_of(&app.database, query).await
}

async fn account(State(app): Shared, Segment(id): Segment) -> Result<Json<payment::Account>, Problem> {
    shop::account_of(&app.database, &id).await
}

async fn stock(State(app): Shared, query: shop::PageOf) -> Result<Json<shop::Products>, Problem> {
    shop::stock_of(&app.database, query).await
}

async fn product(State(app): Shared, Segment(sku): Segment) -> Result<Json<inventory::Product>, Problem> {
    shop::product_of(&app.database, &sku).await
}

async fn destinations(State(app): Shared, query: shop::PageOf) -> Result<Response, Problem> {
    let (after, limit) = shop::page(query)?;
    let destinations = shipping::destinations(&app.database, &after, limit).await?;
    let next = destinations.last().filter(|_| destinations.len() == limit as usize).map(|last| last.country.clone());
    Ok(Json(serde_json::json!({ "destinations": destinations, "next": next })).into_response())
}

async fn shipments(State(app): Shared, query: shop::PageOf) -> Result<Response, Problem> {
    let (after, limit) = shop::page(query)?;
    let shipments = shipping::shipments(&app.database, &after, limit).await?;
    let next = shipments.last().filter(|_| shipments.len() == limit as usize).map(|last| last.order_id.clone());
    Ok(Json(serde_json::json!({ "shipments": shipments, "next": next })).into_response())
}

async fn shipment(State(app): Shared, Segment(id): Segment) -> Result<Response, Problem> {
    let missing = || Problem::new(Code::NoSuchOrder, format!("nothing was shipped for order {id}"));
    Ok(Json(shipping::shipment(&app.database, &id).await?.ok_or_else(missing)?).into_response())
}

async fn load_accounts(State(app): Shared, request: Request) -> Result<Response, Problem> {
    let rows = rows::<payment::Account>(request, &shape::ACCOUNTS).await?;
    Ok(loaded(rows.len(), payment::load(&app.database, &rows).await?))
}

async fn load_stock(State(app): Shared, request: Request) -> Result<Response, Problem> {
    let rows = rows::<inventory::Delivery>(request, &shape::STOCK).await?;
    Ok(loaded(rows.len(), inventory::load(&app.database, &rows).await?))
}

async fn load_destinations(State(app): Shared, request: Request) -> Result<Response, Problem> {
    let rows = rows::<shipping::Destination>(request, &shape::DESTINATIONS).await?;
    Ok(loaded(rows.len(), shipping::load(&app.database, &rows).await?))
}

/// A body of JSON lines: all of them are right, or none is taken.
async fn rows<T: Record>(request: Request, shape: &shape::Shape) -> Result<Vec<T>, Problem> {
    let payload = Payload::from_request(request, &()).await?;
    shape.check(&payload.0)?;
    let rows = import::lines::<T, _>("line", payload.0.as_ref()).collect::<Result<Vec<_>, _>>();
    rows.map_err(|bad| Problem::new(Code::BodyDoesNotFit, bad.to_string()))
}

fn loaded(rows: usize, new: u64) -> Response {
    Json(Loaded { rows, new }).into_response()
}
