//! The routes of a single service's listener: they read and load its data.

use std::time::{Duration, Instant};

use sagamore::axum::Json;
use sagamore::axum::extract::rejection::QueryRejection;
use sagamore::axum::extract::{FromRequest, Query, Request, State};
use sagamore::axum::response::{IntoResponse, Response};
use sagamore::core::SagaId;
use sagamore::database::Database;
use sagamore::engine::ChainStatus;
use sagamore::server::ServiceHost;
use sagamore::server::client::{self, Client};
use sagamore::server::http::routes::{READS, Routes};
use sagamore::server::http::shape::Shape;
use sagamore::server::http::{
    Code, PAGE, PageRequest, Payload, Problem, Segment, Wait, encoded, page,
};
use sagamore::server::lock::{self, ForceQuery, HolderState};
use serde::Serialize;

use super::contracts::{PLACES, STARTS};
use super::problems::NO_SUCH_ORDER;
use super::{article, choreography, orders, shapes, stock, unlock};
use crate::import::{self, Record};
use crate::order::choreographed::OrderStarter;
use crate::{inventory, order, payment, shipping};

/// The time after the requested wait at which an observer counts as unavailable.
const OBSERVER_LATE_MAX: Duration = Duration::from_secs(2);

/// Shared state of the order service's handlers.
#[derive(Clone)]
struct OrderHost {
    host: ServiceHost,
    /// Starts chains. `None` if an orchestrator takes the orders.
    placing: Option<OrderStarter>,
}

type Orders = State<OrderHost>;
type Stored = State<Database>;

/// The number of rows sent, and of new ones.
#[derive(Serialize)]
struct LoadSummary {
    rows: usize,
    new: u64,
}

/// Returns the routes of the order service. If all services share a process, the routes beside the
/// API are served instead.
pub fn of_order(host: &ServiceHost) -> Routes {
    if host.is_embedded {
        return Routes::new();
    }
    let placing =
        host.reacts.then(|| OrderStarter::spawn(host.database.clone(), host.outbox.clone()));
    order_routes().with_state(OrderHost { host: host.clone(), placing })
}

/// Returns the routes of the payment service, or none if all services share a process.
pub fn of_payment(host: &ServiceHost) -> Routes {
    stored(host, payment_routes())
}

/// Returns the routes of the inventory service, or none if all services share a process.
pub fn of_inventory(host: &ServiceHost) -> Routes {
    stored(host, inventory_routes())
}

/// Returns the routes of the shipping service, or none if all services share a process.
pub fn of_shipping(host: &ServiceHost) -> Routes {
    stored(host, shipping_routes())
}

fn stored(host: &ServiceHost, routes: Routes<Database>) -> Routes {
    if host.is_embedded { Routes::new() } else { routes.with_state(host.database.clone()) }
}

fn order_routes() -> Routes<OrderHost> {
    Routes::new()
        .about(
            "GET  /orders, /orders/{id}              list orders, show one\n\
             POST /orders                            place an order, in a choreography; Prefer: \
             wait=10 waits for the outcome\n\
             GET  /saga/start/{orderId}[?wait=10]    show the outcome of an order, in a \
             choreography\n\
             POST /orders/{id}/cancel                cancel an order, unless its saga is running\n\
             POST /orders/{id}/unlock                remove the lock of a saga at rest; \
             ?force=true if that saga is lost\n",
        )
        .get("/orders", READS.query(PAGE), all_orders)
        .post("/orders", PLACES, place_order)
        .get("/orders/{id}", READS, one_order)
        .get("/saga/start/{order}", STARTS, follow_order)
        .post("/orders/{id}/cancel", READS, cancel_order)
        .post("/orders/{id}/unlock", READS.query(lock::QUERY), unlock_order)
}

fn payment_routes() -> Routes<Database> {
    Routes::new()
        .about(
            "GET  /accounts, /accounts/{id}          list accounts, show one\n\
             POST /accounts                          load accounts, as JSON lines\n",
        )
        .get("/accounts", READS.query(PAGE), accounts)
        .post("/accounts", READS.body(&shapes::ACCOUNTS), load_accounts)
        .get("/accounts/{id}", READS, account)
}

fn inventory_routes() -> Routes<Database> {
    Routes::new()
        .about(
            "GET  /stock, /stock/{sku}               list products, show one\n\
             POST /stock                             load stock, as JSON lines\n",
        )
        .get("/stock", READS.query(PAGE), stock_page)
        .post("/stock", READS.body(&shapes::STOCK), load_stock)
        .get("/stock/{sku}", READS, product)
}

fn shipping_routes() -> Routes<Database> {
    Routes::new()
        .about(
            "GET  /destinations                      list destinations\n\
             POST /destinations                      load destinations, as JSON lines\n\
             GET  /shipments, /shipments/{id}        list shipments, show one\n",
        )
        .get("/destinations", READS.query(PAGE), destinations)
        .post("/destinations", READS.body(&shapes::DESTINATIONS), load_destinations)
        .get("/shipments", READS.query(PAGE), shipments)
        .get("/shipments/{id}", READS, shipment)
}

/// Returns every route of the four services, to compare the forms.
#[cfg(test)]
pub fn addresses() -> Vec<Vec<sagamore::server::http::routes::Address>> {
    let stored = [payment_routes(), inventory_routes(), shipping_routes()];
    let stored = stored.iter().map(|routes| routes.addresses().to_vec());
    std::iter::once(order_routes().addresses().to_vec()).chain(stored).collect()
}

async fn all_orders(State(app): Orders, query: PageRequest) -> Result<Response, Problem> {
    let (after, limit) = page(query)?;
    let orders = order::orders(&app.host.database, &after, limit).await?;
    let next =
        orders.last().filter(|_| orders.len() == limit as usize).map(|last| last.order_id.clone());
    Ok(Json(serde_json::json!({ "orders": orders, "next": next })).into_response())
}

/// Starts an order's chain, and follows it if the client prefers to wait. Refused if an
/// orchestrator takes the orders.
async fn place_order(State(app): Orders, request: Request) -> Result<Response, Problem> {
    let wait = Wait::preferred(&request)?;
    let elsewhere = "the orchestrator takes the orders: send POST /orders to its address";
    let placing = app.placing.as_ref().ok_or_else(|| Problem::new(Code::NoSuchPage, elsewhere))?;
    let (chain, location) = choreography::take(placing, request).await?;
    let followed = followed(&app.host.observers, &chain, wait).await;
    let status = followed.unwrap_or(ChainStatus::Running);
    Ok(choreography::placed(&chain, location, status, wait.filter(|_| followed.is_some())))
}

/// Serves `/saga/start` for an order that was placed here: reports the outcome of its chain.
async fn follow_order(
    State(app): Orders,
    Segment(id): Segment,
    query: Result<Query<article::ArticleQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let wait = article::wait_of(query)?;
    let elsewhere = "the orchestrator starts the sagas: send GET /saga/start/ID to its address";
    app.placing.as_ref().ok_or_else(|| Problem::new(Code::NoSuchPage, elsewhere))?;
    let missing = || {
        Problem::new(&NO_SUCH_ORDER, format!("there is no order {id}; place it with POST /orders"))
    };
    order::order(&app.host.database, &id).await?.ok_or_else(missing)?;
    let chain = choreography::chain_of(&id)?;
    let asked = wait.or(Wait::seconds("0")); // the current status
    let followed = followed(&app.host.observers, &chain, asked).await;
    let (status, wait) =
        (followed.unwrap_or(ChainStatus::Running), wait.filter(|_| followed.is_some()));
    Ok(article::answer(&id, status, true, wait))
}

/// Returns a chain's status from the first observer that answers, once the chain is at rest or the
/// wait is over. `None` without a wait or an answer.
async fn followed(observers: &[Client], chain: &SagaId, wait: Option<Wait>) -> Option<ChainStatus> {
    let until = Instant::now() + wait?.patience();
    let path = format!("/api/v1/sagas/{}", encoded(chain.as_str()));
    for observer in observers {
        let left = until.saturating_duration_since(Instant::now());
        let seconds = u64::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
        let asked = observer.get_and_wait(&path, seconds);
        match tokio::time::timeout(left + OBSERVER_LATE_MAX, asked).await {
            Ok(Ok(body)) => {
                return observer.read::<HolderState>(&body).ok().map(|state| state.status);
            }
            Ok(Err(client::Error::Problem { problem, .. })) if problem.status == 404 => {
                return Some(ChainStatus::Running); // the observer waited, and has seen no event yet
            }
            Ok(Err(error)) => {
                tracing::debug!(%chain, %error, "cannot read a chain from an observer")
            }
            Err(_) => tracing::debug!(%chain, %observer, "observer timed out"),
        }
    }
    None
}

async fn one_order(State(app): Orders, Segment(id): Segment) -> Result<Response, Problem> {
    choreography::chain_of(&id)?;
    let missing =
        || Problem::new(&NO_SUCH_ORDER, format!("there is no order {id} in this service"));
    Ok(Json(order::order(&app.host.database, &id).await?.ok_or_else(missing)?).into_response())
}

async fn cancel_order(State(app): Orders, Segment(id): Segment) -> Result<Response, Problem> {
    orders::cancel_at(&app.host.database, &id).await?;
    one_order(State(app), Segment(id)).await
}

/// Unlocks an order. Only the orchestrators, or the observers, know whether the saga that holds the
/// lock is at rest.
async fn unlock_order(
    State(app): Orders,
    Segment(id): Segment,
    query: Result<Query<ForceQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let force = lock::forced(query)?;
    let holder = unlock::holder(&app.host.database, &id).await?;
    let is_chain =
        holder.split_once(':').is_some_and(|(plan, _)| plan == crate::choreography::NAME);
    let (setting, servers) = match is_chain {
        true => ("observer.servers", &app.host.observers),
        false => ("orchestrator.servers", &app.host.orchestrators),
    };
    unlock::allowed(lock::check_holder_at(setting, servers, &holder, force).await)?;
    unlock::release(&app.host.database, &id, holder).await?;
    one_order(State(app), Segment(id)).await
}

async fn accounts(
    State(database): Stored,
    query: PageRequest,
) -> Result<Json<stock::Accounts>, Problem> {
    stock::accounts_of(&database, query).await
}

async fn account(
    State(database): Stored,
    Segment(id): Segment,
) -> Result<Json<payment::Account>, Problem> {
    stock::account_of(&database, &id).await
}

async fn stock_page(
    State(database): Stored,
    query: PageRequest,
) -> Result<Json<stock::Products>, Problem> {
    stock::stock_of(&database, query).await
}

async fn product(
    State(database): Stored,
    Segment(sku): Segment,
) -> Result<Json<inventory::Product>, Problem> {
    stock::product_of(&database, &sku).await
}

async fn destinations(State(database): Stored, query: PageRequest) -> Result<Response, Problem> {
    let (after, limit) = page(query)?;
    let destinations = shipping::destinations(&database, &after, limit).await?;
    let next = destinations
        .last()
        .filter(|_| destinations.len() == limit as usize)
        .map(|last| last.country.clone());
    Ok(Json(serde_json::json!({ "destinations": destinations, "next": next })).into_response())
}

async fn shipments(State(database): Stored, query: PageRequest) -> Result<Response, Problem> {
    let (after, limit) = page(query)?;
    let shipments = shipping::shipments(&database, &after, limit).await?;
    let next = shipments
        .last()
        .filter(|_| shipments.len() == limit as usize)
        .map(|last| last.order_id.clone());
    Ok(Json(serde_json::json!({ "shipments": shipments, "next": next })).into_response())
}

async fn shipment(State(database): Stored, Segment(id): Segment) -> Result<Response, Problem> {
    let missing = || Problem::new(&NO_SUCH_ORDER, format!("there is no shipment of order {id}"));
    Ok(Json(shipping::shipment(&database, &id).await?.ok_or_else(missing)?).into_response())
}

async fn load_accounts(State(database): Stored, request: Request) -> Result<Response, Problem> {
    let rows = rows::<payment::Account>(request, &shapes::ACCOUNTS).await?;
    Ok(loaded(rows.len(), payment::load(&database, &rows).await?))
}

async fn load_stock(State(database): Stored, request: Request) -> Result<Response, Problem> {
    let rows = rows::<inventory::Delivery>(request, &shapes::STOCK).await?;
    Ok(loaded(rows.len(), inventory::load(&database, &rows).await?))
}

async fn load_destinations(State(database): Stored, request: Request) -> Result<Response, Problem> {
    let rows = rows::<shipping::Destination>(request, &shapes::DESTINATIONS).await?;
    Ok(loaded(rows.len(), shipping::load(&database, &rows).await?))
}

/// Reads a body of JSON lines. One bad line rejects all of them.
async fn rows<T: Record>(request: Request, shape: &Shape) -> Result<Vec<T>, Problem> {
    let payload = Payload::from_request(request, &()).await?;
    shape.check(&payload.0)?;
    let rows = import::lines::<T, _>("line", payload.0.as_ref()).collect::<Result<Vec<_>, _>>();
    rows.map_err(|bad| Problem::new(Code::BodyDoesNotFit, bad.to_string()))
}

fn loaded(rows: usize, new: u64) -> Response {
    Json(LoadSummary { rows, new }).into_response()
}
