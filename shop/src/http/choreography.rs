//! The routes of the choreographed shop: they place orders, and show the outcomes that the observer
//! has seen.

use std::time::Duration;

use sagamore::axum::Json;
use sagamore::axum::extract::rejection::QueryRejection;
use sagamore::axum::extract::{FromRequest, Query, Request, State};
use sagamore::axum::http::{HeaderMap, StatusCode, header};
use sagamore::axum::response::{IntoResponse, Response};
use sagamore::core::{Name, SagaId, TraceContext};
use sagamore::engine::{ChainStatus, Chains, Error as EngineError};
use sagamore::sdk::StartOutcome;
use sagamore::server::Server;
use sagamore::server::http::routes::{READS, Routes};
use sagamore::server::http::{
    Code, PAGE, PREFERENCE_APPLIED, PageRequest, Payload, Problem, Segment, Wait, encoded,
    idempotency_key, trace,
};
use sagamore::server::lock::{self, ForceQuery, HolderState, PendingService};
use sagamore::server::view::Style;

use super::contracts::{PLACES, STARTS};
use super::problems::{BAD_ORDER, NO_SUCH_ORDER, ORDER_ID_USED_UP};
use super::{article, orders, shapes, stock, unlock};
use crate::databases::Databases;
use crate::inventory::Product;
use crate::order::choreographed::OrderStarter;
use crate::order::{self, Rejected};
use crate::payment::Account;
use crate::{Order, choreography, sample};

/// Shared state of the handlers.
#[derive(Clone)]
pub struct ChoreographyApp {
    chains: Chains,
    placing: OrderStarter,
    shop: Databases,
}

type Shared = State<ChoreographyApp>;

impl ChoreographyApp {
    /// Creates the state, or `None` unless the observer and the services run in this process.
    pub fn of(server: &Server) -> Option<ChoreographyApp> {
        let (shop, chains) = (Databases::of(server)?, server.chains.clone()?);
        let outbox = server.service(order::SERVICE)?.outbox.clone();
        Some(ChoreographyApp {
            chains,
            placing: OrderStarter::spawn(shop.order.clone(), outbox),
            shop,
        })
    }
}

/// Returns the routes.
pub fn routes() -> Routes<ChoreographyApp> {
    Routes::new()
        .about(
            "GET  /saga/start/{orderId}[?wait=10]    start the chain of an order, by default of a \
             sample order\n\
             POST /orders                            place an order; Prefer: wait=10 waits for \
             the outcome\n\
             GET  /orders/{id}                       an order\n\
             POST /orders/{id}/cancel                cancel an order, unless its chain is running\n\
             POST /orders/{id}/unlock                remove the lock that an ended chain has left \
             behind\n\
             GET  /accounts, /accounts/{id}          list accounts, show one\n\
             GET  /stock, /stock/{sku}               list products, show one\n",
        )
        .get("/saga/start/{order}", STARTS, start)
        .post("/orders", PLACES, place)
        .get("/orders/{id}", READS, one_order)
        .post("/orders/{id}/cancel", READS, cancel)
        .post("/orders/{id}/unlock", READS.query(lock::QUERY), unlock)
        .get("/accounts", READS.query(PAGE), accounts)
        .get("/accounts/{id}", READS, account)
        .get("/stock", READS.query(PAGE), stock_page)
        .get("/stock/{sku}", READS, product)
}

/// Serves `/saga/start`: places a sample order, or follows the existing one.
async fn start(
    State(app): Shared,
    Segment(order_id): Segment,
    headers: HeaderMap,
    query: Result<Query<article::ArticleQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let wait = article::wait_of(query)?;
    let chain = chain_of(&order_id)?;
    let begun =
        match begin(&app.placing, sample::order(&order_id), None, trace::of(&headers)).await? {
            Ok(begun) => begun,
            // placed with POST /orders: follow that order
            Err(Rejected::OrderExists(_)) => StartOutcome::Before,
            Err(rejected) => return Err(refused(&rejected)),
        };
    let patience = wait.map_or(Duration::ZERO, Wait::patience);
    let known = app.chains.wait(&chain, patience).await.map_err(unread)?;
    Ok(article::answer(
        &order_id,
        known.unwrap_or(ChainStatus::Running),
        begun != StartOutcome::New,
        wait,
    ))
}

/// Places an order, in the format of a line of `orders.jsonl`.
async fn place(State(app): Shared, request: Request) -> Result<Response, Problem> {
    let wait = Wait::preferred(&request)?;
    let (id, location) = take(&app.placing, request).await?;
    let patience = wait.map_or(Duration::ZERO, Wait::patience);
    let status =
        app.chains.wait(&id, patience).await.map_err(unread)?.unwrap_or(ChainStatus::Running);
    Ok(placed(&id, location, status, wait))
}

/// Builds the response to an accepted order. `waited` is the preference that was applied.
pub(super) fn placed(
    chain: &SagaId,
    location: String,
    status: ChainStatus,
    waited: Option<Wait>,
) -> Response {
    let code =
        if waited.is_some() && status.is_at_rest() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let body = Json(serde_json::json!({ "id": chain.as_str(), "status": status.as_str() }));
    let mut response = (code, [(header::LOCATION, location)], body).into_response();
    if let Some(waited) = waited {
        response.headers_mut().insert(PREFERENCE_APPLIED, waited.applied());
    }
    response
}

/// Places an order as the order service does. Returns its chain and its location.
pub(super) async fn take(
    placing: &OrderStarter,
    request: Request,
) -> Result<(SagaId, String), Problem> {
    let key = idempotency_key(request.headers())?;
    let trace = trace::of(request.headers());
    let payload = Payload::from_request(request, &()).await?;
    let order: Order = payload.json(&shapes::ORDER)?;
    order.check().map_err(|reason| Problem::new(&BAD_ORDER, reason))?;
    let taken = (chain_of(&order.order_id)?, format!("/orders/{}", encoded(&order.order_id)));
    begin(placing, order, key, trace).await?.map_err(|rejected| refused(&rejected))?;
    Ok(taken)
}

async fn begin(
    placing: &OrderStarter,
    order: Order,
    key: Option<String>,
    trace: Option<TraceContext>,
) -> Result<Result<StartOutcome, Rejected>, Problem> {
    let id = order.order_id.clone();
    match placing
        .start_with(order, key, trace)
        .await
        .map_err(|fault| Problem::broke(&fault, "place the order"))?
    {
        Ok(StartOutcome::Never) => Err(Problem::new(
            &ORDER_ID_USED_UP,
            format!(
                "order {id} does not exist, and its chain has ended: place it under another id"
            ),
        )),
        placed => Ok(placed),
    }
}

async fn one_order(State(app): Shared, Segment(id): Segment) -> Result<Response, Problem> {
    chain_of(&id)?; // an id that cannot be a chain's key has no order
    let missing = || {
        Problem::new(&NO_SUCH_ORDER, format!("there is no order {id}; place it with POST /orders"))
    };
    Ok(Json(order::order(&app.shop.order, &id).await?.ok_or_else(missing)?).into_response())
}

/// Cancels an order from outside its chain. Refused while its chain holds the lock, and once it is
/// settled.
async fn cancel(State(app): Shared, Segment(id): Segment) -> Result<Response, Problem> {
    orders::cancel_at(&app.shop.order, &id).await?;
    one_order(State(app), Segment(id)).await
}

/// Removes the lock that a chain has left behind, once that chain has ended.
async fn unlock(
    State(app): Shared,
    Segment(id): Segment,
    query: Result<Query<ForceQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let force = lock::forced(query)?;
    let holder = unlock::holder(&app.shop.order, &id).await?;
    let known = match holder.parse() {
        Ok(chain) => app.chains.show(&chain).await.map_err(unread)?,
        Err(_) => None, // a malformed id belongs to no chain
    };
    let stands = known.map(|detail| HolderState {
        status: detail.header.status,
        style: Style::Choreography,
        waits_for: detail
            .chain
            .waits_for()
            .iter()
            .map(|wait| PendingService { service: wait.service.to_string() })
            .collect(),
    });
    unlock::allowed(lock::check_holder(&holder, stands, force))?;
    unlock::release(&app.shop.order, &id, holder).await?;
    one_order(State(app), Segment(id)).await
}

async fn accounts(
    State(app): Shared,
    query: PageRequest,
) -> Result<Json<stock::Accounts>, Problem> {
    stock::accounts_of(&app.shop.payment, query).await
}

async fn account(State(app): Shared, Segment(id): Segment) -> Result<Json<Account>, Problem> {
    stock::account_of(&app.shop.payment, &id).await
}

async fn product(State(app): Shared, Segment(sku): Segment) -> Result<Json<Product>, Problem> {
    stock::product_of(&app.shop.inventory, &sku).await
}

async fn stock_page(
    State(app): Shared,
    query: PageRequest,
) -> Result<Json<stock::Products>, Problem> {
    stock::stock_of(&app.shop.inventory, query).await
}

/// Returns the chain of an order.
pub(super) fn chain_of(order_id: &str) -> Result<SagaId, Problem> {
    let chain = Name::new(choreography::NAME).and_then(|plan| SagaId::new(&plan, order_id));
    chain.map_err(|malformed| Problem::new(Code::BadName, malformed.to_string()))
}

fn unread(error: EngineError) -> Problem {
    Problem::broke(&error, "read the chains")
}

fn refused(rejected: &Rejected) -> Problem {
    match rejected {
        Rejected::OrderExists(_) => Problem::new(Code::OtherInput, rejected.to_string()),
        Rejected::KeyUsed => Problem::new(Code::OtherRequest, rejected.to_string()),
        rejected => Problem::new(&BAD_ORDER, rejected.to_string()),
    }
}
