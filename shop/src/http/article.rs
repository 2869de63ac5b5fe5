//! `GET /saga/start/{orderId}`: the route of the article whose system the shop reproduces, with the
//! article's messages. It is the only GET that starts a saga. The order's id makes it idempotent.

use std::time::Duration;

use sagamore::axum::Json;
use sagamore::axum::extract::rejection::QueryRejection;
use sagamore::axum::extract::{Query, State};
use sagamore::axum::http::{HeaderMap, StatusCode};
use sagamore::axum::response::{IntoResponse, Response};
use sagamore::core::saga::Status;
use sagamore::core::{SagaId, TraceContext};
use sagamore::engine::{ChainStatus, Start, StartError};
use sagamore::server::http::{
    Code, PREFERENCE_APPLIED, Problem, Segment, WAIT_S_MAX, Wait, at_rest, bad_query, trace,
};
use serde::{Deserialize, Serialize};

use super::problems::NO_SUCH_ORDER;
use super::state::Shop;
use crate::checkout;

/// The query: `?wait=10`.
#[derive(Deserialize)]
pub struct ArticleQuery {
    wait: Option<String>,
}

/// The response's body.
#[derive(Serialize)]
struct Message {
    message: String,
}

/// The status of the order's saga at the time of the response.
struct OrderOutcome {
    status: Status,
    existed: bool,
}

/// Starts the order's saga, or follows the existing one. An order that was never placed gets a
/// sample order, but only in a single process.
pub async fn start(
    State(app): State<Shop>,
    Segment(order): Segment,
    headers: HeaderMap,
    query: Result<Query<ArticleQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let wait = wait_of(query)?;
    let known = follow(&app, &order, wait, trace::of(&headers)).await?;
    Ok(answer(&order, known.status.into(), known.existed, wait))
}

/// Returns the wait that the client requests.
pub(super) fn wait_of(
    query: Result<Query<ArticleQuery>, QueryRejection>,
) -> Result<Option<Wait>, Problem> {
    let Query(query) = query.map_err(|_| bad_query())?;
    let read = |text: String| {
        let wanted = || {
            format!(
                "wait: is not a number of seconds (larger than {WAIT_S_MAX} counts as {WAIT_S_MAX})"
            )
        };
        Wait::seconds(&text).ok_or_else(|| Problem::new(Code::BadParameter, wanted()))
    };
    query.wait.map(read).transpose()
}

async fn follow(
    app: &Shop,
    order: &str,
    wait: Option<Wait>,
    trace: Option<TraceContext>,
) -> Result<OrderOutcome, Problem> {
    let patience = wait.map_or(Duration::ZERO, Wait::patience);
    if app.databases.is_none() {
        let id = SagaId::new(&checkout::name(), order);
        let id = id.map_err(|malformed| Problem::new(Code::BadName, malformed.to_string()))?;
        return placed_before(app, id, patience).await;
    }
    let start = Start::new(checkout::name(), order, crate::sample_order(order)).trace(trace);
    let started = match wait {
        Some(_) => app.handle.start_and_wait(start, patience).await,
        None => app.handle.start(start).await.map(|started| (started, None)),
    };
    match started {
        Ok((started, rest)) => {
            let status = rest.map_or(started.status, |summary| summary.status);
            Ok(OrderOutcome { status, existed: started.existed })
        }
        // The order was placed with POST /orders: follow that one.
        Err(StartError::OtherInput(id)) => placed_before(app, id, patience).await,
        Err(error) => Err(error.into()),
    }
}

async fn placed_before(
    app: &Shop,
    id: SagaId,
    patience: Duration,
) -> Result<OrderOutcome, Problem> {
    let detail =
        app.handle.show(&id).await.map_err(|error| Problem::broke(&error, "read the saga"))?;
    let unknown = || {
        Problem::new(
            &NO_SUCH_ORDER,
            format!("there is no order {}; place it with POST /orders", id.key()),
        )
    };
    let status = detail.ok_or_else(unknown)?.header.status;
    if at_rest(status) || patience.is_zero() {
        return Ok(OrderOutcome { status, existed: true });
    }
    let rest = app.handle.wait(id, patience).await?;
    Ok(OrderOutcome { status: rest.map_or(status, |summary| summary.status), existed: true })
}

/// Builds the response with the message for this status.
pub(super) fn answer(
    order: &str,
    status: ChainStatus,
    existed: bool,
    wait: Option<Wait>,
) -> Response {
    let started = || format!("Saga started for Order ID: {order}");
    let stuck = || format!("Saga stuck for order {order}: needs an operator");
    let (code, message) = match status {
        ChainStatus::Completed => {
            (StatusCode::OK, format!("Saga completed successfully for order {order}"))
        }
        ChainStatus::Compensated => (StatusCode::OK, format!("Saga failed for order {order}")),
        ChainStatus::Resolved => {
            (StatusCode::OK, format!("Saga resolved by an operator for order {order}"))
        }
        ChainStatus::Running | ChainStatus::Compensating if wait.is_some() => {
            (StatusCode::ACCEPTED, format!("Saga still running for order {order}"))
        }
        ChainStatus::Running | ChainStatus::Compensating => (StatusCode::OK, started()),
        ChainStatus::Stuck | ChainStatus::HalfCompensated | ChainStatus::Anomalous => {
            (StatusCode::OK, stuck())
        }
        ChainStatus::UnknownVersion | ChainStatus::Unreadable => (StatusCode::OK, stuck()),
    };
    // Without a wait, a new saga is reported as started even if it has already ended.
    let message = if wait.is_some() || existed { message } else { started() };
    let mut response = (code, Json(Message { message })).into_response();
    if let Some(wait) = wait {
        response.headers_mut().insert(PREFERENCE_APPLIED, wait.applied());
    }
    response
}
