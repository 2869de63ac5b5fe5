//! The addresses of the choreographed form: orders are placed here, and what became of them is what the observer has seen.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, FromRequest, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_core::{SagaId, TraceContext};
use sagamore_engine::{ChainStatus, Chains};
use sagamore_sdk::StartOutcome;
use sagamore_shop::inventory::Product;
use sagamore_shop::order::choreographed::Placing;
use sagamore_shop::order::{self, Rejected};
use sagamore_shop::payment::Account;
use sagamore_shop::{Databases, Order, sample};
use sagamore_transport::Log;

use super::article;
use super::body::{Payload, Segment, encoded};
use super::chains::{self, unread};
use super::faults::Services;
use super::prefer::{PREFERENCE_APPLIED, Wait};
use super::routes::{READS, Routes, TELLS};
use super::sagas::idempotency_key;
use super::unlock::MayAct;
use super::{PLACES, STARTS, barriers, everywhere, faults, guarded, health, index, orders, shape, shop, trace, unlock};
use crate::problem::{Code, Problem};
use crate::view::Style;

/// What the handlers work with.
#[derive(Clone)]
pub struct ChoreographyApp {
    /// What is known of chains.
    pub chains: Chains,
    /// Where orders come in.
    pub placing: Placing,
    /// What the services keep.
    pub shop: Databases,
    /// Where they tell their events.
    pub log: Log,
    /// Renders the metrics, if this process collects them.
    pub metrics: Option<PrometheusHandle>,
}

impl FromRef<ChoreographyApp> for Chains {
    fn from_ref(app: &ChoreographyApp) -> Chains {
        app.chains.clone()
    }
}

impl FromRef<ChoreographyApp> for Services {
    fn from_ref(app: &ChoreographyApp) -> Services {
        Services::Here(app.shop.clone())
    }
}

type Shared = State<ChoreographyApp>;

/// Every address.
pub fn choreography_router(app: ChoreographyApp) -> Router {
    guarded(routes()).with_state(app)
}

pub(super) fn routes() -> Routes<ChoreographyApp> {
    chains::chains(everywhere(index::of_choreography))
        .get("/saga/start/{order}", STARTS, start)
        .post("/orders", PLACES, place)
        .get("/orders/{id}", READS, one_order)
        .post("/orders/{id}/cancel", READS, cancel)
        .post("/orders/{id}/unlock", READS.query(unlock::QUERY), unlock)
        .get("/accounts", READS.query(shop::QUERY), accounts)
        .get("/accounts/{id}", READS, account)
        .get("/stock", READS.query(shop::QUERY), stock)
        .get("/stock/{sku}", READS, product)
        .post("/api/v1/sagas/{id}/resend", READS, barriers::resend_all)
        .get("/api/v1/barriers/{service}", READS.query(barriers::QUERY), barriers::choreographed)
        .get("/api/v1/faults/{service}/{id}", READS, faults::choreographed)
        .get("/readyz", TELLS, readyz)
        .get("/metrics", TELLS, metrics)
}

/// The article's address: places a sample order, or follows the one there is.
async fn start(
    State(app): Shared,
    Segment(order_id): Segment,
    headers: HeaderMap,
    query: Result<Query<article::ArticleQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let wait = article::wait_of(query)?;
    let chain = chain_of(&order_id)?;
    let begun = match begin(&app.placing, sample::order(&order_id), None, trace::of(&headers)).await? {
        Ok(begun) => begun,
        Err(Rejected::OrderExists(_)) => StartOutcome::Before, // placed with POST /orders: that one is meant
        Err(rejected) => return Err(refused(&rejected)),
    };
    let patience = wait.map_or(Duration::ZERO, Wait::patience);
    let known = app.chains.wait(&chain, patience).await.map_err(unread)?;
    Ok(article::answer(&order_id, known.unwrap_or(ChainStatus::Running), begun != StartOutcome::New, wait))
}

/// Places an order: one line of `orders.jsonl`.
async fn place(State(app): Shared, request: Request) -> Result<Response, Problem> {
    let wait = Wait::wished(&request)?;
    let (id, location) = take(&app.placing, request).await?;
    let patience = wait.map_or(Duration::ZERO, Wait::patience);
    let status = app.chains.wait(&id, patience).await.map_err(unread)?.unwrap_or(ChainStatus::Running);
    Ok(placed(&id, location, status, wait))
}

/// The answer to an order that was taken. `waited`: the wish that was fulfilled.
pub(super) fn placed(chain: &SagaId, location: String, status: ChainStatus, waited: Option<Wait>) -> Response {
    let code = if waited.is_some() && status.is_at_rest() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let body = Json(serde_json::json!({ "id": chain.as_str(), "status": status.as_str() }));
    let mut response = (code, [(header::LOCATION, location)], body).into_response();
    if let Some(waited) = waited {
        response.headers_mut().insert(PREFERENCE_APPLIED, waited.applied());
    }
    response
}

/// Takes an order as the order service does; gives its chain, and where it is found.
pub(super) async fn take(placing: &Placing, request: Request) -> Result<(SagaId, String), Problem> {
    let key = idempotency_key(request.headers())?;
    let trace = trace::of(request.headers());
    let payload = Payload::from_request(request, &()).await?;
    let order: Order = payload.json(&shape::ORDER)?;
    order.check().map_err(|reason| Problem::new(Code::BadOrder, reason))?;
    let taken = (chain_of(&order.order_id)?, format!("/orders/{}", encoded(&order.order_id)));
    begin(placing, order, key, trace).await?.map_err(|rejected| refused(&rejected))?;
    Ok(taken)
}

async fn begin(
    placing: &Placing,
    order: Order,
    key: Option<String>,
    trace: Option<TraceContext>,
) -> Result<Result<StartOutcome, Rejected>, Problem> {
    let id = order.order_id.clone();
    match placing.place_by(order, key, trace).await.map_err(|fault| Problem::broke(&fault, "place the order"))? {
        Ok(StartOutcome::Never) => Err(Problem::new(
            Code::OrderIdUsedUp,
            format!("order {id} is not there, and its chain is over: it never will be"),
        )),
        placed => Ok(placed),
    }
}

async fn one_order(State(app): Shared, Segment(id): Segment) -> Result<Response, Problem> {
    let missing = || Problem::new(Code::NoSuchOrder, format!("there is no order {id}; place it with POST /orders"));
    Ok(Json(order::order(&app.shop.order, &id).await?.ok_or_else(missing)?).into_response())
}

/// Somebody outside wants the order cancelled: refused while its chain holds it, and once it is settled.
async fn cancel(State(app): Shared, Segment(id): Segment) -> Result<Response, Problem> {
    orders::cancel_at(&app.shop.order, &id).await?;
    one_order(State(app), Segment(id)).await
}

/// An operator's way out of a lock that a chain has left behind: only once that is over.
async fn unlock(
    State(app): Shared,
    Segment(id): Segment,
    query: Result<Query<unlock::ForceQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let force = unlock::forced(query)?;
    let holder = unlock::holder(&app.shop.order, &id).await?;
    let known = match holder.parse() {
        Ok(chain) => app.chains.show(&chain).await.map_err(unread)?,
        Err(_) => None, // what is no chain's id is known to nobody either
    };
    let stands = known.map(|detail| unlock::Stands {
        status: detail.header.status,
        style: Style::Choreography,
        waits_for: detail.chain.waits_for().iter().map(|wait| MayAct { service: wait.service.to_string() }).collect(),
    });
    unlock::rested(&holder, stands, force)?;
    unlock::release(&app.shop.order, &id, holder).await?;
    one_order(State(app), Segment(id)).await
}

async fn accounts(State(app): Shared, query: shop::PageOf) -> Result<Json<shop::Accounts>, Problem> {
    shop::accounts_of(&app.shop.payment, query).await
}

async fn account(State(app): Shared, Segment(id): Segment) -> Result<Json<Account>, Problem> {
    shop::account_of(&app.shop.payment, &id).await
}

async fn product(State(app): Shared, Segment(sku): Segment) -> Result<Json<Product>, Problem> {
    shop::product_of(&app.shop.inventory, &sku).await
}

async fn stock(State(app): Shared, query: shop::PageOf) -> Result<Json<shop::Products>, Problem> {
    shop::stock_of(&app.shop.inventory, query).await
}

async fn readyz(State(app): Shared) -> Result<&'static str, Problem> {
    for (name, database) in app.shop.all() {
        let read = database.query("SELECT 1", ()).await;
        read.map_err(|error| Problem::new(Code::Unavailable, format!("database of {name}: {error}")).retry_after(1))?;
    }
    Ok("ok\n")
}

async fn metrics(State(app): Shared) -> Response {
    health::rendered(app.metrics.as_ref())
}

fn chain_of(order_id: &str) -> Result<SagaId, Problem> {
    chains::of_order(order_id).map_err(|malformed| Problem::new(Code::BadName, malformed.to_string()))
}

fn refused(rejected: &Rejected) -> Problem {
    match rejected {
        Rejected::OrderExists(_) => Problem::new(Code::OtherInput, rejected.to_string()),
        Rejected::KeyUsed => Problem::new(Code::OtherRequest, rejected.to_string()),
        rejected => Problem::new(Code::BadOrder, rejected.to_string()),
    }
}
