//! `/orders`: placing an order starts its saga. An accepted order is readable at once, and locked
//! while its saga runs.

use sagamore::axum::Json;
use sagamore::axum::extract::rejection::QueryRejection;
use sagamore::axum::extract::{FromRequest, Query, Request, State};
use sagamore::axum::response::{IntoResponse, Response};
use sagamore::core::saga::Status;
use sagamore::core::{Body, Name, SagaId};
use sagamore::database::Database;
use sagamore::engine::{Detail, Start};
use sagamore::sdk::Decided;
use sagamore::server::http::{
    Code, Payload, Problem, Segment, Wait, accepted, at_rest, begin, encoded, idempotency_key,
    trace,
};
use sagamore::server::lock::{self, ForceQuery, HolderState};
use sagamore::server::view::{Standing, Style};
use serde::Serialize;

use super::local::transact;
use super::problems::{BAD_ORDER, NO_SUCH_ORDER, ORDER_FINISHED, ORDER_PENDING};
use super::state::Shop;
use super::{shapes, unlock};
use crate::order::{self, Rejected, StoredOrder};
use crate::{Order, checkout};

/// An order and its saga. Fields that the order service has not stored yet are omitted.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderView {
    order_id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_cents: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<Body>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracking: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saga: Option<SagaLink>,
}

/// A link to an order's saga.
#[derive(Serialize)]
struct SagaLink {
    id: String,
    status: Status,
    href: String,
}

/// Places an order, in the format of a line of `orders.jsonl`.
pub async fn place(State(app): State<Shop>, request: Request) -> Result<Response, Problem> {
    let wait = Wait::preferred(&request)?;
    let idempotency_key = idempotency_key(request.headers())?;
    let trace = trace::of(request.headers());
    let payload = Payload::from_request(request, &()).await?;
    let order: Order = payload.json(&shapes::ORDER)?;
    order.check().map_err(|reason| Problem::new(&BAD_ORDER, reason))?;
    let input = Body::of(&order).map_err(|error| Problem::internal(&error, "write the order"))?;
    let location = format!("/orders/{}", encoded(&order.order_id));
    let start = Start::new(checkout::name(), order.order_id, input);
    let start = start.idempotency_key(idempotency_key).trace(trace);
    let (started, rest) = begin(&app.handle, start, wait).await?;
    let standing = rest.as_ref().map_or_else(|| Standing::of_start(&started), Standing::of_rest);
    Ok(accepted(&standing, location, wait))
}

/// Shows an order. Accepted orders are found even before the order service stores them.
pub async fn show(State(app): State<Shop>, Segment(id): Segment) -> Result<Response, Problem> {
    let saga = saga_of(&app, &id).await?;
    // read after the saga, so that the order includes all effects of a saga at rest
    let stored = match &app.databases {
        Some(shop) => order::order(&shop.order, &id).await?,
        None => saga.as_ref().and_then(order_from_saga),
    };
    let link = saga.as_ref().map(link);
    let view = match (stored, saga) {
        (Some(placed), _) => OrderView::of(placed, link),
        (None, Some(saga)) => OrderView {
            status: if at_rest(saga.header.status) { "rejected" } else { "accepted" },
            order_id: id,
            customer_id: None,
            total_cents: None,
            lines: None,
            tracking: None,
            locked_by: None,
            saga: link,
        },
        (None, None) => return Err(no_such_order(&id)),
    };
    Ok(Json(view).into_response())
}

/// Cancels an order from outside its saga. Refused while its saga holds the lock, and once it is
/// settled.
pub async fn cancel(State(app): State<Shop>, Segment(id): Segment) -> Result<Response, Problem> {
    let outcome = cancel_from_outside(&app.databases()?.order, &id)
        .await
        .map_err(|error| Problem::broke(&error, "cancel the order"))?;
    let Err(rejected) = outcome else { return show(State(app), Segment(id)).await };
    let detail = rejected.to_string();
    match rejected {
        Rejected::OrderIsLocked { .. } | Rejected::LockIsGone { .. } => {
            Err(Problem::new(&ORDER_PENDING, detail))
        }
        Rejected::AlreadySettled { .. }
        | Rejected::InvalidOrder(_)
        | Rejected::OrderExists(_)
        | Rejected::KeyUsed => Err(Problem::new(&ORDER_FINISHED, detail)),
        // accepted, but not created by its saga yet: treat it as locked
        Rejected::UnknownOrder(_) => match saga_of(&app, &id).await? {
            Some(saga) if at_rest(saga.header.status) => Err(Problem::new(&ORDER_FINISHED, detail)),
            Some(saga) => Err(its_saga_runs(&saga)),
            None => Err(no_such_order(&id)),
        },
    }
}

/// Removes the lock that a saga has left behind, once that saga is at rest.
pub async fn unlock(
    State(app): State<Shop>,
    Segment(id): Segment,
    query: Result<Query<ForceQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let force = lock::forced(query)?;
    let orders = &app.databases()?.order;
    let Some(_) = order::order(orders, &id).await? else {
        return Err(match saga_of(&app, &id).await? {
            Some(saga) if !at_rest(saga.header.status) => its_saga_runs(&saga), // not created yet
            Some(_) | None => no_such_order(&id),
        });
    };
    let holder = unlock::holder(orders, &id).await?;
    let status = match holder.parse::<SagaId>() {
        Ok(saga) => app
            .handle
            .show(&saga)
            .await
            .map_err(|error| Problem::broke(&error, "read the order's saga"))?,
        Err(_) => None, // a malformed id belongs to no saga
    };
    let stands = |saga: Detail| HolderState {
        status: saga.header.status.into(),
        style: Style::Orchestration,
        waits_for: Vec::new(), // a saga at rest waits for no service
    };
    unlock::allowed(lock::check_holder(&holder, status.map(stands), force))?;
    unlock::release(orders, &id, holder).await?;
    show(State(app), Segment(id)).await
}

/// Cancels an order by the data of the order service alone.
pub(super) async fn cancel_at(database: &Database, id: &str) -> Result<(), Problem> {
    let outcome = cancel_from_outside(database, id).await;
    match outcome.map_err(|error| Problem::broke(&error, "cancel the order"))? {
        Ok(()) => Ok(()),
        Err(Rejected::UnknownOrder(_)) => Err(no_such_order(id)),
        Err(rejected @ (Rejected::OrderIsLocked { .. } | Rejected::LockIsGone { .. })) => {
            Err(Problem::new(&ORDER_PENDING, rejected.to_string()))
        }
        Err(rejected) => Err(Problem::new(&ORDER_FINISHED, rejected.to_string())),
    }
}

async fn cancel_from_outside(database: &Database, id: &str) -> Decided<(), Rejected> {
    transact(database, |tx| order::domain::cancel(tx, id.to_owned(), None)).await
}

impl OrderView {
    fn of(placed: StoredOrder, saga: Option<SagaLink>) -> OrderView {
        OrderView {
            order_id: placed.order_id,
            status: placed.status.as_str(),
            customer_id: Some(placed.customer_id),
            total_cents: Some(placed.total_cents),
            lines: Some(placed.lines),
            tracking: placed.tracking,
            locked_by: placed.locked_by,
            saga,
        }
    }
}

/// Builds an order from its saga's journal, if the order service is another process. `None` before
/// its creation.
fn order_from_saga(detail: &Detail) -> Option<StoredOrder> {
    let output = |step: &str| {
        let index = detail.saga.definition.index_of(&Name::new(step).ok()?)?;
        detail.saga.steps[index].output.as_ref()?.read::<serde_json::Value>().ok()
    };
    let order: Order = detail.saga.input.read().ok()?;
    let created = output("create-order")?;
    let status = match detail.header.status {
        Status::Completed => order::Status::Confirmed,
        Status::Compensated => order::Status::Cancelled,
        Status::Running | Status::Compensating | Status::Stuck => order::Status::Pending,
    };
    let tracking = output("schedule-shipment")
        .and_then(|shipment| Some(shipment.get("tracking")?.as_str()?.to_owned()));
    Some(StoredOrder {
        locked_by: (status == order::Status::Pending).then(|| detail.header.id.to_string()),
        order_id: order.order_id,
        customer_id: order.customer_id,
        status,
        total_cents: created.get("totalCents")?.as_i64()?,
        lines: Body::of(&order.lines).ok()?,
        tracking: tracking.filter(|_| status == order::Status::Confirmed),
    })
}

async fn saga_of(app: &Shop, order: &str) -> Result<Option<Detail>, Problem> {
    let id = SagaId::new(&checkout::name(), order);
    let id = id.map_err(|malformed| Problem::new(Code::BadName, malformed.to_string()))?;
    app.handle.show(&id).await.map_err(|error| Problem::broke(&error, "read the order's saga"))
}

fn link(saga: &Detail) -> SagaLink {
    let id = saga.header.id.to_string();
    SagaLink { href: format!("/api/v1/sagas/{}", encoded(&id)), status: saga.header.status, id }
}

fn its_saga_runs(saga: &Detail) -> Problem {
    Problem::new(&ORDER_PENDING, format!("its saga {} is running", saga.header.id))
}

fn no_such_order(id: &str) -> Problem {
    Problem::new(&NO_SUCH_ORDER, format!("there is no order {id}"))
}
